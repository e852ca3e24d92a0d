//! Counters by row identity: for operators that must know how often a row is there, or matched, and need no rows back.

use super::index::HashIndex;
use super::run::RowId;
use super::snapshot::{corrupt, in_range, sorted_batch};
use crate::operator::{StateReader, StateSize, StateWriter};
use arrow::array::{ArrayRef, AsArray, Int64Array, UInt64Array};
use arrow::datatypes::{DataType, Int64Type, UInt64Type};
use millrace_types::hash::mix;
use millrace_types::{KeyGroupRange, Result};
use std::sync::Arc;

/// Where a row was seen in the open tick: which batch, which row.
pub type Place = (usize, usize);

/// `N` counters for each row identity that has one other than zero.
#[derive(Debug)]
pub struct Counts<const N: usize> {
    index: HashIndex,
    entries: Vec<Entry<N>>,
    free: Vec<u32>,
    dirty: Vec<Dirty<N>>,
}

#[derive(Clone, Copy, Debug)]
struct Entry<const N: usize> {
    id: RowId,
    counts: [i64; N],
    is_dirty: bool,
}

/// An entry that changed in the open tick: its counts as they were, and where its row is.
#[derive(Debug)]
struct Dirty<const N: usize> {
    entry: u32,
    before: [i64; N],
    place: Place,
}

/// How many entries a batch of a section has at most.
const BATCH: usize = 65_536;

impl<const N: usize> Default for Counts<N> {
    fn default() -> Self {
        Counts { index: HashIndex::default(), entries: Vec::new(), free: Vec::new(), dirty: Vec::new() }
    }
}

fn hash_of(id: RowId) -> u64 {
    mix(id.key ^ id.row.rotate_left(32))
}

impl<const N: usize> Counts<N> {
    /// The counters of a row, to be changed; the row is seen at `place`.
    pub fn change(&mut self, id: RowId, place: Place) -> &mut [i64; N] {
        let entry = self.find_or_insert(id);
        self.change_entry(entry, place)
    }

    /// The entries of rows, new ones where there were none: all of them are to be changed. Of many rows together the
    /// cache misses overlap.
    pub fn find(&mut self, ids: &[RowId], found: &mut Vec<u32>) {
        let hashes: Vec<u64> = ids.iter().map(|id| hash_of(*id)).collect();
        self.index.guess(&hashes, found);
        let last = self.entries.len().saturating_sub(1);
        let key = |entry: u32| self.entries.get((entry as usize).min(last)).map_or(0, |entry| entry.id.key);
        std::hint::black_box(found.iter().fold(0, |read, &entry| read ^ key(entry)));
        for (entry, id) in found.iter_mut().zip(ids) {
            if self.entries.get(*entry as usize).is_none_or(|known| known.id != *id) {
                *entry = self.find_or_insert(*id);
            }
        }
    }

    /// The counters of an entry, to be changed without a word at the end of the tick.
    pub fn counts(&mut self, entry: u32) -> &mut [i64; N] {
        &mut self.entries[entry as usize].counts
    }

    /// As [`change`](Counts::change), of an entry that was found.
    pub fn change_entry(&mut self, entry: u32, place: Place) -> &mut [i64; N] {
        let Entry { counts, is_dirty, .. } = &mut self.entries[entry as usize];
        if !*is_dirty {
            *is_dirty = true;
            self.dirty.push(Dirty { entry, before: *counts, place });
        }
        counts
    }

    fn find_or_insert(&mut self, id: RowId) -> u32 {
        let hash = hash_of(id);
        if let Some(entry) = self.index.find(hash, |entry| self.entries[entry as usize].id == id) {
            return entry;
        }
        let new = Entry { id, counts: [0; N], is_dirty: false };
        let entry = match self.free.pop() {
            Some(entry) => {
                self.entries[entry as usize] = new;
                entry
            }
            None => {
                self.entries.push(new);
                (self.entries.len() - 1) as u32
            }
        };
        self.index.insert(hash, entry);
        entry
    }

    /// Whether a row has counters.
    pub fn has(&self, id: RowId) -> bool {
        self.index.find(hash_of(id), |entry| self.entries[entry as usize].id == id).is_some()
    }

    /// Forgets a row that did not change in the open tick.
    pub fn remove(&mut self, id: RowId) {
        let hash = hash_of(id);
        if let Some(entry) = self.index.find(hash, |entry| self.entries[entry as usize].id == id) {
            self.index.remove(hash, entry);
            self.entries[entry as usize].counts = [0; N];
            self.free.push(entry);
        }
    }

    /// Ends the tick: calls `changed` with each changed row, its counters as they were and as they are, and where it was
    /// seen. Rows whose counters are all zero are forgotten.
    pub fn settle(&mut self, mut changed: impl FnMut(RowId, [i64; N], [i64; N], Place)) {
        for Dirty { entry, before, place } in std::mem::take(&mut self.dirty) {
            let Entry { id, counts, is_dirty } = &mut self.entries[entry as usize];
            *is_dirty = false;
            changed(*id, before, *counts, place);
            if *counts == [0; N] {
                self.index.remove(hash_of(*id), entry);
                self.free.push(entry);
            }
        }
    }

    /// Writes all counters as the section `name`, under these column names.
    pub fn snapshot(&self, name: &str, names: [&'static str; N], to: &mut dyn StateWriter) -> Result<()> {
        let (name, entries) = (name.to_owned(), self.entries.clone());
        to.write_later(Box::new(move |to| write(entries, &name, names, to)))
    }

    /// Takes back the counters of the section `name` that belong to `groups`.
    pub fn restore(&mut self, name: &str, from: &mut dyn StateReader, groups: &KeyGroupRange) -> Result<()> {
        for batch in from.read(name)? {
            let batch = in_range(&batch, groups)?;
            let types = batch.columns().iter().map(|column| column.data_type());
            let counts = std::iter::repeat_n(&DataType::Int64, N);
            if !types.eq([&DataType::UInt64, &DataType::UInt64].into_iter().chain(counts)) {
                return Err(corrupt("its columns are others"));
            }
            let keys = batch.column(0).as_primitive::<UInt64Type>();
            let rows = batch.column(1).as_primitive::<UInt64Type>();
            for at in 0..batch.num_rows() {
                let entry = self.find_or_insert(RowId { key: keys.value(at), row: rows.value(at) });
                let counts = &mut self.entries[entry as usize].counts;
                for (number, count) in counts.iter_mut().enumerate() {
                    *count = batch.column(2 + number).as_primitive::<Int64Type>().value(at);
                }
            }
        }
        Ok(())
    }

    /// How much it keeps.
    pub fn size(&self) -> StateSize {
        let entries = self.entries.capacity() * size_of::<Entry<N>>();
        StateSize { rows: self.index.len(), bytes: self.index.bytes() + entries }
    }
}

/// Writes those of the entries that count something, in order.
fn write<const N: usize>(
    mut entries: Vec<Entry<N>>,
    name: &str,
    names: [&str; N],
    to: &mut dyn StateWriter,
) -> Result<()> {
    entries.retain(|entry| entry.counts != [0; N]);
    entries.sort_unstable_by_key(|entry| entry.id);
    for entries in entries.chunks(BATCH) {
        let hashes = entries.iter().map(|entry| entry.id.key).collect();
        let rows = UInt64Array::from_iter_values(entries.iter().map(|entry| entry.id.row));
        let mut columns = vec![("row_hash", Arc::new(rows) as ArrayRef)];
        for (at, name) in names.into_iter().enumerate() {
            let counts = Int64Array::from_iter_values(entries.iter().map(|entry| entry.counts[at]));
            columns.push((name, Arc::new(counts)));
        }
        to.write(name, sorted_batch(hashes, columns)?)?;
    }
    Ok(())
}
