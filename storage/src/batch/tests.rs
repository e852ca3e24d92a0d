//! Transactions of random rows of every type come back as they were.

use super::*;
use arrow::array::ArrayRef;
use arrow::buffer::NullBuffer;
use arrow::compute::cast;
use arrow::datatypes::IntervalMonthDayNano;
use millrace_types::{SqlType, field_of};
use proptest::prelude::*;

/// A column of `sql_type` with one value for each seed, NULL for `None`.
fn column(sql_type: &SqlType, seeds: &[Option<i64>]) -> ArrayRef {
    use arrow::array::*;
    let text = |n: i64| "ß".repeat(n.unsigned_abs() as usize % 30) + &n.to_string();
    let numbers = Int64Array::from(seeds.to_vec());
    match sql_type.arrow() {
        DataType::Null => new_null_array(&DataType::Null, seeds.len()),
        DataType::Boolean => Arc::new(BooleanArray::from_iter(seeds.iter().map(|s| s.map(|n| n % 2 == 0)))),
        DataType::Utf8View => Arc::new(StringViewArray::from_iter(seeds.iter().map(|s| s.map(text)))),
        DataType::Binary => Arc::new(BinaryArray::from_iter(seeds.iter().map(|s| s.map(text)))),
        DataType::FixedSizeBinary(16) => {
            let values = seeds.iter().map(|s| s.map(|n| (n as i128).to_be_bytes()));
            Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(values, 16).unwrap())
        }
        DataType::Interval(_) => Arc::new(IntervalMonthDayNanoArray::from_iter(
            seeds.iter().map(|s| s.map(|n| IntervalMonthDayNano::new(n as i32, 1, n))),
        )),
        DataType::Decimal128(precision, scale) => Arc::new(
            Decimal128Array::from_iter(seeds.iter().map(|s| s.map(i128::from)))
                .with_precision_and_scale(precision, scale)
                .unwrap(),
        ),
        DataType::List(field) => list(sql_type, &field, seeds),
        DataType::Date32 => Arc::new(Date32Array::from_iter(seeds.iter().map(|s| s.map(|n| n as i32)))),
        other => cast(&numbers, &other).unwrap(),
    }
}

/// Lists of 0 to 3 elements, some of them NULL.
fn list(sql_type: &SqlType, field: &Arc<Field>, seeds: &[Option<i64>]) -> ArrayRef {
    use arrow::array::ListArray;
    let SqlType::Array(element) = sql_type else { unreachable!("only arrays are lists") };
    let lengths: Vec<usize> = seeds.iter().map(|s| s.map_or(0, |n| n.unsigned_abs() as usize % 4)).collect();
    let elements: Vec<Option<i64>> =
        lengths.iter().zip(seeds).flat_map(|(&len, s)| (0..len).map(move |i| s.filter(|_| i != 1))).collect();
    let nulls = NullBuffer::from_iter(seeds.iter().map(Option::is_some));
    let offsets = arrow::buffer::OffsetBuffer::from_lengths(lengths);
    Arc::new(ListArray::new(field.clone(), offsets, column(element, &elements), Some(nulls)))
}

fn any_type() -> impl Strategy<Value = SqlType> {
    let scalar = prop_oneof![
        8 => proptest::sample::select(SqlType::ALL.to_vec()),
        1 => Just(SqlType::Varchar(Some(9))),
        1 => Just(SqlType::Numeric(Some((38, 4)))),
        1 => Just(SqlType::Unknown),
    ];
    (scalar, any::<bool>()).prop_map(|(t, array)| match array && t != SqlType::Unknown {
        true => SqlType::Array(Box::new(t)),
        false => t,
    })
}

fn any_delta() -> impl Strategy<Value = Delta> {
    (proptest::collection::vec(any_type(), 0..8), 0..20usize).prop_flat_map(|(types, len)| {
        // Small enough for every type that is cast from a number.
        let seed = proptest::option::of(-30_000..30_000i64);
        let columns = proptest::collection::vec(proptest::collection::vec(seed, len), types.len());
        (Just(types), columns, any::<bool>(), proptest::collection::vec(1..4i64, len), 0..=len)
            .prop_map(|(types, seeds, ones, weights, from)| delta(&types, &seeds, ones, weights, from))
    })
}

fn delta(types: &[SqlType], seeds: &[Vec<Option<i64>>], ones: bool, weights: Vec<i64>, from: usize) -> Delta {
    let fields: Vec<Field> = types.iter().enumerate().map(|(n, t)| field_of(format!("c{n}"), t, true)).collect();
    let columns = types
        .iter()
        .zip(seeds)
        .map(|(t, s)| column(t, &s.iter().map(|n| n.map(|n| fit(t, n))).collect::<Vec<_>>()))
        .collect();
    let options = RecordBatchOptions::new().with_row_count(Some(weights.len()));
    let rows = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options).unwrap();
    let len = weights.len();
    let weights = if ones { Weights::Ones } else { Weights::Each(weights.iter().map(|w| w - 5).collect()) };
    Delta::new(rows, weights).slice(from, len - from)
}

/// A value that the type can hold.
fn fit(sql_type: &SqlType, n: i64) -> i64 {
    match sql_type.arrow() {
        DataType::UInt32 | DataType::Time64(_) => n.abs(),
        DataType::List(field) if matches!(field.data_type(), DataType::UInt32 | DataType::Time64(_)) => n.abs(),
        _ => n,
    }
}

proptest! {
    #[test]
    fn a_transaction_is_read_back(deltas in proptest::collection::vec((any::<u32>(), any_delta()), 0..4)) {
        let deltas: Vec<_> = deltas.into_iter().map(|(id, delta)| (RelationId(id), delta)).collect();
        let back = decode(&encode(&deltas).unwrap()).unwrap();
        prop_assert_eq!(back.len(), deltas.len());
        for ((id, delta), (back_id, back)) in deltas.iter().zip(&back) {
            prop_assert_eq!(id, back_id);
            prop_assert_eq!(delta.rows(), back.rows());
            prop_assert_eq!(delta.weights(), back.weights());
        }
    }
}

#[test]
fn columns_that_are_none_of_a_table_s_are_read_back_too() {
    let rows = RecordBatch::try_from_iter([("c", Arc::new(arrow::array::StringArray::from(vec!["a"])) as _)]).unwrap();
    let back = decode(&encode(&[(RelationId(1), Delta::inserts(rows.clone()))]).unwrap()).unwrap();
    assert_eq!(back[0].1.rows(), &rows);
}

fn five_columns(rows: usize) -> Delta {
    let types = [SqlType::Int8, SqlType::Text, SqlType::Numeric(None), SqlType::Timestamptz, SqlType::Bool];
    let seeds: Vec<Option<i64>> = (0..rows as i64).map(Some).collect();
    delta(&types, &vec![seeds; types.len()], true, vec![1; rows], 0)
}

#[test]
fn a_cut_or_continued_payload_is_refused() {
    let whole = encode(&[(RelationId(1), five_columns(3))]).unwrap();
    assert!(whole.len() < 1500, "{}", whole.len());
    for cut in (0..whole.len()).step_by(8) {
        assert_eq!(decode(&whole[..cut]).unwrap_err().state(), SqlState::DATA_CORRUPTED, "cut at {cut}");
    }
    let mut longer = whole.clone();
    longer.extend_from_slice(&[0; 8]);
    assert!(decode(&longer).is_err());
}
