//! The stable 64-bit hash of a row's key: it decides which worker owns a row and orders state on disk, so it never
//! changes. NULL hashes as a value of its own; -0.0 hashes as 0.0 and every NaN as one, as Postgres compares them;
//! dictionaries and string encodings hash as their values; equal numbers of one type hash alike.
//!
//! Fixed-width values go through a 64-bit finaliser (David Stafford's mix 13); byte strings through seeded XXH3-64,
//! whose output is fixed by its specification.

use crate::{Result, SqlError};
use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, PrimitiveArray};
use arrow::compute::{cast, is_null, nullif};
use arrow::datatypes::*;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Start value of a key hash: which columns of a row form the key.
pub const KEY_SEED: u64 = 0;
/// Start value of a row-identity hash; with the key hash it identifies a row by 128 bits.
pub const ROW_SEED: u64 = 0x9E37_79B9_7F4A_7C15;

const NULL: u64 = 0x6A09_E667_F3BC_C909;

/// Spreads every input bit over the whole word.
#[inline]
pub fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// Folds a value's bits into a running hash.
#[inline]
fn fold(hash: u64, bits: u64) -> u64 {
    mix(hash.rotate_left(5) ^ bits.wrapping_add(0x9E37_79B9_7F4A_7C15))
}

/// Folds a NULL into a running hash: by another step than any value, so that no value stands for it.
#[inline]
fn fold_null(hash: u64) -> u64 {
    mix(hash ^ NULL)
}

/// The hashes of `rows` rows over `columns`, starting from `seed`. No columns: every row hashes to the mixed seed.
///
/// # Errors
/// `0A000` for a column of a type that cannot be a key.
pub fn hash_rows(columns: &[ArrayRef], rows: usize, seed: u64) -> Result<Vec<u64>> {
    let mut hashes = vec![mix(seed); rows];
    for column in columns {
        fold_column(column.as_ref(), &mut hashes, seed)?;
    }
    Ok(hashes)
}

fn fold_column(column: &dyn Array, hashes: &mut [u64], seed: u64) -> Result<()> {
    use DataType::*;
    match column.data_type() {
        Null => hashes.iter_mut().for_each(|h| *h = fold_null(*h)),
        Boolean => fold_each(column, hashes, |i| u64::from(column.as_boolean().value(i))),
        Int8 => fold_primitive::<Int8Type>(column, hashes, |v| v as i64 as u64),
        Int16 => fold_primitive::<Int16Type>(column, hashes, |v| v as i64 as u64),
        Int32 => fold_primitive::<Int32Type>(column, hashes, |v| v as i64 as u64),
        Int64 => fold_primitive::<Int64Type>(column, hashes, |v| v as u64),
        UInt8 => fold_primitive::<UInt8Type>(column, hashes, u64::from),
        UInt16 => fold_primitive::<UInt16Type>(column, hashes, u64::from),
        UInt32 => fold_primitive::<UInt32Type>(column, hashes, u64::from),
        UInt64 => fold_primitive::<UInt64Type>(column, hashes, |v| v),
        Float32 => fold_primitive::<Float32Type>(column, hashes, |v| canonical(f64::from(v))),
        Float64 => fold_primitive::<Float64Type>(column, hashes, canonical),
        Decimal128(_, _) => fold_primitive::<Decimal128Type>(column, hashes, |v| wide(v as u128)),
        Date32 => fold_primitive::<Date32Type>(column, hashes, |v| v as i64 as u64),
        Date64 => fold_primitive::<Date64Type>(column, hashes, |v| v as u64),
        Time64(TimeUnit::Microsecond) => fold_primitive::<Time64MicrosecondType>(column, hashes, |v| v as u64),
        Timestamp(TimeUnit::Microsecond, _) => fold_primitive::<TimestampMicrosecondType>(column, hashes, |v| v as u64),
        Timestamp(TimeUnit::Millisecond, _) => fold_primitive::<TimestampMillisecondType>(column, hashes, |v| v as u64),
        Timestamp(TimeUnit::Nanosecond, _) => fold_primitive::<TimestampNanosecondType>(column, hashes, |v| v as u64),
        Interval(IntervalUnit::MonthDayNano) => {
            fold_primitive::<IntervalMonthDayNanoType>(column, hashes, |v| wide(interval_span(v)))
        }
        Utf8 => fold_each(column, hashes, |i| xxh3_64_with_seed(column.as_string::<i32>().value(i).as_bytes(), seed)),
        LargeUtf8 => {
            fold_each(column, hashes, |i| xxh3_64_with_seed(column.as_string::<i64>().value(i).as_bytes(), seed))
        }
        Utf8View => fold_each(column, hashes, |i| xxh3_64_with_seed(column.as_string_view().value(i).as_bytes(), seed)),
        Binary => fold_each(column, hashes, |i| xxh3_64_with_seed(column.as_binary::<i32>().value(i), seed)),
        LargeBinary => fold_each(column, hashes, |i| xxh3_64_with_seed(column.as_binary::<i64>().value(i), seed)),
        BinaryView => fold_each(column, hashes, |i| xxh3_64_with_seed(column.as_binary_view().value(i), seed)),
        FixedSizeBinary(_) => {
            fold_each(column, hashes, |i| xxh3_64_with_seed(column.as_fixed_size_binary().value(i), seed))
        }
        Dictionary(_, value) => fold_column(cast(column, value)?.as_ref(), hashes, seed)?,
        List(_) => fold_lists(column, hashes, seed)?,
        // A row value hashes as its fields; what stands in the fields of one that is NULL does not matter.
        Struct(_) => column.as_struct().columns().iter().try_for_each(|field| match column.nulls() {
            None => fold_column(field.as_ref(), hashes, seed),
            Some(_) => fold_column(nullif(field, &is_null(column)?)?.as_ref(), hashes, seed),
        })?,
        other => return Err(SqlError::unsupported(format!("a key of type {other}"))),
    }
    Ok(())
}

fn fold_primitive<T: ArrowPrimitiveType>(column: &dyn Array, hashes: &mut [u64], bits: impl Fn(T::Native) -> u64) {
    let column: &PrimitiveArray<T> = column.as_primitive();
    if column.null_count() == 0 {
        hashes.iter_mut().zip(column.values()).for_each(|(h, v)| *h = fold(*h, bits(*v)));
    } else {
        fold_each(column, hashes, |i| bits(column.value(i)));
    }
}

fn fold_each(column: &dyn Array, hashes: &mut [u64], bits: impl Fn(usize) -> u64) {
    for (i, hash) in hashes.iter_mut().enumerate() {
        *hash = if column.is_null(i) { fold_null(*hash) } else { fold(*hash, bits(i)) };
    }
}

/// A list hashes as its length and its elements, in order.
fn fold_lists(column: &dyn Array, hashes: &mut [u64], seed: u64) -> Result<()> {
    let lists = column.as_list::<i32>();
    let elements = hash_rows(std::slice::from_ref(lists.values()), lists.values().len(), seed)?;
    let offsets = lists.value_offsets();
    fold_each(column, hashes, |i| {
        let (start, end) = (offsets[i] as usize, offsets[i + 1] as usize);
        elements[start..end].iter().fold(mix((end - start) as u64), |hash, element| fold(hash, *element))
    });
    Ok(())
}

#[inline]
fn canonical(value: f64) -> u64 {
    if value.is_nan() {
        f64::NAN.to_bits()
    } else if value == 0.0 {
        0
    } else {
        value.to_bits()
    }
}

#[inline]
fn wide(value: u128) -> u64 {
    (value as u64) ^ mix((value >> 64) as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// Postgres compares intervals by their length with months of 30 days and days of 24 hours, so equal ones hash alike.
fn interval_span(value: IntervalMonthDayNano) -> u128 {
    let days = i128::from(value.months) * 30 + i128::from(value.days);
    (days * 86_400_000_000_000 + i128::from(value.nanoseconds)) as u128
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::*;
    use std::sync::Arc;

    fn hash(column: impl Array + 'static) -> Vec<u64> {
        let rows = column.len();
        hash_rows(&[Arc::new(column)], rows, KEY_SEED).unwrap()
    }

    /// Written state depends on these numbers: a change here is a change of the disk format.
    #[test]
    fn the_hash_is_the_one_on_disk() {
        assert_eq!(hash(Int64Array::from(vec![1, -1])), [10451216379200822465, 16490336266968443936]);
        assert_eq!(hash(StringViewArray::from(vec!["", "millrace"])), [6462926535050963950, 15598164775886057928]);
    }

    #[test]
    fn equal_values_hash_alike_in_every_encoding() {
        let text = hash(StringViewArray::from(vec![Some("a"), None]));
        assert_eq!(text, hash(StringArray::from(vec![Some("a"), None])));
        assert_eq!(text, hash(vec![Some("a"), None].into_iter().collect::<DictionaryArray<Int32Type>>()));
        assert_eq!(hash(Float64Array::from(vec![0.0, f64::NAN])), hash(Float64Array::from(vec![-0.0, -f64::NAN])));
        assert_eq!(hash(Int32Array::from(vec![7])), hash(Int64Array::from(vec![7])));
    }

    #[test]
    fn hashes_fill_the_key_groups_evenly() {
        let mut counts = vec![0; crate::KEY_GROUPS as usize];
        hash(Int64Array::from_iter_values(0..102_400))
            .into_iter()
            .for_each(|h| counts[crate::KeyGroup::of(h).0 as usize] += 1);
        assert!(counts.iter().all(|c| (50..=170).contains(c)), "{counts:?}");
    }
}
