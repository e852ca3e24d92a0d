//! What goes when the watermark has passed it, by when that will be.

use super::snapshot::{corrupt, in_range, sorted_batch};
use super::{Counts, RowId};
use crate::operator::{StateReader, StateWriter};
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, TimestampMicrosecondArray, UInt64Array};
use arrow::datatypes::{DataType, Int64Type, TimestampMicrosecondType, UInt64Type};
use millrace_ir::Closing;
use millrace_types::{EventTime, KeyGroupRange, Result};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Things by the times that a [`Closing`] is about. What was noted and is gone since is no harm: whoever takes what is
/// due looks whether it is there.
#[derive(Debug)]
pub struct Expiry<T> {
    closing: Closing,
    waiting: BTreeMap<i64, Vec<T>>,
    watermark: Option<i64>,
}

/// The entries of one time that take part in a batch of a section.
const BATCH: usize = 65_536;

impl<T> Expiry<T> {
    /// Nothing waits yet.
    pub fn new(closing: Closing) -> Expiry<T> {
        Expiry { closing, waiting: BTreeMap::new(), watermark: None }
    }

    /// The column that says when.
    pub fn column(&self) -> usize {
        self.closing.column
    }

    /// The watermark, which never goes back.
    pub fn advance(&mut self, watermark: i64) {
        self.watermark = self.watermark.max(Some(watermark));
    }

    /// All times up to this one are passed; `None`: none are.
    pub fn passed(&self) -> Option<i64> {
        self.watermark.map(|watermark| watermark.saturating_sub(self.closing.delay))
    }

    /// Whether something may have to go.
    pub fn is_due(&self) -> bool {
        let first = self.waiting.first_key_value().map(|(time, _)| *time);
        first.zip(self.watermark).is_some_and(|(time, watermark)| self.is_passed(time, watermark))
    }

    /// The watermark at which something may have to go next.
    pub fn next(&self) -> Option<EventTime> {
        self.waiting.first_key_value().map(|(time, _)| EventTime(time.saturating_add(self.closing.delay)))
    }

    /// Notes something of a time.
    pub fn note(&mut self, time: i64, one: T) {
        self.waiting.entry(time).or_default().push(one);
    }

    /// What is due, with the times that it was noted with.
    pub fn take(&mut self) -> Vec<(i64, T)> {
        let mut due = Vec::new();
        while self.is_due() {
            let Some((time, noted)) = self.waiting.pop_first() else { break };
            due.extend(noted.into_iter().map(|one| (time, one)));
        }
        due
    }

    fn is_passed(&self, time: i64, watermark: i64) -> bool {
        time.saturating_add(self.closing.delay) <= watermark
    }

    /// Bytes of memory, nearly.
    pub fn bytes(&self) -> usize {
        self.waiting.values().map(|noted| noted.capacity() * size_of::<T>() + 4 * size_of::<u64>()).sum()
    }
}

impl Expiry<RowId> {
    /// Forgets the counters that are due.
    pub fn forget<const N: usize>(&mut self, counts: &mut Counts<N>) {
        self.take().into_iter().for_each(|(_, id)| counts.remove(id));
    }

    /// Writes what waits and has counters as the section `name`.
    pub fn snapshot<const N: usize>(&self, name: &str, counts: &Counts<N>, to: &mut dyn StateWriter) -> Result<()> {
        let waiting = self.waiting.iter().flat_map(|(time, noted)| noted.iter().map(|id| (*id, *time)));
        let mut there: Vec<(RowId, i64)> = waiting.filter(|(id, _)| counts.has(*id)).collect();
        there.sort_unstable();
        there.dedup();
        for part in there.chunks(BATCH) {
            let hashes = part.iter().map(|(id, _)| id.key).collect();
            let rows = UInt64Array::from_iter_values(part.iter().map(|(id, _)| id.row));
            let times = Int64Array::from_iter_values(part.iter().map(|(_, time)| *time));
            let columns: Vec<(&str, ArrayRef)> = vec![("row_hash", Arc::new(rows)), ("time", Arc::new(times))];
            to.write(name, sorted_batch(hashes, columns)?)?;
        }
        Ok(())
    }

    /// Takes back what waits of the section `name` and belongs to `groups`.
    pub fn restore(&mut self, name: &str, from: &mut dyn StateReader, groups: &KeyGroupRange) -> Result<()> {
        for batch in from.read(name)? {
            let batch = in_range(&batch, groups)?;
            let types = batch.columns().iter().map(|column| column.data_type());
            if !types.eq([&DataType::UInt64, &DataType::UInt64, &DataType::Int64]) {
                return Err(corrupt("its columns are others"));
            }
            let (keys, rows) =
                (batch.column(0).as_primitive::<UInt64Type>(), batch.column(1).as_primitive::<UInt64Type>());
            let times = batch.column(2).as_primitive::<Int64Type>();
            for at in 0..batch.num_rows() {
                self.note(times.value(at), RowId { key: keys.value(at), row: rows.value(at) });
            }
        }
        Ok(())
    }
}

/// The times of rows by a column of them.
pub fn times_of(rows: &RecordBatch, column: usize) -> &TimestampMicrosecondArray {
    rows.column(column).as_primitive::<TimestampMicrosecondType>()
}

/// The time of one row, if it has one.
pub fn time_of(times: &TimestampMicrosecondArray, row: usize) -> Option<i64> {
    times.is_valid(row).then(|| times.value(row))
}
