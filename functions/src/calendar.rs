//! Functions that make dates and times from numbers, and that ask something of them.

use crate::function::{Call, Overload, immutable};
use crate::temporal::{self, DAY};
use arrow::array::{Array, ArrayRef, BooleanBuilder};
use arrow::datatypes::{
    DataType, Date32Type, Float64Type, Int32Type, IntervalMonthDayNano, IntervalMonthDayNanoType,
    Time64MicrosecondType, TimestampMicrosecondType,
};
use datafusion::logical_expr::ScalarUDF;
use millrace_types::{Result, SqlType};
use std::sync::Arc;

const TEXT: SqlType = SqlType::Text;
const DATE: SqlType = SqlType::Date;
const TIME: SqlType = SqlType::Time;
const TIMESTAMP: SqlType = SqlType::Timestamp;
const TIMESTAMPTZ: SqlType = SqlType::Timestamptz;
const INTERVAL: SqlType = SqlType::Interval;
const INT: SqlType = SqlType::Int4;
const FLOAT: SqlType = SqlType::Float8;

/// The functions of this family.
pub fn functions() -> Vec<ScalarUDF> {
    vec![
        immutable(
            "make_timestamptz",
            &[],
            vec![
                Overload::new(&[INT, INT, INT, INT, INT, FLOAT], TIMESTAMPTZ, |call| {
                    call.values::<TimestampMicrosecondType>(|row| {
                        temporal::moment_of(&call.zone, made(call, row)?).map(Some)
                    })
                }),
                Overload::new(&[INT, INT, INT, INT, INT, FLOAT, TEXT], TIMESTAMPTZ, |call| {
                    call.values::<TimestampMicrosecondType>(|row| {
                        let zone = temporal::posix_zone(call.text(6).value(row))?;
                        temporal::moment_of(&zone, made(call, row)?).map(Some)
                    })
                }),
            ],
        ),
        immutable("make_interval", &[], intervals()),
        immutable(
            "isfinite",
            &[],
            vec![
                Overload::new(&[DATE], SqlType::Bool, |call| {
                    finite(call, |row| !matches!(call.value::<Date32Type>(0, row), i32::MIN | i32::MAX))
                }),
                Overload::new(&[TIMESTAMP], SqlType::Bool, |call| {
                    finite(call, |row| !matches!(call.value::<TimestampMicrosecondType>(0, row), i64::MIN | i64::MAX))
                }),
                Overload::new(&[TIMESTAMPTZ], SqlType::Bool, |call| {
                    finite(call, |row| !matches!(call.value::<TimestampMicrosecondType>(0, row), i64::MIN | i64::MAX))
                }),
                Overload::new(&[INTERVAL], SqlType::Bool, |call| finite(call, |_| true)),
            ],
        ),
        immutable("overlaps", &[], overlaps()),
        immutable("rounded_time", &[], roundings()),
    ]
}

fn finite(call: &Call, f: impl Fn(usize) -> bool) -> Result<ArrayRef> {
    call.booleans(|row| Ok(Some(f(row))))
}

/// The civil time of the first six arguments.
fn made(call: &Call, row: usize) -> Result<i64> {
    let at = |i| call.value::<Int32Type>(i, row);
    let date = crate::datetime::made_date(at(0), at(1), at(2))?;
    let time = crate::datetime::made_time(at(3), at(4), call.value::<Float64Type>(5, row))?;
    Ok(i64::from(temporal::days_of(date)) * DAY + time)
}

/// `make_interval(years, months, weeks, days, hours, mins, secs)`; the syntax has given it all of them.
fn intervals() -> Vec<Overload> {
    vec![Overload::new(&[INT, INT, INT, INT, INT, INT, FLOAT], INTERVAL, made_interval)]
}

fn made_interval(call: &Call) -> Result<ArrayRef> {
    call.values::<IntervalMonthDayNanoType>(|row| {
        let at = |i| i64::from(call.value::<Int32Type>(i, row));
        let seconds = call.value::<Float64Type>(6, row);
        let months = i32::try_from(at(0) * 12 + at(1)).ok();
        let days = i32::try_from(at(2) * 7 + at(3)).ok();
        // Hours and minutes are 32 bits: their microseconds fit. A float that does not is cut to what fits.
        let micros = ((at(4) * 3600 + at(5) * 60) * 1_000_000).checked_add((seconds * 1e6).round() as i64);
        match (months, days, micros.and_then(|micros| micros.checked_mul(1000))) {
            (Some(months), Some(days), Some(nanos)) if seconds.is_finite() => {
                Ok(Some(IntervalMonthDayNano::new(months, days, nanos)))
            }
            _ => Err(temporal::out_of_range("interval")),
        }
    })
}

/// `overlaps(a, b, c, d)`: whether the spans from a to b and from c to d share a moment; b and d may say how long.
fn overlaps() -> Vec<Overload> {
    vec![
        Overload::new(&[TIMESTAMP, TIMESTAMP, TIMESTAMP, TIMESTAMP], SqlType::Bool, spans),
        Overload::new(&[TIMESTAMP, INTERVAL, TIMESTAMP, INTERVAL], SqlType::Bool, spans),
        Overload::new(&[TIMESTAMP, TIMESTAMP, TIMESTAMP, INTERVAL], SqlType::Bool, spans),
        Overload::new(&[TIMESTAMP, INTERVAL, TIMESTAMP, TIMESTAMP], SqlType::Bool, spans),
        Overload::new(&[TIMESTAMPTZ, TIMESTAMPTZ, TIMESTAMPTZ, TIMESTAMPTZ], SqlType::Bool, spans),
        Overload::new(&[TIMESTAMPTZ, INTERVAL, TIMESTAMPTZ, INTERVAL], SqlType::Bool, spans),
        Overload::new(&[TIMESTAMPTZ, TIMESTAMPTZ, TIMESTAMPTZ, INTERVAL], SqlType::Bool, spans),
        Overload::new(&[TIMESTAMPTZ, INTERVAL, TIMESTAMPTZ, TIMESTAMPTZ], SqlType::Bool, spans),
        Overload::new(&[TIME, TIME, TIME, TIME], SqlType::Bool, |call| {
            each_span(call, |at, row| Ok(call.value::<Time64MicrosecondType>(at, row)))
        }),
    ]
}

/// `rounded_time(time, digits)`: what a cast to `timestamp(digits)` does after the one to `timestamp`.
fn roundings() -> Vec<Overload> {
    fn rounded(micros: i64, digits: i32) -> i64 {
        let unit = 10i64.pow(6 - digits.clamp(0, 6) as u32);
        match micros {
            i64::MIN | i64::MAX => micros,
            _ => (micros + unit / 2).div_euclid(unit) * unit,
        }
    }
    let moments = |sql_type: &'static [SqlType], result| {
        Overload::new(sql_type, result, |call| {
            call.values::<TimestampMicrosecondType>(|row| {
                let value = call.value::<TimestampMicrosecondType>(0, row);
                Ok(Some(rounded(value, call.value::<Int32Type>(1, row))))
            })
        })
    };
    vec![
        moments(&[TIMESTAMP, INT], TIMESTAMP),
        moments(&[TIMESTAMPTZ, INT], TIMESTAMPTZ),
        Overload::new(&[TIME, INT], TIME, |call| {
            call.values::<Time64MicrosecondType>(|row| {
                let value = call.value::<Time64MicrosecondType>(0, row);
                Ok(Some(rounded(value, call.value::<Int32Type>(1, row))))
            })
        }),
    ]
}

fn spans(call: &Call) -> Result<ArrayRef> {
    each_span(call, |at, row| match matches!(call.arrays[at].data_type(), DataType::Interval(_)) {
        true => {
            let start = call.value::<TimestampMicrosecondType>(at - 1, row);
            temporal::add_interval(start, call.value::<IntervalMonthDayNanoType>(at, row))
        }
        false => Ok(call.value::<TimestampMicrosecondType>(at, row)),
    })
}

fn each_span(call: &Call, value: impl Fn(usize, usize) -> Result<i64>) -> Result<ArrayRef> {
    let mut builder = BooleanBuilder::with_capacity(call.rows);
    for row in 0..call.rows {
        let read = |at: usize| match call.arrays[at].is_null(row) {
            true => Ok(None),
            false => value(at, row).map(Some),
        };
        builder.append_option(share(&[read(0)?, read(1)?], &[read(2)?, read(3)?]));
    }
    Ok(Arc::new(builder.finish()))
}

/// Whether two spans, each given by its ends in either order, share a moment: an end is no part of its span. With one
/// end unknown the answer may still be known.
fn share(left: &[Option<i64>; 2], right: &[Option<i64>; 2]) -> Option<bool> {
    let ordered = |span: &[Option<i64>; 2]| match *span {
        [None, None] => None,
        [Some(start), None] | [None, Some(start)] => Some((start, None)),
        [Some(a), Some(b)] => Some((a.min(b), Some(a.max(b)))),
    };
    let (left, right) = (ordered(left)?, ordered(right)?);
    let (first, second) = if left.0 <= right.0 { (left, right) } else { (right, left) };
    match first {
        (start, _) if start == second.0 => match (first.1, second.1) {
            (Some(_), Some(_)) => Some(true),
            _ => None,
        },
        (_, None) => None,
        (_, Some(end)) if second.0 < end => Some(true),
        // Without its end nobody knows whether the second one is where the first one ended.
        _ => second.1.map(|_| false),
    }
}
