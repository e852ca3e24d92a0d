//! What a session's settings say about the text of values.

use chrono::{DateTime, NaiveDateTime, Offset, TimeZone as _};
use chrono_tz::{TZ_VARIANTS, Tz};
use millrace_types::{Result, SqlError, SqlState};

/// How values are written as text and read from it: the session parameters that matter to it. Dates are always
/// written in the ISO style, and intervals in the style `postgres`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TextFormat {
    /// The zone in which a `timestamptz` is shown, and in which one without an offset is read.
    pub time_zone: TimeZone,
    /// Above 0 floats are written shortest-exact; otherwise with 15 (`float4`: 6) significant digits plus this many.
    pub extra_float_digits: i32,
}

impl Default for TextFormat {
    fn default() -> TextFormat {
        TextFormat { time_zone: TimeZone::UTC, extra_float_digits: 1 }
    }
}

/// A time zone by name, or a fixed offset from UTC.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum TimeZone {
    /// A zone of the IANA database.
    Named(Tz),
    /// Seconds east of Greenwich.
    Fixed(i32),
}

/// The instants, in seconds, over which the IANA database is asked; beyond them its last rule goes on.
const RULED: std::ops::RangeInclusive<i64> = -62_000_000_000..=190_000_000_000;

impl TimeZone {
    /// Coordinated universal time.
    pub const UTC: TimeZone = TimeZone::Fixed(0);

    /// The zone that a value of the parameter `TimeZone` means: an IANA name in any case, or hours east of Greenwich
    /// (`2`, `-3.5`, `+05:30`).
    pub fn parse(name: &str) -> Result<TimeZone> {
        let trimmed = name.trim();
        if ["utc", "z", "zulu", "gmt", "etc/utc"].contains(&trimmed.to_ascii_lowercase().as_str()) {
            return Ok(TimeZone::UTC);
        }
        if let Some(zone) = TZ_VARIANTS.iter().find(|zone| zone.name().eq_ignore_ascii_case(trimmed)) {
            return Ok(TimeZone::Named(*zone));
        }
        parse_hours(trimmed).map(TimeZone::Fixed).ok_or_else(|| {
            let message = format!("invalid value for parameter \"TimeZone\": \"{name}\"");
            SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message)
        })
    }

    /// Seconds east of Greenwich at an instant, given in microseconds since 1970-01-01 UTC.
    pub fn offset_at(&self, instant: i64) -> i32 {
        match self {
            TimeZone::Fixed(seconds) => *seconds,
            TimeZone::Named(zone) => {
                let seconds = instant.div_euclid(1_000_000).clamp(*RULED.start(), *RULED.end());
                zone.offset_from_utc_datetime(&naive(seconds)).fix().local_minus_utc()
            }
        }
    }

    /// Seconds east of Greenwich that a clock on the wall means, which shows `local` microseconds since 1970-01-01
    /// 00:00. What it shows twice is the later instant (standard time); what it skips is read with the offset before.
    pub fn offset_of_local(&self, local: i64) -> i32 {
        match self {
            TimeZone::Fixed(seconds) => *seconds,
            TimeZone::Named(zone) => {
                let seconds = local.div_euclid(1_000_000).clamp(*RULED.start(), *RULED.end());
                match zone.offset_from_local_datetime(&naive(seconds)).latest() {
                    Some(offset) => offset.fix().local_minus_utc(),
                    None => self.offset_at((seconds - 86_400) * 1_000_000),
                }
            }
        }
    }
}

fn naive(seconds: i64) -> NaiveDateTime {
    DateTime::from_timestamp(seconds, 0).unwrap_or_default().naive_utc()
}

/// `[+-]h`, `[+-]h.f` or `[+-]hh:mm` as seconds; also `<+hh>-hh`, as such a zone is shown.
fn parse_hours(text: &str) -> Option<i32> {
    if let Some((shown, _)) = text.strip_prefix('<').and_then(|rest| rest.split_once('>')) {
        return parse_hours(shown);
    }
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => (-1, &text[1..]),
        b'+' => (1, &text[1..]),
        _ => (1, text),
    };
    let seconds = match digits.split_once(':') {
        Some((hours, minutes)) => {
            hours.parse::<u16>().ok()? as f64 * 3600.0 + minutes.parse::<u8>().ok()? as f64 * 60.0
        }
        None if digits.starts_with(|c: char| c.is_ascii_digit()) => digits.parse::<f64>().ok()? * 3600.0,
        None => return None,
    };
    (seconds < 168.0 * 3600.0).then_some(sign * seconds as i32)
}

impl std::fmt::Display for TimeZone {
    /// As `SHOW TimeZone` writes it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            TimeZone::UTC => f.write_str("UTC"),
            TimeZone::Named(zone) => f.write_str(zone.name()),
            TimeZone::Fixed(seconds) => {
                let (sign, opposite) = if seconds < 0 { ('-', '+') } else { ('+', '-') };
                let (hours, minutes) = (seconds.abs() / 3600, seconds.abs() / 60 % 60);
                match minutes {
                    0 => write!(f, "<{sign}{hours:02}>{opposite}{hours:02}"),
                    _ => write!(f, "<{sign}{hours:02}:{minutes:02}>{opposite}{hours:02}:{minutes:02}"),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_have_names_and_offsets() {
        assert_eq!(TimeZone::parse("europe/berlin").unwrap().to_string(), "Europe/Berlin");
        assert_eq!(TimeZone::parse("UTC").unwrap(), TimeZone::UTC);
        assert_eq!(TimeZone::parse("-3.5").unwrap(), TimeZone::Fixed(-12_600));
        assert_eq!(TimeZone::parse("+05:30").unwrap().to_string(), "<+05:30>-05:30");
        assert_eq!(TimeZone::parse("<+05:30>-05:30").unwrap(), TimeZone::parse("+05:30").unwrap());
        assert_eq!(TimeZone::parse("Mars/Crater").unwrap_err().state(), SqlState::INVALID_PARAMETER_VALUE);
    }

    #[test]
    fn a_clock_that_jumps() {
        let berlin = TimeZone::parse("Europe/Berlin").unwrap();
        let local = |text: &str| text.parse::<NaiveDateTime>().unwrap().and_utc().timestamp_micros();
        assert_eq!(berlin.offset_of_local(local("2024-07-01T12:00:00")), 7200);
        assert_eq!(berlin.offset_of_local(local("2024-03-31T02:30:00")), 3600, "skipped");
        assert_eq!(berlin.offset_of_local(local("2024-10-27T02:30:00")), 3600, "shown twice");
        assert_eq!(berlin.offset_at(i64::MAX - 1), berlin.offset_at(i64::MAX - 2));
    }
}
