//! Groups that the watermark passes: they are dropped, and given then where each is given once.
//!
//! What comes for a group after that begins another one of the same key. Where groups are given once it is dropped without
//! being given, when the tick ends, and counted: what was final does not change.

use super::distinct::Distinct;
use super::emission::{EMITTED, Side};
use super::groups::{exists, rows_of};
use super::{Accumulator, Aggregate};
use crate::operator::Output;
use arrow::array::{Array, AsArray};
use arrow::datatypes::TimestampMicrosecondType;
use millrace_types::Result;

impl Aggregate {
    /// The times of groups that are there, by their keys.
    fn times(&self, key: usize, groups: &[u32]) -> Result<Vec<Option<i64>>> {
        if let Some(sessions) = &self.sessions {
            return Ok(groups.iter().map(|&group| Some(sessions.end(self.groups.row(group)))).collect());
        }
        let keys = self.groups.key_columns(groups.iter().copied())?;
        let times = keys[key].as_primitive::<TimestampMicrosecondType>();
        Ok((0..groups.len()).map(|at| times.is_valid(at).then(|| times.value(at))).collect())
    }

    /// Remembers when groups close.
    pub(super) fn note(&mut self, mut new: Vec<u32>) -> Result<()> {
        new.retain(|group| self.is_kept(*group));
        let Some(closed) = self.closed.as_ref().filter(|_| !new.is_empty()) else { return Ok(()) };
        let times = self.times(closed.column(), &new)?;
        if let Some(closed) = &mut self.closed {
            let known = new.into_iter().zip(times).filter_map(|(group, time)| Some((group, time?)));
            known.for_each(|(group, time)| closed.note(time, group));
        }
        Ok(())
    }

    /// Drops the groups that are final, and gives those that are given once.
    pub(super) fn close(&mut self, out: &mut Output) -> Result<()> {
        let closed = self.take_closed()?;
        let passed = self.closed.as_ref().and_then(|closed| closed.passed());
        if let Some(given) = self.once {
            let (new, late): (Vec<_>, Vec<_>) =
                closed.iter().copied().partition(|(time, _)| given.is_none_or(|given| *time > given));
            let changes = late.iter().map(|(_, group)| rows_of(self.groups.row(*group)).unsigned_abs());
            self.dropped += changes.sum::<u64>();
            let new = new.into_iter().map(|(_, group)| group).collect();
            self.give(new, out)?;
            self.once = Some(given.max(passed));
        }
        closed.into_iter().for_each(|(_, group)| self.forget(group));
        Ok(())
    }

    /// The groups that are final, in the order of their times. A number that stands for another group by now has another
    /// time, or is noted for this one as well; a session that goes on is noted again.
    fn take_closed(&mut self) -> Result<Vec<(i64, u32)>> {
        let Some(closed) = self.closed.as_mut().filter(|closed| closed.is_due()) else { return Ok(vec![]) };
        let (key, mut due) = (closed.column(), closed.take());
        let Some(passed) = closed.passed() else { return Ok(vec![]) };
        if let Some(gathered) = &mut self.gathered {
            gathered.drop_until(passed)?;
        }
        self.distincts.iter_mut().for_each(Distinct::drop_closed);
        due.sort_unstable_by_key(|(_, group)| *group);
        due.dedup_by_key(|(_, group)| *group);
        due.retain(|(_, group)| self.is_kept(*group));
        let groups: Vec<u32> = due.iter().map(|(_, group)| *group).collect();
        let times = self.times(key, &groups)?;
        let mut closed = Vec::with_capacity(groups.len());
        for (group, time) in groups.into_iter().zip(times) {
            match time {
                Some(time) if time <= passed => closed.push((time, group)),
                Some(time) if self.sessions.is_some() => {
                    self.closed.iter_mut().for_each(|closed| closed.note(time, group));
                }
                _ => {}
            }
        }
        closed.sort_unstable();
        Ok(closed)
    }

    /// Whether a group of this number is there. One that is given once may have no rows for a while.
    fn is_kept(&self, group: u32) -> bool {
        let row = self.groups.row(group);
        exists(row) || (self.once.is_some() && row.iter().any(|word| *word != 0))
    }

    /// Emits the rows of groups in this order.
    fn give(&mut self, closed: Vec<u32>, out: &mut Output) -> Result<()> {
        self.groups.dirty = closed;
        let Aggregate { accumulators, groups, .. } = self;
        accumulators.iter_mut().for_each(|accumulator| accumulator.settle(groups));
        let closed = std::mem::take(&mut self.groups.dirty);
        for part in closed.chunks(EMITTED) {
            self.groups.fetch(part);
            let mut sides = Vec::with_capacity(part.len());
            for (slot, &group) in (0u32..).zip(part).filter(|(_, group)| exists(self.groups.row(**group))) {
                self.emit_side(Side { slot, group, is_now: true }, &mut sides, out);
            }
            out.push(self.delta_of(&sides)?);
        }
        self.accumulators.iter_mut().for_each(Accumulator::end_tick);
        Ok(())
    }
}
