//! PostgreSQL's regular expressions as the `regex` crate reads them, and their matches.

use super::backtrack;
use super::engine::{Groups, Pattern};
use millrace_types::{Result, SqlError, SqlState};
use std::cell::RefCell;

/// The last pattern, compiled: nearly always the one of the next row.
#[derive(Default)]
pub struct Patterns(RefCell<Option<(String, String, Pattern)>>);

impl Patterns {
    /// Calls `f` with a pattern under flags, compiled.
    pub fn with<T>(&self, pattern: &str, flags: &str, f: impl FnOnce(&Pattern) -> Result<T>) -> Result<T> {
        let mut last = self.0.borrow_mut();
        match last.as_ref() {
            Some((known, with, regex)) if known == pattern && with == flags => f(regex),
            _ => {
                let regex = compiled(pattern, flags)?;
                let result = f(&regex);
                *last = Some((pattern.to_owned(), flags.to_owned(), regex));
                result
            }
        }
    }
}

/// How a pattern is read.
#[derive(Clone, Copy, Default)]
pub struct Options {
    pub ignores_case: bool,
    /// Whether a dot does not match the end of a line.
    pub stops_at_lines: bool,
    /// Whether `^` and `$` match at each line.
    pub anchors_at_lines: bool,
    pub ignores_blanks: bool,
}

/// A pattern of Postgres with its flags.
pub fn compiled(pattern: &str, flags: &str) -> Result<Pattern> {
    let literal = flags.contains('q');
    let options = flagged(Options::default(), flags)?;
    let text = match pattern.strip_prefix("***=") {
        Some(rest) => regex::escape(rest),
        None if literal => regex::escape(pattern),
        None => {
            let pattern = pattern.strip_prefix("***:").unwrap_or(pattern);
            match translated(pattern)? {
                Some(text) => text,
                None => return backtrack::read(pattern, options).map(Pattern::Backtracking),
            }
        }
    };
    let built = regex::RegexBuilder::new(&text)
        .case_insensitive(options.ignores_case)
        .dot_matches_new_line(!options.stops_at_lines)
        .multi_line(options.anchors_at_lines)
        .ignore_whitespace(options.ignores_blanks)
        .build();
    built.map(Pattern::Linear).map_err(|error| invalid(reason(&error.to_string())))
}

/// The options with those that flags say.
pub fn flagged(mut options: Options, flags: &str) -> Result<Options> {
    for flag in flags.chars() {
        let lines = match flag {
            'g' | 'q' | 'e' | 't' => None,
            'i' | 'c' => {
                options.ignores_case = flag == 'i';
                None
            }
            'n' | 'm' => Some((true, true)),
            'p' => Some((true, false)),
            'w' => Some((false, true)),
            's' => Some((false, false)),
            'x' => {
                options.ignores_blanks = true;
                None
            }
            other => {
                let message = format!("invalid regular expression option: \"{other}\"");
                return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message));
            }
        };
        if let Some(lines) = lines {
            (options.stops_at_lines, options.anchors_at_lines) = lines;
        }
    }
    Ok(options)
}

pub fn invalid(reason: &str) -> SqlError {
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
/// have a meaning in the crate's syntax alone; `None` where it refers back or looks around.
fn translated(pattern: &str) -> Result<Option<String>> {
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut characters = pattern.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\\' if characters.peek().is_some_and(|escaped| matches!(escaped, '1'..='9')) => return Ok(None),
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
                    return Ok(None);
                }
                out.push('(');
            }
            '{' if !characters.peek().is_some_and(char::is_ascii_digit) => out.push_str("\\{"),
            other => out.push(other),
        }
    }
    Ok(Some(out))
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
        Some(other) if other.is_alphanumeric() || other.is_ascii_punctuation() => out.extend(['\\', other]),
        Some(other) => out.push(other),
        None => return Err(invalid("invalid escape \\ sequence")),
    }
    Ok(())
}

/// A class in brackets: what begins a class or joins two inside of one is a character here.
pub fn class(characters: &mut std::iter::Peekable<std::str::Chars>, out: &mut String) {
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
    pattern: &Pattern,
    text: &'t str,
    from: usize,
    degenerate: bool,
    mut f: impl FnMut(&Groups<'t>) -> bool,
) -> Result<()> {
    let (mut search, mut end) = (from, 0);
    while search <= text.len() {
        let Some(found) = pattern.groups_at(text, search)? else { return Ok(()) };
        let Some(whole) = found.get(0) else { return Ok(()) };
        if (degenerate || (whole.start < text.len() && whole.end > end)) && !f(&found) {
            return Ok(());
        }
        end = whole.end;
        search = match whole.start == end {
            true => end + text[end..].chars().next().map_or(1, char::len_utf8),
            false => end,
        };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_and_classes_of_postgres_are_translated() {
        let linear = |pattern: &str| Some(pattern.to_owned());
        assert_eq!(translated(r"\mfoo\M|\y").unwrap(), linear(r"\b{start}foo\b{end}|\b"));
        assert_eq!(translated("[^]a[:alpha:]&[]x{").unwrap(), linear(r"[^\]a[:alpha:]\&\[]x\{"));
        assert_eq!([translated(r"(a)\1").unwrap(), translated("a(?=b)").unwrap()], [None, None]);
    }
}
