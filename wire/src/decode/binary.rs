//! The binary format of parameters. Nothing in the bytes is believed before it is checked.

use super::text::uuids;
use super::{array, json, numeric};
use crate::encode::{JSONB_VERSION, POSTGRES_EPOCH_DAYS, POSTGRES_EPOCH_MICROS};
use crate::encoding;
use arrow::array::*;
use arrow::datatypes::*;
use millrace_types::{Result, SqlError, SqlState, SqlType};
use std::sync::Arc;

/// The most dimensions that Postgres gives an array.
const MAX_DIMENSIONS: i32 = 6;

/// Why a binary value cannot be read.
pub(super) enum Malformed {
    /// It goes on after its end.
    TooLong,
    Other(SqlError),
}

impl From<SqlError> for Malformed {
    fn from(error: SqlError) -> Malformed {
        Malformed::Other(error)
    }
}

impl Malformed {
    /// The error for a parameter, counted from 1.
    pub fn in_parameter(self, number: usize) -> SqlError {
        match self {
            Malformed::TooLong => SqlError::new(
                SqlState::INVALID_BINARY_REPRESENTATION,
                format!("incorrect binary data format in bind parameter {number}"),
            ),
            Malformed::Other(error) => error,
        }
    }
}

fn too_short() -> Malformed {
    Malformed::Other(SqlError::new(SqlState::PROTOCOL_VIOLATION, "insufficient data left in message"))
}

fn invalid(message: impl Into<String>) -> Malformed {
    Malformed::Other(SqlError::new(SqlState::INVALID_BINARY_REPRESENTATION, message))
}

/// Reads values of a type; `None` is null.
pub(super) fn decode(sql_type: &SqlType, values: &[Option<&[u8]>]) -> Result<ArrayRef, Malformed> {
    use SqlType::*;
    Ok(match sql_type {
        Bool => Arc::new(each::<_, BooleanArray>(values, |bytes| fixed(bytes).map(|[byte]: [u8; 1]| byte != 0))?),
        Int2 => Arc::new(each::<_, Int16Array>(values, |bytes| fixed(bytes).map(i16::from_be_bytes))?),
        Int4 => Arc::new(each::<_, Int32Array>(values, |bytes| fixed(bytes).map(i32::from_be_bytes))?),
        Int8 => Arc::new(each::<_, Int64Array>(values, |bytes| fixed(bytes).map(i64::from_be_bytes))?),
        Float4 => Arc::new(each::<_, Float32Array>(values, |bytes| fixed(bytes).map(f32::from_be_bytes))?),
        Float8 => Arc::new(each::<_, Float64Array>(values, |bytes| fixed(bytes).map(f64::from_be_bytes))?),
        Oid | Regclass | Regtype | Regproc | Regnamespace => {
            Arc::new(each::<_, UInt32Array>(values, |bytes| fixed(bytes).map(u32::from_be_bytes))?)
        }
        Numeric(limits) => {
            let (precision, scale) = limits.unwrap_or((38, SqlType::NUMERIC_SCALE));
            let array = each::<_, Decimal128Array>(values, |bytes| Ok(numeric::decode(bytes, *limits)?))?;
            Arc::new(array.with_data_type(DataType::Decimal128(precision, scale)))
        }
        Text | Unknown | Varchar(_) | Bpchar(_) | Name | Char | Record => {
            Arc::new(each::<_, StringViewArray>(values, |bytes| Ok(encoding::text(bytes)?))?)
        }
        Json => Arc::new(each::<_, StringViewArray>(values, |bytes| checked_json(bytes))?),
        Jsonb => Arc::new(each::<_, StringViewArray>(values, |bytes| match bytes {
            [JSONB_VERSION, text @ ..] => checked_json(text),
            [other, ..] => Err(invalid(format!("unsupported jsonb version number {other}"))),
            [] => Err(too_short()),
        })?),
        Bytea => Arc::new(values.iter().copied().collect::<BinaryArray>()),
        Date => Arc::new(each::<_, Date32Array>(values, |bytes| date(i32::from_be_bytes(fixed(bytes)?)))?),
        Time => Arc::new(each::<_, Time64MicrosecondArray>(values, |bytes| time(i64::from_be_bytes(fixed(bytes)?)))?),
        Timestamp => Arc::new(each::<_, TimestampMicrosecondArray>(values, timestamp)?),
        Timestamptz => Arc::new(each::<_, TimestampMicrosecondArray>(values, timestamp)?.with_timezone("UTC")),
        Interval => Arc::new(each::<_, IntervalMonthDayNanoArray>(values, interval)?),
        Uuid => {
            let values: Vec<Option<[u8; 16]>> =
                values.iter().map(|value| value.map(fixed).transpose()).collect::<Result<_, _>>()?;
            Arc::new(uuids(&values))
        }
        Array(element) => arrays(element, values)?,
    })
}

fn each<'a, T, A: FromIterator<Option<T>>>(
    values: &[Option<&'a [u8]>],
    decode: impl Fn(&'a [u8]) -> Result<T, Malformed>,
) -> Result<A, Malformed> {
    values.iter().map(|value| value.map(&decode).transpose()).collect()
}

/// A value of exactly `N` bytes.
fn fixed<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Malformed> {
    match bytes.len() {
        length if length > N => Err(Malformed::TooLong),
        _ => bytes.try_into().map_err(|_| too_short()),
    }
}

fn checked_json(bytes: &[u8]) -> Result<&str, Malformed> {
    let text = encoding::text(bytes)?;
    json::check(text)?;
    Ok(text)
}

fn out_of_range(what: &str) -> Malformed {
    Malformed::Other(SqlError::new(SqlState::DATETIME_FIELD_OVERFLOW, format!("{what} out of range")))
}

fn date(days: i32) -> Result<i32, Malformed> {
    match days {
        i32::MAX | i32::MIN => Ok(days),
        days => {
            days.checked_add(POSTGRES_EPOCH_DAYS).filter(|days| *days != i32::MAX).ok_or_else(|| out_of_range("date"))
        }
    }
}

fn time(micros: i64) -> Result<i64, Malformed> {
    match micros {
        0..=86_400_000_000 => Ok(micros),
        _ => Err(out_of_range("time")),
    }
}

fn timestamp(bytes: &[u8]) -> Result<i64, Malformed> {
    match i64::from_be_bytes(fixed(bytes)?) {
        micros @ (i64::MAX | i64::MIN) => Ok(micros),
        micros => micros
            .checked_add(POSTGRES_EPOCH_MICROS)
            .filter(|micros| *micros != i64::MAX)
            .ok_or_else(|| out_of_range("timestamp")),
    }
}

fn interval(bytes: &[u8]) -> Result<IntervalMonthDayNano, Malformed> {
    let bytes: [u8; 16] = fixed(bytes)?;
    let mut cursor = Cursor(&bytes);
    let micros = i64::from_be_bytes(cursor.take()?);
    let (days, months) = (cursor.word()?, cursor.word()?);
    let nanoseconds = micros.checked_mul(1_000).ok_or_else(|| out_of_range("interval"))?;
    Ok(IntervalMonthDayNano { months, days, nanoseconds })
}

/// Bytes being read from their start.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or_else(too_short)?;
        self.0 = rest;
        Ok(*head)
    }

    fn word(&mut self) -> Result<i32, Malformed> {
        self.take().map(i32::from_be_bytes)
    }

    fn bytes(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (head, rest) = self.0.split_at_checked(count).ok_or_else(too_short)?;
        self.0 = rest;
        Ok(head)
    }
}

fn arrays(element: &SqlType, values: &[Option<&[u8]>]) -> Result<ArrayRef, Malformed> {
    let mut elements = Vec::new();
    let mut lengths = Vec::with_capacity(values.len());
    for value in values {
        let before = elements.len();
        if let Some(bytes) = value {
            read_array(element, bytes, &mut elements)?;
        }
        lengths.push(elements.len() - before);
    }
    let valid = values.iter().map(Option::is_some).collect();
    Ok(array::list(element, decode(element, &elements)?, lengths, valid))
}

/// Reads the elements of one array.
fn read_array<'a>(element: &SqlType, bytes: &'a [u8], elements: &mut Vec<Option<&'a [u8]>>) -> Result<(), Malformed> {
    let mut cursor = Cursor(bytes);
    let (dimensions, flags, oid) = (cursor.word()?, cursor.word()?, cursor.word()? as u32);
    if dimensions < 0 {
        return Err(invalid(format!("invalid number of dimensions: {dimensions}")));
    }
    if dimensions > MAX_DIMENSIONS {
        let message =
            format!("number of array dimensions ({dimensions}) exceeds the maximum allowed ({MAX_DIMENSIONS})");
        return Err(SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message).into());
    }
    if !matches!(flags, 0 | 1) {
        return Err(invalid("invalid array flags"));
    }
    if oid != element.oid() {
        let message =
            format!("binary data has array element type {oid} instead of expected {} ({element})", element.oid());
        return Err(SqlError::new(SqlState::DATATYPE_MISMATCH, message).into());
    }
    let size = match dimensions {
        0 => 0,
        1 => {
            let (size, _lower_bound) = (cursor.word()?, cursor.word()?);
            usize::try_from(size).map_err(|_| invalid(format!("invalid array size: {size}")))?
        }
        _ => return Err(SqlError::unsupported("an array of more than one dimension").into()),
    };
    for _ in 0..size {
        elements.push(match cursor.word()? {
            -1 => None,
            length => Some(cursor.bytes(usize::try_from(length).map_err(|_| too_short())?)?),
        });
    }
    match cursor.0 {
        [] => Ok(()),
        _ => Err(Malformed::TooLong),
    }
}
