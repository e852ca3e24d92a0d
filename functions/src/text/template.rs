//! `format`: a template with arguments put in.

use super::quote::{quote_ident, quote_literal};
use super::{BYTES_MAX, as_texts, too_large};
use crate::function::Call;
use arrow::array::{Array, ArrayRef, StringViewArray, StringViewBuilder};
use millrace_types::{Result, SqlError, SqlState};
use std::sync::Arc;

pub fn formatted(call: &Call) -> Result<ArrayRef> {
    let columns = (1..call.count()).map(|at| as_texts(call, at)).collect::<Result<Vec<_>>>()?;
    let mut builder = StringViewBuilder::with_capacity(call.rows);
    for row in 0..call.rows {
        if call.arrays[0].is_null(row) {
            builder.append_null();
            continue;
        }
        builder.append_value(format_row(call.text(0).value(row), &columns, row)?);
    }
    Ok(Arc::new(builder.finish()))
}

fn format_row(template: &str, columns: &[StringViewArray], row: usize) -> Result<String> {
    let invalid = |message: String| SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message);
    let mut out = String::new();
    let mut chars = template.chars().peekable();
    let mut next = 0;
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        if chars.next_if_eq(&'%').is_some() {
            out.push('%');
            continue;
        }
        let mut number = String::new();
        let mut left = chars.next_if_eq(&'-').is_some();
        while let Some(digit) = chars.next_if(char::is_ascii_digit) {
            number.push(digit);
        }
        let mut width: usize = 0;
        if chars.next_if_eq(&'$').is_some() {
            let position: usize = number.parse().unwrap_or(0);
            if position == 0 {
                return Err(invalid("format specifies argument 0, but arguments are numbered from 1".to_owned()));
            }
            next = position - 1;
            left |= chars.next_if_eq(&'-').is_some();
            number.clear();
            while let Some(digit) = chars.next_if(char::is_ascii_digit) {
                number.push(digit);
            }
        }
        if number.is_empty() && chars.next_if_eq(&'*').is_some() {
            let mut place = String::new();
            while let Some(digit) = chars.next_if(char::is_ascii_digit) {
                place.push(digit);
            }
            let at = match chars.next_if_eq(&'$') {
                Some(_) => place.parse::<usize>().ok().and_then(|place| place.checked_sub(1)),
                None => {
                    next += 1;
                    Some(next - 1)
                }
            };
            let column = at.and_then(|at| columns.get(at));
            let column = column.ok_or_else(|| invalid("too few arguments for format()".to_owned()))?;
            let given = if column.is_valid(row) { column.value(row) } else { "0" };
            let given: i64 = given.parse().map_err(|_| {
                let message = format!("invalid input syntax for type integer: \"{given}\"");
                SqlError::new(SqlState::INVALID_TEXT_REPRESENTATION, message)
            })?;
            left |= given < 0;
            number = given.unsigned_abs().to_string();
        }
        if !number.is_empty() {
            width = number.parse().ok().filter(|width| *width <= BYTES_MAX / 4).ok_or_else(too_large)?;
        }
        let kind = chars.next().ok_or_else(|| invalid("unterminated format() type specifier".to_owned()))?;
        let column = columns.get(next).ok_or_else(|| invalid("too few arguments for format()".to_owned()))?;
        let value = column.is_valid(row).then(|| column.value(row));
        next += 1;
        let text = match (kind, value) {
            ('s', value) => value.unwrap_or("").to_owned(),
            ('I', Some(value)) => quote_ident(value),
            ('I', None) => {
                return Err(SqlError::new(SqlState("22004"), "null values cannot be formatted as an SQL identifier"));
            }
            ('L', value) => value.map_or("NULL".to_owned(), quote_literal),
            (other, _) => return Err(invalid(format!("unrecognized format() type specifier \"{other}\""))),
        };
        let gap = " ".repeat(width.saturating_sub(text.chars().count()));
        if left {
            out.extend([text.as_str(), &gap]);
        } else {
            out.extend([gap.as_str(), &text]);
        }
    }
    Ok(out)
}
