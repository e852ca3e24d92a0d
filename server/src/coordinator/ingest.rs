//! Sources on their way in: reader threads decode chunks into a bounded queue, and the clock takes them from there.
//!
//! ```text
//!   split 0 --reader--+
//!   split 1 --reader--+--> bounded queue --> clock: one tick's input
//!   split 2 --reader--+    (a full queue stops the readers)
//! ```
//!
//! A source is read once for all jobs that need it, with the union of their columns. A job that comes later reads the
//! history by a reader of its own, up to where the shared reader stands; since changes add up in any order, both may
//! run side by side, and the job counts as built when its own reader is through.

mod rows;
mod threads;

use super::arrivals::Arrivals;
use super::clock::{DefinedSource, Waker};
use super::event_time::{Held, RelationTime};
use super::late_rows::{LateRows, LateStore};
use super::source_status::{SourceStatus, SplitState};
use arrow::array::RecordBatch;
use arrow::buffer::BooleanBuffer;
use millrace_connectors::{Chunk, Source, Split};
use millrace_planner::bind::WatermarkExpression;
use millrace_types::{Delta, EventTime, Offset, RelationId, Result, SqlError};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use threads::{Threads, Times};

/// Rows in a chunk: large enough to amortise a tick, small enough to stay in cache.
const CHUNK_ROWS: usize = 32 * 1024;
/// Chunks that wait for the clock, per reading.
const QUEUED_CHUNKS: usize = 4;

/// A source being read, for all its jobs or for one that catches up.
pub struct Reading {
    /// Which source.
    pub relation: RelationId,
    /// The columns that its deltas hold, as positions in the relation.
    pub columns: Arc<[usize]>,
    /// The job that alone sees these rows: it reads the history by itself.
    pub only: Option<RelationId>,
    /// How far each split has been taken into ticks, by split id.
    pub offsets: BTreeMap<u32, Offset>,
    /// How far the times of its rows have come, if the source has a watermark.
    pub time: Option<RelationTime>,
    held: Option<Held>,
    /// What the wall clock decides about its rows, if it does.
    arrivals: Option<Arc<Arrivals>>,
    /// How far time has come with rows, where that takes columns that a connector does not read.
    marks: Option<WatermarkExpression>,
    /// The source with the columns that are read of it, where late rows are not read whole.
    again: Option<Partly>,
    /// The columns that its rows have before the hidden ones.
    read: Arc<[usize]>,
    /// Rows taken so far, by split.
    taken: BTreeMap<u32, u64>,
    /// The rows of the open tick that came too late.
    pub late: Vec<LateRows>,
    late_store: Arc<LateStore>,
    /// What each split is called outside.
    names: BTreeMap<u32, String>,
    caught_up: BTreeMap<u32, bool>,
    /// Splits that had nothing unread at some time, or cannot be read.
    ended: BTreeSet<u32>,
    discovered: bool,
    events: Receiver<Event>,
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicU64>,
    status: Arc<SourceStatus>,
    /// Whether what is read is stored in the relation, which is a table.
    pub feeds: bool,
    /// Where splits of these names begin.
    begin: BTreeMap<String, Offset>,
    /// How many rows came before that.
    begin_rows: BTreeMap<String, u64>,
}

/// A source of which only some columns are read.
struct Partly {
    source: Arc<dyn Source>,
    /// As the connector counts them.
    columns: Arc<[usize]>,
}

/// What a reader thread reports.
enum Event {
    /// The splits that it knows so far; sent first, and again when there are new ones.
    Splits(Vec<Split>),
    Chunk {
        split: u32,
        chunk: Box<Chunk>,
        lag: Option<u64>,
        times: Times,
    },
    /// Nothing unread right now, or nothing ever again.
    CaughtUp {
        split: u32,
        finished: bool,
    },
    /// Nothing arrives for the moment, for this reason; `None`: it does again.
    Trouble {
        split: Option<u32>,
        error: Option<SqlError>,
    },
    Failed {
        split: Option<u32>,
        error: SqlError,
    },
}

/// Rows of a chunk on their way into a table.
pub struct Fed {
    pub rows: RecordBatch,
    /// Which of them say that the row of their key is gone.
    pub deletes: Option<BooleanBuffer>,
}

/// Where a reading starts and ends.
#[derive(Default)]
pub struct Bounds {
    /// The offset from which each split is read, by its name; the start for those not named.
    pub from: BTreeMap<String, Offset>,
    /// The offset at which each split ends; splits not named are not read. `None`: no end.
    pub until: Option<BTreeMap<String, Offset>>,
    /// How many rows are before `from`.
    pub rows: BTreeMap<String, u64>,
}

impl Reading {
    /// Starts to read.
    pub fn start(
        relation: RelationId,
        defined: &DefinedSource,
        columns: BTreeSet<usize>,
        only: Option<RelationId>,
        bounds: Bounds,
        time: Option<RelationTime>,
        waker: Waker,
    ) -> Result<Reading> {
        let arrivals = defined.arrivals.clone();
        let tells_whole = defined.source.tells_whole();
        let held = time.as_ref().map(|time| time.timed.held(columns.clone(), tells_whole));
        let all: Arc<[usize]> = columns.into_iter().collect();
        let (columns, read) =
            held.as_ref().map_or((all.clone(), all), |held| (held.columns.clone(), held.read.clone()));
        let marks = time.as_ref().map(|time| time.timed.expression.over(&read)).transpose()?;
        // Rows that tell when they came in do so only when they are taken.
        let is_late = arrivals.as_ref().is_some_and(|arrivals| arrivals.has_columns());
        let (marks, own_marks) = if is_late { (None, marks) } else { (marks, None) };
        let outside: Arc<[usize]> =
            arrivals.as_ref().map_or_else(|| read.clone(), |arrivals| arrivals.outside(&read).into());
        let in_part =
            |time: &&RelationTime| held.as_ref().is_some_and(|h| h.keeps_late) && read.len() < time.timed.width;
        let partly = time.as_ref().filter(in_part);
        let late_time = partly.and_then(|time| read.iter().position(|column| *column == time.timed.column));
        let again = partly.map(|_| Partly { source: defined.source.clone(), columns: outside.clone() });
        let (source, status) = (defined.source.clone(), defined.status.clone());
        let (sender, events) = sync_channel(QUEUED_CHUNKS);
        let (stop, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (offsets, begin, begin_rows) = (BTreeMap::new(), bounds.from.clone(), bounds.rows.clone());
        let source = source.for_one_thread().unwrap_or(source);
        let threads = Threads {
            source,
            columns: outside,
            marks,
            late_time,
            bounds,
            sender,
            stop: stop.clone(),
            rounds: rounds.clone(),
            waker,
        };
        thread::Builder::new().name(format!("read-{relation}")).spawn(move || threads.run())?;
        Ok(Reading {
            relation,
            columns,
            only,
            offsets,
            time,
            held,
            arrivals,
            marks: own_marks,
            again,
            read,
            taken: BTreeMap::new(),
            late: vec![],
            late_store: defined.late.clone(),
            names: BTreeMap::new(),
            caught_up: BTreeMap::new(),
            ended: BTreeSet::new(),
            discovered: false,
            events,
            stop,
            rounds,
            status,
            feeds: false,
            begin,
            begin_rows,
        })
    }

    /// Takes what the readers have decoded, up to about `limit` rows, and whether there may be more.
    pub fn take(&mut self, limit: usize, now: EventTime) -> (Vec<Delta>, bool) {
        let (fed, more) = self.take_fed(limit, now);
        (fed.into_iter().map(|fed| Delta::inserts(fed.rows)).collect(), more)
    }

    /// Takes what the readers have decoded, also rows that are gone, up to about `limit` rows.
    pub fn take_fed(&mut self, limit: usize, now: EventTime) -> (Vec<Fed>, bool) {
        let (mut fed, mut rows) = (vec![], 0);
        self.late.clear();
        while rows < limit {
            let Ok(event) = self.events.try_recv() else { return (fed, false) };
            match event {
                Event::Splits(splits) => self.know(splits, now),
                Event::Chunk { split, chunk, lag, times } => {
                    rows += chunk.rows.num_rows();
                    let from = self.offsets.insert(split, chunk.end).unwrap_or_default();
                    // Without a known end a split is never behind anything.
                    self.caught_up.entry(split).and_modify(|done| *done |= lag.is_none());
                    if self.only.is_none() {
                        self.status.record(split, &chunk, lag);
                    }
                    if chunk.rows.num_rows() > 0 {
                        match self.timed((split, from), *chunk, times, now) {
                            Ok(rows) => fed.extend(rows),
                            Err(error) => self.status.fail(Some(split), error),
                        }
                    }
                    self.note_behind(split, lag.is_some_and(|lag| lag > 0));
                }
                Event::CaughtUp { split, finished } => {
                    self.caught_up.insert(split, true);
                    self.ended.insert(split);
                    if let Some(time) = &mut self.time {
                        time.set_behind(split, false);
                        if finished {
                            time.finish(split);
                        }
                    }
                    if self.only.is_none() {
                        self.status
                            .set_state(split, if finished { SplitState::Finished } else { SplitState::CaughtUp });
                    }
                }
                Event::Trouble { split, error } => {
                    if let Some(error) = &error {
                        tracing::warn!(source = %self.relation, split, %error, "source is not read for now");
                    }
                    if let Some((time, split)) = self.time.as_mut().zip(split) {
                        time.set_behind(split, false);
                    }
                    self.status.trouble(split, error);
                }
                Event::Failed { split, error } => {
                    tracing::warn!(source = %self.relation, split, error = %error, "source cannot be read");
                    self.status.fail(split, error);
                    self.caught_up.extend(split.map(|split| (split, true)));
                    self.ended.extend(split);
                    self.discovered = true;
                }
            }
        }
        (fed, true)
    }

    fn know(&mut self, splits: Vec<Split>, now: EventTime) {
        self.discovered = true;
        for split in splits {
            self.caught_up.entry(split.id).or_insert(false);
            let begin = self.begin.get(&split.name).copied().unwrap_or_default();
            self.offsets.entry(split.id).or_insert(begin);
            self.names.insert(split.id, split.name.clone());
            let rows = self.begin_rows.get(&split.name).copied().unwrap_or_default();
            self.taken.entry(split.id).or_insert(rows);
            self.know_time(&split, now);
            if self.only.is_none() {
                self.status.know(split, begin);
            }
        }
    }

    /// How many rows of each split have been taken into ticks, by its name.
    pub fn rows_taken(&self) -> BTreeMap<String, u64> {
        let named = self.names.iter().filter_map(|(split, name)| Some((name.clone(), *self.taken.get(split)?)));
        self.begin_rows.clone().into_iter().chain(named).collect()
    }

    /// How far the watermark came without rows, once all the rows of then have been taken.
    pub fn floor(&self) -> Option<i64> {
        let arrivals = self.arrivals.as_ref()?;
        let has_come = |(split, name): (&u32, &String)| {
            self.ended.contains(split)
                || arrivals.rows(name).unwrap_or_default() <= *self.taken.get(split).unwrap_or(&0)
        };
        arrivals.watermark().filter(|_| self.discovered && self.names.iter().all(has_come))
    }

    /// How far each split has been taken into ticks, by its name.
    pub fn named_offsets(&self) -> impl Iterator<Item = (&String, Offset)> {
        self.names.iter().filter_map(|(split, name)| Some((name, *self.offsets.get(split)?)))
    }

    /// Where each split stands, by its name, also of those that are not known yet.
    pub fn position(&self) -> BTreeMap<String, Offset> {
        let mut position = self.begin.clone();
        position.extend(self.named_offsets().map(|(name, offset)| (name.clone(), offset)));
        position
    }

    /// Whether every split has been read as far as `offsets` say, or to its end, or cannot be. Splits that are no longer
    /// there do not count.
    pub fn has_reached(&self, offsets: &BTreeMap<String, Offset>) -> bool {
        self.discovered
            && self.names.iter().all(|(split, name)| {
                self.ended.contains(split)
                    || offsets.get(name).is_none_or(|wanted| self.offsets.get(split).is_some_and(|at| at >= wanted))
            })
    }

    /// How often the reader has found nothing unread in any split; how many rounds it takes until it has done so after now.
    pub fn rounds(&self) -> (Arc<AtomicU64>, u64) {
        // The round under way may have begun before.
        (self.rounds.clone(), self.rounds.load(Ordering::Acquire).saturating_add(2))
    }

    /// Whether every split has been read to where it ended when the reader got there.
    pub fn is_caught_up(&self) -> bool {
        self.discovered && self.caught_up.values().all(|done| *done)
    }
}

impl Drop for Reading {
    /// Readers notice within a poll, and at once when they wait for room in the queue.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
