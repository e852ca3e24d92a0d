//! The runs of one relation, kept few by merging.

use super::merge::Merge;
use super::run::Run;
use crate::operator::StateSize;
use arrow::datatypes::SchemaRef;
use millrace_types::{Delta, Result};
use std::slice::from_ref;
use std::sync::Arc;

/// A relation's net rows in hash order of the columns `key`: see the [module](super).
#[derive(Debug)]
pub struct Arrangement {
    schema: SchemaRef,
    key: Vec<usize>,
    /// Oldest and largest first.
    slots: Vec<Slot>,
}

/// A place in the geometric row of runs.
#[derive(Debug)]
enum Slot {
    One(Arc<Run>),
    /// Two neighbours on their way to be one; until then both are read.
    Merging(Box<Merge>),
}

/// Up to this many rows two runs are merged at once; it takes well under a millisecond.
const AT_ONCE: usize = 4_096;

/// Rows of merging work per appended row and merge. A merged run of n rows is needed when about n/3 rows more have
/// come, so at least 3 keeps the runs few; the rest is reserve.
const WORK_PER_ROW: usize = 8;

impl Arrangement {
    /// No rows yet. `key`: the columns whose hash orders the rows.
    pub fn new(schema: SchemaRef, key: Vec<usize>) -> Arrangement {
        Arrangement { schema, key, slots: Vec::new() }
    }

    /// The columns of the rows.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The columns whose hash orders the rows.
    pub fn key(&self) -> &[usize] {
        &self.key
    }

    /// Adds the changes of `delta`.
    pub fn append(&mut self, delta: &Delta) -> Result<()> {
        self.append_all(from_ref(delta))
    }

    /// Adds the changes of all `deltas` as one run: what a tick with several batches does.
    pub fn append_all(&mut self, deltas: &[Delta]) -> Result<()> {
        match Run::of(&self.schema, &self.key, deltas)? {
            Some(run) => self.push(run),
            None => Ok(()),
        }
    }

    /// Adds a run that is in order already.
    pub(super) fn push(&mut self, run: Run) -> Result<()> {
        let work = run.len().saturating_mul(WORK_PER_ROW);
        self.slots.push(Slot::One(Arc::new(run)));
        self.maintain(work)?;
        self.restore_order()
    }

    /// Advances the merges under way by up to `rows` rows each: for idle moments. True when there is nothing to do.
    pub fn maintain(&mut self, rows: usize) -> Result<bool> {
        let mut idle = true;
        for at in (0..self.slots.len()).rev() {
            let Slot::Merging(merge) = &mut self.slots[at] else { continue };
            idle = false;
            if merge.work(&self.schema, rows)? {
                self.finish(at)?;
            }
        }
        Ok(idle)
    }

    /// Merges neighbours while the older one is less than twice as long as the newer. Where one of them is itself a
    /// merge under way it is left alone: appends pay for it before it can be in the way.
    fn restore_order(&mut self) -> Result<()> {
        while let Some(at) = (1..self.slots.len()).rev().map(|newer| newer - 1).find(|&at| self.is_due(at)) {
            let newer = self.slots.remove(at + 1);
            let (Slot::One(older), Slot::One(newer)) = (&self.slots[at], newer) else { break };
            let merge = Merge::new(older.clone(), newer);
            let at_once = merge.len() <= AT_ONCE;
            self.slots[at] = Slot::Merging(Box::new(merge));
            if at_once {
                self.finish(at)?;
            }
        }
        Ok(())
    }

    /// Whether the run at `at` and the next one should be merged.
    fn is_due(&self, at: usize) -> bool {
        match (&self.slots[at], &self.slots[at + 1]) {
            (Slot::One(older), Slot::One(newer)) => older.len() < 2 * newer.len(),
            _ => false,
        }
    }

    /// Does what is left of the merge at `at`.
    fn finish(&mut self, at: usize) -> Result<()> {
        if let Slot::Merging(merge) = self.slots.remove(at)
            && let Some(run) = merge.finish(&self.schema)?
        {
            self.slots.insert(at, Slot::One(Arc::new(run)));
        }
        Ok(())
    }

    /// The runs, largest first, nearly.
    pub fn runs(&self) -> impl Iterator<Item = &Arc<Run>> {
        self.slots.iter().flat_map(|slot| match slot {
            Slot::One(run) => [Some(run), None].into_iter().flatten(),
            Slot::Merging(merge) => merge.inputs().map(Some).into_iter().flatten(),
        })
    }

    /// The rows as of now, for readers; later appends do not change it.
    pub fn freeze(&self) -> Arc<[Arc<Run>]> {
        self.runs().cloned().collect()
    }

    /// How much it keeps; rows that a later run retracts count until the two merge.
    pub fn size(&self) -> StateSize {
        self.slots.iter().fold(StateSize::default(), |size, slot| StateSize {
            rows: size.rows + slot.len(),
            bytes: size.bytes + slot.bytes(),
        })
    }
}

impl Slot {
    fn len(&self) -> usize {
        match self {
            Slot::One(run) => run.len(),
            Slot::Merging(merge) => merge.len(),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Slot::One(run) => run.bytes(),
            Slot::Merging(merge) => merge.bytes(),
        }
    }
}
