//! `SIMILAR TO`: a pattern of SQL made into a regular expression, by the function that PostgreSQL has for it.

use crate::function::{Call, Overload, immutable};
use arrow::array::ArrayRef;
use datafusion::logical_expr::ScalarUDF;
use millrace_types::{Result, SqlError, SqlState, SqlType};

const TEXT: SqlType = SqlType::Text;

/// `similar_to_escape(pattern [, escape])`.
pub fn functions() -> Vec<ScalarUDF> {
    vec![immutable(
        "similar_to_escape",
        &[],
        vec![
            Overload::new(&[TEXT], TEXT, |call| {
                call.texts(|row| Ok(Some(regular(call.text(0).value(row), Some('\\')))))
            }),
            Overload::new(&[TEXT, TEXT], TEXT, |call| {
                call.texts(|row| Ok(Some(regular(call.text(0).value(row), escape(call.text(1).value(row))?))))
            }),
        ],
    )]
}

/// The character that takes the next one as it is; an empty text means that there is none.
fn escape(text: &str) -> Result<Option<char>> {
    let mut characters = text.chars();
    match (characters.next(), characters.next()) {
        (first, None) => Ok(first),
        _ => Err(SqlError::new(SqlState("22025"), "invalid escape string")
            .with_hint("Escape string must be empty or one character.")),
    }
}

/// The regular expression that matches whole texts as the pattern does: `%` is any text, `_` any character, and `| * + ?
/// { } ( ) [ ]` mean what they mean in regular expressions.
fn regular(pattern: &str, escape: Option<char>) -> String {
    let mut regular = String::from("^(?s:");
    let mut in_class = false;
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        match character {
            _ if Some(character) == escape => {
                let literal = characters.next().unwrap_or(character);
                regular.push_str(&regex::escape(literal.encode_utf8(&mut [0; 4])));
            }
            ']' if in_class => {
                in_class = false;
                regular.push(']');
            }
            // These have a meaning in classes that SQL does not know.
            '[' | '\\' | '&' | '~' if in_class => regular.extend(['\\', character]),
            _ if in_class => regular.push(character),
            '[' => {
                in_class = true;
                regular.push('[');
            }
            '%' => regular.push_str(".*"),
            '_' => regular.push('.'),
            '(' => regular.push_str("(?:"),
            '\\' | '.' | '^' | '$' => regular.extend(['\\', character]),
            _ => regular.push(character),
        }
    }
    regular.push_str(")$");
    regular
}

/// `substring(text from pattern for escape)`: what the pattern between two `escape "` matches, or the whole match.
pub fn substring(call: &Call) -> Result<ArrayRef> {
    crate::regex::substring_by(call, |row| parts(call.text(1).value(row), escape(call.text(2).value(row))?))
}

/// The regular expression of a pattern in three parts: its only group is the one in the middle.
fn parts(pattern: &str, escape: Option<char>) -> Result<String> {
    let mark = escape.map(|escape| format!("{escape}\""));
    let parts: Vec<&str> = mark.as_deref().map_or(vec![pattern], |mark| pattern.split(mark).collect());
    let inner = |part: &str| {
        let regular = regular(part, escape);
        regular.trim_start_matches("^(?s:").strip_suffix(")$").unwrap_or_default().to_owned()
    };
    match parts[..] {
        [all] => Ok(format!("^(?s:{})$", inner(all))),
        [before, part, after] => {
            // As little as possible stands before and after the part, as much as possible in it.
            Ok(format!("^(?s:(?U:{})({})(?U:{}))$", inner(before), inner(part), inner(after)))
        }
        _ => Err(SqlError::new(
            SqlState("2200C"),
            "SQL regular expression may not contain more than two escape-double-quote separators",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_sql_does_not_know_is_literal() {
        assert_eq!(regular("a%(b|_).", Some('\\')), r"^(?s:a.*(?:b|.)\.)$");
        assert_eq!(regular(r"10\%", Some('\\')), "^(?s:10%)$");
        assert_eq!(regular("10#%", Some('#')), "^(?s:10%)$");
        assert_eq!(regular("[%&]", None), r"^(?s:[%\&])$");
    }
}
