//! What is known of a source while it is read: what `millrace.sources`, `millrace.splits` and `millrace.bad_records`
//! show.

use millrace_connectors::{BadRecord, Chunk, Split};
use millrace_types::{Offset, SqlError};
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};

/// How many bad records of a source are kept; the oldest make room.
const BAD_RECORDS_MAX: usize = 10_000;
/// How many bytes the kept bad records may hold.
const BAD_BYTES_MAX: usize = 16 << 20;

/// Shared between the clock, which writes it once per chunk, and sessions, which read it.
#[derive(Default)]
pub struct SourceStatus(Mutex<State>);

#[derive(Default)]
struct State {
    splits: BTreeMap<u32, SplitStatus>,
    bad: VecDeque<DeadLetter>,
    bad_bytes: usize,
    error: Option<SqlError>,
    /// Records and bad records of splits that are not known again since the server started.
    remembered: BTreeMap<String, (u64, u64)>,
}

/// How far one split has been read.
#[derive(Clone, Debug)]
pub struct SplitStatus {
    pub name: String,
    pub offset: Offset,
    /// Records read, good and bad.
    pub records: u64,
    pub bad_records: u64,
    /// What is known to be unread, in the unit of the offset.
    pub lag: Option<u64>,
    pub state: SplitState,
    pub error: Option<SqlError>,
}

/// What the reader of a split is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SplitState {
    Reading,
    CaughtUp,
    Finished,
    /// Nothing arrives, and the reader goes on trying.
    Retrying,
    Failed,
}

impl SplitState {
    /// The word that system relations show.
    pub fn word(self) -> &'static str {
        match self {
            SplitState::Reading => "reading",
            SplitState::CaughtUp => "caught up",
            SplitState::Finished => "finished",
            SplitState::Retrying => "retrying",
            SplitState::Failed => "failed",
        }
    }
}

/// A record that could not be decoded, with the split it came from.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    pub split: String,
    pub record: BadRecord,
}

impl SourceStatus {
    /// Forgets everything: the source is read from its start again.
    pub fn reset(&self) {
        *self.0.lock() = State::default();
    }

    /// A split exists.
    pub fn know(&self, split: Split, offset: Offset) {
        let mut state = self.0.lock();
        let (records, bad_records) = state.remembered.remove(&split.name).unwrap_or_default();
        state.splits.entry(split.id).or_insert(SplitStatus {
            name: split.name,
            offset,
            records,
            bad_records,
            lag: None,
            state: SplitState::Reading,
            error: None,
        });
    }

    /// Goes on with what was known when the server ended: of each split its records and the bad ones of these, and the bad
    /// records that were kept.
    pub fn recall(&self, splits: impl Iterator<Item = (String, (u64, u64))>, bad: Vec<DeadLetter>) {
        let mut state = self.0.lock();
        state.remembered = splits.collect();
        state.bad_bytes = bad.iter().map(|letter| letter.record.raw.len()).sum();
        state.bad = bad.into();
    }

    /// Records and bad records of each split.
    pub fn counts(&self) -> BTreeMap<String, (u64, u64)> {
        let state = self.0.lock();
        let known = state.splits.values().map(|split| (split.name.clone(), (split.records, split.bad_records)));
        state.remembered.clone().into_iter().chain(known).collect()
    }

    /// A chunk was taken into a tick.
    pub fn record(&self, split: u32, chunk: &Chunk, lag: Option<u64>) {
        let mut state = self.0.lock();
        let Some(status) = state.splits.get_mut(&split) else { return };
        status.offset = chunk.end;
        status.records += (chunk.rows.num_rows() + chunk.bad.len()) as u64;
        status.bad_records += chunk.bad.len() as u64;
        status.lag = lag;
        status.state = SplitState::Reading;
        let name = status.name.clone();
        for record in &chunk.bad {
            state.bad_bytes += record.raw.len();
            state.bad.push_back(DeadLetter { split: name.clone(), record: record.clone() });
        }
        while state.bad.len() > BAD_RECORDS_MAX || state.bad_bytes > BAD_BYTES_MAX {
            let dropped = state.bad.pop_front().map_or(0, |letter| letter.record.raw.len());
            state.bad_bytes -= dropped;
        }
    }

    /// A split reached a state.
    pub fn set_state(&self, split: u32, to: SplitState) {
        if let Some(status) = self.0.lock().splits.get_mut(&split) {
            status.state = to;
            status.lag = Some(0);
        }
    }

    /// Nothing arrives of a split, or of the whole source, for this reason; `None`: it does again.
    pub fn trouble(&self, split: Option<u32>, error: Option<SqlError>) {
        let mut state = self.0.lock();
        match split.and_then(|split| state.splits.get_mut(&split)) {
            Some(status) => {
                status.state = if error.is_some() { SplitState::Retrying } else { SplitState::Reading };
                status.error = error;
            }
            None => state.error = error,
        }
    }

    /// A split, or the whole source, cannot be read.
    pub fn fail(&self, split: Option<u32>, error: SqlError) {
        let mut state = self.0.lock();
        match split.and_then(|split| state.splits.get_mut(&split)) {
            Some(status) => {
                status.state = SplitState::Failed;
                status.error = Some(error);
            }
            None => state.error = Some(error),
        }
    }

    /// Every split, in the order of their ids.
    pub fn splits(&self) -> Vec<(u32, SplitStatus)> {
        self.0.lock().splits.iter().map(|(id, status)| (*id, status.clone())).collect()
    }

    /// The kept bad records, oldest first.
    pub fn bad_records(&self) -> Vec<DeadLetter> {
        self.0.lock().bad.iter().cloned().collect()
    }

    /// Why the source as a whole cannot be read, if it cannot.
    pub fn error(&self) -> Option<SqlError> {
        self.0.lock().error.clone()
    }
}
