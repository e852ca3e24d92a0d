//! Arithmetic of dates, times and intervals.

use super::arithmetic::Operation;
use super::number::{Pair, division_by_zero, float_error};
use crate::temporal::{self, DAY};
use arrow::array::timezone::Tz;
use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, PrimitiveArray, new_null_array};
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::{
    DataType, Date32Type, Float64Type, Int32Type, IntervalMonthDayNano, IntervalMonthDayNanoType,
    Time64MicrosecondType, TimestampMicrosecondType,
};
use millrace_types::{Result, SqlError};
use std::sync::Arc;

type Interval = IntervalMonthDayNano;

/// The result of an operation with a date, a time or an interval; a column of length 1 is one value for all rows.
pub fn evaluate(op: Operation, left: &ArrayRef, right: &ArrayRef, rows: usize, zone: &Tz) -> Result<ArrayRef> {
    use DataType::{Date32, Float64, Int32, Time64, Timestamp};
    let signed =
        |interval: Interval| if op == Operation::Subtract { temporal::negated(interval) } else { Ok(interval) };
    match (left.data_type(), right.data_type()) {
        (Date32, Int32) => each::<Date32Type, Int32Type, Date32Type>(left, right, rows, |date, days| {
            let moved = if op == Operation::Subtract { date.checked_sub(days) } else { date.checked_add(days) };
            moved.filter(|days| temporal::day(*days).is_ok()).ok_or_else(|| temporal::out_of_range("date"))
        }),
        (Date32, Date32) => each::<Date32Type, Date32Type, Int32Type>(left, right, rows, |a, b| {
            a.checked_sub(b).ok_or_else(|| temporal::out_of_range("date"))
        }),
        (Timestamp(_, None), DataType::Interval(_)) => each::<
            TimestampMicrosecondType,
            IntervalMonthDayNanoType,
            TimestampMicrosecondType,
        >(left, right, rows, |time, interval| {
            temporal::add_interval(time, signed(interval)?)
        }),
        (Timestamp(_, Some(_)), DataType::Interval(_)) => {
            let moved = each::<TimestampMicrosecondType, IntervalMonthDayNanoType, TimestampMicrosecondType>(
                left,
                right,
                rows,
                |time, interval| temporal::add_interval_in(zone, time, signed(interval)?),
            )?;
            Ok(Arc::new(moved.as_primitive::<TimestampMicrosecondType>().clone().with_timezone("UTC")))
        }
        (Timestamp(_, zone), Time64(_)) => {
            let moved = each::<TimestampMicrosecondType, Time64MicrosecondType, TimestampMicrosecondType>(
                left,
                right,
                rows,
                |time, since_midnight| {
                    time.checked_add(since_midnight).ok_or_else(|| temporal::out_of_range("timestamp"))
                },
            )?;
            Ok(Arc::new(moved.as_primitive::<TimestampMicrosecondType>().clone().with_timezone_opt(zone.clone())))
        }
        (Timestamp(..), Timestamp(..)) => each::<
            TimestampMicrosecondType,
            TimestampMicrosecondType,
            IntervalMonthDayNanoType,
        >(left, right, rows, temporal::between),
        (Time64(_), DataType::Interval(_)) => each::<
            Time64MicrosecondType,
            IntervalMonthDayNanoType,
            Time64MicrosecondType,
        >(left, right, rows, |time, interval| {
            Ok((time + signed(interval)?.nanoseconds / 1000 % DAY).rem_euclid(DAY))
        }),
        (Time64(_), Time64(_)) => {
            each::<Time64MicrosecondType, Time64MicrosecondType, IntervalMonthDayNanoType>(left, right, rows, |a, b| {
                Ok(Interval::new(0, 0, (a - b) * 1000))
            })
        }
        (DataType::Interval(_), DataType::Interval(_)) => each::<
            IntervalMonthDayNanoType,
            IntervalMonthDayNanoType,
            IntervalMonthDayNanoType,
        >(left, right, rows, |a, b| sum(a, signed(b)?)),
        (DataType::Interval(_), Float64) => {
            each::<IntervalMonthDayNanoType, Float64Type, IntervalMonthDayNanoType>(left, right, rows, |a, factor| {
                match op {
                    Operation::Divide if factor == 0.0 => Err(division_by_zero()),
                    _ if !factor.is_finite() => Err(float_error("overflow")),
                    Operation::Divide => temporal::scaled(a, 1.0 / factor),
                    _ => temporal::scaled(a, factor),
                }
            })
        }
        // What is left commutes: an interval or a number before a date, a time, or an interval.
        (Int32, Date32) | (Float64 | DataType::Interval(_) | Time64(_), _) => evaluate(op, right, left, rows, zone),
        (left, right) => Err(SqlError::internal(format!("no kernel for {left} {} {right}", op.symbol()))),
    }
}

fn sum(a: Interval, b: Interval) -> Result<Interval> {
    let parts = (a.months.checked_add(b.months), a.days.checked_add(b.days), a.nanoseconds.checked_add(b.nanoseconds));
    match parts {
        (Some(months), Some(days), Some(nanos)) => Ok(Interval::new(months, days, nanos)),
        _ => Err(temporal::out_of_range("interval")),
    }
}

/// Maps every pair of values without NULL.
fn each<L, R, O>(
    left: &ArrayRef,
    right: &ArrayRef,
    rows: usize,
    f: impl Fn(L::Native, R::Native) -> Result<O::Native>,
) -> Result<ArrayRef>
where
    L: ArrowPrimitiveType,
    R: ArrowPrimitiveType,
    O: ArrowPrimitiveType,
{
    // The right side is read beside the left one's pair, as the two have different types.
    let Some(lefts) = Pair::of::<L>(left, left, rows) else {
        return Ok(new_null_array(&O::DATA_TYPE, rows));
    };
    let Some(rights) = Pair::of::<R>(right, right, rows) else {
        return Ok(new_null_array(&O::DATA_TYPE, rows));
    };
    let nulls = arrow::buffer::NullBuffer::union(lefts.nulls.as_ref(), rights.nulls.as_ref());
    let values = (0..rows)
        .map(|row| match nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)) {
            true => f(lefts.left.at(row), rights.left.at(row)),
            false => Ok(O::Native::default()),
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(Arc::new(PrimitiveArray::<O>::new(ScalarBuffer::from(values), nulls)))
}
