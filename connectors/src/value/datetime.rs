//! Dates and times from text, in ISO 8601 and Postgres's spelling of it.

use super::{Epoch, Fault, Kind, Texts, Token};
use arrow::array::ArrowPrimitiveType;
use arrow::compute::kernels::cast_utils::parse_interval_month_day_nano;
use arrow::datatypes::IntervalMonthDayNanoType;

pub(super) const SECOND: i64 = 1_000_000;
pub(super) const DAY: i64 = 86_400 * SECOND;

/// The bounds of timestamps: Postgres's first day, 4714-11-24 BC, and the end of the last year that microseconds since
/// 1970 can count in 64 bits, 294246 AD (Postgres counts from 2000 and goes thirty years further).
const FIRST_DAY: i64 = -2_440_588;
const LAST_DAY: i64 = 106_751_981;

/// A point in time as text tells it.
struct Moment {
    /// Days since 1970-01-01.
    day: i64,
    /// Microseconds since midnight; a leap second or 24:00:00 runs into the next day.
    micros: i64,
    /// Seconds east of Greenwich, if the text says so.
    zone: Option<i64>,
}

/// A timestamp in microseconds. A plain number counts from 1970 in units of `epoch`. A zone in the text counts only
/// for `zoned` types, as in Postgres.
#[inline]
pub(crate) fn timestamp_of(token: Token, texts: &Texts<'_>, zoned: bool, epoch: Epoch) -> Result<i64, Fault> {
    match token.kind() {
        Kind::Text => {
            let text = texts.of(token);
            match fixed_layout(text) {
                Some(micros) => Ok(micros),
                None => timestamp(text, zoned),
            }
        }
        Kind::Integer => from_epoch_integer(token.integer, epoch),
        Kind::Number => from_epoch_text(texts.of(token), epoch),
        _ => timestamp(texts.scalar(token)?, zoned),
    }
}

/// A timestamp with a time zone, in microseconds since 1970 UTC.
pub(crate) fn timestamptz(text: &[u8]) -> Result<i64, Fault> {
    timestamp(text, true)
}

fn timestamp(text: &[u8], zoned: bool) -> Result<i64, Fault> {
    let moment = Moment::parse(text)?;
    let zone = if zoned { moment.zone.unwrap_or(0) } else { 0 };
    if !(FIRST_DAY..=LAST_DAY).contains(&moment.day) {
        return Err(Fault::Range);
    }
    check_range(moment.day * DAY + moment.micros - zone * SECOND)
}

fn check_range(micros: i64) -> Result<i64, Fault> {
    (FIRST_DAY..=LAST_DAY).contains(&micros.div_euclid(DAY)).then_some(micros).ok_or(Fault::Range)
}

fn from_epoch_integer(count: i64, epoch: Epoch) -> Result<i64, Fault> {
    check_range(epoch.micros(count).ok_or(Fault::Range)?)
}

fn from_epoch_text(text: &[u8], epoch: Epoch) -> Result<i64, Fault> {
    let number: f64 = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(Fault::Syntax)?;
    let micros = match epoch {
        Epoch::Seconds => number * 1e6,
        Epoch::Milliseconds => number * 1e3,
        Epoch::Microseconds => number,
        Epoch::Nanoseconds => number / 1e3,
    };
    match micros.abs() < 9.2e18 {
        true => check_range(micros.round() as i64),
        false => Err(Fault::Range),
    }
}

/// A date, as days since 1970. A time after the date is checked and dropped.
pub(crate) fn date_of(token: Token, texts: &Texts<'_>) -> Result<i32, Fault> {
    let day = Moment::parse(texts.scalar(token)?)?.day;
    i32::try_from(day).map_err(|_| Fault::Range)
}

/// A time of day, in microseconds.
pub(crate) fn time_of(token: Token, texts: &Texts<'_>) -> Result<i64, Fault> {
    let text = texts.scalar(token)?.trim_ascii();
    let (micros, rest) = clock(text)?;
    match rest.is_empty() && micros <= DAY {
        true => Ok(micros),
        false => Err(Fault::Syntax),
    }
}

/// An interval such as `1 day 02:03:04`.
pub(crate) fn interval_of(
    token: Token,
    texts: &Texts<'_>,
) -> Result<<IntervalMonthDayNanoType as ArrowPrimitiveType>::Native, Fault> {
    let text = std::str::from_utf8(texts.scalar(token)?).map_err(|_| Fault::Syntax)?;
    parse_interval_month_day_nano(text).map_err(|_| Fault::Syntax)
}

/// Two digits at a place, as a number; something above 99 if they are none.
#[inline(always)]
fn two(text: &[u8], at: usize) -> u32 {
    let (tens, ones) = (text[at].wrapping_sub(b'0'), text[at + 1].wrapping_sub(b'0'));
    if tens > 9 || ones > 9 { 1000 } else { u32::from(tens) * 10 + u32::from(ones) }
}

/// `YYYY-MM-DD HH:MM:SS` with nothing, three or six digits after the second: what most writers write. Anything else,
/// right or wrong, is `None`.
#[inline]
fn fixed_layout(text: &[u8]) -> Option<i64> {
    let fraction = match text.len() {
        19 => 0,
        23 => three(text, 20)? * 1000,
        26 => three(text, 20)? * 1000 + three(text, 23)?,
        _ => return None,
    };
    let punctuated = text[4] == b'-'
        && text[7] == b'-'
        && (text[10] == b' ' || text[10] == b'T')
        && text[13] == b':'
        && text[16] == b':'
        && (text.len() == 19 || text[19] == b'.');
    let (century, year, month, day) = (two(text, 0), two(text, 2), two(text, 5), two(text, 8));
    let (hour, minute, second) = (two(text, 11), two(text, 14), two(text, 17));
    let plain = (1..=99).contains(&century)
        && year < 100
        && (1..=12).contains(&month)
        // Days that every month has; the others are for the general way to judge.
        && (1..=28).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if !punctuated || !plain {
        return None;
    }
    let days = days_from_civil(i64::from(century * 100 + year), month, day);
    Some(days * DAY + i64::from(hour * 3600 + minute * 60 + second) * SECOND + fraction)
}

#[inline(always)]
fn three(text: &[u8], at: usize) -> Option<i64> {
    let hundreds = text[at].wrapping_sub(b'0');
    let rest = two(text, at + 1);
    (hundreds <= 9 && rest <= 99).then(|| i64::from(hundreds) * 100 + i64::from(rest))
}

impl Moment {
    /// `YYYY-MM-DD`, then perhaps `T` or blanks and a time, then perhaps a zone, then perhaps `BC`.
    fn parse(text: &[u8]) -> Result<Moment, Fault> {
        let text = text.trim_ascii();
        let (text, before_christ) = match text {
            [head @ .., b'B' | b'b', b'C' | b'c'] => (head.trim_ascii_end(), true),
            text => (text, false),
        };
        let (year, rest) = digits(text, 4, 6).ok_or(Fault::Syntax)?;
        let (month, rest) = rest.strip_prefix(b"-").and_then(|rest| digits(rest, 1, 2)).ok_or(Fault::Syntax)?;
        let (day, rest) = rest.strip_prefix(b"-").and_then(|rest| digits(rest, 1, 2)).ok_or(Fault::Syntax)?;
        let year = if before_christ { 1 - year } else { year };
        let named_zero = year == 0 && !before_christ;
        if named_zero || !(1..=12).contains(&month) || day < 1 || day > days_of_month(year, month) {
            return Err(Fault::Range);
        }
        let day = days_from_civil(year, month as u32, day as u32);
        let (micros, zone) = match rest {
            [] => (0, None),
            [b'T' | b't' | b' ', rest @ ..] => {
                let (micros, rest) = clock(rest.trim_ascii_start())?;
                (micros, parse_zone(rest.trim_ascii_start())?)
            }
            _ => return Err(Fault::Syntax),
        };
        Ok(Moment { day, micros, zone })
    }
}

/// `HH:MM[:SS[.fraction]]` as microseconds, and what follows it.
fn clock(text: &[u8]) -> Result<(i64, &[u8]), Fault> {
    let (hour, rest) = digits(text, 1, 2).ok_or(Fault::Syntax)?;
    let (minute, rest) = rest.strip_prefix(b":").and_then(|rest| digits(rest, 2, 2)).ok_or(Fault::Syntax)?;
    let (second, rest) = match rest.strip_prefix(b":") {
        Some(rest) => digits(rest, 2, 2).ok_or(Fault::Syntax)?,
        None => (0, rest),
    };
    let (fraction, rest) = match rest.strip_prefix(b".") {
        Some(rest) => fraction(rest),
        None => (0, rest),
    };
    let micros = (hour * 3600 + minute * 60 + second) * SECOND + fraction;
    match hour <= 24 && minute < 60 && second <= 60 && (hour < 24 || micros == DAY) {
        true => Ok((micros, rest)),
        false => Err(Fault::Range),
    }
}

/// The digits after a decimal point, as microseconds, rounded.
fn fraction(text: &[u8]) -> (i64, &[u8]) {
    let count = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let digit = |at: usize| text[..count].get(at).map_or(0, |byte| i64::from(byte - b'0'));
    let micros = (0..6).fold(0, |sum, at| sum * 10 + digit(at));
    (micros + i64::from(digit(6) >= 5), &text[count..])
}

/// Nothing, `Z`, `UTC`, or `+HH[[:]MM]`: seconds east of Greenwich.
fn parse_zone(text: &[u8]) -> Result<Option<i64>, Fault> {
    let (sign, rest) = match text {
        [] => return Ok(None),
        [b'+', rest @ ..] => (1, rest),
        [b'-', rest @ ..] => (-1, rest),
        zone if [&b"z"[..], b"utc", b"gmt"].iter().any(|name| zone.eq_ignore_ascii_case(name)) => return Ok(Some(0)),
        _ => return Err(Fault::Syntax),
    };
    let (hours, rest) = rest.split_at_checked(2).ok_or(Fault::Syntax)?;
    let (hours, _) = digits(hours, 2, 2).ok_or(Fault::Syntax)?;
    let rest = rest.strip_prefix(b":").unwrap_or(rest);
    let (minutes, rest) = if rest.is_empty() { (0, rest) } else { digits(rest, 2, 2).ok_or(Fault::Syntax)? };
    match (rest.is_empty(), hours < 16 && minutes < 60) {
        (true, true) => Ok(Some(sign * (hours * 3600 + minutes * 60))),
        (true, false) => Err(Fault::Range),
        (false, _) => Err(Fault::Syntax),
    }
}

/// All leading digits as a number, if there are at least `least` and at most `most`.
fn digits(text: &[u8], least: usize, most: usize) -> Option<(i64, &[u8])> {
    let count = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let value = text[..count.min(most)].iter().fold(0, |sum, byte| sum * 10 + i64::from(byte - b'0'));
    (least..=most).contains(&count).then_some((value, &text[count..]))
}

fn days_of_month(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 of a date of the Gregorian calendar, extended to all years. Years are counted from March, so
/// that the leap day is the last one; eras have 400 years.
#[inline]
pub(super) fn days_from_civil(year: i64, month: u32, day: u32) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = i64::from((month + 9) % 12);
    let day_of_year = (153 * month_from_march + 2) / 5 + i64::from(day) - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fixed_layout_is_the_general_one_where_it_applies() {
        for text in
            ["2015-07-15 00:00:00.123", "2024-02-28T23:59:59", "0101-01-01 00:00:00.000001", "9999-12-28 01:02:03"]
        {
            assert_eq!(fixed_layout(text.as_bytes()), timestamp(text.as_bytes(), false).ok(), "{text}");
            assert!(fixed_layout(text.as_bytes()).is_some(), "{text}");
        }
        assert_eq!(fixed_layout(b"2015-07-15 00:00:00.123"), Some(1_436_918_400_123_000));
        for text in ["2015-7-15 00:00:00.12", "2015-02-29 00:00:00", "2015-07-15 24:00:00", "2015-07-15x00:00:00"] {
            assert_eq!(fixed_layout(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn timestamps_are_read_as_postgres_does() {
        let plain = |text: &str| timestamp(text.as_bytes(), false);
        let zoned = |text: &str| timestamp(text.as_bytes(), true);
        assert_eq!(plain("1970-01-02"), Ok(DAY));
        assert_eq!(plain("1970-01-01 00:00:01.2345678+05"), Ok(1_234_568));
        assert_eq!(zoned("1970-01-01T05:30:00+05:30"), Ok(0));
        assert_eq!(zoned("1970-01-01 00:00Z"), Ok(0));
        assert_eq!(zoned("1969-12-31 16:00:00-0800"), Ok(0));
        assert_eq!(plain("2016-12-31 23:59:60"), plain("2017-01-01 00:00:00"));
        assert_eq!(plain("2016-12-31 24:00:00"), plain("2017-01-01"));
        assert_eq!(plain("4714-11-24 00:00:00 BC").map(|micros| micros / DAY), Ok(FIRST_DAY));
        assert_eq!(plain("294246-12-31 23:59:59.999999").map(|micros| micros / DAY), Ok(LAST_DAY));
        assert_eq!(plain("2023-02-29"), Err(Fault::Range));
        assert_eq!(plain("294247-01-01"), Err(Fault::Range));
        for text in ["", "now", "2020", "2020-01", "2020-01-01 x", "2020-01-01 10", "2020-01-01 10:00 Mars"] {
            assert_eq!(plain(text), Err(Fault::Syntax), "{text}");
        }
    }

    #[test]
    fn epochs_that_are_mistaken_for_another_unit_are_refused_beyond_the_calendar() {
        assert_eq!(from_epoch_integer(1_700_000_000_000, Epoch::Milliseconds), Ok(1_700_000_000_000_000));
        assert_eq!(from_epoch_integer(1_700_000_000_000_000_000, Epoch::Milliseconds), Err(Fault::Range));
        assert_eq!(from_epoch_text(b"1700000000.25", Epoch::Seconds), Ok(1_700_000_000_250_000));
        assert_eq!(from_epoch_text(b"1e300", Epoch::Seconds), Err(Fault::Range));
    }
}
