//! The values of minima and maxima: their order, their multisets and their bytes.
//!
//! Over append-only input a group keeps its extreme value alone. Otherwise it keeps an ordered multiset of its values,
//! so that the next one is at hand when the extreme is retracted. Values of fixed width stand as words in the group's
//! row (present, low, high); others (text, bytes, uuid, intervals) as bytes beside it, in their order.

use arrow::array::{Array, ArrayRef, AsArray, BinaryBuilder, StringViewBuilder};
use arrow::array::{FixedSizeBinaryBuilder, IntervalMonthDayNanoBuilder};
use arrow::datatypes::{DataType, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit};
use millrace_types::{Result, SqlError};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Words of an extreme of fixed width.
pub const EXTREME_WORDS: usize = 3;

/// The values of the groups, by group number: empty over append-only input.
pub type Multisets<V> = Vec<BTreeMap<V, i64>>;

/// Values as bytes in their order.
pub type Bytes = Box<[u8]>;

/// Counts `weight` times a value into a multiset. Counts below zero are legal inside a tick.
pub fn count<V: Ord>(multiset: &mut BTreeMap<V, i64>, value: V, weight: i64) {
    use std::collections::btree_map::Entry;
    match multiset.entry(value) {
        Entry::Vacant(entry) => {
            entry.insert(weight);
        }
        Entry::Occupied(mut entry) => {
            *entry.get_mut() += weight;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}

/// The extreme of a multiset.
pub fn extreme<V: Ord>(multiset: &BTreeMap<V, i64>, largest: bool) -> Option<&V> {
    let mut present = multiset.iter().filter(|(_, count)| **count > 0).map(|(value, _)| value);
    if largest { present.next_back() } else { present.next() }
}

/// Whether `value` replaces `known` as the extreme.
#[inline(always)]
pub fn beats<V: Ord + ?Sized>(value: &V, known: &V, largest: bool) -> bool {
    if largest { value > known } else { value < known }
}

/// The extreme in a group's row.
#[inline(always)]
pub fn known(words: &[u64]) -> Option<u128> {
    (words[0] != 0).then(|| u128::from(words[2]) << 64 | u128::from(words[1]))
}

/// Puts the extreme into a group's row.
#[inline(always)]
pub fn set_known(words: &mut [u64], value: Option<u128>) {
    let bits = value.unwrap_or(0);
    (words[0], words[1], words[2]) = (value.is_some().into(), bits as u64, (bits >> 64) as u64);
}

/// Refuses types whose values have no bytes in their order.
pub fn check_bytes(data_type: &DataType) -> Result<()> {
    match data_type {
        DataType::Utf8View | DataType::Binary | DataType::FixedSizeBinary(_) => Ok(()),
        DataType::Interval(IntervalUnit::MonthDayNano) => Ok(()),
        other => Err(SqlError::unsupported(format!("min or max over {other}"))),
    }
}

/// The bytes of a value, in the order of Postgres: text and bytes by their bytes, intervals by their length, and then,
/// so that equal lengths come in a fixed order, by their fields.
pub fn bytes_of(column: &ArrayRef, row: usize) -> Bytes {
    match column.data_type() {
        DataType::Utf8View => column.as_string_view().value(row).as_bytes().into(),
        DataType::Binary => column.as_binary::<i32>().value(row).into(),
        DataType::FixedSizeBinary(_) => column.as_fixed_size_binary().value(row).into(),
        DataType::Interval(_) => interval_bytes(column.as_primitive::<IntervalMonthDayNanoType>().value(row)),
        other => unreachable!("values of type {other} have no ordered bytes"),
    }
}

fn interval_bytes(value: IntervalMonthDayNano) -> Bytes {
    let days = i128::from(value.months) * 30 + i128::from(value.days);
    let span = days * 86_400_000_000_000 + i128::from(value.nanoseconds);
    let mut bytes = Vec::with_capacity(32);
    bytes.extend_from_slice(&(span as u128 ^ 1 << 127).to_be_bytes());
    bytes.extend_from_slice(&value.months.to_be_bytes());
    bytes.extend_from_slice(&value.days.to_be_bytes());
    bytes.extend_from_slice(&value.nanoseconds.to_be_bytes());
    bytes.into()
}

fn interval_of(bytes: &[u8]) -> Option<IntervalMonthDayNano> {
    let months = i32::from_be_bytes(bytes.get(16..20)?.try_into().ok()?);
    let days = i32::from_be_bytes(bytes.get(20..24)?.try_into().ok()?);
    let nanoseconds = i64::from_be_bytes(bytes.get(24..32)?.try_into().ok()?);
    Some(IntervalMonthDayNano::new(months, days, nanoseconds))
}

/// The column of these bytes.
pub fn column_of<'a>(data_type: &DataType, values: impl Iterator<Item = Option<&'a [u8]>>) -> Result<ArrayRef> {
    Ok(match data_type {
        DataType::Utf8View => {
            let mut column = StringViewBuilder::new();
            for value in values {
                // They were text when they came, and are checked again in case a snapshot says otherwise.
                let text = value.map(std::str::from_utf8).transpose();
                column.append_option(text.map_err(|error| SqlError::internal(error.to_string()))?);
            }
            Arc::new(column.finish())
        }
        DataType::FixedSizeBinary(width) => {
            let mut column = FixedSizeBinaryBuilder::new(*width);
            for value in values {
                match value {
                    Some(bytes) => column.append_value(bytes)?,
                    None => column.append_null(),
                }
            }
            Arc::new(column.finish())
        }
        DataType::Interval(_) => {
            let mut column = IntervalMonthDayNanoBuilder::new();
            values.for_each(|value| column.append_option(value.and_then(interval_of)));
            Arc::new(column.finish())
        }
        _ => {
            let mut column = BinaryBuilder::new();
            values.for_each(|value| column.append_option(value));
            Arc::new(column.finish())
        }
    })
}
