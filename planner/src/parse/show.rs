//! SHOW, EXPLAIN and SUBSCRIBE.

use super::cursor::Cursor;
use super::failure::Parsed;
use super::statement::*;
use super::{create, options};
use sqlparser::tokenizer::Token;

/// What SHOW lists, by its words.
const LISTS: [(&str, ObjectKind); 11] = [
    ("tables", ObjectKind::Table),
    ("sources", ObjectKind::Source),
    ("sinks", ObjectKind::Sink),
    ("views", ObjectKind::View),
    ("materialized views", ObjectKind::MaterializedView),
    ("indexes", ObjectKind::Index),
    ("schemas", ObjectKind::Schema),
    ("databases", ObjectKind::Database),
    ("functions", ObjectKind::Function),
    ("jobs", ObjectKind::Job),
    ("snapshots", ObjectKind::Snapshot),
];

/// A statement that starts with SHOW.
pub fn show(cursor: &mut Cursor) -> Parsed<Statement> {
    cursor.expect("show")?;
    if cursor.accept("create") {
        let kind = create::kind(cursor);
        return Ok(Statement::ShowCreate { kind, name: cursor.name()? });
    }
    if cursor.accept_one(&["columns from", "columns in"]).is_some() {
        return cursor.name().map(Statement::ShowColumns);
    }
    if let Some((_, kind)) = LISTS.iter().find(|(words, _)| cursor.accept(words)) {
        let (mut schema, mut store) = (None, None);
        if cursor.accept_one(&["from", "in"]).is_some() {
            match kind {
                ObjectKind::Snapshot => store = Some(cursor.string()?),
                _ => schema = Some(cursor.identifier()?),
            }
        }
        let like = if cursor.accept("like") { Some(cursor.string()?) } else { None };
        return Ok(Statement::ShowObjects(ShowObjects { kind: *kind, schema, store, like }));
    }
    // Settings whose names Postgres writes as words.
    for (words, name) in [
        ("time zone", "timezone"),
        ("transaction isolation level", "transaction_isolation"),
        ("session authorization", "session_authorization"),
    ] {
        if cursor.accept(words) {
            return Ok(Statement::Show(name.to_owned()));
        }
    }
    Ok(Statement::Show(setting(cursor)?))
}

/// The name of a setting, in lowercase: `search_path`, `my.setting`.
pub fn setting(cursor: &mut Cursor) -> Parsed<String> {
    let name = cursor.name()?;
    Ok(name
        .0
        .iter()
        .map(|part| part.as_ident().map_or(String::new(), |i| i.value.to_lowercase()))
        .collect::<Vec<_>>()
        .join("."))
}

/// A statement that starts with EXPLAIN.
pub fn explain(cursor: &mut Cursor) -> Parsed<Statement> {
    cursor.expect("explain")?;
    let mut all = match cursor.parser.peek_token_ref().token {
        // `EXPLAIN (SELECT 1)` has no options.
        Token::LParen if !starts_query(cursor) => options::list(cursor)?,
        _ => vec![],
    };
    for word in ["analyze", "verbose"] {
        if cursor.accept(word) {
            all.push((word.to_owned(), "true".to_owned()));
        }
    }
    let is_on = |name: &str, value: &str| !(name.is_empty() || ["false", "off", "0"].contains(&value));
    let analyze = all.iter().any(|(name, value)| name == "analyze" && is_on(name, value));
    let verbose = all.iter().any(|(name, value)| name == "verbose" && is_on(name, value));
    let options = all.into_iter().filter(|(name, _)| name != "analyze" && name != "verbose").collect();
    let target = match cursor.accept_one(&["materialized view", "view"]) {
        Some(_) => ExplainTarget::Relation(cursor.name()?),
        // As in Postgres, what is explained is no EXPLAIN itself: statements do not nest without end.
        None if cursor.peeks("explain") || cursor.peeks("prepare") => return cursor.unexpected(),
        None => ExplainTarget::Statement(Box::new(super::statement(cursor)?)),
    };
    Ok(Statement::Explain(Explain { analyze, verbose, options, target }))
}

fn starts_query(cursor: &Cursor) -> bool {
    let nested = cursor.parser.peek_nth_token_ref(1).token == Token::LParen;
    nested || matches!(cursor.peek_word_at(1).as_deref(), Some("select" | "with" | "values" | "table"))
}

/// `SUBSCRIBE [TO] name | (query) [WITH (...)]`
pub fn subscribe(cursor: &mut Cursor) -> Parsed<Subscribe> {
    cursor.expect("subscribe")?;
    cursor.accept("to");
    let target = if cursor.accept_token(&Token::LParen) {
        let (ast, query) = cursor.with_text(Cursor::query)?;
        cursor.expect_token(&Token::RParen)?;
        SubscribeTarget::Query { query, ast }
    } else {
        SubscribeTarget::Relation(cursor.name()?)
    };
    Ok(Subscribe { target, options: options::with(cursor)? })
}
