//! CREATE, DROP and COMMENT.

use super::columns::{self, Columns};
use super::cursor::Cursor;
use super::failure::Parsed;
use super::options;
use super::statement::*;
use millrace_types::{SqlError, SqlState};
use sqlparser::tokenizer::Token;

/// A statement that starts with CREATE.
pub fn create(cursor: &mut Cursor) -> Parsed<Statement> {
    cursor.expect("create")?;
    let or_replace = cursor.accept("or replace");
    let lifetimes =
        ["temporary", "temp", "local temporary", "local temp", "global temporary", "global temp", "unlogged"];
    let temporary = cursor.accept_one(&lifetimes).is_some_and(|word| word != "unlogged");
    let kinds = [
        "materialized view",
        "view",
        "table",
        "source",
        "sink",
        "schema",
        "unique index",
        "index",
        "sequence",
        "snapshot",
    ];
    let position = cursor.position();
    let Some(kind) = cursor.accept_one(&kinds) else {
        return match cursor.peek_word() {
            Some(_) if or_replace || temporary => cursor.unexpected(),
            _ => super::unsupported::create(cursor),
        };
    };
    if or_replace && !kind.ends_with("view") {
        return Err(super::failure::near(cursor.sql, position + 1).into());
    }
    match kind {
        "materialized view" => materialized_view(cursor, or_replace),
        "view" => view(cursor, or_replace, temporary),
        "table" => table(cursor, temporary),
        _ if temporary => cursor.unsupported(format!("CREATE TEMPORARY {}", kind.to_uppercase())),
        "source" => source(cursor),
        "sink" => sink(cursor),
        "schema" => schema(cursor),
        "sequence" => super::sequence::create(cursor),
        "snapshot" => {
            let if_not_exists = cursor.if_not_exists();
            Ok(Statement::CreateSnapshot { snapshot: snapshot(cursor)?, if_not_exists })
        }
        index => create_index(cursor, index == "unique index"),
    }
}

/// `RESTORE FROM SNAPSHOT name [IN 'url']`
pub fn restore(cursor: &mut Cursor) -> Parsed<Statement> {
    cursor.expect("restore from snapshot")?;
    snapshot(cursor).map(Statement::RestoreSnapshot)
}

fn snapshot(cursor: &mut Cursor) -> Parsed<SnapshotName> {
    let name = cursor.identifier()?;
    let store = if cursor.accept("in") { Some(cursor.string()?) } else { None };
    Ok(SnapshotName { name, store })
}

fn view(cursor: &mut Cursor, or_replace: bool, temporary: bool) -> Parsed<Statement> {
    let if_not_exists = cursor.if_not_exists();
    let name = cursor.name()?;
    let columns = cursor.column_list()?;
    options::with(cursor)?;
    cursor.expect("as")?;
    let (ast, query) = cursor.with_text(Cursor::query)?;
    if cursor.peeks("with") {
        return cursor.unsupported("WITH CHECK OPTION");
    }
    Ok(Statement::CreateView(CreateView { name, temporary, or_replace, if_not_exists, columns, query, ast }))
}

fn materialized_view(cursor: &mut Cursor, or_replace: bool) -> Parsed<Statement> {
    let if_not_exists = cursor.if_not_exists();
    let name = cursor.name()?;
    let columns = cursor.column_list()?;
    let options = options::with(cursor)?;
    cursor.expect("as")?;
    let (ast, query) = cursor.with_text(Cursor::query)?;
    let on_close = emission(cursor)?;
    if cursor.peeks("with no data") {
        return cursor.unsupported("WITH NO DATA");
    }
    cursor.accept("with data");
    let view = CreateMaterializedView { name, or_replace, if_not_exists, columns, options, query, ast, on_close };
    Ok(Statement::CreateMaterializedView(view))
}

/// When the rows of a view appear: the options of `EMIT ON WINDOW CLOSE`, `None` for changes at once.
fn emission(cursor: &mut Cursor) -> Parsed<Option<Vec<(String, String)>>> {
    let ends = cursor.parser.peek_token_ref().token == Token::SemiColon;
    if !ends || !cursor.peek_word_at(1).is_some_and(|word| ["changes", "final", "on"].contains(&word.as_str())) {
        return Ok(None);
    }
    cursor.skip_semicolons();
    match cursor.accept_one(&["changes", "final", "on window close"]) {
        Some("changes") => Ok(None),
        Some(_) => options::with(cursor).map(Some),
        None => cursor.unexpected(),
    }
}

fn table(cursor: &mut Cursor, temporary: bool) -> Parsed<Statement> {
    let if_not_exists = cursor.if_not_exists();
    let name = cursor.name()?;
    // `CREATE TABLE t [(a, b)] AS query` gives names without types.
    let named_only = matches!(
        (&cursor.parser.peek_token_ref().token, &cursor.parser.peek_nth_token_ref(2).token),
        (Token::LParen, Token::Comma | Token::RParen)
    ) && cursor.parser.peek_nth_token_ref(1).token != Token::RParen;
    if named_only || ["as", "with", "on commit"].into_iter().any(|words| cursor.peeks(words)) {
        return table_as(cursor, name, if_not_exists, temporary);
    }
    let columns = columns::columns(cursor)?;
    let mut metadata = columns.metadata.clone();
    options::include(cursor, &mut metadata)?;
    refuse_clauses(cursor)?;
    let mut on_conflict = conflict_behavior(cursor)?;
    let mut options = options::with_of_table(cursor)?;
    options::format_clause(cursor, &mut options)?;
    options.extend(metadata);
    if on_conflict == ConflictBehavior::Error {
        on_conflict = conflict_behavior(cursor)?;
    }
    refuse_clauses(cursor)?;
    let temporary = on_commit(cursor, temporary)?;
    let Columns { columns, primary_key, unique, checks, foreign_keys, like, watermark, not_enforced, .. } = columns;
    Ok(Statement::CreateTable(CreateTable {
        name,
        if_not_exists,
        temporary,
        columns,
        primary_key,
        unique,
        checks,
        foreign_keys,
        like,
        watermark,
        options,
        on_conflict,
        not_enforced,
    }))
}

/// Clauses after a table's columns that are understood and not supported.
fn refuse_clauses(cursor: &mut Cursor) -> Parsed<()> {
    for (words, name) in [
        ("inherits", "INHERITS"),
        ("partition by", "PARTITION BY in CREATE TABLE"),
        ("from", "CREATE TABLE ... FROM a source"),
    ] {
        if cursor.peeks(words) {
            return cursor.unsupported(name);
        }
    }
    if cursor.accept("tablespace") {
        cursor.identifier()?;
    }
    Ok(())
}

fn conflict_behavior(cursor: &mut Cursor) -> Parsed<ConflictBehavior> {
    if !cursor.accept("on conflict") {
        return Ok(ConflictBehavior::Error);
    }
    match cursor.accept_one(&["overwrite", "do nothing", "do update"]) {
        Some("overwrite") => {
            if cursor.peeks("with version column") {
                return cursor.unsupported("WITH VERSION COLUMN");
            }
            Ok(ConflictBehavior::Overwrite)
        }
        Some("do nothing") => Ok(ConflictBehavior::DoNothing),
        Some(_) => cursor.unsupported("ON CONFLICT DO UPDATE IF NOT NULL"),
        None => cursor.unexpected(),
    }
}

fn table_as(
    cursor: &mut Cursor,
    name: sqlparser::ast::ObjectName,
    if_not_exists: bool,
    temporary: bool,
) -> Parsed<Statement> {
    let columns = cursor.column_list()?;
    let options = options::with_of_table(cursor)?;
    let temporary = on_commit(cursor, temporary)?;
    cursor.expect("as")?;
    let query = cursor.query()?;
    let with_data = !cursor.accept("with no data");
    cursor.accept("with data");
    let table = CreateTableAs { name, if_not_exists, temporary, columns, query, options, with_data };
    Ok(Statement::CreateTableAs(table))
}

/// `ON COMMIT ...` of a temporary table; `None` for a table that stays.
fn on_commit(cursor: &mut Cursor, temporary: bool) -> Parsed<Option<OnCommit>> {
    if !cursor.accept("on commit") {
        return Ok(temporary.then_some(OnCommit::PreserveRows));
    }
    if !temporary {
        let message = "ON COMMIT can only be used on temporary tables";
        return Err(SqlError::new(SqlState::INVALID_TABLE_DEFINITION, message).into());
    }
    match cursor.accept_one(&["preserve rows", "delete rows", "drop"]) {
        Some("preserve rows") => Ok(Some(OnCommit::PreserveRows)),
        Some("delete rows") => Ok(Some(OnCommit::DeleteRows)),
        Some(_) => Ok(Some(OnCommit::Drop)),
        None => cursor.unexpected(),
    }
}

fn source(cursor: &mut Cursor) -> Parsed<Statement> {
    let if_not_exists = cursor.if_not_exists();
    let name = cursor.name()?;
    let columns = match cursor.parser.peek_token_ref().token {
        Token::LParen => columns::columns(cursor)?,
        _ => Columns::default(),
    };
    let mut metadata = columns.metadata.clone();
    options::include(cursor, &mut metadata)?;
    let mut options = options::with(cursor)?;
    options::format_clause(cursor, &mut options)?;
    options::include(cursor, &mut metadata)?;
    options.extend(metadata);
    if let Some(check) = columns.checks.first() {
        return cursor.unsupported(format!("CHECK ({}) on a source", check.expression));
    }
    if !columns.foreign_keys.is_empty() {
        return cursor.unsupported("FOREIGN KEY on a source");
    }
    let Columns { columns, primary_key, watermark, .. } = columns;
    let primary_key = primary_key.map(|key| key.columns).unwrap_or_default();
    // That of a PROCTIME() column is told with the reason.
    if columns.iter().any(|column| !matches!(column.generated, None | Some(GeneratedColumn::Arrival))) {
        return cursor.unsupported("a generated column of a source");
    }
    Ok(Statement::CreateSource(CreateSource { name, if_not_exists, columns, primary_key, watermark, options }))
}

fn sink(cursor: &mut Cursor) -> Parsed<Statement> {
    let if_not_exists = cursor.if_not_exists();
    let name = cursor.name()?;
    let from = if cursor.accept("from") {
        SinkInput::Relation(cursor.name()?)
    } else {
        cursor.expect("as")?;
        let (ast, query) = cursor.with_text(Cursor::query)?;
        SinkInput::Query { query, ast }
    };
    cursor.skip_semicolons();
    let mut options = options::with(cursor)?;
    options::format_clause(cursor, &mut options)?;
    Ok(Statement::CreateSink(CreateSink { name, if_not_exists, from, options }))
}

fn schema(cursor: &mut Cursor) -> Parsed<Statement> {
    let if_not_exists = cursor.if_not_exists();
    let name = cursor.name()?;
    if cursor.accept("authorization") {
        cursor.identifier()?;
    }
    Ok(Statement::CreateSchema { name, if_not_exists })
}

fn create_index(cursor: &mut Cursor, unique: bool) -> Parsed<Statement> {
    cursor.accept("concurrently");
    let if_not_exists = cursor.if_not_exists();
    let name = if cursor.peeks("on") { None } else { Some(cursor.name()?) };
    cursor.expect("on")?;
    let table = cursor.name()?;
    if cursor.accept("using") {
        cursor.identifier()?;
    }
    let ((keys, include, partial), text) = cursor.with_text(|cursor| {
        let keys = cursor.parenthesized(index_key)?;
        let include = if cursor.accept("include") { cursor.column_list()? } else { vec![] };
        if cursor.peeks("nulls not distinct") {
            return cursor.unsupported("NULLS NOT DISTINCT");
        }
        cursor.accept("nulls distinct");
        options::with(cursor)?;
        let partial = cursor.accept("where");
        if partial {
            cursor.expression()?;
        }
        Ok((keys, include, partial))
    })?;
    Ok(Statement::CreateIndex(CreateIndex { name, table, unique, if_not_exists, keys, include, partial, text }))
}

fn index_key(cursor: &mut Cursor) -> Parsed<sqlparser::ast::Expr> {
    let key = cursor.expression()?;
    if cursor.accept("collate") {
        cursor.name()?;
    }
    // An operator class, which decides nothing here.
    if cursor.peek_word().is_some_and(|word| word.ends_with("_ops")) {
        cursor.identifier()?;
    }
    cursor.accept_one(&["asc", "desc"]);
    cursor.accept_one(&["nulls first", "nulls last"]);
    Ok(key)
}

/// The kinds that DROP and ALTER know, as words.
const KINDS: [(&str, ObjectKind); 8] = [
    ("materialized view", ObjectKind::MaterializedView),
    ("view", ObjectKind::View),
    ("table", ObjectKind::Table),
    ("source", ObjectKind::Source),
    ("sink", ObjectKind::Sink),
    ("index", ObjectKind::Index),
    ("sequence", ObjectKind::Sequence),
    ("schema", ObjectKind::Schema),
];

/// The kind of thing named by the words that come next.
pub fn kind(cursor: &mut Cursor) -> Option<ObjectKind> {
    KINDS.iter().find(|(words, _)| cursor.accept(words)).map(|(_, kind)| *kind)
}

/// A statement that starts with DROP.
pub fn drop(cursor: &mut Cursor) -> Parsed<Statement> {
    cursor.expect("drop")?;
    if cursor.accept("snapshot") {
        let if_exists = cursor.accept("if exists");
        return Ok(Statement::DropSnapshot { snapshot: snapshot(cursor)?, if_exists });
    }
    let Some(kind) = kind(cursor) else { return super::unsupported::drop(cursor) };
    cursor.accept("concurrently");
    let if_exists = cursor.accept("if exists");
    let names = cursor.names()?;
    let cascade = cascade(cursor);
    Ok(match kind {
        ObjectKind::Schema => Statement::DropSchema { names, if_exists, cascade },
        _ => Statement::Drop(Drop { kind, names, if_exists, cascade }),
    })
}

/// CASCADE, or RESTRICT, which is what is done without a word.
pub fn cascade(cursor: &mut Cursor) -> bool {
    let cascade = cursor.accept("cascade");
    cursor.accept("restrict");
    cascade
}

/// `COMMENT ON kind name IS text`
pub fn comment(cursor: &mut Cursor) -> Parsed<Statement> {
    cursor.expect("comment on")?;
    let kinds = [
        "materialized view",
        "view",
        "table",
        "source",
        "sink",
        "index",
        "sequence",
        "schema",
        "column",
        "constraint",
        "database",
        "function",
    ];
    let Some(kind) = cursor.accept_one(&kinds) else { return cursor.unexpected() };
    let name = cursor.name()?;
    cursor.expect("is")?;
    let text = if cursor.accept("null") { None } else { Some(cursor.string()?) };
    Ok(Statement::Comment(Comment { kind: kind.to_owned(), name, text }))
}
