//! Equality of keys as Postgres sees it: NaN equals NaN, -0 equals 0, an interval equals one of the same length.

use arrow::array::make_comparator;
use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, PrimitiveArray};
use arrow::buffer::NullBuffer;
use arrow::compute::and;
use arrow::compute::kernels::cmp::not_distinct;
use arrow::datatypes::*;
use millrace_types::Result;
use std::sync::Arc;

/// The column with equal values made the same bits, so that kernels that compare bits compare as Postgres does.
pub fn comparable(column: &ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Float32 => same_type::<Float32Type>(column, |v| if v.is_nan() { f32::NAN } else { v + 0.0 }),
        DataType::Float64 => same_type::<Float64Type>(column, |v| if v.is_nan() { f64::NAN } else { v + 0.0 }),
        DataType::Interval(IntervalUnit::MonthDayNano) => same_type::<IntervalMonthDayNanoType>(column, justified),
        _ => column.clone(),
    }
}

fn same_type<T: ArrowPrimitiveType>(column: &ArrayRef, op: impl Fn(T::Native) -> T::Native) -> ArrayRef {
    let column: &PrimitiveArray<T> = column.as_primitive();
    Arc::new(column.unary::<_, T>(op).with_data_type(column.data_type().clone()))
}

/// The interval of the same length with days under 30 and hours under 24.
fn justified(value: IntervalMonthDayNano) -> IntervalMonthDayNano {
    const DAY: i128 = 86_400_000_000_000;
    let days = i128::from(value.months) * 30 + i128::from(value.days);
    let span = days * DAY + i128::from(value.nanoseconds);
    let (days, nanoseconds) = (span / DAY, span % DAY);
    // An interval at the very end of its range has no justified form and stands for itself.
    match i32::try_from(days / 30) {
        Ok(months) => IntervalMonthDayNano::new(months, (days % 30) as i32, nanoseconds as i64),
        Err(_) => value,
    }
}

/// For each row whether the two keys are the same; NULL is the same as NULL.
pub fn same_keys(left: &[ArrayRef], right: &[ArrayRef], rows: usize) -> Result<BooleanArray> {
    let mut same = BooleanArray::from(vec![true; rows]);
    for (left, right) in left.iter().zip(right) {
        let (left, right) = (comparable(left), comparable(right));
        let equal = match left.data_type().is_nested() {
            false => not_distinct(&left, &right)?,
            true => {
                let compare = make_comparator(&left, &right, Default::default())?;
                BooleanArray::from_iter((0..rows).map(|row| Some(compare(row, row).is_eq())))
            }
        };
        same = and(&same, &equal)?;
    }
    Ok(same)
}

/// Which rows have no NULL in any of the columns; `None` when all of them.
pub fn rows_without_null<'a>(columns: impl Iterator<Item = &'a ArrayRef>) -> Option<NullBuffer> {
    columns
        .fold(None, |valid, column| NullBuffer::union(valid.as_ref(), column.logical_nulls().as_ref()))
        .filter(|valid| valid.null_count() > 0)
}

/// Whether equal hashes of such keys prove that the keys are equal: one non-NULL column whose values the hash maps to
/// 64 bits and mixes one to one.
pub fn hash_is_exact(columns: &[ArrayRef]) -> bool {
    use DataType::*;
    let [column] = columns else { return columns.is_empty() };
    let narrow = matches!(
        column.data_type(),
        Boolean | Int16 | Int32 | Int64 | UInt32 | Float32 | Float64 | Date32 | Time64(_) | Timestamp(_, _)
    );
    narrow && column.null_count() == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Float64Array, IntervalMonthDayNanoArray, StringViewArray};

    fn same(left: impl Array + 'static, right: impl Array + 'static) -> Vec<bool> {
        let rows = left.len();
        let same = same_keys(&[Arc::new(left)], &[Arc::new(right)], rows).unwrap();
        same.values().iter().collect()
    }

    #[test]
    fn keys_are_equal_as_in_postgres() {
        let floats = (Float64Array::from(vec![0.0, f64::NAN, 1.0]), Float64Array::from(vec![-0.0, -f64::NAN, 2.0]));
        assert_eq!(same(floats.0, floats.1), [true, true, false]);
        let texts = (StringViewArray::from(vec![None, Some("a")]), StringViewArray::from(vec![None, None::<&str>]));
        assert_eq!(same(texts.0, texts.1), [true, false]);
        let month = IntervalMonthDayNano::new(1, 0, 0);
        let days = IntervalMonthDayNano::new(0, 29, 86_400_000_000_000);
        assert_eq!(
            same(IntervalMonthDayNanoArray::from(vec![month]), IntervalMonthDayNanoArray::from(vec![days])),
            [true]
        );
    }
}
