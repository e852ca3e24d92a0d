//! The definitions themselves, as plain data that survives a restart as JSON.

use crate::type_spelling;
use millrace_types::{RelationId, SqlType};
use serde::{Deserialize, Serialize};

/// The `WITH (...)` options of a relation, in the order in which they are shown.
pub type Options = Vec<(String, String)>;

/// A relation: a name with columns, and what stands behind it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relation {
    /// Its identity, which a rename does not change; also its OID.
    pub id: RelationId,
    /// The schema that holds it.
    pub schema: String,
    /// Its name in that schema.
    pub name: String,
    /// What it is.
    pub kind: RelationKind,
    /// Its columns, in order; `attnum` counts them from 1.
    pub columns: Vec<Column>,
    /// The canonical CREATE statement, as SHOW CREATE shows it.
    pub sql: String,
    /// The relations that its definition reads or writes.
    pub depends_on: Vec<RelationId>,
    /// What the names in its definition meant when it was made, whatever these things are called now.
    #[serde(default)]
    pub seen: Vec<Seen>,
    /// The role that made it.
    pub owner: String,
    /// The text of COMMENT ON, if any.
    pub comment: Option<String>,
    /// Whether its rows are only ever added, never changed or taken back.
    pub append_only: bool,
    /// How far the times of its rows have come, if that was said.
    #[serde(default)]
    pub watermark: Option<Watermark>,
    /// The column that watermarks bound: that of its own one, or of a view the one that its query hands on.
    #[serde(default)]
    pub event_time: Option<usize>,
    /// The session's zone in which its expressions were planned; `None` for UTC.
    #[serde(default)]
    pub time_zone: Option<String>,
    /// When it was made, in microseconds since 1970-01-01 UTC.
    pub created_at: i64,
    /// What CREATE INDEX made on it.
    #[serde(default)]
    pub indexes: Vec<Index>,
}

/// A relation as a definition saw it. Columns added since are not there for it, and renamed ones have their old names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Which relation.
    pub id: RelationId,
    /// The schema that it was in.
    pub schema: String,
    /// Its name then.
    pub name: String,
    /// The names of its columns then.
    pub columns: Vec<String>,
}

impl Seen {
    /// A relation as it is now.
    pub fn now(relation: &Relation) -> Seen {
        let columns = relation.columns.iter().map(|column| column.name.clone()).collect();
        Seen { id: relation.id, schema: relation.schema.clone(), name: relation.name.clone(), columns }
    }
}

/// An index that CREATE INDEX made; those of constraints are a table's keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    /// Its name, OID and columns. An index without columns (of expressions, or of some rows) is kept by name only.
    pub key: Key,
    /// Whether no two rows may agree on its columns.
    pub unique: bool,
    /// Whether its rows stand in the order of its one column's values, for ranges, and not in that of a hash.
    #[serde(default)]
    pub ordered: bool,
    /// What follows the access method: `(a, b DESC) INCLUDE (c)`.
    pub sql: String,
    /// The text of COMMENT ON INDEX, if any.
    pub comment: Option<String>,
}

/// What a relation is, with what only that kind has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RelationKind {
    /// Stored rows, changed by DML or by a connector.
    Table(TableDefinition),
    /// Rows from outside that are not stored.
    Source {
        /// The connector and its options.
        options: Options,
    },
    /// A query under a name, computed where it is used.
    View {
        /// The text of the query.
        query: String,
    },
    /// A query whose rows are kept up to date.
    MaterializedView {
        /// The text of the query.
        query: String,
        /// The view's own options.
        options: Options,
    },
    /// Rows sent to the outside.
    Sink {
        /// The text of the query that feeds it; for `FROM v` it reads all of `v`.
        query: String,
        /// The connector and its options.
        options: Options,
    },
    /// An `INSERT INTO target SELECT` that goes on for as long as it exists.
    Job {
        /// The relation that it writes to.
        target: RelationId,
        /// The text of the query that feeds it.
        query: String,
    },
    /// Numbers, one after the other: a stored row that says which was the last.
    Sequence(Sequence),
}

/// What `WATERMARK FOR column AS expression` says of a source or table; the column is its event time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watermark {
    /// Of each row, how far time has come with it: an expression over the row, as SQL.
    pub sql: String,
    /// After so many microseconds without a row a split holds nothing back any more.
    pub idle_timeout: Option<i64>,
    /// A row so many microseconds ahead of the wall clock moves nothing.
    pub max_future_skew: Option<i64>,
    /// What becomes of late rows.
    pub late: Late,
}

/// What becomes of rows that are older than the watermark of their split.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Late {
    /// Windows that are final reject them; whatever has no windows counts them.
    #[default]
    Window,
    /// Nobody sees them.
    Drop,
    /// They are rows like others.
    Keep,
}

impl Late {
    /// The word of the option.
    pub fn word(self) -> &'static str {
        match self {
            Late::Window => "window",
            Late::Drop => "drop",
            Late::Keep => "keep",
        }
    }
}

/// How a sequence counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sequence {
    /// The type of its numbers.
    #[serde(with = "type_spelling")]
    pub sql_type: SqlType,
    /// The first number.
    pub start: i64,
    /// From one number to the next.
    pub increment: i64,
    /// The least number.
    pub min: i64,
    /// The greatest number.
    pub max: i64,
    /// Whether it begins again at its end.
    pub cycle: bool,
    /// The table and the column, counted from 0, with which it goes.
    pub owned_by: Option<(RelationId, usize)>,
}

/// What only a table has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableDefinition {
    /// The primary key, if any.
    pub primary_key: Option<Key>,
    /// The UNIQUE constraints.
    pub unique: Vec<Key>,
    /// The CHECK constraints.
    pub checks: Vec<Check>,
    /// The FOREIGN KEY constraints.
    #[serde(default)]
    pub foreign_keys: Vec<ForeignKey>,
    /// The connector that feeds it or that it feeds, with its options; empty for a plain table.
    pub options: Options,
    /// The id under which the command log has its rows since ALTER TABLE wrote them anew; its own before.
    #[serde(default)]
    pub storage: Option<RelationId>,
    /// Whether the connector feeds the table, whose rows are stored; otherwise the table feeds the connector.
    #[serde(default)]
    pub fed: bool,
}

impl TableDefinition {
    /// Whether its rows are stored: not where they go out by a connector.
    pub fn is_stored(&self) -> bool {
        self.options.is_empty() || self.fed
    }
}

/// A constraint that no two rows agree on all of some columns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// The name of the constraint and of its index.
    pub name: String,
    /// The OID of its index, from the same numbers as relations.
    pub index: RelationId,
    /// Positions of its columns, counted from 0.
    pub columns: Vec<usize>,
}

/// A constraint that what rows say in some columns is a key of a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeignKey {
    /// The name of the constraint.
    pub name: String,
    /// The index of its columns, in the order of those of the key.
    pub index: RelationId,
    /// The table that has the key.
    pub table: RelationId,
    /// The index of the key.
    pub key: RelationId,
    /// What becomes of rows when what they refer to is deleted.
    pub on_delete: ReferentialAction,
    /// What becomes of them when it gets another key.
    pub on_update: ReferentialAction,
    /// When it may be checked.
    #[serde(default)]
    pub deferral: Deferral,
}

/// When a constraint may be checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReferentialAction {
    /// It may not.
    Refuse,
    /// They go with it, or change with it.
    Cascade,
    /// They refer to nothing.
    SetNull,
}

/// A condition that no row of a table may fail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// The name of the constraint.
    pub name: String,
    /// The condition as SQL, without parentheses around it.
    pub sql: String,
}

/// A column of a relation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type with the modifier.
    #[serde(with = "type_spelling")]
    pub sql_type: SqlType,
    /// Whether NULL is refused.
    pub not_null: bool,
    /// The DEFAULT as SQL.
    pub default: Option<String>,
    /// The text of COMMENT ON COLUMN, if any.
    pub comment: Option<String>,
    /// Where its values come from, if users do not give them.
    #[serde(default)]
    pub generated: Option<Generated>,
}

/// What GENERATED says of a column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Generated {
    /// An expression over the other columns, as SQL.
    Stored(String),
    /// `ALWAYS AS IDENTITY`: the default is a sequence, and only OVERRIDING SYSTEM VALUE gives another value.
    Always,
    /// `BY DEFAULT AS IDENTITY`: the default is a sequence.
    ByDefault,
    /// `AS PROCTIME()`: the default, which tells when a row came in.
    Arrival,
}

impl Column {
    /// A nullable column without a default.
    pub fn new(name: impl Into<String>, sql_type: SqlType) -> Column {
        Column { name: name.into(), sql_type, not_null: false, default: None, comment: None, generated: None }
    }

    /// The same column refusing NULL.
    pub fn not_null(mut self) -> Column {
        self.not_null = true;
        self
    }
}

impl RelationKind {
    /// What Postgres's messages call it: `table`, `materialized view`.
    pub fn noun(&self) -> &'static str {
        match self {
            RelationKind::Table(_) => "table",
            RelationKind::Source { .. } => "source",
            RelationKind::View { .. } => "view",
            RelationKind::MaterializedView { .. } => "materialized view",
            RelationKind::Sink { .. } => "sink",
            RelationKind::Job { .. } => "job",
            RelationKind::Sequence(_) => "sequence",
        }
    }

    /// Whether it has stored rows of its own.
    pub fn is_table(&self) -> bool {
        matches!(self, RelationKind::Table(_))
    }

    /// The text of the query behind it; `None` for tables and sources.
    pub fn query(&self) -> Option<&str> {
        match self {
            RelationKind::View { query }
            | RelationKind::MaterializedView { query, .. }
            | RelationKind::Sink { query, .. }
            | RelationKind::Job { query, .. } => Some(query),
            RelationKind::Table(_) | RelationKind::Source { .. } | RelationKind::Sequence(_) => None,
        }
    }

    /// The `WITH (...)` options; empty for kinds that take none.
    pub fn options(&self) -> &[(String, String)] {
        match self {
            RelationKind::Table(TableDefinition { options, .. })
            | RelationKind::Source { options }
            | RelationKind::MaterializedView { options, .. }
            | RelationKind::Sink { options, .. } => options,
            RelationKind::View { .. } | RelationKind::Job { .. } | RelationKind::Sequence(_) => &[],
        }
    }
}

impl Relation {
    /// The position of a column, counted from 0.
    pub fn column_index(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }

    /// The primary key and the UNIQUE constraints of a table, the primary key first; none for other kinds.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        let table = match &self.kind {
            RelationKind::Table(table) => Some(table),
            _ => None,
        };
        table.into_iter().flat_map(|table| table.primary_key.iter().chain(&table.unique))
    }

    /// What no two rows agree on: the constraints of a table and its UNIQUE indexes.
    pub fn unique_keys(&self) -> impl Iterator<Item = &Key> {
        self.keys().chain(self.indexes.iter().filter(|index| index.unique).map(|index| &index.key))
    }

    /// Everything with an index: constraints, then what CREATE INDEX made.
    pub fn index_keys(&self) -> impl Iterator<Item = &Key> {
        self.keys().chain(self.indexes.iter().map(|index| &index.key))
    }

    /// Whether rows that cannot be computed are left out instead of making the relation unreadable.
    pub fn skips_errors(&self) -> bool {
        self.kind.options().iter().any(|(name, value)| name == "on_error" && value == "skip")
    }

    /// The bytes of state that it may keep in memory, if that is limited.
    pub fn memory_limit(&self) -> Option<usize> {
        let limit = self.kind.options().iter().find(|(name, _)| name == "memory_limit")?;
        parse_bytes(&limit.1)
    }

    /// Whether it is a table that a connector feeds.
    pub fn is_fed(&self) -> bool {
        matches!(&self.kind, RelationKind::Table(table) if table.fed)
    }

    /// The table whose column a sequence numbers.
    pub fn owner_table(&self) -> Option<RelationId> {
        match &self.kind {
            RelationKind::Sequence(sequence) => sequence.owned_by.map(|(table, _)| table),
            _ => None,
        }
    }

    /// What CREATE INDEX said of a key; `None` for a constraint.
    pub fn index_of(&self, key: &Key) -> Option<&Index> {
        self.indexes.iter().find(|index| index.key.index == key.index)
    }

    /// The id under which the command log has its rows.
    pub fn storage(&self) -> RelationId {
        match &self.kind {
            RelationKind::Table(table) => table.storage.unwrap_or(self.id),
            _ => self.id,
        }
    }

    /// The highest id that it uses: its own, those of its indexes, and that of its rows.
    pub fn highest_id(&self) -> RelationId {
        let indexes = self.index_keys().map(|key| key.index);
        indexes.chain([self.storage()]).fold(self.id, RelationId::max)
    }

    /// The FOREIGN KEY constraints of a table; none for other kinds.
    pub fn foreign_keys(&self) -> &[ForeignKey] {
        match &self.kind {
            RelationKind::Table(table) => &table.foreign_keys,
            _ => &[],
        }
    }

    /// The CHECK constraints of a table; none for other kinds.
    pub fn checks(&self) -> &[Check] {
        match &self.kind {
            RelationKind::Table(table) => &table.checks,
            _ => &[],
        }
    }
}

/// A number of bytes: `1048576`, `512kB`, `64MB`, `2GB`, in powers of 1,024 as Postgres reads them.
pub fn parse_bytes(text: &str) -> Option<usize> {
    let text = text.trim();
    let digits = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let unit = match text[digits..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" | "kib" => 1 << 10,
        "mb" | "mib" => 1 << 20,
        "gb" | "gib" => 1 << 30,
        "tb" | "tib" => 1 << 40,
        _ => return None,
    };
    text[..digits].parse::<usize>().ok()?.checked_mul(unit)
}
