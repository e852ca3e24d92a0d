//! One text writer for each type.

use super::interval::{self, Parts};
use super::{Writer, array, datetime, float, numeric};
use crate::format::TextFormat;
use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray};
use arrow::datatypes::*;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use millrace_types::numeric::least_places;
use millrace_types::{Result, SqlError, SqlType};

const HEX: &[u8; 16] = b"0123456789abcdef";

/// The writer for a canonical array.
pub(super) fn writer(sql_type: &SqlType, array: &ArrayRef, format: &TextFormat) -> Result<Writer> {
    let format = *format;
    Ok(match array.data_type() {
        DataType::Boolean => {
            let values = array.as_boolean().clone();
            Box::new(move |row, to| to.push(if values.value(row) { b't' } else { b'f' }))
        }
        DataType::Int16 => primitive::<Int16Type>(array, write_integer),
        DataType::Int32 => primitive::<Int32Type>(array, write_integer),
        DataType::Int64 => primitive::<Int64Type>(array, write_integer),
        DataType::UInt32 if *sql_type == SqlType::Regtype => {
            primitive::<UInt32Type>(array, |oid, to| to.extend_from_slice(SqlType::regtype_name(oid).as_bytes()))
        }
        DataType::UInt32 => primitive::<UInt32Type>(array, write_integer),
        DataType::Float32 => {
            primitive::<Float32Type>(array, move |value, to| float::write(value, format.extra_float_digits, to))
        }
        DataType::Float64 => {
            primitive::<Float64Type>(array, move |value, to| float::write(value, format.extra_float_digits, to))
        }
        DataType::Decimal128(_, scale) => {
            let (scale, sql_type) = (*scale, sql_type.clone());
            primitive::<Decimal128Type>(array, move |value, to| {
                numeric::write_text(value, scale, least_places(&sql_type, value, scale), to)
            })
        }
        DataType::Decimal256(_, scale) => {
            let (scale, least) = (*scale, if *sql_type == SqlType::Numeric(None) { 0 } else { *scale });
            primitive::<Decimal256Type>(array, move |value, to| numeric::write_text(value, scale, least, to))
        }
        DataType::Utf8View => {
            let values = array.as_string_view().clone();
            Box::new(move |row, to| to.extend_from_slice(values.value(row).as_bytes()))
        }
        DataType::Binary => {
            let values = array.as_binary::<i32>().clone();
            Box::new(move |row, to| write_bytea(values.value(row), to))
        }
        DataType::FixedSizeBinary(_) => {
            let (values, is_uuid) = (array.as_fixed_size_binary().clone(), *sql_type == SqlType::Uuid);
            Box::new(move |row, to| match is_uuid {
                true => write_uuid(values.value(row), to),
                false => write_bytea(values.value(row), to),
            })
        }
        DataType::List(_) => match sql_type {
            SqlType::Array(element) => array::list_text(element, array.as_list(), &format)?,
            other => return Err(SqlError::internal(format!("a list where {other} was announced"))),
        },
        DataType::Struct(_) => array::record_text(array.as_struct(), &format)?,
        DataType::Null => Box::new(|_, _| {}),
        _ => match temporal(array, &format) {
            Some(writer) => writer,
            None => foreign(array)?,
        },
    })
}

/// Dates, times, timestamps and intervals.
fn temporal(array: &ArrayRef, format: &TextFormat) -> Option<Writer> {
    use TimeUnit::Microsecond;
    let zone = format.time_zone;
    Some(match array.data_type() {
        DataType::Date32 => primitive::<Date32Type>(array, datetime::write_date),
        DataType::Time64(Microsecond) => primitive::<Time64MicrosecondType>(array, datetime::write_time),
        DataType::Timestamp(Microsecond, None) => {
            primitive::<TimestampMicrosecondType>(array, |value, to| datetime::write_timestamp(value, None, to))
        }
        DataType::Timestamp(Microsecond, Some(_)) => primitive::<TimestampMicrosecondType>(array, move |value, to| {
            datetime::write_timestamp(value, Some(&zone), to)
        }),
        _ => return intervals(array, interval::write),
    })
}

/// Hands the parts of each interval, of whichever Arrow type, to `write`.
pub(super) fn intervals(array: &ArrayRef, write: fn(Parts, &mut Vec<u8>)) -> Option<Writer> {
    Some(match array.data_type() {
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            primitive::<IntervalMonthDayNanoType>(array, move |value, to| {
                write(Parts { months: value.months, days: value.days, micros: value.nanoseconds / 1_000 }, to)
            })
        }
        DataType::Interval(IntervalUnit::YearMonth) => {
            primitive::<IntervalYearMonthType>(array, move |months, to| write(Parts { months, ..Parts::default() }, to))
        }
        DataType::Interval(IntervalUnit::DayTime) => primitive::<IntervalDayTimeType>(array, move |value, to| {
            let micros = i64::from(value.milliseconds) * 1_000;
            write(Parts { days: value.days, micros, months: 0 }, to)
        }),
        DataType::Duration(TimeUnit::Microsecond) => primitive::<DurationMicrosecondType>(array, move |micros, to| {
            write(Parts { micros, ..Parts::default() }, to)
        }),
        _ => return None,
    })
}

/// A writer over the values of a primitive array.
pub(super) fn primitive<T: ArrowPrimitiveType>(
    array: &ArrayRef,
    write: impl Fn(T::Native, &mut Vec<u8>) + Send + Sync + 'static,
) -> Writer {
    let values = array.as_primitive::<T>().values().clone();
    Box::new(move |row, to| write(values[row], to))
}

/// Types that Postgres does not have, as Arrow displays them.
fn foreign(array: &ArrayRef) -> Result<Writer> {
    let options = FormatOptions::default();
    // Refuses a type that cannot be displayed now rather than at its first value.
    ArrayFormatter::try_new(array, &options)?;
    let array = array.clone();
    Ok(Box::new(move |row, to| {
        if let Ok(formatter) = ArrayFormatter::try_new(&array, &FormatOptions::default()) {
            to.extend_from_slice(formatter.value(row).to_string().as_bytes());
        }
    }))
}

fn write_integer(value: impl lexical_core::ToLexical, to: &mut Vec<u8>) {
    let mut buffer = [0; lexical_core::BUFFER_SIZE];
    to.extend_from_slice(lexical_core::write(value, &mut buffer));
}

fn write_hex(byte: u8, to: &mut Vec<u8>) {
    to.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
}

fn write_bytea(bytes: &[u8], to: &mut Vec<u8>) {
    to.extend_from_slice(b"\\x");
    bytes.iter().for_each(|&byte| write_hex(byte, to));
}

fn write_uuid(bytes: &[u8], to: &mut Vec<u8>) {
    for (index, &byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            to.push(b'-');
        }
        write_hex(byte, to);
    }
}
