//! Reads one split: which events are its own, which of them are due, and their rows.

use super::batch_of;
use super::generator::{Generator, Table};
use crate::pace::Pace;
use crate::source::{Chunk, Poll, SplitReader};
use arrow::datatypes::SchemaRef;
use millrace_types::{Offset, Result};

/// The events of one split: every n-th block of all events.
#[derive(Clone, Copy, Debug)]
pub(super) struct SplitEvents {
    pub splits: u64,
    pub split: u64,
}

impl SplitEvents {
    /// Events per block: whole epochs, so that each split has all kinds in proportion.
    const BLOCK: u64 = 200 * Table::EPOCH;

    /// The number of the split's `index`-th event.
    pub fn number(self, index: u64) -> u64 {
        (index / Self::BLOCK * self.splits + self.split) * Self::BLOCK + index % Self::BLOCK
    }

    /// How many of the first `events` events are the split's.
    fn count(self, events: u64) -> u64 {
        let round = Self::BLOCK * self.splits;
        let rest = (events % round).saturating_sub(self.split * Self::BLOCK).min(Self::BLOCK);
        events / round * Self::BLOCK + rest
    }
}

/// The reader of a split.
pub(super) struct Reader {
    pub generator: Generator,
    pub table: Table,
    pub schema: SchemaRef,
    /// The columns wanted, as places in the table.
    pub columns: Vec<usize>,
    pub events: SplitEvents,
    /// How many events there are in all splits.
    pub limit: Option<u64>,
    pub pace: Option<Pace>,
    /// Which of the split's events is next.
    pub at: u64,
    /// The events of the chunk.
    pub numbers: Vec<u64>,
}

impl Reader {
    /// Where the split ends, and up to where its events are due.
    fn bounds(&self) -> (Option<u64>, Option<u64>) {
        let due = self.pace.as_ref().map(|pace| self.events.count(pace.due()));
        (self.limit.map(|limit| self.events.count(limit)), due)
    }

    /// Collects up to `max_rows` events of the table before the split's event `end`.
    fn collect(&mut self, max_rows: usize, end: u64) {
        let places = self.table.places();
        self.numbers.clear();
        while self.at < end && self.numbers.len() < max_rows {
            let number = self.events.number(self.at);
            let place = number % Table::EPOCH;
            // The rest of the epoch; blocks hold whole ones.
            let stop = Table::EPOCH.min(place + (end - self.at));
            let room = (max_rows - self.numbers.len()) as u64;
            let first = place.max(places.start);
            let last = stop.min(places.end).min(first.saturating_add(room));
            if first < last {
                self.numbers.extend(number + (first - place)..number + (last - place));
            }
            let full = last < stop.min(places.end);
            self.at += if full { last - place } else { stop - place };
        }
    }
}

impl SplitReader for Reader {
    fn poll(&mut self, max_rows: usize) -> Result<Poll> {
        let (end, due) = self.bounds();
        let stop = end.unwrap_or(u64::MAX).min(due.unwrap_or(u64::MAX));
        self.collect(max_rows.max(1), stop);
        if !self.numbers.is_empty() {
            let rows = batch_of(&self.generator, self.table, &self.schema, &self.columns, &self.numbers)?;
            return Ok(Poll::Chunk(Chunk { rows, deletes: None, bad: Vec::new(), end: Offset(self.at) }));
        }
        if end.is_some_and(|end| self.at >= end) {
            return Ok(Poll::Finished);
        }
        if let Some(pace) = &self.pace {
            std::thread::sleep(pace.wait_for(self.events.number(self.at)));
        }
        Ok(Poll::Pending)
    }

    fn lag(&self) -> Option<u64> {
        let (end, due) = self.bounds();
        let known = match (end, due) {
            (Some(end), Some(due)) => Some(end.min(due)),
            (end, due) => end.or(due),
        };
        known.map(|known| known.saturating_sub(self.at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_share_the_events_and_leave_none_out() {
        let (splits, events) = (3, 123_456);
        let mut seen = Vec::new();
        for split in 0..splits {
            let own = SplitEvents { splits, split };
            let count = own.count(events);
            seen.extend((0..count).map(|index| own.number(index)));
            assert!(own.number(count) >= events);
        }
        seen.sort_unstable();
        assert!(seen.into_iter().eq(0..events));
    }
}
