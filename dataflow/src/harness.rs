//! A harness that drives one operator without timely: full control over batches, ticks, snapshots and restores, and the
//! sum of what came out. For tests, ours and those of operators to come.

use crate::operator::{Later, Operator, Output, RowError, SnapshotKind, StateReader, StateWriter};
use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use millrace_types::{Delta, EventTime, KeyGroupRange, Result, SqlError, Tick};
use std::collections::BTreeMap;

/// Rows as text, NULL as `None`, with how often each is there: what relations are compared by.
pub type Bag = BTreeMap<Vec<Option<String>>, i64>;

/// An operator, the tick that it is in, and what it has emitted.
pub struct Harness {
    operator: Box<dyn Operator>,
    tick: Tick,
    accumulated: Bag,
    errors: Vec<RowError>,
    last: Vec<Delta>,
}

impl Harness {
    /// A harness around an operator that has seen nothing.
    pub fn new(operator: impl Operator + 'static) -> Harness {
        Harness {
            operator: Box::new(operator),
            tick: Tick(1),
            accumulated: Bag::new(),
            errors: Vec::new(),
            last: Vec::new(),
        }
    }

    /// A batch of the open tick.
    pub fn batch(&mut self, port: usize, delta: Delta) -> Result<()> {
        let mut out = Output::default();
        self.operator.on_batch(port, delta, &mut out)?;
        self.collect(out)
    }

    /// A watermark in the open tick.
    pub fn watermark(&mut self, port: usize, watermark: EventTime) -> Result<()> {
        let mut out = Output::default();
        self.operator.on_watermark(port, watermark, &mut out)?;
        self.collect(out)
    }

    /// The wall clock as of the open tick.
    pub fn clock(&mut self, now: EventTime) -> Result<()> {
        self.operator.on_clock(now)
    }

    /// When the operator wants a tick by the wall clock.
    pub fn next_alarm(&self) -> Option<EventTime> {
        self.operator.next_alarm()
    }

    /// Ends the tick; what it emitted as a whole.
    pub fn tick(&mut self) -> Result<Vec<Delta>> {
        let mut out = Output::default();
        self.operator.on_tick(self.tick, &mut out)?;
        self.tick = self.tick.next();
        self.collect(out)?;
        Ok(std::mem::take(&mut self.last))
    }

    fn collect(&mut self, mut out: Output) -> Result<()> {
        for error in out.take_errors() {
            match self.errors.iter_mut().find(|known| known.error == error.error) {
                Some(known) => known.weight += error.weight,
                None => self.errors.push(error),
            }
        }
        self.errors.retain(|error| error.weight != 0);
        for delta in out.take_deltas() {
            add(&mut self.accumulated, &delta)?;
            self.last.push(delta);
        }
        Ok(())
    }

    /// The sum of all that was emitted.
    pub fn accumulated(&self) -> &Bag {
        &self.accumulated
    }

    /// The net row errors.
    pub fn errors(&self) -> &[RowError] {
        &self.errors
    }

    /// How many rows and bytes the operator keeps.
    pub fn state_size(&self) -> crate::operator::StateSize {
        self.operator.state_size()
    }

    /// How many changes have come too late.
    pub fn dropped(&self) -> u64 {
        self.operator.dropped()
    }

    /// A full snapshot; only between two ticks.
    pub fn snapshot(&mut self) -> Result<Snapshot> {
        let mut snapshot = Snapshot::default();
        self.operator.snapshot(SnapshotKind::Full, &mut snapshot)?;
        Ok(snapshot)
    }

    /// Restores the part of a snapshot that belongs to `groups`.
    pub fn restore(&mut self, snapshot: &mut Snapshot, groups: KeyGroupRange) -> Result<()> {
        self.operator.restore(snapshot, groups)
    }
}

/// A snapshot in memory, which checks on the way in what the contract asks of sections.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    sections: BTreeMap<String, Vec<RecordBatch>>,
}

impl StateWriter for Snapshot {
    fn write(&mut self, name: &str, rows: RecordBatch) -> Result<()> {
        crate::state::in_range(&rows, &KeyGroupRange::all())?;
        self.sections.entry(name.to_owned()).or_default().push(rows);
        Ok(())
    }

    fn write_later(&mut self, later: Later) -> Result<()> {
        later(self)
    }
}

impl StateReader for Snapshot {
    fn read(&mut self, name: &str) -> Result<Vec<RecordBatch>> {
        Ok(self.sections.get(name).cloned().unwrap_or_default())
    }
}

/// Adds a delta to a bag; rows that come to nothing leave it.
pub fn add(bag: &mut Bag, delta: &Delta) -> Result<()> {
    for (row, values) in texts(delta.rows())?.into_iter().enumerate() {
        *bag.entry(values).or_default() += delta.weight(row);
    }
    bag.retain(|_, weight| *weight != 0);
    Ok(())
}

/// The rows of a batch as text.
pub fn texts(rows: &RecordBatch) -> Result<Vec<Vec<Option<String>>>> {
    let options = FormatOptions::default();
    let mut texts = vec![Vec::with_capacity(rows.num_columns()); rows.num_rows()];
    for column in rows.columns() {
        let formatter = ArrayFormatter::try_new(column, &options)?;
        for (row, text) in texts.iter_mut().enumerate() {
            let value = formatter.value(row).try_to_string().map_err(SqlError::from)?;
            text.push((!column.is_null(row)).then_some(value));
        }
    }
    Ok(texts)
}

#[cfg(test)]
mod tests;
