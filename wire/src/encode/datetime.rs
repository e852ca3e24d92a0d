//! Dates and times in the ISO style.

use crate::format::TimeZone;

pub(crate) const DAY_MICROS: i64 = 86_400_000_000;

/// Days from 1970-01-01 to 2000-01-01, from which Postgres counts.
pub(crate) const POSTGRES_EPOCH_DAYS: i32 = 10_957;

/// The same distance in microseconds.
pub(crate) const POSTGRES_EPOCH_MICROS: i64 = POSTGRES_EPOCH_DAYS as i64 * DAY_MICROS;

/// Year (0 is 1 BC), month and day of a number of days since 1970-01-01, in the proleptic Gregorian calendar: the
/// days are counted from the March before, so that the leap day ends the year.
pub(crate) fn civil(days: i64) -> (i64, u32, u32) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * month_from_march + 2) / 5 + 1) as u32;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 } as u32;
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// Appends a date, days since 1970-01-01.
pub(super) fn write_date(days: i32, to: &mut Vec<u8>) {
    match days {
        i32::MAX => to.extend_from_slice(b"infinity"),
        i32::MIN => to.extend_from_slice(b"-infinity"),
        days => {
            let before_christ = write_civil(days.into(), to);
            write_era(before_christ, to);
        }
    }
}

/// Appends a time of day in microseconds.
pub(super) fn write_time(micros: i64, to: &mut Vec<u8>) {
    let seconds = micros.div_euclid(1_000_000);
    write_two(seconds / 3_600, to);
    to.push(b':');
    write_two(seconds / 60 % 60, to);
    to.push(b':');
    write_two(seconds % 60, to);
    write_fraction(micros.rem_euclid(1_000_000), to);
}

/// Appends a timestamp, microseconds since 1970-01-01; with the offset if there is a zone to show it in.
pub(super) fn write_timestamp(micros: i64, zone: Option<&TimeZone>, to: &mut Vec<u8>) {
    match micros {
        i64::MAX => return to.extend_from_slice(b"infinity"),
        i64::MIN => return to.extend_from_slice(b"-infinity"),
        _ => {}
    }
    let offset = zone.map(|zone| zone.offset_at(micros));
    let micros = micros.saturating_add(i64::from(offset.unwrap_or(0)) * 1_000_000);
    let before_christ = write_civil(micros.div_euclid(DAY_MICROS), to);
    to.push(b' ');
    write_time(micros.rem_euclid(DAY_MICROS), to);
    if let Some(offset) = offset {
        write_offset(offset, to);
    }
    write_era(before_christ, to);
}

/// Appends `yyyy-mm-dd` and tells whether the year is one before Christ.
fn write_civil(days: i64, to: &mut Vec<u8>) -> bool {
    let (year, month, day) = civil(days);
    let before_christ = year <= 0;
    let year = if before_christ { 1 - year } else { year };
    match year {
        0..=9999 => {
            write_two(year / 100, to);
            write_two(year % 100, to);
        }
        _ => to.extend_from_slice(year.to_string().as_bytes()),
    }
    to.push(b'-');
    write_two(month.into(), to);
    to.push(b'-');
    write_two(day.into(), to);
    before_christ
}

fn write_era(before_christ: bool, to: &mut Vec<u8>) {
    if before_christ {
        to.extend_from_slice(b" BC");
    }
}

/// Appends `+hh`, with minutes and seconds if there are any.
fn write_offset(seconds: i32, to: &mut Vec<u8>) {
    to.push(if seconds < 0 { b'-' } else { b'+' });
    let seconds = i64::from(seconds.abs());
    write_two(seconds / 3_600, to);
    if seconds % 3_600 != 0 {
        to.push(b':');
        write_two(seconds / 60 % 60, to);
    }
    if seconds % 60 != 0 {
        to.push(b':');
        write_two(seconds % 60, to);
    }
}

/// Appends two digits; more when the number has them.
pub(super) fn write_two(number: i64, to: &mut Vec<u8>) {
    match number {
        0..=99 => to.extend_from_slice(&[b'0' + (number / 10) as u8, b'0' + (number % 10) as u8]),
        _ => to.extend_from_slice(number.to_string().as_bytes()),
    }
}

/// Appends microseconds as a fraction without zeros at its end; nothing for none.
pub(super) fn write_fraction(micros: i64, to: &mut Vec<u8>) {
    if micros == 0 {
        return;
    }
    to.push(b'.');
    let mut rest = micros;
    let mut unit = 100_000;
    while rest > 0 && unit > 0 {
        to.push(b'0' + (rest / unit) as u8);
        rest %= unit;
        unit /= 10;
    }
}
