//! The functions of jsonpath.

use super::{Typing, is_json, value};
use crate::function::{Call, is_null};
use crate::generic::{generic, list_of};
use crate::json::Json;
use crate::json_path::Path;
use arrow::array::{ArrayBuilder, ListArray, StringViewBuilder};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, FieldRef};
use datafusion::logical_expr::ScalarUDF;
use millrace_types::{Result, SqlError, SqlState, SqlType, field_of};
use std::cell::RefCell;
use std::sync::Arc;

pub fn functions() -> Vec<ScalarUDF> {
    vec![
        generic(
            "jsonb_path_exists",
            &[],
            |fields| types(fields, SqlType::Bool),
            |call| {
                let paths = Paths::default();
                call.booleans(|row| Ok(Some(!paths.found(call, row)?.is_empty())))
            },
        ),
        generic(
            "jsonb_path_match",
            &[],
            |fields| types(fields, SqlType::Bool),
            |call| {
                let paths = Paths::default();
                call.booleans(|row| match paths.found(call, row)?.as_slice() {
                    [Json::Bool(truth)] => Ok(Some(*truth)),
                    [Json::Null] => Ok(None),
                    _ => {
                        let message = "single boolean result is expected";
                        Err(SqlError::new(SqlState::SINGLETON_SQL_JSON_ITEM_REQUIRED, message))
                    }
                })
            },
        ),
        generic(
            "jsonb_path_holds",
            &[],
            |fields| types(fields, SqlType::Bool),
            |call| {
                let paths = Paths::default();
                call.booleans(|row| match paths.found(call, row)?.as_slice() {
                    [Json::Bool(truth)] => Ok(Some(*truth)),
                    _ => Ok(None),
                })
            },
        ),
        generic(
            "jsonb_path_query_first",
            &[],
            |fields| types(fields, SqlType::Jsonb),
            |call| {
                let paths = Paths::default();
                call.texts(|row| Ok(paths.found(call, row)?.first().map(Json::to_string)))
            },
        ),
        generic(
            "jsonb_path_query_array",
            &[],
            |fields| types(fields, SqlType::Jsonb),
            |call| {
                let paths = Paths::default();
                call.texts(|row| Ok(Some(Json::Array(paths.found(call, row)?).to_string())))
            },
        ),
    ]
}

/// `jsonb_path_query`: what a path finds, each in a row of its own.
pub fn sets() -> Vec<ScalarUDF> {
    let types = |fields: &[FieldRef]| {
        let Some((taken, element)) = types(fields, SqlType::Jsonb)? else { return Ok(None) };
        Ok(Some((taken, list_of(&element))))
    };
    vec![generic("jsonb_path_query", &[], types, |call| {
        let DataType::List(element) = call.result.data_type() else {
            return Err(SqlError::internal("a set is an array"));
        };
        let paths = Paths::default();
        let (mut found, mut offsets) = (StringViewBuilder::new(), vec![0i32]);
        for row in 0..call.rows {
            if !call.arrays.iter().any(|array| is_null(array, row)) {
                paths.found(call, row)?.iter().for_each(|value| found.append_value(value.to_string()));
            }
            offsets.push(found.len() as i32);
        }
        let offsets = OffsetBuffer::new(offsets.into());
        Ok(Arc::new(ListArray::try_new(element.clone(), offsets, Arc::new(found.finish()), None)?))
    })]
}

fn types(fields: &[FieldRef], result: SqlType) -> Typing {
    let [holder, path] = fields else { return Ok(None) };
    let fits = is_json(holder) && (path.data_type().is_string() || path.data_type().is_null());
    Ok(fits.then(|| (vec![DataType::Utf8View; 2], field_of("", &result, true))))
}

/// The last path, read: nearly always the one of the next row.
#[derive(Default)]
pub struct Paths(RefCell<Option<(String, Path)>>);

impl Paths {
    /// What the path of a row finds in its json.
    pub fn found(&self, call: &Call, row: usize) -> Result<Vec<Json>> {
        let text = call.text(1).value(row);
        let mut last = self.0.borrow_mut();
        if last.as_ref().is_none_or(|(known, _)| known != text) {
            *last = Some((text.to_owned(), Path::parse(text)?));
        }
        match last.as_ref() {
            Some((_, path)) => path.query(&value(call, 0, row)?),
            None => Ok(vec![]),
        }
    }
}
