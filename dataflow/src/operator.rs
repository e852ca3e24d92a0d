//! The contract of an operator. Operators know deltas and ticks; they know nothing of threads, timely or SQL.

use crate::read_model::Block;
use millrace_types::{Delta, EventTime, KeyGroupRange, RelationId, Result, SqlError, Tick};
use std::sync::Arc;

/// One step of a dataflow, on one worker.
///
/// The driver calls `on_batch` for each delta of the open tick in any order. When all input of the tick has arrived it
/// calls `on_watermark` for each port whose watermark moved, `on_clock`, and `on_tick` once. Between two `on_tick`s an operator may emit at either call, but after `on_tick` its whole output up
/// to that tick has been emitted, so that the sum of its deltas is its query over the sum of its inputs. An operator is
/// not called at ticks that change nothing upstream and where it has no timer due.
///
/// An `Err` is a broken invariant or exhausted resource and ends the job. An expression that fails on a row is not
/// that: it goes to [`Output::row_error`] with the row's weight, and so heals when the row is retracted.
pub trait Operator: Send {
    /// Changes that arrive at input `port`, which counts from 0.
    fn on_batch(&mut self, port: usize, delta: Delta, out: &mut Output) -> Result<()>;

    /// No row older than `watermark` is to arrive at `port` any more: the minimum of the watermarks of the relations below
    /// it, as of the open tick. It only grows. A job that begins late gets the present one in its first tick.
    fn on_watermark(&mut self, _port: usize, _watermark: EventTime, _out: &mut Output) -> Result<()> {
        Ok(())
    }

    /// The wall clock as of the open tick; it never goes back.
    fn on_clock(&mut self, _now: EventTime) -> Result<()> {
        Ok(())
    }

    /// All input of `tick` has arrived.
    fn on_tick(&mut self, tick: Tick, out: &mut Output) -> Result<()>;

    /// The watermark at which the operator wants a tick even without input.
    fn next_timer(&self) -> Option<EventTime> {
        None
    }

    /// The moment of the wall clock at which the operator wants a tick even without input.
    fn next_alarm(&self) -> Option<EventTime> {
        None
    }

    /// Writes the state as of the last tick; called only right after `on_tick`. Stateless operators write nothing.
    fn snapshot(&mut self, _kind: SnapshotKind, _to: &mut dyn StateWriter) -> Result<()> {
        Ok(())
    }

    /// Reads back the part of a snapshot that belongs to `groups`; called once, before any input, and once per
    /// snapshot when several workers' state is merged into one.
    fn restore(&mut self, _from: &mut dyn StateReader, _groups: KeyGroupRange) -> Result<()> {
        Ok(())
    }

    /// Whether its state changes as the wall clock goes on. Such state is no function of the key groups that it belongs
    /// to, and goes back only to the worker that it came from.
    fn follows_clock(&self) -> bool {
        false
    }

    /// How much the operator keeps.
    fn state_size(&self) -> StateSize {
        StateSize::default()
    }

    /// How many changes have come after what they concern was final, and changed nothing.
    fn dropped(&self) -> u64 {
        0
    }
}

/// What time it is in a tick, for the operators of one job.
#[derive(Clone, Debug, Default)]
pub struct Moment {
    /// The wall clock; `None` before the first tick.
    pub now: Option<EventTime>,
    /// The watermark of each leaf of the job's plan; `None` while there is none.
    pub watermarks: Vec<Option<EventTime>>,
}

/// When operators want a tick without input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timers {
    /// The least watermark at which one does.
    pub watermark: Option<EventTime>,
    /// The earliest moment of the wall clock at which one does.
    pub clock: Option<EventTime>,
}

impl Timers {
    /// The earlier ones of both.
    pub fn or(self, other: Timers) -> Timers {
        let earlier = |a: Option<EventTime>, b: Option<EventTime>| a.into_iter().chain(b).min();
        Timers { watermark: earlier(self.watermark, other.watermark), clock: earlier(self.clock, other.clock) }
    }
}

/// What an operator emits.
#[derive(Default)]
pub struct Output {
    deltas: Vec<Delta>,
    errors: Vec<RowError>,
    rejected: Vec<RejectedRow>,
}

/// A row that came too late: its source, and its number there.
pub type RejectedRow = (RelationId, i64);

/// A row's expression that failed, as often as the row was inserted (`weight > 0`) or retracted.
#[derive(Clone, Debug, PartialEq)]
pub struct RowError {
    pub error: SqlError,
    pub weight: i64,
    /// The row, as people read it, if the error is one row's.
    pub row: Option<Arc<str>>,
}

impl Output {
    /// Passes changes on; empty ones are dropped.
    pub fn push(&mut self, delta: Delta) {
        if !delta.is_empty() {
            self.deltas.push(delta);
        }
    }

    /// Reports that a row's expression failed.
    pub fn row_error(&mut self, error: SqlError, weight: i64) {
        self.report(RowError { error, weight, row: None });
    }

    /// Reports a row error with the row.
    pub fn report(&mut self, error: RowError) {
        self.errors.push(error);
    }

    /// Reports rows that came too late.
    pub fn reject(&mut self, rows: impl Iterator<Item = RejectedRow>) {
        self.rejected.extend(rows);
    }

    /// Takes the rows that came too late.
    pub fn take_rejected(&mut self) -> Vec<RejectedRow> {
        std::mem::take(&mut self.rejected)
    }

    /// Takes the deltas emitted so far.
    pub fn take_deltas(&mut self) -> Vec<Delta> {
        std::mem::take(&mut self.deltas)
    }

    /// Takes the row errors reported so far.
    pub fn take_errors(&mut self) -> Vec<RowError> {
        std::mem::take(&mut self.errors)
    }

    /// Whether nothing was emitted.
    pub fn is_empty(&self) -> bool {
        self.deltas.is_empty() && self.errors.is_empty() && self.rejected.is_empty()
    }
}

/// How much of the state a snapshot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotKind {
    /// All of it.
    Full,
    /// What changed since the snapshot before.
    Incremental,
}

/// Where a snapshot goes: named sections of hash-ordered batches.
pub trait StateWriter {
    /// Writes rows of the section `name`, whose first column is the UInt64 key hash in ascending order.
    fn write(&mut self, name: &str, rows: arrow::array::RecordBatch) -> Result<()>;

    /// Writes the rows of runs, in this order. Who writes them down later may keep the runs instead.
    fn write_runs(&mut self, name: &str, runs: Vec<Block>) -> Result<()> {
        runs.iter().flat_map(Block::sections).try_for_each(|rows| self.write(name, rows?))
    }

    /// Writes what `later` writes. Who writes it down later may let it do so then, on another thread.
    fn write_later(&mut self, later: Later) -> Result<()>;
}

/// Writes sections of a copy of the state that it owns: making the copy is all that ticks wait for.
pub type Later = Box<dyn FnOnce(&mut dyn StateWriter) -> Result<()> + Send>;

/// Where a snapshot comes from.
pub trait StateReader {
    /// All batches of the section `name`, as they were written.
    fn read(&mut self, name: &str) -> Result<Vec<arrow::array::RecordBatch>>;
}

/// How much state an operator keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateSize {
    /// Rows kept.
    pub rows: usize,
    /// Bytes of memory, nearly.
    pub bytes: usize,
}
