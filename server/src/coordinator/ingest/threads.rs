//! The reader side of a reading: one thread that polls all splits of a source.

use super::{Bounds, CHUNK_ROWS, Event};
use crate::coordinator::clock::Waker;
use arrow::array::{Array, Int64Array, RecordBatch};
use millrace_connectors::{Poll, Source, Split, SplitReader};
use millrace_planner::bind::{WatermarkExpression, micros};
use millrace_types::{Offset, Result, SqlError};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::thread;
use std::time::{Duration, Instant};

/// How long a reader sleeps when its splits have nothing new.
const IDLE: Duration = Duration::from_millis(5);
/// How often a source is asked for new splits.
const DISCOVERY: Duration = Duration::from_secs(1);

/// What a reader thread has to say of the times of a chunk's rows.
#[derive(Default)]
pub(super) struct Times {
    /// How far time has come with each row, if the source has a watermark.
    pub marks: Option<Int64Array>,
    /// Rows that may be late, with all columns, by their places: where the others have only some.
    pub whole: Option<(Vec<u32>, RecordBatch)>,
}

/// The reader side, on its own thread.
pub(super) struct Threads {
    pub source: Arc<dyn Source>,
    pub columns: Arc<[usize]>,
    pub marks: Option<WatermarkExpression>,
    /// The place of the event time among the columns, where late rows are to be told whole.
    pub late_time: Option<usize>,
    pub bounds: Bounds,
    pub sender: SyncSender<Event>,
    pub stop: Arc<AtomicBool>,
    /// Rounds through all splits that left nothing unread.
    pub rounds: Arc<AtomicU64>,
    pub waker: Waker,
}

/// One split while it is read.
struct Open {
    id: u32,
    reader: Box<dyn SplitReader>,
    caught_up: bool,
    /// What was last said to stand in the way.
    trouble: Option<SqlError>,
    /// How far the times of its rows have come.
    watermark: Option<i64>,
}

impl Open {
    /// The places of rows that come behind the times of those before them.
    fn late(&mut self, marks: &Int64Array, times: &Int64Array) -> Vec<u32> {
        let (mut watermark, mut places) = (self.watermark.unwrap_or(i64::MIN), vec![]);
        for (row, (mark, time)) in (0..).zip(marks.values().iter().zip(times.values())) {
            // A time of NULL has any value here.
            if *time < watermark && times.is_valid(row) {
                places.push(row as u32);
            }
            if *mark > watermark && marks.is_valid(row) {
                watermark = *mark;
            }
        }
        self.watermark = Some(watermark);
        places
    }
}

/// The clock no longer listens: the reading has ended.
struct Stopped;

impl Threads {
    pub fn run(self) {
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
                Ok(Some(reader)) => {
                    open.push(Open { id: split.id, reader, caught_up: false, trouble: None, watermark: None })
                }
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
                let times = self.times(open, &chunk.rows);
                self.send(Event::Chunk { split, chunk: Box::new(chunk), lag, times })?;
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

    /// What is to be said of the times of rows, and the whole rows that seem to be late.
    fn times(&self, open: &mut Open, rows: &RecordBatch) -> Times {
        let Some(marks) = self.marks.as_ref().map(|marks| marks.times(rows)) else { return Times::default() };
        let times = self.late_time.and_then(|time| micros(rows.column(time)).ok());
        let places = times.map_or(vec![], |times| open.late(&marks, &times));
        let whole = if places.is_empty() { None } else { open.reader.whole(&places).ok().flatten() };
        Times { marks: Some(marks), whole: whole.map(|whole| (places, whole)) }
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

    fn whole(&mut self, places: &[u32]) -> Result<Option<RecordBatch>> {
        self.reader.whole(places)
    }

    fn lag(&self) -> Option<u64> {
        Some(self.end.0 - self.position.0.min(self.end.0))
    }
}
