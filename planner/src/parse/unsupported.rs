//! Statements that are understood and not supported: each is refused by its name, some with an alternative.

use super::cursor::Cursor;
use super::failure::Parsed;
use super::statement::Statement;
use millrace_types::{Result, SqlError};
use sqlparser::tokenizer::{Token, TokenWithSpan};

/// Statements by their first words, what they are called, and what to do instead.
const STATEMENTS: &[(&str, &str, Option<&str>)] = &[
    ("grant", "GRANT", None),
    ("revoke", "REVOKE", None),
    ("do", "DO", None),
    ("call", "CALL", None),
    ("lock", "LOCK", Some("A commit fails with 40001 when a row that it changes was changed meanwhile.")),
    ("cluster", "CLUSTER", None),
    ("reindex", "REINDEX", None),
    ("pause", "PAUSE", None),
    ("resume", "RESUME", None),
    ("acknowledge", "ACKNOWLEDGE", None),
];

/// What CREATE, DROP and ALTER know by name only.
const OBJECTS: &[(&str, &str)] = &[
    ("function", "FUNCTION"),
    ("aggregate", "AGGREGATE"),
    ("procedure", "PROCEDURE"),
    ("trigger", "TRIGGER"),
    ("subscription", "SUBSCRIPTION"),
    ("connection", "CONNECTION"),
    ("secret", "SECRET"),
    ("type", "TYPE"),
    ("domain", "DOMAIN"),
    ("role", "ROLE"),
    ("user", "USER"),
    ("group", "GROUP"),
    ("database", "DATABASE"),
    ("extension", "EXTENSION"),
    ("foreign", "FOREIGN TABLE"),
    ("publication", "PUBLICATION"),
    ("rule", "RULE"),
    ("policy", "POLICY"),
    ("operator", "OPERATOR"),
    ("cast", "CAST"),
    ("collation", "COLLATION"),
    ("statistics", "STATISTICS"),
    ("tablespace", "TABLESPACE"),
    ("language", "LANGUAGE"),
    ("server", "SERVER"),
    ("system", "SYSTEM"),
    ("default", "DEFAULT PRIVILEGES"),
    ("stream", "STREAM"),
    ("recursive", "RECURSIVE VIEW"),
];

/// Refuses a statement that is known and not supported.
pub fn refuse_statement(cursor: &Cursor) -> Parsed<()> {
    let Some(word) = cursor.peek_word() else { return Ok(()) };
    match STATEMENTS.iter().find(|(words, ..)| *words == word) {
        Some((_, name, hint)) => {
            let error = SqlError::unsupported(name).at(cursor.position() + 1);
            Err(hint.map_or(error.clone(), |hint| error.with_hint(hint)).into())
        }
        None => Ok(()),
    }
}

/// Refuses what CREATE does not create.
pub fn create(cursor: &Cursor) -> Parsed<Statement> {
    refuse(cursor, "CREATE")
}

/// Refuses what DROP does not drop.
pub fn drop(cursor: &Cursor) -> Parsed<Statement> {
    refuse(cursor, "DROP")
}

/// Refuses what ALTER does not alter.
pub fn alter(cursor: &Cursor) -> Parsed<Statement> {
    refuse(cursor, "ALTER")
}

fn refuse(cursor: &Cursor, verb: &str) -> Parsed<Statement> {
    let word = cursor.peek_word().unwrap_or_default();
    match OBJECTS.iter().find(|(words, _)| *words == word) {
        Some((_, "STREAM")) => Err(SqlError::unsupported(format!("{verb} STREAM"))
            .with_hint(
                "Use CREATE SOURCE for a stream that is read and CREATE MATERIALIZED VIEW for one that is computed.",
            )
            .at(cursor.position() + 1)
            .into()),
        Some((_, name)) => cursor.unsupported(format!("{verb} {name}")),
        None => cursor.unexpected(),
    }
}

/// Constructs inside queries by words that only they have, `(` and `)` among them.
const CONSTRUCTS: &[(&[&str], &str)] = &[
    (&["for", "system_time", "as", "of"], "FOR SYSTEM_TIME AS OF"),
    (&["match_recognize", "("], "MATCH_RECOGNIZE"),
    (&["as", "changelog", "from"], "CHANGELOG"),
    (&["with", "mutually", "recursive"], "WITH MUTUALLY RECURSIVE"),
    (&["where", "current", "of"], "WHERE CURRENT OF"),
    (&["overriding", "system", "value"], "OVERRIDING SYSTEM VALUE"),
    (&["overriding", "user", "value"], "OVERRIDING USER VALUE"),
];

/// Refuses constructs that are known and that the grammar would stumble over.
///
/// # Errors
/// `0A000` naming the construct, at its first word.
pub fn refuse_tokens(tokens: &[TokenWithSpan]) -> Result<()> {
    refuse_types(tokens)?;
    let words: Vec<(&TokenWithSpan, &str)> =
        tokens.iter().filter_map(|token| Some((token, word(&token.token)?))).collect();
    for (index, (token, _)) in words.iter().enumerate() {
        let next = |at: usize, expected: &str| {
            words.get(index + at).is_some_and(|(_, word)| word.eq_ignore_ascii_case(expected))
        };
        let found = CONSTRUCTS.iter().find(|(shape, _)| shape.iter().enumerate().all(|(at, word)| next(at, word)));
        if let Some((_, name)) = found {
            return Err(SqlError::unsupported(name).at(token.span.start.column as usize));
        }
    }
    Ok(())
}

/// Types whose constants begin with their names, as `inet '10.0.0.1'`, which the grammar takes for something else.
const TYPES: &[&str] = &[
    "inet",
    "cidr",
    "macaddr",
    "macaddr8",
    "money",
    "point",
    "line",
    "lseg",
    "box",
    "path",
    "polygon",
    "circle",
    "int4range",
    "int8range",
    "numrange",
    "tsrange",
    "tstzrange",
    "daterange",
    "tsvector",
    "tsquery",
    "xml",
    "pg_lsn",
    "bit",
    "varbit",
];

/// Refuses constants of types that there are not.
fn refuse_types(tokens: &[TokenWithSpan]) -> Result<()> {
    let text: Vec<&TokenWithSpan> =
        tokens.iter().filter(|token| !matches!(token.token, Token::Whitespace(_))).collect();
    for (at, token) in text.iter().enumerate() {
        let error = |what: String| Err(SqlError::unsupported(what).at(token.span.start.column as usize));
        match &token.token {
            Token::SingleQuotedByteStringLiteral(_) | Token::HexStringLiteral(_) => {
                let hint = "decode('1f', 'hex') and '\\x1f'::bytea give bytes.";
                return error("type bit".to_owned()).map_err(|error: SqlError| error.with_hint(hint));
            }
            Token::Word(word) if word.quote_style.is_none() => {
                let name = word.value.to_lowercase();
                let is_constant =
                    matches!(text.get(at + 1).map(|next| &next.token), Some(Token::SingleQuotedString(_)));
                // `SELECT 1 AS box 'x'` is nothing, and `a.box 'x'` neither.
                if is_constant && TYPES.contains(&name.as_str()) {
                    return error(format!("type {name}"));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// What a token is to [`CONSTRUCTS`]; white space is nothing.
fn word(token: &Token) -> Option<&str> {
    match token {
        Token::Whitespace(_) => None,
        Token::Word(word) if word.quote_style.is_none() => Some(&word.value),
        Token::LParen => Some("("),
        Token::RParen => Some(")"),
        _ => Some(""),
    }
}
