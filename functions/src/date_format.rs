//! `to_date` and `to_timestamp`: texts read by a template like `DD Mon YYYY`.

use crate::casts::MONTHS;
use crate::function::{Call, Overload, immutable};
use crate::temporal::{self, DAY};
use arrow::array::ArrayRef;
use arrow::datatypes::{Date32Type, TimestampMicrosecondType};
use chrono::NaiveDate;
use datafusion::logical_expr::ScalarUDF;
use millrace_types::{Result, SqlError, SqlState, SqlType};

const TEXT: SqlType = SqlType::Text;

/// `to_date`; `to_timestamp` has other forms, too.
pub fn functions() -> Vec<ScalarUDF> {
    vec![immutable("to_date", &[], vec![Overload::new(&[TEXT, TEXT], SqlType::Date, to_date)])]
}

fn to_date(call: &Call) -> Result<ArrayRef> {
    call.values::<Date32Type>(|row| {
        let (text, template) = (call.text(0).value(row), call.text(1).value(row));
        Ok(Some(temporal::days_of(Found::read(text, template)?.date(text)?)))
    })
}

/// `to_timestamp(text, template)`, in the session's zone unless the text says another.
pub fn to_timestamp(call: &Call) -> Result<ArrayRef> {
    call.values::<TimestampMicrosecondType>(|row| {
        let (text, template) = (call.text(0).value(row), call.text(1).value(row));
        let found = Found::read(text, template)?;
        let local = i64::from(temporal::days_of(found.date(text)?)) * DAY + found.time(text)?;
        match found.offset {
            Some(offset) => Ok(Some(local - offset * 1_000_000)),
            None => temporal::moment_of(&call.zone, local).map(Some),
        }
    })
}

/// The fields that a text holds.
#[derive(Default)]
struct Found {
    year: Option<i64>,
    month: Option<u32>,
    day: Option<u32>,
    day_of_year: Option<u32>,
    julian: Option<i32>,
    hour: i64,
    minute: i64,
    second: i64,
    micros: i64,
    second_of_day: Option<i64>,
    afternoon: Option<bool>,
    before_christ: bool,
    offset: Option<i64>,
}

/// Fields of a template, the longer before those that they begin with.
const FIELDS: &[&str] = &[
    "Y,YYY", "SSSSS", "MONTH", "YYYY", "IYYY", "HH24", "HH12", "SSSS", "A.M.", "P.M.", "A.D.", "B.C.", "YYY", "DDD",
    "DAY", "MON", "TZH", "TZM", "FF1", "FF2", "FF3", "FF4", "FF5", "FF6", "AM", "PM", "AD", "BC", "CC", "DD", "DY",
    "FM", "FX", "HH", "MI", "MM", "MS", "OF", "SS", "TH", "TM", "US", "YY", "D", "J", "Q", "W", "Y",
];

impl Found {
    fn read(text: &str, template: &str) -> Result<Found> {
        let (mut found, mut rest, mut pattern) = (Found::default(), text, template);
        while let Some(first) = pattern.chars().next() {
            let upper = pattern.to_ascii_uppercase();
            if let Some(quoted) = pattern.strip_prefix('"') {
                let end = quoted.find('"').unwrap_or(quoted.len());
                rest = skip(rest, quoted[..end].chars().count());
                pattern = quoted.get(end + 1..).unwrap_or("");
                continue;
            }
            match FIELDS.iter().find(|field| upper.starts_with(**field)) {
                Some(field) => {
                    pattern = &pattern[field.len()..];
                    let next = FIELDS.iter().any(|field| pattern.to_ascii_uppercase().starts_with(field));
                    rest = found.field(field, rest.trim_start(), next)?;
                }
                None => {
                    // A separator or blank of the template stands for any separators of the text.
                    rest = match first.is_alphanumeric() {
                        true => skip(rest, 1),
                        false => rest.trim_start_matches(|c: char| c.is_whitespace() || is_separator(c)),
                    };
                    pattern = &pattern[first.len_utf8()..];
                }
            }
        }
        Ok(found)
    }

    /// Reads a field at the start of a text; gives what follows it. `tight`: another field follows at once.
    fn field<'a>(&mut self, field: &str, text: &'a str, tight: bool) -> Result<&'a str> {
        if text.is_empty() {
            return Ok(text);
        }
        let digits = |most: usize| number(text, if tight { most } else { most.max(9) }, field);
        match field {
            "YYYY" | "IYYY" => {
                let (year, rest) = digits(4)?;
                self.year = Some(year);
                return Ok(rest);
            }
            "YYY" | "YY" | "Y" => {
                let (year, rest) = digits(field.len())?;
                let length = text.len() - rest.len();
                // Years of fewer digits are those nearest to 2020.
                self.year = Some(match (length, year) {
                    (..=2, ..70) => year + 2000,
                    (..=2, _) => year + 1900,
                    (3, ..520) => year + 2000,
                    (3, _) => year + 1000,
                    _ => year,
                });
                return Ok(rest);
            }
            "Y,YYY" => {
                let plain: String = text.chars().take_while(|c| c.is_ascii_digit() || *c == ',').collect();
                self.year = plain.replace(',', "").parse().ok();
                return Ok(&text[plain.len()..]);
            }
            "MONTH" | "MON" => {
                let word: String = text.chars().take_while(|c| c.is_alphabetic()).collect::<String>().to_lowercase();
                let full = MONTHS.iter().position(|month| word.starts_with(&month.to_lowercase()));
                let short = MONTHS.iter().position(|month| {
                    word.len() >= 3 && word.is_char_boundary(3) && month.to_lowercase().starts_with(&word[..3])
                });
                let (index, length) = match (full.filter(|_| field == "MONTH"), short) {
                    (Some(index), _) => (index, MONTHS[index].len()),
                    (None, Some(index)) => (index, 3),
                    (None, None) => return Err(invalid(text, field)),
                };
                self.month = Some(index as u32 + 1);
                return Ok(&text[length..]);
            }
            "DAY" | "DY" => return Ok(text.trim_start_matches(char::is_alphabetic)),
            "AM" | "PM" | "A.M." | "P.M." => {
                let lower = text.to_ascii_lowercase();
                self.afternoon = Some(lower.starts_with('p'));
                return Ok(&text[field.len().min(text.len())..]);
            }
            "AD" | "BC" | "A.D." | "B.C." => {
                self.before_christ = text.to_ascii_lowercase().starts_with('b');
                return Ok(&text[field.len().min(text.len())..]);
            }
            "FM" | "FX" | "TM" | "TH" => return Ok(if field == "TH" { skip(text, 2) } else { text }),
            "OF" | "TZH" | "TZM" => return self.zone(field, text),
            "MS" | "US" | "FF1" | "FF2" | "FF3" | "FF4" | "FF5" | "FF6" => {
                let places = match field {
                    "MS" => 3,
                    "US" => 6,
                    _ => usize::from(field.as_bytes()[2] - b'0'),
                };
                let (value, rest) = number(text, places.max(3), field)?;
                let length = (text.len() - rest.len()) as u32;
                self.micros = value * 10i64.pow(6u32.saturating_sub(length));
                return Ok(rest);
            }
            _ => {}
        }
        let most = match field {
            "DDD" => 3,
            "SSSS" | "SSSSS" => 5,
            "J" => 9,
            "D" | "Q" | "W" => 1,
            _ => 2,
        };
        let (value, rest) = number(text, most, field)?;
        match field {
            "MM" => self.month = Some(value as u32),
            "DD" => self.day = Some(value as u32),
            "DDD" => self.day_of_year = Some(value as u32),
            "J" => self.julian = Some(value as i32),
            "HH" | "HH12" if !(1..=12).contains(&value) => {
                let message = format!("hour \"{value}\" is invalid for the 12-hour clock");
                return Err(SqlError::new(SqlState::INVALID_DATETIME_FORMAT, message)
                    .with_hint("Use the 24-hour clock, or give an hour between 1 and 12."));
            }
            "HH" | "HH12" | "HH24" => self.hour = value,
            "MI" => self.minute = value,
            "SS" => self.second = value,
            "SSSS" | "SSSSS" => self.second_of_day = Some(value),
            _ => {}
        }
        Ok(rest)
    }

    fn zone<'a>(&mut self, field: &str, text: &'a str) -> Result<&'a str> {
        let (sign, digits) = match text.as_bytes().first() {
            Some(b'-') => (-1, &text[1..]),
            Some(b'+') => (1, &text[1..]),
            _ => (1, text),
        };
        let (value, mut rest) = number(digits, 2, field)?;
        let mut seconds = sign * value * if field == "TZM" { 60 } else { 3600 };
        if let Some(minutes) = rest.strip_prefix(':').filter(|_| field == "OF") {
            let (value, after) = number(minutes, 2, field)?;
            seconds += sign * value * 60;
            rest = after;
        }
        self.offset = Some(self.offset.unwrap_or(0) + seconds);
        Ok(rest)
    }

    fn date(&self, text: &str) -> Result<NaiveDate> {
        if let Some(julian) = self.julian {
            return temporal::day(julian.saturating_sub(2_440_588));
        }
        let year = self.year.map_or(1, |year| if self.before_christ { 1 - year } else { year });
        // Without a year it is that before 1 AD, as in Postgres.
        let year = if self.year.is_none() { 0 } else { year };
        let date = i32::try_from(year).ok().and_then(|year| match self.day_of_year {
            Some(day) => NaiveDate::from_yo_opt(year, day),
            None => NaiveDate::from_ymd_opt(year, self.month.unwrap_or(1), self.day.unwrap_or(1)),
        });
        date.ok_or_else(|| overflow(text))
    }

    fn time(&self, text: &str) -> Result<i64> {
        let hour = match self.afternoon {
            Some(afternoon) => self.hour % 12 + if afternoon { 12 } else { 0 },
            None => self.hour,
        };
        let fits = (0..24).contains(&hour) && (0..60).contains(&self.minute) && (0..60).contains(&self.second);
        if !fits {
            return Err(overflow(text));
        }
        let seconds = self.second_of_day.unwrap_or(hour * 3600 + self.minute * 60 + self.second);
        Ok(seconds * 1_000_000 + self.micros)
    }
}

fn is_separator(c: char) -> bool {
    c.is_ascii_punctuation()
}

fn skip(text: &str, count: usize) -> &str {
    text.char_indices().nth(count).map_or("", |(at, _)| &text[at..])
}

fn overflow(text: &str) -> SqlError {
    let message = format!("date/time field value out of range: \"{text}\"");
    SqlError::new(SqlState::DATETIME_FIELD_OVERFLOW, message)
}

fn invalid(text: &str, field: &str) -> SqlError {
    let shown: String = text.chars().take(field.len()).collect();
    let message = format!("invalid value \"{shown}\" for \"{field}\"");
    SqlError::new(SqlState::INVALID_DATETIME_FORMAT, message)
}

/// A number of at most so many digits at the start of a text, and what follows it.
fn number<'a>(text: &'a str, most: usize, field: &str) -> Result<(i64, &'a str)> {
    let length = text.bytes().take(most).take_while(u8::is_ascii_digit).count();
    let value = text[..length].parse().map_err(|_| invalid(text, field))?;
    Ok((value, &text[length..]))
}
