//! Functions over text.

mod bytes;
mod encoding;
mod plain;
mod quote;
mod template;
mod unicode;

pub use bytes::functions as byte_functions;
pub use encoding::hex_bytes;
pub use plain::functions as plain_functions;

use quote::{quote_ident, quote_literal, quote_nullable};
use template::formatted;

use crate::format::text_of;
use crate::function::{Call, Overload, immutable};
use arrow::array::{Array, ArrayRef, StringViewArray, StringViewBuilder};
use arrow::datatypes::{DataType, Int32Type, Int64Type};
use datafusion::logical_expr::ScalarUDF;
use millrace_types::{Result, SqlError, SqlState, SqlType, sql_type_of};
use std::sync::Arc;

const TEXT: SqlType = SqlType::Text;
const INT: SqlType = SqlType::Int4;
const BYTEA: SqlType = SqlType::Bytea;
const ANY: SqlType = SqlType::Unknown;
/// Bytes that a value may have, as in Postgres.
const BYTES_MAX: usize = (1 << 30) - 1;

/// The functions of this family.
pub fn functions() -> Vec<ScalarUDF> {
    vec![
        immutable(
            "||",
            &[],
            vec![Overload::new(&[TEXT, TEXT], TEXT, |call| {
                call.texts(|row| Ok(Some([call.text(0).value(row), call.text(1).value(row)].concat())))
            })],
        ),
        immutable(
            "unistr",
            &[],
            vec![Overload::new(&[TEXT], TEXT, |call| {
                call.texts(|row| unicode::unescaped(call.text(0).value(row)).map(Some))
            })],
        ),
        immutable("concat", &[], vec![Overload::variadic(&[ANY], TEXT, |call| joined(call, None))]),
        immutable("concat_ws", &[], vec![Overload::variadic(&[TEXT, ANY], TEXT, |call| joined(call, Some(0)))]),
        immutable(
            "substr",
            &["substring"],
            vec![
                Overload::new(&[TEXT, INT], TEXT, |call| call.texts(|row| substring(call, row, None).map(Some))),
                Overload::new(&[TEXT, INT, INT], TEXT, |call| {
                    call.texts(|row| substring(call, row, Some(call.value::<Int32Type>(2, row))).map(Some))
                }),
                Overload::new(&[TEXT, TEXT], TEXT, crate::regex::substring),
                Overload::new(&[TEXT, TEXT, TEXT], TEXT, crate::similar::substring),
                Overload::new(&[SqlType::Bytea, INT], SqlType::Bytea, |call| {
                    call.byteas(|row| bytes::slice(call, row, None).map(<[u8]>::to_vec))
                }),
                Overload::new(&[SqlType::Bytea, INT, INT], SqlType::Bytea, |call| {
                    let length = |row| Some(call.value::<Int32Type>(2, row));
                    call.byteas(|row| bytes::slice(call, row, length(row)).map(<[u8]>::to_vec))
                }),
            ],
        ),
        immutable(
            "left",
            &[],
            vec![Overload::new(&[TEXT, INT], TEXT, |call| call.texts(|row| Ok(Some(ends(call, row).0))))],
        ),
        immutable(
            "right",
            &[],
            vec![Overload::new(&[TEXT, INT], TEXT, |call| call.texts(|row| Ok(Some(ends(call, row).1))))],
        ),
        immutable(
            "repeat",
            &[],
            vec![Overload::new(&[TEXT, INT], TEXT, |call| call.texts(|row| repeated(call, row).map(Some)))],
        ),
        immutable("lpad", &[], padding(true)),
        immutable("rpad", &[], padding(false)),
        immutable(
            "split_part",
            &[],
            vec![Overload::new(&[TEXT, TEXT, INT], TEXT, |call| call.texts(|row| split_part(call, row).map(Some)))],
        ),
        immutable(
            "initcap",
            &[],
            vec![Overload::new(&[TEXT], TEXT, |call| call.texts(|row| Ok(Some(initcap(call.text(0).value(row))))))],
        ),
        immutable(
            "ascii",
            &[],
            vec![Overload::new(&[TEXT], INT, |call| {
                call.values::<Int32Type>(|row| Ok(Some(call.text(0).value(row).chars().next().map_or(0, |c| c as i32))))
            })],
        ),
        immutable(
            "chr",
            &[],
            vec![Overload::new(&[INT], TEXT, |call| {
                call.texts(|row| character(call.value::<Int32Type>(0, row)).map(Some))
            })],
        ),
        immutable(
            "to_hex",
            &[],
            vec![
                Overload::new(&[INT], TEXT, |call| {
                    call.texts(|row| Ok(Some(format!("{:x}", call.value::<Int32Type>(0, row)))))
                }),
                Overload::new(&[SqlType::Int8], TEXT, |call| {
                    call.texts(|row| Ok(Some(format!("{:x}", call.value::<Int64Type>(0, row)))))
                }),
            ],
        ),
        immutable(
            "quote_ident",
            &[],
            vec![Overload::new(&[TEXT], TEXT, |call| call.texts(|row| Ok(Some(quote_ident(call.text(0).value(row))))))],
        ),
        immutable(
            "quote_literal",
            &[],
            vec![Overload::new(&[ANY], TEXT, |call| {
                let texts = as_texts(call, 0)?;
                call.texts(|row| Ok(Some(quote_literal(texts.value(row)))))
            })],
        ),
        immutable("quote_nullable", &[], vec![Overload::new(&[ANY], TEXT, quote_nullable)]),
        immutable(
            "format",
            &[],
            vec![Overload::new(&[TEXT], TEXT, formatted), Overload::variadic(&[TEXT, ANY], TEXT, formatted)],
        ),
        immutable(
            "overlay",
            &[],
            vec![
                Overload::new(&[TEXT, TEXT, INT], TEXT, |call| call.texts(|row| overlay(call, row, None).map(Some))),
                Overload::new(&[TEXT, TEXT, INT, INT], TEXT, |call| {
                    call.texts(|row| overlay(call, row, Some(call.value::<Int32Type>(3, row))).map(Some))
                }),
                Overload::new(&[BYTEA, BYTEA, INT], BYTEA, |call| call.byteas(|row| bytes::overlaid(call, row, None))),
                Overload::new(&[BYTEA, BYTEA, INT, INT], BYTEA, |call| {
                    call.byteas(|row| bytes::overlaid(call, row, Some(call.value::<Int32Type>(3, row))))
                }),
            ],
        ),
    ]
}

/// An argument of any type as texts.
fn as_texts(call: &Call, at: usize) -> Result<StringViewArray> {
    if call.arrays[at].data_type() == &DataType::Null {
        return Ok(StringViewArray::new_null(call.rows));
    }
    let texts = text_of(&call.arrays[at], &call.fields[at], &call.zone)?;
    // Functions show booleans as output does, unlike casts.
    match sql_type_of(&call.fields[at]) {
        SqlType::Bool => Ok(texts.iter().map(|text| text.map(|text| &text[..1])).collect()),
        _ => Ok(texts),
    }
}

/// The arguments in a row, those that are NULL left out; with a separator, which makes NULL when it is NULL.
fn joined(call: &Call, separator: Option<usize>) -> Result<ArrayRef> {
    let first = usize::from(separator.is_some());
    let columns = (first..call.count()).map(|at| as_texts(call, at)).collect::<Result<Vec<_>>>()?;
    let mut builder = StringViewBuilder::with_capacity(call.rows);
    let mut text = String::new();
    for row in 0..call.rows {
        if separator.is_some_and(|at| call.arrays[at].is_null(row)) {
            builder.append_null();
            continue;
        }
        text.clear();
        let mut empty = true;
        for column in columns.iter().filter(|column| column.is_valid(row)) {
            if let (Some(at), false) = (separator, empty) {
                text.push_str(call.text(at).value(row));
            }
            text.push_str(column.value(row));
            empty = false;
        }
        builder.append_value(&text);
    }
    Ok(Arc::new(builder.finish()))
}

/// The byte where a character stands, or the end.
fn byte_at(text: &str, character: usize) -> usize {
    if text.is_ascii() {
        return character.min(text.len());
    }
    text.char_indices().nth(character).map_or(text.len(), |(at, _)| at)
}

fn substring<'a>(call: &'a Call, row: usize, length: Option<i32>) -> Result<&'a str> {
    let text = call.text(0).value(row);
    let start = i64::from(call.value::<Int32Type>(1, row));
    let end = match length {
        Some(..0) => {
            return Err(SqlError::new(SqlState::SUBSTRING_ERROR, "negative substring length not allowed"));
        }
        Some(length) => start + i64::from(length),
        None => i64::MAX,
    };
    let from = byte_at(text, (start.max(1) - 1) as usize);
    let to = byte_at(text, (end.max(1) - 1) as usize);
    Ok(&text[from..to.max(from)])
}

/// `left(s, n)` and `right(s, n)`; a negative `n` counts from the other end.
fn ends<'a>(call: &'a Call, row: usize) -> (&'a str, &'a str) {
    let (text, n) = (call.text(0).value(row), i64::from(call.value::<Int32Type>(1, row)));
    let length = text.chars().count() as i64;
    let left = if n < 0 { length + n } else { n };
    let right = if n < 0 { -n } else { length - n };
    let cut = |at: i64| byte_at(text, at.max(0) as usize);
    (&text[..cut(left)], &text[cut(right)..])
}

fn too_large() -> SqlError {
    SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, "requested length too large")
}

fn repeated(call: &Call, row: usize) -> Result<String> {
    let (text, times) = (call.text(0).value(row), call.value::<Int32Type>(1, row).max(0) as usize);
    match text.len().checked_mul(times) {
        Some(length) if length <= BYTES_MAX => Ok(text.repeat(times)),
        _ => Err(too_large()),
    }
}

fn padding(left: bool) -> Vec<Overload> {
    vec![
        Overload::new(&[TEXT, INT], TEXT, move |call| call.texts(|row| padded(call, row, " ", left).map(Some))),
        Overload::new(&[TEXT, INT, TEXT], TEXT, move |call| {
            call.texts(|row| padded(call, row, call.text(2).value(row), left).map(Some))
        }),
    ]
}

fn padded(call: &Call, row: usize, fill: &str, left: bool) -> Result<String> {
    let (text, length) = (call.text(0).value(row), call.value::<Int32Type>(1, row).max(0) as usize);
    if length > BYTES_MAX / 4 {
        return Err(too_large());
    }
    let have = text.chars().count();
    if have >= length || fill.is_empty() {
        return Ok(text[..byte_at(text, length)].to_owned());
    }
    let missing: String = fill.chars().cycle().take(length - have).collect();
    Ok(if left { missing + text } else { text.to_owned() + &missing })
}

fn split_part<'a>(call: &'a Call, row: usize) -> Result<&'a str> {
    let (text, separator, n) = (call.text(0).value(row), call.text(1).value(row), call.value::<Int32Type>(2, row));
    if n == 0 {
        let message = "field position must not be zero";
        return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message));
    }
    if separator.is_empty() {
        return Ok(if n == 1 || n == -1 { text } else { "" });
    }
    let at = n.unsigned_abs() as usize - 1;
    let found = if n > 0 { text.split(separator).nth(at) } else { text.rsplit(separator).nth(at) };
    Ok(found.unwrap_or(""))
}

fn initcap(text: &str) -> String {
    let mut inside = false;
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match inside {
            true => out.extend(c.to_lowercase()),
            false => out.extend(c.to_uppercase()),
        }
        inside = c.is_alphanumeric();
    }
    out
}

fn character(code: i32) -> Result<String> {
    let fail = |message: String| SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message);
    match code {
        0 => Err(fail("null character not permitted".to_owned())),
        ..0 => Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, "character number must be positive")),
        code => char::from_u32(code as u32).map(String::from).ok_or_else(|| match code {
            0x11_0000.. => fail("requested character too large for encoding: ".to_owned() + &code.to_string()),
            _ => fail(format!("requested character not valid for encoding: {code}")),
        }),
    }
}

fn overlay(call: &Call, row: usize, length: Option<i32>) -> Result<String> {
    let (text, with, start) = (call.text(0).value(row), call.text(1).value(row), call.value::<Int32Type>(2, row));
    if start <= 0 {
        return Err(SqlError::new(SqlState::SUBSTRING_ERROR, "negative substring length not allowed"));
    }
    let from = i64::from(start) - 1;
    let cut = length.map_or(with.chars().count() as i64, i64::from);
    let head = &text[..byte_at(text, from as usize)];
    let tail = &text[byte_at(text, (from + cut).max(0) as usize)..];
    Ok([head, with, tail].concat())
}
