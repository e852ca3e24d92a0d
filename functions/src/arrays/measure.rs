//! Lengths and dimensions.

use super::{flat, innermost, list_at};
use crate::function::Call;
use crate::generic::{element_of, generic};
use arrow::array::{Array, ArrayRef, AsArray, Int32Array, StringViewArray};
use arrow::datatypes::{DataType, Field, FieldRef, Int32Type};
use datafusion::logical_expr::ScalarUDF;
use millrace_types::Result;
use std::sync::Arc;

pub fn functions() -> Vec<ScalarUDF> {
    let length_of = |call: &Call| by_dimension(call, |length| length);
    vec![
        generic("array_length", &[], with_dimension, length_of),
        generic("array_upper", &[], with_dimension, length_of),
        generic("array_lower", &[], with_dimension, |call| by_dimension(call, |_| 1)),
        generic("cardinality", &[], |fields| alone(fields, DataType::Int32), cardinality),
        generic("array_ndims", &[], |fields| alone(fields, DataType::Int32), dimensions),
        generic("array_dims", &[], |fields| alone(fields, DataType::Utf8View), bounds),
    ]
}

type Typing = Result<Option<(Vec<DataType>, Field)>>;

fn is_array(field: &FieldRef) -> bool {
    element_of(field).is_some() || field.data_type().is_null()
}

fn alone(fields: &[FieldRef], result: DataType) -> Typing {
    let [array] = fields else { return Ok(None) };
    Ok(is_array(array).then(|| (vec![array.data_type().clone()], Field::new("", result, true))))
}

fn with_dimension(fields: &[FieldRef]) -> Typing {
    let [array, dimension] = fields else { return Ok(None) };
    let fits = is_array(array) && (dimension.data_type().is_integer() || dimension.data_type().is_null());
    let taken = vec![array.data_type().clone(), DataType::Int32];
    Ok(fits.then(|| (taken, Field::new("", DataType::Int32, true))))
}

/// The length of an array in a dimension, counted from 1; `None` where it has no such dimension or is empty.
pub fn length(array: &ArrayRef, row: usize, dimension: i32) -> Option<i32> {
    let mut list = list_at(array, row)?.clone();
    let (mut start, mut length) = (list.value_offsets()[row] as usize, list.value_length(row));
    for _ in 1..dimension {
        if length == 0 {
            return None;
        }
        list = list.values().as_list_opt::<i32>()?.clone();
        length = list.value_length(start);
        start = list.value_offsets()[start] as usize;
    }
    (dimension > 0 && length > 0).then_some(length)
}

fn by_dimension(call: &Call, f: impl Fn(i32) -> i32) -> Result<ArrayRef> {
    let lengths = (0..call.rows).map(|row| {
        let dimension = call.arrays[1].is_valid(row).then(|| call.value::<Int32Type>(1, row))?;
        length(&call.arrays[0], row, dimension).map(&f)
    });
    Ok(Arc::new(lengths.collect::<Int32Array>()))
}

fn cardinality(call: &Call) -> Result<ArrayRef> {
    let count = |row| list_at(&call.arrays[0], row).map(|list| flat(list, row).1.len() as i32);
    Ok(Arc::new((0..call.rows).map(count).collect::<Int32Array>()))
}

/// The lengths in all dimensions; none of an empty array.
fn shape(call: &Call, row: usize) -> Vec<i32> {
    let depth = innermost(&call.fields[0]).1 as i32;
    (1..=depth).map_while(|dimension| length(&call.arrays[0], row, dimension)).collect()
}

fn dimensions(call: &Call) -> Result<ArrayRef> {
    let count = |row| Some(shape(call, row).len() as i32).filter(|count| *count > 0);
    Ok(Arc::new((0..call.rows).map(count).collect::<Int32Array>()))
}

fn bounds(call: &Call) -> Result<ArrayRef> {
    let written = |row| {
        let bounds: String = shape(call, row).iter().map(|length| format!("[1:{length}]")).collect();
        Some(bounds).filter(|bounds| !bounds.is_empty())
    };
    Ok(Arc::new((0..call.rows).map(written).collect::<StringViewArray>()))
}
