//! Reject: leaves out the rows of windows that are final, and tells which. Linear, without state: whether a row comes too
//! late stands in the row, so a retraction is left out if its row was.

use crate::operator::{Operator, Output};
use arrow::array::{Array, AsArray, BooleanArray};
use arrow::compute::kernels::cmp::lt_eq;
use arrow::datatypes::Int64Type;
use millrace_types::{Delta, RelationId, Result, SqlError, Tick};

/// Passes the rows whose window ends after the watermark that they came behind.
pub struct Reject {
    source: RelationId,
    end: usize,
    before: usize,
    number: usize,
}

impl Reject {
    /// The columns with the end of a row's window, with the watermark before the row, and with the row's number in its
    /// source.
    pub fn new(source: RelationId, end: usize, before: usize, number: usize) -> Reject {
        Reject { source, end, before, number }
    }
}

impl Operator for Reject {
    fn on_batch(&mut self, _port: usize, delta: Delta, out: &mut Output) -> Result<()> {
        let rows = delta.rows();
        // A row that nothing came before, or that has no window, is not late.
        let late = lt_eq(rows.column(self.end), rows.column(self.before))?;
        let late = match late.nulls() {
            None => late,
            Some(known) => BooleanArray::from(late.values() & known.inner()),
        };
        if late.true_count() == 0 {
            out.push(delta);
            return Ok(());
        }
        let numbers = rows.column(self.number).as_primitive_opt::<Int64Type>();
        let numbers = numbers.ok_or_else(|| SqlError::internal("the numbers of rows are integers"))?;
        let rejected = late.values().set_indices().filter(|row| delta.weight(*row) > 0);
        out.reject(rejected.map(|row| (self.source, numbers.value(row))));
        out.push(delta.filter(&arrow::compute::not(&late)?)?);
        Ok(())
    }

    fn on_tick(&mut self, _tick: Tick, _out: &mut Output) -> Result<()> {
        Ok(())
    }
}
