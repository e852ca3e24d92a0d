//! The end of a job on one worker: where its changes, its row errors and its failure arrive.

use crate::capture::{Captured, READ_MODEL, Sections, StoredJob};
use crate::operator::{Moment, RejectedRow, RowError, StateSize, Timers};
use crate::read_model::{MaintainedPart, Part};
use millrace_types::{Delta, KeyGroupRange, Result, SqlError, Tick};
use std::rc::Rc;

/// The section of the read model's rows.
const ROWS: &str = "rows";

/// Rows of an open tick that are kept before they go into the read model, if nobody else wants them. More at once
/// sorts and merges better; fewer bounds the memory of a long first tick.
const HELD_ROWS: usize = 256 * 1024;

/// What the fragments of a job share with the worker that runs them.
///
/// Deltas stay here for the length of a tick: jobs that read this one, subscribers and sinks take them from here. Row
/// errors come straight from every fragment. They need no channel: when the frontier has passed a tick at the job's
/// end, every fragment on this worker has ended that tick.
#[derive(Default)]
pub struct JobEnd {
    /// The job, for logs.
    name: String,
    model: Option<MaintainedPart>,
    first_tick: Option<Tick>,
    /// The last tick that reached the job.
    tick: Tick,
    /// What time it is in the open tick.
    moment: Rc<Moment>,
    /// Ticks before this one are through on this worker.
    frontier: u64,
    /// Whether someone besides the read model wants the deltas of the open tick.
    tapped: bool,
    deltas: Vec<Delta>,
    rows: usize,
    errors: Vec<RowError>,
    rejected: Vec<RejectedRow>,
    /// The read model changed since it was last published, and the tick in which it was.
    changed: bool,
    touched: Tick,
    failure: Option<SqlError>,
}

/// What a tick gave on one worker.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The new version of the worker's part of the read model, if it changed.
    pub part: Option<Part>,
    /// The changes, if they were asked for.
    pub deltas: Vec<Delta>,
    /// Why the job ended.
    pub failure: Option<SqlError>,
    /// The rows that came too late.
    pub rejected: Vec<RejectedRow>,
    /// When the job wants a tick without input.
    pub timers: Timers,
}

impl JobEnd {
    /// The end of a job that maintains a read model, or of one that only emits.
    pub fn new(name: String, model: Option<MaintainedPart>) -> JobEnd {
        JobEnd { name, model, ..JobEnd::default() }
    }

    /// Begins a tick; `tapped`: its deltas are wanted. The job's first tick also publishes a read model without rows.
    pub fn begin(&mut self, tick: Tick, moment: Moment, tapped: bool) {
        self.tapped = tapped;
        self.tick = tick;
        self.moment = Rc::new(moment);
        if self.first_tick.is_none() {
            self.first_tick = Some(tick);
            self.changed = true;
        }
    }

    /// The last tick that reached the job.
    pub fn tick(&self) -> Tick {
        self.tick
    }

    /// What time it is in the open tick.
    pub fn moment(&self) -> Rc<Moment> {
        self.moment.clone()
    }

    /// The first tick that reached the job.
    pub fn first_tick(&self) -> Option<Tick> {
        self.first_tick
    }

    /// Says that ticks before `frontier` are through.
    pub fn set_frontier(&mut self, frontier: u64) {
        self.frontier = frontier;
    }

    /// Whether `tick` is through on this worker.
    pub fn is_through(&self, tick: Tick) -> bool {
        self.frontier > tick.0
    }

    /// Takes changes of the open tick.
    pub fn deliver(&mut self, delta: Delta) -> Result<()> {
        self.rows += delta.len();
        self.deltas.push(delta);
        if self.rows >= HELD_ROWS && !self.tapped {
            self.apply()?;
            self.deltas.clear();
        }
        Ok(())
    }

    fn apply(&mut self) -> Result<()> {
        self.rows = 0;
        if let Some(model) = &mut self.model
            && !self.deltas.is_empty()
        {
            model.apply(&self.deltas)?;
            self.changed = true;
        }
        Ok(())
    }

    /// Takes row errors of the open tick.
    pub fn report(&mut self, errors: Vec<RowError>) {
        self.errors.extend(errors);
    }

    /// Takes the rows of the open tick that came too late.
    pub fn reject(&mut self, rows: Vec<RejectedRow>) {
        self.rejected.extend(rows);
    }

    /// Ends the job; the first reason counts.
    pub fn fail(&mut self, error: SqlError) {
        self.failure.get_or_insert(error);
    }

    /// Whether the job has ended on this worker.
    pub fn has_failed(&self) -> bool {
        self.failure.is_some()
    }

    /// The changes of the open tick, for the jobs that read this one.
    pub fn deltas(&self) -> &[Delta] {
        &self.deltas
    }

    /// Ends the tick: brings the read model up to date and hands out what the tick gave.
    pub fn finish(&mut self) -> Outcome {
        if let Err(error) = self.update() {
            self.fail(error);
        }
        let deltas = std::mem::take(&mut self.deltas);
        let part = match (&mut self.model, std::mem::take(&mut self.changed)) {
            (Some(model), true) => {
                self.touched = self.tick;
                Some(model.publish())
            }
            _ => None,
        };
        let deltas = if self.tapped { deltas } else { vec![] };
        let rejected = std::mem::take(&mut self.rejected);
        Outcome { part, deltas, failure: self.failure.clone(), rejected, timers: Timers::default() }
    }

    fn update(&mut self) -> Result<()> {
        self.apply()?;
        let errors = std::mem::take(&mut self.errors);
        match (&mut self.model, errors.first()) {
            (_, None) => {}
            (Some(model), _) => {
                model.apply_errors(&errors)?;
                self.changed = true;
            }
            // What has left cannot be taken back, so there is nothing that could heal: the row is told of and left out.
            (None, Some(first)) => {
                let (rows, error) = (errors.len(), &first.error);
                tracing::warn!(job = %self.name, rows, %error, "rows were left out of a sink");
            }
        }
        Ok(())
    }

    /// What the read model keeps on this worker. `is_known`: whether what it is as of its last tick is somewhere already.
    pub fn capture(&self, worker: usize, is_known: &dyn Fn(u32, Tick) -> bool) -> Result<Option<Captured>> {
        let Some(model) = &self.model else { return Ok(None) };
        let mut sections = Sections::default();
        let is_known = is_known(READ_MODEL, self.touched);
        if !is_known {
            model.snapshot(ROWS, &mut sections)?;
        }
        let sections = (!is_known).then_some(sections.0);
        Ok(Some(Captured { worker, place: READ_MODEL, touched: self.touched, sections }))
    }

    /// Gives a read model that has seen nothing what it kept, and answers it. `share`: which worker this is, of how many;
    /// `moved`: the key groups that it takes from others.
    pub fn restore(&mut self, stored: &StoredJob, share: (usize, usize), moved: KeyGroupRange) -> Result<Part> {
        let Some(model) = &mut self.model else { return Ok(Part::default()) };
        stored.restore(READ_MODEL, share, moved, |from, groups| model.restore(ROWS, from, &groups))?;
        Ok(model.publish())
    }

    /// How much the read model keeps on this worker.
    pub fn model_size(&self) -> Option<StateSize> {
        self.model.as_ref().map(MaintainedPart::size)
    }
}
