//! Deltas: what changed, as columns with a weight per row (a Z-set).

use arrow::array::{Array, AsArray, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::buffer::ScalarBuffer;
use arrow::compute;
use arrow::datatypes::{Int64Type, SchemaRef};
use arrow::error::ArrowError;

/// How often each row of a delta is inserted (positive) or retracted (negative). Never zero.
#[derive(Clone, Debug, PartialEq)]
pub enum Weights {
    /// Every row is inserted once: what append-only inputs send, with nothing to store or multiply.
    Ones,
    /// One weight per row.
    Each(ScalarBuffer<i64>),
}

/// A batch of changes: `rows` with one weight each. `+1` inserts a row, `-1` retracts it. The order of rows inside a
/// delta means nothing, and the same row may stand in it more than once.
#[derive(Clone, Debug)]
pub struct Delta {
    rows: RecordBatch,
    weights: Weights,
}

impl Delta {
    /// Every row of `rows`, inserted once.
    pub fn inserts(rows: RecordBatch) -> Delta {
        Delta { rows, weights: Weights::Ones }
    }

    /// Every row of `rows`, retracted once.
    pub fn retractions(rows: RecordBatch) -> Delta {
        let weights = vec![-1; rows.num_rows()].into();
        Delta { rows, weights: Weights::Each(weights) }
    }

    /// `rows` with a weight each.
    ///
    /// # Panics
    /// When the number of weights is not the number of rows.
    pub fn new(rows: RecordBatch, weights: Weights) -> Delta {
        if let Weights::Each(each) = &weights {
            assert_eq!(each.len(), rows.num_rows(), "a delta has one weight per row");
        }
        Delta { rows, weights }
    }

    /// No change to a relation of this schema.
    pub fn empty(schema: SchemaRef) -> Delta {
        Delta::inserts(RecordBatch::new_empty(schema))
    }

    /// The rows, without their weights.
    pub fn rows(&self) -> &RecordBatch {
        &self.rows
    }

    /// The weights, in the order of the rows.
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// Rows and weights apart.
    pub fn into_parts(self) -> (RecordBatch, Weights) {
        (self.rows, self.weights)
    }

    /// The number of rows (not the sum of weights).
    pub fn len(&self) -> usize {
        self.rows.num_rows()
    }

    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The schema of the rows.
    pub fn schema(&self) -> SchemaRef {
        self.rows.schema()
    }

    /// The weight of one row.
    #[inline]
    pub fn weight(&self, row: usize) -> i64 {
        match &self.weights {
            Weights::Ones => 1,
            Weights::Each(each) => each[row],
        }
    }

    /// The weights as a buffer, made if they were implicit.
    pub fn weights_buffer(&self) -> ScalarBuffer<i64> {
        match &self.weights {
            Weights::Ones => vec![1; self.len()].into(),
            Weights::Each(each) => each.clone(),
        }
    }

    /// The same weights over other columns, which must have as many rows: what a projection does.
    pub fn with_rows(&self, rows: RecordBatch) -> Delta {
        Delta::new(rows, self.weights.clone())
    }

    /// The same rows with every weight negated.
    pub fn negated(&self) -> Delta {
        let weights: Vec<i64> = self.weights_buffer().iter().map(|w| -w).collect();
        Delta { rows: self.rows.clone(), weights: Weights::Each(weights.into()) }
    }

    /// The rows for which `keep` is true (NULL is false), without copying when all are.
    pub fn filter(&self, keep: &BooleanArray) -> Result<Delta, ArrowError> {
        if keep.null_count() == 0 && keep.true_count() == self.len() {
            return Ok(self.clone());
        }
        let rows = compute::filter_record_batch(&self.rows, keep)?;
        let weights = match &self.weights {
            Weights::Ones => Weights::Ones,
            Weights::Each(each) => {
                let kept = compute::filter(&Int64Array::new(each.clone(), None), keep)?;
                Weights::Each(kept.as_primitive::<Int64Type>().values().clone())
            }
        };
        Ok(Delta { rows, weights })
    }

    /// The rows at `indices`, in that order.
    pub fn take(&self, indices: &UInt32Array) -> Result<Delta, ArrowError> {
        let columns = self.rows.columns().iter().map(|column| compute::take(column, indices, None));
        let options = RecordBatchOptions::new().with_row_count(Some(indices.len()));
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        let rows = RecordBatch::try_new_with_options(self.rows.schema(), columns, &options)?;
        let weights = match &self.weights {
            Weights::Ones => Weights::Ones,
            Weights::Each(each) => {
                Weights::Each(indices.values().iter().map(|&i| each[i as usize]).collect::<Vec<_>>().into())
            }
        };
        Ok(Delta { rows, weights })
    }

    /// `len` rows from `offset`, without copying.
    pub fn slice(&self, offset: usize, len: usize) -> Delta {
        let weights = match &self.weights {
            Weights::Ones => Weights::Ones,
            Weights::Each(each) => Weights::Each(each.slice(offset, len)),
        };
        Delta { rows: self.rows.slice(offset, len), weights }
    }

    /// The columns at `columns`, in that order, without copying.
    pub fn project(&self, columns: &[usize]) -> Result<Delta, ArrowError> {
        Ok(Delta { rows: self.rows.project(columns)?, weights: self.weights.clone() })
    }

    /// All of `deltas` in one, in order; they share `schema`.
    pub fn concat<'a>(
        schema: &SchemaRef,
        deltas: impl IntoIterator<Item = &'a Delta> + Clone,
    ) -> Result<Delta, ArrowError> {
        let rows = compute::concat_batches(schema, deltas.clone().into_iter().map(|d| &d.rows))?;
        let ones = deltas.clone().into_iter().all(|d| d.weights == Weights::Ones);
        let weights = match ones {
            true => Weights::Ones,
            false => {
                let mut all = Vec::with_capacity(rows.num_rows());
                deltas.into_iter().for_each(|d| all.extend_from_slice(&d.weights_buffer()));
                Weights::Each(all.into())
            }
        };
        Ok(Delta { rows, weights })
    }

    /// Bytes of memory that the rows and weights refer to.
    pub fn bytes(&self) -> usize {
        let weights = match &self.weights {
            Weights::Ones => 0,
            Weights::Each(each) => each.len() * size_of::<i64>(),
        };
        self.rows.get_array_memory_size() + weights
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn numbers(values: Vec<i64>) -> RecordBatch {
        RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from(values)) as _)]).unwrap()
    }

    #[test]
    fn filtering_keeps_the_weights_of_the_rows_that_stay() {
        let delta = Delta::new(numbers(vec![1, 2, 3]), Weights::Each(vec![1, -2, 3].into()));
        let kept = delta.filter(&BooleanArray::from(vec![Some(true), None, Some(true)])).unwrap();
        assert_eq!(kept.rows(), &numbers(vec![1, 3]));
        assert_eq!(kept.weights(), &Weights::Each(vec![1, 3].into()));
    }

    #[test]
    fn rows_without_columns_are_still_counted() {
        let options = RecordBatchOptions::new().with_row_count(Some(3));
        let schema = Arc::new(arrow::datatypes::Schema::empty());
        let delta = Delta::inserts(RecordBatch::try_new_with_options(schema, vec![], &options).unwrap());
        assert_eq!(delta.take(&UInt32Array::from(vec![2, 0])).unwrap().len(), 2);
        assert_eq!(delta.filter(&BooleanArray::from(vec![true, false, true])).unwrap().len(), 2);
        assert_eq!(Delta::concat(&delta.schema(), [&delta, &delta]).unwrap().len(), 6);
    }

    #[test]
    fn concatenation_is_implicit_ones_only_when_all_are() {
        let (a, b) = (Delta::inserts(numbers(vec![1])), Delta::retractions(numbers(vec![2])));
        let schema = a.schema();
        assert_eq!(Delta::concat(&schema, [&a, &a]).unwrap().weights(), &Weights::Ones);
        assert_eq!(Delta::concat(&schema, [&a, &b]).unwrap().weights(), &Weights::Each(vec![1, -1].into()));
        assert_eq!(b.negated().weight(0), 1);
    }
}
