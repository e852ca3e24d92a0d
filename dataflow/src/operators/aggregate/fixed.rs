//! Values of fixed width as words: equal values (as Postgres compares) give equal words, and greater values greater
//! ones, so that group keys compare as words and minima and maxima as integers.

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, PrimitiveArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::*;
use std::ops::Range;
use std::sync::Arc;

const SIGN_64: u64 = 1 << 63;
const SIGN_128: u128 = 1 << 127;

/// Whether values of the type become words; text, bytes, intervals and arrays do not.
pub fn is_fixed(data_type: &DataType) -> bool {
    use DataType::*;
    matches!(
        data_type,
        Boolean
            | Int16
            | Int32
            | Int64
            | UInt32
            | Float32
            | Float64
            | Decimal128(_, _)
            | Date32
            | Time64(TimeUnit::Microsecond)
            | Timestamp(TimeUnit::Microsecond, _)
    )
}

/// How many words a value takes.
pub fn words_of(data_type: &DataType) -> usize {
    if matches!(data_type, DataType::Decimal128(_, _)) { 2 } else { 1 }
}

/// Calls `each` with the row and the word of every row of `rows`, whatever the words of NULLs are.
#[inline(always)]
pub fn encode(column: &ArrayRef, rows: Range<usize>, mut each: impl FnMut(usize, u128)) {
    use DataType::*;
    match column.data_type() {
        Boolean => {
            let values = column.as_boolean();
            rows.for_each(|row| each(row, u128::from(values.value(row))));
        }
        Int16 => primitive::<Int16Type>(column, rows, |v| signed(v.into()), each),
        Int32 => primitive::<Int32Type>(column, rows, |v| signed(v.into()), each),
        Int64 => primitive::<Int64Type>(column, rows, signed, each),
        UInt32 => primitive::<UInt32Type>(column, rows, u128::from, each),
        Float32 => primitive::<Float32Type>(column, rows, |v| float(v.into()), each),
        Float64 => primitive::<Float64Type>(column, rows, float, each),
        Decimal128(_, _) => primitive::<Decimal128Type>(column, rows, |v| v as u128 ^ SIGN_128, each),
        Date32 => primitive::<Date32Type>(column, rows, |v| signed(v.into()), each),
        Time64(_) => primitive::<Time64MicrosecondType>(column, rows, signed, each),
        Timestamp(_, _) => primitive::<TimestampMicrosecondType>(column, rows, signed, each),
        other => unreachable!("values of type {other} are not words"),
    }
}

#[inline(always)]
fn primitive<T: ArrowPrimitiveType>(
    column: &ArrayRef,
    rows: Range<usize>,
    word: impl Fn(T::Native) -> u128,
    mut each: impl FnMut(usize, u128),
) {
    let start = rows.start;
    let values = &column.as_primitive::<T>().values()[rows];
    values.iter().enumerate().for_each(|(at, &value)| each(start + at, word(value)));
}

#[inline(always)]
fn signed(value: i64) -> u128 {
    u128::from(value as u64 ^ SIGN_64)
}

#[inline(always)]
fn float(value: f64) -> u128 {
    // Adding zero turns -0 into 0; NaN is one value and above all others.
    let bits = if value.is_nan() { f64::NAN.to_bits() } else { (value + 0.0).to_bits() };
    u128::from(if bits & SIGN_64 == 0 { bits | SIGN_64 } else { !bits })
}

/// The column of these words; those of NULLs do not matter.
pub fn decode(data_type: &DataType, words: impl Iterator<Item = u128>, nulls: Option<NullBuffer>) -> ArrayRef {
    use DataType::*;
    match data_type {
        Boolean => Arc::new(BooleanArray::new(words.map(|word| word != 0).collect(), nulls)),
        Int16 => collect::<Int16Type>(data_type, words.map(|w| unsigned(w) as i16), nulls),
        Int32 => collect::<Int32Type>(data_type, words.map(|w| unsigned(w) as i32), nulls),
        Int64 => collect::<Int64Type>(data_type, words.map(unsigned), nulls),
        UInt32 => collect::<UInt32Type>(data_type, words.map(|w| w as u32), nulls),
        Float32 => collect::<Float32Type>(data_type, words.map(|w| unfloat(w) as f32), nulls),
        Float64 => collect::<Float64Type>(data_type, words.map(unfloat), nulls),
        Decimal128(_, _) => collect::<Decimal128Type>(data_type, words.map(|w| (w ^ SIGN_128) as i128), nulls),
        Date32 => collect::<Date32Type>(data_type, words.map(|w| unsigned(w) as i32), nulls),
        Time64(_) => collect::<Time64MicrosecondType>(data_type, words.map(unsigned), nulls),
        Timestamp(_, _) => collect::<TimestampMicrosecondType>(data_type, words.map(unsigned), nulls),
        other => unreachable!("values of type {other} are not words"),
    }
}

fn collect<T: ArrowPrimitiveType>(
    data_type: &DataType,
    values: impl Iterator<Item = T::Native>,
    nulls: Option<NullBuffer>,
) -> ArrayRef {
    let values = PrimitiveArray::<T>::new(values.collect(), nulls);
    Arc::new(values.with_data_type(data_type.clone()))
}

fn unsigned(word: u128) -> i64 {
    (word as u64 ^ SIGN_64) as i64
}

fn unfloat(word: u128) -> f64 {
    let bits = word as u64;
    f64::from_bits(if bits & SIGN_64 != 0 { bits ^ SIGN_64 } else { !bits })
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Decimal128Array, Float64Array, Int32Array};

    fn words(column: ArrayRef) -> Vec<u128> {
        let mut words = Vec::new();
        encode(&column, 0..column.len(), |_, word| words.push(word));
        assert_eq!(&decode(column.data_type(), words.iter().copied(), None), &column);
        words
    }

    #[test]
    fn words_are_in_the_order_of_the_values_and_give_them_back() {
        let floats = vec![f64::NEG_INFINITY, -1.5, 0.0, 1e-300, 2.0, f64::INFINITY, f64::NAN];
        assert!(words(Arc::new(Float64Array::from(floats))).is_sorted_by(|a, b| a < b));
        assert!(words(Arc::new(Int32Array::from(vec![i32::MIN, -1, 0, i32::MAX]))).is_sorted_by(|a, b| a < b));
        let decimals = Decimal128Array::from(vec![i128::MIN / 2, -1, 0, i128::MAX / 2]);
        assert!(words(Arc::new(decimals)).is_sorted_by(|a, b| a < b));
        let zeros: ArrayRef = Arc::new(Float64Array::from(vec![0.0, -0.0]));
        let mut seen = Vec::new();
        encode(&zeros, 0..2, |_, word| seen.push(word));
        assert_eq!(seen[0], seen[1]);
    }
}
