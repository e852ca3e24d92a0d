//! `DISTINCT` of aggregates that take values back: how often each argument is there in each group. An aggregate sees an
//! argument when its first copy comes and loses it when the last one goes, so a change costs the same however many
//! arguments a group has. Aggregates over the same argument, as with different filters, share one entry for it.

use super::changes::Changes;
use crate::operator::{StateReader, StateSize, StateWriter};
use crate::operators::expression::evaluate;
use crate::state::{Counts, Expiry, RowId, time_of, times_of};
use arrow::array::ArrayRef;
use arrow::buffer::BooleanBuffer;
use millrace_ir::{Closing, Expr};
use millrace_types::hash::{KEY_SEED, ROW_SEED, hash_rows, mix};
use millrace_types::{KeyGroupRange, Result};

/// The most aggregates that share entries.
const SHARED: usize = 4;

/// The arguments of all groups, by the identity of group and argument.
pub struct Distinct {
    arguments: Vec<Expr>,
    /// The aggregates over them, by number.
    pub members: Vec<usize>,
    counts: Entries,
    /// When entries go with their group, if they do: by a key of it.
    expiry: Option<Expiry<RowId>>,
}

/// How often an argument counts for each of the members.
enum Entries {
    One(Counts<1>),
    Several(Counts<SHARED>),
    /// Over append-only input it is enough whether it does: a bit for each.
    Seen(Counts<1>),
}

/// The groups of changes, as identities are made of.
pub struct GroupHashes {
    /// Decides the worker.
    owning: Vec<u64>,
    whole: Vec<u64>,
}

impl GroupHashes {
    /// Of the key columns of changes. `partition`: which of the keys decide the worker.
    pub fn of(keys: &[ArrayRef], partition: &[usize], rows: usize) -> Result<GroupHashes> {
        let owning: Vec<ArrayRef> = partition.iter().map(|&key| keys[key].clone()).collect();
        Ok(GroupHashes { owning: hash_rows(&owning, rows, KEY_SEED)?, whole: hash_rows(keys, rows, ROW_SEED)? })
    }
}

impl Distinct {
    /// What the aggregates `members`, given with their arguments, share. `closing`: by the group's keys.
    pub fn shared(aggregates: Vec<(usize, Vec<Expr>)>, append_only: bool, closing: Option<Closing>) -> Vec<Distinct> {
        let mut all: Vec<(Vec<Expr>, Vec<usize>)> = Vec::new();
        for (member, arguments) in aggregates {
            let known = all.iter_mut().find(|(known, members)| *known == arguments && members.len() < SHARED);
            match known {
                Some((_, members)) => members.push(member),
                None => all.push((arguments, vec![member])),
            }
        }
        let made = all.into_iter().map(|(arguments, members)| {
            let counts = match members.len() {
                _ if append_only => Entries::Seen(Counts::default()),
                1 => Entries::One(Counts::default()),
                _ => Entries::Several(Counts::default()),
            };
            Distinct { arguments, members, counts, expiry: closing.map(Expiry::new) }
        });
        made.collect()
    }

    /// The watermark goes on.
    pub fn advance(&mut self, watermark: i64) {
        self.expiry.iter_mut().for_each(|expiry| expiry.advance(watermark));
    }

    /// Drops the entries of groups that the watermark has passed.
    pub fn drop_closed(&mut self) {
        let Some(expiry) = &mut self.expiry else { return };
        match &mut self.counts {
            Entries::One(counts) | Entries::Seen(counts) => expiry.forget(counts),
            Entries::Several(counts) => expiry.forget(counts),
        }
    }

    /// Which arguments came and went for each of the members; `counted`: which rows count for it. `keys`: where the
    /// group's keys stand.
    pub fn changes(
        &mut self,
        changes: &Changes,
        groups: &GroupHashes,
        keys: &[usize],
        counted: &[Option<BooleanBuffer>],
    ) -> Result<Vec<Changes>> {
        let arguments = self.arguments.iter().map(|argument| evaluate(argument, &changes.delta));
        let arguments = arguments.collect::<Result<Vec<_>>>()?;
        let arguments = hash_rows(&arguments, changes.delta.len(), ROW_SEED)?;
        let id = |row: usize| {
            let whole = mix(groups.whole[row].rotate_left(32) ^ arguments[row]);
            RowId { key: groups.owning[row], row: whole }
        };
        let expiry = &mut self.expiry;
        let times = expiry.as_ref().map(|expiry| times_of(changes.delta.rows(), keys[expiry.column()]));
        let note = |row: usize, id: RowId| {
            if let Some(expiry) = expiry
                && let Some(time) = times.and_then(|times| time_of(times, row))
            {
                expiry.note(time, id);
            }
        };
        let moved = match &mut self.counts {
            Entries::One(counts) => moved(counts, changes, id, counted, note),
            Entries::Several(counts) => moved(counts, changes, id, counted, note),
            Entries::Seen(seen) => newly_seen(seen, changes.delta.len(), id, counted, note),
        };
        moved.into_iter().map(|(places, weights)| changes.select(places, weights)).collect()
    }

    /// Writes the counts as the section `name`.
    pub fn snapshot(&self, name: &str, to: &mut dyn StateWriter) -> Result<()> {
        if let Some(expiry) = &self.expiry {
            let name = times_section(name);
            match &self.counts {
                Entries::One(counts) | Entries::Seen(counts) => expiry.snapshot(&name, counts, to)?,
                Entries::Several(counts) => expiry.snapshot(&name, counts, to)?,
            }
        }
        match &self.counts {
            Entries::One(counts) => counts.snapshot(name, ["count"], to),
            Entries::Seen(seen) => seen.snapshot(name, ["seen"], to),
            Entries::Several(counts) => counts.snapshot(name, ["count 1", "count 2", "count 3", "count 4"], to),
        }
    }

    /// Takes back the counts of the section `name` that belong to `groups`.
    pub fn restore(&mut self, name: &str, from: &mut dyn StateReader, groups: &KeyGroupRange) -> Result<()> {
        if let Some(expiry) = &mut self.expiry {
            expiry.restore(&times_section(name), from, groups)?;
        }
        match &mut self.counts {
            Entries::One(counts) | Entries::Seen(counts) => counts.restore(name, from, groups),
            Entries::Several(counts) => counts.restore(name, from, groups),
        }
    }

    /// How much it keeps.
    pub fn size(&self) -> StateSize {
        let StateSize { rows, bytes } = match &self.counts {
            Entries::One(counts) | Entries::Seen(counts) => counts.size(),
            Entries::Several(counts) => counts.size(),
        };
        StateSize { rows, bytes: bytes + self.expiry.as_ref().map_or(0, Expiry::bytes) }
    }
}

/// The section of the times of entries.
fn times_section(name: &str) -> String {
    format!("{name}/times")
}

/// Counts the rows; for each member the places of the arguments that came or went, with 1 or -1. `note` is told new
/// entries.
fn moved<const N: usize>(
    counts: &mut Counts<N>,
    changes: &Changes,
    id: impl Fn(usize) -> RowId,
    counted: &[Option<BooleanBuffer>],
    mut note: impl FnMut(usize, RowId),
) -> Vec<(Vec<u32>, Vec<i64>)> {
    let mut block = Block::default();
    for row in 0..changes.delta.len() {
        let mut weights = [0; N];
        for (member, weight) in weights.iter_mut().enumerate().take(counted.len()) {
            *weight = if counts_for(counted, member, row) { changes.delta.weight(row) } else { 0 };
        }
        if weights != [0; N] {
            block.push(id(row), row, weights);
        }
        if block.is_full() || row + 1 == changes.delta.len() {
            block.drain(counts, |counts, entry, row, weights| {
                let counts = counts.change_entry(entry, (0, row));
                counts.iter_mut().zip(weights).for_each(|(count, weight)| *count += weight);
            });
        }
    }
    let mut moved = vec![(Vec::new(), Vec::new()); counted.len()];
    counts.settle(|id, before, now, (_, row)| {
        if before == [0; N] {
            note(row, id);
        }
        for (member, (places, weights)) in moved.iter_mut().enumerate() {
            let change = i64::from(now[member] > 0) - i64::from(before[member] > 0);
            if change != 0 {
                places.push(row as u32);
                weights.push(change);
            }
        }
    });
    moved
}

/// Notes the rows as seen; for each member the places of the arguments that are new to it.
fn newly_seen(
    seen: &mut Counts<1>,
    rows: usize,
    id: impl Fn(usize) -> RowId,
    counted: &[Option<BooleanBuffer>],
    mut note: impl FnMut(usize, RowId),
) -> Vec<(Vec<u32>, Vec<i64>)> {
    let mut new = vec![(Vec::new(), Vec::new()); counted.len()];
    let mut block = Block::default();
    for row in 0..rows {
        let bits = (0..counted.len()).map(|member| i64::from(counts_for(counted, member, row)) << member).sum();
        if bits != 0 {
            block.push(id(row), row, bits);
        }
        if block.is_full() || row + 1 == rows {
            block.drain(seen, |seen, entry, row, bits: i64| {
                let [known] = seen.counts(entry);
                let (missing, is_new) = (bits & !*known, *known == 0);
                *known |= bits;
                if missing == 0 {
                    return;
                }
                if is_new {
                    note(row, id(row));
                }
                for (member, (places, weights)) in new.iter_mut().enumerate() {
                    if missing >> member & 1 == 1 {
                        places.push(row as u32);
                        weights.push(1);
                    }
                }
            });
        }
    }
    new
}

#[inline(always)]
fn counts_for(counted: &[Option<BooleanBuffer>], member: usize, row: usize) -> bool {
    counted[member].as_ref().is_none_or(|counted| counted.value(row))
}

/// Rows whose entries are looked up together.
struct Block<C> {
    ids: Vec<RowId>,
    rows: Vec<(usize, C)>,
    found: Vec<u32>,
}

/// How many.
const TOGETHER: usize = 512;

impl<C> Default for Block<C> {
    fn default() -> Self {
        Block { ids: Vec::new(), rows: Vec::new(), found: Vec::new() }
    }
}

impl<C: Copy> Block<C> {
    fn push(&mut self, id: RowId, row: usize, change: C) {
        self.ids.push(id);
        self.rows.push((row, change));
    }

    fn is_full(&self) -> bool {
        self.ids.len() >= TOGETHER
    }

    /// Calls `change` with the entry of each row.
    fn drain<const N: usize>(&mut self, counts: &mut Counts<N>, mut change: impl FnMut(&mut Counts<N>, u32, usize, C)) {
        counts.find(&self.ids, &mut self.found);
        for (&entry, &(row, of_row)) in self.found.iter().zip(&self.rows) {
            change(counts, entry, row, of_row);
        }
        self.ids.clear();
        self.rows.clear();
    }
}
