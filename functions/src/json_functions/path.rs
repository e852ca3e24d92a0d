//! The functions of jsonpath.

use super::{Typing, is_json, value};
use crate::function::{Call, is_null};
use crate::generic::{generic, list_of};
use crate::json::Json;
use crate::json_path::Path;
use arrow::array::{ArrayBuilder, AsArray, ListArray, StringViewBuilder};
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
                call.booleans(|row| Ok(paths.found_whole(call, row, false)?.map(|found| !found.is_empty())))
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
                    _ if is_silent(call, row) => Ok(None),
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
                call.booleans(|row| match paths.found_whole(call, row, true)?.as_deref() {
                    Some([Json::Bool(truth)]) => Ok(Some(*truth)),
                    _ => Ok(None),
                })
            },
        ),
        generic(
            "jsonb_path_finds",
            &[],
            |fields| types(fields, SqlType::Bool),
            |call| {
                let paths = Paths::default();
                call.booleans(|row| Ok(paths.found_whole(call, row, true)?.map(|found| !found.is_empty())))
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

/// json and path, then the variables and whether to be silent.
fn types(fields: &[FieldRef], result: SqlType) -> Typing {
    let [holder, path, rest @ ..] = fields else { return Ok(None) };
    let is_text = |field: &FieldRef| field.data_type().is_string() || field.data_type().is_null();
    let fits = is_json(holder)
        && is_text(path)
        && rest.len() <= 2
        && rest.first().is_none_or(is_json)
        && rest.get(1).is_none_or(|silent| matches!(silent.data_type(), DataType::Boolean | DataType::Null));
    let taken = [DataType::Utf8View, DataType::Utf8View, DataType::Utf8View, DataType::Boolean];
    Ok(fits.then(|| (taken[..fields.len()].to_vec(), field_of("", &result, true))))
}

/// Whether the call says that items that do not fit are no error.
fn is_silent(call: &Call, row: usize) -> bool {
    call.arrays.get(3).is_some_and(|silent| silent.as_boolean().value(row))
}

/// The last path, read: nearly always the one of the next row.
#[derive(Default)]
pub struct Paths(RefCell<Option<(String, Path)>>);

impl Paths {
    /// What the path of a row finds in its json.
    pub fn found(&self, call: &Call, row: usize) -> Result<Vec<Json>> {
        let variables = variables(call, row)?;
        self.with(call, row, |path, value| path.query(value, &variables, is_silent(call, row)))
    }

    /// As [`Paths::found`], but `None` where it fails, and the call, or its operator, is silent.
    fn found_whole(&self, call: &Call, row: usize, silent: bool) -> Result<Option<Vec<Json>>> {
        let variables = variables(call, row)?;
        let silent = silent || is_silent(call, row);
        self.with(call, row, |path, value| path.query_whole(value, &variables, silent))
    }

    fn with<T>(&self, call: &Call, row: usize, f: impl FnOnce(&Path, &Json) -> Result<T>) -> Result<T> {
        let text = call.text(1).value(row);
        let mut last = self.0.borrow_mut();
        let path = match last.take_if(|(known, _)| known == text) {
            Some((_, path)) => path,
            None => Path::parse(text)?,
        };
        let result = f(&path, &value(call, 0, row)?);
        *last = Some((text.to_owned(), path));
        result
    }
}

/// The variables that a call gives its path.
fn variables(call: &Call, row: usize) -> Result<Json> {
    if call.arrays.len() > 2 { value(call, 2, row) } else { Ok(Json::Object(vec![])) }
}
