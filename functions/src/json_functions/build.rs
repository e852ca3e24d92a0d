//! json of values: `to_json`, `json_build_object`, `row_to_json` and their kin.

use super::{Typing, built, invalid, is_null, strings, texts};
use crate::format::write_value;
use crate::function::Call;
use crate::generic::{element_of, generic};
use crate::json::{self, Json};
use arrow::array::timezone::Tz;
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::logical_expr::ScalarUDF;
use millrace_types::{Result, SqlError, SqlState, SqlType, field_of, sql_type_of};

pub fn functions() -> Vec<ScalarUDF> {
    let jsonb = |fields: &[FieldRef]| any(fields, 0..=usize::MAX, SqlType::Jsonb);
    let json = |fields: &[FieldRef]| any(fields, 0..=usize::MAX, SqlType::Json);
    let one = |fields: &[FieldRef]| any(fields, 1..=1, SqlType::Json);
    let pretty = |fields: &[FieldRef]| match fields {
        [_, flag] if *flag.data_type() != DataType::Boolean => Ok(None),
        _ => any(fields, 1..=2, SqlType::Json),
    };
    vec![
        generic("to_json", &[], one, |call| to_json(call, false)),
        generic("to_jsonb", &[], |fields| any(fields, 1..=1, SqlType::Jsonb), |call| to_json(call, true)),
        generic("row_to_json", &[], pretty, |call| to_json(call, false)),
        generic("array_to_json", &[], pretty, |call| to_json(call, false)),
        generic("jsonb_build_object", &[], jsonb, |call| build_object(call, true)),
        generic("json_build_object", &[], json, |call| build_object(call, false)),
        generic("jsonb_build_array", &[], jsonb, |call| build_array(call, true)),
        generic("json_build_array", &[], json, |call| build_array(call, false)),
        generic("jsonb_object", &[], |fields| of_texts(fields, SqlType::Jsonb), |call| object(call, true)),
        generic("json_object", &[], |fields| of_texts(fields, SqlType::Json), |call| object(call, false)),
    ]
}

/// Any values; texts in the form that all have.
fn any(fields: &[FieldRef], counts: std::ops::RangeInclusive<usize>, result: SqlType) -> Typing {
    let taken = fields.iter().map(|field| match field.data_type().is_string() {
        true => DataType::Utf8View,
        false => field.data_type().clone(),
    });
    Ok(counts.contains(&fields.len()).then(|| (taken.collect(), field_of("", &result, true))))
}

/// The compact json of a value of any type; json inside stays as it is written.
pub fn json_text(array: &ArrayRef, row: usize, field: &Field, zone: &Tz) -> Result<String> {
    separated_text(array, row, field, zone, ",")
}

/// As [`json_text`], with this between the elements or columns of the value itself.
fn separated_text(array: &ArrayRef, row: usize, field: &Field, zone: &Tz, separator: &str) -> Result<String> {
    if crate::function::is_null(array, row) {
        return Ok("null".to_owned());
    }
    match array.data_type() {
        DataType::List(element) => {
            let values = array.as_list::<i32>().value(row);
            let items = (0..values.len()).map(|at| json_text(&values, at, element, zone));
            return Ok(format!("[{}]", items.collect::<Result<Vec<_>>>()?.join(separator)));
        }
        DataType::Struct(fields) => {
            let columns = fields.iter().zip(array.as_struct().columns());
            let members = columns.map(|(field, column)| {
                Ok(format!("{}:{}", json::quoted(field.name()), json_text(column, row, field, zone)?))
            });
            return Ok(format!("{{{}}}", members.collect::<Result<Vec<_>>>()?.join(separator)));
        }
        _ => {}
    }
    let mut text = String::new();
    write_value(&mut text, array, row, field, zone)?;
    Ok(match sql_type_of(field) {
        SqlType::Bool | SqlType::Int2 | SqlType::Int4 | SqlType::Int8 => text,
        SqlType::Json | SqlType::Jsonb => text,
        SqlType::Numeric(_) | SqlType::Float4 | SqlType::Float8 if text.ends_with(|c: char| c.is_ascii_digit()) => text,
        SqlType::Timestamp | SqlType::Timestamptz => {
            let iso = text.replacen(' ', "T", 1);
            // JSON has no zone without minutes.
            let zoned = sql_type_of(field) == SqlType::Timestamptz && iso.ends_with(|c: char| c.is_ascii_digit());
            let short = zoned && iso.as_bytes().iter().rev().nth(2).is_some_and(|byte| *byte != b':');
            json::quoted(&if short { iso + ":00" } else { iso })
        }
        _ => json::quoted(&text),
    })
}

fn argument(call: &Call, at: usize, row: usize) -> Result<String> {
    json_text(&call.arrays[at], row, &call.fields[at], &call.zone)
}

fn to_json(call: &Call, binary: bool) -> Result<ArrayRef> {
    built(call, |row| {
        if (0..call.count()).any(|at| is_null(call, at, row)) {
            return Ok(None);
        }
        let is_pretty = call.count() > 1 && call.arrays[1].as_boolean().value(row);
        let separator = if is_pretty { ",\n " } else { "," };
        let text = separated_text(&call.arrays[0], row, &call.fields[0], &call.zone, separator)?;
        Ok(Some(if binary { json::normalized(&text)? } else { text }))
    })
}

fn build_array(call: &Call, binary: bool) -> Result<ArrayRef> {
    built(call, |row| {
        let items = (0..call.count()).map(|at| argument(call, at, row)).collect::<Result<Vec<_>>>()?;
        let text = format!("[{}]", items.join(", "));
        Ok(Some(if binary { json::normalized(&text)? } else { text }))
    })
}

fn build_object(call: &Call, binary: bool) -> Result<ArrayRef> {
    let function = call.result.name();
    if !call.count().is_multiple_of(2) {
        return Err(invalid("argument list must have even number of elements")
            .with_hint(format!("The arguments of {function}() must consist of alternating keys and values.")));
    }
    built(call, |row| {
        let mut members = Vec::with_capacity(call.count() / 2);
        for at in (0..call.count()).step_by(2) {
            members.push(format!("{} : {}", json::quoted(&key(call, at, row, binary)?), argument(call, at + 1, row)?));
        }
        let text = format!("{{{}}}", members.join(", "));
        Ok(Some(if binary { json::normalized(&text)? } else { text }))
    })
}

/// The key that an argument is.
fn key(call: &Call, at: usize, row: usize, binary: bool) -> Result<String> {
    if is_null(call, at, row) {
        return Err(match binary {
            true => invalid(format!("argument {}: key must not be null", at + 1)),
            false => invalid(format!("argument {} cannot be null", at + 1)).with_hint("Object keys should be text."),
        });
    }
    let composite = matches!(sql_type_of(&call.fields[at]), SqlType::Array(_) | SqlType::Json | SqlType::Jsonb);
    if composite || matches!(call.arrays[at].data_type(), DataType::Struct(_)) {
        return Err(invalid("key value must be scalar, not array, composite, or json"));
    }
    let mut text = String::new();
    write_value(&mut text, &call.arrays[at], row, &call.fields[at], &call.zone)?;
    Ok(text)
}

/// One array of keys and values in turn or of pairs, or an array of keys and one of values.
fn of_texts(fields: &[FieldRef], result: SqlType) -> Typing {
    let list = |field: &FieldRef| element_of(field).is_some() || field.data_type().is_string();
    if !(1..=2).contains(&fields.len()) || !fields.iter().all(list) {
        return Ok(None);
    }
    let taken = fields.iter().map(|field| match element_of(field).map(|element| element_of(element).is_some()) {
        Some(true) => DataType::List(std::sync::Arc::new(Field::new("item", texts(), true))),
        _ => texts(),
    });
    Ok(Some((taken.collect(), field_of("", &result, true))))
}

fn object(call: &Call, binary: bool) -> Result<ArrayRef> {
    call.texts(|row| {
        let members = match call.count() {
            2 => paired(strings(call, 0, row)?, strings(call, 1, row)?)?,
            _ => alternating(call, row)?,
        };
        let members = members.into_iter().map(|(key, value)| match key {
            Some(key) => Ok((key, value.map_or(Json::Null, Json::Text))),
            None => Err(SqlError::new(SqlState::NULL_VALUE_NOT_ALLOWED, "null value not allowed for object key")),
        });
        let members = members.collect::<Result<Vec<_>>>()?;
        if binary {
            return Ok(Some(json::object(members).to_string()));
        }
        let members: Vec<_> = members.iter().map(|(key, value)| format!("{} : {value}", json::quoted(key))).collect();
        Ok(Some(format!("{{{}}}", members.join(", "))))
    })
}

type Pair = (Option<String>, Option<String>);

fn paired(keys: Vec<Option<String>>, values: Vec<Option<String>>) -> Result<Vec<Pair>> {
    match keys.len() == values.len() {
        true => Ok(keys.into_iter().zip(values).collect()),
        false => Err(SqlError::new(SqlState::ARRAY_SUBSCRIPT_ERROR, "mismatched array dimensions")),
    }
}

fn alternating(call: &Call, row: usize) -> Result<Vec<Pair>> {
    let nested = call.arrays[0].as_list::<i32>().value(row);
    let error = |message| Err(SqlError::new(SqlState::ARRAY_SUBSCRIPT_ERROR, message));
    let flat = match nested.as_list_opt::<i32>() {
        None => strings(call, 0, row)?,
        Some(pairs) if (0..pairs.len()).any(|at| pairs.value_length(at) != 2) => {
            return error("array must have two columns");
        }
        Some(pairs) => {
            let first = pairs.value_offsets()[0] as usize;
            let values = arrow::compute::cast(&pairs.values().slice(first, pairs.len() * 2), &DataType::Utf8View)?;
            values.as_string_view().iter().map(|text| text.map(str::to_owned)).collect()
        }
    };
    if !flat.len().is_multiple_of(2) {
        return error("array must have even number of elements");
    }
    let mut flat = flat.into_iter();
    let mut pairs = vec![];
    while let (Some(key), Some(value)) = (flat.next(), flat.next()) {
        pairs.push((key, value));
    }
    Ok(pairs)
}
