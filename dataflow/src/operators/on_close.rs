//! OnClose: rows wait until the watermark says that they are final, and are passed on once.
//!
//! Stateful: the changes of rows that are not final, in buckets by when they will be. A row that came and went in
//! between never leaves; what changes a row that is final already comes too late, and is dropped and counted. A closed
//! bucket goes as a whole, so that closing costs as much as there is to close. Rows leave in the order of their times.
//! Nothing is ever retracted.
//!
//! ```text
//!   watermark 8:12              buckets:   < 8:00   8:00..8:10   8:10..8:20   8:20..8:30
//!                                          gone     closes now   is looked    waits
//!                                                                through
//! ```
//!
//! A row without a time is never final, and is in no window: it is left out.

use crate::operator::{Operator, Output, SnapshotKind, StateReader, StateSize, StateWriter};
use crate::state::{Run, corrupt, sorted_batch, weighted_rows, weighted_section};
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::{SortOptions, sort_to_indices, take_record_batch};
use arrow::datatypes::{Int64Type, SchemaRef, TimestampMicrosecondType};
use millrace_ir::Closing;
use millrace_types::{Delta, EventTime, KeyGroupRange, Result, Tick, Weights};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What an [`OnClose`] must know.
#[derive(Clone, Debug)]
pub struct OnCloseOptions {
    pub schema: SchemaRef,
    pub closing: Closing,
    /// After so many microseconds of the wall clock without input the clock counts as the watermark.
    pub idle: Option<i64>,
    /// The columns by which rows are distributed over the workers.
    pub partitioned_by: Vec<usize>,
}

/// Passes rows on when they are final.
pub struct OnClose {
    options: OnCloseOptions,
    /// By the time at which they close, in steps of [`STEP_BITS`].
    pending: BTreeMap<i64, Bucket>,
    /// Everything up to here has left.
    closed: Option<i64>,
    /// The wall clock, and as of when there was input.
    now: Option<i64>,
    active: Option<i64>,
    touched: bool,
    /// Changes that came too late.
    dropped: u64,
}

/// Changes of rows that close at nearly the same time.
#[derive(Default)]
struct Bucket {
    changes: Vec<Delta>,
    rows: usize,
    /// How many rows were left when changes were last netted.
    netted: usize,
    /// No row of it closes earlier.
    first: i64,
}

/// A bucket spans this power of two of microseconds: about a quarter of a second. Windows end together, and have a
/// bucket of their own; sessions end at any time, and would be a bucket each.
const STEP_BITS: u32 = 18;

/// Changes that are not worth netting.
const FEW: usize = 1_024;

const SECTION: &str = "pending";
const CLOSED: &str = "closed";

impl OnClose {
    /// Without a row yet.
    pub fn new(options: OnCloseOptions) -> OnClose {
        OnClose { options, pending: BTreeMap::new(), closed: None, now: None, active: None, touched: false, dropped: 0 }
    }

    /// Puts changes into their buckets.
    fn wait(&mut self, delta: &Delta) -> Result<()> {
        let (times, delay) = (closes(delta.rows(), self.options.closing), self.options.closing.delay);
        let mut places: Vec<(i64, u32)> = Vec::with_capacity(delta.len());
        let mut earliest: BTreeMap<i64, i64> = BTreeMap::new();
        for row in 0..delta.len() {
            let close = times.value(row).saturating_add(delay);
            if times.is_null(row) {
                continue;
            }
            if self.closed.is_some_and(|closed| close <= closed) {
                self.dropped += delta.weight(row).unsigned_abs();
                continue;
            }
            let step = close >> STEP_BITS;
            let first = earliest.entry(step).or_insert(close);
            *first = close.min(*first);
            places.push((step, row as u32));
        }
        places.sort_unstable();
        for part in places.chunk_by(|(a, _), (b, _)| a == b) {
            let (step, whole) = (part[0].0, part.len() == delta.len());
            let rows: UInt32Array = part.iter().map(|(_, row)| *row).collect();
            let part = if whole { delta.clone() } else { delta.take(&rows)? };
            let first = earliest.get(&step).copied().unwrap_or(i64::MIN);
            let bucket = self.pending.entry(step).or_insert_with(|| Bucket { first, ..Bucket::default() });
            bucket.first = bucket.first.min(first);
            bucket.add(part, &self.options.schema)?;
        }
        Ok(())
    }

    /// Passes on what closes until `watermark`.
    fn close(&mut self, watermark: i64, out: &mut Output) -> Result<()> {
        if self.closed.is_some_and(|closed| watermark <= closed) {
            return Ok(());
        }
        self.closed = Some(watermark);
        let schema = self.options.schema.clone();
        while let Some(entry) = self.pending.first_entry() {
            let step = *entry.key();
            if entry.get().first > watermark {
                return Ok(());
            }
            let bucket = entry.remove();
            let Some(run) = Run::of(&schema, &[], &bucket.changes)? else { continue };
            let chunks = run.chunks().iter().map(|chunk| (&chunk.rows, &chunk.weights[..]));
            let (mut leave, mut stay) = (vec![], Bucket { first: i64::MAX, ..Bucket::default() });
            for (rows, weights) in chunks {
                let (now, later, first) = self.split(rows, weights, watermark);
                leave.push(taken(rows, weights, &now)?);
                stay.first = stay.first.min(first);
                stay.add(taken(rows, weights, &later)?, &schema)?;
            }
            if stay.rows > 0 {
                stay.netted = stay.rows;
                self.pending.insert(step, stay);
            }
            out.push(self.in_order(&leave)?);
        }
        Ok(())
    }

    /// The rows that close until `watermark`, those that do not, and when the first of these does.
    fn split(&self, rows: &RecordBatch, weights: &[i64], watermark: i64) -> (Vec<u32>, Vec<u32>, i64) {
        let times = closes(rows, self.options.closing);
        let (mut now, mut later, mut first) = (vec![], vec![], i64::MAX);
        for (row, weight) in weights.iter().enumerate() {
            let close = times.value(row).saturating_add(self.options.closing.delay);
            if close > watermark {
                first = first.min(close);
                later.push(row as u32);
            } else if *weight > 0 {
                now.push(row as u32);
            }
        }
        (now, later, first)
    }

    /// Rows in the order of their times.
    fn in_order(&self, parts: &[Delta]) -> Result<Delta> {
        let all = Delta::concat(&self.options.schema, parts)?;
        let times = all.rows().column(self.options.closing.column);
        let order = sort_to_indices(times, Some(SortOptions::default()), None)?;
        Ok(all.take(&order)?)
    }

    fn first(&self) -> Option<i64> {
        self.pending.first_key_value().map(|(_, bucket)| bucket.first)
    }
}

/// The column that says when rows close.
fn closes(rows: &RecordBatch, closing: Closing) -> &arrow::array::TimestampMicrosecondArray {
    rows.column(closing.column).as_primitive::<TimestampMicrosecondType>()
}

/// Some rows with their weights.
fn taken(rows: &RecordBatch, weights: &[i64], places: &[u32]) -> Result<Delta> {
    let weights: Vec<i64> = places.iter().map(|&row| weights[row as usize]).collect();
    let places = UInt32Array::from(places.to_vec());
    Ok(Delta::new(take_record_batch(rows, &places)?, Weights::Each(weights.into())))
}

impl Bucket {
    fn add(&mut self, delta: Delta, schema: &SchemaRef) -> Result<()> {
        if delta.is_empty() {
            return Ok(());
        }
        self.rows += delta.len();
        self.changes.push(delta);
        match self.rows > FEW + 2 * self.netted {
            true => self.net(schema),
            false => Ok(()),
        }
    }

    /// Leaves one change for each row that is there.
    fn net(&mut self, schema: &SchemaRef) -> Result<()> {
        let net = Run::of(schema, &[], &self.changes)?;
        let chunks = net.iter().flat_map(|run| run.chunks());
        let deltas = chunks.map(|chunk| Delta::new(chunk.rows.clone(), Weights::Each(chunk.weights.clone())));
        self.changes = deltas.collect();
        self.rows = self.changes.iter().map(Delta::len).sum();
        self.netted = self.rows;
        Ok(())
    }
}

impl Operator for OnClose {
    fn on_batch(&mut self, _port: usize, delta: Delta, _out: &mut Output) -> Result<()> {
        self.touched = true;
        self.wait(&delta)
    }

    fn on_watermark(&mut self, _port: usize, watermark: EventTime, out: &mut Output) -> Result<()> {
        self.touched = true;
        self.close(watermark.0, out)
    }

    fn on_clock(&mut self, now: EventTime) -> Result<()> {
        self.now = Some(now.0);
        Ok(())
    }

    fn on_tick(&mut self, _tick: Tick, out: &mut Output) -> Result<()> {
        let touched = std::mem::take(&mut self.touched);
        let (Some(idle), Some(now)) = (self.options.idle, self.now) else { return Ok(()) };
        let active = *self.active.get_or_insert(now);
        if touched {
            self.active = Some(now);
        } else if now >= active.saturating_add(idle) {
            self.close(now, out)?;
        }
        Ok(())
    }

    fn next_timer(&self) -> Option<EventTime> {
        self.first().map(EventTime)
    }

    fn next_alarm(&self) -> Option<EventTime> {
        let (idle, first) = (self.options.idle?, self.first()?);
        Some(EventTime(self.active?.saturating_add(idle).max(first)))
    }

    fn snapshot(&mut self, _kind: SnapshotKind, to: &mut dyn StateWriter) -> Result<()> {
        if let Some(closed) = self.closed {
            let closed = Arc::new(Int64Array::from(vec![closed])) as ArrayRef;
            to.write(CLOSED, sorted_batch(vec![0], vec![("closed", closed)])?)?;
        }
        for bucket in self.pending.values() {
            let Some(run) = Run::of(&self.options.schema, &[], &bucket.changes)? else { continue };
            for chunk in run.chunks() {
                to.write(SECTION, weighted_section(chunk, &self.options.partitioned_by)?)?;
            }
        }
        Ok(())
    }

    fn restore(&mut self, from: &mut dyn StateReader, groups: KeyGroupRange) -> Result<()> {
        for batch in from.read(SECTION)? {
            self.wait(&weighted_rows(&batch, &self.options.schema, &groups)?)?;
        }
        for batch in from.read(CLOSED)? {
            let closed = batch.columns().get(1).and_then(|closed| closed.as_primitive_opt::<Int64Type>());
            let closed = closed.ok_or_else(|| corrupt("its columns are others"))?;
            self.closed = self.closed.max(closed.values().first().copied());
        }
        Ok(())
    }

    fn follows_clock(&self) -> bool {
        self.options.idle.is_some()
    }

    fn dropped(&self) -> u64 {
        self.dropped
    }

    fn state_size(&self) -> StateSize {
        let rows = self.pending.values().map(|bucket| bucket.rows).sum();
        let bytes = self.pending.values().flat_map(|bucket| &bucket.changes).map(Delta::bytes).sum();
        StateSize { rows, bytes }
    }
}
