//! Parts of values: `->`, `->>`, `#>`, `#>>`, subscripts, lengths and types.

use super::{Typing, document, invalid, is_json, of_json, same_json, strings, texts, value};
use crate::function::Call;
use crate::generic::{element_of, generic};
use crate::json::{self, Parts};
use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field, FieldRef, Int32Type};
use datafusion::logical_expr::ScalarUDF;
use millrace_types::{Result, SqlType, field_of, sql_type_of};

pub fn functions() -> Vec<ScalarUDF> {
    let length = |fields: &[FieldRef]| of_json(fields, 1..=1, SqlType::Int4);
    let text = |fields: &[FieldRef]| of_json(fields, 1..=1, SqlType::Text);
    vec![
        generic("json_get", &[], |fields| by_key(fields, false), |call| get(call, false)),
        generic("json_get_text", &[], |fields| by_key(fields, true), |call| get(call, true)),
        generic("json_get_path", &[], |fields| by_path(fields, false), |call| get_path(call, false)),
        generic("json_get_path_text", &[], |fields| by_path(fields, true), |call| get_path(call, true)),
        generic("jsonb_extract_path", &["json_extract_path"], |f| by_keys(f, false), |call| extract(call, false)),
        generic(
            "jsonb_extract_path_text",
            &["json_extract_path_text"],
            |fields| by_keys(fields, true),
            |call| extract(call, true),
        ),
        generic(ARRAY_TEXT, &[], text, |call| call.texts(|row| array_text(call.text(0).value(row)))),
        generic("jsonb_typeof", &["json_typeof"], text, |call| {
            call.texts(|row| Ok(Some(kind(&document(call, 0, row)?))))
        }),
        generic("jsonb_array_length", &["json_array_length"], length, |call| {
            call.values::<Int32Type>(|row| array_length(&document(call, 0, row)?).map(Some))
        }),
        generic("jsonb_pretty", &[], text, |call| call.texts(|row| Ok(Some(json::pretty(&value(call, 0, row)?))))),
    ]
}

/// The text of an array that a json array, or a string that holds such a text, is read as.
pub const ARRAY_TEXT: &str = "json_array_text";

fn array_text(value: &str) -> Result<Option<String>> {
    let Parts::Array(items) = Parts::of(value)? else { return json::bare(value) };
    let items = items.into_iter().map(|item| match Parts::of(item)? {
        Parts::Array(_) => Ok(array_text(item)?.unwrap_or_default()),
        _ => Ok(json::bare(item)?
            .map_or("NULL".to_owned(), |text| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")))),
    });
    Ok(Some(format!("{{{}}}", items.collect::<Result<Vec<_>>>()?.join(","))))
}

fn result(fields: &[FieldRef], as_text: bool) -> Field {
    if as_text { field_of("", &SqlType::Text, true) } else { same_json(&fields[0]) }
}

fn by_key(fields: &[FieldRef], as_text: bool) -> Typing {
    let [holder, key] = fields else { return Ok(None) };
    let key = match key.data_type() {
        data_type if data_type.is_integer() => DataType::Int32,
        data_type if data_type.is_string() || data_type.is_null() => DataType::Utf8View,
        _ => return Ok(None),
    };
    Ok(is_json(holder).then(|| (vec![DataType::Utf8View, key], result(fields, as_text))))
}

fn by_path(fields: &[FieldRef], as_text: bool) -> Typing {
    let [holder, path] = fields else { return Ok(None) };
    let is_path = element_of(path).is_some() || path.data_type().is_string() || path.data_type().is_null();
    Ok((is_json(holder) && is_path).then(|| (vec![DataType::Utf8View, texts()], result(fields, as_text))))
}

fn by_keys(fields: &[FieldRef], as_text: bool) -> Typing {
    let fits = fields.first().is_some_and(is_json);
    Ok(fits.then(|| (vec![DataType::Utf8View; fields.len()], result(fields, as_text))))
}

/// The member with a key, or the element at a number.
fn step<'a>(holder: &'a str, key: &str) -> Result<Option<&'a str>> {
    Ok(match Parts::of(holder)? {
        Parts::Object(members) => member(members, key),
        Parts::Array(items) => key.parse().ok().and_then(|index| element(&items, index)),
        Parts::Scalar(_) => None,
    })
}

/// The last member with a key.
fn member<'a>(members: Vec<(String, &'a str)>, key: &str) -> Option<&'a str> {
    members.into_iter().rev().find(|(name, _)| name == key).map(|(_, value)| value)
}

/// The element at an index, from the end when negative.
fn element<'a>(items: &[&'a str], index: i64) -> Option<&'a str> {
    let at = if index < 0 { index + items.len() as i64 } else { index };
    usize::try_from(at).ok().and_then(|at| items.get(at).copied())
}

fn written(found: Option<&str>, as_text: bool) -> Result<Option<String>> {
    match (found, as_text) {
        (Some(found), true) => json::bare(found),
        (found, _) => Ok(found.map(str::to_owned)),
    }
}

fn get(call: &Call, as_text: bool) -> Result<ArrayRef> {
    let by_index = call.arrays[1].data_type() == &DataType::Int32;
    call.texts(|row| {
        let holder = document(call, 0, row)?;
        let found = match Parts::of(&holder)? {
            Parts::Object(members) if !by_index => member(members, call.text(1).value(row)),
            Parts::Array(items) if by_index => element(&items, call.value::<Int32Type>(1, row).into()),
            // A jsonb that is no array and no object is an array of one element to its operators.
            Parts::Scalar(value) if by_index && sql_type_of(&call.fields[0]) == SqlType::Jsonb => {
                element(&[value], call.value::<Int32Type>(1, row).into())
            }
            _ => None,
        };
        written(found, as_text)
    })
}

fn along(holder: &str, keys: &[Option<String>], as_text: bool) -> Result<Option<String>> {
    let mut found = Some(holder);
    for key in keys {
        found = match (found, key) {
            (Some(found), Some(key)) => step(found, key)?,
            _ => None,
        };
    }
    written(found, as_text)
}

fn get_path(call: &Call, as_text: bool) -> Result<ArrayRef> {
    call.texts(|row| along(&document(call, 0, row)?, &strings(call, 1, row)?, as_text))
}

fn extract(call: &Call, as_text: bool) -> Result<ArrayRef> {
    call.texts(|row| {
        let keys: Vec<_> = (1..call.count()).map(|at| Some(call.text(at).value(row).to_owned())).collect();
        along(&document(call, 0, row)?, &keys, as_text)
    })
}

/// `j['a'][0]`
pub fn by_subscripts(call: &Call) -> Result<ArrayRef> {
    extract(call, false)
}

fn kind(text: &str) -> &'static str {
    match text.trim_ascii_start().as_bytes().first() {
        Some(b'{') => "object",
        Some(b'[') => "array",
        Some(b'"') => "string",
        Some(b't' | b'f') => "boolean",
        Some(b'n') => "null",
        _ => "number",
    }
}

fn array_length(text: &str) -> Result<i32> {
    match Parts::of(text)? {
        Parts::Array(items) => Ok(items.len() as i32),
        Parts::Object(_) => Err(invalid("cannot get array length of a non-array")),
        Parts::Scalar(_) => Err(invalid("cannot get array length of a scalar")),
    }
}
