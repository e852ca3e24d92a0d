//! The command log: what was committed since the last checkpoint, in segment files.
//!
//! Group commit: the caller appends the records of all transactions that wait, calls [`CommandLog::sync`] once, and
//! then acknowledges them all.
//!
//! ```text
//!  log/00000000000000000007.seg   durable, never written again
//!  log/00000000000000000008.seg   [header][record][record][record]
//!                                                ^ durable       ^ tail
//! ```
//!
//! - **Invariant: a failed sync is final.** The kernel may have dropped the pages it could not write, so a second sync
//!   that succeeds proves nothing. The log then refuses every further append, and the server has to start again.
//! - **Invariant: a failed write leaves nothing.** What a write left behind is cut off, durably, before the error is
//!   returned, so a transaction that was refused cannot come back; the log goes on when there is space again.
//! - **Invariant: a segment is durable before the next one exists**, so only the newest one can have a torn tail.
//!
//! Segments are not allocated ahead: with space reserved or zeroed before, a synced append took as long as without.

mod errors;
mod opening;
mod record;
mod segment;
#[cfg(test)]
mod tests;

pub use record::{Record, RecordKind};

use crate::files::{File, Files};
use errors::{damaged, failed_for_good, failure, missing, newer, path};
use millrace_types::{Result, SqlError, SqlState, Tick};
use opening::{BeginError, begin_segment, read_headers, recover_tail};
use record::Found;
use segment::{HEADER_BYTES, SegmentHeader};
use std::io;
use std::sync::Arc;

/// Bytes of one append and of a segment: offsets have 32 bits.
const BYTES_MAX: u64 = 1 << 31;

/// How a log is kept.
#[derive(Clone, Copy, Debug)]
pub struct LogOptions {
    /// Bytes after which a new segment is begun, at most 2 GiB.
    pub segment_bytes: u64,
    /// The number of a segment that is known to have existed, 0 if none is: the log must reach at least that far.
    pub expected_segment: u64,
}

impl Default for LogOptions {
    fn default() -> LogOptions {
        LogOptions { segment_bytes: 64 << 20, expected_segment: 0 }
    }
}

/// A place in the log; positions grow in the order in which records were appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The number of the segment.
    pub segment: u64,
    /// Bytes from the start of its file.
    pub offset: u64,
}

/// The log of one data folder, open for appending.
pub struct CommandLog {
    files: Arc<dyn Files>,
    segment_bytes: u64,
    /// Oldest first, never empty; the last one is written to.
    segments: Vec<SegmentHeader>,
    file: Box<dyn File>,
    /// Length of the last segment.
    tail: u64,
    /// How much of it is durable.
    durable: u64,
    last_tick: Tick,
    /// Why the log takes no more records.
    failed: Option<String>,
    /// Kept from append to append for its memory.
    buffer: Vec<u8>,
}

impl CommandLog {
    /// Opens the log in a folder, or begins one. A torn tail of the newest segment is cut, with a warning.
    ///
    /// # Errors
    /// `XX001` naming the file when a segment is damaged or missing; `0A000` for one of a newer version.
    pub fn open(files: Arc<dyn Files>, options: LogOptions) -> Result<CommandLog> {
        let segments = read_headers(&*files)?;
        let newest = segments.last().map_or(0, |s| s.number);
        if newest < options.expected_segment {
            return Err(missing(&*files, newest + 1));
        }
        let (segments, file, tail, last_tick) = match segments.last() {
            Some(&last) => {
                let (file, tail, last_tick) = recover_tail(&*files, last)?;
                (segments, file, tail, last_tick)
            }
            None => {
                let first = SegmentHeader { number: 1, previous_tick: Tick(0), previous_length: 0 };
                let file = begin_segment(&*files, first).map_err(|e| e.into_inner())?;
                (vec![first], file, HEADER_BYTES as u64, Tick(0))
            }
        };
        let segment_bytes = options.segment_bytes.min(BYTES_MAX);
        let (failed, buffer) = (None, Vec::new());
        Ok(CommandLog { files, segment_bytes, segments, file, tail, durable: tail, last_tick, failed, buffer })
    }

    /// Writes `records` in order, as one write. They are durable after the next [`CommandLog::sync`].
    ///
    /// # Errors
    /// `53100` when the disk is full: nothing was appended, and a later append may succeed. `54000` when the records are
    /// too large. `58030` when the log has failed for good.
    pub fn append(&mut self, records: &[Record<'_>]) -> Result<Position> {
        self.check_usable()?;
        let last_tick = ticks_never_decrease(self.last_tick, records)?;
        let bytes = records.iter().map(Record::bytes).sum::<usize>() as u64;
        if bytes > BYTES_MAX - HEADER_BYTES as u64 {
            let message = format!("transaction of {bytes} bytes exceeds the limit of {BYTES_MAX}");
            return Err(SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message)
                .with_hint("Split the transaction into smaller ones."));
        }
        if self.tail + bytes > self.segment_bytes && self.tail > HEADER_BYTES as u64 {
            self.rotate()?;
        }
        self.encode(records);
        if let Err(error) = self.file.write_at(&self.buffer, self.tail) {
            let error = failure(&*self.files, self.segment(), "write", error);
            return Err(self.cut_back().err().unwrap_or(error));
        }
        self.tail += bytes;
        self.last_tick = last_tick;
        Ok(self.position())
    }

    /// Makes everything appended so far durable.
    ///
    /// # Errors
    /// `58030` when the disk refuses: nobody knows what is durable, and the log has failed for good.
    pub fn sync(&mut self) -> Result<Position> {
        self.check_usable()?;
        if self.durable < self.tail {
            if let Err(error) = self.file.sync() {
                return Err(self.fail("sync", error));
            }
            self.durable = self.tail;
        }
        Ok(self.position())
    }

    /// Reads every record with a tick of at least `from`, in order.
    ///
    /// # Errors
    /// `XX001` naming the file when something that was durable cannot be read; any error of `visit`.
    pub fn read_all(&self, from: Tick, mut visit: impl FnMut(Record<'_>) -> Result<()>) -> Result<()> {
        for (index, header) in self.segments.iter().enumerate() {
            let next = self.segments.get(index + 1);
            if next.is_some_and(|next| next.previous_tick < from) {
                continue;
            }
            let end = next.map_or(self.tail, |next| next.previous_length);
            let name = segment::file_name(header.number);
            let mut bytes = self.files.read(&name, end as usize).map_err(|e| self.unreadable(header.number, e))?;
            bytes.truncate(end as usize);
            let mut records = segment::records(&bytes, header.number);
            for found in records.by_ref().filter(|found| found.tick >= from) {
                visit(self.checked(header.number, found)?)?;
            }
            if (records.end as u64) < end {
                return Err(damaged(&*self.files, header.number, records.end));
            }
        }
        Ok(())
    }

    /// Deletes the segments that hold only records before `tick`; the newest one stays. Returns how many.
    pub fn truncate_before(&mut self, tick: Tick) -> Result<usize> {
        self.check_usable()?;
        let whole = self.segments.windows(2).take_while(|pair| pair[1].previous_tick < tick).count();
        for _ in 0..whole {
            let number = self.segments[0].number;
            let removed = self.files.remove(&segment::file_name(number));
            removed.map_err(|e| failure(&*self.files, number, "remove", e))?;
            self.segments.remove(0);
            // One by one, so that what a crash leaves has no gap.
            self.files.sync().map_err(|e| self.fail("remove", e))?;
        }
        Ok(whole)
    }

    /// Begins a new segment, so that what was appended so far can be deleted by itself; it is durable then.
    ///
    /// # Errors
    /// As [`CommandLog::append`] and [`CommandLog::sync`].
    pub fn cut(&mut self) -> Result<Position> {
        self.check_usable()?;
        match self.tail > HEADER_BYTES as u64 {
            true => self.rotate()?,
            false => drop(self.sync()?),
        }
        Ok(self.position())
    }

    /// Where the next record goes.
    pub fn position(&self) -> Position {
        Position { segment: self.segment(), offset: self.tail }
    }

    /// Every record after this tick that was ever durable is still here.
    pub fn reaches_back_to(&self) -> Tick {
        self.segments[0].previous_tick
    }

    /// The tick of the newest record, ever.
    pub fn last_tick(&self) -> Tick {
        self.last_tick
    }

    fn segment(&self) -> u64 {
        self.segments[self.segments.len() - 1].number
    }

    fn encode(&mut self, records: &[Record<'_>]) {
        self.buffer.clear();
        let (segment, durable) = (self.segment(), self.durable as u32);
        for record in records {
            let offset = self.tail as u32 + self.buffer.len() as u32;
            record.encode(&mut self.buffer, segment, offset, durable);
        }
    }

    fn checked<'a>(&self, segment: u64, found: Found<'a>) -> Result<Record<'a>> {
        match RecordKind::from_byte(found.kind) {
            Some(kind) => Ok(Record { tick: found.tick, kind, payload: found.payload }),
            None => Err(newer(&*self.files, segment).with_detail(format!("It holds a record of kind {}.", found.kind))),
        }
    }

    fn rotate(&mut self) -> Result<()> {
        self.sync()?;
        let (number, previous_length) = (self.segment() + 1, self.tail);
        let header = SegmentHeader { number, previous_tick: self.last_tick, previous_length };
        match begin_segment(&*self.files, header) {
            Ok(file) => self.file = file,
            Err(BeginError::Harmless(error)) => return Err(error),
            Err(BeginError::Fatal(error)) => {
                self.failed = Some(error.message().to_owned());
                return Err(error);
            }
        }
        self.segments.push(header);
        self.tail = HEADER_BYTES as u64;
        self.durable = self.tail;
        Ok(())
    }

    /// Cuts off what a failed write left. The sync is part of it: an unsynced cut could be undone by a crash.
    fn cut_back(&mut self) -> Result<()> {
        let cut = self.file.set_len(self.tail).and_then(|()| self.file.sync());
        match cut {
            Ok(()) => {
                self.durable = self.tail;
                Ok(())
            }
            Err(error) => Err(self.fail("cut", error)),
        }
    }

    fn fail(&mut self, what: &str, error: io::Error) -> SqlError {
        // Whatever the cause, a full disk included, this is not something to wait for.
        let message = format!("could not {what} command log file {}: {error}", path(&*self.files, self.segment()));
        self.failed = Some(message.clone());
        failed_for_good(message)
    }

    fn check_usable(&self) -> Result<()> {
        match &self.failed {
            None => Ok(()),
            Some(cause) => Err(failed_for_good("command log has failed").with_detail(format!("The cause: {cause}."))),
        }
    }

    fn unreadable(&self, segment: u64, error: io::Error) -> SqlError {
        match error.kind() {
            io::ErrorKind::NotFound => missing(&*self.files, segment),
            _ => failure(&*self.files, segment, "read", error),
        }
    }
}

fn ticks_never_decrease(last: Tick, records: &[Record<'_>]) -> Result<Tick> {
    records.iter().try_fold(last, |last, record| match record.tick >= last {
        true => Ok(record.tick),
        false => Err(SqlError::internal(format!("tick {} is logged after tick {last}", record.tick))),
    })
}
