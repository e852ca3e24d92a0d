//! What a source is: splits that are read in order, each from an offset.
//!
//! A reader is deterministic: the same split from the same offset yields the same rows, so that replay after a crash
//! is exact. Which rows arrive in one chunk is not part of that promise.
//!
//! ```text
//!            open(split, offset, columns)
//!                      |
//!                      v
//!   +-- poll --> Chunk (rows, bad records, next offset) --+
//!   |  ^-------------------------------------------------+
//!   +-- poll --> Pending   read to its end as of now, ask again
//!   +-- poll --> Waiting   nothing has arrived, ask again
//!   +-- poll --> Finished  nothing ever again
//! ```

use arrow::array::RecordBatch;
use arrow::buffer::BooleanBuffer;
use millrace_types::{Offset, Result, SqlError};
use std::sync::Arc;
use std::time::Duration;

/// A configured source. Cheap to share; readers are opened from it.
pub trait Source: Send + Sync + std::fmt::Debug {
    /// The splits there are now. Called again, it may find more (a glob's new files); it never takes one back.
    fn splits(&self) -> Result<Vec<Split>>;

    /// A reader of `split` from offset `from` (0 is the start). `columns` are indices into the source's schema, in the
    /// order wanted; only these are decoded.
    fn open(&self, split: &Split, from: Offset, columns: &[usize]) -> Result<Box<dyn SplitReader>>;

    /// Says that the records of a split before `read` were read before the server ended: what hands records out in a
    /// pace hands these out at once.
    fn resume(&self, _split: &Split, _read: Offset) {}

    /// The source for one thread that polls all the readers it opens: these may share what is costly, as a connection.
    /// `None`: this one does as well.
    fn for_one_thread(&self) -> Option<Arc<dyn Source>> {
        None
    }

    /// Whether readers of some columns can tell the others of a few rows afterwards: see [`SplitReader::whole`].
    fn tells_whole(&self) -> bool {
        false
    }

    /// Whether every reader finishes some day and no new splits appear.
    fn is_bounded(&self) -> bool;
}

/// A part of a source with an order and offsets of its own: a file, a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// Dense from 0, and stable as long as the source object lives.
    pub id: u32,
    /// What the split is called outside (a path); its identity across restarts.
    pub name: String,
}

/// How long a reader that nothing wakes waits before it looks again.
const IDLE: Duration = Duration::from_millis(5);

/// Reads one split in order.
pub trait SplitReader: Send {
    /// The next rows, at most `max_rows` of them. Blocks, but returns within about 100 ms.
    fn poll(&mut self, max_rows: usize) -> Result<Poll>;

    /// How much is known to be unread, in the unit of the offsets; `None` where that is not known.
    fn lag(&self) -> Option<u64>;

    /// Lets the reader finish before the first record at `end` or after it; false if it cannot do so by itself.
    fn end_at(&mut self, _end: Offset) -> bool {
        false
    }

    /// Some rows of the last chunk with all columns of the source, any of which may be NULL, by their places in it in
    /// ascending order. `None` if the reader cannot tell.
    fn whole(&mut self, _places: &[u32]) -> Result<Option<RecordBatch>> {
        Ok(None)
    }

    /// Waits until there may be something for this reader, or for another one of the same thread; at most about 100 ms.
    fn wait(&mut self) {
        std::thread::sleep(IDLE);
    }
}

/// What a poll found.
#[derive(Debug)]
pub enum Poll {
    /// Rows or bad records, or both.
    Chunk(Chunk),
    /// The split is read to its end as it is now; it may grow.
    Pending,
    /// Nothing has arrived, although there may be something; with what stands in the way, if anything is known to.
    Waiting(Option<SqlError>),
    /// The split is read to its end and will not grow.
    Finished,
}

/// Consecutive records of a split.
#[derive(Debug)]
pub struct Chunk {
    /// The good records, with the columns that were asked for. Without columns it still has its number of rows.
    pub rows: RecordBatch,
    /// Which of the rows say that the row of their key is gone. `None`: none of them. Only tables are fed such rows.
    pub deletes: Option<BooleanBuffer>,
    /// The records that could not be decoded.
    pub bad: Vec<BadRecord>,
    /// The position of the first record that is not in this chunk.
    pub end: Offset,
}

/// A record that could not be decoded, kept for the dead-letter relation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadRecord {
    /// Where the record starts.
    pub offset: Offset,
    /// Its bytes, cut after [`BadRecord::MAX_BYTES`].
    pub raw: Vec<u8>,
    /// Why it was refused, worded as an error message.
    pub reason: String,
}

impl BadRecord {
    /// How much of a bad record is kept.
    pub const MAX_BYTES: usize = 64 * 1024;

    /// A bad record of which at most [`BadRecord::MAX_BYTES`] are kept.
    pub fn new(offset: Offset, raw: &[u8], reason: impl Into<String>) -> BadRecord {
        BadRecord { offset, raw: raw[..raw.len().min(Self::MAX_BYTES)].to_vec(), reason: reason.into() }
    }
}
