//! Values made of others: `||`, `-`, `#-`, `jsonb_set` and their kin.

use super::{Typing, built, invalid, is_json, is_null, of_json, strings, texts, value};
use crate::function::Call;
use crate::generic::{element_of, generic};
use crate::json::{self, Json};
use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{DataType, FieldRef, Int32Type};
use datafusion::logical_expr::ScalarUDF;
use millrace_types::{Result, SqlError, SqlState, SqlType, field_of};

pub fn functions() -> Vec<ScalarUDF> {
    vec![
        generic("jsonb_concat", &[], |fields| of_json(fields, 2..=2, SqlType::Jsonb), concat),
        generic("jsonb_delete", &[], deleting, delete),
        generic(
            "jsonb_delete_path",
            &[],
            |fields| with_path(fields, 0..=0),
            |call| change(call, |_| Ok(Change { value: None, how: How::Delete })),
        ),
        generic(
            "jsonb_set",
            &[],
            |fields| with_path(fields, 1..=2),
            |call| {
                change(call, |row| {
                    let value = Some(value(call, 2, row)?);
                    Ok(Change { value, how: How::Set { create: flag(call, row, true) } })
                })
            },
        ),
        generic("jsonb_set_lax", &[], |fields| with_path(fields, 1..=3), set_or_treat),
        generic(
            "jsonb_insert",
            &[],
            |fields| with_path(fields, 1..=2),
            |call| {
                change(call, |row| {
                    let value = Some(value(call, 2, row)?);
                    Ok(Change { value, how: How::Insert { after: flag(call, row, false) } })
                })
            },
        ),
        generic(
            "jsonb_strip_nulls",
            &[],
            |fields| of_json(fields, 1..=1, SqlType::Jsonb),
            |call| call.texts(|row| Ok(Some(without_nulls(value(call, 0, row)?).to_string()))),
        ),
        generic(
            "json_strip_nulls",
            &[],
            |fields| of_json(fields, 1..=1, SqlType::Json),
            |call| call.texts(|row| Ok(Some(json::compact(&without_nulls(json::parse(call.text(0).value(row))?))))),
        ),
    ]
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

/// jsonb and a key, an index or several keys.
fn deleting(fields: &[FieldRef]) -> Typing {
    let [holder, what] = fields else { return Ok(None) };
    let what = match what.data_type() {
        data_type if data_type.is_integer() => DataType::Int32,
        data_type if data_type.is_string() || data_type.is_null() => DataType::Utf8View,
        _ if element_of(what).is_some() => texts(),
        _ => return Ok(None),
    };
    Ok(is_json(holder).then(|| (vec![DataType::Utf8View, what], field_of("", &SqlType::Jsonb, true))))
}

fn delete(call: &Call) -> Result<ArrayRef> {
    call.texts(|row| {
        let holder = value(call, 0, row)?;
        let left = match call.arrays[1].data_type() {
            DataType::Int32 => without_index(holder, call.value::<Int32Type>(1, row))?,
            DataType::Utf8View => without_keys(holder, &[Some(call.text(1).value(row).to_owned())])?,
            _ => without_keys(holder, &strings(call, 1, row)?)?,
        };
        Ok(Some(left.to_string()))
    })
}

fn without_index(holder: Json, index: i32) -> Result<Json> {
    match holder {
        Json::Array(mut items) => {
            let at = if index < 0 { i64::from(index) + items.len() as i64 } else { index.into() };
            if (0..items.len() as i64).contains(&at) {
                items.remove(at as usize);
            }
            Ok(Json::Array(items))
        }
        Json::Object(_) => Err(invalid("cannot delete from object using integer index")),
        _ => Err(invalid("cannot delete from scalar")),
    }
}

fn without_keys(holder: Json, keys: &[Option<String>]) -> Result<Json> {
    let is_key = |name: &str| keys.iter().flatten().any(|key| key == name);
    match holder {
        Json::Object(members) => Ok(Json::Object(members.into_iter().filter(|(name, _)| !is_key(name)).collect())),
        Json::Array(items) => {
            let stays = |item: &Json| !matches!(item, Json::Text(text) if is_key(text));
            Ok(Json::Array(items.into_iter().filter(stays).collect()))
        }
        _ => Err(invalid("cannot delete from scalar")),
    }
}

/// jsonb, a path, and `more` arguments: a value and a flag.
fn with_path(fields: &[FieldRef], more: std::ops::RangeInclusive<usize>) -> Typing {
    if fields.len() < 2 || !more.contains(&(fields.len() - 2)) || !is_json(&fields[0]) {
        return Ok(None);
    }
    let all = [DataType::Utf8View, texts(), DataType::Utf8View, DataType::Boolean, DataType::Utf8View];
    Ok(Some((all[..fields.len()].to_vec(), field_of("", &SqlType::Jsonb, true))))
}

/// `jsonb_set_lax`: what NULL does instead of a value is said by the last argument.
fn set_or_treat(call: &Call) -> Result<ArrayRef> {
    built(call, |row| {
        if [0, 1, 3].into_iter().any(|at| at < call.count() && is_null(call, at, row)) {
            return Ok(None);
        }
        let wanted = "delete_key, return_target, use_json_null, or raise_exception";
        let treatment = match call.count() > 4 {
            true if is_null(call, 4, row) => {
                let message = format!("null_value_treatment must be {wanted}");
                return Err(SqlError::new(SqlState::NULL_VALUE_NOT_ALLOWED, message));
            }
            true => call.text(4).value(row),
            false => "use_json_null",
        };
        let how = How::Set { create: flag(call, row, true) };
        let change = match treatment {
            _ if !is_null(call, 2, row) => Change { value: Some(value(call, 2, row)?), how },
            "use_json_null" => Change { value: None, how },
            "delete_key" => Change { value: None, how: How::Delete },
            "return_target" => return Ok(Some(value(call, 0, row)?.to_string())),
            "raise_exception" => {
                let error = SqlError::new(SqlState::NULL_VALUE_NOT_ALLOWED, "JSON value must not be null");
                return Err(
                    error.with_detail("Exception was raised because null_value_treatment is \"raise_exception\".")
                );
            }
            _ => return Err(invalid(format!("null_value_treatment must be {wanted}"))),
        };
        end_of_path(call, row, &change).map(Some)
    })
}

fn flag(call: &Call, row: usize, default: bool) -> bool {
    if call.count() > 3 { call.arrays[3].as_boolean().value(row) } else { default }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    Set { create: bool },
    Insert { after: bool },
    Delete,
}

/// What happens at the end of a path.
struct Change {
    value: Option<Json>,
    how: How,
}

fn change(call: &Call, of_row: impl Fn(usize) -> Result<Change>) -> Result<ArrayRef> {
    call.texts(|row| end_of_path(call, row, &of_row(row)?).map(Some))
}

/// The first argument with a change at the end of the path that is the second.
fn end_of_path(call: &Call, row: usize, change: &Change) -> Result<String> {
    let holder = value(call, 0, row)?;
    if !matches!(holder, Json::Object(_) | Json::Array(_)) {
        let verb = if change.how == How::Delete { "delete" } else { "set" };
        return Err(invalid(format!("cannot {verb} path in scalar")));
    }
    Ok(changed(holder, &strings(call, 1, row)?, 1, change)?.to_string())
}

fn changed(holder: Json, path: &[Option<String>], position: usize, change: &Change) -> Result<Json> {
    let Some((key, rest)) = path.split_first() else { return Ok(holder) };
    let Some(key) = key else {
        let message = format!("path element at position {position} is null");
        return Err(SqlError::new(SqlState::NULL_VALUE_NOT_ALLOWED, message));
    };
    match holder {
        Json::Object(members) => in_object(members, key, rest, position, change),
        Json::Array(items) => {
            let index = key.parse::<i32>().map_err(|_| {
                let message = format!("path element at position {position} is not an integer: \"{key}\"");
                SqlError::new(SqlState::INVALID_TEXT_REPRESENTATION, message)
            })?;
            in_array(items, index.into(), rest, position, change)
        }
        scalar => Ok(scalar),
    }
}

fn in_object(
    mut members: Vec<(String, Json)>,
    key: &str,
    rest: &[Option<String>],
    position: usize,
    change: &Change,
) -> Result<Json> {
    let at = members.iter().position(|(name, _)| name == key);
    match (at, rest.is_empty(), change.how) {
        (Some(at), false, _) => {
            let inner = std::mem::replace(&mut members[at].1, Json::Null);
            members[at].1 = changed(inner, rest, position + 1, change)?;
        }
        (Some(at), true, How::Delete) => drop(members.remove(at)),
        (Some(_), true, How::Insert { .. }) => {
            return Err(invalid("cannot replace existing key")
                .with_hint("Try using the function jsonb_set to replace key value."));
        }
        (Some(at), true, How::Set { .. }) => members[at].1 = change.value.clone().unwrap_or(Json::Null),
        (None, true, How::Set { create: true } | How::Insert { .. }) => {
            members.push((key.to_owned(), change.value.clone().unwrap_or(Json::Null)));
            return Ok(json::object(members));
        }
        (None, ..) => {}
    }
    Ok(Json::Object(members))
}

fn in_array(
    mut items: Vec<Json>,
    index: i64,
    rest: &[Option<String>],
    position: usize,
    change: &Change,
) -> Result<Json> {
    let length = items.len() as i64;
    let at = if index < 0 { index + length } else { index };
    let there = (0..length).contains(&at);
    let new = || change.value.clone().unwrap_or(Json::Null);
    match (there, rest.is_empty(), change.how) {
        (true, false, _) => {
            let inner = std::mem::replace(&mut items[at as usize], Json::Null);
            items[at as usize] = changed(inner, rest, position + 1, change)?;
        }
        (true, true, How::Delete) => drop(items.remove(at as usize)),
        (true, true, How::Set { .. }) => items[at as usize] = new(),
        (true, true, How::Insert { after }) => items.insert(at as usize + usize::from(after), new()),
        (false, true, How::Set { create: true } | How::Insert { .. }) => {
            // Before the first or behind the last.
            if at < 0 { items.insert(0, new()) } else { items.push(new()) }
        }
        (false, ..) => {}
    }
    Ok(Json::Array(items))
}
