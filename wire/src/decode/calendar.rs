//! Names of months and days, and the proleptic Gregorian calendar.

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

const WEEKDAYS: [&str; 7] = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];

/// The month, from 1, that a word names or abbreviates.
pub(super) fn month_of(word: &str) -> Option<i64> {
    is_abbreviation(&word.to_ascii_lowercase(), &MONTHS).map(|index| index as i64 + 1)
}

/// Whether a word in lower case names or abbreviates a day of the week.
pub(super) fn is_weekday(word: &str) -> bool {
    is_abbreviation(word, &WEEKDAYS).is_some()
}

/// Which of the names begins with these three letters or more.
fn is_abbreviation(word: &str, names: &[&str]) -> Option<usize> {
    (word.len() >= 3).then(|| names.iter().position(|name| name.starts_with(word))).flatten()
}

/// The days of a month; year 0 is 1 BC.
pub(super) fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// The inverse of [`crate::encode`]'s calendar: days since 1970-01-01.
pub(super) fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}
