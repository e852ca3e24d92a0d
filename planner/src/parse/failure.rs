//! Why parsing stopped, and how Postgres would say it.

use super::{limits, tokens};
use millrace_types::{SqlError, SqlState};
use sqlparser::parser::ParserError;

/// The result of a parsing step.
pub type Parsed<T> = Result<T, Failure>;

/// Why a statement was not parsed.
#[derive(Debug)]
pub enum Failure {
    /// The grammar does not allow it; worded with the text at hand by [`Failure::into_sql_error`].
    Syntax(ParserError),
    /// Something that already has its words.
    Sql(SqlError),
}

impl From<ParserError> for Failure {
    fn from(error: ParserError) -> Failure {
        Failure::Syntax(error)
    }
}

impl From<SqlError> for Failure {
    fn from(error: SqlError) -> Failure {
        Failure::Sql(error)
    }
}

impl Failure {
    /// `0A000`: a construct that is understood and not supported.
    pub fn unsupported(what: impl std::fmt::Display) -> Failure {
        Failure::Sql(SqlError::unsupported(what))
    }

    /// The error as a client sees it. The parser's messages end in the place of the token that it did not expect.
    pub fn into_sql_error(self, sql: &str) -> SqlError {
        let message = match self {
            Failure::Sql(error) => return error,
            Failure::Syntax(ParserError::RecursionLimitExceeded) => return limits::too_deep(),
            Failure::Syntax(ParserError::ParserError(message) | ParserError::TokenizerError(message)) => message,
        };
        let column = message.rsplit_once("Column: ").and_then(|(_, column)| column.trim().parse::<usize>().ok());
        match column {
            Some(position) if position > 0 => near(sql, position),
            _ if message.contains("found: EOF") => at_end(sql),
            _ => SqlError::new(SqlState::SYNTAX_ERROR, "syntax error").with_detail(format!("{message}.")),
        }
    }
}

/// `syntax error at or near` the token at a position.
pub fn near(sql: &str, position: usize) -> SqlError {
    let token = tokens::tokenize(sql).ok().and_then(|tokens| {
        let token = tokens.into_iter().find(|token| token.span.start.column as usize == position)?;
        let end = token.span.end.column as usize - 1;
        Some(tokens::slice(sql, position - 1, end).to_owned())
    });
    match token {
        Some(text) if !text.is_empty() => {
            SqlError::new(SqlState::SYNTAX_ERROR, format!("syntax error at or near \"{text}\"")).at(position)
        }
        _ => at_end(sql),
    }
}

fn at_end(sql: &str) -> SqlError {
    SqlError::new(SqlState::SYNTAX_ERROR, "syntax error at end of input").at(sql.chars().count() + 1)
}
