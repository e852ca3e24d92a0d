//! Text to every other type, and text to text with a limit.

use super::{Purpose, array, integer_range, interval, moment, number, precision_of};
use crate::json;
use arrow::array::timezone::Tz;
use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, BinaryBuilder, BooleanArray, FixedSizeBinaryBuilder, PrimitiveBuilder,
    StringViewArray, StringViewBuilder,
};
use arrow::datatypes::*;
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;
use millrace_types::{Result, SqlError, SqlState, SqlType, sql_type_of};
use std::sync::Arc;

/// Texts read as values of a type.
pub fn parsed(texts: &StringViewArray, to: &Field, zone: &Tz) -> Result<ArrayRef> {
    let target = sql_type_of(to);
    if target == SqlType::Regtype {
        return each::<UInt32Type>(texts, to, regtype);
    }
    if let Some((name, least, greatest)) = integer_range(&target) {
        let name = if name == "OID" { "oid" } else { name };
        let wide = each::<Int64Type>(texts, &Field::new("", DataType::Int64, true), |text| {
            number::integer(text, name, least, greatest)
        })?;
        return Ok(arrow::compute::cast(&wide, to.data_type())?);
    }
    match &target {
        SqlType::Bool => {
            let values = texts.iter().map(|text| text.map(number::boolean).transpose());
            Ok(Arc::new(values.collect::<Result<BooleanArray>>()?))
        }
        SqlType::Float8 => each::<Float64Type>(texts, to, |text| number::float(text, "double precision")),
        SqlType::Float4 => each::<Float32Type>(texts, to, |text| {
            let value = number::float(text, "real")?;
            match (value as f32).is_infinite() && value.is_finite() {
                true => Err(number::out_of_range(text, "real")),
                false => Ok(value as f32),
            }
        }),
        SqlType::Numeric(_) => {
            let (precision, scale) = precision_of(to);
            each::<Decimal128Type>(texts, to, |text| number::decimal(text, precision, scale))
        }
        SqlType::Date => each::<Date32Type>(texts, to, moment::date),
        SqlType::Time => each::<Time64MicrosecondType>(texts, to, moment::time),
        SqlType::Timestamp => each::<TimestampMicrosecondType>(texts, to, moment::timestamp),
        SqlType::Timestamptz => each::<TimestampMicrosecondType>(texts, to, |text| moment::timestamptz(text, zone)),
        SqlType::Interval => each::<IntervalMonthDayNanoType>(texts, to, interval::interval),
        SqlType::Uuid => uuids(texts),
        SqlType::Bytea => byteas(texts),
        SqlType::Json => {
            texts.iter().flatten().try_for_each(|text| json::parse(text).map(|_| ()))?;
            Ok(Arc::new(texts.clone()))
        }
        SqlType::Jsonb => {
            let mut builder = StringViewBuilder::with_capacity(texts.len());
            for text in texts {
                builder.append_option(text.map(json::normalized).transpose()?);
            }
            Ok(Arc::new(builder.finish()))
        }
        SqlType::Array(_) => array::parsed(texts, to, zone),
        other => Err(SqlError::new(SqlState::CANNOT_COERCE, format!("cannot cast type text to {other}"))),
    }
}

/// The OID of the type that a text names, or that it gives itself.
fn regtype(text: &str) -> Result<u32> {
    if let Ok(oid) = text.trim().parse() {
        return Ok(oid);
    }
    let undefined = || SqlError::new(SqlState::UNDEFINED_OBJECT, format!("type \"{text}\" does not exist"));
    if text == "-" {
        return Ok(0);
    }
    let parsed = Parser::new(&PostgreSqlDialect {}).try_with_sql(text).and_then(|mut parser| parser.parse_data_type());
    let named = crate::type_names::sql_type(&parsed.map_err(|_| undefined())?).map_err(|_| undefined())?;
    Ok(named.oid())
}

fn each<O: ArrowPrimitiveType>(
    texts: &StringViewArray,
    to: &Field,
    parse: impl Fn(&str) -> Result<O::Native>,
) -> Result<ArrayRef> {
    let mut builder = PrimitiveBuilder::<O>::with_capacity(texts.len()).with_data_type(to.data_type().clone());
    for text in texts {
        builder.append_option(text.map(&parse).transpose()?);
    }
    Ok(Arc::new(builder.finish()))
}

/// `a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11`, with hyphens after any four digits, in braces or not.
fn uuids(texts: &StringViewArray) -> Result<ArrayRef> {
    let mut builder = FixedSizeBinaryBuilder::with_capacity(texts.len(), 16);
    for text in texts {
        match text {
            None => builder.append_null(),
            Some(text) => builder.append_value(uuid(text).ok_or_else(|| number::invalid("uuid", text))?)?,
        }
    }
    Ok(Arc::new(builder.finish()))
}

fn uuid(text: &str) -> Option<[u8; 16]> {
    let inner = match text.strip_prefix('{') {
        Some(rest) => rest.strip_suffix('}')?,
        None => text,
    };
    let mut digits = 0;
    let mut bytes = [0u8; 16];
    let mut hyphen = false;
    for c in inner.chars() {
        if c == '-' && digits > 0 && digits % 4 == 0 && !hyphen && digits < 32 {
            hyphen = true;
            continue;
        }
        hyphen = false;
        let digit = c.to_digit(16).filter(|_| digits < 32)? as u8;
        bytes[digits / 2] = bytes[digits / 2] << 4 | digit;
        digits += 1;
    }
    (digits == 32 && !hyphen).then_some(bytes)
}

/// `\x` and hexadecimal digits, or bytes with `\\` and `\ooo`.
fn byteas(texts: &StringViewArray) -> Result<ArrayRef> {
    let mut builder = BinaryBuilder::with_capacity(texts.len(), texts.len() * 16);
    for text in texts {
        builder.append_option(text.map(bytea).transpose()?);
    }
    Ok(Arc::new(builder.finish()))
}

/// The bytes of a bytea's text.
pub fn bytea(text: &str) -> Result<Vec<u8>> {
    if let Some(hex) = text.strip_prefix("\\x") {
        return crate::text::hex_bytes(hex);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        match rest {
            [b'\\', tail @ ..] => {
                bytes.push(b'\\');
                rest = tail;
            }
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', tail @ ..] => {
                bytes.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = tail;
            }
            _ => {
                let message = "invalid input syntax for type bytea";
                return Err(SqlError::new(SqlState::INVALID_TEXT_REPRESENTATION, message));
            }
        }
    }
    Ok(bytes)
}

/// Texts within the limit of `varchar(n)` or `char(n)`; a `char(n)` is filled with blanks.
pub fn limited(texts: StringViewArray, target: &SqlType, purpose: Purpose) -> Result<ArrayRef> {
    let (limit, pad) = match target {
        SqlType::Varchar(Some(n)) => (*n as usize, false),
        SqlType::Bpchar(Some(n)) => (*n as usize, true),
        SqlType::Name => (63, false),
        SqlType::Char => (1, false),
        _ => return Ok(Arc::new(texts)),
    };
    let fits = |text: &str| text.len() <= limit || text.chars().count() <= limit;
    if !pad && texts.iter().flatten().all(fits) {
        return Ok(Arc::new(texts));
    }
    let mut builder = StringViewBuilder::with_capacity(texts.len());
    for text in &texts {
        let Some(text) = text else {
            builder.append_null();
            continue;
        };
        let cut = text.char_indices().nth(limit).map_or(text, |(at, _)| &text[..at]);
        if purpose == Purpose::Assignment && text[cut.len()..].contains(|c| c != ' ') {
            let message = format!("value too long for type {target}");
            return Err(SqlError::new(SqlState::STRING_DATA_RIGHT_TRUNCATION, message));
        }
        match pad {
            true => builder.append_value(format!("{cut:<limit$}")),
            false => builder.append_value(cut),
        }
    }
    Ok(Arc::new(builder.finish()))
}

/// Texts without the blanks at their ends: those of a `char(n)` are no part of its value.
pub fn unpadded(texts: &StringViewArray) -> StringViewArray {
    texts.iter().map(|text| text.map(|text| text.trim_end_matches(' '))).collect()
}
