//! Aggregates that make one value of all: texts, arrays, and the first or last of them.

use super::gathered::Definition;
use super::sorted::Sorted;
use arrow::array::{Array, ArrayRef, AsArray, BinaryBuilder, ListArray, StringViewBuilder};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, FieldRef};
use millrace_types::{Result, SqlType, field_of, sql_type_of};
use std::sync::Arc;

/// The definitions of this family.
pub static DEFINITIONS: &[Definition] = &[
    Definition {
        name: "string_agg",
        aliases: &[],
        resolve: resolve_strings,
        skips_nulls: true,
        within_group: false,
        finish: joined,
    },
    Definition {
        name: "array_agg",
        aliases: &[],
        resolve: resolve_array,
        skips_nulls: false,
        within_group: false,
        finish: array,
    },
    Definition {
        name: "any_value",
        aliases: &[],
        resolve: same_type,
        skips_nulls: true,
        within_group: false,
        finish: |rows| rows.picked(|rows| rows.into_iter().next()),
    },
    Definition {
        name: "first_value",
        aliases: &[],
        resolve: same_type,
        skips_nulls: false,
        within_group: false,
        finish: |rows| rows.picked(|rows| rows.into_iter().next()),
    },
    Definition {
        name: "last_value",
        aliases: &[],
        resolve: same_type,
        skips_nulls: false,
        within_group: false,
        finish: |rows| rows.picked(|rows| rows.into_iter().next_back()),
    },
];

/// `min` and `max` of values whose order is not that of their fields.
pub static MIN: Definition = Definition {
    name: "min",
    aliases: &[],
    resolve: same_type,
    skips_nulls: true,
    within_group: false,
    finish: |rows| rows.picked(|rows| rows.into_iter().next()),
};

/// As [`MIN`].
pub static MAX: Definition = Definition {
    name: "max",
    aliases: &[],
    resolve: same_type,
    skips_nulls: true,
    within_group: false,
    finish: |rows| rows.picked(|rows| rows.into_iter().next_back()),
};

/// A literal, whose type is open, is taken for a text.
pub fn settled(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Null => DataType::Utf8View,
        other => other.clone(),
    }
}

/// One argument of any type, and a result of that type.
pub fn same_type(fields: &[FieldRef]) -> Option<(Vec<DataType>, Field)> {
    let [field] = fields else { return None };
    let data_type = settled(field.data_type());
    Some((vec![data_type.clone()], field.as_ref().clone().with_data_type(data_type)))
}

fn resolve_strings(fields: &[FieldRef]) -> Option<(Vec<DataType>, Field)> {
    let [value, delimiter] = fields else { return None };
    let (value, delimiter) = (settled(value.data_type()), settled(delimiter.data_type()));
    match (&value, &delimiter) {
        (DataType::Utf8View, DataType::Utf8View) => Some((vec![value, delimiter], field_of("", &SqlType::Text, true))),
        (DataType::Binary, DataType::Binary | DataType::Utf8View) => {
            Some((vec![DataType::Binary; 2], field_of("", &SqlType::Bytea, true)))
        }
        _ => None,
    }
}

/// Each value after the delimiter of its own row, but the first.
fn joined(rows: &Sorted<'_>) -> Result<ArrayRef> {
    let (values, delimiters) = (rows.argument(0), rows.argument(1));
    if let (Some(values), Some(delimiters)) = (values.as_string_view_opt(), delimiters.as_string_view_opt()) {
        let mut column = StringViewBuilder::with_capacity(rows.starts.len());
        for group in rows.groups() {
            let mut text = String::new();
            for row in group.clone() {
                if row > group.start && delimiters.is_valid(row) {
                    text.push_str(delimiters.value(row));
                }
                text.push_str(values.value(row));
            }
            column.append_option((!group.is_empty()).then_some(text));
        }
        return Ok(Arc::new(column.finish()));
    }
    let (values, delimiters) = (values.as_binary::<i32>(), delimiters.as_binary::<i32>());
    let mut column = BinaryBuilder::new();
    for group in rows.groups() {
        let mut bytes = Vec::new();
        for row in group.clone() {
            if row > group.start && delimiters.is_valid(row) {
                bytes.extend_from_slice(delimiters.value(row));
            }
            bytes.extend_from_slice(values.value(row));
        }
        column.append_option((!group.is_empty()).then_some(bytes));
    }
    Ok(Arc::new(column.finish()))
}

fn resolve_array(fields: &[FieldRef]) -> Option<(Vec<DataType>, Field)> {
    let [field] = fields else { return None };
    let element = settled(field.data_type());
    let mut settled = field.as_ref().clone().with_data_type(element.clone());
    // A name that is cast to text keeps its mark, while nobody needs arrays of names.
    if sql_type_of(&settled) == SqlType::Name {
        settled = settled.with_metadata(Default::default());
    }
    let item = Field::new_list_field(element.clone(), true).with_metadata(settled.metadata().clone());
    let marks = field_of("", &SqlType::Array(Box::new(sql_type_of(&settled))), true).metadata().clone();
    Some((vec![element], Field::new("", DataType::List(item.into()), true).with_metadata(marks)))
}

/// All values, NULLs among them.
fn array(rows: &Sorted<'_>) -> Result<ArrayRef> {
    let DataType::List(item) = rows.result.data_type() else {
        return Err(millrace_types::SqlError::internal("array_agg gives an array"));
    };
    let offsets = OffsetBuffer::from_lengths(rows.groups().map(|rows| rows.len()));
    let nulls = NullBuffer::from_iter(rows.groups().map(|rows| !rows.is_empty()));
    Ok(Arc::new(ListArray::new(item.clone(), offsets, rows.argument(0).clone(), Some(nulls))))
}
