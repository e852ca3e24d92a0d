//! Text to dates, times and timestamps: the forms that Postgres reads with `DateStyle = ISO, MDY`.

use crate::temporal::{self, DAY};
use arrow::array::timezone::Tz;
use chrono::NaiveDate;
use millrace_types::{Result, SqlError, SqlState};

/// What a text says: a day, a time of day, a zone; any of them may be missing.
#[derive(Default)]
struct Parts {
    date: Option<NaiveDate>,
    /// Microseconds since midnight.
    time: Option<i64>,
    zone: Option<Zone>,
    /// The text is a word like `infinity` that stands for a moment by itself.
    word: Option<Word>,
}

enum Zone {
    /// Seconds east of UTC.
    Offset(i32),
    Named(Tz),
}

#[derive(Clone, Copy, PartialEq)]
enum Word {
    Infinity,
    MinusInfinity,
    Epoch,
    Now,
    /// Days from today.
    Day(i64),
}

/// Days since 1970.
pub fn date(text: &str) -> Result<i32> {
    let parts = parse(text, "date")?;
    match (parts.word, parts.date) {
        (Some(Word::Infinity), _) => Ok(i32::MAX),
        (Some(Word::MinusInfinity), _) => Ok(i32::MIN),
        (Some(word), _) => Ok(moment_of_word(word).div_euclid(DAY) as i32),
        (None, Some(date)) => Ok(temporal::days_of(date)),
        (None, None) => Err(invalid("date", text)),
    }
}

/// Microseconds since midnight.
pub fn time(text: &str) -> Result<i64> {
    let parts = parse(text, "time")?;
    parts.time.ok_or_else(|| invalid("time", text))
}

/// A civil time in microseconds since 1970; a zone in the text is ignored, as in Postgres.
pub fn timestamp(text: &str) -> Result<i64> {
    let parts = parse(text, "timestamp")?;
    match parts.word {
        Some(word) => Ok(moment_of_word(word)),
        None => civil(&parts).ok_or_else(|| invalid("timestamp", text)),
    }
}

/// A moment in microseconds since 1970 UTC; a text without a zone is in the session's.
pub fn timestamptz(text: &str, session: &Tz) -> Result<i64> {
    let parts = parse(text, "timestamp with time zone")?;
    if let Some(word) = parts.word {
        return Ok(moment_of_word(word));
    }
    let local = civil(&parts).ok_or_else(|| invalid("timestamp with time zone", text))?;
    match parts.zone {
        Some(Zone::Offset(seconds)) => Ok(local - i64::from(seconds) * 1_000_000),
        Some(Zone::Named(zone)) => temporal::moment_of(&zone, local),
        None => temporal::moment_of(session, local),
    }
}

fn civil(parts: &Parts) -> Option<i64> {
    let days = i64::from(temporal::days_of(parts.date?));
    Some(days * DAY + parts.time.unwrap_or(0))
}

fn moment_of_word(word: Word) -> i64 {
    let now = || chrono::Utc::now().timestamp_micros();
    match word {
        Word::Infinity => i64::MAX,
        Word::MinusInfinity => i64::MIN,
        Word::Epoch => 0,
        Word::Now => now(),
        Word::Day(offset) => (now().div_euclid(DAY) + offset) * DAY,
    }
}

fn invalid(type_name: &str, text: &str) -> SqlError {
    SqlError::new(SqlState::INVALID_DATETIME_FORMAT, format!("invalid input syntax for type {type_name}: \"{text}\""))
}

fn field_out_of_range(text: &str) -> SqlError {
    SqlError::new(SqlState::DATETIME_FIELD_OVERFLOW, format!("date/time field value out of range: \"{text}\""))
}

fn parse(text: &str, type_name: &str) -> Result<Parts> {
    // What follows cuts at bytes.
    if !text.is_ascii() {
        return Err(invalid(type_name, text));
    }
    let lower = text.trim().to_ascii_lowercase();
    let word = match lower.as_str() {
        "infinity" | "+infinity" => Some(Word::Infinity),
        "-infinity" => Some(Word::MinusInfinity),
        "epoch" => Some(Word::Epoch),
        "now" => Some(Word::Now),
        "today" => Some(Word::Day(0)),
        "tomorrow" => Some(Word::Day(1)),
        "yesterday" => Some(Word::Day(-1)),
        _ => None,
    };
    if word.is_some() {
        return Ok(Parts { word, ..Parts::default() });
    }
    let mut reader =
        Reader { text, type_name, parts: Parts::default(), numbers: Vec::new(), month: None, before_christ: false };
    for token in tokens(&lower) {
        reader.token(token)?;
    }
    reader.finish()
}

/// Words of a text: split at blanks and commas, and where a date meets its time at a `t`.
fn tokens(lower: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    for word in lower.split(|c: char| c.is_ascii_whitespace() || c == ',').filter(|word| !word.is_empty()) {
        let joint = word.find('t').filter(|at| {
            let (before, after) = (&word.as_bytes()[..*at], &word.as_bytes()[at + 1..]);
            before.last().is_some_and(u8::is_ascii_digit) && after.first().is_some_and(u8::is_ascii_digit)
        });
        match joint {
            Some(at) => tokens.extend([&word[..at], &word[at + 1..]]),
            None => tokens.push(word),
        }
    }
    tokens
}

struct Reader<'a> {
    text: &'a str,
    type_name: &'a str,
    parts: Parts,
    /// Numbers beside a month's name: day and year.
    numbers: Vec<i32>,
    month: Option<u32>,
    before_christ: bool,
}

impl Reader<'_> {
    fn invalid(&self) -> SqlError {
        invalid(self.type_name, self.text)
    }

    fn token(&mut self, token: &str) -> Result<()> {
        let first = token.as_bytes()[0];
        if token.contains(':') && first.is_ascii_digit() {
            return self.time(token);
        }
        if matches!(first, b'+' | b'-') && self.parts.time.is_some() {
            self.parts.zone = Some(Zone::Offset(self.offset(token)?));
            return Ok(());
        }
        if first.is_ascii_digit() {
            return self.date(token);
        }
        match token {
            "bc" => self.before_christ = true,
            "ad" => {}
            "am" | "pm" => self.half_day(token == "pm")?,
            _ => match month(token) {
                Some(month) => self.month = Some(month),
                None if day_of_week(token) => {}
                None => self.zone(token)?,
            },
        }
        Ok(())
    }

    fn zone(&mut self, token: &str) -> Result<()> {
        if self.parts.time.is_none() && self.parts.date.is_none() {
            return Err(self.invalid());
        }
        self.parts.zone = Some(match token {
            "z" | "utc" | "gmt" | "zulu" => Zone::Offset(0),
            "est" => Zone::Offset(-5 * 3600),
            "edt" => Zone::Offset(-4 * 3600),
            "cst" => Zone::Offset(-6 * 3600),
            "cdt" => Zone::Offset(-5 * 3600),
            "mst" => Zone::Offset(-7 * 3600),
            "mdt" => Zone::Offset(-6 * 3600),
            "pst" => Zone::Offset(-8 * 3600),
            "pdt" => Zone::Offset(-7 * 3600),
            "cet" => Zone::Offset(3600),
            "cest" => Zone::Offset(2 * 3600),
            name => Zone::Named(temporal::zone(name).map_err(|_| match name.contains('/') {
                true => {
                    SqlError::new(SqlState::INVALID_PARAMETER_VALUE, format!("time zone \"{name}\" not recognized"))
                }
                false => self.invalid(),
            })?),
        });
        Ok(())
    }

    /// `04:05`, `04:05:06.789`, each with a zone at its end.
    fn time(&mut self, token: &str) -> Result<()> {
        let end = token.find(|c: char| !c.is_ascii_digit() && c != ':' && c != '.').unwrap_or(token.len());
        let (clock, rest) = token.split_at(end);
        let mut fields = clock.split(':');
        let hours = self.number(fields.next())?;
        let minutes = self.number(fields.next())?;
        let (seconds, micros) = match fields.next() {
            Some(seconds) => self.seconds(seconds)?,
            None => (0, 0),
        };
        let total = (hours * 3600 + minutes * 60 + seconds) * 1_000_000 + micros;
        if fields.next().is_some() || minutes > 59 || seconds > 60 || total > DAY {
            return Err(field_out_of_range(self.text));
        }
        self.parts.time = Some(total);
        match rest {
            "" => Ok(()),
            "am" | "pm" => self.half_day(rest == "pm"),
            _ if rest.starts_with(['+', '-']) => {
                self.parts.zone = Some(Zone::Offset(self.offset(rest)?));
                Ok(())
            }
            _ => self.zone(rest),
        }
    }

    fn half_day(&mut self, afternoon: bool) -> Result<()> {
        let time = self.parts.time.ok_or_else(|| self.invalid())?;
        let noon = DAY / 2;
        self.parts.time = Some(match (afternoon, time >= noon) {
            (true, false) => time + noon,
            (false, true) if time < noon + 3_600_000_000 => time - noon,
            _ => time,
        });
        Ok(())
    }

    fn number(&self, digits: Option<&str>) -> Result<i64> {
        // The bound keeps sums of seconds and microseconds far from overflow.
        let number = digits.and_then(|d| d.parse::<u32>().ok()).filter(|n| *n < 100_000_000);
        number.map(i64::from).ok_or_else(|| self.invalid())
    }

    fn seconds(&self, text: &str) -> Result<(i64, i64)> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let fraction = &format!("{fraction:0<7}")[..7];
        let tenths = self.number(Some(fraction))?;
        Ok((self.number(Some(whole))?, (tenths + 5) / 10))
    }

    /// `+02`, `-0330`, `+05:30`, in seconds.
    fn offset(&self, token: &str) -> Result<i32> {
        let (sign, digits) = token.split_at(1);
        let mut fields = digits.split(':');
        let first = fields.next().unwrap_or_default();
        let (hours, minutes) = match (fields.next(), first.len()) {
            (Some(minutes), _) => (first, minutes),
            (None, 3..) => first.split_at(first.len() - 2),
            (None, _) => (first, "0"),
        };
        let seconds = self.number(Some(hours))? * 3600 + self.number(Some(minutes))? * 60;
        if seconds >= 16 * 3600 {
            return Err(SqlError::new(
                SqlState::INVALID_PARAMETER_VALUE,
                format!("time zone displacement out of range: \"{}\"", self.text),
            ));
        }
        Ok(if sign == "-" { -seconds } else { seconds } as i32)
    }

    /// A number or a date of numbers: `2024-02-29`, `20240229`, `2/29/2024`, `29-feb-2024`.
    fn date(&mut self, token: &str) -> Result<()> {
        let digits_end = token.find(|c: char| !c.is_ascii_digit()).unwrap_or(token.len());
        if digits_end == token.len() {
            match (token.len(), self.month) {
                (8, None) => return self.day(&token[..4], &token[4..6], &token[6..]),
                (6, None) if self.parts.date.is_some() => return self.time_digits(token),
                (6, None) => return self.day(&token[..2], &token[2..4], &token[4..]),
                _ => self.numbers.push(self.number(Some(token))? as i32),
            }
            return Ok(());
        }
        let separator = token.as_bytes()[digits_end] as char;
        let mut fields = token.splitn(3, separator);
        let fields = [fields.next(), fields.next(), fields.next()];
        let (Some(a), Some(b), Some(c), true) = (fields[0], fields[1], fields[2], "-/.".contains(separator)) else {
            return Err(self.invalid());
        };
        // A zone may be glued to an ISO date; nothing else may follow.
        if let Some(month) = month(b) {
            self.month = Some(month);
            self.numbers.extend([self.number(Some(a))? as i32, self.number(Some(c))? as i32]);
            return Ok(());
        }
        match (a.len() > 2, separator) {
            (true, _) => self.day(a, b, c),
            (false, _) => self.day(c, a, b),
        }
    }

    fn time_digits(&mut self, token: &str) -> Result<()> {
        let clock = format!("{}:{}:{}", &token[..2], &token[2..4], &token[4..]);
        self.time(&clock)
    }

    fn day(&mut self, year: &str, month: &str, day: &str) -> Result<()> {
        let full = if year.len() == 2 { windowed(self.number(Some(year))?) } else { self.number(Some(year))? };
        let (month, day) = (self.number(Some(month))?, self.number(Some(day))?);
        self.parts.date = Some(self.valid(full as i32, month as u32, day as u32)?);
        Ok(())
    }

    fn valid(&self, year: i32, month: u32, day: u32) -> Result<NaiveDate> {
        let date = NaiveDate::from_ymd_opt(year, month, day).filter(|_| year != 0);
        date.ok_or_else(|| field_out_of_range(self.text))
    }

    fn finish(mut self) -> Result<Parts> {
        if let Some(month) = self.month {
            let (day, year) = match self.numbers[..] {
                [first, second] if first > 31 => (second, first),
                [first, second] => (first, second),
                _ => return Err(self.invalid()),
            };
            self.parts.date = Some(self.valid(year, month, day as u32)?);
        } else if !self.numbers.is_empty() {
            return Err(self.invalid());
        }
        if self.before_christ {
            use chrono::Datelike;
            let date = self.parts.date.ok_or_else(|| self.invalid())?;
            self.parts.date = Some(date.with_year(1 - date.year()).ok_or_else(|| field_out_of_range(self.text))?);
        }
        Ok(self.parts)
    }
}

/// Years of two digits: 70 to 99 are of the last century.
fn windowed(year: i64) -> i64 {
    if year < 70 { 2000 + year } else { 1900 + year }
}

/// The names of the months.
pub const MONTHS: [&str; 12] = [
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

/// The number of a month by its name or the first three letters.
fn month(name: &str) -> Option<u32> {
    let short = name.trim_end_matches('.');
    let at = MONTHS
        .iter()
        .position(|month| *month == short || month[..3] == *short || (short == "sept" && *month == "september"));
    at.map(|month| month as u32 + 1)
}

fn day_of_week(name: &str) -> bool {
    let days = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];
    days.iter().any(|day| *day == name || day[..3] == *name)
}
