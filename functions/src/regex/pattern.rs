//! PostgreSQL's regular expressions as the `regex` crate reads them, and their matches.

use millrace_types::{Result, SqlError, SqlState};
use regex::{Captures, Regex, RegexBuilder};
use std::cell::RefCell;

/// The last pattern, compiled: nearly always the one of the next row.
#[derive(Default)]
pub struct Patterns(RefCell<Option<(String, String, Regex)>>);

impl Patterns {
    /// Calls `f` with a pattern under flags, compiled.
    pub fn with<T>(&self, pattern: &str, flags: &str, f: impl FnOnce(&Regex) -> T) -> Result<T> {
        let mut last = self.0.borrow_mut();
        match last.as_ref() {
            Some((known, with, regex)) if known == pattern && with == flags => Ok(f(regex)),
            _ => {
                let regex = compiled(pattern, flags)?;
                let result = f(&regex);
                *last = Some((pattern.to_owned(), flags.to_owned(), regex));
                Ok(result)
            }
        }
    }
}

/// A pattern of Postgres with its flags.
pub fn compiled(pattern: &str, flags: &str) -> Result<Regex> {
    let literal = flags.contains('q');
    let text = match pattern.strip_prefix("***=") {
        Some(rest) => regex::escape(rest),
        None if literal => regex::escape(pattern),
        None => translated(pattern.strip_prefix("***:").unwrap_or(pattern))?,
    };
    let mut builder = RegexBuilder::new(&text);
    // In Postgres a dot matches a newline, too.
    builder.dot_matches_new_line(true);
    for flag in flags.chars() {
        match flag {
            'g' | 'q' | 'e' | 't' => {}
            'i' => drop(builder.case_insensitive(true)),
            'c' => drop(builder.case_insensitive(false)),
            'n' | 'm' => drop(builder.dot_matches_new_line(false).multi_line(true)),
            'p' => drop(builder.dot_matches_new_line(false).multi_line(false)),
            'w' => drop(builder.dot_matches_new_line(true).multi_line(true)),
            's' => drop(builder.dot_matches_new_line(true).multi_line(false)),
            'x' => drop(builder.ignore_whitespace(true)),
            other => {
                let message = format!("invalid regular expression option: \"{other}\"");
                return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message));
            }
        }
    }
    builder.build().map_err(|error| invalid(reason(&error.to_string())))
}

fn invalid(reason: &str) -> SqlError {
    SqlError::new(SqlState::INVALID_REGULAR_EXPRESSION, format!("invalid regular expression: {reason}"))
}

/// The words of Postgres for what the crate found wrong.
fn reason(error: &str) -> &'static str {
    let last = error.lines().last().unwrap_or_default().trim_start_matches("error: ");
    match last {
        _ if last.contains("group") && last.contains("unclosed") || last.contains("unopened group") => {
            "parentheses () not balanced"
        }
        _ if last.contains("class") && last.contains("unclosed") => "brackets [] not balanced",
        _ if last.contains("missing expression") => "quantifier operand invalid",
        _ if last.contains("repetition") => "invalid repetition count(s)",
        _ if last.contains("character class range") => "invalid character range",
        _ if last.contains("escape") => "invalid escape \\ sequence",
        _ => "invalid regexp",
    }
}

/// The pattern with the escapes that Postgres alone knows written otherwise, and those characters taken as they are that
/// have a meaning in the crate's syntax alone.
fn translated(pattern: &str) -> Result<String> {
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut characters = pattern.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\\' => escape(characters.next(), &mut out)?,
            '[' => {
                let rest: String = characters.clone().collect();
                if let Some(word) = ["[:<:]]", "[:>:]]"].into_iter().find(|word| rest.starts_with(word)) {
                    out.push_str(if word.contains('<') { "\\b{start}" } else { "\\b{end}" });
                    characters.by_ref().take(word.len()).for_each(drop);
                } else {
                    class(&mut characters, &mut out);
                }
            }
            '(' if characters.peek() == Some(&'?') => {
                let mut ahead = characters.clone();
                ahead.next();
                if matches!(ahead.peek(), Some('=' | '!' | '<')) {
                    return Err(SqlError::unsupported("looking ahead or behind in a regular expression"));
                }
                out.push('(');
            }
            '{' if !characters.peek().is_some_and(char::is_ascii_digit) => out.push_str("\\{"),
            other => out.push(other),
        }
    }
    Ok(out)
}

fn escape(escaped: Option<char>, out: &mut String) -> Result<()> {
    match escaped {
        Some('y') => out.push_str("\\b"),
        Some('Y') => out.push_str("\\B"),
        Some('m') => out.push_str("\\b{start}"),
        Some('M') => out.push_str("\\b{end}"),
        Some('Z') => out.push_str("\\z"),
        Some('B') => out.push_str("\\\\"),
        Some('e') => out.push_str("\\x1B"),
        Some('1'..='9') => return Err(SqlError::unsupported("a back reference in a regular expression")),
        Some(other) if other.is_alphanumeric() || other.is_ascii_punctuation() => out.extend(['\\', other]),
        Some(other) => out.push(other),
        None => return Err(invalid("invalid escape \\ sequence")),
    }
    Ok(())
}

/// A class in brackets: what begins a class or joins two inside of one is a character here.
fn class(characters: &mut std::iter::Peekable<std::str::Chars>, out: &mut String) {
    out.push('[');
    if let Some(caret) = characters.next_if_eq(&'^') {
        out.push(caret);
    }
    let mut first = true;
    while let Some(character) = characters.next() {
        match character {
            ']' if !first => {
                out.push(']');
                return;
            }
            ']' => out.push_str("\\]"),
            '[' if characters.peek() == Some(&':') => {
                out.push('[');
                for inner in characters.by_ref() {
                    out.push(inner);
                    if inner == ']' {
                        break;
                    }
                }
            }
            '[' | '&' | '~' => out.extend(['\\', character]),
            '\\' => {
                out.push('\\');
                out.extend(characters.next());
            }
            '-' if characters.peek() == Some(&'-') => out.push_str("\\-"),
            other => out.push(other),
        }
        first = false;
    }
}

/// Calls `f` with each match from the byte `from` on, until it says no. A match of nothing may follow another match,
/// unless `degenerate` ones are left out: at the start, at the end or after a match.
pub fn each_match<'t>(
    regex: &Regex,
    text: &'t str,
    from: usize,
    degenerate: bool,
    mut f: impl FnMut(&Captures<'t>) -> bool,
) {
    let (mut search, mut end) = (from, 0);
    while search <= text.len() {
        let Some(found) = regex.captures_at(text, search) else { return };
        let Some(whole) = found.get(0) else { return };
        if (degenerate || (whole.start() < text.len() && whole.end() > end)) && !f(&found) {
            return;
        }
        end = whole.end();
        search = match whole.is_empty() {
            true => end + text[end..].chars().next().map_or(1, char::len_utf8),
            false => end,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_and_classes_of_postgres_are_translated() {
        assert_eq!(translated(r"\mfoo\M|\y").unwrap(), r"\b{start}foo\b{end}|\b");
        assert_eq!(translated("[^]a[:alpha:]&[]x{").unwrap(), r"[^\]a[:alpha:]\&\[]x\{");
        assert_eq!(translated(r"(a)\1").unwrap_err().state(), SqlState::FEATURE_NOT_SUPPORTED);
    }
}
