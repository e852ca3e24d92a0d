//! Functions over regular expressions, and the operators `~`, `~*` and their opposites.

mod backtrack;
mod engine;
mod pattern;

use crate::function::{Call, Overload, immutable};
use arrow::array::{Array, ArrayRef, ListBuilder, StringViewBuilder};
use arrow::datatypes::Int32Type;
use datafusion::logical_expr::ScalarUDF;
use engine::Groups;
pub use engine::Pattern;
use millrace_types::{Result, SqlError, SqlState, SqlType};
pub use pattern::{Patterns, compiled, each_match};
use std::sync::Arc;

const TEXT: SqlType = SqlType::Text;
const INT: SqlType = SqlType::Int4;

/// The functions of this family that give texts, numbers or arrays.
pub fn functions() -> Vec<ScalarUDF> {
    vec![
        immutable("textregexeq", &[], vec![Overload::new(&[TEXT, TEXT], SqlType::Bool, |call| likes(call, |_| ""))]),
        immutable("texticregexeq", &[], vec![Overload::new(&[TEXT, TEXT], SqlType::Bool, |call| likes(call, |_| "i"))]),
        immutable("regexp_replace", &[], replacements()),
        immutable(
            "regexp_like",
            &[],
            vec![
                Overload::new(&[TEXT, TEXT], SqlType::Bool, |call| likes(call, |_| "")),
                Overload::new(&[TEXT, TEXT, TEXT], SqlType::Bool, |call| {
                    each_flags_local(call, 2, "regexp_like")?;
                    likes(call, |row| call.text(2).value(row))
                }),
            ],
        ),
        immutable("regexp_count", &[], counts()),
        immutable("regexp_instr", &[], positions()),
        immutable("regexp_substr", &[], substrings()),
        immutable(
            "regexp_match",
            &[],
            vec![
                Overload::new(&[TEXT, TEXT], texts(), |call| matched(call, false)),
                Overload::new(&[TEXT, TEXT, TEXT], texts(), |call| matched(call, true)),
            ],
        ),
        immutable(
            "regexp_split_to_array",
            &[],
            vec![
                Overload::new(&[TEXT, TEXT], texts(), |call| split(call, "regexp_split_to_array")),
                Overload::new(&[TEXT, TEXT, TEXT], texts(), |call| split(call, "regexp_split_to_array")),
            ],
        ),
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

/// `regexp_replace(text, pattern, with [, flags])` and `(text, pattern, with, start [, n [, flags]])`.
fn replacements() -> Vec<Overload> {
    vec![
        Overload::new(&[TEXT, TEXT, TEXT], TEXT, |call| replaced(call, Nth::First, None)),
        Overload::new(&[TEXT, TEXT, TEXT, TEXT], TEXT, |call| replaced(call, Nth::Flagged, Some(3))),
        Overload::new(&[TEXT, TEXT, TEXT, INT], TEXT, |call| replaced(call, Nth::First, None)),
        Overload::new(&[TEXT, TEXT, TEXT, INT, INT], TEXT, |call| replaced(call, Nth::Given, None)),
        Overload::new(&[TEXT, TEXT, TEXT, INT, INT, TEXT], TEXT, |call| replaced(call, Nth::Given, Some(5))),
    ]
}

fn counts() -> Vec<Overload> {
    vec![
        Overload::new(&[TEXT, TEXT], INT, count),
        Overload::new(&[TEXT, TEXT, INT], INT, count),
        Overload::new(&[TEXT, TEXT, INT, TEXT], INT, count),
    ]
}

fn positions() -> Vec<Overload> {
    vec![
        Overload::new(&[TEXT, TEXT], INT, instr),
        Overload::new(&[TEXT, TEXT, INT], INT, instr),
        Overload::new(&[TEXT, TEXT, INT, INT], INT, instr),
        Overload::new(&[TEXT, TEXT, INT, INT, INT], INT, instr),
        Overload::new(&[TEXT, TEXT, INT, INT, INT, TEXT], INT, instr),
        Overload::new(&[TEXT, TEXT, INT, INT, INT, TEXT, INT], INT, instr),
    ]
}

fn substrings() -> Vec<Overload> {
    vec![
        Overload::new(&[TEXT, TEXT], TEXT, substr),
        Overload::new(&[TEXT, TEXT, INT], TEXT, substr),
        Overload::new(&[TEXT, TEXT, INT, INT], TEXT, substr),
        Overload::new(&[TEXT, TEXT, INT, INT, TEXT], TEXT, substr),
        Overload::new(&[TEXT, TEXT, INT, INT, TEXT, INT], TEXT, substr),
    ]
}

/// Which matches are replaced.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Nth {
    First,
    /// All, when the flags hold a `g`.
    Flagged,
    /// That of the fifth argument, all when it is zero.
    Given,
}

/// An integer argument that has a least value.
fn at_least(call: &Call, at: usize, row: usize, name: &str, least: i32) -> Result<usize> {
    let value = call.value::<Int32Type>(at, row);
    if value < least {
        let message = format!("invalid value for parameter \"{name}\": {value}");
        return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message));
    }
    Ok(value as usize)
}

/// As [`at_least`], or `default` where the call has no such argument.
fn optional(call: &Call, at: usize, row: usize, name: &str, least: i32, default: usize) -> Result<usize> {
    if at < call.count() { at_least(call, at, row, name, least) } else { Ok(default) }
}

fn optional_text<'a>(call: &'a Call, at: usize, row: usize) -> &'a str {
    if at < call.count() { call.text(at).value(row) } else { "" }
}

/// The byte where the character of this number, from 1, begins; beyond the end when there is none.
fn byte_of(text: &str, character: usize) -> usize {
    let mut starts = text.char_indices().map(|(at, _)| at).chain([text.len()]);
    starts.nth(character - 1).unwrap_or(text.len() + 1)
}

/// Refuses the flag `g` in a function that says by itself how many matches it takes.
fn local(flags: &str, function: &str) -> Result<()> {
    if !flags.contains('g') {
        return Ok(());
    }
    let message = format!("{function}() does not support the \"global\" option");
    Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message))
}

fn each_flags_local(call: &Call, at: usize, function: &str) -> Result<()> {
    call.text(at).iter().flatten().try_for_each(|flags| local(flags, function))
}

/// What stands in place of a match: `\1` is a group of it, `\&` all of it.
fn expand(with: &str, found: &Groups, out: &mut String) {
    let mut chars = with.chars().peekable();
    while let Some(c) = chars.next() {
        let group = match (c, chars.peek()) {
            ('\\', Some(digit @ '1'..='9')) => Some(*digit as usize - '0' as usize),
            ('\\', Some('&')) => Some(0),
            ('\\', Some('\\')) => {
                chars.next();
                out.push('\\');
                continue;
            }
            _ => None,
        };
        match group {
            Some(group) => {
                chars.next();
                out.push_str(found.text(group).unwrap_or_default());
            }
            None => out.push(c),
        }
    }
}

fn replaced(call: &Call, nth: Nth, flags_at: Option<usize>) -> Result<ArrayRef> {
    let patterns = Patterns::default();
    call.texts(|row| {
        let flags = flags_at.map_or("", |at| call.text(at).value(row));
        let wanted = match nth {
            Nth::First => 1,
            Nth::Flagged => usize::from(!flags.contains('g')),
            Nth::Given => at_least(call, 4, row, "n", 0)?,
        };
        let start = if call.count() > 3 && flags_at != Some(3) { at_least(call, 3, row, "start", 1)? } else { 1 };
        let (text, with) = (call.text(0).value(row), call.text(2).value(row));
        patterns.with(call.text(1).value(row), flags, |pattern| {
            let (mut out, mut copied, mut seen) = (String::new(), 0, 0);
            each_match(pattern, text, byte_of(text, start), true, |found| {
                seen += 1;
                if let Some(whole) = found.get(0).filter(|_| wanted == 0 || seen == wanted) {
                    out.push_str(&text[copied..whole.start]);
                    expand(with, found, &mut out);
                    copied = whole.end;
                }
                wanted == 0 || seen < wanted
            })?;
            out.push_str(&text[copied..]);
            Ok(Some(out))
        })
    })
}

fn likes<'a>(call: &'a Call, flags: impl Fn(usize) -> &'a str) -> Result<ArrayRef> {
    let patterns = Patterns::default();
    call.booleans(|row| {
        patterns.with(call.text(1).value(row), flags(row), |p| p.is_match(call.text(0).value(row)).map(Some))
    })
}

fn count(call: &Call) -> Result<ArrayRef> {
    let patterns = Patterns::default();
    call.values::<Int32Type>(|row| {
        let (text, flags) = (call.text(0).value(row), optional_text(call, 3, row));
        local(flags, "regexp_count")?;
        let start = optional(call, 2, row, "start", 1, 1)?;
        patterns.with(call.text(1).value(row), flags, |pattern| {
            let mut count = 0;
            each_match(pattern, text, byte_of(text, start), true, |_| {
                count += 1;
                true
            })?;
            Ok(Some(count))
        })
    })
}

/// The bytes of a group of the nth match from a character on; `None` without such a match or group.
struct Sought {
    start: usize,
    nth: usize,
    group: usize,
}

impl Sought {
    fn of(call: &Call, row: usize, group_at: usize) -> Result<Sought> {
        Ok(Sought {
            start: optional(call, 2, row, "start", 1, 1)?,
            nth: optional(call, 3, row, "n", 1, 1)?,
            group: optional(call, group_at, row, "subexpr", 0, 0)?,
        })
    }

    fn find(&self, pattern: &Pattern, text: &str) -> Result<Option<(usize, usize)>> {
        let (mut seen, mut range) = (0, None);
        each_match(pattern, text, byte_of(text, self.start), true, |found| {
            seen += 1;
            if seen == self.nth {
                range = found.get(self.group).map(|group| (group.start, group.end));
            }
            seen < self.nth
        })?;
        Ok(range)
    }
}

fn instr(call: &Call) -> Result<ArrayRef> {
    let patterns = Patterns::default();
    call.values::<Int32Type>(|row| {
        let (text, flags) = (call.text(0).value(row), optional_text(call, 5, row));
        local(flags, "regexp_instr")?;
        let sought = Sought::of(call, row, 6)?;
        let end = optional(call, 4, row, "endoption", 0, 0)?;
        if end > 1 {
            let message = format!("invalid value for parameter \"endoption\": {end}");
            return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message));
        }
        let found = patterns.with(call.text(1).value(row), flags, |pattern| sought.find(pattern, text))?;
        let place = |byte: usize| text[..byte].chars().count() as i32 + 1;
        Ok(Some(found.map_or(0, |(from, to)| place(if end == 1 { to } else { from }))))
    })
}

fn substr(call: &Call) -> Result<ArrayRef> {
    let patterns = Patterns::default();
    call.texts(|row| {
        let (text, flags) = (call.text(0).value(row), optional_text(call, 4, row));
        local(flags, "regexp_substr")?;
        let sought = Sought::of(call, row, 5)?;
        let found = patterns.with(call.text(1).value(row), flags, |pattern| sought.find(pattern, text))?;
        Ok(found.map(|(from, to)| &text[from..to]))
    })
}

/// `substring(text from pattern)`: the first group, or the whole match without groups.
pub fn substring(call: &Call) -> Result<ArrayRef> {
    substring_by(call, |row| Ok(call.text(1).value(row).to_owned()))
}

/// As [`substring`], with a pattern that is made for each row.
pub fn substring_by(call: &Call, pattern: impl Fn(usize) -> Result<String>) -> Result<ArrayRef> {
    let patterns = Patterns::default();
    call.texts(|row| {
        patterns.with(&pattern(row)?, "", |p| {
            let groups = p.groups_at(call.text(0).value(row), 0)?;
            let group = usize::from(p.count() > 1);
            Ok(groups.and_then(|groups| groups.text(group)).map(str::to_owned))
        })
    })
}

/// The groups of the first match, or the whole match without groups; NULL without a match.
fn matched(call: &Call, with_flags: bool) -> Result<ArrayRef> {
    let patterns = Patterns::default();
    lists(call, |row, list| {
        let flags = if with_flags { call.text(2).value(row) } else { "" };
        local(flags, "regexp_match").map_err(|error| error.with_hint("Use the regexp_matches function instead."))?;
        patterns.with(call.text(1).value(row), flags, |p| {
            let Some(groups) = p.groups_at(call.text(0).value(row), 0)? else { return Ok(None) };
            let first = usize::from(p.count() > 1);
            (first..p.count()).for_each(|at| list.append_option(groups.text(at)));
            Ok(Some(()))
        })
    })
}

/// What stands between the matches of a pattern, for the function of this name.
pub fn split(call: &Call, function: &str) -> Result<ArrayRef> {
    let patterns = Patterns::default();
    lists(call, |row, list| {
        let (text, flags) = (call.text(0).value(row), optional_text(call, 2, row));
        local(flags, function)?;
        patterns.with(call.text(1).value(row), flags, |pattern| {
            let mut from = 0;
            each_match(pattern, text, 0, false, |found| {
                if let Some(whole) = found.get(0) {
                    list.append_value(&text[from..whole.start]);
                    from = whole.end;
                }
                true
            })?;
            list.append_value(&text[from..]);
            Ok(Some(()))
        })
    })
}

/// `string_to_array`: NULL separates every character, parts that equal the third argument become NULL.
pub fn string_to_array(call: &Call) -> Result<ArrayRef> {
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
