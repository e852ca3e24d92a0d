//! State on its way out of the engine, to be written down, and on its way back.
//!
//! ```text
//!   between two ticks, on each worker                      beside the ticks
//!   operator --snapshot--> Sections: batches, runs ------> files
//!   operator <--restore--- Stored: batches <-------------- files
//! ```
//!
//! Capturing does as little as it can: what did not change since it was written is left out, runs, which never change, are
//! handed over as they are, and packed state is copied as it is, to be decoded and sorted beside the ticks.

use crate::fragment::catching;
use crate::operator::{Later, StateReader, StateWriter};
use crate::read_model::Block;
use arrow::array::RecordBatch;
use millrace_types::{EventTime, KeyGroupRange, RelationId, Result, Tick};
use std::collections::HashMap;
use std::fmt;

/// The place of a job's read model among the operators, which are counted from 0.
pub const READ_MODEL: u32 = u32::MAX;

/// Of which tick the state is that somebody has already, by the job's serial number, worker and place.
pub type Known = HashMap<(u64, usize, u32), Tick>;

/// What a job keeps.
#[derive(Debug)]
pub struct CapturedJob {
    /// Which job.
    pub job: RelationId,
    /// Its number among all jobs that ever were: another job that takes its place, and its name, has another one.
    pub serial: u64,
    /// A hash of its plan.
    pub fingerprint: u64,
    /// The watermarks that it was told.
    pub told: Vec<(RelationId, Option<EventTime>)>,
    /// What each operator and the read model keep, on each worker.
    pub pieces: Vec<Captured>,
}

/// What an operator or a read model keeps on one worker.
#[derive(Debug)]
pub struct Captured {
    /// Which worker.
    pub worker: usize,
    /// The operator's number in its job, or [`READ_MODEL`].
    pub place: u32,
    /// The last tick that touched it.
    pub touched: Tick,
    /// Its state; `None` when it is still as of the tick that was known.
    pub sections: Option<Vec<Section>>,
}

/// A part of a state. Parts of one name count together, in order.
pub enum Section {
    /// Rows, under a name.
    Rows(String, RecordBatch),
    /// Runs, which stay as they are for as long as they live, under a name.
    Runs(String, Vec<Block>),
    /// What writes further parts.
    Later(Later),
}

impl fmt::Debug for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Section::Rows(name, rows) => write!(f, "{name}: {} rows", rows.num_rows()),
            Section::Runs(name, runs) => write!(f, "{name}: {} runs", runs.len()),
            Section::Later(_) => f.write_str("later"),
        }
    }
}

impl Section {
    /// Writes it, now also what was to be written later; what it kept is free then.
    ///
    /// # Errors
    /// That of writing.
    pub fn write(self, to: &mut dyn StateWriter) -> Result<()> {
        match self {
            Section::Rows(name, rows) => to.write(&name, rows),
            Section::Runs(name, runs) => to.write_runs(&name, runs),
            Section::Later(later) => catching(|| later(to)),
        }
    }
}

/// Collects what a snapshot writes.
#[derive(Debug, Default)]
pub struct Sections(pub Vec<Section>);

impl StateWriter for Sections {
    fn write(&mut self, name: &str, rows: RecordBatch) -> Result<()> {
        self.0.push(Section::Rows(name.to_owned(), rows));
        Ok(())
    }

    fn write_runs(&mut self, name: &str, runs: Vec<Block>) -> Result<()> {
        self.0.push(Section::Runs(name.to_owned(), runs));
        Ok(())
    }

    fn write_later(&mut self, later: Later) -> Result<()> {
        self.0.push(Section::Later(later));
        Ok(())
    }
}

/// What a job kept when it was captured.
#[derive(Debug, Default)]
pub struct StoredJob {
    /// How many workers there were.
    pub workers: usize,
    /// The watermarks that it had been told.
    pub told: Vec<(RelationId, Option<EventTime>)>,
    /// What each operator and the read model kept, on each of these.
    pub pieces: Vec<Stored>,
}

/// What an operator or a read model kept on one worker.
#[derive(Debug, Default)]
pub struct Stored {
    /// Which worker.
    pub worker: usize,
    /// The operator's number in its job, or [`READ_MODEL`].
    pub place: u32,
    /// The batches of each section.
    pub sections: HashMap<String, Vec<RecordBatch>>,
}

impl StoredJob {
    /// Calls `restore` with what worker `worker` of `workers` has to know of a place, and the key groups of that: its own
    /// state if there were as many workers, else what everybody had of the groups `moved`. A place without state is restored
    /// to nothing.
    pub(crate) fn restore(
        &self,
        place: u32,
        (worker, workers): (usize, usize),
        moved: KeyGroupRange,
        mut restore: impl FnMut(&mut dyn StateReader, KeyGroupRange) -> Result<()>,
    ) -> Result<()> {
        let same = self.workers == workers;
        let groups = if same { KeyGroupRange::all() } else { moved };
        let of_place = self.pieces.iter().filter(|piece| piece.place == place);
        let mut due = of_place.filter(|piece| !same || piece.worker == worker).peekable();
        if due.peek().is_none() {
            return restore(&mut Reader(&Stored::default()), groups);
        }
        due.try_for_each(|piece| restore(&mut Reader(piece), groups.clone()))
    }
}

struct Reader<'a>(&'a Stored);

impl StateReader for Reader<'_> {
    fn read(&mut self, name: &str) -> Result<Vec<RecordBatch>> {
        Ok(self.0.sections.get(name).cloned().unwrap_or_default())
    }
}
