//! Text to intervals: `1 day 02:03:04`, `3 months ago`, `P1Y2M3DT4H`, `1-2`, a bare number of seconds.

use arrow::datatypes::IntervalMonthDayNano;
use millrace_types::{Result, SqlError, SqlState};

/// What has been read so far; fractions flow down from months to days to time.
#[derive(Default)]
struct Sum {
    months: f64,
    days: f64,
    micros: f64,
}

/// The interval that a text says.
pub fn interval(text: &str) -> Result<IntervalMonthDayNano> {
    let lower = text.trim().to_ascii_lowercase();
    let invalid = || {
        SqlError::new(SqlState::INVALID_DATETIME_FORMAT, format!("invalid input syntax for type interval: \"{text}\""))
    };
    let sum = match lower.strip_prefix('p') {
        // What follows cuts at bytes.
        _ if !lower.is_ascii() => None,
        Some(iso) => iso_form(iso),
        None => verbose_form(&lower),
    };
    finish(sum.ok_or_else(invalid)?).ok_or_else(|| {
        SqlError::new(SqlState::DATETIME_FIELD_OVERFLOW, format!("interval field value out of range: \"{text}\""))
    })
}

fn finish(sum: Sum) -> Option<IntervalMonthDayNano> {
    let rest = |value: f64| (value.fract() * 1e6).round() / 1e6;
    let days = sum.days + (rest(sum.months) * 30.0 * 1e6).round() / 1e6;
    let micros = (sum.micros + rest(days) * 86_400e6).round();
    let fits = sum.months.abs() < 2_147_483_648.0 && days.abs() < 2_147_483_648.0 && micros.abs() < 9.2e15;
    fits.then(|| IntervalMonthDayNano::new(sum.months.trunc() as i32, days.trunc() as i32, micros as i64 * 1000))
}

impl Sum {
    /// Adds an amount of a unit; `None` for a unit that does not exist.
    fn add(&mut self, amount: f64, unit: &str) -> Option<()> {
        match unit {
            "microsecond" | "microseconds" | "us" | "usec" | "usecs" => self.micros += amount,
            "millisecond" | "milliseconds" | "ms" | "msec" | "msecs" => self.micros += amount * 1e3,
            "second" | "seconds" | "s" | "sec" | "secs" => self.micros += amount * 1e6,
            "minute" | "minutes" | "m" | "min" | "mins" => self.micros += amount * 60e6,
            "hour" | "hours" | "h" | "hr" | "hrs" => self.micros += amount * 3600e6,
            "day" | "days" | "d" => self.days += amount,
            "week" | "weeks" | "w" => self.days += amount * 7.0,
            "month" | "months" | "mon" | "mons" => self.months += amount,
            "quarter" | "quarters" => self.months += amount * 3.0,
            // A fraction of a year is a whole number of months.
            "year" | "years" | "y" | "yr" | "yrs" => self.months += (amount * 12.0).round(),
            "decade" | "decades" | "dec" | "decs" => self.months += (amount * 120.0).round(),
            "century" | "centuries" | "cent" | "c" => self.months += (amount * 1200.0).round(),
            "millennium" | "millennia" | "mil" | "mils" => self.months += (amount * 12_000.0).round(),
            _ => return None,
        }
        Some(())
    }
}

fn verbose_form(text: &str) -> Option<Sum> {
    let mut sum = Sum::default();
    let mut words = split_units(text).into_iter().peekable();
    words.peek()?;
    let mut ago = false;
    while let Some(word) = words.next() {
        if word == "@" {
            continue;
        }
        if word == "ago" {
            ago = true;
            continue;
        }
        if word.contains(':') {
            sum.micros += clock(word)?;
            continue;
        }
        let year_month = word[1..].find('-').map(|at| word.split_at(at + 1));
        if let Some((years, months)) = year_month {
            let sign = if years.starts_with('-') { -1.0 } else { 1.0 };
            sum.months += years.parse::<f64>().ok()? * 12.0 + sign * months[1..].parse::<f64>().ok()?;
            continue;
        }
        let amount: f64 = word.parse().ok()?;
        match words.next_if(|unit| unit.starts_with(|c: char| c.is_ascii_alphabetic()) && *unit != "ago") {
            Some(unit) => sum.add(amount, unit)?,
            // A number before a clock counts days, a last one seconds.
            None if words.peek().is_some_and(|next| next.contains(':')) => sum.add(amount, "days")?,
            None => sum.add(amount, "seconds")?,
        }
    }
    if ago {
        sum = Sum { months: -sum.months, days: -sum.days, micros: -sum.micros };
    }
    Some(sum)
}

/// Words, with `10min` taken as two.
fn split_units(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    for word in text.split_ascii_whitespace() {
        let unit = word.find(|c: char| c.is_ascii_alphabetic());
        match unit {
            Some(at) if at > 0 => words.extend([&word[..at], &word[at..]]),
            _ => words.push(word),
        }
    }
    words
}

/// Microseconds of `-12:34:56.789` or `12:34`.
fn clock(word: &str) -> Option<f64> {
    let (sign, digits) = match word.as_bytes()[0] {
        b'-' => (-1.0, &word[1..]),
        b'+' => (1.0, &word[1..]),
        _ => (1.0, word),
    };
    let mut fields = digits.split(':');
    let hours: f64 = fields.next()?.parse().ok()?;
    let minutes: f64 = fields.next()?.parse().ok()?;
    let seconds: f64 = fields.next().map_or(Some(0.0), |s| s.parse().ok())?;
    let fits = fields.next().is_none() && minutes < 60.0 && seconds < 60.0;
    fits.then(|| sign * (hours * 3600e6 + minutes * 60e6 + (seconds * 1e6).round()))
}

/// What follows the `P` where it is written as a date and a time: `0001-02-03T04:05:06`.
fn iso_alternative(text: &str) -> Option<Sum> {
    let (date, time) =
        text.split_once('t').map_or((text, None), |(date, time)| (date, Some(time).filter(|time| !time.is_empty())));
    let mut sum = Sum { micros: time.map_or(Some(0.0), clock)?, ..Sum::default() };
    let mut fields = date.split('-').map(|field| field.parse::<u32>().ok().map(f64::from));
    let (years, months, days) = (fields.next()??, fields.next()??, fields.next()??);
    sum.months = years * 12.0 + months;
    sum.days = days;
    fields.next().is_none().then_some(sum)
}

/// What follows the `P`.
fn iso_form(text: &str) -> Option<Sum> {
    if text.split('-').count() == 3
        && let Some(sum) = iso_alternative(text)
    {
        return Some(sum);
    }
    let mut sum = Sum::default();
    let mut in_time = false;
    let mut rest = text;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        if let Some(time) = rest.strip_prefix('t') {
            in_time = true;
            rest = time;
            continue;
        }
        let end = rest.find(|c: char| c.is_ascii_alphabetic())?;
        let amount: f64 = rest[..end].parse().ok()?;
        let unit = match (&rest[end..=end], in_time) {
            ("y", false) => "years",
            ("m", false) => "months",
            ("w", false) => "weeks",
            ("d", false) => "days",
            ("h", true) => "hours",
            ("m", true) => "minutes",
            ("s", true) => "seconds",
            _ => return None,
        };
        sum.add(amount, unit)?;
        rest = &rest[end + 1..];
    }
    Some(sum)
}
