//! Rows under construction: tokens are collected row by row and turned into values column by column.

use super::Block;
use crate::source::{BadRecord, Chunk};
use crate::value::{Column, Epoch, Failures, Texts, Token, Tokens, column_of};
use arrow::array::{BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::buffer::Buffer;
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;
use millrace_types::{Offset, Result};
use std::ops::Range;

/// How many rows are converted at a time: few enough that their text is still in the cache.
const PASS: usize = 256;

/// Rows of one chunk.
pub(crate) struct Rows {
    schema: SchemaRef,
    columns: Vec<Box<dyn Column>>,
    /// The tokens of the rows not yet converted, row after row.
    tokens: Vec<Token>,
    /// Where in the block those rows are.
    spans: Vec<Range<usize>>,
    /// Texts that had to be rewritten.
    pub extra: Vec<u8>,
    bad: Vec<BadRecord>,
    /// Rows converted, including those refused.
    converted: usize,
    /// Which of the converted rows are refused.
    refused: Vec<usize>,
    limit: usize,
    failures: Failures,
    /// Where the converted rows start in the block, those refused among them, if that is wanted.
    starts: Option<Vec<usize>>,
}

impl Rows {
    /// No rows of this schema.
    pub fn new(schema: SchemaRef, epoch: Epoch) -> Rows {
        let columns = schema.fields().iter().map(|field| column_of(field, epoch)).collect();
        Rows {
            schema,
            columns,
            tokens: Vec::new(),
            spans: Vec::new(),
            extra: Vec::new(),
            bad: Vec::new(),
            converted: 0,
            refused: Vec::new(),
            limit: 0,
            failures: Failures::default(),
            starts: None,
        }
    }

    /// Lets it be asked where rows start.
    pub fn with_starts(mut self) -> Rows {
        self.starts = Some(Vec::new());
        self
    }

    /// Where the rows of the last chunk start in its block, if that is kept: until the next ones come.
    pub fn starts(&self) -> Option<&[usize]> {
        self.starts.as_deref()
    }

    /// Sets how many records the chunk may have.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit.max(1);
    }

    /// Whether no further record fits.
    pub fn is_full(&self) -> bool {
        self.converted - self.refused.len() + self.spans.len() + self.bad.len() >= self.limit
    }

    /// Whether there is no record, good or bad.
    pub fn is_empty(&self) -> bool {
        self.converted == 0 && self.spans.is_empty() && self.bad.is_empty()
    }

    /// Values that cannot be had become NULL, and so do all of a record that is none.
    pub fn tolerant(mut self) -> Rows {
        self.failures.tolerant = true;
        self
    }

    /// Lets `fill` set the tokens of a new row, all missing at first, for the record at `span` of the block. When it
    /// fails, the record is bad for the reason given. Answers whether the record was taken.
    #[inline(always)]
    pub fn record(
        &mut self,
        block: &Block,
        span: Range<usize>,
        fill: impl FnOnce(&mut [Token], &mut Vec<u8>) -> std::result::Result<(), String>,
    ) -> bool {
        let (before, extra) = (self.tokens.len(), self.extra.len());
        self.tokens.resize(before + self.columns.len(), Token::MISSING);
        let taken = match fill(&mut self.tokens[before..], &mut self.extra) {
            Err(_) if self.failures.tolerant => {
                self.tokens[before..].fill(Token::MISSING);
                true
            }
            Ok(()) => true,
            Err(reason) => {
                self.tokens.truncate(before);
                self.extra.truncate(extra);
                self.refuse(block, span.clone(), reason);
                false
            }
        };
        if taken {
            self.spans.push(span);
        }
        if self.spans.len() == PASS {
            self.convert(block);
        }
        taken
    }

    /// Notes that the record at `span` of the block is bad.
    #[cold]
    pub fn refuse(&mut self, block: &Block, span: Range<usize>, reason: String) {
        let offset = Offset(block.offset + span.start as u64);
        self.add_bad(BadRecord::new(offset, &block.bytes()[span], reason));
    }

    /// Notes a bad record.
    pub fn add_bad(&mut self, record: BadRecord) {
        self.bad.push(record);
    }

    /// Turns the collected tokens into values.
    fn convert(&mut self, block: &Block) {
        let texts = Texts { block: block.padded(), extra: &self.extra };
        let width = self.columns.len();
        for (index, column) in self.columns.iter_mut().enumerate() {
            column.append(Tokens::of_column(&self.tokens, index, width), &texts, &mut self.failures);
        }
        for (row, reason) in self.failures.take() {
            self.refused.push(self.converted + row);
            self.refuse(block, self.spans[row].clone(), reason);
        }
        if let Some(starts) = &mut self.starts {
            if self.converted == 0 {
                starts.clear();
            }
            starts.extend(self.spans.iter().map(|span| span.start));
        }
        self.converted += self.spans.len();
        self.tokens.clear();
        self.spans.clear();
    }

    /// The chunk of all records since the last call, which all were in `block`; the next one begins at `end`.
    pub fn finish(&mut self, block: &Block, end: Offset) -> Result<Chunk> {
        let (rows, bad, _) = self.finish_records(block)?;
        Ok(Chunk { rows, deletes: None, bad, end })
    }

    /// The rows of all records since the last call, the bad ones, and which of those that were taken are bad after all.
    pub fn finish_records(&mut self, block: &Block) -> Result<(RecordBatch, Vec<BadRecord>, Vec<usize>)> {
        self.convert(block);
        let extra = Buffer::from_vec(std::mem::take(&mut self.extra));
        let arrays = self.columns.iter_mut().map(|column| column.finish(block.buffer(), &extra)).collect();
        let count = std::mem::take(&mut self.converted);
        let refused = std::mem::take(&mut self.refused);
        let mut bad = std::mem::take(&mut self.bad);
        bad.sort_by_key(|record| record.offset);
        let rows = match refused.is_empty() {
            true => batch(&self.schema, arrays, count)?,
            false => {
                let mut keep = vec![true; count];
                refused.iter().for_each(|row| keep[*row] = false);
                if let Some(starts) = &mut self.starts {
                    let mut keep = keep.iter();
                    starts.retain(|_| keep.next() == Some(&true));
                }
                kept(&self.schema, arrays, keep)?
            }
        };
        Ok((rows, bad, refused))
    }
}

/// A batch that knows its number of rows also without columns.
pub(crate) fn batch(schema: &SchemaRef, arrays: Vec<arrow::array::ArrayRef>, count: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(count));
    Ok(RecordBatch::try_new_with_options(schema.clone(), arrays, &options)?)
}

/// The rows to keep. The others hold nulls also where the schema has none, hence the detour over a schema that allows them.
fn kept(schema: &SchemaRef, arrays: Vec<arrow::array::ArrayRef>, keep: Vec<bool>) -> Result<RecordBatch> {
    let loose: Vec<_> = schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
    let loose = std::sync::Arc::new(arrow::datatypes::Schema::new(loose));
    let kept = filter_record_batch(&batch(&loose, arrays, keep.len())?, &BooleanArray::from(keep))?;
    batch(schema, kept.columns().to_vec(), kept.num_rows())
}
