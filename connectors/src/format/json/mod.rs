//! JSON lines: one object per line.
//!
//! Two ways lead from a line to its tokens. The *guided* way guesses that the line has the keys of the line before, in
//! the same order and with the same blanks, and compares bytes where the keys should be; values that nobody reads are
//! only skipped. When the guess fails, the *general* way parses the line, and its keys become the next guess. Both take
//! values from the same scanner, so they cannot differ in what a value is; the guided way never judges a line bad.
//!
//! Rules: a key means the column of the same name, else the one that differs in case only; a column `a.b` also stands
//! for `b` in the object `a`; other keys are ignored, missing ones are null, and of equal keys the last one wins.

mod keys;
mod shape;

use super::{Block, RecordFormat, Rows, TextFormat};
use crate::value::json::{Malformed, Scanner};
use crate::value::{Token, is_json};
use arrow::datatypes::SchemaRef;
use keys::{Keys, Target};
use millrace_types::Result;
use shape::{Learner, Shape};
use std::ops::Range;
use std::sync::Arc;

/// Decodes JSON lines by the schema of the columns wanted.
pub(crate) struct JsonLines {
    parser: Parser,
    shape: Option<Shape>,
    max_line: usize,
}

impl JsonLines {
    /// A decoder for these columns. Longer lines than `max_line` bytes are bad records.
    pub fn new(schema: &SchemaRef, max_line: usize) -> JsonLines {
        JsonLines { parser: Parser::new(schema), shape: None, max_line: max_line.min(Token::MAX_LENGTH) }
    }

    /// The same decoder that never guesses: what the guided way is tested against.
    #[cfg(test)]
    fn without_guessing(schema: &SchemaRef, max_line: usize) -> JsonLines {
        let mut lines = JsonLines::new(schema, max_line);
        lines.parser.learns = false;
        lines
    }

    #[inline(always)]
    fn line(
        &mut self,
        scanner: Scanner<'_>,
        start: usize,
        row: &mut [Token],
        extra: &mut Vec<u8>,
    ) -> std::result::Result<(), String> {
        if let Some(shape) = &self.shape {
            let before = extra.len();
            if shape.guide(&scanner, start, row, extra) {
                return Ok(());
            }
            row.fill(Token::MISSING);
            extra.truncate(before);
        }
        self.unguided(scanner, start, row, extra)
    }

    #[inline(never)]
    fn unguided(
        &mut self,
        scanner: Scanner<'_>,
        start: usize,
        row: &mut [Token],
        extra: &mut Vec<u8>,
    ) -> std::result::Result<(), String> {
        let learned = self.parser.line(scanner, start, row, extra).map_err(|error| describe(error, start))?;
        self.shape = learned.or(self.shape.take());
        Ok(())
    }
}

#[cold]
fn describe(error: Malformed, start: usize) -> String {
    format!("invalid JSON at byte {} of the line: {}", error.at.saturating_sub(start) + 1, error.what)
}

impl TextFormat for JsonLines {
    fn decode(&mut self, block: &Block, from: usize, last: bool, rows: &mut Rows) -> Result<usize> {
        let bytes = block.bytes();
        let mut at = from;
        while at < bytes.len() && !rows.is_full() {
            let (line, next) = match memchr::memchr(b'\n', &bytes[at..]) {
                Some(length) => (at..at + length, at + length + 1),
                None if last => (at..bytes.len(), bytes.len()),
                None => break,
            };
            at = next;
            let Range { start, end } = trimmed(bytes, line, block);
            if start == end {
                continue;
            }
            if end - start > self.max_line {
                rows.refuse(block, start..end, too_long(self.max_line));
                continue;
            }
            if !block.utf8 && std::str::from_utf8(&bytes[start..end]).is_err() {
                rows.refuse(block, start..end, NOT_UTF8.to_owned());
                continue;
            }
            let scanner = block.scanner(end);
            rows.record(block, start..end, |row, extra| self.line(scanner, start, row, extra));
        }
        Ok(at)
    }
}

impl RecordFormat for JsonLines {
    #[inline]
    fn fill(
        &mut self,
        block: &Block,
        span: Range<usize>,
        row: &mut [Token],
        extra: &mut Vec<u8>,
    ) -> std::result::Result<(), String> {
        let Range { start, end } = trimmed(block.bytes(), span, block);
        if start == end {
            return Err("an empty value is no JSON object".to_owned());
        }
        if end - start > self.max_line {
            return Err(too_long(self.max_line));
        }
        if !block.utf8 && std::str::from_utf8(&block.bytes()[start..end]).is_err() {
            return Err(NOT_UTF8.to_owned());
        }
        self.line(block.scanner(end), start, row, extra)
    }
}

/// Why bytes that are not text are refused.
pub(crate) const NOT_UTF8: &str = "invalid byte sequence for encoding \"UTF8\"";

/// Why a line of more than `limit` bytes is refused.
pub(crate) fn too_long(limit: usize) -> String {
    format!("line is longer than {limit} bytes")
}

/// The line without a byte-order mark and without blanks at its ends.
#[inline(always)]
fn trimmed(bytes: &[u8], line: Range<usize>, block: &Block) -> Range<usize> {
    let Range { mut start, mut end } = line;
    if start == 0 && block.offset == 0 && bytes[..end].starts_with(b"\xEF\xBB\xBF") {
        start = 3;
    }
    while end > start && bytes[end - 1].is_ascii_whitespace() {
        end -= 1;
    }
    while start < end && bytes[start].is_ascii_whitespace() {
        start += 1;
    }
    start..end
}

/// The general way: any object.
struct Parser {
    keys: Keys,
    /// Which columns take a value as its JSON text.
    as_json: Vec<bool>,
    /// How well the key fitted that gave each column its value: see [`Target::rank`].
    ranks: Vec<u8>,
    /// A key without its escapes.
    key: Vec<u8>,
    learns: bool,
}

type Parsed<T> = std::result::Result<T, Malformed>;

impl Parser {
    fn new(schema: &SchemaRef) -> Parser {
        Parser {
            keys: Keys::new(schema),
            as_json: schema.fields().iter().map(|field| is_json(field)).collect(),
            ranks: vec![0; schema.fields().len()],
            key: Vec::new(),
            learns: true,
        }
    }

    /// Fills the row from the line and returns what the next line may look like.
    fn line(
        &mut self,
        scanner: Scanner<'_>,
        start: usize,
        row: &mut [Token],
        extra: &mut Vec<u8>,
    ) -> Parsed<Option<Shape>> {
        self.ranks.fill(0);
        let mut learner = Learner::new(start);
        let end = self.object(scanner, start, Keys::ROOT, row, extra, Some(&mut learner))?;
        match end == scanner.end {
            true => Ok(learner.finish(&scanner).filter(|_| self.learns)),
            false => Err(Malformed { at: end, what: "something follows the object" }),
        }
    }

    /// Takes what columns want from the object at `at`; where it ends.
    fn object(
        &mut self,
        scanner: Scanner<'_>,
        at: usize,
        node: usize,
        row: &mut [Token],
        extra: &mut Vec<u8>,
        mut learner: Option<&mut Learner>,
    ) -> Parsed<usize> {
        if scanner.byte(at) != b'{' {
            return Err(Malformed { at, what: "expected an object" });
        }
        let mut at = scanner.skip_blanks(at + 1);
        if scanner.byte(at) == b'}' {
            return Ok(at + 1);
        }
        loop {
            let ((key, escaped), value) = scanner.key(at)?;
            let target = self.find(&scanner, node, key, escaped);
            let end = self.member(scanner, value, &target, row, extra)?;
            if let Some(learner) = learner.as_deref_mut() {
                learner.field(&scanner, value, end, &target, &self.as_json);
            }
            at = scanner.skip_blanks(end);
            match scanner.byte(at) {
                b',' => at = scanner.skip_blanks(at + 1),
                b'}' => return Ok(at + 1),
                _ => return Err(Malformed { at, what: "expected a comma or the end of the object" }),
            }
        }
    }

    fn find(&mut self, scanner: &Scanner<'_>, node: usize, key: Range<usize>, escaped: bool) -> Arc<Target> {
        let raw = &scanner.text[key];
        match escaped {
            false => self.keys.find(node, raw),
            true => {
                self.key.clear();
                crate::value::json::unescape(raw, &mut self.key);
                self.keys.find(node, &self.key)
            }
        }
    }

    /// Takes the value of a member for the columns that want it or something inside of it; where it ends.
    fn member(
        &mut self,
        scanner: Scanner<'_>,
        at: usize,
        target: &Target,
        row: &mut [Token],
        extra: &mut Vec<u8>,
    ) -> Parsed<usize> {
        if let Some(inner) = target.inner {
            // The object replaces whatever an earlier member of the same name held.
            for slot in self.keys.columns_under(inner) {
                row[*slot] = Token::MISSING;
                self.ranks[*slot] = 0;
            }
            if scanner.byte(at) == b'{' {
                self.object(scanner, at, inner, row, extra, None)?;
            }
        }
        for (slot, rank) in &target.columns {
            let (token, _) = if self.as_json[*slot] { scanner.json(at)? } else { scanner.value(at, extra)? };
            if *rank >= self.ranks[*slot] {
                self.ranks[*slot] = *rank;
                row[*slot] = token;
            }
        }
        scanner.skip(at)
    }
}

#[cfg(test)]
mod tests;
