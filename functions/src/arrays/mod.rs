//! Functions and operators over arrays.
//!
//! An array of several dimensions is an array of arrays of one length, so the number of dimensions is part of its type.

mod change;
mod measure;
mod pieces;
mod quantified;
mod search;
mod subscript;
mod text;

pub use measure::length;
pub use search::BUCKET;
pub use subscript::{SLICE, SUBSCRIPT};

use crate::generic::element_of;
use arrow::array::{Array, ArrayRef, AsArray, ListArray};
use arrow::datatypes::FieldRef;
use datafusion::logical_expr::ScalarUDF;
use millrace_types::Result;

/// The functions of this family.
pub fn functions() -> Vec<ScalarUDF> {
    let families = [
        change::functions(),
        measure::functions(),
        quantified::functions(),
        search::functions(),
        subscript::functions(),
        text::functions(),
    ];
    families.into_iter().flatten().collect()
}

/// The innermost element of an array, and its number of dimensions.
fn innermost(field: &FieldRef) -> (FieldRef, usize) {
    let (mut element, mut depth) = (field.clone(), 0);
    while let Some(inner) = element_of(&element) {
        (element, depth) = (inner.clone(), depth + 1);
    }
    (element, depth)
}

/// The innermost elements of an array's row, as values and the range of them.
fn flat(list: &ListArray, row: usize) -> (ArrayRef, std::ops::Range<usize>) {
    let (mut values, mut start, mut end) =
        (list.values().clone(), list.value_offsets()[row] as usize, list.value_offsets()[row + 1] as usize);
    while let Some(inner) = values.as_list_opt::<i32>() {
        (start, end) = (inner.value_offsets()[start] as usize, inner.value_offsets()[end] as usize);
        values = inner.values().clone();
    }
    (values, start..end)
}

/// An array in a type that differs from its own in what fields say only.
fn conform(array: &ArrayRef, data_type: &arrow::datatypes::DataType) -> Result<ArrayRef> {
    match array.data_type() == data_type {
        true => Ok(array.clone()),
        false => Ok(arrow::compute::cast(array, data_type)?),
    }
}

/// Whether a row of a list is NULL, also in a column of nothing else.
fn list_at(array: &ArrayRef, row: usize) -> Option<&ListArray> {
    array.as_list_opt::<i32>().filter(|list| list.is_valid(row))
}
