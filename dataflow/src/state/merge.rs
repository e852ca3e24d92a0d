//! The merge of two runs, a chunk at a time.

use super::gather::{compact_rows, has_few_buffers, interleave_rows};
use super::run::{CHUNK_ROWS, Chunk, Run};
use super::spill::settle;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use millrace_types::Result;
use std::cmp::Ordering;
use std::sync::Arc;

/// A merge under way: what is still unread of both runs, and the chunks made so far.
#[derive(Debug)]
pub struct Merge {
    left: Cursor,
    right: Cursor,
    chunks: Vec<Arc<Chunk>>,
    /// Rows that the appends since the last step have paid for.
    credit: usize,
    /// Whether chunks may share the memory of strings with those that they are made from.
    shares: bool,
}

impl Merge {
    /// The merge of two runs from its start.
    pub fn new(left: Arc<Run>, right: Arc<Run>, shares: bool) -> Merge {
        let (left, right) = (Cursor { run: left, chunk: 0, row: 0 }, Cursor { run: right, chunk: 0, row: 0 });
        Merge { left, right, chunks: Vec::new(), credit: 0, shares }
    }

    /// The two runs.
    pub fn inputs(&self) -> [&Arc<Run>; 2] {
        [&self.left.run, &self.right.run]
    }

    /// How many rows go in.
    pub fn len(&self) -> usize {
        self.left.run.len() + self.right.run.len()
    }

    /// Bytes of memory, with the chunks that are ready.
    pub fn bytes(&self) -> usize {
        self.inputs().iter().map(|run| run.bytes()).sum::<usize>() * 2
    }

    /// Grants the merge `rows` more rows of work. True when it is done.
    pub fn work(&mut self, schema: &SchemaRef, rows: usize) -> Result<bool> {
        self.credit = self.credit.saturating_add(rows);
        while self.credit >= CHUNK_ROWS && !self.is_done() {
            self.credit -= CHUNK_ROWS;
            self.step(schema)?;
        }
        Ok(self.is_done())
    }

    /// Does what is left and gives the result; `None` when the two cancel out.
    pub fn finish(mut self, schema: &SchemaRef) -> Result<Option<Run>> {
        while !self.is_done() {
            self.step(schema)?;
        }
        Ok((!self.chunks.is_empty()).then(|| Run::from_chunks(self.chunks)))
    }

    fn is_done(&self) -> bool {
        self.left.chunk().is_none() && self.right.chunk().is_none()
    }

    /// Makes the next chunk.
    fn step(&mut self, schema: &SchemaRef) -> Result<()> {
        let Merge { left, right, chunks, shares, .. } = self;
        // A step reads as many rows as a chunk holds, however many of them cancel out.
        let mut out = Gathering { shares: *shares, ..Gathering::default() };
        for _ in 0..CHUNK_ROWS {
            let order = match (left.chunk(), right.chunk()) {
                (None, None) => break,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(l), Some(r)) => l.id(left.row).cmp(&r.id(right.row)),
            };
            match order {
                Ordering::Less => out.push(left, 0, 0),
                Ordering::Greater => out.push(right, 1, 0),
                Ordering::Equal => {
                    let other = right.weight();
                    right.advance();
                    out.push(left, 0, other);
                }
            }
        }
        if let Some(chunk) = out.finish(schema)? {
            chunks.push(Arc::new(settle(chunk)));
        }
        Ok(())
    }
}

/// A position in a run.
#[derive(Debug)]
struct Cursor {
    run: Arc<Run>,
    chunk: usize,
    row: usize,
}

impl Cursor {
    #[inline]
    fn chunk(&self) -> Option<&Arc<Chunk>> {
        self.run.chunks().get(self.chunk)
    }

    #[inline]
    fn weight(&self) -> i64 {
        self.run.chunks()[self.chunk].weights[self.row]
    }

    #[inline]
    fn advance(&mut self) {
        self.row += 1;
        if self.row == self.run.chunks()[self.chunk].len() {
            (self.chunk, self.row) = (self.chunk + 1, 0);
        }
    }
}

/// The chunk being made: which rows of which chunks go into it.
#[derive(Default)]
struct Gathering {
    /// Whether strings may stay where they are: until one is of a row that is left out.
    shares: bool,
    sources: Vec<Arc<Chunk>>,
    /// For each side the chunk read last and its place in `sources`.
    open: [Option<(usize, usize)>; 2],
    indices: Vec<(usize, usize)>,
    weights: Vec<i64>,
}

impl Gathering {
    /// Takes the row at the cursor, with `more` weight, and moves the cursor on.
    #[inline]
    fn push(&mut self, from: &mut Cursor, side: usize, more: i64) {
        let weight = from.weight() + more;
        self.shares &= more == 0;
        if weight != 0 {
            let source = match self.open[side] {
                Some((chunk, source)) if chunk == from.chunk => source,
                _ => {
                    self.sources.push(from.run.chunks()[from.chunk].clone());
                    self.open[side] = Some((from.chunk, self.sources.len() - 1));
                    self.sources.len() - 1
                }
            };
            self.indices.push((source, from.row));
            self.weights.push(weight);
        }
        from.advance();
    }

    fn finish(self, schema: &SchemaRef) -> Result<Option<Chunk>> {
        if self.indices.is_empty() {
            return Ok(None);
        }
        let batches: Vec<&RecordBatch> = self.sources.iter().map(|chunk| &chunk.rows).collect();
        let rows = interleave_rows(schema, &batches, &self.indices, 0..schema.fields().len())?;
        let rows = if self.shares && has_few_buffers(&rows) { rows } else { compact_rows(rows)? };
        let keys = self.indices.iter().map(|&(source, row)| self.sources[source].keys[row]).collect();
        let hashes = self.indices.iter().map(|&(source, row)| self.sources[source].hashes[row]).collect();
        Ok(Some(Chunk::new(keys, hashes, self.weights, rows)))
    }
}
