//! Reads a file of text records: fills blocks, lets the format decode them, and keeps the offsets.

use super::input::Input;
use crate::format::{Block, Rows, TextFormat, json};
use crate::source::{BadRecord, Poll, SplitReader};
use arrow::array::RecordBatch;
use millrace_types::{Offset, Result};

/// How much is read at a time: a block stays within a core's cache until it is decoded.
const BLOCK_BYTES: usize = 512 * 1024;

/// The reader of one text file.
pub(super) struct TextReader {
    input: Input,
    format: Box<dyn TextFormat>,
    rows: Rows,
    /// Decodes single records again with all columns, where the others have only some.
    whole: Option<(Box<dyn TextFormat>, Rows)>,
    block: Block,
    /// The first byte of the block that is not decoded.
    at: usize,
    /// Whether the file may grow.
    follow: bool,
    /// Whether nothing follows the block.
    last: bool,
    /// The record that is too long and of which the rest is still to be passed over.
    oversized: Option<BadRecord>,
    max_line: usize,
}

impl TextReader {
    /// A reader of `input`, which stands at `from`.
    pub fn new(
        input: Input,
        from: Offset,
        format: Box<dyn TextFormat>,
        rows: Rows,
        follow: bool,
        max_line: usize,
    ) -> TextReader {
        let block = Block::new(Vec::new(), from.0);
        let whole = None;
        TextReader { input, format, rows, whole, block, at: 0, follow, last: false, oversized: None, max_line }
    }

    /// A reader that can tell all columns of rows afterwards, by these.
    pub fn with_whole(self, format: Box<dyn TextFormat>, rows: Rows) -> TextReader {
        TextReader { rows: self.rows.with_starts(), whole: Some((format, rows.tolerant())), ..self }
    }

    fn position(&self) -> Offset {
        Offset(self.block.offset + self.at as u64)
    }

    /// Replaces the block by its undecoded rest and what follows it in the file. False at the end of the file.
    fn refill(&mut self) -> Result<bool> {
        let rest = &self.block.bytes()[self.at..];
        // Doubling keeps the copying of a long record's beginning in proportion.
        let wanted = BLOCK_BYTES.max(rest.len());
        let mut bytes = Vec::with_capacity(rest.len() + wanted + Block::PADDING);
        bytes.extend_from_slice(rest);
        if self.input.read(&mut bytes, wanted, self.follow)? == 0 {
            return Ok(false);
        }
        self.block = Block::new(bytes, self.position().0);
        self.at = 0;
        Ok(true)
    }

    /// Gives up on a record that exceeds the limit and is not yet whole: keeps its beginning and passes over the rest.
    fn pass_over_oversized(&mut self) {
        if self.oversized.is_none() && self.block.len() - self.at > self.max_line {
            let raw = &self.block.bytes()[self.at..];
            self.oversized = Some(BadRecord::new(self.position(), raw, json::too_long(self.max_line)));
        }
        if let Some(record) = self.oversized.take() {
            let rest = &self.block.bytes()[self.at..];
            match memchr::memchr(b'\n', rest) {
                Some(length) => self.at += length + 1,
                None => {
                    self.at = self.block.len();
                    if !self.last {
                        self.oversized = Some(record);
                        return;
                    }
                }
            }
            self.rows.add_bad(record);
        }
    }
}

impl SplitReader for TextReader {
    fn poll(&mut self, max_rows: usize) -> Result<Poll> {
        self.rows.set_limit(max_rows);
        loop {
            if self.oversized.is_none() {
                self.at = self.format.decode(&self.block, self.at, self.last, &mut self.rows)?;
            }
            if self.rows.is_empty() {
                self.pass_over_oversized();
            }
            if !self.rows.is_empty() {
                let end = self.position();
                return self.rows.finish(&self.block, end).map(Poll::Chunk);
            }
            if self.last {
                return Ok(Poll::Finished);
            }
            if self.refill()? {
                continue;
            }
            if self.follow {
                return Ok(Poll::Pending);
            }
            self.last = true;
        }
    }

    fn whole(&mut self, places: &[u32]) -> Result<Option<RecordBatch>> {
        let (Some((format, whole)), Some(starts)) = (&mut self.whole, self.rows.starts()) else { return Ok(None) };
        let found = places.iter().map(|place| starts.get(*place as usize));
        let Some(found) = found.collect::<Option<Vec<_>>>() else { return Ok(None) };
        for (count, start) in found.into_iter().enumerate() {
            whole.set_limit(count + 1);
            format.decode(&self.block, *start, true, whole)?;
        }
        let rows = whole.finish(&self.block, Offset::default())?.rows;
        Ok(Some(rows).filter(|rows| rows.num_rows() == places.len()))
    }

    fn lag(&self) -> Option<u64> {
        let undecoded = (self.block.len() - self.at) as u64;
        self.input.remaining().map(|remaining| remaining + undecoded)
    }
}
