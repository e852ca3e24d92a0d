//! Read models: the published versions of relations that queries read.
//!
//! Each worker maintains its part of a relation ([`MaintainedPart`]) and publishes it after a tick as a frozen [`Part`];
//! the parts of one tick together are a [`ReadModel`]. Readers hold a version for as long as they like: it shares its
//! runs with the versions before and after it, and nobody waits for anybody.

use crate::operator::{RowError, StateReader, StateSize, StateWriter};
use crate::row_errors::{Errors, MaintainedErrors, net};
use crate::state::{Arrangement, Run, Scan, contains_keys, lookup, net_weights, rows_in_range, section_of, take_rows};
use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use millrace_types::{Delta, KeyGroupRange, Result, SqlError, Weights};
use std::ops::RangeInclusive;
use std::sync::{Arc, Weak};

/// One worker's part of a relation, being maintained.
#[derive(Debug)]
pub struct MaintainedPart {
    rows: Arrangement,
    errors: MaintainedErrors,
}

/// One worker's part of a relation as of a tick. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Part {
    runs: Arc<[Arc<Run>]>,
    /// The errors of rows whose expressions fail.
    errors: Errors,
}

impl Part {
    /// The rows, ordered by the hash of the columns that the part was made with.
    pub fn runs(&self) -> Arc<[Arc<Run>]> {
        self.runs.clone()
    }
}

impl MaintainedPart {
    /// No rows yet. `key`: the columns by which the plan's root is partitioned, which are those by which rows are
    /// looked up if there are such; for an append-only relation without a key, none.
    pub fn new(schema: SchemaRef, key: Vec<usize>) -> MaintainedPart {
        let order = order_of(&schema, key);
        let rows = Arrangement::new(schema, order);
        MaintainedPart { rows, errors: MaintainedErrors::default() }
    }

    /// No rows yet; the values of a column order the rows.
    pub fn by_value(schema: SchemaRef, column: usize) -> MaintainedPart {
        MaintainedPart { rows: Arrangement::by_value(schema, column), errors: MaintainedErrors::default() }
    }

    /// Applies the changes of a tick.
    pub fn apply(&mut self, deltas: &[Delta]) -> Result<()> {
        self.rows.append_all(deltas)
    }

    /// Counts row errors in, or out again.
    pub fn apply_errors(&mut self, errors: &[RowError]) -> Result<()> {
        self.errors.apply(errors)
    }

    /// The part as of now.
    pub fn publish(&mut self) -> Part {
        Part { runs: self.rows.freeze(), errors: self.errors.freeze() }
    }

    /// Advances merges under way by up to `rows` rows: for idle moments. True when there is nothing to do.
    pub fn maintain(&mut self, rows: usize) -> Result<bool> {
        self.rows.maintain(rows)
    }

    /// Writes the rows as the section `name`, and beside it the row errors.
    pub fn snapshot(&self, name: &str, to: &mut dyn StateWriter) -> Result<()> {
        self.rows.snapshot(name, to)?;
        self.errors.snapshot(&errors_section(name), to)
    }

    /// Adds the rows of the section `name` that belong to `groups`, and the row errors beside it.
    pub fn restore(&mut self, name: &str, from: &mut dyn StateReader, groups: &KeyGroupRange) -> Result<()> {
        self.rows.restore(name, from, groups)?;
        self.errors.restore(&errors_section(name), from, groups)
    }

    /// How much it keeps.
    pub fn size(&self) -> StateSize {
        self.rows.size()
    }
}

/// The section of the row errors beside that of the rows.
fn errors_section(rows: &str) -> String {
    format!("{rows}/errors")
}

/// The columns whose hash orders rows: the key, or all of them.
fn order_of(schema: &SchemaRef, key: Vec<usize>) -> Vec<usize> {
    if key.is_empty() { (0..schema.fields().len()).collect() } else { key }
}

/// One published version of a relation: what queries read. Immutable; a clone is another reference to it, since every
/// tick hands all relations' versions to readers anew.
#[derive(Clone, Debug)]
pub struct ReadModel(Arc<Version>);

#[derive(Debug)]
struct Version {
    schema: SchemaRef,
    key: Vec<usize>,
    /// The columns whose hash orders the runs of all parts.
    order: Vec<usize>,
    /// The column whose values order them instead.
    by_value: Option<usize>,
    parts: Vec<Part>,
}

impl ReadModel {
    /// A relation without rows. `key`: the columns by which rows are looked up, empty for none.
    pub fn empty(schema: SchemaRef, key: Vec<usize>, workers: usize) -> ReadModel {
        let parts = vec![Part::default(); workers];
        ReadModel::new(schema, key.clone(), key, parts)
    }

    /// The version that these parts make, one per worker. `partition`: the key that the parts were made with.
    pub fn new(schema: SchemaRef, key: Vec<usize>, partition: Vec<usize>, parts: Vec<Part>) -> ReadModel {
        let order = order_of(&schema, partition);
        ReadModel(Arc::new(Version { schema, key, order, by_value: None, parts }))
    }

    /// The version that these parts make, made in the order of a column's values.
    pub fn by_value(schema: SchemaRef, column: usize, parts: Vec<Part>) -> ReadModel {
        ReadModel(Arc::new(Version { schema, key: vec![], order: vec![column], by_value: Some(column), parts }))
    }

    /// The version after this one, with other parts.
    pub fn with_parts(&self, parts: Vec<Part>) -> ReadModel {
        let Version { schema, key, order, by_value, .. } = &*self.0;
        let (schema, key, order) = (schema.clone(), key.clone(), order.clone());
        ReadModel(Arc::new(Version { schema, key, order, by_value: *by_value, parts }))
    }

    /// This version with changes on top: what a transaction sees of a table that it has changed itself.
    pub fn with_changes(&self, changes: &[Delta]) -> Result<ReadModel> {
        let Version { schema, order, by_value, .. } = &*self.0;
        let added = match by_value {
            Some(column) => Run::by_value(schema, *column, changes)?,
            None => Run::of(schema, order, changes)?,
        };
        let added = added.map(Arc::new);
        let runs = self.runs().cloned().chain(added).collect();
        // A row and its retraction may be on different workers' parts, so that only all runs together are net.
        Ok(self.with_parts(vec![Part { runs, errors: self.error_runs().into() }]))
    }

    /// The columns of the rows.
    pub fn schema(&self) -> &SchemaRef {
        &self.0.schema
    }

    /// The columns by which rows are looked up; empty for none.
    pub fn key(&self) -> &[usize] {
        &self.0.key
    }

    /// All rows, each as often as it is there.
    pub fn scan(&self, projection: Option<&[usize]>) -> impl Iterator<Item = Result<RecordBatch>> + Send + use<> {
        let scans: Vec<Rows> = self.0.parts.iter().map(|part| self.rows_of(part, projection)).collect();
        scans.into_iter().flatten()
    }

    /// How many pieces the rows come in, which can be read at the same time.
    pub fn partitions(&self) -> usize {
        self.0.parts.len()
    }

    /// The rows of one piece; none when there is no such piece.
    pub fn scan_partition(
        &self,
        partition: usize,
        projection: Option<&[usize]>,
    ) -> impl Iterator<Item = Result<RecordBatch>> + Send + use<> {
        self.0.parts.get(partition).map(|part| self.rows_of(part, projection)).into_iter().flatten()
    }

    fn rows_of(&self, part: &Part, projection: Option<&[usize]>) -> Rows {
        Rows(Scan::new(&part.runs, &self.0.schema, projection))
    }

    /// The net rows as a delta per piece: what a dataflow that starts from this version reads.
    pub fn deltas(&self) -> impl Iterator<Item = Result<Delta>> + Send + use<> {
        let scans: Vec<Scan> = self.0.parts.iter().map(|part| Scan::new(&part.runs, &self.0.schema, None)).collect();
        scans.into_iter().flatten()
    }

    /// What has to happen to these rows for them to be those of `after`, in the columns of this version, which are the
    /// first of `after`'s.
    pub fn difference(&self, after: &ReadModel) -> Result<Vec<Delta>> {
        let columns: Vec<usize> = (0..self.0.schema.fields().len()).collect();
        let gone = self.deltas().map(|delta| Ok(delta?.negated()));
        let come = after.deltas().map(|delta| {
            let delta = delta?;
            let rows = RecordBatch::try_new(self.0.schema.clone(), delta.rows().project(&columns)?.columns().to_vec())?;
            Ok(delta.with_rows(rows))
        });
        let deltas = gone.chain(come).collect::<Result<Vec<_>>>()?;
        let run = Run::of(&self.0.schema, &columns, &deltas)?.map(Arc::new);
        let runs: Arc<[Arc<Run>]> = run.into_iter().collect();
        Scan::new(&runs, &self.0.schema, None).collect()
    }

    /// The rows that have one of these keys, in no particular order; a column of values per column of the key.
    pub fn lookup(&self, key: &[ArrayRef]) -> Result<RecordBatch> {
        self.check_key(key)?;
        let mut found = Vec::new();
        for part in &self.0.parts {
            for delta in lookup(&part.runs, &self.0.schema, &self.0.order, key)? {
                found.push(repeated(delta)?);
            }
        }
        match &found[..] {
            [rows] => Ok(rows.clone()),
            _ => Ok(concat_batches(&self.0.schema, &found)?),
        }
    }

    /// How many rows [`ReadModel::range`] looks at.
    pub fn rows_in_range(&self, range: &RangeInclusive<u64>) -> usize {
        self.runs().map(|run| run.count_in_range(range)).sum()
    }

    /// The rows of an index for ranges whose values have numbers in a range, and maybe a few more: see [`crate::state::order_keys`].
    ///
    /// # Errors
    /// `XX000` when the values do not order the rows.
    pub fn range(&self, range: &RangeInclusive<u64>) -> Result<RecordBatch> {
        let column = self.0.by_value.ok_or_else(|| SqlError::internal("a look-up of a range in rows without order"))?;
        let mut found = Vec::new();
        for part in &self.0.parts {
            for delta in rows_in_range(&part.runs, &self.0.schema, column, range)? {
                found.push(repeated(delta)?);
            }
        }
        Ok(concat_batches(&self.0.schema, &found)?)
    }

    /// How often each of `rows` is there.
    pub fn net_weights(&self, rows: &RecordBatch) -> Result<Vec<i64>> {
        let mut total = vec![0; rows.num_rows()];
        for part in &self.0.parts {
            let weights = net_weights(&part.runs, &self.0.order, rows)?;
            total.iter_mut().zip(weights).for_each(|(total, weight)| *total += weight);
        }
        Ok(total)
    }

    /// For each key whether a row has it.
    pub fn contains_keys(&self, key: &[ArrayRef]) -> Result<Vec<bool>> {
        self.check_key(key)?;
        let mut found = vec![false; key.first().map_or(0, |column| column.len())];
        for part in &self.0.parts {
            let here = contains_keys(&part.runs, &self.0.order, key)?;
            found.iter_mut().zip(here).for_each(|(found, here)| *found |= here);
        }
        Ok(found)
    }

    /// Runs are ordered by the key's hash only if the relation has a key.
    fn check_key(&self, key: &[ArrayRef]) -> Result<()> {
        match !self.0.key.is_empty() && self.0.key[..] == self.0.order[..] && key.len() == self.0.key.len() {
            true => Ok(()),
            false => Err(SqlError::internal("a look-up by other columns than the key of the relation")),
        }
    }

    /// Some error of a row whose expression fails, as long as there is one: then the rows are not the query's result.
    pub fn row_error(&self) -> Option<SqlError> {
        self.errors().next().map(|found| found.map_or_else(|error| error, |found| found.error))
    }

    /// The row errors, with how often each occurs.
    pub fn errors(&self) -> impl Iterator<Item = Result<RowError>> + use<> {
        net(&self.error_runs())
    }

    fn error_runs(&self) -> Vec<Arc<Run>> {
        self.0.parts.iter().flat_map(|part| part.errors.iter().cloned()).collect()
    }

    /// How many rows there are at most: different rows count once, and retracted ones until their runs merge.
    pub fn rows(&self) -> usize {
        self.runs().map(|run| run.len()).sum()
    }

    /// Bytes of memory, nearly.
    pub fn bytes(&self) -> usize {
        self.runs().map(|run| run.bytes()).sum()
    }

    /// The pieces that the version is made of.
    pub fn blocks(&self) -> impl Iterator<Item = Block> + '_ {
        self.runs().cloned().map(Block)
    }

    fn runs(&self) -> impl Iterator<Item = &Arc<Run>> {
        self.0.parts.iter().flat_map(|part| part.runs.iter())
    }
}

/// Immutable rows that later versions of a relation share until they are merged away: what a checkpoint writes once.
#[derive(Clone, Debug)]
pub struct Block(Arc<Run>);

/// Which [`Block`] it is; keeps no rows in memory.
#[derive(Clone, Debug)]
pub struct BlockId(Weak<Run>);

impl From<Arc<Run>> for Block {
    fn from(run: Arc<Run>) -> Block {
        Block(run)
    }
}

impl Block {
    /// Its rows with their hashes and weights, as a section of a snapshot has them.
    pub fn sections(&self) -> impl Iterator<Item = Result<RecordBatch>> + '_ {
        self.0.chunks().iter().map(|chunk| section_of(chunk))
    }

    /// How many rows it has.
    pub fn rows(&self) -> usize {
        self.0.len()
    }

    /// The rows with their weights, which make up the relation together with those of the other blocks.
    pub fn deltas(&self) -> impl Iterator<Item = Delta> + '_ {
        self.0.chunks().iter().map(|chunk| Delta::new(chunk.rows.clone(), Weights::Each(chunk.weights.clone())))
    }

    /// Its identity.
    pub fn id(&self) -> BlockId {
        BlockId(Arc::downgrade(&self.0))
    }
}

impl BlockId {
    /// Whether it is the identity of this block.
    pub fn is(&self, block: &Block) -> bool {
        // A block that is gone keeps its address for as long as there is a weak reference to it.
        std::ptr::eq(self.0.as_ptr(), Arc::as_ptr(&block.0))
    }
}

/// The rows of a scan, each repeated by its weight.
struct Rows(Scan);

impl Iterator for Rows {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Result<RecordBatch>> {
        self.0.next().map(|delta| delta.and_then(repeated))
    }
}

/// Each row as often as its weight says. A row of negative weight, which no consistent input gives, is not there.
fn repeated(delta: Delta) -> Result<RecordBatch> {
    let Weights::Each(weights) = delta.weights() else { return Ok(delta.rows().clone()) };
    if weights.iter().all(|&weight| weight == 1) {
        return Ok(delta.rows().clone());
    }
    let indices: Vec<u32> = weights
        .iter()
        .enumerate()
        .flat_map(|(row, &weight)| std::iter::repeat_n(row as u32, weight.max(0) as usize))
        .collect();
    take_rows(&delta.schema(), delta.rows(), indices.into_iter())
}
