//! The elements and members of json values.

use crate::function::Call;
use crate::generic::{generic, list_of};
use crate::json::Parts;
use crate::json_functions::document;
use arrow::array::{Array, ArrayRef, ListArray, StringViewBuilder, StructArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::logical_expr::ScalarUDF;
use millrace_types::{Result, SqlError, SqlState, SqlType, field_of, sql_type_of};
use std::borrow::Cow;
use std::sync::Arc;

pub fn functions() -> Vec<ScalarUDF> {
    vec![
        generic("json_array_elements", &[], |f| array(f, SqlType::Json), elements),
        generic("jsonb_array_elements", &[], |f| array(f, SqlType::Jsonb), elements),
        generic("json_array_elements_text", &[], |f| array(f, SqlType::Text), elements),
        generic("jsonb_array_elements_text", &[], |f| array(f, SqlType::Text), elements),
        generic("json_each", &[], |f| object(f, SqlType::Json), each),
        generic("jsonb_each", &[], |f| object(f, SqlType::Jsonb), each),
        generic("json_each_text", &[], |f| object(f, SqlType::Text), each),
        generic("jsonb_each_text", &[], |f| object(f, SqlType::Text), each),
        generic("json_object_keys", &[], |f| array(f, SqlType::Text), keys),
        generic("jsonb_object_keys", &[], |f| array(f, SqlType::Text), keys),
    ]
}

type Typing = Result<Option<(Vec<DataType>, Field)>>;

fn takes_json(fields: &[FieldRef]) -> bool {
    let json = |field: &FieldRef| matches!(sql_type_of(field), SqlType::Json | SqlType::Jsonb | SqlType::Text);
    matches!(fields, [field] if json(field) || field.data_type().is_null() || field.data_type().is_string())
}

fn array(fields: &[FieldRef], element: SqlType) -> Typing {
    let element = field_of("", &element, true);
    Ok(takes_json(fields).then(|| (vec![DataType::Utf8View], list_of(&element))))
}

fn object(fields: &[FieldRef], value: SqlType) -> Typing {
    let member = vec![field_of("key", &SqlType::Text, true), field_of("value", &value, true)];
    let member = Field::new("", DataType::Struct(member.into()), true);
    Ok(takes_json(fields).then(|| (vec![DataType::Utf8View], list_of(&member))))
}

fn invalid(message: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message)
}

/// The element of the array that a call gives.
fn element(call: &Call) -> Result<FieldRef> {
    match call.result.data_type() {
        DataType::List(element) => Ok(element.clone()),
        _ => Err(SqlError::internal("a set is an array")),
    }
}

/// What a call's rows have; `f` appends the elements of a row and says how many.
fn offsets(call: &Call, mut f: impl FnMut(Parts) -> Result<usize>) -> Result<(OffsetBuffer<i32>, NullBuffer)> {
    let (mut lengths, mut valid) = (Vec::with_capacity(call.rows), Vec::with_capacity(call.rows));
    for row in 0..call.rows {
        let known = call.arrays[0].is_valid(row);
        lengths.push(if known { f(Parts::of(&text(call, row)?)?)? } else { 0 });
        valid.push(known);
    }
    Ok((OffsetBuffer::from_lengths(lengths), NullBuffer::from(valid)))
}

/// The text of the argument: for a function of json as it is written.
fn text<'a>(call: &'a Call, row: usize) -> Result<Cow<'a, str>> {
    let stays = call.result.name().starts_with("json_");
    match sql_type_of(&call.fields[0]) {
        SqlType::Json | SqlType::Jsonb => {}
        _ if stays => drop(crate::json::parse(call.text(0).value(row))?),
        _ => {}
    }
    if stays { Ok(Cow::Borrowed(call.text(0).value(row))) } else { document(call, 0, row) }
}

fn elements(call: &Call) -> Result<ArrayRef> {
    let element = element(call)?;
    let as_text = sql_type_of(&element) == SqlType::Text;
    let mut values = StringViewBuilder::new();
    let (offsets, nulls) = offsets(call, |parts| match parts {
        Parts::Array(items) => {
            for item in &items {
                match as_text {
                    true => values.append_option(crate::json::bare(item)?),
                    false => values.append_value(item),
                }
            }
            Ok(items.len())
        }
        Parts::Object(_) => Err(invalid("cannot extract elements from an object")),
        Parts::Scalar(_) => Err(invalid("cannot extract elements from a scalar")),
    })?;
    Ok(Arc::new(ListArray::try_new(element, offsets, Arc::new(values.finish()), Some(nulls))?))
}

fn each(call: &Call) -> Result<ArrayRef> {
    let element = element(call)?;
    let DataType::Struct(fields) = element.data_type() else { return Err(SqlError::internal("a member is composite")) };
    let as_text = sql_type_of(&fields[1]) == SqlType::Text;
    let name = call.result.name().clone();
    let (mut keys, mut values) = (StringViewBuilder::new(), StringViewBuilder::new());
    let (offsets, nulls) = offsets(call, |parts| {
        let members = members(parts, || format!("cannot call {name} on a non-object"))?;
        for (key, value) in &members {
            keys.append_value(key);
            match as_text {
                true => values.append_option(crate::json::bare(value)?),
                false => values.append_value(value),
            }
        }
        Ok(members.len())
    })?;
    let members = StructArray::try_new(fields.clone(), vec![Arc::new(keys.finish()), Arc::new(values.finish())], None)?;
    Ok(Arc::new(ListArray::try_new(element.clone(), offsets, Arc::new(members), Some(nulls))?))
}

fn keys(call: &Call) -> Result<ArrayRef> {
    let element = element(call)?;
    let name = call.result.name().clone();
    let mut keys = StringViewBuilder::new();
    let (offsets, nulls) = offsets(call, |parts| {
        let of = if matches!(parts, Parts::Array(_)) { "an array" } else { "a scalar" };
        let members = members(parts, || format!("cannot call {name} on {of}"))?;
        members.iter().for_each(|(key, _)| keys.append_value(key));
        Ok(members.len())
    })?;
    Ok(Arc::new(ListArray::try_new(element, offsets, Arc::new(keys.finish()), Some(nulls))?))
}

fn members<'a>(parts: Parts<'a>, otherwise: impl Fn() -> String) -> Result<Vec<(String, &'a str)>> {
    match parts {
        Parts::Object(members) => Ok(members),
        _ => Err(invalid(otherwise())),
    }
}
