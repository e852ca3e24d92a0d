//! Functions over `bytea`, and between it and text.

use super::encoding;
use crate::function::{Call, Overload, immutable};
use arrow::array::{Array, ArrayRef, AsArray, BinaryBuilder};
use arrow::datatypes::{BinaryType, Int32Type, Int64Type};
use datafusion::logical_expr::ScalarUDF;
use millrace_types::{Result, SqlError, SqlState, SqlType};
use std::sync::Arc;

const TEXT: SqlType = SqlType::Text;
const INT: SqlType = SqlType::Int4;
const BYTEA: SqlType = SqlType::Bytea;

/// The functions that take or give bytes alone. Those that do the same to texts stand with them.
pub fn functions() -> Vec<ScalarUDF> {
    vec![
        immutable(
            "encode",
            &[],
            vec![Overload::new(&[BYTEA, TEXT], TEXT, |call| {
                call.texts(|row| encoding::encoded(bytes(call, 0, row), call.text(1).value(row)).map(Some))
            })],
        ),
        immutable("decode", &[], vec![Overload::new(&[TEXT, TEXT], BYTEA, encoding::decode)]),
        immutable(
            "convert_from",
            &[],
            vec![Overload::new(&[BYTEA, TEXT], TEXT, |call| {
                call.texts(|row| decoded(bytes(call, 0, row), call.text(1).value(row)).map(Some))
            })],
        ),
        immutable(
            "convert_to",
            &[],
            vec![Overload::new(&[TEXT, TEXT], BYTEA, |call| {
                call.byteas(|row| recoded(call.text(0).value(row), call.text(1).value(row)))
            })],
        ),
        immutable(
            "convert",
            &[],
            vec![Overload::new(&[BYTEA, TEXT, TEXT], BYTEA, |call| {
                call.byteas(|row| {
                    recoded(&decoded(bytes(call, 0, row), call.text(1).value(row))?, call.text(2).value(row))
                })
            })],
        ),
        immutable(
            "byteacat",
            &[],
            vec![Overload::new(&[BYTEA, BYTEA], BYTEA, |call| {
                call.byteas(|row| Ok([bytes(call, 0, row), bytes(call, 1, row)].concat()))
            })],
        ),
        immutable(
            "get_byte",
            &[],
            vec![Overload::new(&[BYTEA, INT], INT, |call| {
                call.values::<Int32Type>(|row| {
                    let at = within(call.value::<Int32Type>(1, row), bytes(call, 0, row).len())?;
                    Ok(Some(bytes(call, 0, row)[at].into()))
                })
            })],
        ),
        immutable(
            "set_byte",
            &[],
            vec![Overload::new(&[BYTEA, INT, INT], BYTEA, |call| {
                call.byteas(|row| {
                    let mut changed = bytes(call, 0, row).to_vec();
                    let at = within(call.value::<Int32Type>(1, row), changed.len())?;
                    changed[at] = call.value::<Int32Type>(2, row) as u8;
                    Ok(changed)
                })
            })],
        ),
        immutable(
            "bit_count",
            &[],
            vec![Overload::new(&[BYTEA], SqlType::Int8, |call| {
                call.values::<Int64Type>(|row| {
                    Ok(Some(bytes(call, 0, row).iter().map(|byte| i64::from(byte.count_ones())).sum()))
                })
            })],
        ),
        immutable(
            "get_bit",
            &[],
            vec![Overload::new(&[BYTEA, SqlType::Int8], INT, |call| {
                call.values::<Int32Type>(|row| {
                    let at = bit(call, row)?;
                    Ok(Some((bytes(call, 0, row)[at / 8] >> (at % 8) & 1).into()))
                })
            })],
        ),
        immutable(
            "set_bit",
            &[],
            vec![Overload::new(&[BYTEA, SqlType::Int8, INT], BYTEA, |call| {
                call.byteas(|row| {
                    let (at, mut changed) = (bit(call, row)?, bytes(call, 0, row).to_vec());
                    let one = 1 << (at % 8);
                    match call.value::<Int32Type>(2, row) {
                        0 => changed[at / 8] &= !one,
                        1 => changed[at / 8] |= one,
                        _ => {
                            let message = "new bit must be 0 or 1";
                            return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message));
                        }
                    }
                    Ok(changed)
                })
            })],
        ),
    ]
}

/// `overlay(bytes placing others from start for length)`
pub fn overlaid(call: &Call, row: usize, length: Option<i32>) -> Result<Vec<u8>> {
    let (all, with, start) = (bytes(call, 0, row), bytes(call, 1, row), call.value::<Int32Type>(2, row));
    if start <= 0 {
        return Err(SqlError::new(SqlState::SUBSTRING_ERROR, "negative substring length not allowed"));
    }
    let from = (start as usize - 1).min(all.len());
    let cut = length.map_or(with.len() as i64, i64::from);
    let rest = (i64::from(start) - 1 + cut).clamp(0, all.len() as i64) as usize;
    Ok([&all[..from], with, &all[rest..]].concat())
}

/// The bytes of an argument.
pub fn bytes<'a>(call: &'a Call, at: usize, row: usize) -> &'a [u8] {
    call.arrays[at].as_bytes::<BinaryType>().value(row)
}

impl Call<'_> {
    /// A column of bytes; rows with a NULL argument give NULL.
    pub fn byteas(&self, f: impl Fn(usize) -> Result<Vec<u8>>) -> Result<ArrayRef> {
        let mut builder = BinaryBuilder::with_capacity(self.rows, self.rows * 16);
        for row in 0..self.rows {
            match self.arrays.iter().any(|array| array.is_null(row)) {
                true => builder.append_null(),
                false => builder.append_value(f(row)?),
            }
        }
        Ok(Arc::new(builder.finish()))
    }
}

fn within(at: i32, length: usize) -> Result<usize> {
    usize::try_from(at).ok().filter(|at| *at < length).ok_or_else(|| {
        let message = format!("index {at} out of valid range, 0..{}", length as i64 - 1);
        SqlError::new(SqlState("2202E"), message)
    })
}

fn bit(call: &Call, row: usize) -> Result<usize> {
    let at = call.value::<Int64Type>(1, row);
    let length = bytes(call, 0, row).len() * 8;
    usize::try_from(at).ok().filter(|at| *at < length).ok_or_else(|| {
        let message = format!("index {at} out of valid range, 0..{}", length as i64 - 1);
        SqlError::new(SqlState("2202E"), message)
    })
}

/// The encodings that there are.
#[derive(Clone, Copy)]
enum Encoding {
    Utf8,
    Latin1,
    Ascii,
}

fn encoding_named(name: &str) -> Result<Encoding> {
    let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_lowercase();
    match plain.as_str() {
        "utf8" | "unicode" => Ok(Encoding::Utf8),
        "latin1" | "iso88591" => Ok(Encoding::Latin1),
        "sqlascii" => Ok(Encoding::Ascii),
        _ => Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, format!("invalid encoding name \"{name}\""))),
    }
}

fn decoded(bytes: &[u8], encoding: &str) -> Result<String> {
    match encoding_named(encoding)? {
        Encoding::Latin1 => Ok(bytes.iter().map(|byte| char::from(*byte)).collect()),
        Encoding::Utf8 | Encoding::Ascii => String::from_utf8(bytes.to_vec()).map_err(|error| {
            let bad = &bytes[error.utf8_error().valid_up_to()..];
            let length = error.utf8_error().error_len().unwrap_or(bad.len());
            let shown: Vec<_> = bad.iter().take(length.max(1)).map(|byte| format!("0x{byte:02x}")).collect();
            let message = format!("invalid byte sequence for encoding \"UTF8\": {}", shown.join(" "));
            SqlError::new(SqlState("22021"), message)
        }),
    }
}

fn recoded(text: &str, encoding: &str) -> Result<Vec<u8>> {
    match encoding_named(encoding)? {
        Encoding::Utf8 | Encoding::Ascii => Ok(text.as_bytes().to_vec()),
        Encoding::Latin1 => text.chars().map(|c| u8::try_from(u32::from(c)).map_err(|_| untranslatable(c))).collect(),
    }
}

fn untranslatable(character: char) -> SqlError {
    let mut buffer = [0; 4];
    let shown: Vec<_> = character.encode_utf8(&mut buffer).bytes().map(|byte| format!("0x{byte:02x}")).collect();
    let sequence = shown.join(" ");
    let message = format!(
        "character with byte sequence {sequence} in encoding \"UTF8\" has no equivalent in encoding \"LATIN1\""
    );
    SqlError::new(SqlState("22P05"), message)
}

/// The part of some bytes that `substring(b from start for length)` gives.
pub fn slice<'a>(call: &'a Call, row: usize, length: Option<i32>) -> Result<&'a [u8]> {
    let all = bytes(call, 0, row);
    let start = i64::from(call.value::<Int32Type>(1, row));
    let end = match length {
        Some(..0) => return Err(SqlError::new(SqlState::SUBSTRING_ERROR, "negative substring length not allowed")),
        Some(length) => start + i64::from(length),
        None => i64::MAX,
    };
    let place = |at: i64| (at.max(1) - 1).min(all.len() as i64) as usize;
    Ok(&all[place(start)..place(end).max(place(start))])
}

/// Where some bytes begin in others, from 1; 0 when they do not.
pub fn position(all: &[u8], sought: &[u8]) -> i32 {
    match sought.is_empty() {
        true => 1,
        false => all.windows(sought.len()).position(|window| window == sought).map_or(0, |at| at as i32 + 1),
    }
}

/// Bytes without those of a set at either end.
pub fn trimmed<'a>(all: &'a [u8], set: &[u8], left: bool, right: bool) -> &'a [u8] {
    let keep = |byte: &u8| !set.contains(byte);
    let from = if left { all.iter().position(keep).unwrap_or(all.len()) } else { 0 };
    let to = if right { all.iter().rposition(keep).map_or(0, |last| last + 1) } else { all.len() };
    &all[from..to.max(from)]
}
