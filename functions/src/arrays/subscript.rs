//! `a[1][2]`, `a[2:3]`; also `j['a'][0]` of jsonb.

use super::innermost;
use super::pieces::Pieces;
use crate::function::Call;
use crate::generic::{element_of, generic, like};
use arrow::array::{Array, ArrayRef, AsArray, ListArray, UInt32Array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, FieldRef, Int32Type};
use datafusion::logical_expr::ScalarUDF;
use millrace_types::{Result, SqlError, SqlState, SqlType, field_of, sql_type_of};
use std::sync::Arc;

/// The function behind `a[i][j]`: the array and the subscripts.
pub const SUBSCRIPT: &str = "\u{1}subscript";
/// The function behind `a[i:j][k:l]`: the array and the bounds of each dimension.
pub const SLICE: &str = "\u{1}slice";

pub fn functions() -> Vec<ScalarUDF> {
    vec![generic(SUBSCRIPT, &[], element_types, element), generic(SLICE, &[], slice_types, slice)]
}

type Typing = Result<Option<(Vec<DataType>, Field)>>;

fn element_types(fields: &[FieldRef]) -> Typing {
    let Some((root, subscripts)) = fields.split_first() else { return Ok(None) };
    let sql_type = sql_type_of(root);
    if element_of(root).is_some() {
        let taken = std::iter::once(root.data_type().clone()).chain(integers(subscripts)?);
        return Ok(Some((taken.collect(), like(&innermost(root).0))));
    }
    if root.data_type().is_null() {
        return Ok(Some((vec![DataType::Null; fields.len()], like(root))));
    }
    if sql_type == SqlType::Jsonb || (sql_type == SqlType::Text && root.metadata().is_empty()) {
        // Types alone say nothing of json: a text that is none is an error when it is read.
        return Ok(Some((vec![DataType::Utf8View; fields.len()], field_of("", &SqlType::Jsonb, true))));
    }
    let message = format!("cannot subscript type {sql_type} because it does not support subscripting");
    Err(SqlError::new(SqlState::DATATYPE_MISMATCH, message))
}

/// Subscripts as integers.
fn integers(subscripts: &[FieldRef]) -> Result<Vec<DataType>> {
    let integer = |field: &FieldRef| match sql_type_of(field) {
        SqlType::Int2 | SqlType::Int4 | SqlType::Int8 | SqlType::Unknown | SqlType::Text => Ok(DataType::Int32),
        _ => Err(SqlError::new(SqlState::DATATYPE_MISMATCH, "array subscript must have type integer")),
    };
    subscripts.iter().map(integer).collect()
}

fn element(call: &Call) -> Result<ArrayRef> {
    match call.arrays[0].data_type() {
        DataType::List(_) => {}
        DataType::Utf8View => return crate::json_functions::by_subscripts(call),
        _ => return Ok(arrow::array::new_null_array(call.result.data_type(), call.rows)),
    }
    let depth = innermost(&call.fields[0]).1;
    if call.count() != depth + 1 {
        return Ok(arrow::array::new_null_array(call.result.data_type(), call.rows));
    }
    let mut values = call.arrays[0].clone();
    let mut places: Vec<Option<u32>> = (0..call.rows as u32).map(Some).collect();
    for subscript in &call.arrays[1..] {
        let (list, subscript) = (values.as_list::<i32>().clone(), subscript.as_primitive::<Int32Type>());
        for (row, place) in places.iter_mut().enumerate() {
            *place = place.filter(|at| list.is_valid(*at as usize) && subscript.is_valid(row)).and_then(|at| {
                let (start, at_most) = (list.value_offsets()[at as usize], list.value_length(at as usize));
                let wanted = subscript.value(row);
                (1..=at_most).contains(&wanted).then(|| (start + wanted - 1) as u32)
            });
        }
        values = list.values().clone();
    }
    Ok(take(&values, &UInt32Array::from(places), None)?)
}

fn slice_types(fields: &[FieldRef]) -> Typing {
    let Some((root, bounds)) = fields.split_first() else { return Ok(None) };
    if element_of(root).is_none() && !root.data_type().is_null() {
        let message = format!("cannot subscript type {} because it does not support subscripting", sql_type_of(root));
        return Err(SqlError::new(SqlState::DATATYPE_MISMATCH, message));
    }
    let taken = std::iter::once(root.data_type().clone()).chain(integers(bounds)?);
    Ok(Some((taken.collect(), like(root))))
}

fn slice(call: &Call) -> Result<ArrayRef> {
    let Some(list) = call.arrays[0].as_list_opt::<i32>() else { return Ok(call.arrays[0].clone()) };
    let known = |row: usize| call.arrays.iter().all(|array| array.is_valid(row));
    let depth = innermost(&call.fields[0]).1;
    // More bounds than dimensions select nothing.
    let reaches = (call.count() - 1) / 2 <= depth;
    let mut pieces = Pieces::default();
    for row in 0..call.rows {
        if known(row) && reaches {
            pieces.range(0, selected(call, list, row, 0, row));
        }
        pieces.end(known(row));
    }
    let values = match list.values().as_list_opt::<i32>() {
        Some(inner) if call.count() > 3 => inner_slices(call, list, inner)?,
        _ => list.values().clone(),
    };
    pieces.finish(&[values], call.result)
}

/// The places of the elements between the bounds of a dimension; `row` is that of the bounds, `at` that of the list.
fn selected(call: &Call, list: &ListArray, at: usize, dimension: usize, row: usize) -> std::ops::Range<usize> {
    let bound = |which: usize| call.value::<Int32Type>(1 + 2 * dimension + which, row);
    let (start, length) = (list.value_offsets()[at] as usize, list.value_length(at));
    let (first, last) = (bound(0).max(1), bound(1).min(length));
    if first > last { start..start } else { start + first as usize - 1..start + last as usize }
}

/// The arrays in arrays cut to the bounds of the second dimension.
fn inner_slices(call: &Call, outer: &ListArray, inner: &ListArray) -> Result<ArrayRef> {
    if call.count() > 5 {
        return Err(SqlError::unsupported("a slice of more than two dimensions"));
    }
    let (mut places, mut lengths) = (vec![], vec![0; inner.len()]);
    for row in 0..outer.len() {
        if (1..call.count()).any(|at| call.arrays[at].is_null(row)) {
            continue;
        }
        let (first, end) = (outer.value_offsets()[row] as usize, outer.value_offsets()[row + 1] as usize);
        for (at, length) in lengths[first..end].iter_mut().enumerate() {
            let range = selected(call, inner, first + at, 1, row);
            *length = range.len();
            places.extend(range.map(|place| place as u32));
        }
    }
    let DataType::List(element) = inner.data_type() else { return Err(SqlError::internal("an array's type")) };
    let values = take(inner.values(), &UInt32Array::from(places), None)?;
    let offsets = OffsetBuffer::from_lengths(lengths);
    Ok(Arc::new(ListArray::try_new(element.clone(), offsets, values, inner.nulls().cloned())?))
}
