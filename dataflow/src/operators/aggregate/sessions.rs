//! Groups that are sessions: the rows of a key of which each is at most a gap after the one before.
//!
//! A session is a group's row like others, with four words before those of the accumulators. The sessions of a key are
//! chained in the order of their times, and look-ups of the key find the latest one, which most rows belong to:
//!
//! ```text
//!   index --> [ latest | 9:31..9:40 ] <--> [ 9:02..9:20 ] <--> [ 8:15..8:15 ]
//! ```
//!
//! Where a key has many, as while history is read, an ordered map finds those that are far from the latest.
//!
//! A row extends the session that it is at most a gap away from, or begins one. A session that comes to touch the next one
//! is merged with it: the later of the two takes in what the earlier one came to, which costs no look at its rows. So this
//! is for input that is only added to, and for aggregates that are merged.

use super::accumulator::Accumulator;
use super::groups::{FIRST_ACCUMULATOR, Groups, exists, rows_of, set_rows};
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimestampMicrosecondType};
use millrace_types::{Delta, Result, SqlError, SqlState};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Words of a session before those of its accumulators: its links, which are numbers of groups plus one, the number of its
/// key once this has several sessions, and its times.
pub const SESSION_WORDS: usize = 5;
/// Of these, words that mean nothing outside of memory.
pub const LINK_WORDS: usize = 3;

const NEWER: usize = FIRST_ACCUMULATOR;
const OLDER: usize = NEWER + 1;
const KEY: usize = NEWER + 2;
const FIRST: usize = NEWER + LINK_WORDS;
const LAST: usize = FIRST + 1;

/// The first time of a session that was merged into the one that its link `NEWER` names.
const MERGED: i64 = i64::MAX;

/// So many sessions back the map is asked.
const FAR: usize = 6;

/// Finds the sessions of rows.
pub struct Sessions {
    /// The column of the times.
    time: usize,
    gap: i64,
    /// Sessions that were merged into others, and are not removed yet.
    merged: Vec<u32>,
    /// The sessions of keys that have had several, by the number of their key and their first time.
    order: BTreeMap<(u64, i64), u32>,
    keys: u64,
}

impl Sessions {
    /// No sessions yet.
    pub fn new(sessions: millrace_ir::Sessions) -> Sessions {
        Sessions { time: sessions.time, gap: sessions.gap, merged: vec![], order: BTreeMap::new(), keys: 0 }
    }

    /// The rows that have a time, and why others cannot be counted.
    pub fn timed(&self, delta: Delta) -> Result<(Delta, Vec<(SqlError, i64)>)> {
        let times = delta.rows().column(self.time).as_primitive::<TimestampMicrosecondType>();
        // Infinite times are so far away that no session ends after them.
        let fits = |time: i64| time != i64::MIN && time.checked_add(self.gap).is_some_and(|end| end != i64::MAX);
        if times.null_count() == 0 && times.values().iter().all(|time| fits(*time)) {
            return Ok((delta, vec![]));
        }
        let kept: BooleanArray = times.iter().map(|time| Some(time.is_some_and(fits))).collect();
        let error = || SqlError::new(SqlState::DATETIME_FIELD_OVERFLOW, "timestamp out of range");
        let outside = (0..times.len()).filter(|row| times.is_valid(*row) && !kept.value(*row));
        let errors = outside.map(|row| (error(), delta.weight(row))).collect();
        Ok((delta.filter(&kept)?, errors))
    }

    /// Puts the session of each row of a block in the place of the group that its key was found to have, and counts the
    /// row into it.
    pub fn assign(
        &mut self,
        groups: &mut Groups,
        accumulators: &[Accumulator],
        found: &mut [u32],
        (delta, start): (&Delta, usize),
    ) {
        let times = delta.rows().column(self.time).as_primitive::<TimestampMicrosecondType>();
        let times = &times.values()[start..start + found.len()];
        let known = self.merged.len();
        for (at, (group, time)) in found.iter_mut().zip(times).enumerate() {
            *group = self.session_of(groups, *group, *time);
            groups.touch_one(*group, delta.weight(start + at));
            self.extend(groups, accumulators, *group, *time);
        }
        if self.merged.len() > known {
            // Nothing of this block is accumulated yet.
            found.iter_mut().for_each(|group| *group = self.alive(groups, *group));
        }
    }

    /// The session of a key that a time belongs to, a new one if there is none. `group`: one that the key has or had.
    fn session_of(&mut self, groups: &mut Groups, group: u32, time: i64) -> u32 {
        let mut at = self.alive(groups, group);
        if !exists(groups.row(at)) {
            self.set_times(groups, at, time, time);
            return at;
        }
        for step in 0.. {
            if step == FAR {
                at = self.nearest(groups.row(at)[KEY], time).unwrap_or(at);
            }
            let (first, last) = self.times(groups.row(at));
            if time.saturating_sub(last) > self.gap {
                match self.link(groups, at, NEWER) {
                    Some(newer) if first_of(self.times(groups.row(newer))).saturating_sub(time) <= self.gap => {
                        at = newer
                    }
                    newer => return self.insert(groups, time, newer, Some(at)),
                }
            } else if first.saturating_sub(time) > self.gap {
                match self.link(groups, at, OLDER) {
                    Some(older) if time.saturating_sub(self.times(groups.row(older)).1) <= self.gap => at = older,
                    older => return self.insert(groups, time, Some(at), older),
                }
            } else {
                break;
            }
        }
        at
    }

    /// A session of a key near a time.
    fn nearest(&self, key: u64, time: i64) -> Option<u32> {
        let before = self.order.range((key, i64::MIN)..=(key, time)).next_back();
        let found = before.or_else(|| self.order.range((key, time)..=(key, i64::MAX)).next());
        found.map(|(_, group)| *group)
    }

    /// A new session between others of its key, one of which there is at least.
    fn insert(&mut self, groups: &mut Groups, time: i64, newer: Option<u32>, older: Option<u32>) -> u32 {
        let Some(beside) = newer.or(older) else { return 0 };
        let group = groups.insert_beside(beside);
        self.set_times(groups, group, time, time);
        if groups.row(beside)[KEY] == 0 {
            self.keys += 1;
            self.number(groups, beside, self.keys);
        }
        self.number(groups, group, groups.row(beside)[KEY]);
        self.chain(groups, newer, Some(group));
        self.chain(groups, Some(group), older);
        if newer.is_none() {
            groups.find_instead(beside, group);
        }
        group
    }

    /// Gives a session the number of its key.
    fn number(&mut self, groups: &mut Groups, group: u32, key: u64) {
        groups.row_mut(group)[KEY] = key;
        self.order.insert((key, first_of(self.times(groups.row(group)))), group);
    }

    /// Lets a session that has got a row reach to its time, and merges it with those that it touches then.
    fn extend(&mut self, groups: &mut Groups, accumulators: &[Accumulator], group: u32, time: i64) {
        let (first, last) = self.times(groups.row(group));
        if time < first {
            self.set_times(groups, group, time, last);
            if let Some(older) = self.link(groups, group, OLDER)
                && time.saturating_sub(self.times(groups.row(older)).1) <= self.gap
            {
                self.merge(groups, accumulators, older, group);
            }
        } else if time > last {
            self.set_times(groups, group, first, time);
            if let Some(newer) = self.link(groups, group, NEWER)
                && first_of(self.times(groups.row(newer))).saturating_sub(time) <= self.gap
            {
                self.merge(groups, accumulators, group, newer);
            }
        }
    }

    /// Merges a session into the next one.
    fn merge(&mut self, groups: &mut Groups, accumulators: &[Accumulator], from: u32, into: u32) {
        groups.touch_one(from, 0);
        groups.touch_one(into, 0);
        let older = self.link(groups, from, OLDER);
        self.chain(groups, Some(into), older);
        let row = groups.row(from).to_vec();
        let ((first, _), (_, last)) = (self.times(&row), self.times(groups.row(into)));
        self.order.remove(&(row[KEY], first));
        self.set_times(groups, into, first, last);
        let target = groups.row_mut(into);
        set_rows(target, rows_of(&row) + rows_of(target));
        accumulators.iter().for_each(|accumulator| accumulator.merge(&row, target));
        let gone = groups.row_mut(from);
        set_rows(gone, 0);
        gone[NEWER] = u64::from(into) + 1;
        gone[FIRST] = MERGED as u64;
        self.merged.push(from);
    }

    /// The session that one has been merged into, if it has.
    fn alive(&self, groups: &Groups, mut group: u32) -> u32 {
        while let Some(into) = self.link(groups, group, NEWER).filter(|_| self.is_merged(groups, group)) {
            group = into;
        }
        group
    }

    fn is_merged(&self, groups: &Groups, group: u32) -> bool {
        groups.row(group)[FIRST] == MERGED as u64
    }

    /// Removes a session.
    pub fn remove(&mut self, groups: &mut Groups, group: u32) {
        if !self.is_merged(groups, group) {
            let row = groups.row(group);
            self.order.remove(&(row[KEY], first_of(self.times(row))));
            let (newer, older) = (self.link(groups, group, NEWER), self.link(groups, group, OLDER));
            match (newer, older) {
                (None, Some(older)) => {
                    groups.find_instead(group, older);
                    self.chain(groups, None, Some(older));
                }
                _ => self.chain(groups, newer, older),
            }
        }
        groups.remove(group);
    }

    /// Removes the sessions that were merged into others, once nobody asks for them any more.
    pub fn remove_merged(&mut self, groups: &mut Groups) {
        let merged = std::mem::take(&mut self.merged);
        merged.into_iter().for_each(|group| groups.remove(group));
    }

    /// Forgets which sessions were merged: they are removed with the others that changed.
    pub fn forget_merged(&mut self) {
        self.merged.clear();
    }

    /// Takes a session back from a snapshot, of a key that was found to have a group; answers its group.
    pub fn restore(&mut self, groups: &mut Groups, group: u32, times: (i64, i64)) -> u32 {
        let session = self.session_of(groups, group, times.0);
        self.set_times(groups, session, times.0, times.1);
        session
    }

    /// The bytes of memory beside the groups' rows, nearly.
    pub fn bytes(&self) -> usize {
        self.order.len() * 2 * size_of::<((u64, i64), u32)>()
    }

    /// The times of the first and of the last row of a session.
    pub fn times(&self, row: &[u64]) -> (i64, i64) {
        (row[FIRST] as i64, row[LAST] as i64)
    }

    /// When a session ends.
    pub fn end(&self, row: &[u64]) -> i64 {
        self.times(row).1.saturating_add(self.gap)
    }

    /// The columns of start and end of these sessions.
    pub fn columns<'a>(
        &self,
        rows: impl Iterator<Item = &'a [u64]> + Clone,
        types: [&DataType; 2],
    ) -> Result<Vec<ArrayRef>> {
        let starts: Int64Array = rows.clone().map(|row| first_of(self.times(row))).collect();
        let ends: Int64Array = rows.map(|row| self.end(row)).collect();
        let sides = [starts, ends].into_iter().zip(types);
        sides.map(|(side, data_type)| Ok(cast(&(Arc::new(side) as ArrayRef), data_type)?)).collect()
    }

    fn set_times(&mut self, groups: &mut Groups, group: u32, first: i64, last: i64) {
        let row = groups.row_mut(group);
        let (key, known) = (row[KEY], row[FIRST] as i64);
        (row[FIRST], row[LAST]) = (first as u64, last as u64);
        if key != 0 && known != first {
            self.order.remove(&(key, known));
            self.order.insert((key, first), group);
        }
    }

    fn link(&self, groups: &Groups, group: u32, link: usize) -> Option<u32> {
        groups.row(group)[link].checked_sub(1).map(|group| group as u32)
    }

    /// Makes two sessions neighbours.
    fn chain(&self, groups: &mut Groups, newer: Option<u32>, older: Option<u32>) {
        let number = |group: Option<u32>| group.map_or(0, |group| u64::from(group) + 1);
        if let Some(newer) = newer {
            groups.row_mut(newer)[OLDER] = number(older);
        }
        if let Some(older) = older {
            groups.row_mut(older)[NEWER] = number(newer);
        }
    }
}

fn first_of((first, _): (i64, i64)) -> i64 {
    first
}
