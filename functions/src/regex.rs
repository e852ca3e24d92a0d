//! Functions over regular expressions.

use crate::function::{Call, Overload, immutable};
use arrow::array::{Array, ArrayRef, ListBuilder, StringViewBuilder};
use arrow::datatypes::Int32Type;
use datafusion::logical_expr::ScalarUDF;
use millrace_types::{Result, SqlError, SqlState, SqlType};
use regex::{Regex, RegexBuilder};
use std::cell::RefCell;
use std::sync::Arc;

const TEXT: SqlType = SqlType::Text;

/// The functions of this family that give texts or numbers.
pub fn functions() -> Vec<ScalarUDF> {
    vec![
        immutable(
            "regexp_replace",
            &[],
            vec![
                Overload::new(&[TEXT, TEXT, TEXT], TEXT, |call| replaced(call, false)),
                Overload::new(&[TEXT, TEXT, TEXT, TEXT], TEXT, |call| replaced(call, true)),
            ],
        ),
        immutable(
            "regexp_like",
            &[],
            vec![
                Overload::new(&[TEXT, TEXT], SqlType::Bool, |call| likes(call, false)),
                Overload::new(&[TEXT, TEXT, TEXT], SqlType::Bool, |call| likes(call, true)),
            ],
        ),
        immutable(
            "regexp_count",
            &[],
            vec![Overload::new(&[TEXT, TEXT], SqlType::Int4, |call| {
                let patterns = Patterns::default();
                call.values::<Int32Type>(|row| {
                    let found =
                        patterns.with(call.text(1).value(row), "", |p| p.find_iter(call.text(0).value(row)).count())?;
                    Ok(Some(found as i32))
                })
            })],
        ),
        immutable(
            "regexp_substr",
            &[],
            vec![Overload::new(&[TEXT, TEXT], TEXT, |call| {
                let patterns = Patterns::default();
                call.texts(|row| {
                    patterns.with(call.text(1).value(row), "", |p| {
                        p.find(call.text(0).value(row)).map(|found| found.as_str().to_owned())
                    })
                })
            })],
        ),
        immutable(
            "regexp_match",
            &[],
            vec![
                Overload::new(&[TEXT, TEXT], texts(), |call| matched(call, false)),
                Overload::new(&[TEXT, TEXT, TEXT], texts(), |call| matched(call, true)),
            ],
        ),
        immutable("regexp_split_to_array", &[], vec![Overload::new(&[TEXT, TEXT], texts(), split)]),
        immutable(
            "string_to_array",
            &[],
            vec![
                Overload::new(&[TEXT, TEXT], texts(), string_to_array),
                Overload::new(&[TEXT, TEXT, TEXT], texts(), string_to_array),
            ],
        ),
    ]
}

fn texts() -> SqlType {
    SqlType::Array(Box::new(TEXT))
}

/// The last pattern, compiled: nearly always the one of the next row.
#[derive(Default)]
struct Patterns(RefCell<Option<(String, String, Regex)>>);

impl Patterns {
    fn with<T>(&self, pattern: &str, flags: &str, f: impl FnOnce(&Regex) -> T) -> Result<T> {
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

fn compiled(pattern: &str, flags: &str) -> Result<Regex> {
    let mut builder = RegexBuilder::new(pattern);
    // In Postgres a dot matches a newline, too.
    builder.dot_matches_new_line(true);
    for flag in flags.chars() {
        match flag {
            'g' => {}
            'i' => drop(builder.case_insensitive(true)),
            'c' => drop(builder.case_insensitive(false)),
            'n' | 'm' => drop(builder.dot_matches_new_line(false).multi_line(true)),
            's' => drop(builder.dot_matches_new_line(true).multi_line(false)),
            'x' => drop(builder.ignore_whitespace(true)),
            other => {
                let message = format!("invalid regular expression option: \"{other}\"");
                return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message));
            }
        }
    }
    builder.build().map_err(|error| {
        let reason = error.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        SqlError::new(SqlState::INVALID_REGULAR_EXPRESSION, format!("invalid regular expression: {reason}"))
    })
}

/// `\1` and `\&` in Postgres's replacements as the regex crate writes them.
fn replacement(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '$' => out.push_str("$$"),
            '\\' => match chars.next() {
                Some(digit @ '1'..='9') => out.extend(["${", digit.encode_utf8(&mut [0; 4]), "}"]),
                Some('&') => out.push_str("${0}"),
                Some('\\') => out.push('\\'),
                Some(other) => out.extend(['\\', other]),
                None => out.push('\\'),
            },
            c => out.push(c),
        }
    }
    out
}

fn replaced(call: &Call, with_flags: bool) -> Result<ArrayRef> {
    let patterns = Patterns::default();
    call.texts(|row| {
        let flags = if with_flags { call.text(3).value(row) } else { "" };
        let (text, with) = (call.text(0).value(row), replacement(call.text(2).value(row)));
        let limit = usize::from(!flags.contains('g'));
        patterns.with(call.text(1).value(row), flags, |p| Some(p.replacen(text, limit, with.as_str()).into_owned()))
    })
}

fn likes(call: &Call, with_flags: bool) -> Result<ArrayRef> {
    let patterns = Patterns::default();
    call.booleans(|row| {
        let flags = if with_flags { call.text(2).value(row) } else { "" };
        patterns.with(call.text(1).value(row), flags, |p| Some(p.is_match(call.text(0).value(row))))
    })
}

/// `substring(text from pattern)`: the first group, or the whole match without groups.
pub fn substring(call: &Call) -> Result<ArrayRef> {
    let patterns = Patterns::default();
    call.texts(|row| {
        patterns.with(call.text(1).value(row), "", |p| {
            let groups = p.captures(call.text(0).value(row))?;
            let group = if p.captures_len() > 1 { groups.get(1) } else { groups.get(0) };
            group.map(|found| found.as_str().to_owned())
        })
    })
}

/// The groups of the first match, or the whole match without groups; NULL without a match.
fn matched(call: &Call, with_flags: bool) -> Result<ArrayRef> {
    let patterns = Patterns::default();
    lists(call, |row, list| {
        let flags = if with_flags { call.text(2).value(row) } else { "" };
        if flags.contains('g') {
            let message = "regexp_match() does not support the \"global\" option";
            return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message)
                .with_hint("Use the regexp_matches function instead."));
        }
        patterns.with(call.text(1).value(row), flags, |p| {
            let groups = p.captures(call.text(0).value(row))?;
            let first = usize::from(p.captures_len() > 1);
            (first..p.captures_len()).for_each(|at| list.append_option(groups.get(at).map(|found| found.as_str())));
            Some(())
        })
    })
}

fn split(call: &Call) -> Result<ArrayRef> {
    let patterns = Patterns::default();
    lists(call, |row, list| {
        patterns.with(call.text(1).value(row), "", |p| {
            p.split(call.text(0).value(row)).for_each(|part| list.append_value(part));
            Some(())
        })
    })
}

/// `string_to_array`: NULL separates every character, parts that equal the third argument become NULL.
fn string_to_array(call: &Call) -> Result<ArrayRef> {
    let mut builder = ListBuilder::new(StringViewBuilder::new());
    for row in 0..call.rows {
        if call.arrays[0].is_null(row) {
            builder.append_null();
            continue;
        }
        let text = call.text(0).value(row);
        let null = (call.count() > 2 && call.arrays[2].is_valid(row)).then(|| call.text(2).value(row));
        let mut push = |part: &str| builder.values().append_option(Some(part).filter(|part| Some(*part) != null));
        match call.arrays[1].is_valid(row).then(|| call.text(1).value(row)) {
            _ if text.is_empty() => {}
            None => text.chars().for_each(|c| push(c.encode_utf8(&mut [0; 4]))),
            Some("") => push(text),
            Some(separator) => text.split(separator).for_each(push),
        }
        builder.append(true);
    }
    Ok(Arc::new(builder.finish()))
}

/// A column of arrays; `f` appends the elements of a row, or gives `None` for NULL.
fn lists(call: &Call, f: impl Fn(usize, &mut StringViewBuilder) -> Result<Option<()>>) -> Result<ArrayRef> {
    let mut builder = ListBuilder::new(StringViewBuilder::new());
    for row in 0..call.rows {
        let null = call.arrays.iter().any(|array| array.is_null(row));
        let found = if null { None } else { f(row, builder.values())? };
        builder.append(found.is_some());
    }
    Ok(Arc::new(builder.finish()))
}
