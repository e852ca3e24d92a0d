//! COPY.

use super::cursor::Cursor;
use super::failure::Parsed;
use super::options::{self, Options};
use super::show;
use super::statement::*;
use millrace_types::{SqlError, SqlState};
use sqlparser::tokenizer::Token;

/// A statement that starts with COPY.
pub fn copy(cursor: &mut Cursor) -> Parsed<Statement> {
    cursor.expect("copy")?;
    let target = target(cursor)?;
    let direction = direction(cursor)?;
    if direction == CopyDirection::FromStdin && !matches!(target, CopyTarget::Table { .. }) {
        return cursor.unexpected();
    }
    let options = copy_options(cursor)?;
    if cursor.peeks("where") {
        return cursor.unsupported("COPY ... WHERE");
    }
    Ok(Statement::Copy(Copy { target, direction, options }))
}

fn target(cursor: &mut Cursor) -> Parsed<CopyTarget> {
    if !cursor.accept_token(&Token::LParen) {
        let name = cursor.name()?;
        return Ok(CopyTarget::Table { name, columns: cursor.column_list()? });
    }
    let target = match cursor.peek_word().as_deref() {
        Some("subscribe") => CopyTarget::Subscribe(show::subscribe(cursor)?),
        Some("insert" | "update" | "delete") => return cursor.unsupported("COPY of a statement with RETURNING"),
        _ => CopyTarget::Query(cursor.query()?),
    };
    cursor.expect_token(&Token::RParen)?;
    Ok(target)
}

fn direction(cursor: &mut Cursor) -> Parsed<CopyDirection> {
    let direction = match cursor.accept_one(&["from", "to"]) {
        Some("from") => CopyDirection::FromStdin,
        Some(_) => CopyDirection::ToStdout,
        None => return cursor.unexpected(),
    };
    let stream = if direction == CopyDirection::FromStdin { "stdin" } else { "stdout" };
    match cursor.peek_word().as_deref() {
        Some("program") => return cursor.unsupported("COPY ... PROGRAM"),
        Some(word) if word == stream => cursor.parser.advance_token(),
        _ if matches!(cursor.parser.peek_token_ref().token, Token::SingleQuotedString(_)) => {
            let error = SqlError::unsupported("COPY of a file on the server");
            return Err(error.with_hint("Use psql's \\copy, or CREATE SOURCE with connector = 'file'.").into());
        }
        _ => return cursor.unexpected(),
    }
    Ok(direction)
}

/// `[WITH] (option value, ...)`, or the words of before Postgres 9: `[WITH] CSV HEADER DELIMITER ','`.
fn copy_options(cursor: &mut Cursor) -> Parsed<CopyOptions> {
    let position = cursor.position();
    cursor.accept("with");
    let options = match cursor.parser.peek_token_ref().token {
        Token::LParen => options::list(cursor)?,
        _ => old_options(cursor)?,
    };
    Ok(resolve(&options).map_err(|error| error.at(position + 1))?)
}

fn old_options(cursor: &mut Cursor) -> Parsed<Options> {
    let mut options = vec![];
    loop {
        let words = ["binary", "csv", "header", "freeze", "delimiter", "null", "quote", "escape", "encoding"];
        let (key, value) = match cursor.accept_one(&words) {
            Some(format @ ("binary" | "csv")) => ("format", format.to_owned()),
            Some(flag @ ("header" | "freeze")) => (flag, "true".to_owned()),
            Some(key) => {
                cursor.accept("as");
                (key, cursor.string()?)
            }
            None => return Ok(options),
        };
        options.push((key.to_owned(), value));
    }
}

fn resolve(options: &Options) -> Result<CopyOptions, SqlError> {
    let get = |key: &str| options.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str());
    let known = ["format", "delimiter", "null", "header", "quote", "escape", "freeze", "encoding"];
    if let Some((unknown, _)) = options.iter().find(|(name, _)| !known.contains(&name.as_str())) {
        return Err(SqlError::new(SqlState::SYNTAX_ERROR, format!("option \"{unknown}\" not recognized")));
    }
    let format = match get("format").map(str::to_lowercase).as_deref() {
        None | Some("text") => CopyFormat::Text,
        Some("csv") => CopyFormat::Csv,
        Some("binary") => CopyFormat::Binary,
        Some(other) => return Err(invalid(format!("COPY format \"{other}\" not recognized"))),
    };
    let csv = format == CopyFormat::Csv;
    if let Some(key) = ["quote", "escape"].into_iter().find(|key| !csv && get(key).is_some()) {
        return Err(SqlError::unsupported(format!("COPY {key} outside of CSV mode")));
    }
    let header = flag(get("header"), "header")?;
    let quote = character(get("quote"), "quote", '"')?;
    Ok(CopyOptions {
        format,
        delimiter: character(get("delimiter"), "delimiter", if csv { ',' } else { '\t' })?,
        null: get("null").unwrap_or(if csv { "" } else { "\\N" }).to_owned(),
        header,
        quote,
        escape: character(get("escape"), "escape", quote)?,
    })
}

fn flag(value: Option<&str>, name: &str) -> Result<bool, SqlError> {
    match value.map(str::to_lowercase).as_deref() {
        None | Some("false" | "off" | "0") => Ok(false),
        Some("true" | "on" | "1" | "match") => Ok(true),
        Some(_) => Err(invalid(format!("{name} requires a Boolean value"))),
    }
}

fn character(value: Option<&str>, name: &str, default: char) -> Result<char, SqlError> {
    let Some(value) = value else { return Ok(default) };
    match value.chars().collect::<Vec<_>>()[..] {
        [character] if character.is_ascii() && !matches!(character, '\n' | '\r') => Ok(character),
        _ => Err(SqlError::new(
            SqlState::FEATURE_NOT_SUPPORTED,
            format!("COPY {name} must be a single one-byte character"),
        )),
    }
}

fn invalid(message: String) -> SqlError {
    SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message)
}
