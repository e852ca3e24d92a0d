//! Rows in the order of a column's values instead of its hash, for look-ups of ranges.
//!
//! The key of a row is then a number of 64 bits that is the greater, the greater the value is; different values may
//! share one, as texts do that begin alike. So a range of keys holds at least the rows of a range of values.

use super::Scan;
use super::run::{RowId, Run};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int16Type, Int32Type,
    Int64Type, SchemaRef, Time64MicrosecondType, TimeUnit, TimestampMicrosecondType,
};
use millrace_types::hash::{ROW_SEED, hash_rows};
use millrace_types::{Delta, Result, SqlError};
use std::ops::RangeInclusive;
use std::sync::Arc;

/// Whether values of a type have such numbers.
pub fn has_order(data_type: &DataType) -> bool {
    use DataType::*;
    matches!(
        data_type,
        Boolean
            | Int16
            | Int32
            | Int64
            | Float32
            | Float64
            | Date32
            | Time64(TimeUnit::Microsecond)
            | Timestamp(TimeUnit::Microsecond, _)
            | Decimal128(..)
            | Utf8View
    )
}

/// The number of each value, the greatest of all for NULL.
///
/// # Errors
/// `XX000` for a type without order.
pub fn order_keys(column: &ArrayRef) -> Result<Vec<u64>> {
    use DataType::*;
    Ok(match column.data_type() {
        Boolean => each(column, |row| u64::from(column.as_boolean().value(row))),
        Int16 => integers::<Int16Type>(column),
        Int32 => integers::<Int32Type>(column),
        Int64 => integers::<Int64Type>(column),
        Date32 => integers::<Date32Type>(column),
        Time64(TimeUnit::Microsecond) => integers::<Time64MicrosecondType>(column),
        Timestamp(TimeUnit::Microsecond, _) => integers::<TimestampMicrosecondType>(column),
        Float32 => each(column, |row| of_float(f64::from(column.as_primitive::<Float32Type>().value(row)))),
        Float64 => each(column, |row| of_float(column.as_primitive::<Float64Type>().value(row))),
        Decimal128(..) => each(column, |row| of_float(column.as_primitive::<Decimal128Type>().value(row) as f64)),
        Utf8View => each(column, |row| of_bytes(column.as_string_view().value(row).as_bytes())),
        other => return Err(SqlError::internal(format!("values of type {other} are kept in no order"))),
    })
}

fn each(column: &ArrayRef, key: impl Fn(usize) -> u64) -> Vec<u64> {
    (0..column.len()).map(|row| if column.is_null(row) { u64::MAX } else { key(row) }).collect()
}

fn integers<T: ArrowPrimitiveType<Native: Into<i64>>>(column: &ArrayRef) -> Vec<u64> {
    let values = column.as_primitive::<T>();
    each(column, |row| values.value(row).into() as u64 ^ (1 << 63))
}

/// Postgres's order of floats: zeros are equal, and NaN is the greatest.
fn of_float(value: f64) -> u64 {
    let bits = if value == 0.0 { 0 } else { value.to_bits() };
    match (value.is_nan(), bits >> 63) {
        (true, _) => u64::MAX,
        (false, 0) => bits | (1 << 63),
        (false, _) => !bits,
    }
}

fn of_bytes(bytes: &[u8]) -> u64 {
    let mut first = [0; 8];
    let length = bytes.len().min(8);
    first[..length].copy_from_slice(&bytes[..length]);
    u64::from_be_bytes(first)
}

/// The identities of all rows of a batch in the order of a column's values.
pub fn ids_by_value(rows: &RecordBatch, column: usize) -> Result<Vec<RowId>> {
    let keys = order_keys(rows.column(column))?;
    let hashes = hash_rows(rows.columns(), rows.num_rows(), ROW_SEED)?;
    Ok(keys.into_iter().zip(hashes).map(|(key, row)| RowId { key, row }).collect())
}

/// The net rows whose keys are in a range, from runs in the order of the values of `column`.
pub fn rows_in_range(
    runs: &[Arc<Run>],
    schema: &SchemaRef,
    column: usize,
    range: &RangeInclusive<u64>,
) -> Result<Vec<Delta>> {
    let found: Vec<Delta> = runs.iter().flat_map(|run| run.in_range(range)).collect();
    // A row of one run may be retracted by another.
    let net: Vec<_> = Run::by_value(schema, column, &found)?.into_iter().map(Arc::new).collect();
    Scan::new(&net, schema, None).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Decimal128Array, Float64Array, Int64Array, StringViewArray};

    fn ascend(column: impl Array + 'static) {
        let keys = order_keys(&(Arc::new(column) as ArrayRef)).unwrap();
        assert!(keys.is_sorted(), "{keys:?}");
    }

    #[test]
    fn greater_values_have_greater_numbers() {
        ascend(Int64Array::from(vec![Some(i64::MIN), Some(-1), Some(0), Some(7), Some(i64::MAX), None]));
        let floats = [f64::NEG_INFINITY, -1e9, -0.5, -0.0, 0.0, 1e-300, 2.0, f64::INFINITY, f64::NAN];
        ascend(Float64Array::from(floats.to_vec()));
        ascend(StringViewArray::from(vec!["", "a", "ab", "abcdefgh", "abcdefghij", "b", "ä"]));
        ascend(Decimal128Array::from(vec![-(10i128.pow(37)), -1, 0, 1, 2, 10i128.pow(37)]));
        let zeros = order_keys(&(Arc::new(Float64Array::from(vec![-0.0, 0.0])) as ArrayRef)).unwrap();
        assert_eq!(zeros[0], zeros[1]);
    }
}
