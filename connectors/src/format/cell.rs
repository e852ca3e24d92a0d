//! Values of binary formats on their way into columns. A decoder knows what a value is, a cell what its column wants;
//! together they make the token that the scanner of a text format would have found.

use super::json_writer::write_string;
use crate::value::calendar::{write_date, write_time, write_timestamp};
use crate::value::write::{write_decimal, write_float, write_hex};
use crate::value::{Epoch, Kind, Token, is_json};
use arrow::datatypes::Field;
use millrace_types::{SqlType, sql_type_of};
use std::borrow::Cow;
use std::io::Write;

/// A value that is no list and no record.
pub(crate) enum Value<'a> {
    Null,
    Boolean(bool),
    Integer(i64),
    Unsigned(u64),
    Float(f64),
    Single(f32),
    Text {
        text: Cow<'a, str>,
        /// Where it stands in the block, if it does.
        place: Option<usize>,
    },
    Bytes(Cow<'a, [u8]>),
    Uuid([u8; 16]),
    /// The digits of a decimal, and how many of them follow the point.
    Decimal(i128, u8),
    /// Microseconds since 1970; in UTC if zoned.
    Moment {
        micros: i64,
        zoned: bool,
    },
    /// Days since 1970.
    Date(i32),
    /// Microseconds since midnight.
    Time(i64),
    Interval {
        months: i64,
        days: i64,
        micros: i64,
    },
}

impl<'a> Value<'a> {
    /// A text that does not stand in the block.
    pub fn text(text: impl Into<Cow<'a, str>>) -> Value<'a> {
        Value::Text { text: text.into(), place: None }
    }
}

/// What a column takes without being parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Whole numbers in a range.
    Integer(i64, i64),
    Moment,
    Document,
    List,
    /// Anything else, as text.
    Text,
}

/// The place of a column in a row of tokens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell {
    form: Form,
    epoch: Epoch,
}

impl Cell {
    /// The cell of a column. `epoch` says how bare numbers count time; tokens count it in microseconds.
    pub fn new(field: &Field, epoch: Epoch) -> Cell {
        let form = match sql_type_of(field) {
            SqlType::Int2 => Form::Integer(i16::MIN.into(), i16::MAX.into()),
            SqlType::Int4 => Form::Integer(i32::MIN.into(), i32::MAX.into()),
            SqlType::Int8 => Form::Integer(i64::MIN, i64::MAX),
            SqlType::Timestamp | SqlType::Timestamptz => Form::Moment,
            SqlType::Array(_) => Form::List,
            _ if is_json(field) => Form::Document,
            _ => Form::Text,
        };
        Cell { form, epoch }
    }

    /// Whether the column holds JSON: then every value is written as JSON.
    pub fn is_document(&self) -> bool {
        self.form == Form::Document
    }

    /// Whether the column is an array: then lists are written as Postgres does.
    pub fn is_list(&self) -> bool {
        self.form == Form::List
    }

    /// Whether the column takes whole numbers.
    pub fn is_integer(&self) -> bool {
        matches!(self.form, Form::Integer(..))
    }

    /// The token of a value.
    pub fn token(&self, value: &Value<'_>, extra: &mut Vec<u8>) -> Token {
        match (self.form, value) {
            (_, Value::Null) => Token::new(Kind::Null, 0, 0),
            (Form::Integer(least, most), Value::Integer(n)) if (least..=most).contains(n) => Token::integer(*n, 0, 0),
            (Form::Moment, Value::Moment { micros, .. }) => Token::integer(*micros, 0, 0),
            (Form::Moment, Value::Integer(n)) => match self.epoch.micros(*n) {
                Some(micros) => Token::integer(micros, 0, 0),
                None => written(extra, |out| write_text(out, value)),
            },
            (Form::Document, value) => written(extra, |out| write_json(out, value)),
            (_, Value::Text { text, place: Some(place) }) => Token::new(Kind::Text, *place, place + text.len()),
            (_, value) => written(extra, |out| write_text(out, value)),
        }
    }
}

/// The token of what is written to the end of the extra text.
pub(crate) fn written(extra: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) -> Token {
    let start = extra.len();
    write(extra);
    Token::new(Kind::Rewritten, start, extra.len())
}

/// Appends a value as Postgres prints it.
pub(crate) fn write_text(out: &mut Vec<u8>, value: &Value<'_>) {
    // Writing to a Vec cannot fail.
    let _ = match value {
        Value::Null => Ok(()),
        Value::Boolean(value) => write!(out, "{value}"),
        Value::Integer(value) => write!(out, "{value}"),
        Value::Unsigned(value) => write!(out, "{value}"),
        Value::Float(value) => write_float(out, *value),
        Value::Single(value) => write_float(out, *value),
        Value::Text { text, .. } => out.write_all(text.as_bytes()),
        Value::Bytes(bytes) => write_hex(out, bytes),
        Value::Uuid(bytes) => write!(out, "{}", uuid::Uuid::from_bytes(*bytes)),
        Value::Decimal(digits, scale) => write_decimal(out, *digits, *scale as i8, *scale as i8),
        Value::Moment { micros, zoned } => {
            write_timestamp(out, *micros, b' ', if *zoned { "+00" } else { "" });
            Ok(())
        }
        Value::Date(days) => {
            write_date(out, (*days).into());
            Ok(())
        }
        Value::Time(micros) => {
            write_time(out, *micros);
            Ok(())
        }
        Value::Interval { months, days, micros } => {
            write!(out, "{months} months {days} days {} microseconds", micros)
        }
    };
}

/// Appends a value as JSON: numbers and truth as such, everything else as a string.
pub(crate) fn write_json(out: &mut Vec<u8>, value: &Value<'_>) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Moment { micros, zoned } => {
            out.push(b'"');
            write_timestamp(out, *micros, b'T', if *zoned { "Z" } else { "" });
            out.push(b'"');
        }
        Value::Text { text, .. } => write_string(out, text.as_bytes()),
        value => {
            let start = out.len();
            write_text(out, value);
            let number = matches!(value, Value::Integer(_) | Value::Unsigned(_) | Value::Decimal(..))
                || matches!(value, Value::Float(float) if float.is_finite())
                || matches!(value, Value::Single(float) if float.is_finite());
            if !number && !matches!(value, Value::Boolean(_)) {
                let text = out.split_off(start);
                write_string(out, &text);
            }
        }
    }
}

/// Appends an element of an array as Postgres writes it in `{...}`.
pub(crate) fn write_element(out: &mut Vec<u8>, value: &Value<'_>) {
    match value {
        Value::Null => out.extend_from_slice(b"NULL"),
        value => {
            let start = out.len();
            write_text(out, value);
            quote_element(out, start);
        }
    }
}

/// Puts what was written from `start` on in quotes, as an element of an array.
pub(crate) fn quote_element(out: &mut Vec<u8>, start: usize) {
    let text = out.split_off(start);
    out.push(b'"');
    for byte in text {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.push(b'"');
}
