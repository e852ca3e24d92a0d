//! The groups of an aggregate: one packed row of words each.
//!
//! ```text
//!   word 0   rows of the group, net          a group with none vanishes after the tick
//!   then     the words of each accumulator
//!   then     1 while it is dirty
//!   then     the key: its columns as words and a word of NULL bits; or, for keys with text, the hash of their bytes
//! ```
//!
//! A row is one or two cache lines, so that a group costs one cache miss however many aggregates it has. On its first
//! change in a tick a group is noted as dirty and the part of its row before that mark is kept, to be retracted; the key
//! does not change.

use super::fixed;
use crate::state::{HashIndex, comparable};
use arrow::array::{Array, ArrayRef};
use arrow::datatypes::DataType;
use arrow::row::{RowConverter, Rows, SortField};
use millrace_types::hash::{KEY_SEED, hash_rows, mix};
use millrace_types::{Result, Weights};
use std::ops::Range;
use std::sync::Arc;

const ROWS: usize = 0;
/// The word of a row at which the accumulators start.
pub const FIRST_ACCUMULATOR: usize = 1;

/// Rows that are worked on together: their groups stay in the second-level cache until all accumulators have seen them.
pub const BLOCK: usize = 1_024;

/// The groups.
pub struct Groups {
    index: HashIndex,
    pub words: Vec<u64>,
    pub stride: usize,
    /// The word of a row that marks it as dirty, after those that change.
    mark: usize,
    types: Vec<DataType>,
    key: Key,
    free: Vec<u32>,
    /// Whether groups are given once, so that nobody asks how they were before.
    once: bool,
    /// The groups that changed in the open tick; where they are given once, those that came.
    pub dirty: Vec<u32>,
    /// Their rows as they were before it, up to the mark.
    before: Vec<u64>,
    hashes: Vec<u64>,
    key_words: Vec<u64>,
}

/// How keys are kept.
enum Key {
    /// As this many words.
    Words(usize),
    /// As bytes, by group; their hash is in the group's row.
    Bytes { converter: Box<RowConverter>, stored: Vec<Arc<[u8]>> },
}

impl Key {
    fn bytes(types: &[DataType], stored: Vec<Arc<[u8]>>) -> Result<Key> {
        let fields = types.iter().cloned().map(SortField::new).collect();
        Ok(Key::Bytes { converter: Box::new(RowConverter::new(fields)?), stored })
    }
}

impl Groups {
    /// No groups. `types`: those of the key columns; `accumulators`: how many words they take together; `once`: whether
    /// each group is given once.
    pub fn new(types: Vec<DataType>, accumulators: usize, once: bool) -> Result<Groups> {
        let key = if types.iter().all(fixed::is_fixed) && types.len() <= 64 {
            let values: usize = types.iter().map(fixed::words_of).sum();
            Key::Words(if types.is_empty() { 0 } else { values + 1 })
        } else {
            Key::bytes(&types, Vec::new())?
        };
        let mark = FIRST_ACCUMULATOR + accumulators;
        let mut groups = Groups {
            index: HashIndex::default(),
            words: Vec::new(),
            stride: 0,
            mark,
            types,
            key,
            free: Vec::new(),
            once,
            dirty: Vec::new(),
            before: Vec::new(),
            hashes: Vec::new(),
            key_words: Vec::new(),
        };
        groups.stride = groups.key() + groups.key_words();
        Ok(groups)
    }

    /// A copy to read groups from; look-ups find nothing in it.
    pub fn copy(&self) -> Result<Groups> {
        let key = match &self.key {
            Key::Words(words) => Key::Words(*words),
            Key::Bytes { stored, .. } => Key::bytes(&self.types, stored.clone())?,
        };
        Ok(Groups {
            index: HashIndex::default(),
            words: self.words.clone(),
            types: self.types.clone(),
            key,
            free: self.free.clone(),
            dirty: Vec::new(),
            before: Vec::new(),
            hashes: Vec::new(),
            key_words: Vec::new(),
            ..*self
        })
    }

    fn key_words(&self) -> usize {
        match &self.key {
            Key::Words(words) => *words,
            Key::Bytes { .. } => 1,
        }
    }

    /// The word of a row at which its key starts.
    fn key(&self) -> usize {
        self.mark + 1
    }

    /// The words of a row that are the accumulators'.
    pub fn accumulators(&self) -> Range<usize> {
        FIRST_ACCUMULATOR..self.mark
    }

    /// How many groups there are.
    pub fn len(&self) -> usize {
        self.capacity() - self.free.len()
    }

    /// One more than the highest group number ever given.
    pub fn capacity(&self) -> usize {
        self.words.len() / self.stride
    }

    /// Bytes of memory, nearly.
    pub fn bytes(&self) -> usize {
        let keys = match &self.key {
            Key::Words(_) => 0,
            Key::Bytes { stored, .. } => stored.iter().map(|bytes| bytes.len() + size_of::<Arc<[u8]>>()).sum(),
        };
        self.words.capacity() * size_of::<u64>() + self.index.bytes() + keys
    }

    /// The row of a group.
    pub fn row(&self, group: u32) -> &[u64] {
        &self.words[group as usize * self.stride..][..self.stride]
    }

    /// The row of a group, to be changed.
    pub fn row_mut(&mut self, group: u32) -> &mut [u64] {
        &mut self.words[group as usize * self.stride..][..self.stride]
    }

    /// The row, up to its mark, of the dirty group at `slot` as it was before the tick.
    pub fn row_before(&self, slot: usize) -> &[u64] {
        &self.before[slot * self.mark..][..self.mark]
    }

    /// Ends a tick in which all dirty groups were made clean.
    pub fn end_tick(&mut self) {
        self.dirty.clear();
        self.before.clear();
    }

    /// The numbers of all groups.
    pub fn all(&self) -> Vec<u32> {
        let mut free = vec![false; self.capacity()];
        self.free.iter().for_each(|&group| free[group as usize] = true);
        (0..free.len() as u32).filter(|&group| !free[group as usize]).collect()
    }

    /// The key columns of a batch, ready for [`find`](Groups::find).
    pub fn prepare(&self, keys: &[ArrayRef]) -> Result<Prepared> {
        let keys: Vec<ArrayRef> = keys.iter().map(comparable).collect();
        match &self.key {
            Key::Words(_) => Ok(Prepared::Columns(keys)),
            Key::Bytes { converter, .. } => {
                let hashes = hash_rows(&keys, keys[0].len(), KEY_SEED)?;
                Ok(Prepared::Bytes { keys: converter.convert_columns(&keys)?, hashes })
            }
        }
    }

    /// The groups of `rows` (a block), new ones where there were none.
    pub fn find(&mut self, keys: &Prepared, rows: Range<usize>, found: &mut Vec<u32>) {
        match (keys, self.key_words()) {
            (Prepared::Columns(columns), words) => {
                self.encode(columns, rows, words);
                match words {
                    0 => self.find_only(found),
                    2 => self.find_words(2, found),
                    3 => self.find_words(3, found),
                    words => self.find_words(words, found),
                }
            }
            (Prepared::Bytes { keys, hashes }, _) => self.find_bytes(keys, hashes, rows, found),
        }
    }

    fn encode(&mut self, columns: &[ArrayRef], rows: Range<usize>, words: usize) {
        let start = rows.start;
        self.hashes.clear();
        self.hashes.resize(rows.len(), 0);
        self.key_words.clear();
        self.key_words.resize(rows.len() * words, 0);
        let out = &mut self.key_words[..];
        let mut word = 0;
        for (at, column) in columns.iter().enumerate() {
            let nulls = column.logical_nulls().filter(|nulls| nulls.null_count() > 0);
            match (fixed::words_of(column.data_type()), nulls) {
                (1, None) => fixed::encode(column, rows.clone(), |row, v| out[(row - start) * words + word] = v as u64),
                (width, nulls) => fixed::encode(column, rows.clone(), |row, v| {
                    let row_words = &mut out[(row - start) * words..][..words];
                    if nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
                        row_words[words - 1] |= 1 << at;
                    } else {
                        row_words[word] = v as u64;
                        if width == 2 {
                            row_words[word + 1] = (v >> 64) as u64;
                        }
                    }
                }),
            }
            word += fixed::words_of(column.data_type());
        }
    }

    /// The one group of an aggregate without keys.
    fn find_only(&mut self, found: &mut Vec<u32>) {
        if self.index.is_empty() {
            self.insert(0, &[]);
        }
        found.clear();
        found.resize(self.hashes.len(), 0);
    }

    /// Inlined with `words` constant, which makes the comparisons straight code.
    #[inline(always)]
    fn find_words(&mut self, words: usize, found: &mut Vec<u32>) {
        let keys = std::mem::take(&mut self.key_words);
        let mut hashes = std::mem::take(&mut self.hashes);
        hashes.iter_mut().zip(keys.chunks_exact(words)).for_each(|(hash, key)| *hash = hash_of(key));
        self.index.guess(&hashes, found);
        self.fetch(found);
        let first = self.key();
        for ((group, key), &hash) in found.iter_mut().zip(keys.chunks_exact(words)).zip(&hashes) {
            let is = |group: u32| {
                let known = &self.words[group as usize * self.stride + first..][..words];
                // A loop beats the call of a comparison of memory for so few words.
                known.iter().zip(key).all(|(known, word)| known == word)
            };
            if *group == u32::MAX || !is(*group) {
                *group = match self.index.find(hash, is) {
                    Some(group) => group,
                    None => self.insert(hash, key),
                };
            }
        }
        (self.key_words, self.hashes) = (keys, hashes);
    }

    /// Brings the rows of these groups into the cache. Reading one word of each in a loop of nothing else lets the cache
    /// misses overlap, which they do not once branches depend on what was read.
    pub fn fetch(&self, groups: &[u32]) {
        let last = self.capacity().saturating_sub(1);
        let read = groups.iter().fold(0, |read, &group| {
            let start = (group as usize).min(last) * self.stride;
            read ^ self.words.get(start).unwrap_or(&0) ^ self.words.get(start + self.stride - 1).unwrap_or(&0)
        });
        std::hint::black_box(read);
    }

    fn find_bytes(&mut self, keys: &Rows, hashes: &[u64], rows: Range<usize>, found: &mut Vec<u32>) {
        self.index.guess(&hashes[rows.clone()], found);
        self.fetch(found);
        let first = self.key();
        for (group, row) in found.iter_mut().zip(rows) {
            let key = keys.row(row);
            let (bytes, hash) = (key.data(), hashes[row]);
            let Key::Bytes { stored, .. } = &self.key else { return };
            let is = |group: u32| {
                self.words[group as usize * self.stride + first] == hash && *stored[group as usize] == *bytes
            };
            if *group != u32::MAX && is(*group) {
                continue;
            }
            *group = match self.index.find(hash, is) {
                Some(group) => group,
                None => {
                    let group = self.insert(hash, &[hash]);
                    if let Key::Bytes { stored, .. } = &mut self.key {
                        stored.resize(stored.len().max(group as usize + 1), Arc::default());
                        stored[group as usize] = bytes.into();
                    }
                    group
                }
            };
        }
    }

    #[cold]
    fn insert(&mut self, hash: u64, key: &[u64]) -> u32 {
        let group = self.allocate(key);
        self.index.insert(hash, group);
        group
    }

    fn allocate(&mut self, key: &[u64]) -> u32 {
        let group = self.free.pop().unwrap_or_else(|| {
            self.words.resize(self.words.len() + self.stride, 0);
            (self.capacity() - 1) as u32
        });
        let first = group as usize * self.stride + self.key();
        self.words[first..][..key.len()].copy_from_slice(key);
        group
    }

    /// A further group with the key of another, which look-ups do not find.
    pub fn insert_beside(&mut self, group: u32) -> u32 {
        let key = self.row(group)[self.key()..].to_vec();
        let new = self.allocate(&key);
        if let Key::Bytes { stored, .. } = &mut self.key {
            stored.resize(stored.len().max(new as usize + 1), Arc::default());
            stored[new as usize] = stored[group as usize].clone();
        }
        new
    }

    /// Lets look-ups find another group with the key of one.
    pub fn find_instead(&mut self, from: u32, to: u32) {
        let hash = self.hash(from);
        self.index.remove(hash, from);
        self.index.insert(hash, to);
    }

    fn hash(&self, group: u32) -> u64 {
        let key = &self.row(group)[self.key()..];
        match &self.key {
            Key::Words(_) => hash_of(key),
            Key::Bytes { .. } => key[0],
        }
    }

    /// Counts the rows of a block into their groups and notes those that were clean.
    pub fn touch(&mut self, found: &[u32], start: usize, weights: &Weights) {
        match weights {
            Weights::Ones => found.iter().for_each(|&group| self.touch_one(group, 1)),
            Weights::Each(each) => found.iter().zip(&each[start..]).for_each(|(&group, &w)| self.touch_one(group, w)),
        }
    }

    /// As [`touch`](Groups::touch), for one row.
    #[inline(always)]
    pub fn touch_one(&mut self, group: u32, weight: i64) {
        let row = &mut self.words[group as usize * self.stride..][..self.stride];
        if self.once {
            if row[ROWS] == 0 {
                self.dirty.push(group);
            }
        } else if row[self.mark] == 0 {
            self.before.extend_from_slice(&row[..self.mark]);
            self.dirty.push(group);
            row[self.mark] = 1;
        }
        row[ROWS] = row[ROWS].wrapping_add_signed(weight);
    }

    /// Marks a group as clean. True when it has no rows left and is to be [removed](Groups::remove).
    pub fn clean(&mut self, group: u32) -> bool {
        let row = &mut self.words[group as usize * self.stride..][..self.stride];
        row[self.mark] = 0;
        row[ROWS] == 0 && !self.types.is_empty()
    }

    /// Removes a group with all that is kept of it.
    pub fn remove(&mut self, group: u32) {
        let hash = self.hash(group);
        if let Key::Bytes { stored, .. } = &mut self.key {
            stored[group as usize] = Arc::default();
        }
        self.row_mut(group).fill(0);
        self.index.remove(hash, group);
        self.free.push(group);
    }

    /// The key columns of these groups.
    pub fn key_columns(&self, groups: impl Iterator<Item = u32> + Clone) -> Result<Vec<ArrayRef>> {
        match &self.key {
            Key::Words(words) => Ok(self.decode(groups, *words)),
            Key::Bytes { converter, stored } => {
                let parser = converter.parser();
                Ok(converter.convert_rows(groups.map(|group| parser.parse(&stored[group as usize])))?)
            }
        }
    }

    fn decode(&self, groups: impl Iterator<Item = u32> + Clone, words: usize) -> Vec<ArrayRef> {
        let (mut word, last) = (0, words.saturating_sub(1));
        let columns = self.types.iter().enumerate().map(|(at, data_type)| {
            let (low, width) = (word, fixed::words_of(data_type));
            word += width;
            let rows = || groups.clone().map(|group| &self.words[group as usize * self.stride + self.key()..][..words]);
            let is_null = |row: &[u64]| row[last] >> at & 1 == 1;
            let nulls = rows().any(is_null).then(|| rows().map(|row| !is_null(row)).collect());
            match width {
                1 => fixed::decode(data_type, rows().map(|row| row[low].into()), nulls),
                _ => {
                    let value = |row: &[u64]| u128::from(row[low + 1]) << 64 | u128::from(row[low]);
                    fixed::decode(data_type, rows().map(value), nulls)
                }
            }
        });
        columns.collect()
    }
}

/// The key columns of a batch in the form that groups are found by.
pub enum Prepared {
    Columns(Vec<ArrayRef>),
    Bytes { keys: Rows, hashes: Vec<u64> },
}

/// Whether a group with this row has rows.
pub fn exists(row: &[u64]) -> bool {
    row[ROWS] as i64 > 0
}

/// Sets the number of rows: only to restore it.
pub fn set_rows(row: &mut [u64], rows: i64) {
    row[ROWS] = rows as u64;
}

/// The number of rows.
pub fn rows_of(row: &[u64]) -> i64 {
    row[ROWS] as i64
}

#[inline(always)]
fn hash_of(key: &[u64]) -> u64 {
    key.iter().fold(0, |hash: u64, &word| mix(hash.rotate_left(5) ^ word))
}
