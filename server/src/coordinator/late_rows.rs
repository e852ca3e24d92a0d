//! Rows that came too late, kept as data: what the relation `<source>_late` and `millrace.late_rows` show.
//!
//! Which rows those are is found where they are read. A job that rejects one tells its number; the rows themselves wait
//! beside the tick and never travel.

use super::clock::{Clock, DefinedSource};
use arrow::array::{Array, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use millrace_dataflow::operator::RejectedRow;
use millrace_types::{RelationId, Result};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

/// How many late rows of a source are kept; the oldest make room. All are counted.
const KEPT_ROWS: usize = 100_000;

/// The late rows of a tick and a split, which somebody may reject.
#[derive(Debug)]
pub struct LateRows {
    /// With all columns of the source.
    pub rows: RecordBatch,
    /// What each is called.
    pub numbers: Vec<i64>,
    /// The watermark of the split before each, in microseconds.
    pub watermarks: Int64Array,
}

/// Rows that were left out.
#[derive(Clone, Debug)]
pub struct Rejected {
    pub rows: RecordBatch,
    pub watermarks: Int64Array,
    /// The job that left them out; none when nobody was to see them.
    pub job: Option<RelationId>,
}

/// What is kept of a source's late rows.
#[derive(Debug, Default)]
pub struct LateStore(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    kept: VecDeque<Rejected>,
    rows: usize,
    counts: BTreeMap<Option<RelationId>, u64>,
}

impl LateStore {
    /// Forgets everything: the source is read from its start again.
    pub fn reset(&self) {
        *self.0.lock() = State::default();
    }

    /// Goes on with what was kept, and counted, when the server ended.
    pub fn recall(&self, kept: Vec<Rejected>, counts: impl Iterator<Item = (Option<RelationId>, u64)>) {
        let rows = kept.iter().map(|rejected| rejected.rows.num_rows()).sum();
        *self.0.lock() = State { kept: kept.into(), rows, counts: counts.collect() };
    }

    /// Adds rows.
    pub fn add(&self, rejected: Rejected) {
        let mut state = self.0.lock();
        let rows = rejected.rows.num_rows();
        *state.counts.entry(rejected.job).or_default() += rows as u64;
        state.rows += rows;
        state.kept.push_back(rejected);
        while state.rows > KEPT_ROWS && state.kept.len() > 1 {
            state.rows -= state.kept.pop_front().map_or(0, |oldest| oldest.rows.num_rows());
        }
    }

    /// Forgets what a job has left out.
    pub fn forget(&self, job: RelationId) {
        let mut state = self.0.lock();
        state.kept.retain(|rejected| rejected.job != Some(job));
        state.rows = state.kept.iter().map(|rejected| rejected.rows.num_rows()).sum();
        state.counts.remove(&Some(job));
    }

    /// A job has taken the place of another.
    pub fn rename(&self, new: RelationId, old: RelationId) {
        self.forget(old);
        let mut state = self.0.lock();
        state.kept.iter_mut().filter(|rejected| rejected.job == Some(new)).for_each(|r| r.job = Some(old));
        if let Some(count) = state.counts.remove(&Some(new)) {
            state.counts.insert(Some(old), count);
        }
    }

    /// What is kept, oldest first.
    pub fn kept(&self) -> Vec<Rejected> {
        self.0.lock().kept.iter().cloned().collect()
    }

    /// How many rows each job has left out.
    pub fn counts(&self) -> Vec<(Option<RelationId>, u64)> {
        self.0.lock().counts.iter().map(|(job, count)| (*job, *count)).collect()
    }
}

impl LateRows {
    /// Those of the rows whose numbers are asked for.
    fn rejected(&self, wanted: &HashSet<i64>, job: Option<RelationId>) -> Result<Option<Rejected>> {
        let places = self.numbers.iter().zip(0u32..).filter(|(number, _)| wanted.contains(number));
        let places: UInt32Array = places.map(|(_, place)| place).collect();
        if places.is_empty() {
            return Ok(None);
        }
        let rows = take_record_batch(&self.rows, &places)?;
        let watermarks = places.values().iter().map(|place| {
            let place = *place as usize;
            self.watermarks.is_valid(place).then(|| self.watermarks.value(place))
        });
        Ok(Some(Rejected { rows, watermarks: watermarks.collect(), job }))
    }

    /// All of them, which nobody was to see.
    pub fn dropped(self) -> Rejected {
        Rejected { rows: self.rows, watermarks: self.watermarks, job: None }
    }
}

impl Clock {
    /// Keeps the rows that jobs have left out in a tick; each once for a job, also if it was late for several windows.
    pub(super) fn keep_rejected(&self, rejected: Vec<(RelationId, Vec<RejectedRow>)>) {
        for (job, rows) in rejected {
            let mut sources = HashMap::<RelationId, HashSet<i64>>::new();
            for (source, number) in rows {
                sources.entry(source).or_default().insert(number);
            }
            for (source, numbers) in sources {
                let Some(defined) = self.sources.lock().get(&source).cloned() else { continue };
                let seen = self.readings.iter().filter(|reading| reading.relation == source);
                let seen = seen.filter(|reading| reading.only.is_none_or(|only| only == job));
                for late in seen.flat_map(|reading| &reading.late) {
                    match late.rejected(&numbers, Some(job)) {
                        Ok(rejected) => rejected.into_iter().for_each(|rejected| defined.late.add(rejected)),
                        Err(error) => tracing::error!(%source, %error, "late rows are lost"),
                    }
                }
            }
        }
    }

    /// For each source.
    pub(super) fn each_late_store(&self, act: impl Fn(&LateStore)) {
        self.sources.lock().values().for_each(|defined: &Arc<DefinedSource>| act(&defined.late));
    }
}
