//! Ordered-set aggregates: `percentile_cont`, `percentile_disc` and `mode`.

use super::collections::{same_type, settled};
use super::gathered::Definition;
use super::sorted::Sorted;
use crate::temporal;
use arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, Float64Builder, IntervalMonthDayNanoArray, ListArray, UInt32Array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type, IntervalMonthDayNano, IntervalMonthDayNanoType};
use millrace_types::{Result, SqlError, SqlState, SqlType, field_of, sql_type_of};
use std::ops::Range;
use std::sync::Arc;

/// The definitions of this family.
pub static DEFINITIONS: &[Definition] = &[
    Definition {
        name: "percentile_cont",
        aliases: &[],
        resolve: resolve_continuous,
        skips_nulls: true,
        within_group: true,
        finish: continuous,
    },
    Definition {
        name: "percentile_disc",
        aliases: &[],
        resolve: resolve_discrete,
        skips_nulls: true,
        within_group: true,
        finish: discrete,
    },
    Definition {
        name: "mode",
        aliases: &[],
        resolve: same_type,
        skips_nulls: true,
        within_group: true,
        finish: most_frequent,
    },
];

/// What a fraction becomes, and whether it is an array of them.
fn fraction(data_type: &DataType) -> Option<(DataType, bool)> {
    let number = |t: &DataType| t.is_numeric() || matches!(t, DataType::Null | DataType::Utf8);
    match data_type {
        DataType::List(item) if number(item.data_type()) => {
            Some((SqlType::Array(Box::new(SqlType::Float8)).arrow(), true))
        }
        other => number(other).then_some((DataType::Float64, false)),
    }
}

/// The result for each fraction of a value's field.
fn result(value: Field, many: bool) -> Field {
    if !many {
        return value;
    }
    let item = Field::new_list_field(value.data_type().clone(), true).with_metadata(value.metadata().clone());
    let marks = field_of("", &SqlType::Array(Box::new(sql_type_of(&value))), true).metadata().clone();
    Field::new("", DataType::List(item.into()), true).with_metadata(marks)
}

fn resolve_continuous(fields: &[FieldRef]) -> Option<(Vec<DataType>, Field)> {
    let [value, wanted] = fields else { return None };
    let (wanted, many) = fraction(wanted.data_type())?;
    let value = match value.data_type() {
        interval @ DataType::Interval(_) => interval.clone(),
        number if number.is_numeric() || number.is_null() => DataType::Float64,
        _ => return None,
    };
    Some((vec![value.clone(), wanted], result(Field::new("", value, true), many)))
}

fn resolve_discrete(fields: &[FieldRef]) -> Option<(Vec<DataType>, Field)> {
    let [value, wanted] = fields else { return None };
    let (wanted, many) = fraction(wanted.data_type())?;
    let value = value.as_ref().clone().with_data_type(settled(value.data_type()));
    Some((vec![value.data_type().clone(), wanted], result(value, many)))
}

/// The fractions that are asked for of a group, of which the first row has them: `None` for NULLs.
fn fractions(rows: &Sorted<'_>, group: &Range<usize>) -> Result<Option<Vec<Option<f64>>>> {
    let column = rows.argument(1);
    if group.is_empty() || column.is_null(group.start) {
        return Ok(None);
    }
    let wanted: Float64Array = match column.as_list_opt::<i32>() {
        Some(lists) => lists.value(group.start).as_primitive::<Float64Type>().clone(),
        None => column.as_primitive::<Float64Type>().slice(group.start, 1),
    };
    for fraction in wanted.iter().flatten() {
        if !(0.0..=1.0).contains(&fraction) {
            let message = format!("percentile value {} is not between 0 and 1", shortest(fraction));
            return Err(SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, message));
        }
    }
    Ok(Some(wanted.iter().collect()))
}

/// As `%g` prints it.
fn shortest(value: f64) -> String {
    if value.is_nan() { "NaN".to_owned() } else { value.to_string() }
}

/// One value for each group, or an array of them: `values` holds those of all groups, `wanted` how many each has.
fn shaped(rows: &Sorted<'_>, values: ArrayRef, wanted: Vec<Option<usize>>) -> Result<ArrayRef> {
    let DataType::List(item) = rows.result.data_type() else { return Ok(values) };
    // Without fractions in an array the result is that of the values; a group has one value then.
    if rows.argument(1).as_list_opt::<i32>().is_none() {
        return Ok(values);
    }
    let offsets = OffsetBuffer::from_lengths(wanted.iter().map(|count| count.unwrap_or(0)));
    let nulls = NullBuffer::from_iter(wanted.iter().map(Option::is_some));
    Ok(Arc::new(ListArray::new(item.clone(), offsets, values, Some(nulls))))
}

/// How many places a group without fractions takes among the values.
fn places_of_none(rows: &Sorted<'_>) -> usize {
    usize::from(rows.argument(1).as_list_opt::<i32>().is_none())
}

fn discrete(rows: &Sorted<'_>) -> Result<ArrayRef> {
    let (mut picked, mut wanted) = (Vec::new(), Vec::new());
    for group in rows.groups() {
        let Some(fractions) = fractions(rows, &group)? else {
            picked.extend(std::iter::repeat_n(None, places_of_none(rows)));
            wanted.push(None);
            continue;
        };
        wanted.push(Some(fractions.len()));
        picked.extend(fractions.into_iter().map(|fraction| {
            let place = (fraction? * group.len() as f64).ceil().max(1.0) as usize - 1;
            Some((group.start + place.min(group.len() - 1)) as u32)
        }));
    }
    let values = take(rows.argument(0), &UInt32Array::from(picked), None)?;
    shaped(rows, values, wanted)
}

fn continuous(rows: &Sorted<'_>) -> Result<ArrayRef> {
    let column = rows.argument(0);
    let (mut between, mut wanted) = (Vec::new(), Vec::new());
    for group in rows.groups() {
        let Some(fractions) = fractions(rows, &group)? else {
            between.extend(std::iter::repeat_n(None, places_of_none(rows)));
            wanted.push(None);
            continue;
        };
        wanted.push(Some(fractions.len()));
        between.extend(fractions.into_iter().map(|fraction| {
            let place = fraction? * (group.len() - 1) as f64;
            Some((group.start + place.floor() as usize, group.start + place.ceil() as usize, place.fract()))
        }));
    }
    let values: ArrayRef = match column.as_primitive_opt::<Float64Type>() {
        Some(numbers) => {
            let mut values = Float64Builder::with_capacity(between.len());
            for place in between {
                values.append_option(place.map(|(low, high, part)| match low == high {
                    true => numbers.value(low),
                    false => numbers.value(low) + part * (numbers.value(high) - numbers.value(low)),
                }));
            }
            Arc::new(values.finish())
        }
        None => {
            let intervals = column.as_primitive::<IntervalMonthDayNanoType>();
            let values = between.into_iter().map(|place| {
                place.map(|(low, high, part)| blended(intervals.value(low), intervals.value(high), part)).transpose()
            });
            Arc::new(values.collect::<Result<IntervalMonthDayNanoArray>>()?)
        }
    };
    shaped(rows, values, wanted)
}

/// The interval so far from the first to the second.
fn blended(low: IntervalMonthDayNano, high: IntervalMonthDayNano, part: f64) -> Result<IntervalMonthDayNano> {
    let out_of_range = || temporal::out_of_range("interval");
    let difference = IntervalMonthDayNano::new(
        high.months.checked_sub(low.months).ok_or_else(out_of_range)?,
        high.days.checked_sub(low.days).ok_or_else(out_of_range)?,
        high.nanoseconds.checked_sub(low.nanoseconds).ok_or_else(out_of_range)?,
    );
    let step = temporal::scaled(difference, part)?;
    Ok(IntervalMonthDayNano::new(
        low.months.checked_add(step.months).ok_or_else(out_of_range)?,
        low.days.checked_add(step.days).ok_or_else(out_of_range)?,
        low.nanoseconds.checked_add(step.nanoseconds).ok_or_else(out_of_range)?,
    ))
}

/// The first of the values that are there most often.
fn most_frequent(rows: &Sorted<'_>) -> Result<ArrayRef> {
    let most = |group: Range<usize>| {
        let (mut best, mut most, mut first) = (None, 0, group.start);
        for row in group.clone() {
            if !rows.are_same(first, row) {
                first = row;
            }
            if row + 1 - first > most {
                (best, most) = (Some(first), row + 1 - first);
            }
        }
        best
    };
    rows.picked(most)
}
