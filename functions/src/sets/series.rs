//! `generate_series`.

use crate::function::Call;
use crate::generic::{generic, list_of};
use crate::operators::arithmetic::precision_of;
use crate::temporal;
use arrow::array::{Array, ArrayRef, ArrowNativeTypeOp, ArrowPrimitiveType, ListArray, PrimitiveArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{
    ArrowNativeType, DataType, Decimal128Type, Field, FieldRef, Int32Type, Int64Type, IntervalMonthDayNano,
    IntervalMonthDayNanoType, TimestampMicrosecondType,
};
use datafusion::logical_expr::ScalarUDF;
use millrace_types::{Result, SqlError, SqlState, SqlType, field_of, sql_type_of};
use std::sync::Arc;

/// How many values the series of one batch may have: they are in memory at once.
const VALUES_MAX: usize = 1 << 26;

pub fn functions() -> Vec<ScalarUDF> {
    vec![generic("generate_series", &[], types, series)]
}

fn types(fields: &[FieldRef]) -> Result<Option<(Vec<DataType>, Field)>> {
    if !(2..=3).contains(&fields.len()) {
        return Ok(None);
    }
    let kinds: Vec<SqlType> = fields.iter().map(|field| sql_type_of(field)).collect();
    let moment = |kind: &SqlType| matches!(kind, SqlType::Date | SqlType::Timestamp | SqlType::Timestamptz);
    if kinds[..2].iter().any(moment) {
        return Ok(moments(&kinds));
    }
    let is_open = |kind: &SqlType| matches!(kind, SqlType::Unknown | SqlType::Text);
    let numeric = |kind: &SqlType| matches!(kind, SqlType::Numeric(_));
    let integer = |kind: &SqlType| matches!(kind, SqlType::Int2 | SqlType::Int4 | SqlType::Int8) || is_open(kind);
    if kinds.iter().any(numeric) {
        let fits = kinds.iter().all(|kind| numeric(kind) || integer(kind));
        return Ok(fits.then(|| numerics(fields)));
    }
    if !kinds.iter().all(integer) {
        return Ok(None);
    }
    let data_type = if kinds.contains(&SqlType::Int8) { DataType::Int64 } else { DataType::Int32 };
    let element = Field::new("", data_type.clone(), true);
    Ok(Some((vec![data_type; fields.len()], list_of(&element))))
}

/// Of dates, without a zone or with one, and an interval.
fn moments(kinds: &[SqlType]) -> Option<(Vec<DataType>, Field)> {
    if kinds.len() != 3 || !matches!(kinds[2], SqlType::Interval | SqlType::Text | SqlType::Unknown) {
        return None;
    }
    let plain = |kind: &SqlType| *kind == SqlType::Timestamp;
    // A date is preferably one with a zone.
    let element = if kinds[..2].iter().any(plain) { SqlType::Timestamp } else { SqlType::Timestamptz };
    let moment = element.arrow();
    let taken = vec![moment.clone(), moment, SqlType::Interval.arrow()];
    Some((taken, list_of(&field_of("", &element, true))))
}

/// Numbers of the finest of the arguments' scales.
fn numerics(fields: &[FieldRef]) -> (Vec<DataType>, Field) {
    let scales = fields.iter().filter_map(|field| precision_of(field.data_type())).map(|(_, scale)| scale.max(0));
    let data_type = DataType::Decimal128(38, scales.max().unwrap_or(0));
    let marked = fields.iter().any(|field| sql_type_of(field) == SqlType::Numeric(None));
    let element = match marked {
        true => field_of("", &SqlType::Numeric(None), true).with_data_type(data_type.clone()),
        false => Field::new("", data_type.clone(), true),
    };
    (vec![data_type; fields.len()], list_of(&element))
}

fn series(call: &Call) -> Result<ArrayRef> {
    let DataType::List(element) = call.result.data_type() else {
        return Err(SqlError::internal("a series is an array"));
    };
    match element.data_type() {
        DataType::Int32 => numbers::<Int32Type>(call, element, 1, |value, step| value.checked_add(step)),
        DataType::Int64 => numbers::<Int64Type>(call, element, 1, |value, step| value.checked_add(step)),
        DataType::Decimal128(_, scale) => {
            let one = 10i128.pow(scale.unsigned_abs().into());
            numbers::<Decimal128Type>(call, element, one, |value, step| value.checked_add(step))
        }
        DataType::Timestamp(_, None) => times(call, element, temporal::add_interval),
        _ => times(call, element, |time, step| temporal::add_interval_in(&call.zone, time, step)),
    }
}

fn numbers<T: ArrowPrimitiveType>(
    call: &Call,
    element: &FieldRef,
    one: T::Native,
    next: impl Fn(T::Native, T::Native) -> Option<T::Native>,
) -> Result<ArrayRef>
where
    T::Native: ArrowNativeTypeOp,
{
    lists::<T>(call, element, |row, values| {
        let (start, stop) = (call.value::<T>(0, row), call.value::<T>(1, row));
        let step = if call.count() > 2 { call.value::<T>(2, row) } else { one };
        if step == T::Native::default() {
            return Err(step_is_zero());
        }
        // Known before any of them is there; a difference that overflows is too large as well.
        let steps = stop.sub_checked(start).and_then(|span| span.div_checked(step));
        if (start <= stop) == (step > T::Native::default())
            && steps.map_or(true, |steps| steps.to_usize().is_none_or(|steps| steps >= VALUES_MAX))
        {
            return Err(too_many());
        }
        let up = step > T::Native::default();
        let mut value = Some(start);
        while let Some(now) = value.filter(|now| if up { *now <= stop } else { *now >= stop }) {
            push(values, now)?;
            value = next(now, step);
        }
        Ok(())
    })
}

fn times(call: &Call, element: &FieldRef, next: impl Fn(i64, IntervalMonthDayNano) -> Result<i64>) -> Result<ArrayRef> {
    lists::<TimestampMicrosecondType>(call, element, |row, values| {
        let (start, stop) =
            (call.value::<TimestampMicrosecondType>(0, row), call.value::<TimestampMicrosecondType>(1, row));
        let step = call.value::<IntervalMonthDayNanoType>(2, row);
        // Compared as Postgres compares intervals: a month has 30 days.
        let sign =
            (i128::from(step.months) * 30 + i128::from(step.days)) * 86_400_000_000_000 + i128::from(step.nanoseconds);
        if sign == 0 {
            return Err(step_is_zero());
        }
        // Nearly how many: months differ in length.
        if (i128::from(stop) - i128::from(start)) * 1_000 / sign > 2 * VALUES_MAX as i128 {
            return Err(too_many());
        }
        let mut now = start;
        while if sign > 0 { now <= stop } else { now >= stop } {
            push(values, now)?;
            now = next(now, step)?;
        }
        Ok(())
    })
}

fn push<T>(values: &mut Vec<T>, value: T) -> Result<()> {
    if values.len() >= VALUES_MAX {
        return Err(too_many());
    }
    values.push(value);
    Ok(())
}

fn too_many() -> SqlError {
    let message = format!("generate_series() gives more than {VALUES_MAX} rows at once");
    SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message)
}

fn step_is_zero() -> SqlError {
    SqlError::new(SqlState::INVALID_PARAMETER_VALUE, "step size cannot equal zero")
}

/// A column of series; NULL where an argument is.
fn lists<T: ArrowPrimitiveType>(
    call: &Call,
    element: &FieldRef,
    f: impl Fn(usize, &mut Vec<T::Native>) -> Result<()>,
) -> Result<ArrayRef> {
    let (mut values, mut lengths, mut valid) = (vec![], Vec::with_capacity(call.rows), Vec::with_capacity(call.rows));
    for row in 0..call.rows {
        let (before, known) = (values.len(), call.arrays.iter().all(|array| array.is_valid(row)));
        if known {
            f(row, &mut values)?;
        }
        lengths.push(values.len() - before);
        valid.push(known);
    }
    let values = PrimitiveArray::<T>::from_iter_values(values).with_data_type(element.data_type().clone());
    let offsets = OffsetBuffer::from_lengths(lengths);
    Ok(Arc::new(ListArray::try_new(element.clone(), offsets, Arc::new(values), Some(NullBuffer::from(valid)))?))
}
