//! What goes of ordered rows when the watermark has passed it.

use super::expiry::Expiry;
use super::rows::Rows;
use millrace_ir::Closing;

/// The partitions of which something goes, by when that will be.
#[derive(Debug)]
pub struct Passing {
    passed: Passed,
    partitions: Expiry<u32>,
}

/// What goes of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passed {
    /// All of it, by a column that it agrees in.
    Partition,
    /// By the time that its rows are in the order of: those before the last so many that are passed.
    Rows(usize),
    /// By the time that its rows are in the order of: those of sessions whose last row is passed.
    Sessions { gap: i64 },
}

/// So many rows more are worth to be dropped.
const WORTH: usize = 64;

impl Passing {
    /// Nothing yet.
    pub fn new(passed: Passed, closing: Closing) -> Passing {
        Passing { passed, partitions: Expiry::new(closing) }
    }

    /// The column that says when partitions go as a whole, if they do.
    pub fn partition(&self) -> Option<usize> {
        (self.passed == Passed::Partition).then(|| self.partitions.column())
    }

    /// The watermark goes on.
    pub fn advance(&mut self, watermark: i64) {
        self.partitions.advance(watermark);
    }

    /// Notes when a partition is to be looked at.
    pub fn note(&mut self, time: i64, partition: u32) {
        self.partitions.note(time, partition);
    }

    /// The partitions to be looked at now.
    pub fn take(&mut self) -> Vec<(i64, u32)> {
        self.partitions.take()
    }

    /// How many of the first rows of a partition go.
    pub fn count(&self, rows: &Rows) -> usize {
        let passed = self.partitions.passed().unwrap_or(i64::MIN);
        match self.passed {
            Passed::Partition => rows.len(),
            Passed::Rows(kept) => rows.iter().take_while(|(row, _)| row.time() <= passed).count().saturating_sub(kept),
            Passed::Sessions { gap } => {
                let (mut count, mut last) = (0, None);
                for (at, (row, _)) in rows.iter().enumerate() {
                    let time = row.time();
                    // Here a session begins: those before are over.
                    if last.is_some_and(|last: i64| time.saturating_sub(last) > gap) {
                        count = at;
                    }
                    if time > passed {
                        return count;
                    }
                    last = Some(time);
                }
                rows.len()
            }
        }
    }

    /// When a partition is to be looked at next, by what it has now; `None`: not before it has more.
    pub fn next(&self, rows: &Rows) -> Option<i64> {
        let time = |at: usize| rows.iter().nth(at).map(|(row, _)| row.time()).filter(|time| *time < i64::MAX);
        match self.passed {
            Passed::Partition => None,
            Passed::Rows(kept) if rows.len() > 2 * kept + WORTH => time(kept + WORTH),
            Passed::Rows(_) => None,
            Passed::Sessions { gap } => {
                let times = rows.iter().map(|(row, _)| row.time()).filter(|time| *time < i64::MAX);
                let mut last = None;
                for time in times {
                    if last.is_some_and(|last: i64| time.saturating_sub(last) > gap) {
                        break;
                    }
                    last = Some(time);
                }
                last
            }
        }
    }

    /// Bytes of memory, nearly.
    pub fn bytes(&self) -> usize {
        self.partitions.bytes()
    }
}
