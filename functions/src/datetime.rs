//! Functions over dates, times and intervals.

use crate::casts::limited_interval;
use crate::function::{Call, Overload, immutable};
use crate::operators::decimal::scale_of;
use crate::temporal::{self, DAY};
use arrow::array::ArrayRef;
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float64Type, Int32Type, IntervalMonthDayNano, IntervalMonthDayNanoType,
    Time64MicrosecondType, TimestampMicrosecondType,
};
use chrono::{Datelike, NaiveDate};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::ScalarUDF;
use millrace_types::{Result, SqlError, SqlState, SqlType};

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
            "interval_span",
            &[],
            vec![Overload::numeric(
                &[INTERVAL],
                |_, _| (38, 0),
                |call| {
                    call.values::<Decimal128Type>(|row| {
                        Ok(Some(temporal::span(call.value::<IntervalMonthDayNanoType>(0, row))))
                    })
                },
            )],
        ),
        immutable(
            "limited_interval",
            &[],
            vec![Overload::new(&[INTERVAL, TEXT, INT], INTERVAL, |call| {
                call.values::<IntervalMonthDayNanoType>(|row| {
                    let (interval, digits) =
                        (call.value::<IntervalMonthDayNanoType>(0, row), call.value::<Int32Type>(2, row));
                    Ok(Some(limited_interval(interval, call.text(1).value(row), digits.unsigned_abs())))
                })
            })],
        ),
        immutable("extract", &[], numeric_parts()),
        immutable("date_part", &[], float_parts()),
        immutable(
            "date_trunc",
            &[],
            vec![
                Overload::new(&[TEXT, TIMESTAMP], TIMESTAMP, |call| {
                    call.values::<TimestampMicrosecondType>(|row| {
                        truncated(call.text(0).value(row), call.value::<TimestampMicrosecondType>(1, row)).map(Some)
                    })
                }),
                Overload::new(&[TEXT, TIMESTAMPTZ], TIMESTAMPTZ, |call| {
                    call.values::<TimestampMicrosecondType>(|row| {
                        let local = temporal::local_of(&call.zone, call.value::<TimestampMicrosecondType>(1, row))?;
                        temporal::moment_of(&call.zone, truncated(call.text(0).value(row), local)?).map(Some)
                    })
                }),
                Overload::new(&[TEXT, TIMESTAMPTZ, TEXT], TIMESTAMPTZ, |call| {
                    call.values::<TimestampMicrosecondType>(|row| {
                        let zone = temporal::posix_zone(call.text(2).value(row))?;
                        let local = temporal::local_of(&zone, call.value::<TimestampMicrosecondType>(1, row))?;
                        temporal::moment_of(&zone, truncated(call.text(0).value(row), local)?).map(Some)
                    })
                }),
                Overload::new(&[TEXT, INTERVAL], INTERVAL, |call| {
                    call.values::<IntervalMonthDayNanoType>(|row| {
                        truncated_interval(call.text(0).value(row), call.value::<IntervalMonthDayNanoType>(1, row))
                            .map(Some)
                    })
                }),
            ],
        ),
        immutable(
            "date_bin",
            &[],
            vec![
                Overload::new(&[INTERVAL, TIMESTAMP, TIMESTAMP], TIMESTAMP, date_bin),
                Overload::new(&[INTERVAL, TIMESTAMPTZ, TIMESTAMPTZ], TIMESTAMPTZ, date_bin),
            ],
        ),
        immutable(
            "age",
            &[],
            vec![
                Overload::new(&[TIMESTAMP, TIMESTAMP], INTERVAL, |call| {
                    call.values::<IntervalMonthDayNanoType>(|row| {
                        let at = |i| call.value::<TimestampMicrosecondType>(i, row);
                        temporal::age(at(0), at(1)).map(Some)
                    })
                }),
                Overload::new(&[TIMESTAMPTZ, TIMESTAMPTZ], INTERVAL, |call| {
                    call.values::<IntervalMonthDayNanoType>(|row| {
                        let at = |i| temporal::local_of(&call.zone, call.value::<TimestampMicrosecondType>(i, row));
                        temporal::age(at(0)?, at(1)?).map(Some)
                    })
                }),
            ],
        ),
        immutable(
            "timezone",
            &[],
            vec![
                Overload::new(&[TEXT, TIMESTAMPTZ], TIMESTAMP, |call| {
                    call.values::<TimestampMicrosecondType>(|row| {
                        let zone = temporal::posix_zone(call.text(0).value(row))?;
                        temporal::local_of(&zone, call.value::<TimestampMicrosecondType>(1, row)).map(Some)
                    })
                }),
                Overload::new(&[INTERVAL, TIMESTAMPTZ], TIMESTAMP, |call| shifted(call, 1)),
                Overload::new(&[INTERVAL, TIMESTAMP], TIMESTAMPTZ, |call| shifted(call, -1)),
                Overload::new(&[TEXT, TIMESTAMP], TIMESTAMPTZ, |call| {
                    call.values::<TimestampMicrosecondType>(|row| {
                        let zone = temporal::posix_zone(call.text(0).value(row))?;
                        temporal::moment_of(&zone, call.value::<TimestampMicrosecondType>(1, row)).map(Some)
                    })
                }),
            ],
        ),
        immutable(
            "to_timestamp",
            &[],
            vec![
                Overload::new(&[TEXT, TEXT], TIMESTAMPTZ, crate::date_format::to_timestamp),
                Overload::new(&[FLOAT], TIMESTAMPTZ, |call| {
                    call.values::<TimestampMicrosecondType>(|row| {
                        let micros = (call.value::<Float64Type>(0, row) * 1e6).round_ties_even();
                        let fits = micros.is_finite() && micros.abs() < 9.2e18;
                        if fits { Ok(Some(micros as i64)) } else { Err(temporal::out_of_range("timestamp")) }
                    })
                }),
            ],
        ),
        immutable(
            "make_date",
            &[],
            vec![Overload::new(&[INT, INT, INT], DATE, |call| {
                call.values::<Date32Type>(|row| {
                    let at = |i| call.value::<Int32Type>(i, row);
                    made_date(at(0), at(1), at(2)).map(|date| Some(temporal::days_of(date)))
                })
            })],
        ),
        immutable(
            "make_timestamp",
            &[],
            vec![Overload::new(&[INT, INT, INT, INT, INT, FLOAT], TIMESTAMP, |call| {
                call.values::<TimestampMicrosecondType>(|row| {
                    let at = |i| call.value::<Int32Type>(i, row);
                    let date = made_date(at(0), at(1), at(2))?;
                    let time = made_time(at(3), at(4), call.value::<Float64Type>(5, row))?;
                    Ok(Some(i64::from(temporal::days_of(date)) * DAY + time))
                })
            })],
        ),
        immutable(
            "make_time",
            &[],
            vec![Overload::new(&[INT, INT, FLOAT], TIME, |call| {
                call.values::<Time64MicrosecondType>(|row| {
                    let at = |i| call.value::<Int32Type>(i, row);
                    made_time(at(0), at(1), call.value::<Float64Type>(2, row)).map(Some)
                })
            })],
        ),
        immutable(
            "justify_hours",
            &[],
            vec![Overload::new(&[INTERVAL], INTERVAL, |call| justified(call, true, false))],
        ),
        immutable("justify_days", &[], vec![Overload::new(&[INTERVAL], INTERVAL, |call| justified(call, false, true))]),
        immutable(
            "justify_interval",
            &[],
            vec![Overload::new(&[INTERVAL], INTERVAL, |call| justified(call, true, true))],
        ),
        immutable(
            "to_char",
            &[],
            crate::to_char::overloads().into_iter().chain(crate::number_format::overloads()).collect(),
        ),
    ]
}

/// The date of a year, month and day.
pub fn made_date(year: i32, month: i32, day: i32) -> Result<NaiveDate> {
    let astronomical = if year < 0 { year + 1 } else { year };
    let parts = (u32::try_from(month).unwrap_or(0), u32::try_from(day).unwrap_or(0));
    NaiveDate::from_ymd_opt(astronomical, parts.0, parts.1).filter(|_| year != 0).ok_or_else(|| {
        let message = format!("date field value out of range: {year}-{month:02}-{day:02}");
        SqlError::new(SqlState::DATETIME_FIELD_OVERFLOW, message)
    })
}

/// Microseconds of a time of day.
pub fn made_time(hours: i32, minutes: i32, seconds: f64) -> Result<i64> {
    let fits = (0..=24).contains(&hours) && (0..60).contains(&minutes) && (0.0..=60.0).contains(&seconds);
    let total = (i64::from(hours) * 3600 + i64::from(minutes) * 60) * 1_000_000 + (seconds * 1e6).round() as i64;
    if fits && total <= DAY {
        return Ok(total);
    }
    let message = format!("time field value out of range: {hours}:{minutes:02}:{seconds:02}");
    Err(SqlError::new(SqlState::DATETIME_FIELD_OVERFLOW, message))
}

/// A moment taken apart: its civil time, and what only some fields need.
struct Moment {
    /// Microseconds since 1970 in civil time.
    local: i64,
    /// Seconds east of UTC, for moments with a zone.
    offset: Option<i32>,
}

/// Digits after the point of a part: seconds have six, milliseconds three, the others none.
fn part_scale(types: &[DataType], constants: &[Option<&ScalarValue>]) -> (u8, i8) {
    let unit = constants.first().copied().flatten().and_then(|unit| unit.try_as_str().flatten());
    let unit = unit.map(|unit| unit.trim_matches('\'').to_ascii_lowercase());
    let whole = types.get(1) == Some(&DataType::Date32);
    let scale = match unit.as_deref() {
        Some("epoch" | "julian") if whole => 0,
        Some("millisecond" | "milliseconds" | "ms") => 3,
        Some("second" | "seconds" | "s" | "sec" | "secs" | "epoch" | "julian") | None => 6,
        Some(_) => 0,
    };
    (38, scale)
}

type Part = fn(&Call, usize) -> Result<i128>;

/// The parts of every type of argument as numerics.
fn numeric_parts() -> Vec<Overload> {
    let of = |takes, part: Part| {
        Overload::numeric(takes, part_scale, move |call| {
            let unused = 10i128.pow(6 - scale_of(call.result.data_type()).clamp(0, 6) as u32);
            call.values::<Decimal128Type>(|row| part(call, row).map(|micros| Some(micros / unused)))
        })
    };
    vec![
        of(&[TEXT, DATE], part_of_date),
        of(&[TEXT, TIMESTAMP], part_of_timestamp),
        of(&[TEXT, TIMESTAMPTZ], part_of_timestamptz),
        of(&[TEXT, TIME], part_of_time),
        of(&[TEXT, INTERVAL], part_of_interval),
    ]
}

fn float_parts() -> Vec<Overload> {
    let of = |takes, part: Part| {
        Overload::new(takes, FLOAT, move |call| {
            call.values::<Float64Type>(|row| part(call, row).map(|micros| Some(micros as f64 / 1e6)))
        })
    };
    vec![
        of(&[TEXT, DATE], part_of_date),
        of(&[TEXT, TIMESTAMP], part_of_timestamp),
        of(&[TEXT, TIMESTAMPTZ], part_of_timestamptz),
        of(&[TEXT, TIME], part_of_time),
        of(&[TEXT, INTERVAL], part_of_interval),
    ]
}

fn unit(call: &Call, row: usize) -> String {
    // `extract('year' FROM ...)` brings its quotes.
    call.text(0).value(row).trim_matches('\'').to_ascii_lowercase()
}

fn unknown_unit(unit: &str, type_name: &str, known: bool) -> SqlError {
    match known {
        true => SqlError::new(
            SqlState::FEATURE_NOT_SUPPORTED,
            format!("unit \"{unit}\" not supported for type {type_name}"),
        ),
        false => SqlError::new(
            SqlState::INVALID_PARAMETER_VALUE,
            format!("unit \"{unit}\" not recognized for type {type_name}"),
        ),
    }
}

fn part_of_date(call: &Call, row: usize) -> Result<i128> {
    let unit = unit(call, row);
    let days = call.value::<Date32Type>(1, row);
    let of_time = ["hour", "hours", "minute", "minutes", "second", "seconds", "milliseconds", "microseconds"];
    if of_time.contains(&unit.as_str()) {
        return Err(unknown_unit(&unit, "date", true));
    }
    // Only days that the calendar has fit into microseconds.
    temporal::day(days)?;
    let moment = Moment { local: i64::from(days) * DAY, offset: None };
    part(&unit, &moment, "date")
}

fn part_of_timestamp(call: &Call, row: usize) -> Result<i128> {
    let moment = Moment { local: call.value::<TimestampMicrosecondType>(1, row), offset: None };
    part(&unit(call, row), &moment, "timestamp without time zone")
}

fn part_of_timestamptz(call: &Call, row: usize) -> Result<i128> {
    let micros = call.value::<TimestampMicrosecondType>(1, row);
    let offset = temporal::offset_at(&call.zone, micros)?;
    let moment = Moment { local: micros + i64::from(offset) * 1_000_000, offset: Some(offset) };
    part(&unit(call, row), &moment, "timestamp with time zone")
}

/// A part of a moment in microunits.
fn part(unit: &str, moment: &Moment, type_name: &str) -> Result<i128> {
    let date = temporal::civil(moment.local)?.date();
    let (year, iso) = (date.year(), date.iso_week());
    // There is no year 0: 1 BC is -1.
    let of_era = |year: i32| if year > 0 { year } else { year - 1 };
    let grouped = |year: i32, size: i32| if year > 0 { (year + size - 1) / size } else { -((size - year) / size) };
    let whole = match unit {
        "year" | "years" | "y" | "yr" | "yrs" => of_era(year),
        "month" | "months" | "mon" | "mons" => date.month() as i32,
        "day" | "days" | "d" => date.day() as i32,
        "quarter" | "qtr" => date.month0() as i32 / 3 + 1,
        "week" | "weeks" | "w" => iso.week() as i32,
        "isoyear" => of_era(iso.year()),
        "dow" => date.weekday().num_days_from_sunday() as i32,
        "isodow" => date.weekday().number_from_monday() as i32,
        "doy" => date.ordinal() as i32,
        "decade" | "decades" => year.div_euclid(10),
        "century" | "centuries" => grouped(year, 100),
        "millennium" | "millennia" => grouped(year, 1000),
        "timezone" if moment.offset.is_some() => moment.offset.unwrap_or(0),
        "timezone_hour" if moment.offset.is_some() => moment.offset.unwrap_or(0) / 3600,
        "timezone_minute" if moment.offset.is_some() => moment.offset.unwrap_or(0) / 60 % 60,
        "epoch" => return Ok(i128::from(moment.local) - i128::from(moment.offset.unwrap_or(0)) * 1_000_000),
        "julian" => {
            let days = i128::from(moment.local.div_euclid(DAY)) + 2_440_588;
            return Ok(days * 1_000_000 + i128::from(moment.local.rem_euclid(DAY)) * 1_000_000 / i128::from(DAY));
        }
        _ => return clock_part(unit, moment.local.rem_euclid(DAY), type_name),
    };
    Ok(i128::from(whole) * 1_000_000)
}

/// A time moved by the offset of a zone that an interval gives.
fn shifted(call: &Call, sign: i64) -> Result<ArrayRef> {
    call.values::<TimestampMicrosecondType>(|row| {
        let offset = call.value::<IntervalMonthDayNanoType>(0, row);
        if offset.months != 0 || offset.days != 0 {
            let message = "interval time zone must not include months or days";
            return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message));
        }
        let time = call.value::<TimestampMicrosecondType>(1, row);
        time.checked_add(sign * offset.nanoseconds / 1000).map(Some).ok_or_else(|| temporal::out_of_range("timestamp"))
    })
}

/// A part of a time of day, or of the time of an interval, in microunits.
fn clock_part(unit: &str, micros: i64, type_name: &str) -> Result<i128> {
    let seconds = micros / 1_000_000;
    let whole = match unit {
        "hour" | "hours" | "h" | "hr" | "hrs" => seconds / 3600,
        "minute" | "minutes" | "m" | "min" | "mins" => seconds / 60 % 60,
        "second" | "seconds" | "s" | "sec" | "secs" => return Ok((micros % 60_000_000).into()),
        "millisecond" | "milliseconds" | "ms" => return Ok(i128::from(micros % 60_000_000) * 1000),
        "microsecond" | "microseconds" | "us" => return Ok(i128::from(micros % 60_000_000) * 1_000_000),
        "timezone" | "timezone_hour" | "timezone_minute" => return Err(unknown_unit(unit, type_name, true)),
        _ => return Err(unknown_unit(unit, type_name, OF_DATES.contains(&unit) && type_name != "date")),
    };
    Ok(i128::from(whole) * 1_000_000)
}

/// The parts that only dates have.
const OF_DATES: [&str; 14] = [
    "year",
    "month",
    "day",
    "quarter",
    "week",
    "isoyear",
    "dow",
    "isodow",
    "doy",
    "decade",
    "century",
    "millennium",
    "julian",
    "epoch",
];

fn part_of_time(call: &Call, row: usize) -> Result<i128> {
    let micros = call.value::<Time64MicrosecondType>(1, row);
    match unit(call, row).as_str() {
        "epoch" => Ok(micros.into()),
        unit => clock_part(unit, micros, "time without time zone"),
    }
}

fn part_of_interval(call: &Call, row: usize) -> Result<i128> {
    let interval = call.value::<IntervalMonthDayNanoType>(1, row);
    let (years, months) = (interval.months / 12, interval.months % 12);
    let whole = match unit(call, row).as_str() {
        "year" | "years" => years,
        "month" | "months" => months,
        "day" | "days" => interval.days,
        "quarter" => months / 3 + 1,
        "decade" | "decades" => years / 10,
        "century" | "centuries" => years / 100,
        "millennium" | "millennia" => years / 1000,
        "epoch" => {
            // A year counts 365.25 days here, a month 30.
            let year_micros = i128::from(years) * 31_557_600 * 1_000_000;
            let rest = i128::from(months) * 30 + i128::from(interval.days);
            return Ok(year_micros + rest * i128::from(DAY) + i128::from(interval.nanoseconds / 1000));
        }
        unit => return clock_part(unit, interval.nanoseconds / 1000, "interval"),
    };
    Ok(i128::from(whole) * 1_000_000)
}

/// The civil time at the start of its unit.
pub fn truncated(unit: &str, local: i64) -> Result<i64> {
    let date = temporal::civil(local)?.date();
    let first = |year: i32, month: u32| {
        NaiveDate::from_ymd_opt(year, month, 1).ok_or_else(|| temporal::out_of_range("timestamp"))
    };
    let start = match unit.to_ascii_lowercase().as_str() {
        "microsecond" | "microseconds" => return Ok(local),
        "millisecond" | "milliseconds" => return Ok(local - local.rem_euclid(1000)),
        "second" | "seconds" => return Ok(local - local.rem_euclid(1_000_000)),
        "minute" | "minutes" => return Ok(local - local.rem_euclid(60_000_000)),
        "hour" | "hours" => return Ok(local - local.rem_euclid(3_600_000_000)),
        "day" | "days" => return Ok(local - local.rem_euclid(DAY)),
        "week" | "weeks" => {
            let days = i64::from(temporal::days_of(date)) - i64::from(date.weekday().num_days_from_monday());
            return Ok(days * DAY);
        }
        "month" | "months" => first(date.year(), date.month())?,
        "quarter" => first(date.year(), date.month0() / 3 * 3 + 1)?,
        "year" | "years" => first(date.year(), 1)?,
        "decade" | "decades" => first(date.year().div_euclid(10) * 10, 1)?,
        "century" | "centuries" => first((date.year() - 1).div_euclid(100) * 100 + 1, 1)?,
        "millennium" | "millennia" => first((date.year() - 1).div_euclid(1000) * 1000 + 1, 1)?,
        other => return Err(unknown_unit(other, "timestamp without time zone", false)),
    };
    Ok(i64::from(temporal::days_of(start)) * DAY)
}

fn truncated_interval(unit: &str, interval: IntervalMonthDayNano) -> Result<IntervalMonthDayNano> {
    let micros = interval.nanoseconds / 1000;
    let cut = |size: i64| IntervalMonthDayNano::new(interval.months, interval.days, (micros - micros % size) * 1000);
    let months = |size: i32| IntervalMonthDayNano::new(interval.months - interval.months % size, 0, 0);
    Ok(match unit.to_ascii_lowercase().as_str() {
        "microsecond" | "microseconds" => interval,
        "millisecond" | "milliseconds" => cut(1000),
        "second" | "seconds" => cut(1_000_000),
        "minute" | "minutes" => cut(60_000_000),
        "hour" | "hours" => cut(3_600_000_000),
        "day" | "days" => IntervalMonthDayNano::new(interval.months, interval.days, 0),
        "month" | "months" => months(1),
        "quarter" => months(3),
        "year" | "years" => months(12),
        "decade" | "decades" => months(120),
        "century" | "centuries" => months(1200),
        "millennium" | "millennia" => months(12_000),
        other => return Err(unknown_unit(other, "interval", other == "week")),
    })
}

/// The start of the bin of a moment; bins are aligned to the origin.
fn date_bin(call: &Call) -> Result<ArrayRef> {
    call.values::<TimestampMicrosecondType>(|row| {
        let stride = call.value::<IntervalMonthDayNanoType>(0, row);
        let at = |i| call.value::<TimestampMicrosecondType>(i, row);
        if stride.months != 0 {
            return Err(SqlError::new(
                SqlState::FEATURE_NOT_SUPPORTED,
                "timestamps cannot be binned into intervals containing months or years",
            ));
        }
        let size = temporal::span(stride);
        if size <= 0 {
            let message = "stride must be greater than zero";
            return Err(SqlError::new(SqlState::DATETIME_FIELD_OVERFLOW, message));
        }
        let since = i128::from(at(1)) - i128::from(at(2));
        let start = i128::from(at(1)) - since.rem_euclid(size);
        i64::try_from(start).map(Some).map_err(|_| temporal::out_of_range("timestamp"))
    })
}

/// Hours of a day moved to days, days of a month of 30 to months.
fn justified(call: &Call, hours: bool, days: bool) -> Result<ArrayRef> {
    call.values::<IntervalMonthDayNanoType>(|row| {
        let interval = call.value::<IntervalMonthDayNanoType>(0, row);
        let (mut months, mut day, mut micros) =
            (i64::from(interval.months), i64::from(interval.days), interval.nanoseconds / 1000);
        if hours {
            day += micros / DAY;
            micros %= DAY;
        }
        if days {
            months += day / 30;
            day %= 30;
        }
        if days && (months > 0 && (day < 0 || (day == 0 && micros < 0))) {
            day += 30;
            months -= 1;
        } else if days && (months < 0 && (day > 0 || (day == 0 && micros > 0))) {
            day -= 30;
            months += 1;
        }
        if hours && day > 0 && micros < 0 {
            micros += DAY;
            day -= 1;
        } else if hours && day < 0 && micros > 0 {
            micros -= DAY;
            day += 1;
        }
        match (i32::try_from(months), i32::try_from(day)) {
            (Ok(months), Ok(day)) => Ok(Some(IntervalMonthDayNano::new(months, day, micros * 1000))),
            _ => Err(temporal::out_of_range("interval")),
        }
    })
}
