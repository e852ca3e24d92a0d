//! The groups as sections of a snapshot.
//!
//! ```text
//! groups      key_hash | the key columns | rows | the words of the accumulators, as bytes; before them, of a session,
//!             the times of its first and last row
//! values/N    key_hash | the key columns | value | times      of aggregate N, where it keeps values beside its words
//! states/N    key_hash | the key columns | the state          of aggregate N, where it keeps accumulators
//! distinct/N  key_hash | row_hash | counts                    the Nth of the arguments of DISTINCT
//! distinct/N/times  key_hash | row_hash | time                when its counts go, if they do
//! started     key_hash                                        without keys: the one row has been given
//! given       key_hash | time                                 where groups are given once: until when they have been
//! rows        the rows of all groups, where an aggregate needs them
//! ```

use super::Aggregate;
use super::accumulator::{Accumulator, Kind};
use super::groups::{Groups, rows_of, set_rows};
use super::sessions::LINK_WORDS;
use crate::operator::{StateReader, StateWriter};
use crate::state::{corrupt, in_range, sorted_batch};
use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, Int64Array, RecordBatch, UInt32Array};
use arrow::buffer::{Buffer, OffsetBuffer};
use arrow::compute::take;
use arrow::datatypes::{DataType, Int64Type};
use millrace_types::hash::{KEY_SEED, hash_rows};
use millrace_types::{KeyGroupRange, Result};
use std::ops::Range;
use std::sync::Arc;

const STARTED: &str = "started";
const GIVEN: &str = "given";

/// How many groups a batch of a section has at most.
const BATCH: usize = 16_384;

impl Aggregate {
    /// Writes all groups: their rows from a copy, and now what is kept beside them.
    pub(super) fn write_sections(&mut self, to: &mut dyn StateWriter) -> Result<()> {
        let (groups, partition, stored) = (self.groups.copy()?, self.partition.clone(), self.stored());
        to.write_later(Box::new(move |to| write_groups(&groups, &partition, &stored, to)))?;
        if self.accumulators.iter().any(Accumulator::keeps_beside) {
            for groups in self.groups.all().chunks(BATCH) {
                let keys = self.groups.key_columns(groups.iter().copied())?;
                let hashes = key_hashes(&self.partition, &keys, groups.len())?;
                self.write_values(groups, &keys, &hashes, to)?;
                self.write_states(groups, &keys, &hashes, to)?;
            }
        }
        if let Some(Some(given)) = self.once {
            let given = Arc::new(Int64Array::from(vec![given])) as ArrayRef;
            to.write(GIVEN, sorted_batch(vec![0], vec![("given", given)])?)?;
        }
        if self.keys.is_empty() && self.started {
            to.write(STARTED, sorted_batch(key_hashes(&self.partition, &[], 1)?, vec![])?)?;
        }
        for (number, distinct) in self.distincts.iter().enumerate() {
            distinct.snapshot(&format!("distinct/{number}"), to)?;
        }
        self.gathered.as_ref().map_or(Ok(()), |gathered| gathered.snapshot(to))
    }

    fn write_values(&self, groups: &[u32], keys: &[ArrayRef], hashes: &[u64], to: &mut dyn StateWriter) -> Result<()> {
        for (number, accumulator) in self.accumulators.iter().enumerate() {
            for values in accumulator.values_of(groups).unwrap_or_default().chunks(BATCH) {
                let owners = UInt32Array::from_iter_values(values.iter().map(|value| value.0));
                let keys = keys.iter().map(|key| take(key, &owners, None)).collect::<Result<Vec<_>, _>>()?;
                let hashes = owners.values().iter().map(|&owner| hashes[owner as usize]).collect();
                let value = BinaryArray::from_iter_values(values.iter().map(|value| &value.1));
                let times = Int64Array::from_iter_values(values.iter().map(|value| value.2));
                let tail: [ArrayRef; 2] = [Arc::new(value), Arc::new(times)];
                let batch = sorted_batch(hashes, named(&keys, tail, ["value", "times"]))?;
                to.write(&format!("values/{number}"), batch)?;
            }
        }
        Ok(())
    }

    fn write_states(
        &mut self,
        groups: &[u32],
        keys: &[ArrayRef],
        hashes: &[u64],
        to: &mut dyn StateWriter,
    ) -> Result<()> {
        for (number, accumulator) in self.accumulators.iter_mut().enumerate() {
            if let Kind::Folded { calls, .. } = &mut accumulator.kind {
                let keys = keys.iter().map(|key| ("key", key.clone()));
                let columns = keys.chain(calls.states(groups)?.into_iter().map(|state| ("state", state))).collect();
                to.write(&format!("states/{number}"), sorted_batch(hashes.to_vec(), columns)?)?;
            }
        }
        Ok(())
    }

    /// The words of a group's row that a snapshot keeps: links between groups are made anew.
    fn stored(&self) -> Range<usize> {
        let Range { start, end } = self.groups.accumulators();
        start + if self.sessions.is_some() { LINK_WORDS } else { 0 }..end
    }

    /// Takes back the groups whose hash belongs to `owned`.
    pub(super) fn read_sections(&mut self, from: &mut dyn StateReader, owned: &KeyGroupRange) -> Result<()> {
        for batch in from.read("groups")? {
            let batch = in_range(&batch, owned)?;
            if batch.num_rows() > 0 {
                self.read_groups(&batch)?;
            }
        }
        for number in 0..self.accumulators.len() {
            for batch in from.read(&format!("values/{number}"))? {
                let batch = in_range(&batch, owned)?;
                if batch.num_rows() > 0 {
                    self.read_values(number, &batch)?;
                }
            }
            for batch in from.read(&format!("states/{number}"))? {
                let batch = in_range(&batch, owned)?;
                if batch.num_rows() > 0 {
                    self.read_states(number, &batch)?;
                }
            }
        }
        for batch in from.read(GIVEN)? {
            let given = batch.columns().get(1).and_then(|given| given.as_primitive_opt::<Int64Type>());
            let given = given.ok_or_else(|| corrupt("its columns are others"))?;
            self.once = self.once.map(|known| known.max(given.values().first().copied()));
        }
        for batch in from.read(STARTED)? {
            self.started |= in_range(&batch, owned)?.num_rows() > 0;
        }
        for (number, distinct) in self.distincts.iter_mut().enumerate() {
            distinct.restore(&format!("distinct/{number}"), from, owned)?;
        }
        self.gathered.as_mut().map_or(Ok(()), |gathered| gathered.restore(from, owned))
    }

    /// The columns of a section, checked: those after the keys. The groups of its keys are in `self.found` then.
    fn open_section(&mut self, batch: &RecordBatch, tail: &[DataType]) -> Result<Vec<ArrayRef>> {
        let keys = self.keys.len();
        let types = batch.columns().iter().skip(1).map(|column| column.data_type());
        let expected = self.schema.fields()[..keys].iter().map(|field| field.data_type()).chain(tail);
        if !types.eq(expected) {
            return Err(corrupt("its columns are others"));
        }
        let prepared = self.groups.prepare(&batch.columns()[1..=keys])?;
        self.find(&prepared, 0..batch.num_rows());
        Ok(batch.columns()[keys + 1..].to_vec())
    }

    fn read_groups(&mut self, batch: &RecordBatch) -> Result<()> {
        let columns = self.open_section(batch, &[DataType::Int64, DataType::Binary])?;
        let (rows, words) = (columns[0].as_primitive::<Int64Type>(), columns[1].as_binary::<i32>());
        let stored = self.stored();
        for (at, &group) in self.found.iter().enumerate() {
            let (bytes, rest) = words.value(at).as_chunks::<8>();
            if bytes.len() != stored.len() || !rest.is_empty() {
                return Err(corrupt("its words are of another length"));
            }
            let group = match (&mut self.sessions, bytes) {
                (Some(sessions), [from, to, ..]) => {
                    let times = (i64::from_le_bytes(*from), i64::from_le_bytes(*to));
                    sessions.restore(&mut self.groups, group, times)
                }
                _ => group,
            };
            let row = self.groups.row_mut(group);
            set_rows(row, rows.value(at));
            row[stored.clone()].iter_mut().zip(bytes).for_each(|(word, bytes)| *word = u64::from_le_bytes(*bytes));
        }
        self.started = true;
        Ok(())
    }

    fn read_values(&mut self, number: usize, batch: &RecordBatch) -> Result<()> {
        let columns = self.open_section(batch, &[DataType::Binary, DataType::Int64])?;
        let (value, times) = (columns[0].as_binary::<i32>(), columns[1].as_primitive::<Int64Type>());
        for (at, &group) in self.found.iter().enumerate() {
            self.accumulators[number].restore_value(group, value.value(at), times.value(at));
        }
        Ok(())
    }

    fn read_states(&mut self, number: usize, batch: &RecordBatch) -> Result<()> {
        let Kind::Folded { calls, .. } = &self.accumulators[number].kind else { return Ok(()) };
        let types: Vec<_> = calls.state_fields()?.iter().map(|field| field.data_type().clone()).collect();
        let columns = self.open_section(batch, &types)?;
        let Aggregate { accumulators, found, .. } = self;
        let Kind::Folded { calls, .. } = &mut accumulators[number].kind else { return Ok(()) };
        for (at, &group) in found.iter().enumerate() {
            let state: Vec<_> = columns.iter().map(|column| column.slice(at, 1)).collect();
            calls.restore(group, &state)?;
        }
        Ok(())
    }
}

/// Writes the rows of all groups, with the words `stored` of each.
fn write_groups(groups: &Groups, partition: &[usize], stored: &Range<usize>, to: &mut dyn StateWriter) -> Result<()> {
    for part in groups.all().chunks(BATCH) {
        let keys = groups.key_columns(part.iter().copied())?;
        let hashes = key_hashes(partition, &keys, part.len())?;
        let rows = part.iter().map(|&group| groups.row(group));
        let count: Int64Array = rows.clone().map(rows_of).collect();
        let words: Vec<u64> = rows.flat_map(|row| &row[stored.clone()]).map(|word| word.to_le()).collect();
        let lengths = std::iter::repeat_n(stored.len() * size_of::<u64>(), part.len());
        let words = BinaryArray::try_new(OffsetBuffer::from_lengths(lengths), Buffer::from_vec(words), None)?;
        let tail: [ArrayRef; 2] = [Arc::new(count), Arc::new(words)];
        to.write("groups", sorted_batch(hashes, named(&keys, tail, ["rows", "words"]))?)?;
    }
    Ok(())
}

/// The hashes by which groups are owned by workers.
fn key_hashes(partition: &[usize], keys: &[ArrayRef], groups: usize) -> Result<Vec<u64>> {
    let owning: Vec<ArrayRef> = partition.iter().map(|&key| keys[key].clone()).collect();
    hash_rows(&owning, groups, KEY_SEED)
}

/// The columns of a section: the keys, then `tail` under these names.
fn named<'a>(keys: &[ArrayRef], tail: [ArrayRef; 2], names: [&'a str; 2]) -> Vec<(&'a str, ArrayRef)> {
    keys.iter().map(|key| ("key", key.clone())).chain(names.into_iter().zip(tail)).collect()
}
