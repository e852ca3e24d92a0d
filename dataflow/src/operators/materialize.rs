//! Materialize: keeps a worker's part of a relation for readers, and passes all changes on. Stateful: the relation's net
//! rows; a retraction takes its row out again. State is dropped row by row, with the rows.

use crate::operator::{Operator, Output, SnapshotKind, StateReader, StateSize, StateWriter};
use crate::read_model::MaintainedPart;
use millrace_types::{Delta, KeyGroupRange, Result, Tick};
use parking_lot::Mutex;
use std::sync::Arc;

/// Applies what passes through it to a part that its worker publishes after the tick.
pub struct Materialize {
    part: Arc<Mutex<MaintainedPart>>,
    /// The changes of the open tick, which readers must not see yet.
    open: Vec<Delta>,
}

const SECTION: &str = "rows";

impl Materialize {
    /// `part`: shared with the worker only; readers see what it publishes.
    pub fn new(part: Arc<Mutex<MaintainedPart>>) -> Materialize {
        Materialize { part, open: Vec::new() }
    }
}

impl Operator for Materialize {
    fn on_batch(&mut self, _port: usize, delta: Delta, out: &mut Output) -> Result<()> {
        self.open.push(delta.clone());
        out.push(delta);
        Ok(())
    }

    fn on_tick(&mut self, _tick: Tick, _out: &mut Output) -> Result<()> {
        self.part.lock().apply(&std::mem::take(&mut self.open))
    }

    fn snapshot(&mut self, _kind: SnapshotKind, to: &mut dyn StateWriter) -> Result<()> {
        self.part.lock().snapshot(SECTION, to)
    }

    fn restore(&mut self, from: &mut dyn StateReader, groups: KeyGroupRange) -> Result<()> {
        self.part.lock().restore(SECTION, from, &groups)
    }

    fn state_size(&self) -> StateSize {
        self.part.lock().size()
    }
}
