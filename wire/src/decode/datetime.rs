//! Dates and times from text: the ISO forms, and those with names of months, in any order that is not ambiguous;
//! all-numeric dates are read as month, day, year.

use super::calendar::{days_from_civil, days_in_month, is_weekday, month_of};
use super::{INVALID_TIME_ZONE_DISPLACEMENT, invalid_syntax};
use crate::encode::DAY_MICROS;
use crate::format::TimeZone;
use millrace_types::{Result, SqlError, SqlState, SqlType};

/// Days since 1970-01-01 of the first day that Postgres has (4714-11-24 BC) and of the first that it has not.
const FIRST_DAY: i64 = -2_440_588;
const END_OF_DATES: i64 = 2_145_042_906;

/// Days since 1970-01-01.
pub(super) fn parse_date(text: &str) -> Result<i32> {
    match Parsed::read(text, &SqlType::Date)? {
        Parsed::Infinity => Ok(i32::MAX),
        Parsed::MinusInfinity => Ok(i32::MIN),
        Parsed::Moment(moment) => {
            let days = moment.days.ok_or_else(|| invalid_syntax(&SqlType::Date, text))?;
            match i32::try_from(days) {
                Ok(days) if (FIRST_DAY..END_OF_DATES).contains(&i64::from(days)) => Ok(days),
                _ => Err(overflow(format!("date out of range: \"{text}\""))),
            }
        }
    }
}

/// Microseconds since midnight.
pub(super) fn parse_time(text: &str) -> Result<i64> {
    match Parsed::read(text, &SqlType::Time)? {
        Parsed::Moment(Moment { time: Some(time), .. }) => Ok(time),
        _ => Err(invalid_syntax(&SqlType::Time, text)),
    }
}

/// Microseconds since 1970-01-01; an offset in the text is ignored, as in Postgres.
pub(super) fn parse_timestamp(text: &str) -> Result<i64> {
    parse_instant(text, &SqlType::Timestamp, |_, _| 0)
}

/// Microseconds since 1970-01-01 UTC; text without an offset is meant in `zone`.
pub(super) fn parse_timestamptz(text: &str, zone: &TimeZone) -> Result<i64> {
    parse_instant(text, &SqlType::Timestamptz, |local, own| own.unwrap_or(*zone).offset_of_local(local))
}

fn parse_instant(text: &str, sql_type: &SqlType, offset: impl Fn(i64, Option<TimeZone>) -> i32) -> Result<i64> {
    let moment = match Parsed::read(text, sql_type)? {
        Parsed::Infinity => return Ok(i64::MAX),
        Parsed::MinusInfinity => return Ok(i64::MIN),
        Parsed::Moment(moment) => moment,
    };
    let out_of_range = || overflow(format!("timestamp out of range: \"{text}\""));
    let days = moment.days.ok_or_else(|| invalid_syntax(sql_type, text))?;
    if days < FIRST_DAY {
        return Err(out_of_range());
    }
    let local = days.checked_mul(DAY_MICROS).and_then(|micros| micros.checked_add(moment.time.unwrap_or(0)));
    let local = local.ok_or_else(out_of_range)?;
    let instant = local.checked_sub(i64::from(offset(local, moment.zone)) * 1_000_000);
    instant.filter(|micros| *micros != i64::MAX).ok_or_else(out_of_range)
}

fn overflow(message: String) -> SqlError {
    SqlError::new(SqlState::DATETIME_FIELD_OVERFLOW, message)
}

/// What a text says.
enum Parsed {
    Infinity,
    MinusInfinity,
    Moment(Moment),
}

#[derive(Default)]
struct Moment {
    days: Option<i64>,
    time: Option<i64>,
    zone: Option<TimeZone>,
}

/// Why a text was not understood, without the text.
enum Flaw {
    Syntax,
    Range,
    /// An offset from UTC that is too large.
    Displacement,
    /// A zone of this name is not known.
    Zone(String),
}

/// The fields found so far.
#[derive(Default)]
struct Fields {
    year: Option<i64>,
    month: Option<i64>,
    day: Option<i64>,
    before_christ: bool,
    /// Whether the year was written with two digits.
    short_year: bool,
    /// Whether `12` is meant on a clock of twelve hours, and which half of the day.
    half: Option<Half>,
    epoch: bool,
    moment: Moment,
}

#[derive(Clone, Copy, PartialEq)]
enum Half {
    Morning,
    Afternoon,
}

impl Parsed {
    fn read(text: &str, sql_type: &SqlType) -> Result<Parsed> {
        match text.trim().to_ascii_lowercase().as_str() {
            "infinity" | "+infinity" => return Ok(Parsed::Infinity),
            "-infinity" => return Ok(Parsed::MinusInfinity),
            _ => {}
        }
        Fields::read(text).map(Parsed::Moment).map_err(|flaw| match flaw {
            Flaw::Syntax => invalid_syntax(sql_type, text),
            Flaw::Range => overflow(format!("date/time field value out of range: \"{text}\"")),
            Flaw::Displacement => {
                let message = format!("time zone displacement out of range: \"{text}\"");
                SqlError::new(INVALID_TIME_ZONE_DISPLACEMENT, message)
            }
            Flaw::Zone(name) => {
                let message = format!("time zone \"{name}\" not recognized");
                SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message)
            }
        })
    }
}

impl Fields {
    fn read(text: &str) -> Result<Moment, Flaw> {
        let mut fields = Fields::default();
        for word in text.split(|c: char| c.is_ascii_whitespace() || c == ',').filter(|word| !word.is_empty()) {
            // ISO 8601 joins date and time by a T.
            let bytes = word.as_bytes();
            let joint = (1..bytes.len().saturating_sub(1)).find(|&at| {
                matches!(bytes[at], b'T' | b't') && bytes[at - 1].is_ascii_digit() && bytes[at + 1].is_ascii_digit()
            });
            match joint {
                Some(at) => {
                    fields.word(&word[..at])?;
                    fields.word(&word[at + 1..])?;
                }
                None => fields.word(word)?,
            }
        }
        fields.finish()
    }

    fn word(&mut self, word: &str) -> Result<(), Flaw> {
        let first = word.chars().next().ok_or(Flaw::Syntax)?;
        let all_digits = word.bytes().all(|b| b.is_ascii_digit());
        if word.contains(':') && first.is_ascii_digit() {
            return self.clock(word);
        }
        match first {
            _ if all_digits => self.number(word),
            '+' | '-' if self.moment.time.is_some() => self.zone(word),
            '0'..='9' => self.date(word),
            _ => self.name(word),
        }
    }

    /// `hh:mm[:ss[.f]]`, with a zone right behind it or not.
    fn clock(&mut self, word: &str) -> Result<(), Flaw> {
        let end = word.find(|c: char| !matches!(c, '0'..='9' | ':' | '.')).unwrap_or(word.len());
        let (clock, zone) = word.split_at(end);
        let mut parts = clock.split(':');
        let hours = parts.next().and_then(integer).ok_or(Flaw::Syntax)?;
        let minutes = parts.next().and_then(integer).ok_or(Flaw::Syntax)?;
        let seconds = parts.next().map_or(Some(0), fixed_point).ok_or(Flaw::Syntax)?;
        if parts.next().is_some() || self.moment.time.is_some() {
            return Err(Flaw::Syntax);
        }
        self.set_time(hours, minutes, seconds)?;
        match zone {
            "" => Ok(()),
            zone => self.zone(zone),
        }
    }

    fn set_time(&mut self, hours: i64, minutes: i64, micros: i64) -> Result<(), Flaw> {
        let time = hours * 3_600_000_000 + minutes * 60_000_000 + micros;
        if hours > 24 || minutes > 59 || micros > 60_000_000 || time > DAY_MICROS {
            return Err(Flaw::Range);
        }
        self.moment.time = Some(time);
        Ok(())
    }

    fn zone(&mut self, word: &str) -> Result<(), Flaw> {
        match word.to_ascii_lowercase().as_str() {
            "am" => self.half = Some(Half::Morning),
            "pm" => self.half = Some(Half::Afternoon),
            lower => {
                let zone = match lower.starts_with(['+', '-', 'z']).then(|| offset(lower)).flatten() {
                    Some(seconds) => TimeZone::Fixed(seconds),
                    None if lower.starts_with(['+', '-']) => return Err(Flaw::Displacement),
                    None if lower.contains('/') => TimeZone::parse(word).map_err(|_| Flaw::Zone(lower.to_owned()))?,
                    None => TimeZone::parse(word).map_err(|_| Flaw::Syntax)?,
                };
                if self.moment.zone.replace(zone).is_some() {
                    return Err(Flaw::Syntax);
                }
            }
        }
        Ok(())
    }

    /// Digits alone: a whole date, a whole time after it, or a day or year beside the name of a month.
    fn number(&mut self, word: &str) -> Result<(), Flaw> {
        let number = integer(word).ok_or(Flaw::Range)?;
        let has_date = self.year.is_some() && self.month.is_some() && self.day.is_some();
        match word.len() {
            8 if self.year.is_none() && self.month.is_none() => {
                (self.year, self.month, self.day) =
                    (Some(number / 10_000), Some(number / 100 % 100), Some(number % 100));
            }
            6 if has_date && self.moment.time.is_none() => {
                self.set_time(number / 10_000, number / 100 % 100, number % 100 * 1_000_000)?;
            }
            1 | 2 if self.day.is_none() => self.day = Some(number),
            _ if self.year.is_none() => (self.year, self.short_year) = (Some(number), word.len() <= 2),
            _ => return Err(Flaw::Syntax),
        }
        Ok(())
    }

    /// Three fields, joined by one kind of separator.
    fn date(&mut self, word: &str) -> Result<(), Flaw> {
        let separator = word.chars().find(|c| matches!(c, '-' | '/' | '.')).ok_or(Flaw::Syntax)?;
        let parts: Vec<&str> = word.split(separator).collect();
        let &[a, b, c] = &parts[..] else { return Err(Flaw::Syntax) };
        if self.day.is_some() || self.year.is_some() {
            return Err(Flaw::Syntax);
        }
        let number = |part: &str| integer(part).ok_or(Flaw::Syntax);
        let (year, month, day) = match (month_of(a), month_of(b)) {
            (None, Some(month)) if a.len() > 2 => (a, month, number(c)?),
            (None, Some(month)) => (c, month, number(a)?),
            (Some(month), _) => (c, month, number(b)?),
            _ if a.len() > 2 => (a, number(b)?, number(c)?),
            _ => (c, number(a)?, number(b)?),
        };
        self.short_year = year.len() <= 2;
        (self.year, self.month, self.day) = (Some(number(year)?), Some(month), Some(day));
        Ok(())
    }

    fn name(&mut self, word: &str) -> Result<(), Flaw> {
        let lower = word.to_ascii_lowercase();
        match lower.as_str() {
            "bc" => self.before_christ = true,
            "ad" => {}
            "epoch" => self.epoch = true,
            "t" => {}
            _ if is_weekday(&lower) => {}
            _ => match month_of(word) {
                Some(month) if self.month.is_none() => self.month = Some(month),
                // "Jan-08-1999"
                _ if word.contains(['-', '/']) && month_of(word.split(['-', '/']).next().unwrap_or("")).is_some() => {
                    return self.date(word);
                }
                _ => return self.zone(word),
            },
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Moment, Flaw> {
        if let (Some(half), Some(time)) = (self.half, self.moment.time.as_mut()) {
            let hour = *time / 3_600_000_000;
            match (half, hour) {
                (_, 13..) => return Err(Flaw::Range),
                (Half::Morning, 12) => *time -= DAY_MICROS / 2,
                (Half::Afternoon, 0..=11) => *time += DAY_MICROS / 2,
                _ => {}
            }
        }
        if self.epoch {
            self.moment.zone = Some(TimeZone::UTC);
            self.moment.days = Some(0);
            return Ok(self.moment);
        }
        self.moment.days = match (self.year, self.month, self.day) {
            (Some(year), Some(month), Some(day)) => {
                let year = match (self.before_christ, year) {
                    (_, 0) if !self.short_year => return Err(Flaw::Range),
                    (true, year) => 1 - year,
                    // A year of two digits is one from 1970 to 2069.
                    (false, 70..) if self.short_year => year + 1900,
                    (false, _) if self.short_year => year + 2000,
                    (false, year) => year,
                };
                if !(1..=12).contains(&month) || day < 1 || day > days_in_month(year, month) {
                    return Err(Flaw::Range);
                }
                Some(days_from_civil(year, month, day))
            }
            (None, None, None) => None,
            _ => return Err(Flaw::Syntax),
        };
        match self.moment.days.is_some() || self.moment.time.is_some() {
            true => Ok(self.moment),
            false => Err(Flaw::Syntax),
        }
    }
}

/// Digits as a number small enough to compute with.
fn integer(text: &str) -> Option<i64> {
    let digits = !text.is_empty() && text.len() <= 9 && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// Seconds with a fraction, in microseconds, rounded.
fn fixed_point(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let digit = |place: usize| i64::from(fraction.as_bytes().get(place).map_or(0, |b| b - b'0'));
    let micros = (0..6).fold(0, |micros, place| micros * 10 + digit(place)) + i64::from(digit(6) >= 5);
    Some(integer(whole)? * 1_000_000 + micros)
}

/// `z`, `±h`, `±hh`, `±hhmm` or `±hh:mm[:ss]`, as seconds east.
fn offset(text: &str) -> Option<i32> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'z' if text.len() == 1 => return Some(0),
        b'+' => (1, &text[1..]),
        b'-' => (-1, &text[1..]),
        _ => return None,
    };
    let parts: Vec<i64> = match digits.contains(':') {
        true => digits.split(':').map(integer).collect::<Option<_>>()?,
        false if digits.len() <= 2 => vec![integer(digits)?],
        false => vec![integer(digits)? / 100, integer(digits)? % 100],
    };
    let [hours, minutes, seconds] = match parts[..] {
        [hours] => [hours, 0, 0],
        [hours, minutes] => [hours, minutes, 0],
        [hours, minutes, seconds] => [hours, minutes, seconds],
        _ => return None,
    };
    let in_range = hours <= 15 && minutes <= 59 && seconds <= 59;
    in_range.then_some(sign * (hours * 3600 + minutes * 60 + seconds) as i32)
}
