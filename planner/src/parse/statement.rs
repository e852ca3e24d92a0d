//! The statements.

use millrace_types::SqlType;
use sqlparser::ast::{self, Ident, ObjectName, Query};

/// One SQL statement. Names are as written: [`name_parts`](super::name_parts) folds them.
#[derive(Clone, Debug, PartialEq)]
pub enum Statement {
    Query(Box<Query>),
    Explain(Explain),
    Insert(Box<ast::Insert>),
    Update(Box<Update>),
    /// Statements of WITH that change rows, and the one that they are for.
    With(Box<With>),
    /// MERGE, as the statements that its clauses are.
    Merge(Vec<Statement>),
    Delete(Box<Delete>),
    Truncate(Truncate),
    Copy(Copy),
    CreateTable(CreateTable),
    CreateTableAs(CreateTableAs),
    CreateSource(CreateSource),
    CreateView(CreateView),
    CreateMaterializedView(CreateMaterializedView),
    CreateSink(CreateSink),
    CreateSchema {
        name: ObjectName,
        if_not_exists: bool,
    },
    DropSchema {
        names: Vec<ObjectName>,
        if_exists: bool,
        cascade: bool,
    },
    CreateIndex(CreateIndex),
    CreateSequence(CreateSequence),
    Drop(Drop),
    Comment(Comment),
    Alter(Alter),
    /// `REFRESH MATERIALIZED VIEW [CONCURRENTLY] name`
    Refresh {
        name: ObjectName,
        concurrently: bool,
    },
    /// BEGIN, or with `start` START TRANSACTION.
    Begin {
        modes: TransactionModes,
        start: bool,
    },
    Commit {
        chain: bool,
    },
    Rollback {
        chain: bool,
    },
    Savepoint(Ident),
    Release(Ident),
    RollbackTo(Ident),
    Set(Set),
    /// `SET TRANSACTION modes`
    SetTransaction(TransactionModes),
    /// `SET CONSTRAINTS names DEFERRED`, or with false IMMEDIATE; no names for ALL.
    SetConstraints {
        names: Vec<ObjectName>,
        deferred: bool,
    },
    /// `SET SESSION CHARACTERISTICS AS TRANSACTION modes`
    SetSessionCharacteristics(TransactionModes),
    Reset(String),
    ResetAll,
    /// `SHOW name`: the value of a setting, `SHOW ALL` with the name `all`.
    Show(String),
    ShowObjects(ShowObjects),
    /// `SHOW CREATE kind name`; no kind: whatever has the name.
    ShowCreate {
        kind: Option<ObjectKind>,
        name: ObjectName,
    },
    /// `SHOW COLUMNS FROM name`
    ShowColumns(ObjectName),
    Prepare(Prepare),
    Execute {
        name: Ident,
        parameters: Vec<ast::Expr>,
    },
    /// `DEALLOCATE name`; `None` for ALL.
    Deallocate(Option<Ident>),
    Declare(Declare),
    Fetch(Fetch),
    /// `CLOSE name`; `None` for ALL.
    Close(Option<Ident>),
    Discard(Discard),
    Subscribe(Subscribe),
    Listen(Ident),
    Notify {
        channel: Ident,
        payload: Option<String>,
    },
    /// `UNLISTEN channel`; `None` for `*`.
    Unlisten(Option<Ident>),
    /// Waits until all is read that lies ready in sources; reads are always strict.
    Flush,
    /// As `Flush`.
    Wait,
    Checkpoint,
    CreateSnapshot {
        snapshot: SnapshotName,
        if_not_exists: bool,
    },
    DropSnapshot {
        snapshot: SnapshotName,
        if_exists: bool,
    },
    RestoreSnapshot(SnapshotName),
    SetTime(SetTime),
    CancelJob(u64),
    /// Accepted and without effect.
    Analyze,
    /// Accepted and without effect.
    Vacuum,
}

/// An UPDATE, with the queries of a WITH before it.
#[derive(Clone, Debug, PartialEq)]
pub struct Update {
    pub with: Option<ast::With>,
    pub syntax: ast::Update,
}

/// A DELETE, with the queries of a WITH before it.
#[derive(Clone, Debug, PartialEq)]
pub struct Delete {
    pub with: Option<ast::With>,
    pub syntax: ast::Delete,
}

/// A statement after a WITH of which some parts change rows.
#[derive(Clone, Debug, PartialEq)]
pub struct With {
    /// Those parts, in order.
    pub parts: Vec<WithPart>,
    /// What may read what they return.
    pub body: Statement,
}

/// A part of WITH that changes rows.
#[derive(Clone, Debug, PartialEq)]
pub struct WithPart {
    /// The name under which what it returns is read.
    pub name: String,
    /// Other names for its first columns.
    pub columns: Vec<String>,
    pub statement: Statement,
}

/// What time it is for a server in test mode.
#[derive(Clone, Debug, PartialEq)]
pub enum SetTime {
    /// `ALTER SYSTEM SET CLOCK [TO] moment`, `ADVANCE CLOCK TO moment`
    Clock(ast::Expr),
    /// `ADVANCE CLOCK BY interval`
    ClockBy(ast::Expr),
    /// `ADVANCE WATERMARK OF relation TO moment`
    Watermark { relation: ObjectName, to: ast::Expr },
}

/// `EXPLAIN`.
#[derive(Clone, Debug, PartialEq)]
pub struct Explain {
    pub analyze: bool,
    pub verbose: bool,
    /// The other options as `(name, value)` in lowercase: `format`, `state`, `changelog` ...; `true` without a value.
    pub options: Vec<(String, String)>,
    pub target: ExplainTarget,
}

#[derive(Clone, Debug, PartialEq)]
pub enum ExplainTarget {
    Statement(Box<Statement>),
    /// `EXPLAIN [MATERIALIZED] VIEW name`: how it is kept up to date.
    Relation(ObjectName),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Truncate {
    pub tables: Vec<ObjectName>,
    /// Whether the sequences of the tables begin again.
    pub restart: bool,
    pub cascade: bool,
}

/// `COPY`.
#[derive(Clone, Debug, PartialEq)]
pub struct Copy {
    pub target: CopyTarget,
    pub direction: CopyDirection,
    pub options: CopyOptions,
}

#[derive(Clone, Debug, PartialEq)]
pub enum CopyTarget {
    /// A relation and some of its columns; no columns: all.
    Table {
        name: ObjectName,
        columns: Vec<Ident>,
    },
    Query(Box<Query>),
    Subscribe(Subscribe),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyDirection {
    FromStdin,
    ToStdout,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyOptions {
    pub format: CopyFormat,
    /// Between columns: tab in text, comma in CSV unless said.
    pub delimiter: char,
    /// What stands for NULL: `\N` in text, nothing in CSV unless said.
    pub null: String,
    pub header: bool,
    /// CSV only.
    pub quote: char,
    /// CSV only.
    pub escape: char,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyFormat {
    Text,
    Csv,
    Binary,
}

/// One column of a table or source.
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnDefinition {
    pub name: Ident,
    pub sql_type: SqlType,
    pub not_null: bool,
    /// The text of the expression.
    pub default: Option<String>,
    pub primary_key: bool,
    pub unique: bool,
    /// What GENERATED says.
    pub generated: Option<GeneratedColumn>,
}

/// Where the values of a column come from.
#[derive(Clone, Debug, PartialEq)]
pub enum GeneratedColumn {
    /// `GENERATED ALWAYS AS (expression) STORED`: the text of the expression.
    Stored(String),
    /// `GENERATED ALWAYS | BY DEFAULT AS IDENTITY [(options)]`
    Identity { always: bool, options: SequenceOptions },
    /// `serial` and its like.
    Serial,
    /// `AS PROCTIME()`
    Arrival,
}

/// How a sequence counts; `None` where nothing is said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SequenceOptions {
    pub sql_type: Option<SqlType>,
    pub start: Option<i64>,
    pub increment: Option<i64>,
    pub min: Option<i64>,
    pub max: Option<i64>,
    pub cycle: bool,
    /// `RESTART [WITH n]` of ALTER SEQUENCE; the inner `None` for the start.
    pub restart: Option<Option<i64>>,
}

/// `CREATE SEQUENCE`
#[derive(Clone, Debug, PartialEq)]
pub struct CreateSequence {
    pub name: ObjectName,
    pub if_not_exists: bool,
    pub options: SequenceOptions,
}

/// A PRIMARY KEY or UNIQUE constraint.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyDefinition {
    /// As written, if written.
    pub name: Option<Ident>,
    pub columns: Vec<Ident>,
}

/// A FOREIGN KEY constraint.
#[derive(Clone, Debug, PartialEq)]
pub struct ForeignKeyDefinition {
    /// As written, if written.
    pub name: Option<Ident>,
    pub columns: Vec<Ident>,
    pub table: ObjectName,
    /// The columns referred to; empty for the primary key.
    pub referred: Vec<Ident>,
    pub on_delete: ReferentialAction,
    pub on_update: ReferentialAction,
    pub deferral: Deferral,
}

/// When a constraint may be checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Deferral {
    /// With each statement.
    #[default]
    Never,
    /// With each statement, unless a transaction says otherwise.
    Immediate,
    /// When the transaction commits, unless it says otherwise.
    Deferred,
}

/// What becomes of rows when what they refer to goes or changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReferentialAction {
    #[default]
    NoAction,
    Restrict,
    Cascade,
    SetNull,
}

/// `LIKE table [INCLUDING ...]` among the columns of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct LikeTable {
    /// How many of the written columns stand before it.
    pub position: usize,
    pub table: ObjectName,
    pub defaults: bool,
    pub constraints: bool,
    pub indexes: bool,
}

/// A CHECK constraint of a column or table.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckDefinition {
    /// As written, if written.
    pub name: Option<Ident>,
    /// The column at whose definition it stands, if at one.
    pub column: Option<Ident>,
    /// The text of the expression.
    pub expression: String,
}

/// What a table does with a row whose key is there already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConflictBehavior {
    /// `23505`, as Postgres.
    #[default]
    Error,
    /// The new row replaces the old one.
    Overwrite,
    /// The old row stays.
    DoNothing,
}

#[derive(Clone, Debug, PartialEq)]
pub struct CreateTable {
    pub name: ObjectName,
    pub if_not_exists: bool,
    /// Of a temporary table, what becomes of it at the end of a transaction.
    pub temporary: Option<OnCommit>,
    pub columns: Vec<ColumnDefinition>,
    /// The primary key, from wherever it was written.
    pub primary_key: Option<KeyDefinition>,
    pub unique: Vec<KeyDefinition>,
    pub checks: Vec<CheckDefinition>,
    pub foreign_keys: Vec<ForeignKeyDefinition>,
    pub like: Vec<LikeTable>,
    pub watermark: Option<WatermarkDefinition>,
    /// `WITH (...)` and FORMAT .. ENCODE; keys in lowercase unless quoted.
    pub options: Vec<(String, String)>,
    pub on_conflict: ConflictBehavior,
    /// Whether a key says NOT ENFORCED: it is enforced anyway, which deserves a notice.
    pub not_enforced: bool,
}

/// What becomes of a temporary table at the end of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnCommit {
    PreserveRows,
    DeleteRows,
    Drop,
}

#[derive(Clone, Debug, PartialEq)]
pub struct CreateTableAs {
    pub name: ObjectName,
    pub if_not_exists: bool,
    pub temporary: Option<OnCommit>,
    pub columns: Vec<Ident>,
    pub query: Box<Query>,
    pub options: Vec<(String, String)>,
    pub with_data: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct CreateSource {
    pub name: ObjectName,
    pub if_not_exists: bool,
    pub columns: Vec<ColumnDefinition>,
    pub primary_key: Vec<Ident>,
    pub watermark: Option<WatermarkDefinition>,
    pub options: Vec<(String, String)>,
}

/// `WATERMARK FOR column AS expression WITH (...)`.
#[derive(Clone, Debug, PartialEq)]
pub struct WatermarkDefinition {
    pub column: Ident,
    /// The text of the expression.
    pub expression: String,
    pub options: Vec<(String, String)>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct CreateView {
    pub name: ObjectName,
    pub temporary: bool,
    pub or_replace: bool,
    pub if_not_exists: bool,
    /// Names for the first columns of the query.
    pub columns: Vec<Ident>,
    /// The text of the query.
    pub query: String,
    pub ast: Box<Query>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct CreateMaterializedView {
    pub name: ObjectName,
    pub or_replace: bool,
    pub if_not_exists: bool,
    pub columns: Vec<Ident>,
    pub options: Vec<(String, String)>,
    /// The text of the query.
    pub query: String,
    pub ast: Box<Query>,
    /// `EMIT ON WINDOW CLOSE [WITH (...)]`: its options; `None`: rows appear as they change.
    pub on_close: Option<Vec<(String, String)>>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct CreateSink {
    pub name: ObjectName,
    pub if_not_exists: bool,
    pub from: SinkInput,
    pub options: Vec<(String, String)>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum SinkInput {
    Relation(ObjectName),
    Query { query: String, ast: Box<Query> },
}

#[derive(Clone, Debug, PartialEq)]
pub struct CreateIndex {
    /// `None` where the name is made from the table and its columns.
    pub name: Option<ObjectName>,
    pub table: ObjectName,
    pub unique: bool,
    pub if_not_exists: bool,
    /// Each key, a column or an expression.
    pub keys: Vec<ast::Expr>,
    pub include: Vec<Ident>,
    /// Whether it is of some rows only.
    pub partial: bool,
    /// What follows the access method, as written.
    pub text: String,
}

/// The kinds of things that have a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectKind {
    Table,
    Source,
    View,
    MaterializedView,
    Sink,
    Index,
    Sequence,
    Schema,
    Function,
    Job,
    Database,
    Snapshot,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Drop {
    pub kind: ObjectKind,
    pub names: Vec<ObjectName>,
    pub if_exists: bool,
    pub cascade: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Comment {
    /// What it is about, in the words of the statement: `table`, `column` ...
    pub kind: String,
    pub name: ObjectName,
    /// `None` takes the comment away.
    pub text: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Alter {
    pub kind: ObjectKind,
    pub name: ObjectName,
    pub if_exists: bool,
    pub actions: Vec<AlterAction>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum AlterAction {
    RenameTo(Ident),
    RenameColumn {
        from: Ident,
        to: Ident,
    },
    RenameConstraint {
        from: Ident,
        to: Ident,
    },
    SetSchema(Ident),
    AddColumn {
        column: ColumnDefinition,
        checks: Vec<CheckDefinition>,
        if_not_exists: bool,
    },
    DropColumn {
        name: Ident,
        if_exists: bool,
        cascade: bool,
    },
    /// The text of the new default; `None` for DROP DEFAULT.
    SetDefault {
        column: Ident,
        default: Option<String>,
    },
    SetNotNull {
        column: Ident,
        not_null: bool,
    },
    /// The text of USING, if any.
    SetType {
        column: Ident,
        sql_type: SqlType,
        using: Option<String>,
    },
    AddKey {
        key: KeyDefinition,
        primary: bool,
    },
    AddForeignKey(ForeignKeyDefinition),
    AddCheck(CheckDefinition),
    DropConstraint {
        name: Ident,
        if_exists: bool,
    },
    /// Of ALTER SEQUENCE.
    Sequence(SequenceOptions),
    /// Accepted and without effect: there is one owner.
    OwnerTo(Ident),
}

/// What BEGIN and SET TRANSACTION say; `None` where they say nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TransactionModes {
    /// In lowercase: `serializable`, `repeatable read` ...
    pub isolation: Option<String>,
    pub read_only: Option<bool>,
    pub deferrable: Option<bool>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// Until the end of the transaction.
    pub local: bool,
    /// In lowercase.
    pub name: String,
    /// `None` for DEFAULT.
    pub values: Option<Vec<String>>,
}

/// `name [IN 'url']`: a snapshot in the data folder, or in an object store.
#[derive(Clone, Debug, PartialEq)]
pub struct SnapshotName {
    pub name: Ident,
    pub store: Option<String>,
}

/// `SHOW kind [FROM schema] [LIKE pattern]`
#[derive(Clone, Debug, PartialEq)]
pub struct ShowObjects {
    pub kind: ObjectKind,
    pub schema: Option<Ident>,
    /// The URL of an object store, where snapshots are to be listed.
    pub store: Option<String>,
    pub like: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Prepare {
    pub name: Ident,
    /// The types given for the first parameters.
    pub types: Vec<SqlType>,
    pub statement: Box<Statement>,
    /// The text of the statement.
    pub text: String,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Declare {
    pub name: Ident,
    pub binary: bool,
    pub scroll: bool,
    /// WITH HOLD: the cursor outlives its transaction.
    pub hold: bool,
    pub source: CursorSource,
    /// The text of the query or subscription.
    pub text: String,
}

#[derive(Clone, Debug, PartialEq)]
pub enum CursorSource {
    Query(Box<Query>),
    Subscribe(Subscribe),
}

/// `FETCH` and, when `skip`, `MOVE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// MOVE: the rows are counted, not given.
    pub skip: bool,
    pub cursor: Ident,
    pub direction: FetchDirection,
    pub options: Vec<(String, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchDirection {
    /// The next rows; negative: backwards.
    Forward(i64),
    All,
    /// BACKWARD ALL
    BackwardAll,
    First,
    Last,
    Prior,
    Absolute(i64),
    Relative(i64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discard {
    All,
    Plans,
    Sequences,
    Temporary,
}

/// `SUBSCRIBE`.
#[derive(Clone, Debug, PartialEq)]
pub struct Subscribe {
    pub target: SubscribeTarget,
    /// `snapshot`, `progress` ...; `true` without a value.
    pub options: Vec<(String, String)>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum SubscribeTarget {
    Relation(ObjectName),
    Query { query: String, ast: Box<Query> },
}
