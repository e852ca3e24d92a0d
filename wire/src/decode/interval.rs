//! Intervals from text: `1 year 2 days 03:04:05.6`, ISO 8601's `P1Y2DT3H`, with units in words or letters.

use super::{INTERVAL_FIELD_OVERFLOW, invalid_syntax};
use arrow::datatypes::IntervalMonthDayNano;
use millrace_types::{Result, SqlError, SqlType};

const SECOND: i128 = 1_000_000;
const DAY: i128 = 86_400 * SECOND;

/// A decimal number in millionths: exact for all that an interval keeps of a fraction.
type Micros = i128;

#[derive(Clone, Copy)]
enum Unit {
    Microseconds(i128),
    Days(i128),
    Months(i128),
}

fn unit(word: &str) -> Option<Unit> {
    Some(match word {
        "us" | "usec" | "usecs" | "microsecond" | "microseconds" => Unit::Microseconds(1),
        "ms" | "msec" | "msecs" | "millisecond" | "milliseconds" => Unit::Microseconds(1_000),
        "s" | "sec" | "secs" | "second" | "seconds" => Unit::Microseconds(SECOND),
        "m" | "min" | "mins" | "minute" | "minutes" => Unit::Microseconds(60 * SECOND),
        "h" | "hr" | "hrs" | "hour" | "hours" => Unit::Microseconds(3_600 * SECOND),
        "d" | "day" | "days" => Unit::Days(1),
        "w" | "week" | "weeks" => Unit::Days(7),
        "mon" | "mons" | "month" | "months" => Unit::Months(1),
        "y" | "yr" | "yrs" | "year" | "years" => Unit::Months(12),
        "dec" | "decs" | "decade" | "decades" => Unit::Months(120),
        "c" | "cent" | "century" | "centuries" => Unit::Months(1_200),
        "mil" | "mils" | "millennium" | "millennia" => Unit::Months(12_000),
        _ => return None,
    })
}

#[derive(Default)]
struct Sum {
    months: i128,
    days: i128,
    micros: i128,
}

impl Sum {
    /// Adds a number of units; what is left of a month goes to days of thirty a month, what is left of a day to time.
    fn add(&mut self, amount: Micros, unit: Unit) {
        match unit {
            Unit::Microseconds(size) => self.micros += (amount * size + amount.signum() * SECOND / 2) / SECOND,
            Unit::Days(size) => {
                let amount = amount * size;
                self.days += amount / SECOND;
                self.micros += amount % SECOND * (DAY / SECOND);
            }
            // Months left of a year are whole ones.
            Unit::Months(size) if size > 1 => self.months += amount * size / SECOND,
            Unit::Months(_) => {
                self.months += amount / SECOND;
                self.add(amount % SECOND * 30, Unit::Days(1));
            }
        }
    }

    fn finish(self, sign: i128, text: &str) -> Result<IntervalMonthDayNano> {
        let range = || {
            let message = format!("interval field value out of range: \"{text}\"");
            SqlError::new(INTERVAL_FIELD_OVERFLOW, message)
        };
        Ok(IntervalMonthDayNano {
            months: i32::try_from(sign * self.months).map_err(|_| range())?,
            days: i32::try_from(sign * self.days).map_err(|_| range())?,
            nanoseconds: i64::try_from(sign * self.micros * 1_000).map_err(|_| range())?,
        })
    }
}

pub(super) fn parse(text: &str) -> Result<IntervalMonthDayNano> {
    let lower = text.trim().to_ascii_lowercase();
    let parsed = match lower.strip_prefix('p') {
        Some(iso) => parse_iso(iso).map(|sum| (sum, 1)),
        None => parse_words(&lower),
    };
    let (sum, sign) = parsed.ok_or_else(|| invalid_syntax(&SqlType::Interval, text))?;
    sum.finish(sign, text)
}

/// `1y2m3dt4h5m6s` after its `p`.
fn parse_iso(text: &str) -> Option<Sum> {
    let mut sum = Sum::default();
    let mut rest = text;
    let (mut in_time, mut any) = (false, false);
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('t').filter(|_| !in_time) {
            (rest, in_time) = (after, true);
            continue;
        }
        let end = rest.find(|c: char| c.is_ascii_alphabetic())?;
        let amount = decimal(&rest[..end])?;
        let unit = match (&rest[end..=end], in_time) {
            ("m", false) => Unit::Months(1),
            ("y", false) | ("w", false) | ("d", false) | ("h", true) | ("m", true) | ("s", true) => {
                unit(&rest[end..=end])?
            }
            _ => return None,
        };
        sum.add(amount, unit);
        (rest, any) = (&rest[end + 1..], true);
    }
    any.then_some(sum)
}

/// Numbers with units, clocks, and `ago` at the end.
fn parse_words(text: &str) -> Option<(Sum, i128)> {
    let mut sum = Sum::default();
    let (mut sign, mut any) = (1, false);
    let mut words = text.split_ascii_whitespace().skip_while(|word| *word == "@").peekable();
    while let Some(word) = words.next() {
        if word == "ago" && any && words.peek().is_none() {
            sign = -1;
        } else if word.contains(':') {
            sum.micros += clock(word)?;
        } else if let Some(months) = years_and_months(word) {
            sum.months += months;
        } else {
            let end = word.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(word.len());
            let amount = decimal(&word[..end])?;
            let name = match &word[end..] {
                "" => words.next_if(|next| unit(next).is_some()),
                attached => Some(attached),
            };
            match name {
                Some(name) => sum.add(amount, unit(name)?),
                // "1 04:05" is a day and a clock; a number alone counts seconds.
                None if words.peek().is_some_and(|next| next.contains(':')) => sum.add(amount, Unit::Days(1)),
                None => sum.add(amount, Unit::Microseconds(SECOND)),
            }
        }
        any = true;
    }
    any.then_some((sum, sign))
}

/// `[-]hh:mm[:ss[.f]]`, in microseconds.
fn clock(word: &str) -> Option<i128> {
    let (sign, digits) = signed(word);
    let parts: Vec<&str> = digits.split(':').collect();
    let whole = |part: &str| (!part.contains('.') && !part.starts_with(['+', '-'])).then(|| decimal(part)).flatten();
    let micros = match parts[..] {
        [hours, minutes] => whole(hours)? * 3_600 + whole(minutes).filter(|m| *m < 60 * SECOND)? * 60,
        [hours, minutes, seconds] if !seconds.starts_with(['+', '-']) => {
            whole(hours)? * 3_600
                + whole(minutes).filter(|m| *m < 60 * SECOND)? * 60
                + decimal(seconds).filter(|s| *s <= 60 * SECOND)?
        }
        _ => return None,
    };
    Some(sign * micros)
}

/// `[-]years-months`, in months.
fn years_and_months(word: &str) -> Option<i128> {
    let (sign, digits) = signed(word);
    let (years, months) = digits.split_once('-')?;
    let number = |part: &str| part.parse::<u32>().ok().map(i128::from);
    Some(sign * (number(years)? * 12 + number(months).filter(|months| *months < 12)?))
}

fn signed(word: &str) -> (i128, &str) {
    match word.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, word.strip_prefix('+').unwrap_or(word)),
    }
}

/// A decimal number in millionths.
fn decimal(text: &str) -> Option<Micros> {
    let (sign, digits) = signed(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.len() + fraction.len() == 0 || whole.len() > 18 || !digits.bytes().all(|b| b.is_ascii_digit() || b == b'.')
    {
        return None;
    }
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let digit = |place: usize| i128::from(fraction.as_bytes().get(place).map_or(0, |b| b.saturating_sub(b'0')));
    let millionths = (0..6).fold(0, |sum, place| sum * 10 + digit(place)) + i128::from(digit(6) >= 5);
    Some(sign * (whole * SECOND + millionths))
}
