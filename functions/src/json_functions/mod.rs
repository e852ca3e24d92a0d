//! Functions and operators over json and jsonb.
//!
//! jsonb is held as the text of its normal form, json as it was written. What is taken out of either is a part of that
//! text, so that only what changes a value takes it apart and puts it together again.

mod build;
mod change;
mod get;
mod path;
mod search;

pub use build::json_text;
pub use get::{ARRAY_TEXT, by_subscripts};
pub use path::sets as path_sets;

use crate::function::Call;
use crate::json::{self, Json};
use arrow::array::{ArrayRef, StringViewBuilder};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::logical_expr::ScalarUDF;
use millrace_types::{Result, SqlError, SqlState, SqlType, field_of, sql_type_of};
use std::borrow::Cow;
use std::sync::Arc;

/// The functions of this family.
pub fn functions() -> Vec<ScalarUDF> {
    let families = [get::functions(), change::functions(), build::functions(), search::functions(), path::functions()];
    families.into_iter().flatten().collect()
}

type Typing = Result<Option<(Vec<DataType>, Field)>>;

/// Whether a field holds json, or a text that may turn out to be.
fn is_json(field: &FieldRef) -> bool {
    let open = || field.data_type().is_string() && field.metadata().is_empty();
    matches!(sql_type_of(field), SqlType::Json | SqlType::Jsonb | SqlType::Unknown) || open()
}

/// The field of results of the type of a json argument: json for json, else jsonb.
fn same_json(field: &FieldRef) -> Field {
    match sql_type_of(field) {
        SqlType::Json => field_of("", &SqlType::Json, true),
        _ => field_of("", &SqlType::Jsonb, true),
    }
}

/// Texts for all arguments, the first of which is json.
fn of_json(fields: &[FieldRef], counts: std::ops::RangeInclusive<usize>, result: SqlType) -> Typing {
    let fits = counts.contains(&fields.len()) && is_json(&fields[0]);
    Ok(fits.then(|| (vec![DataType::Utf8View; fields.len()], field_of("", &result, true))))
}

/// An array of texts.
fn texts() -> DataType {
    SqlType::Array(Box::new(SqlType::Text)).arrow()
}

/// The text of a json argument; a text that is not said to be json is read as jsonb.
pub fn document<'a>(call: &'a Call, at: usize, row: usize) -> Result<Cow<'a, str>> {
    let text = call.text(at).value(row);
    match sql_type_of(&call.fields[at]) {
        SqlType::Json | SqlType::Jsonb => Ok(Cow::Borrowed(text)),
        _ => json::normalized(text).map(Cow::Owned),
    }
}

/// A json argument taken apart, in jsonb's form.
fn value(call: &Call, at: usize, row: usize) -> Result<Json> {
    let value = json::parse(call.text(at).value(row))?;
    Ok(if sql_type_of(&call.fields[at]) == SqlType::Jsonb { value } else { json::canonical(value) })
}

/// The texts of an argument that is an array, NULLs among them.
fn strings(call: &Call, at: usize, row: usize) -> Result<Vec<Option<String>>> {
    use arrow::array::AsArray;
    let Some(list) = call.arrays[at].as_list_opt::<i32>() else {
        return Err(SqlError::new(SqlState::DATATYPE_MISMATCH, "a json path must be an array of text"));
    };
    let keys = arrow::compute::cast(&list.value(row), &DataType::Utf8View)?;
    Ok(keys.as_string_view().iter().map(|key| key.map(str::to_owned)).collect())
}

fn invalid(message: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message)
}

/// A text for every row, also where arguments are NULL.
fn built(call: &Call, f: impl Fn(usize) -> Result<Option<String>>) -> Result<ArrayRef> {
    let mut builder = StringViewBuilder::with_capacity(call.rows);
    for row in 0..call.rows {
        builder.append_option(f(row)?);
    }
    Ok(Arc::new(builder.finish()))
}

/// Whether an argument is NULL in a row, also in a column of nothing else.
fn is_null(call: &Call, at: usize, row: usize) -> bool {
    crate::function::is_null(&call.arrays[at], row)
}
