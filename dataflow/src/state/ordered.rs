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
//! The changes of a tick are collected by partition. [`Ordered::settle`] shows each changed partition as it was with
//! its net changes, and then applies them: a step of O(log n) for each changed row.

use super::index::HashIndex;
use super::key::comparable;
use super::rows::{OrderedRow, RowView, Rows};
use super::snapshot::{corrupt, in_range, sorted_batch};
use super::{batch_of, compact_rows};
use crate::operator::{StateReader, StateSize, StateWriter};
use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Int64Type, SchemaRef};
use arrow::row::{RowConverter, RowParser, SortField};
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
}

struct Partition {
    hash: u64,
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
        Ok(Ordered { format, index, partitions, free: Vec::new(), dirty: Vec::new(), rows: 0, bytes: 0 })
    }

    /// Collects the changes of a delta. `wanted`: whether a row still matters to a full partition whose last row is
    /// given.
    pub fn change(&mut self, delta: &Delta, wanted: impl Fn(RowView<'_>, RowView<'_>) -> bool) -> Result<()> {
        let columns: Vec<ArrayRef> =
            self.format.partition.columns.iter().map(|&column| delta.rows().column(column).clone()).collect();
        let hashes = hash_rows(&columns, delta.len(), KEY_SEED)?;
        let encoded = self.format.encode(delta.rows())?;
        let mut bytes = Vec::new();
        for (at, hash) in hashes.into_iter().enumerate() {
            let (head, row) = encoded.write(at, &mut bytes);
            let slot = self.find_or_insert(hash, head);
            let partition = &mut self.partitions[slot as usize];
            if partition.full && partition.rows.last().is_some_and(|last| !wanted(row, last.view())) {
                continue;
            }
            if partition.open.is_empty() {
                self.dirty.push(slot);
            }
            partition.open.push((OrderedRow::of(row), delta.weight(at)));
        }
        Ok(())
    }

    fn find_or_insert(&mut self, hash: u64, head: &[u8]) -> u32 {
        let partitions = &self.partitions;
        if let Some(slot) = self.index.find(hash, |slot| partitions[slot as usize].is(hash, head)) {
            return slot;
        }
        let new = Partition { hash, rows: Rows::default(), open: Vec::new(), full: false };
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
            }
        }
        Ok(())
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
            self.change(&Delta::new(rows, Weights::Each(weights)), |_, _| true)?;
        }
        self.settle(|_, _, _| Ok(()), None)
    }

    /// How much it keeps.
    pub fn size(&self) -> StateSize {
        let partitions = self.partitions.capacity() * size_of::<Partition>();
        StateSize { rows: self.rows, bytes: self.bytes + self.index.bytes() + partitions }
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

/// How rows become ordered bytes, and bytes rows.
pub struct Format {
    schema: SchemaRef,
    partition: Part,
    order: Part,
    others: Part,
    exact: Part,
    /// Of the identity as a whole.
    identity: RowConverter,
    parser: RowParser,
    exact_parser: RowParser,
    /// For each column of the schema its place among the columns of the identity, or behind them in the exact ones.
    places: Vec<usize>,
}

/// Some columns that are encoded together.
struct Part {
    columns: Vec<usize>,
    converter: RowConverter,
}

impl Part {
    fn new(fields: &[(usize, SortField)]) -> Result<Part> {
        let (columns, fields) = fields.iter().cloned().unzip();
        Ok(Part { columns, converter: RowConverter::new(fields)? })
    }

    fn encode(&self, rows: &RecordBatch, as_compared: bool) -> Result<Option<arrow::row::Rows>> {
        let value = |&column: &usize| match as_compared {
            true => comparable(rows.column(column)),
            false => rows.column(column).clone(),
        };
        let columns: Vec<ArrayRef> = self.columns.iter().map(value).collect();
        // Without columns there is nothing to count rows by.
        Ok(if columns.is_empty() { None } else { Some(self.converter.convert_columns(&columns)?) })
    }
}

/// Whether values of a type can be equal and look different.
fn has_looks(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Float32 | DataType::Float64 | DataType::Interval(_))
}

impl Format {
    fn new(schema: SchemaRef, partition: &[usize], order: &[SortColumn]) -> Result<Format> {
        let field = |column: usize| (column, SortField::new(schema.field(column).data_type().clone()));
        let partition: Vec<_> = partition.iter().map(|&column| field(column)).collect();
        let mut taken: Vec<usize> = partition.iter().map(|(column, _)| *column).collect();
        let mut ordered = Vec::new();
        // What stands in the partition or earlier in the order decides nothing.
        for sort in order {
            if !taken.contains(&sort.column) {
                taken.push(sort.column);
                let data_type = schema.field(sort.column).data_type().clone();
                ordered.push((sort.column, SortField::new_with_options(data_type, sort.options)));
            }
        }
        let width = schema.fields().len();
        let others: Vec<_> = (0..width).filter(|column| !taken.contains(column)).map(field).collect();
        let exact: Vec<_> = (0..width).filter(|&c| has_looks(schema.field(c).data_type())).map(field).collect();
        let all: Vec<(usize, SortField)> = [partition.clone(), ordered.clone(), others.clone()].concat();
        let place = |column: usize| match exact.iter().position(|(other, _)| *other == column) {
            Some(place) => width + place,
            None => all.iter().position(|(other, _)| *other == column).unwrap_or_default(),
        };
        let places = (0..width).map(place).collect();
        let identity = Part::new(&all)?.converter;
        let exact = Part::new(&exact)?;
        Ok(Format {
            partition: Part::new(&partition)?,
            order: Part::new(&ordered)?,
            others: Part::new(&others)?,
            parser: identity.parser(),
            exact_parser: exact.converter.parser(),
            exact,
            identity,
            places,
            schema,
        })
    }

    fn encode(&self, rows: &RecordBatch) -> Result<Encoded> {
        Ok(Encoded {
            partition: self.partition.encode(rows, true)?,
            order: self.order.encode(rows, true)?,
            others: self.others.encode(rows, true)?,
            exact: self.exact.encode(rows, false)?,
        })
    }

    /// The rows that were collected, as columns.
    pub fn decode(&self, rows: &Decoding) -> Result<RecordBatch> {
        let identities = rows.rows().map(|(identity, _)| self.parser.parse(identity));
        let mut columns = self.identity.convert_rows(identities)?;
        if !self.exact.columns.is_empty() {
            let looks = rows.rows().map(|(_, exact)| self.exact_parser.parse(exact));
            columns.extend(self.exact.converter.convert_rows(looks)?);
        }
        let columns = self.places.iter().map(|&place| columns[place].clone()).collect();
        compact_rows(batch_of(&self.schema, columns, rows.len())?)
    }
}

/// The rows of a batch as bytes; `None` for parts without columns.
struct Encoded {
    partition: Option<arrow::row::Rows>,
    order: Option<arrow::row::Rows>,
    others: Option<arrow::row::Rows>,
    exact: Option<arrow::row::Rows>,
}

impl Encoded {
    /// Writes one row into `bytes`, and answers its partition and itself.
    fn write<'a>(&self, at: usize, bytes: &'a mut Vec<u8>) -> (&'a [u8], RowView<'a>) {
        bytes.clear();
        let [partition, peers, identity, _] = [&self.partition, &self.order, &self.others, &self.exact].map(|part| {
            if let Some(rows) = part {
                bytes.extend_from_slice(rows.row(at).data());
            }
            bytes.len()
        });
        (&bytes[..partition], RowView { bytes, peers: &bytes[..peers], identity: &bytes[..identity] })
    }
}

/// Rows on their way from bytes to columns.
#[derive(Default)]
pub struct Decoding {
    bytes: Vec<u8>,
    /// Where the identity and the whole of each row end.
    ends: Vec<(usize, usize)>,
}

impl Decoding {
    /// Adds a copy of a row.
    pub fn push(&mut self, row: &OrderedRow) {
        let (start, row) = (self.bytes.len(), row.view());
        self.bytes.extend_from_slice(row.bytes);
        self.ends.push((start + row.identity.len(), self.bytes.len()));
    }

    /// How many rows.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The identity and the exact bytes of each row.
    fn rows(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let starts = std::iter::once(0).chain(self.ends.iter().map(|(_, end)| *end));
        starts.zip(&self.ends).map(|(start, &(middle, end))| (&self.bytes[start..middle], &self.bytes[middle..end]))
    }
}
