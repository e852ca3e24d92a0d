//! `WITH (key = value, ...)` and `FORMAT .. ENCODE ..`.

use super::cursor::Cursor;
use super::failure::Parsed;
use super::fold;
use millrace_types::{SqlError, SqlState};
use sqlparser::tokenizer::Token;

/// Options in the order written; keys are in lowercase unless quoted.
pub type Options = Vec<(String, String)>;

/// `WITH (...)`, if it comes next.
pub fn with(cursor: &mut Cursor) -> Parsed<Options> {
    let opens = cursor.peeks("with") && cursor.parser.peek_nth_token_ref(1).token == Token::LParen;
    if !opens {
        return Ok(vec![]);
    }
    cursor.expect("with")?;
    list(cursor)
}

/// `WITH (...)` of a table. Postgres's storage parameters alone, which its tools write, say nothing about a table here.
pub fn with_of_table(cursor: &mut Cursor) -> Parsed<Options> {
    let mut options = with(cursor)?;
    if options.iter().all(|(key, _)| is_storage_parameter(key)) {
        options.clear();
    }
    Ok(options)
}

fn is_storage_parameter(key: &str) -> bool {
    let key = key.strip_prefix("toast.").unwrap_or(key);
    let words = ["fillfactor", "parallel_workers", "toast_tuple_target", "user_catalog_table", "oids"];
    words.contains(&key) || ["autovacuum_", "log_autovacuum_", "vacuum_"].iter().any(|start| key.starts_with(start))
}

/// `(key = value, ...)`; a key alone is `true`.
pub fn list(cursor: &mut Cursor) -> Parsed<Options> {
    cursor.expect_token(&Token::LParen)?;
    let mut options = vec![];
    while !cursor.accept_token(&Token::RParen) {
        if !options.is_empty() {
            cursor.expect_token(&Token::Comma)?;
        }
        let position = cursor.position();
        let key = key(cursor)?;
        let ends = matches!(cursor.parser.peek_token_ref().token, Token::Comma | Token::RParen);
        let value = match ends {
            true => "true".to_owned(),
            false => {
                cursor.accept_token(&Token::Eq);
                value(cursor)?
            }
        };
        add(&mut options, key, value).map_err(|error| error.at(position + 1))?;
    }
    Ok(options)
}

/// Adds an option that must not be there yet.
pub fn add(options: &mut Options, key: String, value: String) -> Result<(), SqlError> {
    if options.iter().any(|(known, _)| *known == key) {
        let message = format!("option \"{key}\" is given more than once");
        return Err(SqlError::new(SqlState::SYNTAX_ERROR, message));
    }
    options.push((key, value));
    Ok(())
}

/// A bare name with dots and hyphens, or a quoted string.
fn key(cursor: &mut Cursor) -> Parsed<String> {
    if let Token::SingleQuotedString(key) = &cursor.parser.peek_token_ref().token {
        let key = key.clone();
        cursor.parser.advance_token();
        return Ok(key);
    }
    let mut key = word(cursor)?;
    loop {
        let separator = match () {
            () if cursor.accept_token(&Token::Period) => '.',
            () if cursor.accept_token(&Token::Minus) => '-',
            () => return Ok(key),
        };
        key = format!("{key}{separator}{}", word(cursor)?);
    }
}

/// Any word, also a reserved one.
fn word(cursor: &mut Cursor) -> Parsed<String> {
    match &cursor.parser.peek_token_ref().token {
        Token::Word(word) => {
            let word = if word.quote_style.is_some() { word.value.clone() } else { word.value.to_lowercase() };
            cursor.parser.advance_token();
            Ok(word)
        }
        _ => cursor.unexpected(),
    }
}

/// A string, a number, or a bare word.
pub fn value(cursor: &mut Cursor) -> Parsed<String> {
    let sign = match cursor.accept_token(&Token::Minus) {
        true => "-",
        false if cursor.accept_token(&Token::Plus) => "",
        false => "",
    };
    let value = match &cursor.parser.peek_token_ref().token {
        Token::Number(number, _) => format!("{sign}{number}"),
        Token::SingleQuotedString(text) | Token::EscapedStringLiteral(text) if sign.is_empty() => text.clone(),
        Token::DollarQuotedString(text) if sign.is_empty() => text.value.clone(),
        Token::Word(_) if sign.is_empty() => return word(cursor),
        _ => return cursor.unexpected(),
    };
    cursor.parser.advance_token();
    Ok(value)
}

/// `FORMAT f [(...)] ENCODE e [(...)]`, if it comes next: `ENCODE JSON` is the option `format = 'json'`, and a FORMAT
/// other than PLAIN the option `envelope`.
pub fn format_clause(cursor: &mut Cursor, options: &mut Options) -> Parsed<()> {
    if !cursor.peeks("format") {
        return Ok(());
    }
    let position = cursor.position();
    cursor.expect("format")?;
    let Some(envelope) = cursor.accept_one(&["plain", "upsert", "debezium"]) else { return cursor.unexpected() };
    if envelope != "plain" {
        add(options, "envelope".to_owned(), envelope.to_owned()).map_err(|error| error.at(position + 1))?;
    }
    nested(cursor, options)?;
    cursor.expect("encode")?;
    let encodings = ["json", "csv", "avro", "protobuf", "bytes", "parquet", "text"];
    let Some(encoding) = cursor.accept_one(&encodings) else { return cursor.unexpected() };
    add(options, "format".to_owned(), encoding.to_owned()).map_err(|error| error.at(position + 1))?;
    nested(cursor, options)
}

fn nested(cursor: &mut Cursor, options: &mut Options) -> Parsed<()> {
    if cursor.parser.peek_token_ref().token != Token::LParen {
        return Ok(());
    }
    for (key, value) in list(cursor)? {
        add(options, key, value)?;
    }
    Ok(())
}

/// What of a message beside its value can be a column.
pub const METADATA: [&str; 5] = ["key", "partition", "offset", "timestamp", "headers"];

/// `INCLUDE what [AS column] ...`, if it comes next: each is the option `include.what`.
pub fn include(cursor: &mut Cursor, options: &mut Options) -> Parsed<()> {
    while cursor.accept("include") {
        let position = cursor.position();
        let Some(what) = cursor.accept_one(&METADATA) else { return cursor.unexpected() };
        let column = if cursor.accept("as") { fold(&cursor.identifier()?) } else { what.to_owned() };
        add(options, format!("include.{what}"), column).map_err(|error| error.at(position + 1))?;
    }
    Ok(())
}
