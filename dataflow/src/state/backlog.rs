//! How many rows of an arrangement the watermark has passed: so many that it pays to look for them.

use super::expiry::times_of;
use arrow::array::{Array, RecordBatch};
use std::collections::BTreeMap;

/// Counts the rows of an arrangement by their times. Runs are immutable, and dropping rows means writing the others
/// anew: that is done when most of them are to go, so that a row costs no more than having been written once more.
#[derive(Debug)]
pub struct Backlog {
    column: usize,
    /// By steps of time of [`STEP_BITS`].
    rows: BTreeMap<i64, usize>,
    waiting: usize,
    passed: usize,
}

/// A step is this power of two of microseconds: about a quarter of a second.
const STEP_BITS: u32 = 18;

/// So few rows are no burden.
const FEW: usize = 256;

impl Backlog {
    /// Of no rows. `column`: their time.
    pub fn new(column: usize) -> Backlog {
        Backlog { column, rows: BTreeMap::new(), waiting: 0, passed: 0 }
    }

    /// Rows that came.
    pub fn note(&mut self, rows: &RecordBatch) {
        let times = times_of(rows, self.column);
        let (mut step, mut count) = (0, 0);
        for row in (0..rows.num_rows()).filter(|row| times.is_valid(*row)) {
            let next = times.value(row) >> STEP_BITS;
            if next != step && count > 0 {
                *self.rows.entry(step).or_default() += count;
                count = 0;
            }
            (step, count) = (next, count + 1);
            self.waiting += 1;
        }
        if count > 0 {
            *self.rows.entry(step).or_default() += count;
        }
    }

    /// All times up to `passed` have been passed. Whether it pays to look for their rows; if so they are to go.
    pub fn pass(&mut self, passed: i64) -> bool {
        let is_passed = |step: i64| ((step + 1) << STEP_BITS) - 1 <= passed;
        while let Some(first) = self.rows.first_entry().filter(|first| is_passed(*first.key())) {
            let rows = first.remove();
            (self.waiting, self.passed) = (self.waiting - rows, self.passed + rows);
        }
        let pays = self.passed > FEW + self.waiting;
        if pays {
            self.passed = 0;
        }
        pays
    }

    /// The column with the time.
    pub fn column(&self) -> usize {
        self.column
    }
}
