//! Functions on text and arrays that catalog queries need and DataFusion lacks.

use super::Function;
use crate::system::cell::Cell;
use crate::system::snapshot::{Snapshot, split_name};
use millrace_types::{Result, SqlError, SqlState};

pub const FUNCTIONS: &[Function] = &[
    Function::new("parse_ident", &["text", "bool"], "_text", parse_ident).optional(1),
    Function::new("like_escape", &["text", "text"], "text", like_escape),
    Function::new("pg_option_name", &["text"], "text", |_, arguments| Ok(option(arguments).map(|o| o.0).into())),
    Function::new("pg_option_value", &["text"], "text", |_, arguments| Ok(option(arguments).map(|o| o.1).into())),
];

fn parse_ident(_: &Snapshot, arguments: &[Cell]) -> Result<Cell> {
    let written = arguments[0].text().unwrap_or_default();
    let parts = split_name(written).ok_or_else(|| {
        let message = format!("string is not a valid identifier: \"{written}\"");
        SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message)
    })?;
    Ok(parts.into())
}

/// A pattern with another escape character as one with the backslash; the empty escape is none.
fn like_escape(_: &Snapshot, arguments: &[Cell]) -> Result<Cell> {
    let (pattern, escape) = (arguments[0].text().unwrap_or_default(), arguments[1].text().unwrap_or_default());
    let mut escapes = escape.chars();
    let escape = escapes.next();
    if escapes.next().is_some() {
        return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, "invalid escape string")
            .with_hint("Escape string must be empty or one character."));
    }
    let mut written = String::with_capacity(pattern.len());
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        if Some(character) == escape {
            written.push('\\');
            written.extend(characters.next());
        } else {
            if character == '\\' {
                written.push('\\');
            }
            written.push(character);
        }
    }
    Ok(written.into())
}

/// The two halves of an entry of an options array, `name=value`.
fn option(arguments: &[Cell]) -> Option<(&str, &str)> {
    let text = arguments[0].text()?;
    Some(text.split_once('=').unwrap_or((text, "")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::sample::snapshot;

    fn text(call: super::super::Call, arguments: &[&str]) -> Cell {
        call(&snapshot(), &arguments.iter().map(|argument| Cell::from(*argument)).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn patterns_get_the_backslash_as_their_escape() {
        assert_eq!(text(like_escape, &["pg/_%", "/"]), Cell::from("pg\\_%"));
        assert_eq!(text(like_escape, &["a\\b//", "/"]), Cell::from("a\\\\b\\/"));
        assert_eq!(text(like_escape, &["a\\b", ""]), Cell::from("a\\\\b"));
    }
}
