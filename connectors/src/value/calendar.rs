//! Dates and times as text.

use super::datetime::{DAY, SECOND};
use std::io::Write;

/// The year, month and day of a day since 1970-01-01: the inverse of [`days_from_civil`](super::datetime::days_from_civil).
fn civil_from_days(days: i64) -> (i64, u32, u32) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * month_from_march + 2) / 5 + 1) as u32;
    let month = ((month_from_march + 2) % 12 + 1) as u32;
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

/// Writes a date as `YYYY-MM-DD`.
pub(crate) fn write_date(out: &mut Vec<u8>, days: i64) {
    let (year, month, day) = civil_from_days(days);
    // Writing to a Vec cannot fail.
    let _ = match year > 0 {
        true => write!(out, "{year:04}-{month:02}-{day:02}"),
        false => write!(out, "{:04}-{month:02}-{day:02} BC", 1 - year),
    };
}

/// Writes a time of day as `HH:MM:SS`, with as many of three or six decimals as it needs.
pub(crate) fn write_time(out: &mut Vec<u8>, micros: i64) {
    let seconds = micros / SECOND;
    let _ = write!(out, "{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    let _ = match micros % SECOND {
        0 => Ok(()),
        fraction if fraction % 1000 == 0 => write!(out, ".{:03}", fraction / 1000),
        fraction => write!(out, ".{fraction:06}"),
    };
}

/// Writes a timestamp with `separator` between date and time. Years before Christ carry their mark at the end.
pub(crate) fn write_timestamp(out: &mut Vec<u8>, micros: i64, separator: u8, zone: &str) {
    let (day, time) = (micros.div_euclid(DAY), micros.rem_euclid(DAY));
    write_date(out, day);
    let mark = out.ends_with(b" BC");
    out.truncate(out.len() - if mark { 3 } else { 0 });
    out.push(separator);
    write_time(out, time);
    out.extend_from_slice(zone.as_bytes());
    out.extend_from_slice(if mark { b" BC" } else { b"" });
}

#[cfg(test)]
mod tests {
    use super::super::datetime::days_from_civil;
    use super::*;

    #[test]
    fn dates_go_there_and_back() {
        for day in (-2_440_588..106_751_981).step_by(9_973) {
            let (year, month, date) = civil_from_days(day);
            assert_eq!(days_from_civil(year, month, date), day);
        }
        let mut out = Vec::new();
        write_timestamp(&mut out, 1_436_918_400_120_000, b'T', "Z");
        assert_eq!(out, b"2015-07-15T00:00:00.120Z");
    }
}
