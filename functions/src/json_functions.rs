//! Functions and operators over json and jsonb.

use crate::format::write_value;
use crate::function::{Call, Overload, immutable, is_null};
use crate::json::{self, Json};
use arrow::array::timezone::Tz;
use arrow::array::{Array, ArrayRef, AsArray, StringViewBuilder};
use arrow::datatypes::{DataType, Field, Int32Type};
use datafusion::logical_expr::ScalarUDF;
use millrace_types::{Result, SqlError, SqlState, SqlType, sql_type_of};
use std::borrow::Cow;
use std::sync::Arc;

const TEXT: SqlType = SqlType::Text;
const ANY: SqlType = SqlType::Unknown;
const JSONB: SqlType = SqlType::Jsonb;

/// The functions of this family.
pub fn functions() -> Vec<ScalarUDF> {
    vec![
        immutable(
            "json_get",
            &[],
            vec![
                Overload::new(&[JSONB, SqlType::Int4], JSONB, |call| get(call, false)),
                Overload::new(&[JSONB, TEXT], JSONB, |call| get(call, false)),
            ],
        ),
        immutable(
            "json_get_text",
            &[],
            vec![
                Overload::new(&[JSONB, SqlType::Int4], TEXT, |call| get(call, true)),
                Overload::new(&[JSONB, TEXT], TEXT, |call| get(call, true)),
            ],
        ),
        immutable("json_get_path", &[], vec![Overload::new(&[JSONB, ANY], JSONB, |call| get_path(call, false))]),
        immutable("json_get_path_text", &[], vec![Overload::new(&[JSONB, ANY], TEXT, |call| get_path(call, true))]),
        immutable(
            "jsonb_extract_path",
            &["json_extract_path"],
            vec![Overload::variadic(&[JSONB, TEXT], JSONB, |call| extract_path(call, false))],
        ),
        immutable(
            "jsonb_extract_path_text",
            &["json_extract_path_text"],
            vec![Overload::variadic(&[JSONB, TEXT], TEXT, |call| extract_path(call, true))],
        ),
        immutable(
            "json_contains",
            &[],
            vec![Overload::new(&[JSONB, JSONB], SqlType::Bool, |call| {
                call.booleans(|row| Ok(Some(value(call, 0, row)?.contains(&value(call, 1, row)?))))
            })],
        ),
        immutable("json_has_key", &["jsonb_exists"], vec![Overload::new(&[JSONB, TEXT], SqlType::Bool, has_key)]),
        immutable("jsonb_concat", &[], vec![Overload::new(&[JSONB, JSONB], JSONB, concat)]),
        immutable(
            "jsonb_typeof",
            &["json_typeof"],
            vec![Overload::new(&[JSONB], TEXT, |call| call.texts(|row| Ok(Some(value(call, 0, row)?.type_name()))))],
        ),
        immutable(
            "jsonb_array_length",
            &["json_array_length"],
            vec![Overload::new(&[JSONB], SqlType::Int4, |call| {
                call.values::<Int32Type>(|row| array_length(call, row))
            })],
        ),
        immutable("to_jsonb", &["to_json"], vec![Overload::new(&[ANY], JSONB, to_jsonb)]),
        immutable("jsonb_build_object", &[], vec![Overload::variadic(&[ANY], JSONB, |call| build_object(call, true))]),
        immutable(
            "json_build_object",
            &[],
            vec![Overload::variadic(&[ANY], SqlType::Json, |call| build_object(call, false))],
        ),
        immutable("jsonb_build_array", &[], vec![Overload::variadic(&[ANY], JSONB, build_array)]),
        immutable("json_build_array", &[], vec![Overload::variadic(&[ANY], SqlType::Json, build_array)]),
        immutable(
            "jsonb_strip_nulls",
            &["json_strip_nulls"],
            vec![Overload::new(&[JSONB], JSONB, |call| {
                call.texts(|row| Ok(Some(without_nulls(value(call, 0, row)?).to_string())))
            })],
        ),
    ]
}

/// The text of a json argument; a text that is not said to be json is read as jsonb.
pub fn document<'a>(call: &'a Call, at: usize, row: usize) -> Result<Cow<'a, str>> {
    let text = call.text(at).value(row);
    match sql_type_of(&call.fields[at]) {
        SqlType::Json | SqlType::Jsonb => Ok(Cow::Borrowed(text)),
        _ => json::normalized(text).map(Cow::Owned),
    }
}

fn value(call: &Call, at: usize, row: usize) -> Result<Json> {
    json::parse(call.text(at).value(row))
}

fn written(found: Option<&Json>, as_text: bool) -> Option<String> {
    match as_text {
        true => found.cloned().and_then(Json::into_text),
        false => found.map(Json::to_string),
    }
}

fn get(call: &Call, as_text: bool) -> Result<ArrayRef> {
    let by_index = call.arrays[1].data_type() == &DataType::Int32;
    call.texts(|row| {
        let holder = value(call, 0, row)?;
        let found = match by_index {
            true => holder.element(call.value::<Int32Type>(1, row).into()),
            false => holder.member(call.text(1).value(row)),
        };
        Ok(written(found, as_text))
    })
}

fn step<'a>(holder: &'a Json, key: &str) -> Option<&'a Json> {
    match holder {
        Json::Array(_) => holder.element(key.parse().ok()?),
        other => other.member(key),
    }
}

fn get_path(call: &Call, as_text: bool) -> Result<ArrayRef> {
    let Some(lists) = call.arrays[1].as_list_opt::<i32>() else {
        return Err(SqlError::new(SqlState::DATATYPE_MISMATCH, "a json path must be an array of text"));
    };
    call.texts(|row| {
        let keys = arrow::compute::cast(&lists.value(row), &DataType::Utf8View)?;
        let holder = value(call, 0, row)?;
        let found = keys.as_string_view().iter().try_fold(&holder, |at, key| step(at, key?));
        Ok(written(found, as_text))
    })
}

fn extract_path(call: &Call, as_text: bool) -> Result<ArrayRef> {
    call.texts(|row| {
        let holder = value(call, 0, row)?;
        let found = (1..call.count()).try_fold(&holder, |at, key| step(at, call.text(key).value(row)));
        Ok(written(found, as_text))
    })
}

/// `j['a'][0]`
pub fn by_subscripts(call: &Call) -> Result<ArrayRef> {
    extract_path(call, false)
}

fn has_key(call: &Call) -> Result<ArrayRef> {
    call.booleans(|row| {
        let key = call.text(1).value(row);
        Ok(Some(match value(call, 0, row)? {
            Json::Array(items) => items.contains(&Json::Text(key.to_owned())),
            Json::Text(text) => text == key,
            other => other.member(key).is_some(),
        }))
    })
}

fn concat(call: &Call) -> Result<ArrayRef> {
    let items = |value| match value {
        Json::Array(items) => items,
        other => vec![other],
    };
    call.texts(|row| {
        let joined = match (value(call, 0, row)?, value(call, 1, row)?) {
            (Json::Object(mut a), Json::Object(b)) => {
                a.extend(b);
                json::object(a)
            }
            (a, b) => Json::Array(items(a).into_iter().chain(items(b)).collect()),
        };
        Ok(Some(joined.to_string()))
    })
}

fn array_length(call: &Call, row: usize) -> Result<Option<i32>> {
    match value(call, 0, row)? {
        Json::Array(items) => Ok(Some(items.len() as i32)),
        Json::Object(_) => {
            Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, "cannot get array length of a non-array"))
        }
        _ => Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, "cannot get array length of a scalar")),
    }
}

fn without_nulls(value: Json) -> Json {
    match value {
        Json::Object(members) => {
            let kept = members.into_iter().filter(|(_, value)| *value != Json::Null);
            Json::Object(kept.map(|(key, value)| (key, without_nulls(value))).collect())
        }
        Json::Array(items) => Json::Array(items.into_iter().map(without_nulls).collect()),
        other => other,
    }
}

/// The JSON of a value of any type.
pub(crate) fn json_of(zone: &Tz, array: &ArrayRef, row: usize, field: &Field) -> Result<Json> {
    if is_null(array, row) {
        return Ok(Json::Null);
    }
    let mut text = String::new();
    write_value(&mut text, array, row, field, zone)?;
    Ok(match sql_type_of(field) {
        SqlType::Bool => Json::Bool(text == "true"),
        SqlType::Int2 | SqlType::Int4 | SqlType::Int8 | SqlType::Numeric(_) => Json::Number(text),
        SqlType::Float4 | SqlType::Float8 if text.ends_with(|c: char| c.is_ascii_digit()) => {
            json::canonical(Json::Number(text))
        }
        SqlType::Json | SqlType::Jsonb => json::parse(&text)?,
        SqlType::Timestamp | SqlType::Timestamptz => {
            let iso = text.replacen(' ', "T", 1);
            // JSON has no zone without minutes.
            let short = sql_type_of(field) == SqlType::Timestamptz && iso.as_bytes()[iso.len() - 3] != b':';
            Json::Text(if short { iso + ":00" } else { iso })
        }
        SqlType::Array(_) => match (array.as_list_opt::<i32>(), array.data_type()) {
            (Some(list), DataType::List(element)) => {
                let values = list.value(row);
                let items = (0..values.len()).map(|at| json_of(zone, &values, at, element));
                Json::Array(items.collect::<Result<_>>()?)
            }
            _ => Json::Text(text),
        },
        _ => Json::Text(text),
    })
}

fn to_jsonb(call: &Call) -> Result<ArrayRef> {
    call.texts(|row| Ok(Some(json_of(&call.zone, &call.arrays[0], row, &call.fields[0])?.to_string())))
}

fn build_array(call: &Call) -> Result<ArrayRef> {
    built(call, |row| {
        let items = (0..call.count()).map(|at| json_of(&call.zone, &call.arrays[at], row, &call.fields[at]));
        Ok(Json::Array(items.collect::<Result<_>>()?).to_string())
    })
}

fn build_object(call: &Call, binary: bool) -> Result<ArrayRef> {
    if !call.count().is_multiple_of(2) {
        let message = "argument list must have even number of elements";
        return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message)
            .with_hint("The arguments of jsonb_build_object() must consist of alternating keys and values."));
    }
    built(call, |row| {
        let mut members = Vec::with_capacity(call.count() / 2);
        for at in (0..call.count()).step_by(2) {
            let Some(key) = json_of(&call.zone, &call.arrays[at], row, &call.fields[at])?.into_text() else {
                let message = format!("argument {}: key must not be null", at + 1);
                return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message));
            };
            members.push((key, json_of(&call.zone, &call.arrays[at + 1], row, &call.fields[at + 1])?));
        }
        if binary {
            return Ok(json::object(members).to_string());
        }
        let members: Vec<_> = members.iter().map(|(key, value)| format!("{} : {value}", json::quoted(key))).collect();
        Ok(format!("{{{}}}", members.join(", ")))
    })
}

/// A text for every row, also where arguments are NULL.
fn built(call: &Call, f: impl Fn(usize) -> Result<String>) -> Result<ArrayRef> {
    let mut builder = StringViewBuilder::with_capacity(call.rows);
    for row in 0..call.rows {
        builder.append_value(f(row)?);
    }
    Ok(Arc::new(builder.finish()))
}
