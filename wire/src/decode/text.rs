//! Columns of text to arrays of each type.

use super::{RowError, array, datetime, interval, invalid_syntax, json, numeric};
use crate::format::TextFormat;
use arrow::array::*;
use arrow::datatypes::*;
use millrace_types::{Result, SqlError, SqlState, SqlType};
use std::str::FromStr;
use std::sync::Arc;

/// Reads values of a type from text, as Postgres's input functions do. `None` is null. The array has
/// [`SqlType::arrow`]'s type; text of an unknown type stays text.
///
/// Names of relations, types and functions (`regclass` ...) are read as numbers only: nothing here knows a catalog.
pub fn parse_text(
    sql_type: &SqlType,
    values: &[Option<&str>],
    format: &TextFormat,
) -> std::result::Result<ArrayRef, RowError> {
    use SqlType::*;
    Ok(match sql_type {
        Bool => Arc::new(each::<_, BooleanArray>(values, parse_bool)?),
        Int2 => Arc::new(each::<_, Int16Array>(values, |text| parse_integer(sql_type, text))?),
        Int4 => Arc::new(each::<_, Int32Array>(values, |text| parse_integer(sql_type, text))?),
        Int8 => Arc::new(each::<_, Int64Array>(values, |text| parse_integer(sql_type, text))?),
        Float4 => Arc::new(each::<_, Float32Array>(values, |text| parse_float(sql_type, text))?),
        Float8 => Arc::new(each::<_, Float64Array>(values, |text| parse_float(sql_type, text))?),
        Numeric(limits) => {
            let (precision, scale) = limits.unwrap_or((38, SqlType::NUMERIC_SCALE));
            let array = each::<_, Decimal128Array>(values, |text| numeric::parse(text, *limits))?;
            Arc::new(array.with_data_type(DataType::Decimal128(precision, scale)))
        }
        Text | Unknown | Varchar(None) | Bpchar(None) | Record => {
            Arc::new(values.iter().copied().collect::<StringViewArray>())
        }
        Varchar(Some(_)) | Bpchar(Some(_)) | Name | Char => {
            Arc::new(each::<_, StringViewArray>(values, |text| limited(sql_type, text))?)
        }
        Json | Jsonb => {
            Arc::new(each::<_, StringViewArray>(values, |text| json::check(text).map(|()| text.to_owned()))?)
        }
        Bytea => {
            let values: Vec<Option<Vec<u8>>> = collect(values, parse_bytea)?;
            Arc::new(values.iter().map(Option::as_deref).collect::<BinaryArray>())
        }
        Date => Arc::new(each::<_, Date32Array>(values, datetime::parse_date)?),
        Time => Arc::new(each::<_, Time64MicrosecondArray>(values, datetime::parse_time)?),
        Timestamp => Arc::new(each::<_, TimestampMicrosecondArray>(values, datetime::parse_timestamp)?),
        Timestamptz => {
            let zone = format.time_zone;
            let array = each::<_, TimestampMicrosecondArray>(values, |text| datetime::parse_timestamptz(text, &zone))?;
            Arc::new(array.with_timezone("UTC"))
        }
        Interval => Arc::new(each::<_, IntervalMonthDayNanoArray>(values, interval::parse)?),
        Uuid => {
            let values: Vec<Option<[u8; 16]>> = collect(values, parse_uuid)?;
            Arc::new(uuids(&values))
        }
        Oid | Regclass | Regtype | Regproc | Regnamespace => {
            Arc::new(each::<_, UInt32Array>(values, |text| parse_oid(sql_type, text))?)
        }
        Array(element) => array::parse(element, values, format)?,
    })
}

/// Parses each value that is not null.
pub(super) fn collect<'a, T>(
    values: &[Option<&'a str>],
    parse: impl Fn(&'a str) -> Result<T>,
) -> std::result::Result<Vec<Option<T>>, RowError> {
    let parse = |(row, value): (usize, &Option<&'a str>)| {
        value.map(|text| parse(text).map_err(|error| RowError { row, error })).transpose()
    };
    values.iter().enumerate().map(parse).collect()
}

fn each<'a, T, A: FromIterator<Option<T>>>(
    values: &[Option<&'a str>],
    parse: impl Fn(&'a str) -> Result<T>,
) -> std::result::Result<A, RowError> {
    collect(values, parse).map(A::from_iter)
}

/// An array of UUIDs; the builder cannot fail, for each value has the width of the type.
pub(super) fn uuids(values: &[Option<[u8; 16]>]) -> FixedSizeBinaryArray {
    let mut builder = FixedSizeBinaryBuilder::with_capacity(values.len(), 16);
    for value in values {
        match value {
            Some(bytes) => drop(builder.append_value(bytes)),
            None => builder.append_null(),
        }
    }
    builder.finish()
}

fn parse_bool(text: &str) -> Result<bool> {
    let word = trim(text).to_ascii_lowercase();
    let is_start_of = |whole: &str, shortest: usize| word.len() >= shortest && whole.starts_with(word.as_str());
    if is_start_of("true", 1) || is_start_of("yes", 1) || word == "on" || word == "1" {
        Ok(true)
    } else if is_start_of("false", 1) || is_start_of("no", 1) || is_start_of("off", 2) || word == "0" {
        Ok(false)
    } else {
        Err(invalid_syntax(&SqlType::Bool, text))
    }
}

/// Without the white space that C knows.
pub(super) fn trim(text: &str) -> &str {
    text.trim_matches(|c| matches!(c, ' ' | '\t'..='\r'))
}

fn parse_integer<T: FromStr>(sql_type: &SqlType, text: &str) -> Result<T> {
    let digits = trim(text);
    digits.parse().map_err(|_| {
        let unsigned = digits.strip_prefix(['+', '-']).unwrap_or(digits);
        match !unsigned.is_empty() && unsigned.bytes().all(|b| b.is_ascii_digit()) {
            true => out_of_range(text, sql_type),
            false => invalid_syntax(sql_type, text),
        }
    })
}

fn out_of_range(text: &str, sql_type: &SqlType) -> SqlError {
    let message = format!("value \"{text}\" is out of range for type {sql_type}");
    SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, message)
}

/// A number of an object; a negative one means the unsigned number with the same bits, as in Postgres.
fn parse_oid(sql_type: &SqlType, text: &str) -> Result<u32> {
    if *sql_type != SqlType::Oid && text == "-" {
        return Ok(0);
    }
    let number: i64 = parse_integer(&SqlType::Oid, text).map_err(|error| match sql_type {
        SqlType::Oid => error,
        _ => error.with_hint(format!("Give a {sql_type} as a number here.")),
    })?;
    let in_range = u32::try_from(number).ok().or_else(|| i32::try_from(number).ok().map(|signed| signed as u32));
    in_range.ok_or_else(|| out_of_range(text, &SqlType::Oid))
}

/// What the float types have in common.
trait Float: FromStr + Copy + PartialEq {
    fn is_infinite(self) -> bool;
    fn is_zero(self) -> bool;
}

impl Float for f32 {
    fn is_infinite(self) -> bool {
        f32::is_infinite(self)
    }
    fn is_zero(self) -> bool {
        self == 0.0
    }
}

impl Float for f64 {
    fn is_infinite(self) -> bool {
        f64::is_infinite(self)
    }
    fn is_zero(self) -> bool {
        self == 0.0
    }
}

fn parse_float<F: Float>(sql_type: &SqlType, text: &str) -> Result<F> {
    let word = trim(text);
    let number: F = word.parse().map_err(|_| invalid_syntax(sql_type, text))?;
    let mantissa = word.split(['e', 'E']).next().unwrap_or(word);
    // "inf" and "nan" are spelled without digits; what has digits and overflows to infinity or underflows to zero is
    // out of range.
    let overflowed = number.is_infinite() && mantissa.contains(|c: char| c.is_ascii_digit());
    let underflowed = number.is_zero() && mantissa.contains(|c: char| matches!(c, '1'..='9'));
    match overflowed || underflowed {
        true => {
            let message = format!("\"{word}\" is out of range for type {sql_type}");
            Err(SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, message))
        }
        false => Ok(number),
    }
}

/// Text of a type that limits its length.
fn limited(sql_type: &SqlType, text: &str) -> Result<String> {
    let (limit, padded) = match sql_type {
        SqlType::Varchar(Some(limit)) => (*limit as usize, false),
        SqlType::Bpchar(Some(limit)) => (*limit as usize, true),
        // The longest name has 63 bytes, and longer ones are cut at a character.
        SqlType::Name => return Ok(text[..text.floor_char_boundary(63)].to_owned()),
        _ => return Ok(text.chars().take(1).collect()),
    };
    let end = text.char_indices().nth(limit).map_or(text.len(), |(end, _)| end);
    let (kept, cut) = text.split_at(end);
    if cut.contains(|c| c != ' ') {
        let message = format!("value too long for type {sql_type}");
        return Err(SqlError::new(SqlState::STRING_DATA_RIGHT_TRUNCATION, message));
    }
    let missing = if padded { limit - kept.chars().count() } else { 0 };
    Ok(format!("{kept}{}", " ".repeat(missing)))
}

fn parse_bytea(text: &str) -> Result<Vec<u8>> {
    match text.strip_prefix("\\x") {
        Some(digits) => parse_hex(digits),
        None => parse_escaped(text),
    }
}

fn parse_hex(text: &str) -> Result<Vec<u8>> {
    let invalid = |message: String| SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message);
    let mut bytes = Vec::with_capacity(text.len() / 2);
    let mut high = None;
    for character in text.chars() {
        let digit = match character.to_digit(16) {
            Some(digit) => digit as u8,
            None if character.is_ascii_whitespace() && high.is_none() => continue,
            None => return Err(invalid(format!("invalid hexadecimal digit: \"{character}\""))),
        };
        match high.take() {
            Some(high) => bytes.push(high << 4 | digit),
            None => high = Some(digit),
        }
    }
    match high {
        None => Ok(bytes),
        Some(_) => Err(invalid("invalid hexadecimal data: odd number of digits".to_owned())),
    }
}

/// The older form of `bytea`: bytes as they are, `\\` for a backslash, `\ooo` for any byte in octal.
fn parse_escaped(text: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    loop {
        rest = match rest {
            [] => return Ok(bytes),
            [b'\\', b'\\', rest @ ..] => {
                bytes.push(b'\\');
                rest
            }
            [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', rest @ ..] => {
                bytes.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest
            }
            [b'\\', ..] => {
                return Err(SqlError::new(
                    SqlState::INVALID_TEXT_REPRESENTATION,
                    "invalid input syntax for type bytea",
                ));
            }
            [byte, rest @ ..] => {
                bytes.push(*byte);
                rest
            }
        };
    }
}

/// Thirty-two digits, with a hyphen allowed after any group of four, in braces or not.
fn parse_uuid(text: &str) -> Result<[u8; 16]> {
    let invalid = || invalid_syntax(&SqlType::Uuid, text);
    let inner = match text.strip_prefix('{') {
        Some(inner) => inner.strip_suffix('}').ok_or_else(invalid)?,
        None => text,
    };
    let mut uuid = [0; 16];
    let mut digits = 0;
    for (index, character) in inner.char_indices() {
        match character.to_digit(16) {
            Some(digit) if digits < 32 => {
                uuid[digits / 2] = uuid[digits / 2] << 4 | digit as u8;
                digits += 1;
            }
            None if character == '-' && digits > 0 && digits % 4 == 0 && !inner[..index].ends_with('-') => {}
            _ => return Err(invalid()),
        }
    }
    match digits == 32 && !inner.ends_with('-') {
        true => Ok(uuid),
        false => Err(invalid()),
    }
}
