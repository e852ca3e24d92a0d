//! `x = ANY(array)`, `x < ALL(array)` and their kin.
//!
//! The comparison runs once over the elements of all rows, beside the value of each one's row; then the results of a
//! row are taken together.

use super::innermost;
use crate::common_type::{common, common_element};
use crate::function::Call;
use crate::generic::{element_of, generic, list_of};
use crate::regex::Patterns;
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, UInt32Array, make_comparator};
use arrow::compute::kernels::comparison::{ilike, like, nilike, nlike};
use arrow::compute::{SortOptions, take};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::logical_expr::ScalarUDF;
use millrace_types::{Result, SqlError, SqlState};
use std::cmp::Ordering;
use std::sync::Arc;

/// How two values are compared.
#[derive(Clone, Copy)]
enum Comparison {
    /// By their order.
    Order(fn(Ordering) -> bool),
    /// By arrow's kernel.
    Pattern(fn(&dyn arrow::array::Datum, &dyn arrow::array::Datum) -> Result<BooleanArray, arrow::error::ArrowError>),
    /// By a regular expression with flags; whether it must match.
    Regex(&'static str, bool),
}

const COMPARISONS: &[(&str, &str, Comparison)] = &[
    ("= any", "= all", Comparison::Order(Ordering::is_eq)),
    ("<> any", "<> all", Comparison::Order(Ordering::is_ne)),
    ("< any", "< all", Comparison::Order(Ordering::is_lt)),
    ("<= any", "<= all", Comparison::Order(Ordering::is_le)),
    ("> any", "> all", Comparison::Order(Ordering::is_gt)),
    (">= any", ">= all", Comparison::Order(Ordering::is_ge)),
    ("~~ any", "~~ all", Comparison::Pattern(like)),
    ("!~~ any", "!~~ all", Comparison::Pattern(nlike)),
    ("~~* any", "~~* all", Comparison::Pattern(ilike)),
    ("!~~* any", "!~~* all", Comparison::Pattern(nilike)),
    ("~ any", "~ all", Comparison::Regex("", true)),
    ("!~ any", "!~ all", Comparison::Regex("", false)),
    ("~* any", "~* all", Comparison::Regex("i", true)),
    ("!~* any", "!~* all", Comparison::Regex("i", false)),
];

pub fn functions() -> Vec<ScalarUDF> {
    let both = COMPARISONS.iter().flat_map(|(any, all, comparison)| {
        let comparison = *comparison;
        [
            generic(any, &[], types, move |call| quantified(call, comparison, true)),
            generic(all, &[], types, move |call| quantified(call, comparison, false)),
        ]
    });
    both.collect()
}

fn types(fields: &[FieldRef]) -> Result<Option<(Vec<DataType>, Field)>> {
    let [value, array] = fields else { return Ok(None) };
    let result = Field::new("", DataType::Boolean, true);
    if array.data_type().is_null() {
        return Ok(Some((vec![value.data_type().clone(), list_of(value).data_type().clone()], result)));
    }
    if element_of(array).is_none() {
        let message = "op ANY/ALL (array) requires array on right side";
        return Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, message));
    }
    let (element, depth) = innermost(array);
    let Some(element) = common(&element, value).or_else(|| common_element(&element, value)) else { return Ok(None) };
    let list = (0..depth).fold(element.clone(), |inner, _| list_of(&inner));
    Ok(Some((vec![element.data_type().clone(), list.data_type().clone()], result)))
}

fn quantified(call: &Call, comparison: Comparison, any: bool) -> Result<ArrayRef> {
    let Some(lists) = call.arrays[1].as_list_opt::<i32>().filter(|_| call.rows > 0) else {
        return Ok(Arc::new(BooleanArray::new_null(call.rows)));
    };
    let values = super::flat(lists, 0).0;
    let ranges: Vec<_> = (0..call.rows).map(|row| super::flat(lists, row).1).collect();
    let places = ranges.iter().flat_map(|range| range.clone().map(|at| at as u32));
    let rows = ranges.iter().enumerate().flat_map(|(row, range)| std::iter::repeat_n(row as u32, range.len()));
    let elements = take(&values, &UInt32Array::from_iter_values(places), None)?;
    let lefts = take(&call.arrays[0], &UInt32Array::from_iter_values(rows), None)?;
    let results = compare(&lefts, &elements, comparison)?;
    let mut start = 0;
    let mut taken = Vec::with_capacity(call.rows);
    for (row, range) in ranges.iter().enumerate() {
        let mut answer = Some(!any);
        for at in start..start + range.len() {
            match results.is_valid(at).then(|| results.value(at)) {
                Some(result) if result == any => {
                    answer = Some(any);
                    break;
                }
                Some(_) => {}
                None => answer = None,
            }
        }
        start += range.len();
        taken.push(answer.filter(|_| lists.is_valid(row)));
    }
    Ok(Arc::new(BooleanArray::from(taken)))
}

fn compare(lefts: &ArrayRef, rights: &ArrayRef, comparison: Comparison) -> Result<BooleanArray> {
    let known = |at: usize| lefts.is_valid(at) && rights.is_valid(at);
    match comparison {
        Comparison::Order(holds) => {
            let order = make_comparator(lefts, rights, SortOptions::default())?;
            Ok((0..lefts.len()).map(|at| known(at).then(|| holds(order(at, at)))).collect())
        }
        Comparison::Pattern(kernel) => Ok(kernel(lefts, rights)?),
        Comparison::Regex(flags, wanted) => {
            let patterns = Patterns::default();
            let (texts, regexes) = (lefts.as_string_view(), rights.as_string_view());
            let one = |at: usize| match known(at) {
                true => patterns.with(regexes.value(at), flags, |p| Ok(Some(p.is_match(texts.value(at))? == wanted))),
                false => Ok(None),
            };
            (0..texts.len()).map(one).collect()
        }
    }
}
