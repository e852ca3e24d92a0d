//! CSV after RFC 4180, with Postgres's rules for NULL: only an unquoted field is compared with the null text.
//!
//! A quoted field may contain line ends, so where a record ends is known only by reading it from its start. A quote that
//! is never closed would swallow the rest of the file; such a record is refused up to its first line end, and reading
//! goes on after that.

use super::{Block, RecordFormat, Rows, TextFormat, json};
use crate::value::{Kind, Token};
use arrow::datatypes::SchemaRef;
use memchr::{memchr, memchr2};
use millrace_types::Result;
use std::ops::Range;

/// How fields are written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Dialect {
    pub delimiter: u8,
    pub quote: u8,
    /// Whether the first record names the columns.
    pub header: bool,
    /// The unquoted text that means NULL.
    pub null: Vec<u8>,
}

/// Decodes CSV.
pub(crate) struct Csv {
    dialect: Dialect,
    /// The names of the schema's columns.
    names: Vec<String>,
    /// The columns wanted.
    columns: Vec<usize>,
    /// For each column wanted, which field of a record holds it; `None` if the header does not name it.
    places: Vec<Option<usize>>,
    /// How many fields a record has.
    width: usize,
    /// Whether the header is still to come.
    expects_header: bool,
    max_line: usize,
    fields: Vec<Field>,
}

/// A field as it lies in the block.
#[derive(Clone, Copy)]
struct Field {
    start: usize,
    end: usize,
    quoted: bool,
    /// Whether there are doubled quotes in it.
    doubled: bool,
}

/// What there is at the start of a record.
enum Record {
    /// A record whose content ends at `end` and after which the next one starts at `next`.
    Whole { end: usize, next: usize },
    /// A record that goes on after the block.
    Cut,
    /// A quote that is closed too late or never.
    Unclosed,
    /// A record that is wrong in itself.
    Wrong { next: usize },
}

impl Csv {
    /// A decoder for the columns at these indices of the schema.
    pub fn new(dialect: Dialect, schema: &SchemaRef, columns: &[usize], max_line: usize) -> Csv {
        Csv {
            expects_header: dialect.header,
            dialect,
            names: schema.fields().iter().map(|field| field.name().clone()).collect(),
            columns: columns.to_vec(),
            places: columns.iter().map(|column| Some(*column)).collect(),
            width: schema.fields().len(),
            max_line: max_line.min(Token::MAX_LENGTH),
            fields: Vec::new(),
        }
    }

    /// Whether the decoder must see the first record of the file before it can decode others.
    pub fn needs_header(&self) -> bool {
        self.expects_header
    }

    /// Takes the header from the beginning of a file; false if it goes on after `bytes`. With `last`, nothing follows.
    pub fn read_header(&mut self, bytes: &[u8], last: bool) -> bool {
        let start = if bytes.starts_with(b"\xEF\xBB\xBF") { 3 } else { 0 };
        match self.record(bytes, start, last) {
            Record::Cut => return false,
            Record::Whole { .. } => self.take_header(bytes),
            // A header that is none: the columns are taken in their order.
            Record::Unclosed | Record::Wrong { .. } => {}
        }
        self.expects_header = false;
        true
    }

    fn take_header(&mut self, bytes: &[u8]) {
        let named: Vec<String> = self.fields.iter().map(|field| self.text(bytes, *field)).collect();
        let place = |column: &usize| {
            let name = &self.names[*column];
            let folded = name.to_lowercase();
            let same = named.iter().position(|other| other == name);
            same.or_else(|| named.iter().position(|other| other.to_lowercase() == folded))
        };
        self.places = self.columns.iter().map(place).collect();
        self.width = named.len();
    }

    fn text(&self, bytes: &[u8], field: Field) -> String {
        let mut text = Vec::new();
        self.write_field(bytes, field, &mut text);
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Finds the fields of the record at `start`.
    fn record(&mut self, bytes: &[u8], start: usize, last: bool) -> Record {
        self.fields.clear();
        let mut at = start;
        loop {
            let (field, after) = match bytes.get(at) {
                Some(byte) if *byte == self.dialect.quote => match self.quoted(bytes, at) {
                    Some(found) if found.1 - start <= self.max_line => found,
                    None if !last && bytes.len() - start <= self.max_line => return Record::Cut,
                    _ => return Record::Unclosed,
                },
                _ => match memchr2(self.dialect.delimiter, b'\n', &bytes[at..]) {
                    Some(length) => (Field { start: at, end: at + length, quoted: false, doubled: false }, at + length),
                    None if last => (Field { start: at, end: bytes.len(), quoted: false, doubled: false }, bytes.len()),
                    None => return Record::Cut,
                },
            };
            self.fields.push(field);
            match bytes.get(after) {
                Some(byte) if *byte == self.dialect.delimiter => at = after + 1,
                Some(b'\n') => return self.ended(bytes, after, after + 1),
                Some(b'\r') if bytes.get(after + 1) == Some(&b'\n') => return self.ended(bytes, after, after + 2),
                None if last => return self.ended(bytes, after, after),
                None => return Record::Cut,
                Some(b'\r') if after + 1 == bytes.len() && !last => return Record::Cut,
                Some(b'\r') if after + 1 == bytes.len() => return self.ended(bytes, after, after + 1),
                Some(_) => {
                    let next = memchr(b'\n', &bytes[after..]).map(|length| after + length + 1);
                    return match next {
                        Some(next) => Record::Wrong { next },
                        None if last => Record::Wrong { next: bytes.len() },
                        None => Record::Cut,
                    };
                }
            }
        }
    }

    /// The record ends at `end`; a carriage return there belongs to the line end.
    fn ended(&mut self, bytes: &[u8], end: usize, next: usize) -> Record {
        let mut end = end;
        if let Some(field) = self.fields.last_mut().filter(|field| !field.quoted)
            && bytes[field.start..field.end].ends_with(b"\r")
        {
            field.end -= 1;
            end -= 1;
        }
        Record::Whole { end, next }
    }

    /// The quoted field whose opening quote is at `open`, and what follows its closing quote.
    fn quoted(&self, bytes: &[u8], open: usize) -> Option<(Field, usize)> {
        let mut at = open + 1;
        let mut doubled = false;
        loop {
            let close = at + memchr(self.dialect.quote, &bytes[at..])?;
            if bytes.get(close + 1) == Some(&self.dialect.quote) {
                doubled = true;
                at = close + 2;
                continue;
            }
            return Some((Field { start: open + 1, end: close, quoted: true, doubled }, close + 1));
        }
    }

    /// Appends the text of a field, each doubled quote once.
    fn write_field(&self, bytes: &[u8], field: Field, out: &mut Vec<u8>) {
        let mut rest = &bytes[field.start..field.end];
        while let Some(found) = memchr(self.dialect.quote, rest).filter(|_| field.doubled) {
            out.extend_from_slice(&rest[..=found]);
            rest = rest.get(found + 2..).unwrap_or_default();
        }
        out.extend_from_slice(rest);
    }

    fn token(&self, bytes: &[u8], field: Field, extra: &mut Vec<u8>) -> Token {
        if field.doubled {
            let start = extra.len();
            self.write_field(bytes, field, extra);
            return Token::new(Kind::Rewritten, start, extra.len());
        }
        let null = !field.quoted && bytes[field.start..field.end] == self.dialect.null;
        Token::new(if null { Kind::Null } else { Kind::Text }, field.start, field.end)
    }

    fn fields_of(
        &self,
        block: &Block,
        span: &Range<usize>,
        row: &mut [Token],
        extra: &mut Vec<u8>,
    ) -> Result<(), String> {
        let bytes = block.bytes();
        let record = &bytes[span.clone()];
        if (!block.utf8 && std::str::from_utf8(record).is_err()) || (block.controls && record.contains(&0)) {
            return Err("invalid byte sequence for encoding \"UTF8\"".to_owned());
        }
        if self.fields.len() > self.width {
            return Err("extra data after last expected column".to_owned());
        }
        if self.fields.len() < self.width {
            let count = self.fields.len();
            return Err(match self.names.get(count).filter(|_| !self.dialect.header) {
                Some(name) => format!("missing data for column \"{name}\""),
                None => format!("expected {} fields but found {count}", self.width),
            });
        }
        for (token, place) in row.iter_mut().zip(&self.places) {
            if let Some(place) = place {
                *token = self.token(bytes, self.fields[*place], extra);
            }
        }
        Ok(())
    }
}

impl RecordFormat for Csv {
    fn fill(
        &mut self,
        block: &Block,
        span: Range<usize>,
        row: &mut [Token],
        extra: &mut Vec<u8>,
    ) -> std::result::Result<(), String> {
        if span.len() > self.max_line {
            return Err(json::too_long(self.max_line));
        }
        match self.record(&block.bytes()[..span.end], span.start, true) {
            Record::Whole { next, .. } if next == span.end => self.fields_of(block, &span, row, extra),
            Record::Whole { .. } => Err("extra data after the record".to_owned()),
            Record::Wrong { .. } => Err("a quoted field is followed by something other than a delimiter".to_owned()),
            Record::Unclosed | Record::Cut => Err("unterminated CSV quoted field".to_owned()),
        }
    }
}

impl TextFormat for Csv {
    fn decode(&mut self, block: &Block, from: usize, last: bool, rows: &mut Rows) -> Result<usize> {
        let bytes = block.bytes();
        let mut at = from;
        if at == 0 && block.offset == 0 && bytes.starts_with(b"\xEF\xBB\xBF") {
            at = 3;
        }
        while at < bytes.len() && !rows.is_full() {
            let start = at;
            let record = self.record(bytes, start, last);
            if self.expects_header && !matches!(record, Record::Cut) {
                self.read_header(bytes, last);
                at = match record {
                    Record::Whole { next, .. } | Record::Wrong { next } => next,
                    _ => memchr(b'\n', &bytes[start..]).map_or(bytes.len(), |length| start + length + 1),
                };
                continue;
            }
            match record {
                Record::Cut => return Ok(start),
                Record::Whole { end, next } => {
                    at = next;
                    if start == end && self.width != 1 {
                        continue;
                    }
                    if end - start > self.max_line {
                        rows.refuse(block, start..end, json::too_long(self.max_line));
                        continue;
                    }
                    rows.record(block, start..end, |row, extra| self.fields_of(block, &(start..end), row, extra));
                }
                Record::Wrong { next } => {
                    at = next;
                    rows.refuse(
                        block,
                        start..next,
                        "a quoted field is followed by something other than a delimiter".into(),
                    );
                }
                Record::Unclosed => {
                    let line = memchr(b'\n', &bytes[start..]).map(|length| start + length);
                    if line.is_none() && !last {
                        return Ok(start);
                    }
                    let end = line.unwrap_or(bytes.len());
                    at = (end + 1).min(bytes.len());
                    rows.refuse(block, start..end, "unterminated CSV quoted field".to_owned());
                }
            }
        }
        Ok(at)
    }
}
