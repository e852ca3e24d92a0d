//! State as hash-ordered sections of a snapshot.

use super::arrangement::Arrangement;
use super::gather::{batch_of, compact_rows, take_rows};
use super::run::{Chunk, Run};
use super::spill::settle;
use crate::operator::{StateReader, StateWriter};
use crate::read_model::Block;
use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, UInt32Array, UInt64Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, UInt64Type};
use millrace_types::hash::{KEY_SEED, hash_rows};
use millrace_types::{Delta, KeyGroupRange, Result, SqlError, SqlState, Weights};
use std::sync::Arc;

/// The columns that an arrangement's section has before those of the rows.
const HEAD: usize = 3;

/// A batch whose first column is the key hash `hashes` and which is sorted by it; `columns` follow.
pub fn sorted_batch(hashes: Vec<u64>, columns: Vec<(&str, ArrayRef)>) -> Result<RecordBatch> {
    let mut order: Vec<(u64, u32)> = hashes.into_iter().zip(0..).collect();
    order.sort_unstable();
    let mut fields = vec![Field::new("key_hash", DataType::UInt64, false)];
    let mut sorted: Vec<ArrayRef> = vec![Arc::new(order.iter().map(|(hash, _)| *hash).collect::<UInt64Array>())];
    let order: UInt32Array = order.into_iter().map(|(_, row)| row).collect();
    for (name, column) in columns {
        fields.push(Field::new(name, column.data_type().clone(), true));
        sorted.push(take(&column, &order, None)?);
    }
    batch_of(&Arc::new(Schema::new(fields)), sorted, order.len())
}

/// Rows with weights as a section for which the place of their key, `key`, in the key groups is all that counts.
pub fn weighted_section(chunk: &Chunk, key: &[usize]) -> Result<RecordBatch> {
    let key: Vec<ArrayRef> = key.iter().map(|&column| chunk.rows.column(column).clone()).collect();
    let hashes = hash_rows(&key, chunk.len(), KEY_SEED)?;
    let weights = Arc::new(Int64Array::new(chunk.weights.clone(), None)) as ArrayRef;
    let schema = chunk.rows.schema();
    let names = schema.fields().iter().map(|field| field.name().as_str());
    sorted_batch(
        hashes,
        [("weight", weights)].into_iter().chain(names.zip(chunk.rows.columns().iter().cloned())).collect(),
    )
}

/// The rows of a [`weighted_section`] that belong to `groups`.
pub fn weighted_rows(batch: &RecordBatch, schema: &SchemaRef, groups: &KeyGroupRange) -> Result<Delta> {
    let batch = in_range(batch, groups)?;
    let types = schema.fields().iter().map(|field| field.data_type());
    let found = batch.columns().iter().map(|column| column.data_type());
    if !found.eq([&DataType::UInt64, &DataType::Int64].into_iter().chain(types)) {
        return Err(corrupt("its columns are others"));
    }
    let weights = batch.column(1).as_primitive::<Int64Type>().values().clone();
    Ok(Delta::new(batch_of(schema, batch.columns()[2..].to_vec(), batch.num_rows())?, Weights::Each(weights)))
}

/// The rows of a section's batch whose key hash belongs to `groups`.
pub fn in_range(batch: &RecordBatch, groups: &KeyGroupRange) -> Result<RecordBatch> {
    let hashes = batch.columns().first().and_then(|column| column.as_primitive_opt::<UInt64Type>());
    let hashes = hashes.ok_or_else(|| corrupt("it does not start with a key hash"))?.values();
    if !hashes.is_sorted() {
        return Err(corrupt("it is not in the order of its key hash"));
    }
    let (first, end) = groups.hashes();
    let start = hashes.partition_point(|&hash| hash < first);
    let end = end.map_or(hashes.len(), |end| hashes.partition_point(|&hash| hash < end));
    Ok(batch.slice(start, end.saturating_sub(start)))
}

/// `XX001`: a section that is not what this operator wrote.
pub fn corrupt(what: &str) -> SqlError {
    SqlError::new(SqlState::DATA_CORRUPTED, "a snapshot section does not fit its operator")
        .with_detail(format!("The section was refused: {what}."))
}

impl Arrangement {
    /// Writes all runs as the section `name`.
    pub fn snapshot(&self, name: &str, to: &mut dyn StateWriter) -> Result<()> {
        match self.runs().cloned().map(Block::from).collect::<Vec<_>>() {
            runs if runs.is_empty() => Ok(()),
            runs => to.write_runs(name, runs),
        }
    }

    /// A batch of a section without rows.
    pub fn no_rows(&self) -> RecordBatch {
        RecordBatch::new_empty(section_schema(self.schema()))
    }

    /// Adds the rows of the section `name` that belong to `groups`.
    pub fn restore(&mut self, name: &str, from: &mut dyn StateReader, groups: &KeyGroupRange) -> Result<()> {
        let mut chunks: Vec<Arc<Chunk>> = Vec::new();
        for batch in from.read(name)? {
            let batch = in_range(&batch, groups)?;
            if batch.num_rows() == 0 {
                continue;
            }
            let chunk = Arc::new(self.chunk_of(&batch)?);
            // Batches that continue one another are one run again.
            if chunks.last().is_some_and(|last| last.id(last.len() - 1) >= chunk.id(0)) {
                self.push_restored(Run::from_chunks(std::mem::take(&mut chunks)))?;
            }
            chunks.push(chunk);
        }
        if chunks.is_empty() { Ok(()) } else { self.push_restored(Run::from_chunks(chunks)) }
    }

    fn chunk_of(&self, batch: &RecordBatch) -> Result<Chunk> {
        let expected = section_schema(self.schema());
        let types = |schema: &Schema| schema.fields().iter().map(|f| f.data_type().clone()).collect::<Vec<_>>();
        if types(&batch.schema()) != types(&expected) {
            return Err(corrupt("its columns are others"));
        }
        let rows = batch_of(self.schema(), batch.columns()[HEAD..].to_vec(), batch.num_rows())?;
        let ids = |column: usize| batch.column(column).as_primitive::<UInt64Type>().values().to_vec();
        let weights = batch.column(2).as_primitive::<Int64Type>().values().to_vec();
        // A slice would keep the whole batch.
        let rows = compact_rows(take_rows(self.schema(), &rows, 0..batch.num_rows() as u32)?)?;
        let chunk = settle(Chunk::new(ids(0), ids(1), weights, rows));
        match (1..chunk.len()).all(|row| chunk.id(row - 1) < chunk.id(row)) {
            true => Ok(chunk),
            false => Err(corrupt("its rows are not in order")),
        }
    }
}

/// The rows of a chunk as a batch of a section.
pub fn section_of(chunk: &Chunk) -> Result<RecordBatch> {
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(UInt64Array::new(chunk.keys.clone(), None)),
        Arc::new(UInt64Array::new(chunk.hashes.clone(), None)),
        Arc::new(Int64Array::new(chunk.weights.clone(), None)),
    ];
    columns.extend_from_slice(compact_rows(chunk.rows.clone())?.columns());
    batch_of(&section_schema(&chunk.rows.schema()), columns, chunk.len())
}

fn section_schema(rows: &SchemaRef) -> SchemaRef {
    let head = [("key_hash", DataType::UInt64), ("row_hash", DataType::UInt64), ("weight", DataType::Int64)];
    let mut fields: Vec<_> = head.map(|(name, data_type)| Arc::new(Field::new(name, data_type, false))).to_vec();
    fields.extend(rows.fields().iter().cloned());
    Arc::new(Schema::new(fields))
}
