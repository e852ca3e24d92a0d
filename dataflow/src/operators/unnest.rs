//! Unnest: a row for each element of arrays. Linear, without state; a retraction gives the retractions of the same rows.

use crate::operator::{Operator, Output};
use crate::state::batch_of;
use arrow::array::{Array, AsArray, ListArray, UInt32Array};
use arrow::compute;
use arrow::datatypes::SchemaRef;
use millrace_types::{Delta, Result, SqlError, SqlState, Tick};

/// Repeats each row for the elements of its arrays.
pub struct Unnest {
    lists: Vec<usize>,
    outer: bool,
    schema: SchemaRef,
}

impl Unnest {
    /// `lists`: the columns of arrays, which are columns of their elements in the output's `schema`. `outer`: rows
    /// without elements stay, with NULLs.
    pub fn new(lists: Vec<usize>, outer: bool, schema: SchemaRef) -> Unnest {
        Unnest { lists, outer, schema }
    }

    fn arrays<'a>(&self, delta: &'a Delta) -> Result<Vec<&'a ListArray>> {
        let list = |column: &usize| delta.rows().column(*column).as_list_opt::<i32>();
        let lists: Option<Vec<_>> = self.lists.iter().map(list).collect();
        lists.ok_or_else(|| SqlError::internal("a column to unnest that holds no arrays"))
    }

    /// How many rows each row becomes.
    fn lengths(&self, lists: &[&ListArray], rows: usize) -> Vec<usize> {
        let least = usize::from(self.outer);
        let longest = |row| lists.iter().map(|list| length(list, row)).fold(least, usize::max);
        (0..rows).map(longest).collect()
    }
}

fn length(list: &ListArray, row: usize) -> usize {
    if list.is_null(row) { 0 } else { list.value_length(row) as usize }
}

/// Where the elements of a list stand among its values, row by row, as often as `lengths` says; NULL past its end.
fn elements(list: &ListArray, lengths: &[usize], total: usize) -> UInt32Array {
    let mut places = Vec::with_capacity(total);
    for (row, wanted) in lengths.iter().enumerate() {
        let (start, there) = (list.value_offsets()[row] as u32, length(list, row));
        places.extend((start..).take(there).map(Some));
        places.resize(places.len() + (wanted - there), None);
    }
    UInt32Array::from(places)
}

impl Operator for Unnest {
    fn on_batch(&mut self, _port: usize, delta: Delta, out: &mut Output) -> Result<()> {
        let lists = self.arrays(&delta)?;
        let lengths = self.lengths(&lists, delta.len());
        let total: usize = lengths.iter().sum();
        if u32::try_from(total).is_err() {
            let message = "arrays of a change have too many elements to make rows of";
            return Err(SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message));
        }
        let repeated = lengths.iter().enumerate().flat_map(|(row, length)| std::iter::repeat_n(row as u32, *length));
        let rows = UInt32Array::from_iter_values(repeated);
        let mut columns = Vec::with_capacity(self.schema.fields().len());
        for (at, column) in delta.rows().columns().iter().enumerate() {
            columns.push(match self.lists.iter().position(|list| *list == at) {
                Some(list) => {
                    let list = lists[list];
                    compute::take(list.values(), &elements(list, &lengths, total), None)?
                }
                None => compute::take(column, &rows, None)?,
            });
        }
        // The weights are those of the rows that the new ones come from.
        let weights = delta.project(&[])?.take(&rows)?;
        out.push(weights.with_rows(batch_of(&self.schema, columns, total)?));
        Ok(())
    }

    fn on_tick(&mut self, _tick: Tick, _out: &mut Output) -> Result<()> {
        Ok(())
    }
}
