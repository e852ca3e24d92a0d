//! From columns to text: values as Postgres prints them, for the formats that write text.

use super::calendar::{write_date, write_time, write_timestamp};
use arrow::array::{Array, AsArray};
use arrow::datatypes::*;
use millrace_types::{SqlType, numeric};
use std::io::Write;

/// What separates date and time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DateStyle {
    /// A blank, and `+00` for UTC: as Postgres prints.
    Sql,
    /// A `T`, and `Z` for UTC: as ISO 8601 and JSON have it.
    Iso,
}

/// Appends the text of a value that is not null.
pub(crate) fn write_value(out: &mut Vec<u8>, sql_type: &SqlType, array: &dyn Array, row: usize, style: DateStyle) {
    // Writing to a Vec cannot fail.
    let _ = match array.data_type() {
        DataType::Boolean => write!(out, "{}", array.as_boolean().value(row)),
        DataType::Int16 => write!(out, "{}", array.as_primitive::<Int16Type>().value(row)),
        DataType::Int32 => write!(out, "{}", array.as_primitive::<Int32Type>().value(row)),
        DataType::Int64 => write!(out, "{}", array.as_primitive::<Int64Type>().value(row)),
        DataType::UInt32 => write!(out, "{}", array.as_primitive::<UInt32Type>().value(row)),
        DataType::Float32 => write_float(out, array.as_primitive::<Float32Type>().value(row)),
        DataType::Float64 => write_float(out, array.as_primitive::<Float64Type>().value(row)),
        DataType::Decimal128(_, scale) => {
            let value = array.as_primitive::<Decimal128Type>().value(row);
            write_decimal(out, value, *scale, numeric::least_places(sql_type, value, *scale))
        }
        DataType::Utf8View => out.write_all(array.as_string_view().value(row).as_bytes()),
        DataType::Binary => write_hex(out, array.as_binary::<i32>().value(row)),
        DataType::FixedSizeBinary(16) => write_uuid(out, array.as_fixed_size_binary().value(row)),
        DataType::Date32 => {
            write_date(out, array.as_primitive::<Date32Type>().value(row).into());
            Ok(())
        }
        DataType::Time64(TimeUnit::Microsecond) => {
            write_time(out, array.as_primitive::<Time64MicrosecondType>().value(row));
            Ok(())
        }
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            let micros = array.as_primitive::<TimestampMicrosecondType>().value(row);
            let (separator, utc) = if style == DateStyle::Iso { (b'T', "Z") } else { (b' ', "+00") };
            write_timestamp(out, micros, separator, if zone.is_some() { utc } else { "" });
            Ok(())
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            write_interval(out, array.as_primitive::<IntervalMonthDayNanoType>().value(row))
        }
        DataType::List(_) => {
            write_list(out, sql_type, array.as_list::<i32>().value(row).as_ref(), style);
            Ok(())
        }
        _ => Ok(()),
    };
}

pub(crate) fn write_float<F: std::fmt::Display + Into<f64> + Copy>(out: &mut Vec<u8>, value: F) -> std::io::Result<()> {
    let number: f64 = value.into();
    if number.is_infinite() {
        return out.write_all(if number > 0.0 { b"Infinity" } else { b"-Infinity" });
    }
    write!(out, "{value}")
}

pub(crate) fn write_decimal(out: &mut Vec<u8>, value: i128, scale: i8, least: i8) -> std::io::Result<()> {
    if scale <= 0 {
        return write!(out, "{}{}", value, "0".repeat(if value == 0 { 0 } else { usize::from(scale.unsigned_abs()) }));
    }
    let unit = 10u128.pow(scale.unsigned_abs().into());
    let (whole, fraction) = (value.unsigned_abs() / unit, value.unsigned_abs() % unit);
    let sign = if value < 0 { "-" } else { "" };
    write!(out, "{sign}{whole}.{fraction:0width$}", width = usize::from(scale.unsigned_abs()))?;
    for _ in least.max(0)..scale {
        if !out.ends_with(b"0") {
            break;
        }
        out.pop();
    }
    if out.ends_with(b".") {
        out.pop();
    }
    Ok(())
}

pub(crate) fn write_hex(out: &mut Vec<u8>, bytes: &[u8]) -> std::io::Result<()> {
    out.extend_from_slice(b"\\x");
    bytes.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
}

fn write_uuid(out: &mut Vec<u8>, bytes: &[u8]) -> std::io::Result<()> {
    match uuid::Uuid::from_slice(bytes) {
        Ok(uuid) => write!(out, "{uuid}"),
        Err(_) => write_hex(out, bytes),
    }
}

fn write_interval(out: &mut Vec<u8>, value: IntervalMonthDayNano) -> std::io::Result<()> {
    let start = out.len();
    let (years, months) = (value.months / 12, value.months % 12);
    for (count, unit) in [(years, "year"), (months, "mon"), (value.days, "day")] {
        if count != 0 {
            let space = if out.len() > start { " " } else { "" };
            write!(out, "{space}{count} {unit}{}", if count == 1 { "" } else { "s" })?;
        }
    }
    let micros = value.nanoseconds / 1000;
    if micros != 0 || out.len() == start {
        let space = if out.len() > start { " " } else { "" };
        write!(out, "{space}{}", if micros < 0 { "-" } else { "" })?;
        write_time(out, micros.abs());
    }
    Ok(())
}

/// `{a,"b c",NULL}`.
fn write_list(out: &mut Vec<u8>, sql_type: &SqlType, elements: &dyn Array, style: DateStyle) {
    let element_type = match sql_type {
        SqlType::Array(element) => element.as_ref().clone(),
        _ => SqlType::from_arrow(elements.data_type()),
    };
    let mut text = Vec::new();
    out.push(b'{');
    for row in 0..elements.len() {
        if row > 0 {
            out.push(b',');
        }
        if elements.is_null(row) {
            out.extend_from_slice(b"NULL");
            continue;
        }
        text.clear();
        write_value(&mut text, &element_type, elements, row, style);
        let special = |byte: &u8| matches!(byte, b'{' | b'}' | b',' | b'"' | b'\\') || byte.is_ascii_whitespace();
        if !text.is_empty() && !text.iter().any(special) && !text.eq_ignore_ascii_case(b"null") {
            out.extend_from_slice(&text);
            continue;
        }
        out.push(b'"');
        for byte in &text {
            if matches!(byte, b'"' | b'\\') {
                out.push(b'\\');
            }
            out.push(*byte);
        }
        out.push(b'"');
    }
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_and_intervals_print_as_in_postgres() {
        let decimal = |value, scale, least| {
            let mut out = Vec::new();
            write_decimal(&mut out, value, scale, least).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(decimal(-5, 2, 2), "-0.05");
        assert_eq!(decimal(1_500, 3, 0), "1.5");
        assert_eq!(decimal(1_000, 3, 0), "1");
        assert_eq!(decimal(100, 0, 0), "100");
        let mut out = Vec::new();
        write_interval(&mut out, IntervalMonthDayNano::new(14, 1, -1_500_000_000)).unwrap();
        assert_eq!(out, b"1 year 2 mons 1 day -00:00:01.500");
    }
}
