//! Arrays and records: values inside of values.

use super::{ColumnEncoder, Writer, with_length};
use crate::format::TextFormat;
use crate::row_description::wire_oid;
use arrow::array::{Array, AsArray, ListArray, StructArray};
use arrow::buffer::OffsetBuffer;
use millrace_types::{Result, SqlError, SqlType, sql_type_of};

/// Writes `{a,"b c",NULL}`.
pub(super) fn list_text(element: &SqlType, array: &ListArray, format: &TextFormat) -> Result<Writer> {
    let values = ColumnEncoder::text(element, array.values(), format)?;
    let nested = matches!(element, SqlType::Array(_));
    let offsets = array.offsets().clone();
    Ok(Box::new(move |row, to| {
        let (from, until) = (offsets[row] as usize, offsets[row + 1] as usize);
        to.push(b'{');
        for index in from..until {
            if index > from {
                to.push(b',');
            }
            if values.is_null(index) {
                to.extend_from_slice(b"NULL");
                continue;
            }
            let start = to.len();
            values.write(index, to);
            if !nested && needs_quotes(&to[start..]) {
                quote(start, |byte| [b'\\', byte], to);
            }
        }
        to.push(b'}');
    }))
}

/// Whether an element would be read as something else without quotes.
fn needs_quotes(text: &[u8]) -> bool {
    text.is_empty()
        || text.eq_ignore_ascii_case(b"null")
        || text.iter().any(|byte| matches!(byte, b'{' | b'}' | b',' | b'"' | b'\\' | b' ' | b'\t'..=b'\r'))
}

/// Puts what follows `start` in double quotes, with quotes and backslashes in it escaped.
fn quote(start: usize, escape: impl Fn(u8) -> [u8; 2], to: &mut Vec<u8>) {
    let text = to.split_off(start);
    to.push(b'"');
    for &byte in &text {
        match byte {
            b'"' | b'\\' => to.extend_from_slice(&escape(byte)),
            byte => to.push(byte),
        }
    }
    to.push(b'"');
}

/// Writes the binary form of an array: number of dimensions, whether there are nulls, the type of the elements; size
/// and lower bound of each dimension; the elements.
pub(super) fn list_binary(element: &SqlType, array: &ListArray, format: &TextFormat) -> Result<Writer> {
    let mut levels = vec![array.offsets().clone()];
    let (mut element, mut values) = (element, array.values());
    // An array of arrays is one of several dimensions to Postgres, and has no nulls but in the innermost.
    while let (SqlType::Array(inner), Some(list)) = (element, values.as_list_opt::<i32>()) {
        if list.null_count() > 0 {
            return Err(SqlError::unsupported("an array with a null array in it, in binary format,"));
        }
        levels.push(list.offsets().clone());
        (element, values) = (inner, list.values());
    }
    if (0..array.len()).any(|row| !array.is_null(row) && shape(&levels, row).is_none()) {
        return Err(SqlError::unsupported("an array of arrays of different sizes, in binary format,"));
    }
    let (oid, values) = (wire_oid(element), ColumnEncoder::binary(element, values, format)?);
    Ok(Box::new(move |row, to| write_dimensions(&levels, oid, &values, row, to)))
}

/// The size of an array at each level, and where its innermost values are; `None` when sizes differ within a level.
fn shape(levels: &[OffsetBuffer<i32>], row: usize) -> Option<(Vec<u32>, std::ops::Range<usize>)> {
    let mut range = row..row + 1;
    let mut sizes = Vec::with_capacity(levels.len());
    for offsets in levels {
        let size = |index: usize| (offsets[index + 1] - offsets[index]) as u32;
        let first = if range.is_empty() { 0 } else { size(range.start) };
        if range.clone().any(|index| size(index) != first) {
            return None;
        }
        sizes.push(first);
        range = offsets[range.start] as usize..offsets[range.end] as usize;
    }
    Some((sizes, range))
}

fn write_dimensions(levels: &[OffsetBuffer<i32>], oid: u32, values: &ColumnEncoder, row: usize, to: &mut Vec<u8>) {
    // Shapes were checked when the writer was made.
    let (mut sizes, range) = shape(levels, row).unwrap_or_default();
    if range.is_empty() {
        sizes.clear();
    }
    let has_nulls = range.clone().any(|index| values.is_null(index));
    for word in [sizes.len() as u32, u32::from(has_nulls), oid] {
        to.extend_from_slice(&word.to_be_bytes());
    }
    for size in sizes {
        to.extend_from_slice(&size.to_be_bytes());
        to.extend_from_slice(&1u32.to_be_bytes());
    }
    for index in range {
        match values.is_null(index) {
            true => to.extend_from_slice(&(-1i32).to_be_bytes()),
            false => with_length(to, |to| values.write(index, to)),
        }
    }
}

/// Writes a record: `(1,"a b",)`.
pub(super) fn record_text(array: &StructArray, format: &TextFormat) -> Result<Writer> {
    let fields = array.fields().iter().zip(array.columns());
    let columns: Vec<ColumnEncoder> = fields
        .map(|(field, values)| ColumnEncoder::text(&sql_type_of(field), values, format))
        .collect::<Result<_>>()?;
    Ok(Box::new(move |row, to| {
        to.push(b'(');
        for (number, column) in columns.iter().enumerate() {
            if number > 0 {
                to.push(b',');
            }
            if column.is_null(row) {
                continue;
            }
            let start = to.len();
            column.write(row, to);
            let special = |byte: &u8| matches!(byte, b'(' | b')' | b',' | b'"' | b'\\' | b' ' | b'\t'..=b'\r');
            if to.len() == start || to[start..].iter().any(special) {
                quote(start, |byte| [byte, byte], to);
            }
        }
        to.push(b')');
    }))
}
