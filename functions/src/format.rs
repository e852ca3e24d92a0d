//! Values as text, in the format of Postgres: what casts to text and string functions give.

use crate::function::is_null;
use crate::temporal::{self, DAY};
use arrow::array::timezone::Tz;
use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, StringViewArray, StringViewBuilder};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Field, Fields, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, Time64MicrosecondType, TimestampMicrosecondType,
    UInt32Type, UInt64Type,
};
use chrono::{Datelike, NaiveDate};
use millrace_types::numeric::least_places;
use millrace_types::{Result, SqlError, SqlType, sql_type_of};
use std::fmt::Write;

/// Every value of a column as text; NULL stays NULL. `field` tells the Postgres type, `zone` is the session's.
pub fn text_of(array: &ArrayRef, field: &Field, zone: &Tz) -> Result<StringViewArray> {
    if let Some(texts) = array.as_string_view_opt() {
        return Ok(texts.clone());
    }
    if array.data_type() == &DataType::Null {
        return Ok(StringViewArray::new_null(array.len()));
    }
    let array = &in_microseconds(array)?;
    let mut builder = StringViewBuilder::with_capacity(array.len());
    let mut text = String::new();
    for row in 0..array.len() {
        if array.is_null(row) {
            builder.append_null();
            continue;
        }
        text.clear();
        write_value(&mut text, array, row, field, zone)?;
        builder.append_value(&text);
    }
    Ok(builder.finish())
}

/// Times in other units, which DataFusion makes here and there, in ours.
fn in_microseconds(array: &ArrayRef) -> Result<ArrayRef> {
    use arrow::datatypes::TimeUnit::Microsecond;
    let unit = match array.data_type() {
        DataType::Timestamp(unit, zone) if *unit != Microsecond => DataType::Timestamp(Microsecond, zone.clone()),
        DataType::Time32(_) => DataType::Time64(Microsecond),
        DataType::Time64(unit) if *unit != Microsecond => DataType::Time64(Microsecond),
        DataType::Date64 => DataType::Date32,
        _ => return Ok(array.clone()),
    };
    Ok(arrow::compute::cast(array, &unit)?)
}

/// Appends the text of one value that is not NULL.
pub fn write_value(out: &mut String, array: &ArrayRef, row: usize, field: &Field, zone: &Tz) -> Result<()> {
    use DataType::*;
    match array.data_type() {
        Boolean => out.push_str(if array.as_boolean().value(row) { "true" } else { "false" }),
        Int8 => push(out, at::<Int8Type>(array, row)),
        Int16 => push(out, at::<Int16Type>(array, row)),
        Int32 => push(out, at::<Int32Type>(array, row)),
        Int64 => push(out, at::<Int64Type>(array, row)),
        UInt32 if sql_type_of(field) == SqlType::Regtype => {
            out.push_str(&SqlType::regtype_name(at::<UInt32Type>(array, row)));
        }
        UInt32 => push(out, at::<UInt32Type>(array, row)),
        UInt64 => push(out, at::<UInt64Type>(array, row)),
        Float32 => {
            write_float(out, at::<Float32Type>(array, row).into(), format!("{:e}", at::<Float32Type>(array, row)), 6)
        }
        Float64 => write_float(out, at::<Float64Type>(array, row), format!("{:e}", at::<Float64Type>(array, row)), 15),
        Decimal128(_, scale) => {
            let value = at::<Decimal128Type>(array, row);
            write_decimal(out, value, *scale, least_places(&sql_type_of(field), value, *scale));
        }
        Utf8View => out.push_str(array.as_string_view().value(row)),
        Utf8 => out.push_str(array.as_string::<i32>().value(row)),
        LargeUtf8 => out.push_str(array.as_string::<i64>().value(row)),
        Binary => write_bytes(out, array.as_binary::<i32>().value(row)),
        FixedSizeBinary(16) => write_uuid(out, array.as_fixed_size_binary().value(row)),
        Date32 => write_date(out, at::<Date32Type>(array, row))?,
        Time64(_) => write_time(out, at::<Time64MicrosecondType>(array, row)),
        Timestamp(_, None) => write_timestamp(out, at::<TimestampMicrosecondType>(array, row))?,
        Timestamp(_, Some(_)) => write_timestamptz(out, at::<TimestampMicrosecondType>(array, row), zone)?,
        Interval(_) => write_interval(out, at::<IntervalMonthDayNanoType>(array, row)),
        List(element) => write_list(out, &array.as_list::<i32>().value(row), element, zone)?,
        Struct(fields) => write_record(out, array, row, fields, zone)?,
        other => return Err(SqlError::unsupported(format!("text of {other}"))),
    }
    Ok(())
}

/// `(1,a,"b c",)`: NULL is nothing, and what could be misread stands in quotes.
fn write_record(out: &mut String, array: &ArrayRef, row: usize, fields: &Fields, zone: &Tz) -> Result<()> {
    out.push('(');
    for (at, (field, column)) in fields.iter().zip(array.as_struct().columns()).enumerate() {
        if at > 0 {
            out.push(',');
        }
        if is_null(column, row) {
            continue;
        }
        let mut text = String::new();
        write_value(&mut text, &in_microseconds(column)?, row, field, zone)?;
        let text = if column.data_type() == &DataType::Boolean { &text[..1] } else { &text };
        let plain = |c: char| !matches!(c, '"' | '\\' | '(' | ')' | ',') && !c.is_whitespace();
        match !text.is_empty() && text.chars().all(plain) {
            true => out.push_str(text),
            false => {
                out.push('"');
                out.push_str(&text.replace('\\', "\\\\").replace('"', "\"\""));
                out.push('"');
            }
        }
    }
    out.push(')');
    Ok(())
}

fn at<T: ArrowPrimitiveType>(array: &ArrayRef, row: usize) -> T::Native {
    array.as_primitive::<T>().value(row)
}

fn push(out: &mut String, value: impl std::fmt::Display) {
    // Writing to a String cannot fail.
    let _ = write!(out, "{value}");
}

/// A float from its shortest scientific form: plain between 1e-4 and 10^`plain_digits`.
fn write_float(out: &mut String, value: f64, scientific: String, plain_digits: i32) {
    if !value.is_finite() {
        out.push_str(if value.is_nan() {
            "NaN"
        } else if value > 0.0 {
            "Infinity"
        } else {
            "-Infinity"
        });
        return;
    }
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if !(-4..plain_digits).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        push(out, format_args!("{mantissa}e{sign}{:02}", exponent.abs()));
        return;
    }
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |rest| ("-", rest));
    let digits: String = mantissa.chars().filter(|c| *c != '.').collect();
    let point = exponent + 1;
    out.push_str(sign);
    if point <= 0 {
        out.push_str("0.");
        (point..0).for_each(|_| out.push('0'));
        out.push_str(&digits);
    } else if digits.len() as i32 <= point {
        out.push_str(&digits);
        (digits.len() as i32..point).for_each(|_| out.push('0'));
    } else {
        out.push_str(&digits[..point as usize]);
        out.push('.');
        out.push_str(&digits[point as usize..]);
    }
}

/// A scaled integer; zeros at the end of the fraction are left out down to `least` digits.
pub fn write_decimal(out: &mut String, value: i128, scale: i8, least: i8) {
    let least = least.max(0) as usize;
    let zeros = usize::from(scale.min(0).unsigned_abs());
    let (mut digits, mut scale) = (value.unsigned_abs(), scale.max(0) as usize);
    while scale > least && digits.is_multiple_of(10) {
        digits /= 10;
        scale -= 1;
    }
    if value < 0 {
        out.push('-');
    }
    let power = 10u128.pow(scale as u32);
    push(out, digits / power);
    if digits != 0 {
        // A literal like 1e100 has a negative scale.
        (0..zeros).for_each(|_| out.push('0'));
    }
    if scale > 0 {
        push(out, format_args!(".{:0scale$}", digits % power));
    }
}

fn write_bytes(out: &mut String, bytes: &[u8]) {
    out.push_str("\\x");
    bytes.iter().for_each(|byte| push(out, format_args!("{byte:02x}")));
}

fn write_uuid(out: &mut String, bytes: &[u8]) {
    for (i, byte) in bytes.iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            out.push('-');
        }
        push(out, format_args!("{byte:02x}"));
    }
}

/// `2024-02-29`, `0044-03-15 BC`.
pub fn write_date(out: &mut String, days: i32) -> Result<()> {
    write_infinite(out, i64::from(days), i64::from(i32::MIN), i64::from(i32::MAX)).map_or_else(
        || {
            let date = temporal::day(days)?;
            write_day(out, date);
            write_era(out, date);
            Ok(())
        },
        Ok,
    )
}

/// The ends of a range stand for the infinities.
fn write_infinite(out: &mut String, value: i64, least: i64, greatest: i64) -> Option<()> {
    match value {
        _ if value == least => out.push_str("-infinity"),
        _ if value == greatest => out.push_str("infinity"),
        _ => return None,
    }
    Some(())
}

fn write_day(out: &mut String, date: NaiveDate) {
    let year = if date.year() > 0 { date.year() } else { 1 - date.year() };
    push(out, format_args!("{year:04}-{:02}-{:02}", date.month(), date.day()));
}

fn write_era(out: &mut String, date: NaiveDate) {
    if date.year() <= 0 {
        out.push_str(" BC");
    }
}

/// `04:05:06.7`.
pub fn write_time(out: &mut String, micros: i64) {
    let seconds = micros / 1_000_000;
    push(out, format_args!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60));
    write_fraction(out, micros % 1_000_000);
}

fn write_fraction(out: &mut String, micros: i64) {
    if micros != 0 {
        let digits = format!("{micros:06}");
        out.push('.');
        out.push_str(digits.trim_end_matches('0'));
    }
}

/// `2024-02-29 12:00:00`.
pub fn write_timestamp(out: &mut String, micros: i64) -> Result<()> {
    write_infinite(out, micros, i64::MIN, i64::MAX).map_or_else(
        || {
            let date = temporal::civil(micros)?.date();
            write_day(out, date);
            out.push(' ');
            write_time(out, micros.rem_euclid(DAY));
            write_era(out, date);
            Ok(())
        },
        Ok,
    )
}

/// `2024-02-29 12:00:00+00`.
pub fn write_timestamptz(out: &mut String, micros: i64, zone: &Tz) -> Result<()> {
    if write_infinite(out, micros, i64::MIN, i64::MAX).is_some() {
        return Ok(());
    }
    let offset = temporal::offset_at(zone, micros)?;
    let local = micros + i64::from(offset) * 1_000_000;
    let date = temporal::civil(local)?.date();
    write_day(out, date);
    out.push(' ');
    write_time(out, local.rem_euclid(DAY));
    let (sign, seconds) = if offset < 0 { ('-', -offset) } else { ('+', offset) };
    push(out, format_args!("{sign}{:02}", seconds / 3600));
    if seconds % 3600 != 0 {
        push(out, format_args!(":{:02}", seconds / 60 % 60));
    }
    if seconds % 60 != 0 {
        push(out, format_args!(":{:02}", seconds % 60));
    }
    write_era(out, date);
    Ok(())
}

/// `1 year 2 mons 3 days 04:05:06`: parts of 0 are left out, a part after a negative one says its plus.
pub fn write_interval(out: &mut String, interval: IntervalMonthDayNano) {
    let micros = interval.nanoseconds / 1000;
    let parts = [(interval.months / 12, "year"), (interval.months % 12, "mon"), (interval.days, "day")];
    let mut negative = false;
    let mut empty = true;
    for (count, unit) in parts {
        if count != 0 {
            let gap = if empty { "" } else { " " };
            let plus = if negative && count > 0 { "+" } else { "" };
            let plural = if count == 1 { "" } else { "s" };
            push(out, format_args!("{gap}{plus}{count} {unit}{plural}"));
            negative = count < 0;
            empty = false;
        }
    }
    if micros != 0 || empty {
        out.push_str(if empty { "" } else { " " });
        out.push_str(match micros {
            ..0 => "-",
            _ if negative => "+",
            _ => "",
        });
        write_time(out, micros.abs());
    }
}

/// `{1,2,NULL,"a b"}`.
fn write_list(out: &mut String, values: &ArrayRef, element: &Field, zone: &Tz) -> Result<()> {
    out.push('{');
    let mut text = String::new();
    for row in 0..values.len() {
        if row > 0 {
            out.push(',');
        }
        if values.is_null(row) {
            out.push_str("NULL");
            continue;
        }
        text.clear();
        match values.data_type() {
            DataType::Boolean => text.push_str(if values.as_boolean().value(row) { "t" } else { "f" }),
            _ => write_value(&mut text, values, row, element, zone)?,
        }
        let nested = matches!(values.data_type(), DataType::List(_));
        if nested || !needs_quotes(&text) {
            out.push_str(&text);
            continue;
        }
        out.push('"');
        for c in text.chars() {
            if matches!(c, '"' | '\\') {
                out.push('\\');
            }
            out.push(c);
        }
        out.push('"');
    }
    out.push('}');
    Ok(())
}

fn needs_quotes(text: &str) -> bool {
    let special = |c: char| matches!(c, '{' | '}' | ',' | '"' | '\\') || c.is_ascii_whitespace();
    text.is_empty() || text.eq_ignore_ascii_case("null") || text.contains(special)
}
