//! Elements found in arrays.

use super::{flat, innermost, list_at};
use crate::common_type::{common, common_element};
use crate::function::Call;
use crate::generic::{element_of, generic, list_of};
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int32Array, Int32Builder, ListBuilder, make_comparator};
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Field, FieldRef, Int32Type};
use datafusion::logical_expr::ScalarUDF;
use millrace_types::{Result, SqlError, SqlState};
use std::sync::Arc;

pub fn functions() -> Vec<ScalarUDF> {
    vec![
        generic("array_position", &[], position_types, position),
        generic("array_positions", &[], positions_types, positions),
        generic("array_contains", &[], two_arrays, contains),
        generic("array_overlaps", &[], two_arrays, overlaps),
        generic("array_order", &[], orderable, order),
        generic(BUCKET, &[], bucketed, bucket),
    ]
}

/// `width_bucket(x, array)`: how many elements of an ascending array are not greater than a value.
pub const BUCKET: &str = "width_bucket_of_array";

fn bucketed(fields: &[FieldRef]) -> Typing {
    let [value, list] = fields else { return Ok(None) };
    let Some(mut taken) = searched(list, value)? else { return Ok(None) };
    taken.reverse();
    Ok(Some((taken, Field::new("", DataType::Int32, true))))
}

fn bucket(call: &Call) -> Result<ArrayRef> {
    let list = call.arrays[1].as_list::<i32>();
    let order = make_comparator(list.values(), &call.arrays[0], SortOptions::default())?;
    let place = |row: usize| {
        let list = list_at(&call.arrays[1], row).filter(|_| call.arrays[0].is_valid(row));
        let Some(list) = list else { return Ok(None) };
        let elements = list.value_offsets()[row] as usize..list.value_offsets()[row + 1] as usize;
        if list.values().slice(elements.start, elements.len()).null_count() > 0 {
            let message = "thresholds array must not contain NULLs";
            return Err(SqlError::new(SqlState::NULL_VALUE_NOT_ALLOWED, message));
        }
        Ok(Some(elements.filter(|at| order(*at, row).is_le()).count() as i32))
    };
    Ok(Arc::new((0..call.rows).map(place).collect::<Result<Int32Array>>()?))
}

type Typing = Result<Option<(Vec<DataType>, Field)>>;

/// An array and a value like its elements.
fn searched(list: &FieldRef, value: &FieldRef) -> Result<Option<Vec<DataType>>> {
    let Some(element) = element_of(list) else { return Ok(None) };
    if element_of(element).is_some() {
        return Err(SqlError::unsupported("searching for elements in multidimensional arrays"));
    }
    let element = common_element(element, value);
    Ok(element.map(|element| vec![list_of(&element).data_type().clone(), element.data_type().clone()]))
}

fn position_types(fields: &[FieldRef]) -> Typing {
    let result = Field::new("", DataType::Int32, true);
    Ok(match fields {
        [list, value] => searched(list, value)?.map(|taken| (taken, result)),
        [list, value, start] if start.data_type().is_integer() => searched(list, value)?.map(|mut taken| {
            taken.push(DataType::Int32);
            (taken, result)
        }),
        _ => None,
    })
}

fn positions_types(fields: &[FieldRef]) -> Typing {
    let [list, value] = fields else { return Ok(None) };
    Ok(searched(list, value)?.map(|taken| (taken, list_of(&Field::new("", DataType::Int32, true)))))
}

/// The first place of a value, NULL being found like any other.
fn position(call: &Call) -> Result<ArrayRef> {
    let list = call.arrays[0].as_list::<i32>();
    let order = make_comparator(list.values(), &call.arrays[1], SortOptions::default())?;
    let place = |row: usize| {
        let list = list_at(&call.arrays[0], row)?;
        let first = if call.count() > 2 { call.value::<Int32Type>(2, row).max(1) } else { 1 };
        let start = list.value_offsets()[row];
        (first..=list.value_length(row)).find(|at| order((start + at - 1) as usize, row).is_eq())
    };
    Ok(Arc::new((0..call.rows).map(place).collect::<Int32Array>()))
}

fn positions(call: &Call) -> Result<ArrayRef> {
    let list = call.arrays[0].as_list::<i32>();
    let order = make_comparator(list.values(), &call.arrays[1], SortOptions::default())?;
    let mut found = ListBuilder::new(Int32Builder::new());
    for row in 0..call.rows {
        if list.is_valid(row) {
            let start = list.value_offsets()[row];
            let places = (1..=list.value_length(row)).filter(|at| order((start + at - 1) as usize, row).is_eq());
            places.for_each(|at| found.values().append_value(at));
        }
        found.append(list.is_valid(row));
    }
    Ok(Arc::new(found.finish()))
}

/// Two arrays whose innermost elements have a common type, whatever their dimensions.
fn two_arrays(fields: &[FieldRef]) -> Typing {
    let [a, b] = fields else { return Ok(None) };
    let result = Field::new("", DataType::Boolean, true);
    if a.data_type().is_null() || b.data_type().is_null() {
        let other = if a.data_type().is_null() { b } else { a };
        return Ok(element_of(other).map(|_| (vec![other.data_type().clone(); 2], result)));
    }
    let ((x, m), (y, n)) = (innermost(a), innermost(b));
    if m == 0 || n == 0 {
        return Ok(None);
    }
    let of_depth = |element: &Field, depth| (0..depth).fold(element.clone(), |inner, _| list_of(&inner));
    Ok(common(&x, &y).map(|element| {
        (vec![of_depth(&element, m).data_type().clone(), of_depth(&element, n).data_type().clone()], result)
    }))
}

/// Whether the first array has all, or any, of what the second one holds. NULL equals nothing.
fn compared(call: &Call, all: bool) -> Result<ArrayRef> {
    let (Some(a), Some(b)) = (call.arrays[0].as_list_opt::<i32>(), call.arrays[1].as_list_opt::<i32>()) else {
        return Ok(Arc::new(BooleanArray::new_null(call.rows)));
    };
    if call.rows == 0 {
        return Ok(Arc::new(BooleanArray::new_null(0)));
    }
    let (x, y) = (flat(a, 0).0, flat(b, 0).0);
    let order = make_comparator(&x, &y, SortOptions::default())?;
    let row = |row: usize| {
        if a.is_null(row) || b.is_null(row) {
            return None;
        }
        let (mine, theirs) = (flat(a, row).1, flat(b, row).1);
        let mut found = theirs.map(|at| y.is_valid(at) && mine.clone().any(|own| order(own, at).is_eq()));
        Some(if all { found.all(|found| found) } else { found.any(|found| found) })
    };
    Ok(Arc::new((0..call.rows).map(row).collect::<BooleanArray>()))
}

fn contains(call: &Call) -> Result<ArrayRef> {
    compared(call, true)
}

fn overlaps(call: &Call) -> Result<ArrayRef> {
    compared(call, false)
}

fn orderable(fields: &[FieldRef]) -> Typing {
    let [a, b] = fields else { return Ok(None) };
    let list = common(a, b).filter(|list| element_of(list).is_some());
    Ok(list.map(|list| (vec![list.data_type().clone(); 2], Field::new("", DataType::Int32, true))))
}

/// Less than zero where the first array comes before the second one, more where behind; a NULL in them comes last.
fn order(call: &Call) -> Result<ArrayRef> {
    let options = SortOptions { descending: false, nulls_first: false };
    let order = make_comparator(&call.arrays[0], &call.arrays[1], options)?;
    let known = |row: usize| call.arrays.iter().all(|array| array.is_valid(row));
    Ok(Arc::new((0..call.rows).map(|row| known(row).then(|| order(row, row) as i32)).collect::<Int32Array>()))
}
