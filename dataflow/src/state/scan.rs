//! All net rows of a set of runs, in pieces.
//!
//! Runs overlap: a row of the large one may be retracted by a small one. The largest run is streamed chunk by chunk; at
//! each chunk the rows of the other runs with hashes in its range are netted among themselves and against it. So a
//! scan reads every row once, hands most chunks out uncopied and holds one chunk's range at a time.

use super::gather::interleave_rows;
use super::run::{CHUNK_ROWS, Chunk, RowId, Run};
use arrow::array::{BooleanArray, RecordBatch};
use arrow::datatypes::SchemaRef;
use millrace_types::{Delta, Result, Weights};
use std::collections::VecDeque;
use std::sync::Arc;

/// An iterator over net rows with their weights.
pub struct Scan {
    largest: Option<Arc<Run>>,
    others: Vec<Reader>,
    /// The chunk of the largest run that comes next.
    next: usize,
    ready: VecDeque<Delta>,
    schema: SchemaRef,
    projection: Vec<usize>,
}

/// A position in one of the smaller runs.
struct Reader {
    run: Arc<Run>,
    chunk: usize,
    row: usize,
}

/// A row of a smaller run.
struct Other {
    id: RowId,
    source: usize,
    row: usize,
    weight: i64,
}

impl Scan {
    /// The columns `projection`, or all, of the net rows of `runs`, whose columns are `schema`.
    pub fn new(runs: &[Arc<Run>], schema: &SchemaRef, projection: Option<&[usize]>) -> Scan {
        let projection = projection.map_or_else(|| (0..schema.fields().len()).collect(), <[usize]>::to_vec);
        let fields: Vec<_> = projection.iter().map(|&column| schema.fields()[column].clone()).collect();
        let schema = Arc::new(arrow::datatypes::Schema::new_with_metadata(fields, schema.metadata().clone()));
        let mut runs = runs.to_vec();
        runs.sort_by_key(|run| std::cmp::Reverse(run.len()));
        let mut runs = runs.into_iter();
        let largest = runs.next();
        let others = runs.map(|run| Reader { run, chunk: 0, row: 0 }).collect();
        Scan { largest, others, next: 0, ready: VecDeque::new(), schema, projection }
    }

    /// The columns of the rows handed out.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Makes the rows of the next chunk's range ready.
    fn advance(&mut self, largest: &Run) -> Result<()> {
        let chunk = &largest.chunks()[self.next];
        self.next += 1;
        let end = largest.chunks().get(self.next).map(|next| next.id(0));
        let mut sources = Vec::new();
        let mut others = Vec::new();
        self.others.iter_mut().for_each(|reader| reader.read_until(end, &mut sources, &mut others));
        others.sort_by_key(|other| other.id);
        others.dedup_by(|later, earlier| {
            let same = later.id == earlier.id;
            if same {
                earlier.weight += later.weight;
            }
            same
        });
        let mut weights = None;
        others.retain(|other| match chunk.find(other.id) {
            Some(row) => {
                weights.get_or_insert_with(|| chunk.weights.to_vec())[row] += other.weight;
                false
            }
            None => other.weight != 0,
        });
        self.emit_chunk(chunk, weights)?;
        others.chunks(CHUNK_ROWS).try_for_each(|part| self.emit_others(&sources, part))
    }

    fn emit_chunk(&mut self, chunk: &Chunk, weights: Option<Vec<i64>>) -> Result<()> {
        let rows = chunk.rows.project(&self.projection)?;
        let killed = weights.as_ref().is_some_and(|weights| weights.contains(&0));
        let weights = weights.unwrap_or_else(|| chunk.weights.to_vec());
        if !killed {
            self.ready.push_back(delta_of(rows, weights));
            return Ok(());
        }
        let keep = BooleanArray::from_iter(weights.iter().map(|&weight| Some(weight != 0)));
        let delta = Delta::new(rows, Weights::Each(weights.into())).filter(&keep)?;
        if !delta.is_empty() {
            let (rows, weights) = (delta.rows().clone(), delta.weights_buffer().to_vec());
            self.ready.push_back(delta_of(rows, weights));
        }
        Ok(())
    }

    fn emit_others(&mut self, sources: &[Arc<Chunk>], others: &[Other]) -> Result<()> {
        let batches: Vec<&RecordBatch> = sources.iter().map(|chunk| &chunk.rows).collect();
        let indices: Vec<_> = others.iter().map(|other| (other.source, other.row)).collect();
        let rows = interleave_rows(&self.schema, &batches, &indices, self.projection.iter().copied())?;
        self.ready.push_back(delta_of(rows, others.iter().map(|other| other.weight).collect()));
        Ok(())
    }
}

fn delta_of(rows: RecordBatch, weights: Vec<i64>) -> Delta {
    match weights.iter().all(|&weight| weight == 1) {
        true => Delta::inserts(rows),
        false => Delta::new(rows, Weights::Each(weights.into())),
    }
}

impl Reader {
    /// Reads the rows below `end`, or all that are left.
    fn read_until(&mut self, end: Option<RowId>, sources: &mut Vec<Arc<Chunk>>, rows: &mut Vec<Other>) {
        while let Some(chunk) = self.run.chunks().get(self.chunk) {
            let first = self.row;
            while self.row < chunk.len() && end.is_none_or(|end| chunk.id(self.row) < end) {
                let id = chunk.id(self.row);
                rows.push(Other { id, source: sources.len(), row: self.row, weight: chunk.weights[self.row] });
                self.row += 1;
            }
            if self.row > first {
                sources.push(chunk.clone());
            }
            if self.row < chunk.len() {
                return;
            }
            (self.chunk, self.row) = (self.chunk + 1, 0);
        }
    }
}

impl Iterator for Scan {
    type Item = Result<Delta>;

    fn next(&mut self) -> Option<Result<Delta>> {
        let largest = self.largest.clone()?;
        while self.ready.is_empty() && self.next < largest.chunks().len() {
            if let Err(error) = self.advance(&largest) {
                self.largest = None;
                return Some(Err(error));
            }
        }
        self.ready.pop_front().map(Ok)
    }
}
