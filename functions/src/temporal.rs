//! Calendar arithmetic on Postgres's representations: days since 1970-01-01, microseconds since 1970-01-01 00:00.

use arrow::array::timezone::Tz;
use arrow::datatypes::IntervalMonthDayNano;
use chrono::{DateTime, Datelike, Months, NaiveDate, NaiveDateTime, Offset, TimeZone};
use millrace_types::{Result, SqlError, SqlState};

/// Microseconds in a day.
pub const DAY: i64 = 86_400_000_000;

/// `22008`: a moment that no timestamp holds.
pub fn out_of_range(what: &str) -> SqlError {
    SqlError::new(SqlState::DATETIME_FIELD_OVERFLOW, format!("{what} out of range"))
}

/// The civil time of microseconds since 1970.
pub fn civil(micros: i64) -> Result<NaiveDateTime> {
    DateTime::from_timestamp_micros(micros).map(|t| t.naive_utc()).ok_or_else(|| out_of_range("timestamp"))
}

/// The day of a count of days since 1970.
pub fn day(days: i32) -> Result<NaiveDate> {
    NaiveDate::from_epoch_days(days).ok_or_else(|| out_of_range("date"))
}

/// Days since 1970.
pub fn days_of(date: NaiveDate) -> i32 {
    date.to_epoch_days()
}

/// The time zone of this name: `UTC`, `+02:00`, `Europe/Berlin` in any case.
pub fn zone(name: &str) -> Result<Tz> {
    let canonical = match name {
        "Z" | "z" | "utc" | "gmt" | "GMT" => "UTC",
        other => other,
    };
    canonical
        .parse::<Tz>()
        .or_else(|_| by_any_case(name))
        .map_err(|_| SqlError::new(SqlState::INVALID_PARAMETER_VALUE, format!("time zone \"{name}\" not recognized")))
}

/// The time zone that a text in a call names: as in POSIX, a bare offset counts to the west.
pub fn posix_zone(name: &str) -> Result<Tz> {
    match (name.strip_prefix('+'), name.strip_prefix('-')) {
        (Some(offset), _) => zone(&format!("-{offset}")),
        (_, Some(offset)) => zone(&format!("+{offset}")),
        _ => zone(name),
    }
}

fn by_any_case(name: &str) -> Result<Tz, ()> {
    let found = chrono_tz::TZ_VARIANTS.iter().find(|zone| zone.name().eq_ignore_ascii_case(name));
    found.and_then(|zone| zone.name().parse().ok()).ok_or(())
}

/// Seconds east of UTC in a zone at a moment.
pub fn offset_at(zone: &Tz, micros: i64) -> Result<i32> {
    Ok(zone.offset_from_utc_datetime(&civil(micros)?).fix().local_minus_utc())
}

/// The local civil time, as microseconds since 1970, of a moment.
pub fn local_of(zone: &Tz, micros: i64) -> Result<i64> {
    Ok(micros + i64::from(offset_at(zone, micros)?) * 1_000_000)
}

/// The moment of a local civil time. In a gap the offset before it counts, in an overlap the later offset (standard
/// time), as in Postgres.
pub fn moment_of(zone: &Tz, local: i64) -> Result<i64> {
    let civil_time = civil(local)?;
    let offset = match zone.offset_from_local_datetime(&civil_time) {
        chrono::LocalResult::Single(offset) => offset.fix().local_minus_utc(),
        chrono::LocalResult::Ambiguous(_, later) => later.fix().local_minus_utc(),
        chrono::LocalResult::None => offset_at(zone, local - DAY)?,
    };
    Ok(local - i64::from(offset) * 1_000_000)
}

/// A civil time plus months (keeping inside the month), then days, then time.
pub fn add_interval(micros: i64, interval: IntervalMonthDayNano) -> Result<i64> {
    if matches!(micros, i64::MIN | i64::MAX) {
        return Ok(micros);
    }
    let months = add_months(micros, interval.months)?;
    let days = i64::from(interval.days).checked_mul(DAY);
    let sum = days.and_then(|days| months.checked_add(days)).and_then(|t| t.checked_add(interval.nanoseconds / 1000));
    let sum = sum.ok_or_else(|| out_of_range("timestamp"))?;
    civil(sum)?;
    Ok(sum)
}

/// As [`add_interval`] for a moment: months and days are counted in a zone's civil time.
pub fn add_interval_in(zone: &Tz, micros: i64, interval: IntervalMonthDayNano) -> Result<i64> {
    if matches!(micros, i64::MIN | i64::MAX) {
        return Ok(micros);
    }
    let mut moment = micros;
    if interval.months != 0 || interval.days != 0 {
        let whole = IntervalMonthDayNano::new(interval.months, interval.days, 0);
        moment = moment_of(zone, add_interval(local_of(zone, micros)?, whole)?)?;
    }
    moment.checked_add(interval.nanoseconds / 1000).ok_or_else(|| out_of_range("timestamp"))
}

fn add_months(micros: i64, months: i32) -> Result<i64> {
    if months == 0 {
        return Ok(micros);
    }
    let date = civil(micros)?.date();
    let by = Months::new(months.unsigned_abs());
    let moved = if months > 0 { date.checked_add_months(by) } else { date.checked_sub_months(by) };
    let moved = moved.ok_or_else(|| out_of_range("timestamp"))?;
    Ok(i64::from(days_of(moved)) * DAY + micros.rem_euclid(DAY))
}

/// The opposite interval.
pub fn negated(interval: IntervalMonthDayNano) -> Result<IntervalMonthDayNano> {
    let parts = (interval.months.checked_neg(), interval.days.checked_neg(), interval.nanoseconds.checked_neg());
    match parts {
        (Some(months), Some(days), Some(nanos)) => Ok(IntervalMonthDayNano::new(months, days, nanos)),
        _ => Err(out_of_range("interval")),
    }
}

/// The interval between two moments: whole days and a time, never months.
pub fn between(later: i64, earlier: i64) -> Result<IntervalMonthDayNano> {
    if [later, earlier].iter().any(|time| matches!(*time, i64::MIN | i64::MAX)) {
        return Err(SqlError::new(SqlState::DATETIME_FIELD_OVERFLOW, "cannot subtract infinite timestamps"));
    }
    let micros = later.checked_sub(earlier).ok_or_else(|| out_of_range("interval"))?;
    Ok(IntervalMonthDayNano::new(0, (micros / DAY) as i32, micros % DAY * 1000))
}

/// Length of an interval in microseconds with months of 30 days, for ordering and `date_part('epoch', ...)`.
pub fn span(interval: IntervalMonthDayNano) -> i128 {
    let days = i128::from(interval.months) * 30 + i128::from(interval.days);
    days * i128::from(DAY) + i128::from(interval.nanoseconds / 1000)
}

/// An interval times a factor: fractions of months go to days of 1/30 month, fractions of days to time.
pub fn scaled(interval: IntervalMonthDayNano, factor: f64) -> Result<IntervalMonthDayNano> {
    let months = f64::from(interval.months) * factor;
    let days = f64::from(interval.days) * factor;
    parted(months, days, (interval.nanoseconds / 1000) as f64 * factor)
}

/// The interval of so many months, days and microseconds, whose fractions go to the next smaller unit.
fn parted(months: f64, days: f64, micros: f64) -> Result<IntervalMonthDayNano> {
    let month_days = round_micro(months.fract() * 30.0);
    let rest = round_micro((days.fract() + month_days.fract()) * 86_400.0);
    // What the fractions come to together may be a day.
    let carried = (rest / 86_400.0).trunc();
    let micros = micros + (rest - carried * 86_400.0) * 1_000_000.0;
    let whole_days = days.trunc() + month_days.trunc() + carried;
    let fits = months.abs() < 2_147_483_648.0 && whole_days.abs() < 2_147_483_648.0 && micros.abs() < 9.2e15;
    if !fits {
        return Err(out_of_range("interval"));
    }
    Ok(IntervalMonthDayNano::new(months.trunc() as i32, whole_days as i32, micros.round_ties_even() as i64 * 1000))
}

/// An interval divided by a number, as [`scaled`].
pub fn divided(interval: IntervalMonthDayNano, by: f64) -> Result<IntervalMonthDayNano> {
    let months = f64::from(interval.months) / by;
    let days = f64::from(interval.days) / by;
    parted(months, days, (interval.nanoseconds / 1000) as f64 / by)
}

fn round_micro(value: f64) -> f64 {
    (value * 1_000_000.0).round_ties_even() / 1_000_000.0
}

/// The difference of two civil times as years, months, days and time, as `age` counts it.
pub fn age(later: i64, earlier: i64) -> Result<IntervalMonthDayNano> {
    if later < earlier {
        return negated(age(earlier, later)?);
    }
    let (a, b) = (civil(later)?.date(), civil(earlier)?.date());
    let mut months = (a.year() - b.year()) * 12 + a.month() as i32 - b.month() as i32;
    let mut days = a.day() as i32 - b.day() as i32;
    let mut micros = later.rem_euclid(DAY) - earlier.rem_euclid(DAY);
    if micros < 0 {
        micros += DAY;
        days -= 1;
    }
    if days < 0 {
        days += i32::from(b.num_days_in_month());
        months -= 1;
    }
    Ok(IntervalMonthDayNano::new(months, days, micros * 1000))
}
