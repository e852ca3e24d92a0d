//! The rows of groups in order.

use crate::temporal;
use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, Decimal128Array, PrimitiveArray, UInt32Array};
use arrow::compute::{SortOptions, take};
use arrow::datatypes::{DataType, Field, FieldRef, Float32Type, Float64Type, IntervalMonthDayNanoType};
use arrow::row::{RowConverter, Rows, SortField};
use datafusion::common::Result;
use std::ops::Range;
use std::sync::Arc;

/// Rows by group, those of a group in order.
pub struct Sorted<'a> {
    /// All columns: the arguments, then what orders them.
    pub all: Vec<ArrayRef>,
    /// The fields of the arguments.
    pub fields: &'a [FieldRef],
    /// The field of the result.
    pub result: &'a Field,
    /// How each of the columns behind the arguments orders them.
    pub options: &'a [SortOptions],
    /// Where the rows of each group start; one more than there are groups.
    pub starts: Vec<usize>,
    keys: Rows,
    /// For each row its place in `keys`.
    places: Vec<u32>,
}

impl Sorted<'_> {
    /// An argument.
    pub fn argument(&self, at: usize) -> &ArrayRef {
        &self.all[at]
    }

    /// The rows of each group.
    pub fn groups(&self) -> impl ExactSizeIterator<Item = Range<usize>> + '_ {
        self.starts.windows(2).map(|bounds| bounds[0]..bounds[1])
    }

    /// Whether two rows have the same arguments and order.
    pub fn are_same(&self, a: usize, b: usize) -> bool {
        self.keys.row(self.places[a] as usize) == self.keys.row(self.places[b] as usize)
    }

    /// The column of the first argument at a row for each group; NULL where there is none.
    pub fn picked(&self, pick: impl Fn(Range<usize>) -> Option<usize>) -> millrace_types::Result<ArrayRef> {
        let rows: UInt32Array = self.groups().map(|rows| pick(rows).map(|row| row as u32)).collect();
        Ok(take(self.argument(0), &rows, None)?)
    }
}

/// What orders the rows of a group that the call does not order.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Tie {
    /// Their arguments.
    Values,
    /// When they came.
    Arrival,
}

/// Sorts rows by their groups, which are below `total`, then by what orders them, then by `tie`. `distinct`: of
/// equal rows in a group only one is left.
#[expect(clippy::too_many_arguments, reason = "the parts of one call, which nobody else puts together")]
pub fn sorted<'a>(
    columns: Vec<ArrayRef>,
    groups: &[u32],
    total: usize,
    fields: &'a [FieldRef],
    result: &'a Field,
    options: &'a [SortOptions],
    distinct: bool,
    tie: Tie,
) -> Result<Sorted<'a>> {
    let (arguments, ordering) = columns.split_at(fields.len().min(columns.len()));
    let ascending = SortOptions { descending: false, nulls_first: false };
    // The last arguments are often constants or of no order of their own; equal rows are equal in them as well.
    let by = ordering.iter().zip(options.iter().copied());
    let arrival: ArrayRef = Arc::new(UInt32Array::from_iter_values(0..groups.len() as u32));
    let ties = if tie == Tie::Arrival { std::slice::from_ref(&arrival) } else { arguments };
    let by: Vec<_> = by.chain(ties.iter().map(|argument| (argument, ascending))).collect();
    let keys: Vec<ArrayRef> = by.iter().map(|(column, _)| comparable(column)).collect();
    let sort_fields = keys.iter().zip(&by);
    let sort_fields = sort_fields.map(|(key, (_, o))| SortField::new_with_options(key.data_type().clone(), *o));
    let keys = RowConverter::new(sort_fields.collect())?.convert_columns(&keys)?;
    let mut places = by_group(groups, total);
    let mut kept = Vec::with_capacity(if distinct { places.len() } else { 0 });
    let mut starts = Vec::with_capacity(total + 1);
    starts.push(0);
    let mut start = 0;
    for group in 0..total as u32 {
        let count = places[start..].iter().take_while(|&&row| groups[row as usize] == group).count();
        let rows = &mut places[start..start + count];
        rows.sort_by(|&a, &b| keys.row(a as usize).cmp(&keys.row(b as usize)));
        if distinct {
            let different = rows.chunk_by(|&a, &b| keys.row(a as usize) == keys.row(b as usize));
            kept.extend(different.map(|same| same[0]));
        }
        start += count;
        starts.push(if distinct { kept.len() } else { start });
    }
    let places = if distinct { kept } else { places };
    let order = UInt32Array::from(places.clone());
    let all = columns.iter().map(|column| take(column, &order, None)).collect::<Result<_, _>>()?;
    Ok(Sorted { all, fields, result, options, starts, keys, places })
}

/// The rows in the order of their groups; those of a group stay in theirs.
fn by_group(groups: &[u32], total: usize) -> Vec<u32> {
    let mut next = vec![0u32; total + 1];
    groups.iter().for_each(|&group| next[group as usize + 1] += 1);
    (1..next.len()).for_each(|at| next[at] += next[at - 1]);
    let mut places = vec![0; groups.len()];
    for (row, &group) in groups.iter().enumerate() {
        let place = &mut next[group as usize];
        places[*place as usize] = row as u32;
        *place += 1;
    }
    places
}

/// A column of which bytes are in Postgres's order, and equal where Postgres has the values equal.
pub fn comparable(column: &ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Float32 => mapped::<Float32Type>(column, |v| if v.is_nan() { f32::NAN } else { v + 0.0 }),
        DataType::Float64 => mapped::<Float64Type>(column, |v| if v.is_nan() { f64::NAN } else { v + 0.0 }),
        DataType::Interval(_) => {
            let intervals = column.as_primitive::<IntervalMonthDayNanoType>();
            Arc::new(intervals.iter().map(|value| value.map(temporal::span)).collect::<Decimal128Array>())
        }
        _ => column.clone(),
    }
}

fn mapped<T: ArrowPrimitiveType>(column: &ArrayRef, op: impl Fn(T::Native) -> T::Native) -> ArrayRef {
    let column: &PrimitiveArray<T> = column.as_primitive();
    Arc::new(column.unary::<_, T>(op))
}
