//! Arrays put together from elements of other columns.

use super::conform;
use arrow::array::{Array, ArrayRef, ListArray, new_empty_array};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field};
use millrace_types::{Result, SqlError};
use std::ops::Range;
use std::sync::Arc;

/// A column of arrays being made: where each element comes from.
#[derive(Default)]
pub struct Pieces {
    places: Vec<(usize, usize)>,
    lengths: Vec<usize>,
    valid: Vec<bool>,
    start: usize,
}

impl Pieces {
    /// An element of a source.
    pub fn one(&mut self, source: usize, at: usize) {
        self.places.push((source, at));
    }

    /// Elements of a source.
    pub fn range(&mut self, source: usize, range: Range<usize>) {
        self.places.extend(range.map(|at| (source, at)));
    }

    /// Ends an array; `valid`: whether it is not NULL.
    pub fn end(&mut self, valid: bool) {
        self.lengths.push(self.places.len() - self.start);
        self.valid.push(valid);
        self.start = self.places.len();
    }

    /// The column, of the type of `result`.
    pub fn finish(self, sources: &[ArrayRef], result: &Field) -> Result<ArrayRef> {
        let DataType::List(element) = result.data_type() else { return Err(SqlError::internal("an array's type")) };
        let sources = sources.iter().map(|source| conform(source, element.data_type()));
        let sources = sources.collect::<Result<Vec<_>>>()?;
        let sources: Vec<&dyn Array> = sources.iter().map(AsRef::as_ref).collect();
        let values = match self.places.is_empty() {
            true => new_empty_array(element.data_type()),
            false => arrow::compute::interleave(&sources, &self.places)?,
        };
        let offsets = OffsetBuffer::from_lengths(self.lengths);
        Ok(Arc::new(ListArray::try_new(element.clone(), offsets, values, Some(NullBuffer::from(self.valid)))?))
    }
}
