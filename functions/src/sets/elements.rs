//! The elements of arrays.

use super::ORDINALITY;
use crate::function::Call;
use crate::generic::{element_of, generic, list_of};
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, ListArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, FieldRef, Int32Type};
use datafusion::logical_expr::ScalarUDF;
use millrace_types::Result;
use std::sync::{Arc, LazyLock};

pub fn functions() -> Vec<ScalarUDF> {
    vec![
        generic("unnest", &[], unnest_types, unnest),
        generic("generate_subscripts", &[], subscripts_types, subscripts),
        generic(ORDINALITY, &[], ordinals_types, ordinals_of),
    ]
}

/// The elements of all dimensions, one after the other.
fn unnest_types(fields: &[FieldRef]) -> Result<Option<(Vec<DataType>, Field)>> {
    let [array] = fields else { return Ok(None) };
    let Some(mut element) = element_of(array) else { return Ok(None) };
    while let Some(inner) = element_of(element) {
        element = inner;
    }
    Ok(Some((vec![array.data_type().clone()], list_of(element))))
}

fn unnest(call: &Call) -> Result<ArrayRef> {
    let mut flat: ListArray = call.arrays[0].as_list::<i32>().clone();
    while let Some(inner) = flat.values().as_list_opt::<i32>() {
        let ends = flat.offsets().iter().map(|end| inner.offsets()[*end as usize]);
        let offsets = OffsetBuffer::new(ends.collect());
        let element = match inner.data_type() {
            DataType::List(element) => element.clone(),
            _ => break,
        };
        flat = ListArray::try_new(element, offsets, inner.values().clone(), flat.nulls().cloned())?;
    }
    match call.result.data_type() {
        DataType::List(element) => {
            let (_, offsets, values, nulls) = flat.into_parts();
            Ok(Arc::new(ListArray::try_new(element.clone(), offsets, values, nulls)?))
        }
        _ => Ok(Arc::new(flat)),
    }
}

/// `generate_subscripts(array, dimension [, reverse])`.
fn subscripts_types(fields: &[FieldRef]) -> Result<Option<(Vec<DataType>, Field)>> {
    let taken = match fields {
        [array, _] if element_of(array).is_some() => vec![array.data_type().clone(), DataType::Int32],
        [array, _, _] if element_of(array).is_some() => {
            vec![array.data_type().clone(), DataType::Int32, DataType::Boolean]
        }
        _ => return Ok(None),
    };
    Ok(Some((taken, list_of(&Field::new("", DataType::Int32, true)))))
}

fn subscripts(call: &Call) -> Result<ArrayRef> {
    let mut builder = arrow::array::ListBuilder::new(arrow::array::Int32Builder::new());
    for row in 0..call.rows {
        let known = call.arrays.iter().all(|array| array.is_valid(row));
        let length = match known {
            true => crate::arrays::length(&call.arrays[0], row, call.value::<Int32Type>(1, row)),
            false => None,
        };
        let reverse = known && call.count() > 2 && call.arrays[2].as_boolean().value(row);
        match length {
            Some(length) if reverse => (1..=length).rev().for_each(|at| builder.values().append_value(at)),
            Some(length) => (1..=length).for_each(|at| builder.values().append_value(at)),
            None => {}
        }
        builder.append(known);
    }
    Ok(Arc::new(builder.finish()))
}

/// WITH ORDINALITY: the numbers from 1 to the length of the longest of the arrays.
pub fn ordinals() -> Arc<ScalarUDF> {
    static FUNCTION: LazyLock<Arc<ScalarUDF>> =
        LazyLock::new(|| Arc::new(generic(ORDINALITY, &[], ordinals_types, ordinals_of)));
    FUNCTION.clone()
}

fn ordinals_types(fields: &[FieldRef]) -> Result<Option<(Vec<DataType>, Field)>> {
    let lists = fields.iter().all(|field| element_of(field).is_some());
    let types = fields.iter().map(|field| field.data_type().clone()).collect();
    Ok(lists.then(|| (types, list_of(&Field::new("", DataType::Int64, true)))))
}

fn ordinals_of(call: &Call) -> Result<ArrayRef> {
    let lists: Vec<&ListArray> = call.arrays.iter().map(|array| array.as_list::<i32>()).collect();
    let length = |list: &ListArray, row| if list.is_null(row) { 0 } else { list.value_length(row) };
    let longest = |row| lists.iter().map(|list| length(list, row)).max().unwrap_or(0) as usize;
    let lengths: Vec<usize> = (0..call.rows).map(longest).collect();
    let numbers: Int64Array = lengths.iter().flat_map(|length| 1..=*length as i64).collect();
    let item = Arc::new(Field::new("item", DataType::Int64, true));
    Ok(Arc::new(ListArray::try_new(item, OffsetBuffer::from_lengths(lengths), Arc::new(numbers), None)?))
}
