//! What a tick emits: for each group that came to something else its row as it was, to be retracted, and as it is.

use super::groups::{BLOCK, exists};
use super::{Accumulator, Aggregate};
use crate::operator::Output;
use crate::state::batch_of;
use millrace_types::{Delta, Result, Weights};

/// The most rows of an emitted batch, nearly: as many as stay in the second-level cache until their columns are made.
pub const EMITTED: usize = 8_192;

/// Which side of a change a row of the output is.
#[derive(Clone, Copy, Debug)]
pub struct Side {
    /// The place of the group among the dirty ones.
    pub slot: u32,
    pub group: u32,
    /// Whether it is the group as it is, not as it was before the tick.
    pub is_now: bool,
}

impl Side {
    /// The same group as it was.
    pub fn before(self) -> Side {
        Side { is_now: false, ..self }
    }
}

impl Aggregate {
    /// Emits what became of the groups that changed, and removes those without rows.
    pub(super) fn emit(&mut self, out: &mut Output) -> Result<()> {
        let Aggregate { accumulators, groups, .. } = self;
        accumulators.iter_mut().for_each(|accumulator| accumulator.settle(groups));
        let dirty = std::mem::take(&mut self.groups.dirty);
        let (mut sides, mut gone, mut new) = (Vec::with_capacity(EMITTED + 2 * BLOCK), Vec::new(), Vec::new());
        for (block, groups) in dirty.chunks(BLOCK).enumerate() {
            self.groups.fetch(groups);
            for (at, &group) in groups.iter().enumerate() {
                let slot = block * BLOCK + at;
                self.emit_group(Side { slot: slot as u32, group, is_now: true }, &mut sides, out);
                if self.groups.clean(group) {
                    gone.push(group);
                } else if self.closed.is_some() && !exists(self.groups.row_before(slot)) {
                    new.push(group);
                }
            }
            if sides.len() >= EMITTED {
                out.push(self.delta_of(&sides)?);
                sides.clear();
            }
        }
        out.push(self.delta_of(&sides)?);
        gone.into_iter().for_each(|group| self.forget(group));
        self.note(new)?;
        self.groups.dirty = dirty;
        self.groups.end_tick();
        Ok(())
    }

    /// Notes the row of a group as it was to be retracted, and as it is to be inserted.
    fn emit_group(&self, side: Side, sides: &mut Vec<Side>, out: &mut Output) {
        let (before, now) = (self.row(side.before()), self.row(side));
        let (was, is) = match self.keys.is_empty() {
            false => (exists(before), exists(now)),
            true => (self.started, true),
        };
        let is_same_session = self.sessions.as_ref().is_none_or(|s| s.times(before) == s.times(now));
        if was && is && is_same_session && self.accumulators.iter().all(|a| a.is_same(before, now, side)) {
            return;
        }
        for (_, side) in [(was, side.before()), (is, side)].into_iter().filter(|(there, _)| *there) {
            self.emit_side(side, sides, out);
        }
    }

    /// Notes a row that is to be emitted, or reports why it cannot be.
    pub(super) fn emit_side(&self, side: Side, sides: &mut Vec<Side>, out: &mut Output) {
        let failure = |accumulator: &Accumulator| accumulator.failure(self.row(side), side);
        match self.accumulators.iter().filter(|accumulator| accumulator.can_fail()).find_map(failure) {
            Some(error) => out.row_error(error, weight(side)),
            None => sides.push(side),
        }
    }

    /// The words that a side comes from, at least those before the mark.
    fn row(&self, side: Side) -> &[u64] {
        match side.is_now {
            true => self.groups.row(side.group),
            false => self.groups.row_before(side.slot as usize),
        }
    }

    /// The rows of these sides.
    pub(super) fn delta_of(&self, sides: &[Side]) -> Result<Delta> {
        let mut columns = self.groups.key_columns(sides.iter().map(|side| side.group))?;
        let rows: Vec<&[u64]> = sides.iter().map(|&side| self.row(side)).collect();
        if let Some(sessions) = &self.sessions {
            let types = [0, 1].map(|side| self.schema.field(columns.len() + side).data_type());
            columns.extend(sessions.columns(rows.iter().copied(), types)?);
        }
        for accumulator in &self.accumulators {
            columns.push(accumulator.finish(&rows, sides)?);
        }
        let weights = sides.iter().map(|&side| weight(side)).collect();
        Ok(Delta::new(batch_of(&self.schema, columns, sides.len())?, Weights::Each(weights)))
    }
}

fn weight(side: Side) -> i64 {
    if side.is_now { 1 } else { -1 }
}
