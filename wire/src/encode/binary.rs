//! One binary writer for each type.

use super::datetime::{POSTGRES_EPOCH_DAYS, POSTGRES_EPOCH_MICROS};
use super::interval::Parts;
use super::text::{intervals, primitive};
use super::{Writer, array, numeric, text};
use crate::format::TextFormat;
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::*;
use millrace_types::numeric::least_places;
use millrace_types::{Result, SqlError, SqlType};

/// The version of the binary form of `jsonb`.
pub(crate) const JSONB_VERSION: u8 = 1;

/// The writer for a canonical array.
pub(super) fn writer(sql_type: &SqlType, array: &ArrayRef, format: &TextFormat) -> Result<Writer> {
    Ok(match array.data_type() {
        DataType::Boolean => {
            let values = array.as_boolean().clone();
            Box::new(move |row, to| to.push(values.value(row).into()))
        }
        DataType::Int16 => primitive::<Int16Type>(array, |value, to| to.extend_from_slice(&value.to_be_bytes())),
        DataType::Int32 => primitive::<Int32Type>(array, |value, to| to.extend_from_slice(&value.to_be_bytes())),
        DataType::Int64 => primitive::<Int64Type>(array, |value, to| to.extend_from_slice(&value.to_be_bytes())),
        DataType::UInt32 => primitive::<UInt32Type>(array, |value, to| to.extend_from_slice(&value.to_be_bytes())),
        DataType::Float32 => primitive::<Float32Type>(array, |value, to| to.extend_from_slice(&value.to_be_bytes())),
        DataType::Float64 => primitive::<Float64Type>(array, |value, to| to.extend_from_slice(&value.to_be_bytes())),
        DataType::Decimal128(_, scale) => {
            let (scale, sql_type) = (*scale, sql_type.clone());
            primitive::<Decimal128Type>(array, move |value, to| {
                numeric::write_binary(value, scale, least_places(&sql_type, value, scale), to)
            })
        }
        DataType::Decimal256(_, scale) => {
            let (scale, least) = (*scale, if *sql_type == SqlType::Numeric(None) { 0 } else { *scale });
            primitive::<Decimal256Type>(array, move |value, to| numeric::write_binary(value, scale, least, to))
        }
        DataType::Utf8View => {
            let (values, is_jsonb) = (array.as_string_view().clone(), *sql_type == SqlType::Jsonb);
            Box::new(move |row, to| {
                if is_jsonb {
                    to.push(JSONB_VERSION);
                }
                to.extend_from_slice(values.value(row).as_bytes());
            })
        }
        DataType::Binary => {
            let values = array.as_binary::<i32>().clone();
            Box::new(move |row, to| to.extend_from_slice(values.value(row)))
        }
        DataType::FixedSizeBinary(_) => {
            let values = array.as_fixed_size_binary().clone();
            Box::new(move |row, to| to.extend_from_slice(values.value(row)))
        }
        DataType::List(_) => match sql_type {
            SqlType::Array(element) => array::list_binary(element, array.as_list(), format)?,
            other => return Err(SqlError::internal(format!("a list where {other} was announced"))),
        },
        DataType::Date32 => primitive::<Date32Type>(array, write_date),
        DataType::Time64(TimeUnit::Microsecond) => {
            primitive::<Time64MicrosecondType>(array, |value, to| to.extend_from_slice(&value.to_be_bytes()))
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => primitive::<TimestampMicrosecondType>(array, write_timestamp),
        _ => match intervals(array, write_interval) {
            Some(writer) => writer,
            // Announced as text, whose binary form is its text.
            None => text::writer(sql_type, array, format)?,
        },
    })
}

fn write_date(days: i32, to: &mut Vec<u8>) {
    let days = match days {
        i32::MAX | i32::MIN => days,
        days => days.saturating_sub(POSTGRES_EPOCH_DAYS),
    };
    to.extend_from_slice(&days.to_be_bytes());
}

fn write_timestamp(micros: i64, to: &mut Vec<u8>) {
    let micros = match micros {
        i64::MAX | i64::MIN => micros,
        micros => micros.saturating_sub(POSTGRES_EPOCH_MICROS),
    };
    to.extend_from_slice(&micros.to_be_bytes());
}

fn write_interval(parts: Parts, to: &mut Vec<u8>) {
    to.extend_from_slice(&parts.micros.to_be_bytes());
    to.extend_from_slice(&parts.days.to_be_bytes());
    to.extend_from_slice(&parts.months.to_be_bytes());
}
