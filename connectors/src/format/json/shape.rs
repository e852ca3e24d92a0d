//! The guess: which keys the next line has, in which order and with which blanks.
//!
//! A shape holds for every field the bytes from its key's opening quote to its value. A line may leave fields out. It
//! fits if what stands between its values is exactly what the shape says; then nothing but its values is left to scan.

use super::keys::Target;
use crate::value::Token;
use crate::value::json::Scanner;

/// A field whose value nobody reads.
const UNREAD: usize = usize::MAX;

/// The fields of a line.
pub(super) struct Shape {
    fields: Vec<Field>,
    /// Whether a line may leave fields out: not where two fields fight for a column, since then the loser counts when
    /// the winner is not there.
    optional: bool,
}

struct Field {
    /// The first 16 bytes of the label, zeros after a shorter one, and a mask of those that count.
    head: u128,
    mask: u128,
    length: usize,
    /// The bytes of the label from the 17th on.
    tail: Box<[u8]>,
    /// The column that takes the value.
    column: usize,
    /// Whether it takes it as its JSON text.
    as_json: bool,
}

impl Field {
    fn new(label: &[u8]) -> Field {
        let (head, tail) = label.split_at(label.len().min(16));
        let mut bytes = [0; 16];
        bytes[..head.len()].copy_from_slice(head);
        let mask = if head.len() == 16 { u128::MAX } else { (1 << (8 * head.len())) - 1 };
        Field {
            head: u128::from_le_bytes(bytes),
            mask,
            length: label.len(),
            tail: tail.into(),
            column: UNREAD,
            as_json: false,
        }
    }

    /// Whether the label stands at `at`.
    #[inline(always)]
    fn stands_at(&self, text: &[u8], at: usize) -> bool {
        let Some(bytes) = text.get(at..at + 16).and_then(|bytes| bytes.try_into().ok()) else { return false };
        u128::from_le_bytes(bytes) & self.mask == self.head
            && (self.tail.is_empty() || text[at + 16..].starts_with(&self.tail))
    }
}

impl Shape {
    /// Fills the row from the line at `at`, if the line has this shape and everything in it is well formed. When it
    /// answers no, the row and `extra` hold leavings.
    #[inline(always)]
    pub fn guide(&self, scanner: &Scanner<'_>, mut at: usize, row: &mut [Token], extra: &mut Vec<u8>) -> bool {
        let mut fields = self.fields.iter();
        let mut separator = b'{';
        while scanner.byte(at) == separator {
            at += 1;
            let field = loop {
                match fields.next() {
                    Some(field) if field.stands_at(scanner.text, at) => break field,
                    Some(_) if self.optional => continue,
                    _ => return false,
                }
            };
            at += field.length;
            let scanned = if field.column == UNREAD {
                scanner.skip(at)
            } else {
                let scanned = if field.as_json { scanner.json(at) } else { scanner.value(at, extra) };
                scanned.map(|(token, end)| {
                    row[field.column] = token;
                    end
                })
            };
            let Ok(end) = scanned else { return false };
            at = end;
            separator = b',';
        }
        let complete = self.optional || fields.next().is_none();
        separator == b',' && scanner.byte(at) == b'}' && at + 1 == scanner.end && complete
    }
}

/// Watches the general way go through a line and notes its shape.
pub(super) struct Learner {
    /// Where the label of the next field must begin: after one byte of punctuation.
    label: usize,
    fields: Vec<Field>,
    /// The rank with which each field wants its column.
    ranks: Vec<u8>,
    optional: bool,
    guessable: bool,
}

impl Learner {
    /// Lines with more fields are always parsed the general way.
    const MOST_FIELDS: usize = 1000;

    /// A learner for the line at `start`.
    pub fn new(start: usize) -> Learner {
        Learner { label: start + 1, fields: Vec::new(), ranks: Vec::new(), optional: true, guessable: true }
    }

    /// Notes a field whose value is at `value..end`.
    pub fn field(&mut self, scanner: &Scanner<'_>, value: usize, end: usize, target: &Target, as_json: &[bool]) {
        let label = &scanner.text[self.label..value];
        let several = target.columns.len() > 1 || target.inner.is_some();
        self.guessable &= label.first() == Some(&b'"') && !several && self.fields.len() < Self::MOST_FIELDS;
        self.label = end + 1;
        if !self.guessable {
            return;
        }
        let mut field = Field::new(label);
        let mut rank = 0;
        if let Some((column, wanted)) = target.columns.first() {
            rank = *wanted;
            field.as_json = as_json[*column];
            if self.wins(*column, rank) {
                field.column = *column;
            }
        }
        self.fields.push(field);
        self.ranks.push(rank);
    }

    /// Whether a further field gets the column; the earlier one that had it then loses it.
    fn wins(&mut self, column: usize, rank: u8) -> bool {
        let Some(earlier) = self.fields.iter().position(|field| field.column == column) else { return true };
        self.optional = false;
        let wins = rank >= self.ranks[earlier];
        if wins {
            self.fields[earlier].column = UNREAD;
        }
        wins
    }

    /// The shape of the line, if it is one that can be guessed again.
    pub fn finish(self, scanner: &Scanner<'_>) -> Option<Shape> {
        // The last value must be followed by the closing brace, as every other one by its comma.
        let guessable = self.guessable && !self.fields.is_empty() && self.label == scanner.end;
        guessable.then_some(Shape { fields: self.fields, optional: self.optional })
    }
}
