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

use super::clock::{DefinedSource, Waker};
use super::event_time::{Held, RelationTime, Stamped};
use super::late_rows::{LateRows, LateStore};
use super::source_status::{SourceStatus, SplitState};
use arrow::array::{Int64Array, RecordBatch};
use arrow::buffer::BooleanBuffer;
use millrace_catalog::Late;
use millrace_connectors::{Chunk, Poll, Source, Split, SplitReader};
use millrace_planner::bind::WatermarkExpression;
use millrace_types::{Delta, EventTime, Offset, RelationId, Result, SqlError};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// Rows in a chunk: large enough to amortise a tick, small enough to stay in cache.
const CHUNK_ROWS: usize = 32 * 1024;
/// Chunks that wait for the clock, per reading.
const QUEUED_CHUNKS: usize = 4;
/// How long a reader sleeps when its splits have nothing new.
const IDLE: Duration = Duration::from_millis(5);
/// How often a source is asked for new splits.
const DISCOVERY: Duration = Duration::from_secs(1);

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
}

/// What a reader thread reports.
enum Event {
    /// The splits that it knows so far; sent first, and again when there are new ones.
    Splits(Vec<Split>),
    Chunk {
        split: u32,
        chunk: Box<Chunk>,
        lag: Option<u64>,
        /// How far time has come with each row, if the source has a watermark.
        marks: Option<Int64Array>,
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
        let held = time.as_ref().map(|time| time.timed.held(columns.clone()));
        let all: Arc<[usize]> = columns.into_iter().collect();
        let (columns, read) =
            held.as_ref().map_or((all.clone(), all), |held| (held.columns.clone(), held.read.clone()));
        let marks = time.as_ref().map(|time| time.timed.expression.over(&read)).transpose()?;
        let (source, status) = (defined.source.clone(), defined.status.clone());
        let (sender, events) = sync_channel(QUEUED_CHUNKS);
        let (stop, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (offsets, begin) = (BTreeMap::new(), bounds.from.clone());
        let source = source.for_one_thread().unwrap_or(source);
        let threads =
            Threads { source, columns: read, marks, bounds, sender, stop: stop.clone(), rounds: rounds.clone(), waker };
        thread::Builder::new().name(format!("read-{relation}")).spawn(move || threads.run())?;
        Ok(Reading {
            relation,
            columns,
            only,
            offsets,
            time,
            held,
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
                Event::Chunk { split, chunk, lag, marks } => {
                    rows += chunk.rows.num_rows();
                    self.offsets.insert(split, chunk.end);
                    // Without a known end a split is never behind anything.
                    self.caught_up.entry(split).and_modify(|done| *done |= lag.is_none());
                    if self.only.is_none() {
                        self.status.record(split, &chunk, lag);
                    }
                    if chunk.rows.num_rows() > 0 {
                        match self.timed(split, chunk.rows, marks, now) {
                            Ok(rows) => fed.push(Fed { rows, deletes: chunk.deletes }),
                            Err(error) => self.status.fail(Some(split), error),
                        }
                    }
                }
                Event::CaughtUp { split, finished } => {
                    self.caught_up.insert(split, true);
                    self.ended.insert(split);
                    if let Some(time) = self.time.as_mut().filter(|_| finished) {
                        time.finish(split);
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
            if let Some(time) = &mut self.time {
                time.know(split.id, &split.name, now);
            }
            if self.only.is_none() {
                self.status.know(split, begin);
            }
        }
    }

    /// Takes in the times of rows, and gives them the hidden columns that were asked for. Keeps those that came too late
    /// beside the tick.
    fn timed(
        &mut self,
        split: u32,
        rows: RecordBatch,
        marks: Option<Int64Array>,
        now: EventTime,
    ) -> Result<RecordBatch> {
        let (Some(time), Some(marks), Some(held)) = (&mut self.time, marks, &self.held) else { return Ok(rows) };
        let drops = time.timed.definition.late == Late::Drop;
        let Stamped { rows, late } = time.stamp(split, rows, &marks, held, now)?;
        match late {
            Some(late) if drops && self.only.is_none() => self.late_store.add(late.dropped()),
            Some(late) if !drops => self.late.push(late),
            _ => {}
        }
        Ok(rows)
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

/// The reader side, on its own thread.
struct Threads {
    source: Arc<dyn Source>,
    columns: Arc<[usize]>,
    marks: Option<WatermarkExpression>,
    bounds: Bounds,
    sender: SyncSender<Event>,
    stop: Arc<AtomicBool>,
    /// Rounds through all splits that left nothing unread.
    rounds: Arc<AtomicU64>,
    waker: Waker,
}

/// One split while it is read.
struct Open {
    id: u32,
    reader: Box<dyn SplitReader>,
    caught_up: bool,
    /// What was last said to stand in the way.
    trouble: Option<SqlError>,
}

/// The clock no longer listens: the reading has ended.
struct Stopped;

impl Threads {
    fn run(self) {
        // A send fails once the clock has dropped the reading: then there is nothing left to do.
        let _: Result<(), Stopped> = self.read_all();
        self.rounds.store(u64::MAX, Ordering::Release);
    }

    fn read_all(&self) -> Result<(), Stopped> {
        let (mut known, mut open, mut asked) = (0, vec![], None::<Instant>);
        let mut trouble = None;
        loop {
            if asked.is_none_or(|at| at.elapsed() > DISCOVERY) {
                known = self.discover(known, &mut open, &mut trouble)?;
                asked = Some(Instant::now());
            }
            if open.is_empty() && (self.source.is_bounded() || self.bounds.until.is_some()) {
                return Ok(());
            }
            let (mut idle, mut behind) = (true, false);
            let mut next = 0;
            while next < open.len() {
                match self.step(&mut open[next])? {
                    Step::Read { is_behind } => {
                        idle = false;
                        behind |= is_behind;
                    }
                    Step::Waiting { is_behind } => behind |= is_behind,
                    Step::Done => {
                        open.swap_remove(next);
                        continue;
                    }
                }
                next += 1;
            }
            if !behind {
                self.rounds.fetch_add(1, Ordering::AcqRel);
            }
            if idle {
                self.check_running()?;
                match open.first_mut() {
                    Some(open) => open.reader.wait(),
                    None => thread::sleep(IDLE),
                }
            }
        }
    }

    /// Opens the splits after the first `known` ones; answers how many there are.
    fn discover(&self, known: usize, open: &mut Vec<Open>, trouble: &mut Option<SqlError>) -> Result<usize, Stopped> {
        let splits = match self.source.splits() {
            Ok(splits) => splits,
            Err(error) if error.state().is_connection() => {
                self.report(None, trouble, Some(error))?;
                return Ok(known);
            }
            Err(error) => {
                self.send(Event::Failed { split: None, error })?;
                return Ok(known);
            }
        };
        self.report(None, trouble, None)?;
        if splits.len() > known || known == 0 {
            self.send(Event::Splits(splits.clone()))?;
        }
        for split in splits.iter().skip(known) {
            match self.open(split) {
                Ok(Some(reader)) => open.push(Open { id: split.id, reader, caught_up: false, trouble: None }),
                Ok(None) => self.send(Event::CaughtUp { split: split.id, finished: true })?,
                Err(error) => self.send(Event::Failed { split: Some(split.id), error })?,
            }
        }
        Ok(splits.len())
    }

    fn open(&self, split: &Split) -> Result<Option<Box<dyn SplitReader>>> {
        let from = self.bounds.from.get(&split.name).copied().unwrap_or_default();
        let Some(until) = &self.bounds.until else {
            return self.source.open(split, from, &self.columns).map(Some);
        };
        match until.get(&split.name) {
            Some(end) if *end > from => {
                let mut by_itself = self.source.open(split, from, &self.columns)?;
                if by_itself.end_at(*end) {
                    return Ok(Some(by_itself));
                }
                let reader = UntilReader::open(self.source.clone(), split.clone(), &self.columns, from, *end)?;
                Ok(Some(Box::new(reader)))
            }
            _ => Ok(None),
        }
    }

    /// Says what stands in the way, if that is new.
    fn report(&self, split: Option<u32>, said: &mut Option<SqlError>, error: Option<SqlError>) -> Result<(), Stopped> {
        match *said != error {
            true => {
                said.clone_from(&error);
                self.send(Event::Trouble { split, error })
            }
            false => Ok(()),
        }
    }

    fn step(&self, open: &mut Open) -> Result<Step, Stopped> {
        let split = open.id;
        let polled = open.reader.poll(CHUNK_ROWS);
        if let Ok(Poll::Chunk(_) | Poll::Pending | Poll::Finished) = polled {
            self.report(Some(split), &mut open.trouble, None)?;
        }
        match polled {
            Ok(Poll::Waiting(trouble)) => {
                // Without knowing why nothing comes, there may be something that is on its way.
                let is_behind = trouble.is_none();
                if !is_behind {
                    self.report(Some(split), &mut open.trouble, trouble)?;
                }
                Ok(Step::Waiting { is_behind })
            }
            Ok(Poll::Chunk(chunk)) => {
                open.caught_up = false;
                let lag = open.reader.lag();
                let marks = self.marks.as_ref().map(|marks| marks.times(&chunk.rows));
                self.send(Event::Chunk { split, chunk: Box::new(chunk), lag, marks })?;
                // What has no end is never behind.
                Ok(Step::Read { is_behind: lag.is_some_and(|lag| lag > 0) })
            }
            Ok(Poll::Pending) => {
                if !open.caught_up {
                    open.caught_up = true;
                    self.send(Event::CaughtUp { split, finished: false })?;
                }
                Ok(Step::Waiting { is_behind: false })
            }
            Ok(Poll::Finished) => {
                self.send(Event::CaughtUp { split, finished: true })?;
                Ok(Step::Done)
            }
            Err(error) => {
                self.send(Event::Failed { split: Some(split), error })?;
                Ok(Step::Done)
            }
        }
    }

    fn send(&self, event: Event) -> Result<(), Stopped> {
        self.check_running()?;
        self.sender.send(event).map_err(|_| Stopped)?;
        self.waker.wake();
        Ok(())
    }

    fn check_running(&self) -> Result<(), Stopped> {
        if self.stop.load(Ordering::Relaxed) { Err(Stopped) } else { Ok(()) }
    }
}

enum Step {
    Read { is_behind: bool },
    Waiting { is_behind: bool },
    Done,
}

/// Reads a split up to an offset at which a record ends. Readers stop only after a number of records, so the chunk that
/// would cross the end is read again in halves until one ends there.
struct UntilReader {
    source: Arc<dyn Source>,
    split: Split,
    columns: Vec<usize>,
    reader: Box<dyn SplitReader>,
    position: Offset,
    end: Offset,
    max_rows: usize,
}

impl UntilReader {
    fn open(
        source: Arc<dyn Source>,
        split: Split,
        columns: &[usize],
        from: Offset,
        end: Offset,
    ) -> Result<UntilReader> {
        let reader = source.open(&split, from, columns)?;
        Ok(UntilReader { source, split, columns: columns.to_vec(), reader, position: from, end, max_rows: CHUNK_ROWS })
    }
}

impl SplitReader for UntilReader {
    fn poll(&mut self, max_rows: usize) -> Result<Poll> {
        loop {
            if self.position >= self.end {
                return Ok(Poll::Finished);
            }
            match self.reader.poll(max_rows.min(self.max_rows))? {
                Poll::Chunk(chunk) if chunk.end > self.end && self.max_rows > 1 => {
                    let records = chunk.rows.num_rows() + chunk.bad.len();
                    self.max_rows = (records.min(self.max_rows) / 2).max(1);
                    self.reader = self.source.open(&self.split, self.position, &self.columns)?;
                }
                Poll::Chunk(chunk) => {
                    self.position = chunk.end;
                    return Ok(Poll::Chunk(chunk));
                }
                other => return Ok(other),
            }
        }
    }

    fn lag(&self) -> Option<u64> {
        Some(self.end.0 - self.position.0.min(self.end.0))
    }
}
