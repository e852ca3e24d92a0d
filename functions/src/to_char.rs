//! `to_char` of dates, times and intervals: the common patterns. A template is read once, and what it gave last is kept.

use crate::casts;
use crate::function::{Call, Overload};
use crate::temporal::{self, DAY};
use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{IntervalMonthDayNanoType, Time64MicrosecondType, TimestampMicrosecondType};
use chrono::{Datelike, NaiveDate};
use millrace_types::{Result, SqlType};
use std::cell::RefCell;
use std::fmt::Write;
use std::rc::Rc;

/// `to_char` over timestamps and intervals.
pub fn overloads() -> Vec<Overload> {
    vec![
        Overload::new(&[SqlType::Timestamp, SqlType::Text], SqlType::Text, |call| {
            rendered(call, |row| Ok((call.value::<TimestampMicrosecondType>(0, row), None)))
        }),
        Overload::new(&[SqlType::Timestamptz, SqlType::Text], SqlType::Text, |call| {
            rendered(call, |row| {
                let micros = call.value::<TimestampMicrosecondType>(0, row);
                let offset = temporal::offset_at(&call.zone, micros)?;
                Ok((micros + i64::from(offset) * 1_000_000, Some(offset)))
            })
        }),
        Overload::new(&[SqlType::Time, SqlType::Text], SqlType::Text, |call| {
            rendered(call, |row| Ok((call.value::<Time64MicrosecondType>(0, row), None)))
        }),
        Overload::new(&[SqlType::Interval, SqlType::Text], SqlType::Text, |call| {
            call.texts(|row| {
                let interval = call.value::<IntervalMonthDayNanoType>(0, row);
                let micros = interval.nanoseconds / 1000;
                let parts = Parts {
                    year: interval.months / 12,
                    month: (interval.months % 12) as u32,
                    day: interval.days as u32,
                    hours: micros / 3_600_000_000,
                    micros: micros % 3_600_000_000,
                    date: None,
                    offset: None,
                };
                Ok(Some(write(&steps(call.text(1).value(row)), &parts)))
            })
        }),
    ]
}

fn rendered(call: &Call, local: impl Fn(usize) -> Result<(i64, Option<i32>)>) -> Result<ArrayRef> {
    let known = RefCell::new(Known::default());
    let moments = call.arrays[0].as_primitive_opt::<TimestampMicrosecondType>();
    call.texts(|row| {
        // What has no end has no parts.
        if moments.is_some_and(|moments| matches!(moments.value(row), i64::MIN | i64::MAX)) {
            return Ok(None);
        }
        let (micros, offset) = local(row)?;
        known.borrow_mut().text(call.text(1).value(row), micros, offset).map(Some)
    })
}

/// The texts that a template gave last: times that differ in less than its smallest unit have the same, and neighbours
/// in a stream mostly do.
#[derive(Default)]
struct Known {
    template: String,
    steps: Vec<Step>,
    /// What the template tells apart, in microseconds.
    unit: i64,
    /// By the number of units, wrapped.
    texts: Vec<Option<KnownText>>,
}

/// What a template gave for a time.
#[derive(Clone)]
struct KnownText {
    /// The time in units of the template.
    units: i64,
    /// The offset from UTC.
    offset: Option<i32>,
    text: Rc<str>,
}

/// How many texts are known at most.
const KNOWN: usize = 64;

impl Known {
    fn text(&mut self, template: &str, micros: i64, offset: Option<i32>) -> Result<Rc<str>> {
        if self.texts.is_empty() || self.template != template {
            let steps = steps(template);
            let unit = steps.iter().map(Step::unit).min().unwrap_or(DAY);
            *self = Known { template: template.to_owned(), steps, unit, texts: vec![None; KNOWN] };
        }
        let units = micros.div_euclid(self.unit);
        let slot = &mut self.texts[units.rem_euclid(KNOWN as i64) as usize];
        if let Some(known) = slot
            && (known.units, known.offset) == (units, offset)
        {
            return Ok(known.text.clone());
        }
        let text: Rc<str> = write(&self.steps, &Parts::of(micros, offset)?).into();
        *slot = Some(KnownText { units, offset, text: text.clone() });
        Ok(text)
    }
}

struct Parts {
    year: i32,
    month: u32,
    day: u32,
    hours: i64,
    /// Within the hour.
    micros: i64,
    /// Intervals have none.
    date: Option<NaiveDate>,
    offset: Option<i32>,
}

impl Parts {
    fn of(micros: i64, offset: Option<i32>) -> Result<Parts> {
        let (date, time) = (temporal::civil(micros)?.date(), micros.rem_euclid(DAY));
        Ok(Parts {
            year: date.year(),
            month: date.month(),
            day: date.day(),
            hours: time / 3_600_000_000,
            micros: time % 3_600_000_000,
            date: Some(date),
            offset,
        })
    }
}

/// A piece of a template.
enum Step {
    Text(String),
    /// `suffix`: `th` or `TH` follows, for numbers.
    Pattern {
        pattern: &'static str,
        fill: bool,
        suffix: Option<String>,
    },
}

impl Step {
    /// How far two times are apart at most, in microseconds, that it cannot tell apart.
    fn unit(&self) -> i64 {
        let Step::Pattern { pattern, .. } = self else { return DAY };
        match *pattern {
            "HH24" | "HH12" | "HH" | "MI" | "AM" | "PM" | "am" | "pm" | "A.M." | "P.M." | "a.m." | "p.m." => 60_000_000,
            "SS" | "SSSS" | "SSSSS" => 1_000_000,
            "MS" | "US" | "FF1" | "FF2" | "FF3" | "FF4" | "FF5" | "FF6" => 1,
            _ => DAY,
        }
    }
}

/// Patterns, each before those that it begins with.
const PATTERNS: &[&str] = &[
    "YYYY", "YYY", "YY", "Y,YYY", "Y", "IYYY", "IYY", "IY", "IDDD", "MONTH", "Month", "month", "MON", "Mon", "mon",
    "MM", "MI", "MS", "DAY", "Day", "day", "DY", "Dy", "dy", "DDD", "DD", "D", "ID", "IW", "I", "HH24", "HH12", "HH",
    "SSSSS", "SSSS", "SS", "FF1", "FF2", "FF3", "FF4", "FF5", "FF6", "US", "AM", "PM", "am", "pm", "A.M.", "P.M.",
    "a.m.", "p.m.", "Q", "IW", "WW", "W", "CC", "J", "TZH", "TZM", "TZ", "tz", "OF", "BC", "AD", "bc", "ad", "B.C.",
    "A.D.", "b.c.", "a.d.", "RM", "rm",
];

/// Text up to a quote, in which `\` takes the next character as it is, and what follows the quote.
fn unquoted(text: &str) -> (String, &str) {
    let mut out = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (out, &text[at + 1..]),
            '\\' => out.extend(characters.next().map(|(_, next)| next)),
            other => out.push(other),
        }
    }
    (out, "")
}

fn steps(template: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut rest = template;
    while let Some(c) = rest.chars().next() {
        if let Some(quoted) = rest.strip_prefix('"') {
            let (text, after) = unquoted(quoted);
            steps.push(Step::Text(text));
            rest = after;
            continue;
        }
        if let Some(quote) = rest.strip_prefix("\\\"") {
            steps.push(Step::Text('"'.into()));
            rest = quote;
            continue;
        }
        let fill = !rest.starts_with("FM");
        let after = if fill { rest } else { &rest[2..] };
        let exact = PATTERNS.iter().find(|pattern| after.starts_with(**pattern));
        let any_case = || {
            PATTERNS.iter().find(|pattern| {
                let name = !pattern.contains(|c: char| c.is_lowercase());
                name && after.get(..pattern.len()).is_some_and(|head| head.eq_ignore_ascii_case(pattern))
            })
        };
        match exact.or_else(any_case) {
            Some(pattern) => {
                rest = &after[pattern.len()..];
                let suffix = rest.get(..2).filter(|suffix| is_number(pattern) && suffix.eq_ignore_ascii_case("th"));
                rest = &rest[suffix.map_or(0, str::len)..];
                steps.push(Step::Pattern { pattern, fill, suffix: suffix.map(str::to_owned) });
            }
            None => {
                if fill {
                    steps.push(Step::Text(c.into()));
                }
                rest = &rest[if fill { c.len_utf8() } else { 2 }..];
            }
        }
    }
    steps
}

/// Whether a pattern gives digits.
fn is_number(pattern: &str) -> bool {
    const WORDS: &[&str] =
        &["MONTH", "MON", "DAY", "DY", "AM", "PM", "A.M.", "P.M.", "TZ", "BC", "AD", "B.C.", "A.D.", "RM"];
    !WORDS.iter().any(|word| word.eq_ignore_ascii_case(pattern))
}

fn write(steps: &[Step], parts: &Parts) -> String {
    let mut out = String::new();
    for step in steps {
        match step {
            Step::Text(text) => out.push_str(text),
            Step::Pattern { pattern, fill, suffix } => {
                let value = value_of(pattern, parts, *fill);
                out.push_str(&value);
                if let Some(suffix) = suffix {
                    let word = ordinal_suffix(&value);
                    out.push_str(&if suffix == "TH" { word.to_uppercase() } else { word.to_owned() });
                }
            }
        }
    }
    out
}

fn ordinal_suffix(number: &str) -> &'static str {
    let last: u32 = number[number.len().saturating_sub(2)..].trim().parse().unwrap_or(0);
    match (last / 10, last % 10) {
        (1, _) => "th",
        (_, 1) => "st",
        (_, 2) => "nd",
        (_, 3) => "rd",
        _ => "th",
    }
}

fn value_of(pattern: &str, parts: &Parts, fill: bool) -> String {
    let number = |value: i64, width: usize| {
        // A sign takes no digit's place.
        let width = width + usize::from(value < 0);
        if fill { format!("{value:0width$}") } else { value.to_string() }
    };
    let year = i64::from(if parts.year > 0 || parts.date.is_none() { parts.year } else { 1 - parts.year });
    let hour12 = (parts.hours + 11).rem_euclid(12) + 1;
    let afternoon = parts.hours.rem_euclid(24) >= 12;
    let on = |f: fn(&NaiveDate) -> i64| parts.date.as_ref().map_or(0, f);
    let era = |ad: &str, bc: &str| if parts.year > 0 { ad.to_owned() } else { bc.to_owned() };
    let half = |am: &str, pm: &str| if afternoon { pm.to_owned() } else { am.to_owned() };
    match pattern {
        "YYYY" => number(year, 4),
        "YYY" => number(year % 1000, 3),
        "YY" => number(year % 100, 2),
        "Y" => number(year % 10, 1),
        "Y,YYY" => format!("{},{:03}", year / 1000, year % 1000),
        "IYYY" => number(on(|date| date.iso_week().year().into()), 4),
        "IYY" => number(on(|date| i64::from(date.iso_week().year()) % 1000), 3),
        "IY" => number(on(|date| i64::from(date.iso_week().year()) % 100), 2),
        "I" => number(on(|date| i64::from(date.iso_week().year()) % 10), 1),
        "IDDD" => number(on(day_of_iso_year), 3),
        "MM" => number(parts.month.into(), 2),
        "DD" => number(i64::from(parts.day as i32), 2),
        "DDD" => number(on(|date| date.ordinal().into()), 3),
        "D" => number(on(|date| date.weekday().number_from_sunday().into()), 1),
        "ID" => number(on(|date| date.weekday().number_from_monday().into()), 1),
        "HH24" => number(parts.hours, 2),
        "HH12" | "HH" => number(hour12, 2),
        "MI" => number(parts.micros / 60_000_000, 2),
        "SS" => number(parts.micros / 1_000_000 % 60, 2),
        "SSSS" | "SSSSS" => number(parts.hours * 3600 + parts.micros / 1_000_000, 1),
        "MS" => number(parts.micros / 1000 % 1000, 3),
        "US" | "FF6" => number(parts.micros % 1_000_000, 6),
        "FF1" | "FF2" | "FF3" | "FF4" | "FF5" => {
            let digits = format!("{:06}", parts.micros % 1_000_000);
            digits[..usize::from(pattern.as_bytes()[2] - b'0')].to_owned()
        }
        "AM" | "PM" => half("AM", "PM"),
        "am" | "pm" => half("am", "pm"),
        "A.M." | "P.M." => half("A.M.", "P.M."),
        "a.m." | "p.m." => half("a.m.", "p.m."),
        "Q" => number((i64::from(parts.month) + 2) / 3, 1),
        "IW" => number(on(|date| date.iso_week().week().into()), 2),
        "WW" => number(on(|date| i64::from(date.ordinal0()) / 7 + 1), 2),
        "W" => number((i64::from(parts.day) - 1) / 7 + 1, 1),
        // The century before 1 is -1; `year` counts without a sign.
        "CC" if parts.year > 0 || parts.date.is_none() => number((year + 99) / 100, 2),
        "CC" => number(-((year - 1) / 100) - 1, 2),
        "J" => number(on(|date| i64::from(date.to_epoch_days()) + 2_440_588), 1),
        "TZ" | "tz" => zone_name(parts.offset, pattern == "tz"),
        "TZH" => format!("{:+03}", parts.offset.unwrap_or(0) / 3600),
        "TZM" => format!("{:02}", (parts.offset.unwrap_or(0) / 60 % 60).abs()),
        "OF" => offset(parts.offset.unwrap_or(0)),
        "BC" | "AD" => era("AD", "BC"),
        "bc" | "ad" => era("ad", "bc"),
        "B.C." | "A.D." => era("A.D.", "B.C."),
        "b.c." | "a.d." => era("a.d.", "b.c."),
        "RM" | "rm" => {
            let month = ROMAN.get((parts.month as usize).wrapping_sub(1)).copied().unwrap_or("");
            let month = if pattern == "rm" { month.to_lowercase() } else { month.to_owned() };
            if fill { format!("{month:<4}") } else { month }
        }
        name => word(name, parts, fill),
    }
}

/// Months in Roman numerals.
const ROMAN: [&str; 12] = ["I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII"];

/// The day of the year of weeks that a day belongs to.
fn day_of_iso_year(date: &NaiveDate) -> i64 {
    i64::from(date.iso_week().week0()) * 7 + i64::from(date.weekday().number_from_monday())
}

fn zone_name(offset_seconds: Option<i32>, lower: bool) -> String {
    match offset_seconds {
        None => String::new(),
        Some(0) if lower => "utc".to_owned(),
        Some(0) => "UTC".to_owned(),
        Some(seconds) => offset(seconds),
    }
}

fn offset(seconds: i32) -> String {
    let mut out = format!("{:+03}", seconds / 3600);
    if seconds % 3600 != 0 {
        // Writing to a String cannot fail.
        let _ = write!(out, ":{:02}", (seconds / 60 % 60).abs());
    }
    out
}

/// The name of a month or a day in the case of the pattern; long names are filled to 9 characters.
fn word(pattern: &str, parts: &Parts, fill: bool) -> String {
    const DAYS: [&str; 7] = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];
    let lower = pattern.to_lowercase();
    let full = match lower.starts_with("mon") {
        true => casts::MONTHS.get((parts.month as usize).wrapping_sub(1)).copied().unwrap_or(""),
        false => parts.date.map_or("", |date| DAYS[date.weekday().num_days_from_sunday() as usize]),
    };
    let short = matches!(lower.as_str(), "mon" | "dy");
    let name = if short { full.get(..3).unwrap_or("") } else { full };
    let cased = match pattern {
        _ if pattern == lower => name.to_owned(),
        _ if pattern[1..] == lower[1..] => name[..name.len().min(1)].to_uppercase() + name.get(1..).unwrap_or(""),
        _ => name.to_uppercase(),
    };
    if fill && !short { format!("{cased:<9}") } else { cased }
}
