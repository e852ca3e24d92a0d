//! Rows in an order, by partition: the state of what takes the first rows of a partition or looks at neighbours.
//!
//! A row is kept once, as bytes that compare as its values do (arrow's row format):
//!
//! ```text
//!   | partition | order | the other columns |  exact  |
//!   |<-- peers: equal in this ------->|
//!   |<-- identity, and the order of the rows -->|
//! ```
//!
//! So rows that the order leaves equal have an order of their own, that of all columns, and results that depend on it
//! are the same however the rows came. Values that Postgres calls equal though they look different (-0 and 0, `30 days`
//! and `1 mon`) are the same bytes in the identity; how the first one looked is kept behind it in `exact`.
//!
//! Behind the watermark [`Passing`] says what goes: partitions, or the first rows of some.
//!
//! The changes of a tick are collected by partition. [`Ordered::settle`] shows each changed partition as it was with
//! its net changes, and then applies them: a step of O(log n) for each changed row.

use super::batch_of;
use super::best::Best;
use super::expiry::{time_of, times_of};
use super::format::{Decoding, Format, Heads};
use super::index::HashIndex;
use super::passing::Passing;
use super::rows::{OrderedRow, RowView, Rows};
use super::snapshot::{corrupt, in_range, sorted_batch};
use crate::operator::{StateReader, StateSize, StateWriter};
use arrow::array::{ArrayRef, AsArray, Int64Array};
use arrow::datatypes::{DataType, Int64Type, SchemaRef};
use millrace_ir::SortColumn;
use millrace_types::hash::{KEY_SEED, hash_rows};
use millrace_types::{Delta, KeyGroupRange, Result, Weights};
use std::sync::Arc;

/// Answers how many of a partition's rows are wanted at all; `None`: all of them.
pub type Keep<'a> = dyn Fn(&Rows) -> Option<usize> + 'a;

/// The ordered rows of all partitions.
pub struct Ordered {
    format: Format,
    index: HashIndex,
    partitions: Vec<Partition>,
    free: Vec<u32>,
    dirty: Vec<u32>,
    rows: usize,
    bytes: usize,
    passing: Option<Passing>,
}

struct Partition {
    hash: u64,
    /// The time that it is noted with among those that go, if it is.
    noted: Option<i64>,
    rows: Rows,
    /// What the open tick changes.
    open: Vec<Change>,
    /// Whether rows behind the last one were dropped, and such rows are not wanted.
    full: bool,
}

/// A row and by how much its weight changes.
pub type Change = (OrderedRow, i64);

/// How many rows a batch of a section or of output has at most.
const BATCH: usize = 8_192;

impl Ordered {
    /// No rows yet. Rows of `schema` are kept by the columns `partition`, in the order `order`.
    pub fn new(schema: SchemaRef, partition: &[usize], order: &[SortColumn]) -> Result<Ordered> {
        let format = Format::new(schema, partition, order)?;
        let (index, partitions) = (HashIndex::default(), Vec::new());
        let (free, dirty) = (Vec::new(), Vec::new());
        Ok(Ordered { format, index, partitions, free, dirty, rows: 0, bytes: 0, passing: None })
    }

    /// Lets rows go that the watermark has passed.
    pub fn passing(self, passing: Option<Passing>) -> Ordered {
        Ordered { passing, ..self }
    }

    /// Collects the changes of a delta. `first`: how many rows of a partition are wanted, if nothing is ever retracted;
    /// else all are. `wanted`: whether a row still matters to a full partition whose last row is given.
    pub fn change(
        &mut self,
        delta: &Delta,
        first: Option<usize>,
        wanted: impl Fn(RowView<'_>, RowView<'_>) -> bool,
    ) -> Result<()> {
        let columns: Vec<ArrayRef> =
            self.format.partition.columns.iter().map(|&column| delta.rows().column(column).clone()).collect();
        let hashes = hash_rows(&columns, delta.len(), KEY_SEED)?;
        let heads = self.format.heads(delta.rows())?;
        let kept = first.map(|first| self.candidates(&heads, &hashes, first));
        let times = self.passing.as_ref().and_then(Passing::partition).map(|column| times_of(delta.rows(), column));
        let tails = self.format.tails(delta.rows(), kept.as_deref())?;
        let mut bytes = Vec::new();
        for place in 0..kept.as_ref().map_or(delta.len(), Vec::len) {
            let at = kept.as_ref().map_or(place, |kept| kept[place] as usize);
            let (head, row) = heads.write(at, &tails, place, &mut bytes);
            let slot = self.find_or_insert(hashes[at], head);
            let partition = &mut self.partitions[slot as usize];
            if partition.full && partition.rows.last().is_some_and(|last| !wanted(row, last.view())) {
                continue;
            }
            if partition.open.is_empty() {
                self.dirty.push(slot);
            }
            if let (Some(passing), Some(times), None) = (&mut self.passing, times, partition.noted) {
                partition.noted = time_of(times, at);
                partition.noted.into_iter().for_each(|time| passing.note(time, slot));
            }
            partition.open.push((OrderedRow::of(row), delta.weight(at)));
        }
        Ok(())
    }

    /// The rows of a delta that can be among the first of their partition, by what orders them: most others need not be
    /// looked at as a whole.
    fn candidates(&self, heads: &Heads, hashes: &[u64], first: usize) -> Vec<u32> {
        let mut best = Best::new(heads, first);
        for (at, &hash) in hashes.iter().enumerate() {
            let (head, order) = heads.of(at);
            let partitions = &self.partitions;
            let known = self.index.find(hash, |slot| partitions[slot as usize].is(hash, head));
            let known = known.map(|slot| &partitions[slot as usize]).filter(|partition| partition.full);
            let last = known.and_then(|partition| partition.rows.last());
            if last.is_none_or(|last| *order <= last.view().peers[head.len()..]) {
                best.push(at as u32, hash);
            }
        }
        best.rows()
    }

    fn find_or_insert(&mut self, hash: u64, head: &[u8]) -> u32 {
        let partitions = &self.partitions;
        if let Some(slot) = self.index.find(hash, |slot| partitions[slot as usize].is(hash, head)) {
            return slot;
        }
        let new = Partition { hash, noted: None, rows: Rows::default(), open: Vec::new(), full: false };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.partitions[slot as usize] = new;
                slot
            }
            None => {
                self.partitions.push(new);
                (self.partitions.len() - 1) as u32
            }
        };
        self.index.insert(hash, slot);
        slot
    }

    /// Ends the tick: calls `changed` with the rows of each changed partition as they were and their net changes, in
    /// order, then applies these. `keep`, if it is given, answers how many of the rows are wanted at all.
    pub fn settle(
        &mut self,
        mut changed: impl FnMut(&Format, &Rows, &[Change]) -> Result<()>,
        keep: Option<&Keep<'_>>,
    ) -> Result<()> {
        for slot in std::mem::take(&mut self.dirty) {
            let partition = &mut self.partitions[slot as usize];
            let changes = net(std::mem::take(&mut partition.open));
            if !changes.is_empty() {
                changed(&self.format, &partition.rows, &changes)?;
            }
            let (rows, bytes) = (partition.rows.len(), partition.rows.bytes());
            changes.into_iter().for_each(|(row, weight)| partition.rows.change(row, weight));
            if let Some(wanted) = keep.and_then(|keep| keep(&partition.rows)) {
                partition.rows.truncate(wanted);
                partition.full = true;
            }
            self.rows = self.rows + partition.rows.len() - rows;
            self.bytes = self.bytes + partition.rows.bytes() - bytes;
            if partition.rows.is_empty() {
                self.index.remove(partition.hash, slot);
                self.free.push(slot);
                partition.noted = None;
            } else if let (Some(passing), None) = (&mut self.passing, partition.noted) {
                partition.noted = passing.next(&partition.rows);
                partition.noted.into_iter().for_each(|time| passing.note(time, slot));
            }
        }
        self.pass();
        Ok(())
    }

    /// The watermark goes on.
    pub fn advance(&mut self, watermark: i64) {
        self.passing.iter_mut().for_each(|passing| passing.advance(watermark));
    }

    /// Drops what the watermark has passed; only between the changes of two ticks.
    fn pass(&mut self) {
        let Some(passing) = &mut self.passing else { return };
        for (time, slot) in passing.take() {
            let partition = &mut self.partitions[slot as usize];
            // A slot may stand for another partition by now.
            if partition.noted != Some(time) {
                continue;
            }
            let (rows, bytes) = (partition.rows.len(), partition.rows.bytes());
            partition.rows.drop_first(passing.count(&partition.rows));
            self.rows = self.rows + partition.rows.len() - rows;
            self.bytes = self.bytes + partition.rows.bytes() - bytes;
            partition.noted = None;
            if partition.rows.is_empty() {
                self.index.remove(partition.hash, slot);
                self.free.push(slot);
            } else {
                partition.noted = passing.next(&partition.rows);
                partition.noted.into_iter().for_each(|time| passing.note(time, slot));
            }
        }
    }

    /// How the rows are read.
    pub fn format(&self) -> &Format {
        &self.format
    }

    /// Writes all rows as the section `name`.
    pub fn snapshot(&self, name: &str, to: &mut dyn StateWriter) -> Result<()> {
        let mut live: Vec<&Partition> = self.partitions.iter().filter(|partition| !partition.rows.is_empty()).collect();
        live.sort_by_key(|partition| partition.hash);
        let (mut hashes, mut weights, mut rows) = (Vec::new(), Vec::new(), Decoding::default());
        for partition in live {
            for (row, weight) in partition.rows.iter() {
                hashes.push(partition.hash);
                weights.push(weight);
                rows.push(row);
            }
            if hashes.len() >= BATCH {
                self.write(name, &mut hashes, &mut weights, &mut rows, to)?;
            }
        }
        self.write(name, &mut hashes, &mut weights, &mut rows, to)
    }

    fn write(
        &self,
        name: &str,
        hashes: &mut Vec<u64>,
        weights: &mut Vec<i64>,
        rows: &mut Decoding,
        to: &mut dyn StateWriter,
    ) -> Result<()> {
        if hashes.is_empty() {
            return Ok(());
        }
        let batch = self.format.decode(&std::mem::take(rows))?;
        let fields = batch.schema();
        let weights = Arc::new(Int64Array::from(std::mem::take(weights))) as ArrayRef;
        let columns =
            fields.fields().iter().zip(batch.columns()).map(|(field, column)| (&**field.name(), column.clone()));
        to.write(
            name,
            sorted_batch(std::mem::take(hashes), [("weight", weights)].into_iter().chain(columns).collect())?,
        )
    }

    /// Takes back the rows of the section `name` that belong to `groups`.
    pub fn restore(&mut self, name: &str, from: &mut dyn StateReader, groups: &KeyGroupRange) -> Result<()> {
        let schema = self.format.schema.clone();
        let types = || schema.fields().iter().map(|field| field.data_type());
        for batch in from.read(name)? {
            let batch = in_range(&batch, groups)?;
            let found = batch.columns().iter().map(|column| column.data_type());
            if !found.eq([&DataType::UInt64, &DataType::Int64].into_iter().chain(types())) {
                return Err(corrupt("its columns are others"));
            }
            let weights = batch.column(1).as_primitive::<Int64Type>().values().clone();
            let rows = batch_of(&schema, batch.columns()[2..].to_vec(), batch.num_rows())?;
            self.change(&Delta::new(rows, Weights::Each(weights)), None, |_, _| true)?;
        }
        self.settle(|_, _, _| Ok(()), None)
    }

    /// How much it keeps.
    pub fn size(&self) -> StateSize {
        let partitions = self.partitions.capacity() * size_of::<Partition>();
        let waiting = self.passing.as_ref().map_or(0, Passing::bytes);
        StateSize { rows: self.rows, bytes: self.bytes + self.index.bytes() + partitions + waiting }
    }
}

impl Partition {
    /// Whether it is the one of rows that start with `head`.
    fn is(&self, hash: u64, head: &[u8]) -> bool {
        let known = self.rows.first().or(self.open.first().map(|(row, _)| row));
        self.hash == hash && known.is_some_and(|row| row.view().bytes.starts_with(head))
    }
}

/// The changes in order, one for each row, without those that come to nothing.
fn net(mut changes: Vec<Change>) -> Vec<Change> {
    // Stable, so that of equal rows the look of the first one stays.
    changes.sort_by(|(a, _), (b, _)| a.cmp(b));
    changes.dedup_by(|(later, more), (earlier, weight)| {
        let same = later == earlier;
        if same {
            *weight += *more;
        }
        same
    });
    changes.retain(|(_, weight)| *weight != 0);
    changes
}
