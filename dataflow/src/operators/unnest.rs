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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::{Bag, Harness};
    use arrow::array::{ArrayRef, Int64Array, RecordBatch};
    use arrow::datatypes::{DataType, Field, Int64Type, Schema};
    use millrace_types::Weights;
    use millrace_types::hash::mix;
    use std::sync::Arc;

    type List = Option<Vec<Option<i64>>>;
    type Row = (i64, List, List);

    struct Random(u64);

    impl Random {
        fn below(&mut self, n: u64) -> u64 {
            self.0 += 1;
            mix(self.0) % n
        }

        fn list(&mut self) -> List {
            let length = self.below(5);
            let element = |random: &mut Random| (random.below(4) > 0).then(|| random.below(3) as i64);
            (self.below(5) > 0).then(|| (0..length).map(|_| element(self)).collect())
        }
    }

    fn schema(data_type: DataType) -> SchemaRef {
        let field = |name, data_type: &DataType| Field::new(name, data_type.clone(), true);
        Arc::new(Schema::new(vec![field("a", &data_type), field("k", &DataType::Int64), field("b", &data_type)]))
    }

    fn delta(rows: &[(Row, i64)]) -> Delta {
        let list = |of: fn(&Row) -> &List| {
            let lists = rows.iter().map(|(row, _)| of(row).clone());
            Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(lists)) as ArrayRef
        };
        let keys = Arc::new(rows.iter().map(|(row, _)| Some(row.0)).collect::<Int64Array>()) as ArrayRef;
        let columns = vec![list(|row| &row.1), keys, list(|row| &row.2)];
        let schema = schema(columns[0].data_type().clone());
        let weights: Vec<i64> = rows.iter().map(|(_, weight)| *weight).collect();
        Delta::new(RecordBatch::try_new(schema, columns).unwrap(), Weights::Each(weights.into()))
    }

    /// The rows that come of all rows, made one by one.
    fn naive(rows: &[(Row, i64)], outer: bool) -> Bag {
        let mut bag = Bag::new();
        for ((key, a, b), weight) in rows {
            let length = |list: &List| list.as_ref().map_or(0, Vec::len);
            for at in 0..length(a).max(length(b)).max(usize::from(outer)) {
                let element = |list: &List| list.as_ref()?.get(at).copied()?.map(|value| value.to_string());
                *bag.entry(vec![element(a), Some(key.to_string()), element(b)]).or_default() += weight;
            }
        }
        bag.retain(|_, weight| *weight != 0);
        bag
    }

    #[test]
    fn random_changes_give_what_unnesting_all_rows_gives_however_they_are_cut() {
        for seed in 0..40 {
            let mut random = Random(seed << 32);
            let outer = seed % 2 == 0;
            let unnest = || Harness::new(Unnest::new(vec![0, 2], outer, schema(DataType::Int64)));
            let (mut whole, mut cut) = (unnest(), unnest());
            // All changes, and those of them that were not taken back.
            let (mut all, mut there) = (Vec::<(Row, i64)>::new(), Vec::<(Row, i64)>::new());
            for _ in 0..8 {
                let mut rows: Vec<(Row, i64)> = vec![];
                for _ in 0..random.below(12) {
                    let row = (random.below(4) as i64, random.list(), random.list());
                    rows.push((row, 1 + random.below(2) as i64));
                    if !there.is_empty() && random.below(3) == 0 {
                        let (row, weight) = there.swap_remove(random.below(there.len() as u64) as usize);
                        rows.push((row, -weight));
                    }
                }
                let batch = delta(&rows);
                let half = batch.len() / 2;
                cut.batch(0, batch.slice(0, half)).unwrap();
                cut.batch(0, batch.slice(half, batch.len() - half)).unwrap();
                whole.batch(0, batch).unwrap();
                whole.tick().unwrap();
                cut.tick().unwrap();
                there.extend(rows.iter().filter(|(_, weight)| *weight > 0).cloned());
                all.extend(rows);
                let expected = naive(&all, outer);
                assert_eq!(whole.accumulated(), &expected, "seed {seed}");
                assert_eq!(cut.accumulated(), &expected, "seed {seed}");
            }
        }
    }
}
