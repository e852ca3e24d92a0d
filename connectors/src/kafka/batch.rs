//! Records that have arrived: their bytes one after the other, so that a format decodes them as one block.

use super::metadata::headers_text;
use super::queue::Record as Arrived;
use std::ops::Range;

/// Records of one partition in their order.
#[derive(Default)]
pub(super) struct Batch {
    /// Values, keys and headers, each with a line feed after it.
    pub bytes: Vec<u8>,
    pub records: Vec<Record>,
    /// Whether a value or key has a line feed in it.
    pub line_feeds: bool,
}

/// Where the parts of a record are in [`Batch::bytes`], or in the block that these become.
pub(super) struct Record {
    pub offset: i64,
    /// Where its bytes begin.
    pub start: usize,
    /// Milliseconds since 1970.
    pub timestamp: Option<i64>,
    /// `None` for a tombstone.
    pub value: Option<Range<usize>>,
    pub key: Option<Range<usize>>,
    /// As a JSON object.
    pub headers: Option<Range<usize>>,
}

/// What of a record is copied beside its value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    pub key: bool,
    pub headers: bool,
}

impl Batch {
    /// An empty one with room for as much as is in this one.
    pub fn next(&self) -> Batch {
        let (bytes, records) = (Vec::with_capacity(self.bytes.len()), Vec::with_capacity(self.records.len()));
        Batch { bytes, records, line_feeds: false }
    }

    /// Copies a record to the end; answers how many bytes it takes.
    pub fn push(&mut self, arrived: &Arrived<'_>, wanted: Wanted) -> usize {
        let start = self.bytes.len();
        let value = arrived.value().map(|value| self.add(value));
        let key = arrived.key().filter(|_| wanted.key).map(|key| self.add(key));
        let headers = wanted.headers.then(|| arrived.headers()).flatten().map(|headers| {
            let start = self.bytes.len();
            headers_text(&headers, &mut self.bytes);
            self.bytes.push(b'\n');
            start..self.bytes.len() - 1
        });
        let timestamp = arrived.timestamp();
        self.records.push(Record { offset: arrived.offset(), start, timestamp, value, key, headers });
        self.bytes.len() - start
    }

    fn add(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        self.bytes.push(b'\n');
        self.line_feeds |= memchr::memchr(b'\n', bytes).is_some();
        start..start + bytes.len()
    }
}
