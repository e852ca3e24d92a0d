//! The reader of one partition.

use super::batch::Batch;
use super::consumer::{SharedConsumer, Taken};
use super::decode::{Decoder, OnError};
use crate::format::Block;
use crate::source::{Chunk, Poll, SplitReader};
use millrace_types::{Offset, Result, SqlError, SqlState};
use std::sync::Arc;
use std::time::Duration;

/// How long a reader waits for records that may arrive for any partition.
const WAIT: Duration = Duration::from_millis(50);

/// Reads a partition through the connection that it shares with the others.
pub(super) struct PartitionReader {
    consumer: Arc<SharedConsumer>,
    partition: u32,
    decoder: Decoder,
    on_error: OnError,
    /// What has been taken from the connection and is not all decoded.
    open: Option<Open>,
    /// The offset after the last record that was handed on.
    next: u64,
    /// Records from here on are not read.
    until: Option<u64>,
    /// Whether everything was read when last asked.
    at_end: bool,
    finished: bool,
}

struct Open {
    batch: Batch,
    block: Block,
    at: usize,
}

impl PartitionReader {
    /// A reader from offset `from` on.
    pub fn new(
        consumer: Arc<SharedConsumer>,
        partition: u32,
        from: u64,
        decoder: Decoder,
        on_error: OnError,
    ) -> Result<PartitionReader> {
        consumer.add(partition, from)?;
        Ok(PartitionReader {
            consumer,
            partition,
            decoder,
            on_error,
            open: None,
            next: from,
            until: None,
            at_end: false,
            finished: false,
        })
    }

    /// Takes what has arrived; true if there is something to decode.
    fn refill(&mut self) -> Result<Option<Poll>> {
        self.consumer.poll(Duration::ZERO);
        self.at_end = false;
        match self.consumer.take(self.partition)? {
            Taken::Records(mut batch) => {
                if let Some(until) = self.until {
                    let before = batch.records.partition_point(|record| (record.offset as u64) < until);
                    self.finished = before < batch.records.len();
                    batch.records.truncate(before);
                }
                let bytes = std::mem::take(&mut batch.bytes);
                let block = Block::new(bytes, 0).with_line_feeds(batch.line_feeds);
                self.open = Some(Open { batch, block, at: 0 });
                Ok(None)
            }
            Taken::End => {
                self.at_end = true;
                self.finished = self.until.is_some();
                Ok(Some(if self.finished { Poll::Finished } else { Poll::Pending }))
            }
            Taken::Nothing(trouble) => Ok(Some(Poll::Waiting(trouble))),
        }
    }

    fn chunk(&mut self, max_rows: usize) -> Result<Option<Chunk>> {
        let Some(open) = &mut self.open else { return Ok(None) };
        let to = open.batch.records.len().min(open.at + max_rows.max(1));
        if to == open.at {
            self.open = None;
            return Ok(None);
        }
        let chunk = self.decoder.decode(&open.batch, &open.block, open.at..to)?;
        open.at = to;
        if let (OnError::Fail, Some(bad)) = (self.on_error, chunk.bad.first()) {
            let message = format!("offset {} of partition {}: {}", bad.offset.0, self.partition, bad.reason);
            return Err(SqlError::new(SqlState::INVALID_TEXT_REPRESENTATION, message)
                .with_hint("The option on_error = 'dead_letter' keeps such records aside and goes on."));
        }
        self.next = chunk.end.0;
        self.consumer.has_read(self.partition, self.next);
        Ok(Some(chunk))
    }
}

impl SplitReader for PartitionReader {
    fn poll(&mut self, max_rows: usize) -> Result<Poll> {
        loop {
            match self.chunk(max_rows) {
                Ok(Some(chunk)) => return Ok(Poll::Chunk(chunk)),
                Ok(None) => {}
                // The records stay until it is known how to read them.
                Err(error) if error.state().is_connection() => return Ok(Poll::Waiting(Some(error))),
                Err(error) => return Err(error),
            }
            if self.finished || self.until.is_some_and(|until| self.next >= until) {
                return Ok(Poll::Finished);
            }
            if let Some(answer) = self.refill()? {
                return Ok(answer);
            }
        }
    }

    fn lag(&self) -> Option<u64> {
        if self.at_end {
            return Some(0);
        }
        // Before the end has been seen something may always be there.
        Some(self.consumer.lag(self.partition, self.next).unwrap_or(1))
    }

    fn end_at(&mut self, end: Offset) -> bool {
        self.until = Some(end.0);
        true
    }

    fn wait(&mut self) {
        self.consumer.poll(WAIT);
    }
}

impl Drop for PartitionReader {
    fn drop(&mut self) {
        self.consumer.remove(self.partition);
    }
}
