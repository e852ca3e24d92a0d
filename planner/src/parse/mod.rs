//! SQL text into statements: Postgres's grammar by `sqlparser`, and our own statements on the same token stream.
//!
//! Text is tokenised once, each token's place kept as the number of its first character, so that errors of every later
//! stage can point into what the user wrote. Before anything recursive sees the tokens their nesting is bounded.

mod alter;
mod asof;
mod clauses;
mod columns;
mod copy;
mod create;
mod cursor;
mod failure;
mod limits;
mod merge;
mod options;
mod respell;
mod sequence;
mod session;
mod show;
mod statement;
#[cfg(test)]
mod tests;
mod tokens;
mod transaction;
mod types;
mod unsupported;
mod with;

pub(crate) use asof::{ASOF_MARK, VERSION_MARK};
pub(crate) use clauses::MERGED;
pub use statement::*;
pub use types::sql_type;
pub(crate) use types::syntax_of_type;
pub(crate) use with::changes_rows;

use cursor::Cursor;
use failure::{Failure, Parsed};
use millrace_types::Result;
use sqlparser::ast;

/// The statements of a text, each with the number of characters before it. Statements that are empty are left out.
///
/// # Errors
/// `42601` where a quote, a comment or an operator does not end.
pub fn split(sql: &str) -> Result<Vec<(usize, String)>> {
    tokens::statements(sql)
}

/// Parses one statement; `None` when there is nothing but white space and comments.
///
/// # Errors
/// `42601` worded like Postgres's, with the position; `54001` when nested too deep; `0A000` for what is understood and
/// not supported.
pub fn parse(sql: &str) -> Result<Option<Statement>> {
    let mut cursor = Cursor::new(sql)?;
    cursor.skip_semicolons();
    if cursor.at_end() {
        return Ok(None);
    }
    let statement = statement(&mut cursor).and_then(|statement| {
        cursor.skip_semicolons();
        cursor.expect_end()?;
        Ok(statement)
    });
    statement.map(Some).map_err(|failure| failure.into_sql_error(sql))
}

/// Parses the text of a stored query, as in a view's definition.
///
/// # Errors
/// As [`parse`].
pub fn parse_query(sql: &str) -> Result<Box<ast::Query>> {
    let mut cursor = Cursor::new(sql)?;
    let query = cursor.query().and_then(|query| cursor.expect_end().map(|()| query));
    query.map_err(|failure| failure.into_sql_error(sql))
}

/// Parses the text of a stored scalar expression, as in a DEFAULT or CHECK.
///
/// # Errors
/// As [`parse`].
pub fn parse_expression(sql: &str) -> Result<ast::Expr> {
    let mut cursor = Cursor::new(sql)?;
    let expression = cursor.expression().and_then(|expression| cursor.expect_end().map(|()| expression));
    expression.map_err(|failure| failure.into_sql_error(sql))
}

/// The parts of a name given as text, as `nextval` takes it.
///
/// # Errors
/// As [`parse`].
pub fn parse_name(text: &str) -> Result<Vec<String>> {
    let mut cursor = Cursor::new(text)?;
    let name = cursor.name().and_then(|name| cursor.expect_end().map(|()| name));
    name.map(|name| name_parts(&name)).map_err(|failure| failure.into_sql_error(text).unplaced())
}

/// The parts of a name as Postgres folds them: lowercase unless quoted.
pub fn name_parts(name: &ast::ObjectName) -> Vec<String> {
    name.0.iter().filter_map(|part| part.as_ident()).map(fold).collect()
}

/// An identifier as Postgres folds it: lowercase unless quoted.
pub fn fold(ident: &ast::Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}

/// One statement from its first word.
fn statement(cursor: &mut Cursor) -> Parsed<Statement> {
    unsupported::refuse_statement(cursor)?;
    let word = cursor.peek_word().unwrap_or_default();
    match word.as_str() {
        "create" => create::create(cursor),
        "drop" => create::drop(cursor),
        "alter" => alter::alter(cursor),
        "restore" => create::restore(cursor),
        "comment" => create::comment(cursor),
        "explain" => show::explain(cursor),
        "show" => show::show(cursor),
        "subscribe" => show::subscribe(cursor).map(Statement::Subscribe),
        "copy" => copy::copy(cursor),
        "begin" | "start" | "commit" | "end" | "rollback" | "abort" | "savepoint" | "release" => {
            transaction::transaction(cursor)
        }
        "set" | "reset" | "prepare" | "execute" | "deallocate" | "declare" | "fetch" | "move" | "close" | "discard"
        | "listen" | "notify" | "unlisten" | "flush" | "wait" | "checkpoint" | "cancel" | "analyze" | "analyse"
        | "vacuum" | "truncate" | "refresh" | "advance" => session::session(cursor),
        "insert" | "update" | "delete" => modification(cursor),
        "merge" => merge::merge(cursor),
        _ => cursor.query().map(with::statement),
    }
}

/// INSERT, UPDATE and DELETE, whose grammar is `sqlparser`'s.
fn modification(cursor: &mut Cursor) -> Parsed<Statement> {
    match cursor.parser.parse_statement()? {
        ast::Statement::Insert(insert) => Ok(Statement::Insert(Box::new(insert))),
        ast::Statement::Update(syntax) => Ok(Statement::Update(Box::new(Update { with: None, syntax }))),
        ast::Statement::Delete(syntax) => Ok(Statement::Delete(Box::new(Delete { with: None, syntax }))),
        other => Err(Failure::unsupported(first_words(&other.to_string()))),
    }
}

/// The first two words of a statement's text: what an error calls it by.
fn first_words(text: &str) -> String {
    text.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
}

/// `54001`: nested too deep.
pub(crate) fn limits_error() -> millrace_types::SqlError {
    limits::too_deep()
}
