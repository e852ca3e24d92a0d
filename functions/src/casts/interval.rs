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
    interval_of_fields(text, "")
}

/// The interval that a text says for `INTERVAL '...' DAY TO SECOND`: the fields, in lowercase, say what numbers without a
/// unit count.
pub fn interval_of_fields(text: &str, fields: &str) -> Result<IntervalMonthDayNano> {
    let lower = text.trim().to_ascii_lowercase();
    let invalid = || {
        SqlError::new(SqlState::INVALID_DATETIME_FORMAT, format!("invalid input syntax for type interval: \"{text}\""))
    };
    let sum = match lower.strip_prefix('p') {
        // What follows cuts at bytes.
        _ if !lower.is_ascii() => None,
        Some(iso) => iso_form(iso),
        None => verbose_form(&lower, fields),
    };
    finish(sum.ok_or_else(invalid)?).ok_or_else(|| {
        SqlError::new(SqlState::DATETIME_FIELD_OVERFLOW, format!("interval field value out of range: \"{text}\""))
    })
}

/// An interval without what is smaller than the last of the fields, and with so many digits of seconds.
pub fn limited(interval: IntervalMonthDayNano, fields: &str, digits: u32) -> IntervalMonthDayNano {
    const HOUR: i64 = 3_600_000_000_000;
    let IntervalMonthDayNano { months, days, nanoseconds } = interval;
    match last_field(fields) {
        Some("year") => IntervalMonthDayNano::new(months - months % 12, 0, 0),
        Some("month") => IntervalMonthDayNano::new(months, 0, 0),
        Some("day") => IntervalMonthDayNano::new(months, days, 0),
        Some("hour") => IntervalMonthDayNano::new(months, days, nanoseconds - nanoseconds % HOUR),
        Some("minute") => IntervalMonthDayNano::new(months, days, nanoseconds - nanoseconds % (HOUR / 60)),
        _ => {
            let unit = 10_i64.pow(9 - digits.min(6));
            let rounded = nanoseconds.saturating_add(unit / 2 * nanoseconds.signum());
            IntervalMonthDayNano::new(months, days, rounded - rounded % unit)
        }
    }
}

fn last_field(fields: &str) -> Option<&str> {
    fields.rsplit(' ').next().filter(|field| !field.is_empty())
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

fn verbose_form(text: &str, fields: &str) -> Option<Sum> {
    let last = last_field(fields).unwrap_or("second");
    let mut sum = Sum::default();
    let text = close_signs(text);
    let mut words = split_units(&text).into_iter().peekable();
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
            sum.micros += clock(word, fields == "minute to second")?;
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
            None => match words.peek() {
                // Before a clock, or hours, there are days.
                Some(next) if next.contains(':') => sum.add(amount, "days")?,
                Some(next) if last == "hour" && next.parse::<f64>().is_ok() => sum.add(amount, "days")?,
                Some(next) if *next != "ago" => return None,
                _ => sum.add(amount, last)?,
            },
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

/// The text with its signs before what they belong to.
fn close_signs(text: &str) -> String {
    let mut closed = String::with_capacity(text.len());
    for word in text.split_ascii_whitespace() {
        closed.push_str(word);
        if !matches!(word, "-" | "+") {
            closed.push(' ');
        }
    }
    closed
}

/// Microseconds of `-12:34:56.789` or `12:34`, which may be minutes and seconds.
fn clock(word: &str, is_minute_to_second: bool) -> Option<f64> {
    let (sign, digits) = match word.as_bytes()[0] {
        b'-' => (-1.0, &word[1..]),
        b'+' => (1.0, &word[1..]),
        _ => (1.0, word),
    };
    let mut fields = digits.split(':');
    let hours: f64 = fields.next()?.parse().ok()?;
    let minutes: f64 = fields.next()?.parse().ok()?;
    let third = fields.next();
    if third.is_none() && (is_minute_to_second || minutes.fract() != 0.0) {
        return (minutes < 60.0).then(|| sign * (hours * 60e6 + (minutes * 1e6).round()));
    }
    let seconds: f64 = third.map_or(Some(0.0), |s| s.parse().ok())?;
    let fits = fields.next().is_none() && minutes < 60.0 && seconds < 60.0;
    fits.then(|| sign * (hours * 3600e6 + minutes * 60e6 + (seconds * 1e6).round()))
}

/// What follows the `P` where it is written as a date and a time: `0001-02-03T04:05:06`.
fn iso_alternative(text: &str) -> Option<Sum> {
    let (date, time) =
        text.split_once('t').map_or((text, None), |(date, time)| (date, Some(time).filter(|time| !time.is_empty())));
    let mut sum = Sum { micros: time.map_or(Some(0.0), |time| clock(time, false))?, ..Sum::default() };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_say_what_numbers_count() {
        const SECOND: i64 = 1_000_000_000;
        for (text, fields, days, seconds) in [
            ("1 2", "day to hour", 1, 7200),
            ("1 2:03", "minute to second", 1, 123),
            ("1 2:03:04", "minute to second", 1, 7384),
            ("- 1 day", "", -1, 0),
            ("12:34.5", "", 0, 754),
        ] {
            let IntervalMonthDayNano { days: d, nanoseconds, .. } = interval_of_fields(text, fields).unwrap();
            assert_eq!((d, nanoseconds / SECOND), (days, seconds), "{text} {fields}");
        }
        for (text, fields) in [("1 2", "day to minute"), ("1 2", ""), ("123 11", "day")] {
            assert!(interval_of_fields(text, fields).is_err(), "{text} {fields}");
        }
        let long = interval("14 months 3 days 01:02:03.456789").unwrap();
        assert_eq!(limited(long, "year", 6), IntervalMonthDayNano::new(12, 0, 0));
        assert_eq!(limited(long, "day to hour", 6), IntervalMonthDayNano::new(14, 3, 3600 * SECOND));
        assert_eq!(limited(long, "", 2).nanoseconds, 3_723_460_000_000);
    }
}
