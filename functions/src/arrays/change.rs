//! Arrays made of elements and of other arrays.

use super::list_at;
use super::pieces::Pieces;
use crate::common_type::{common, common_element};
use crate::function::Call;
use crate::generic::{element_of, generic, like, list_of};
use arrow::array::{Array, ArrayRef, AsArray, ListArray, make_comparator};
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Field, FieldRef, Int32Type};
use datafusion::logical_expr::ScalarUDF;
use millrace_types::{Result, SqlError, SqlState};

pub fn functions() -> Vec<ScalarUDF> {
    vec![
        generic("make_array", &[], constructor, make),
        generic("array_append", &[], |fields| appending(fields, 0), |call| append(call, 0)),
        generic("array_prepend", &[], |fields| appending(fields, 1), |call| append(call, 1)),
        generic("array_cat", &["array_concat"], concatenating, concatenate),
        generic("array_remove", &["array_remove_all"], |fields| matching(fields, 1), remove),
        generic("array_replace", &["array_replace_all"], |fields| matching(fields, 2), replace),
        generic("trim_array", &[], trimming, trim),
        generic("array_fill", &[], filling, fill),
    ]
}

type Typing = Result<Option<(Vec<DataType>, Field)>>;

/// `ARRAY[a, b ...]`: elements of a common type.
fn constructor(fields: &[FieldRef]) -> Typing {
    let mut element = Field::new("", DataType::Null, true);
    for field in fields {
        let Some(next) = common(&element, field).or_else(|| common_element(&element, field)) else {
            let types = (millrace_types::sql_type_of(&element), millrace_types::sql_type_of(field));
            let message = format!("ARRAY types {} and {} cannot be matched", types.0, types.1);
            return Err(SqlError::new(SqlState::DATATYPE_MISMATCH, message));
        };
        element = next;
    }
    Ok(Some((vec![element.data_type().clone(); fields.len()], list_of(&element))))
}

fn make(call: &Call) -> Result<ArrayRef> {
    let mut pieces = Pieces::default();
    for row in 0..call.rows {
        (0..call.count()).for_each(|at| pieces.one(at, row));
        let lengths = call.arrays.iter().filter_map(|array| array.as_list_opt::<i32>());
        let mut lengths = lengths.map(|list| if list.is_null(row) { 0 } else { list.value_length(row) });
        if let Some(first) = lengths.next()
            && lengths.any(|length| length != first)
        {
            return Err(mismatch());
        }
        pieces.end(true);
    }
    pieces.finish(&call.arrays, call.result)
}

fn mismatch() -> SqlError {
    let message = "multidimensional arrays must have array expressions with matching dimensions";
    SqlError::new(SqlState::ARRAY_SUBSCRIPT_ERROR, message)
}

/// An array, at the place `array` of two arguments, and an element of it.
fn appending(fields: &[FieldRef], array: usize) -> Typing {
    let [_, _] = fields else { return Ok(None) };
    let (list, value) = (&fields[array], &fields[1 - array]);
    let element = match element_of(list) {
        Some(element) => common_element(element, value),
        None if list.data_type().is_null() => Some(like(value)),
        None => None,
    };
    Ok(element.map(|element| {
        let list = list_of(&element);
        let mut taken = vec![list.data_type().clone(), element.data_type().clone()];
        if array == 1 {
            taken.reverse();
        }
        (taken, list)
    }))
}

fn append(call: &Call, array: usize) -> Result<ArrayRef> {
    let list = call.arrays[array].as_list::<i32>();
    let sources = [list.values().clone(), call.arrays[1 - array].clone()];
    let mut pieces = Pieces::default();
    for row in 0..call.rows {
        if array == 1 {
            pieces.one(1, row);
        }
        elements(&mut pieces, 0, list, row);
        if array == 0 {
            pieces.one(1, row);
        }
        pieces.end(true);
    }
    pieces.finish(&sources, call.result)
}

fn elements(pieces: &mut Pieces, source: usize, list: &ListArray, row: usize) {
    if list.is_valid(row) {
        pieces.range(source, list.value_offsets()[row] as usize..list.value_offsets()[row + 1] as usize);
    }
}

/// Two arrays of as many dimensions, or one that is an element of the other.
fn concatenating(fields: &[FieldRef]) -> Typing {
    let [a, b] = fields else { return Ok(None) };
    match (element_of(a).is_some(), element_of(b).is_some()) {
        (true, false) if b.data_type().is_string() => return Ok(Some((vec![a.data_type().clone(); 2], like(a)))),
        (false, true) if a.data_type().is_string() => return Ok(Some((vec![b.data_type().clone(); 2], like(b)))),
        _ => {}
    }
    if !fields.iter().all(|field| element_of(field).is_some() || field.data_type().is_null()) {
        return Ok(None);
    }
    if let Some(list) = common(a, b) {
        return Ok(Some((vec![list.data_type().clone(); 2], list)));
    }
    let element = |list: &FieldRef, value: &FieldRef| common(element_of(list)?, value);
    Ok(match (element(a, b), element(b, a)) {
        (Some(element), _) => {
            let list = list_of(&element);
            Some((vec![list.data_type().clone(), element.data_type().clone()], list))
        }
        (None, Some(element)) => {
            let list = list_of(&element);
            Some((vec![element.data_type().clone(), list.data_type().clone()], list))
        }
        (None, None) => None,
    })
}

fn concatenate(call: &Call) -> Result<ArrayRef> {
    let whole = |at: usize| call.arrays[at].data_type().equals_datatype(call.result.data_type());
    match (whole(0), whole(1)) {
        (true, false) => return append(call, 0),
        (false, true) => return append(call, 1),
        _ => {}
    }
    let lists = [call.arrays[0].as_list::<i32>(), call.arrays[1].as_list::<i32>()];
    let mut pieces = Pieces::default();
    for row in 0..call.rows {
        lists.iter().enumerate().for_each(|(source, list)| elements(&mut pieces, source, list, row));
        pieces.end(lists.iter().any(|list| list.is_valid(row)));
    }
    pieces.finish(&[lists[0].values().clone(), lists[1].values().clone()], call.result)
}

/// An array and `count` values like its elements.
fn matching(fields: &[FieldRef], count: usize) -> Typing {
    let Some((list, values)) = fields.split_first().filter(|(_, values)| values.len() == count) else {
        return Ok(None);
    };
    let Some(element) = element_of(list) else { return Ok(None) };
    let element = values.iter().try_fold(like(element), |element, value| common_element(&element, value));
    Ok(element.map(|element| {
        let list = list_of(&element);
        let values = std::iter::repeat_n(element.data_type().clone(), count);
        (std::iter::once(list.data_type().clone()).chain(values).collect(), list)
    }))
}

/// Without the elements that are not distinct from a value.
fn remove(call: &Call) -> Result<ArrayRef> {
    let list = call.arrays[0].as_list::<i32>();
    let order = make_comparator(list.values(), &call.arrays[1], SortOptions::default())?;
    let mut pieces = Pieces::default();
    for row in 0..call.rows {
        if list.is_valid(row) {
            let range = list.value_offsets()[row] as usize..list.value_offsets()[row + 1] as usize;
            range.filter(|at| order(*at, row).is_ne()).for_each(|at| pieces.one(0, at));
        }
        pieces.end(list.is_valid(row));
    }
    pieces.finish(std::slice::from_ref(list.values()), call.result)
}

fn replace(call: &Call) -> Result<ArrayRef> {
    let list = call.arrays[0].as_list::<i32>();
    let order = make_comparator(list.values(), &call.arrays[1], SortOptions::default())?;
    let mut pieces = Pieces::default();
    for row in 0..call.rows {
        if list.is_valid(row) {
            for at in list.value_offsets()[row] as usize..list.value_offsets()[row + 1] as usize {
                if order(at, row).is_eq() { pieces.one(1, row) } else { pieces.one(0, at) }
            }
        }
        pieces.end(list.is_valid(row));
    }
    pieces.finish(&[list.values().clone(), call.arrays[2].clone()], call.result)
}

fn trimming(fields: &[FieldRef]) -> Typing {
    let [list, count] = fields else { return Ok(None) };
    let fits = element_of(list).is_some() && (count.data_type().is_integer() || count.data_type().is_null());
    Ok(fits.then(|| (vec![list.data_type().clone(), DataType::Int32], like(list))))
}

/// Without the last elements.
fn trim(call: &Call) -> Result<ArrayRef> {
    let list = call.arrays[0].as_list::<i32>();
    let mut pieces = Pieces::default();
    for row in 0..call.rows {
        let known = list.is_valid(row) && call.arrays[1].is_valid(row);
        if known {
            let (length, count) = (list.value_length(row), call.value::<Int32Type>(1, row));
            if !(0..=length).contains(&count) {
                let message = format!("number of elements to trim must be between 0 and {length}");
                return Err(SqlError::new(SqlState::ARRAY_SUBSCRIPT_ERROR, message));
            }
            let start = list.value_offsets()[row] as usize;
            pieces.range(0, start..start + (length - count) as usize);
        }
        pieces.end(known);
    }
    pieces.finish(std::slice::from_ref(list.values()), call.result)
}

fn filling(fields: &[FieldRef]) -> Typing {
    let [value, lengths] = fields else { return Ok(None) };
    let integers = element_of(lengths).is_some_and(|element| element.data_type().is_integer());
    let lengths = list_of(&Field::new("", DataType::Int32, true)).data_type().clone();
    Ok(integers.then(|| (vec![value.data_type().clone(), lengths], list_of(value))))
}

/// A value repeated: `array_fill(7, ARRAY[3])`.
fn fill(call: &Call) -> Result<ArrayRef> {
    let mut pieces = Pieces::default();
    for row in 0..call.rows {
        let Some(lengths) = list_at(&call.arrays[1], row).map(|list| list.value(row)) else {
            let message = "dimension array or low bound array cannot be null";
            return Err(SqlError::new(SqlState::NULL_VALUE_NOT_ALLOWED, message));
        };
        let lengths = lengths.as_primitive::<Int32Type>();
        match lengths.len() {
            0 => {}
            1 if lengths.is_null(0) => {
                return Err(SqlError::new(SqlState::NULL_VALUE_NOT_ALLOWED, "dimension values cannot be null"));
            }
            1 if !(0..1 << 26).contains(&lengths.value(0)) => {
                return Err(SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, "array size exceeds the maximum allowed"));
            }
            1 => (0..lengths.value(0)).for_each(|_| pieces.one(0, row)),
            _ => return Err(SqlError::unsupported("array_fill() of more than one dimension")),
        }
        pieces.end(true);
    }
    pieces.finish(std::slice::from_ref(&call.arrays[0]), call.result)
}
