//! Whether values hold others, and how they are ordered.

use super::{Typing, is_json, of_json, strings, texts, value};
use crate::function::Call;
use crate::generic::generic;
use crate::json::{Json, sort_key};
use arrow::array::{ArrayRef, BinaryBuilder};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::logical_expr::ScalarUDF;
use millrace_types::{Result, SqlType};
use std::sync::Arc;

pub fn functions() -> Vec<ScalarUDF> {
    let bool_of_two = |fields: &[FieldRef]| of_json(fields, 2..=2, SqlType::Bool);
    vec![
        generic("json_contains", &["jsonb_contains"], bool_of_two, |call| {
            call.booleans(|row| Ok(Some(value(call, 0, row)?.contains(&value(call, 1, row)?))))
        }),
        generic("json_has_key", &["jsonb_exists"], bool_of_two, |call| {
            call.booleans(|row| Ok(Some(has_key(&value(call, 0, row)?, call.text(1).value(row)))))
        }),
        generic("json_has_any_key", &["jsonb_exists_any"], with_keys, |call| {
            call.booleans(|row| {
                let holder = value(call, 0, row)?;
                Ok(Some(strings(call, 1, row)?.iter().flatten().any(|key| has_key(&holder, key))))
            })
        }),
        generic("json_has_all_keys", &["jsonb_exists_all"], with_keys, |call| {
            call.booleans(|row| {
                let holder = value(call, 0, row)?;
                Ok(Some(strings(call, 1, row)?.iter().flatten().all(|key| has_key(&holder, key))))
            })
        }),
        generic("jsonb_sort_key", &[], sortable, sort_keys),
    ]
}

fn with_keys(fields: &[FieldRef]) -> Typing {
    let [holder, _] = fields else { return Ok(None) };
    let taken = vec![DataType::Utf8View, texts()];
    Ok(is_json(holder).then(|| (taken, Field::new("", DataType::Boolean, true))))
}

fn has_key(holder: &Json, key: &str) -> bool {
    match holder {
        Json::Array(items) => items.iter().any(|item| matches!(item, Json::Text(text) if text == key)),
        Json::Text(text) => text == key,
        other => other.member(key).is_some(),
    }
}

fn sortable(fields: &[FieldRef]) -> Typing {
    let [field] = fields else { return Ok(None) };
    Ok(is_json(field).then(|| (vec![DataType::Utf8View], Field::new("", DataType::Binary, true))))
}

/// Bytes that are ordered as the values are.
fn sort_keys(call: &Call) -> Result<ArrayRef> {
    let mut builder = BinaryBuilder::new();
    for row in 0..call.rows {
        match super::is_null(call, 0, row) {
            true => builder.append_null(),
            false => builder.append_value(sort_key(&value(call, 0, row)?)),
        }
    }
    Ok(Arc::new(builder.finish()))
}
