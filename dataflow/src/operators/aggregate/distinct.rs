//! `DISTINCT` of an aggregate that takes values back: how often each argument is there in each group. The aggregate sees
//! an argument when its first copy comes and loses it when the last one goes, so a change costs the same however many
//! arguments a group has.

use super::changes::Changes;
use crate::operator::{StateReader, StateSize, StateWriter};
use crate::state::{Counts, batch_of, ids_of};
use arrow::array::ArrayRef;
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{Field, Schema};
use millrace_types::{KeyGroupRange, Result};
use std::sync::Arc;

/// The arguments of all groups, by the identity of group and argument.
pub struct Distinct {
    counts: Counts<1>,
    /// Which of the keys decide the worker.
    partition: Vec<usize>,
}

impl Distinct {
    /// No arguments. `partition`: as of the operator.
    pub fn new(partition: Vec<usize>) -> Distinct {
        Distinct { counts: Counts::default(), partition }
    }

    /// Which arguments came and went. `keys`, `arguments`: columns of the changes; `counted`: which rows count.
    pub fn changes(
        &mut self,
        changes: &Changes,
        keys: &[ArrayRef],
        arguments: &[ArrayRef],
        counted: Option<&BooleanBuffer>,
    ) -> Result<Changes> {
        let columns: Vec<ArrayRef> = keys.iter().chain(arguments).cloned().collect();
        let fields: Vec<_> = columns.iter().map(|column| Field::new("", column.data_type().clone(), true)).collect();
        let rows = batch_of(&Arc::new(Schema::new(fields)), columns, changes.delta.len())?;
        for (row, id) in ids_of(&rows, &self.partition)?.into_iter().enumerate() {
            if counted.is_none_or(|counted| counted.value(row)) {
                let [count] = self.counts.change(id, (0, row));
                *count += changes.delta.weight(row);
            }
        }
        let (mut places, mut weights) = (Vec::new(), Vec::new());
        self.counts.settle(|[before], [now], (_, row)| {
            let change = i64::from(now > 0) - i64::from(before > 0);
            if change != 0 {
                places.push(row as u32);
                weights.push(change);
            }
        });
        changes.select(places, weights)
    }

    /// Writes the counts as the section `name`.
    pub fn snapshot(&self, name: &str, to: &mut dyn StateWriter) -> Result<()> {
        self.counts.snapshot(name, ["count"], to)
    }

    /// Takes back the counts of the section `name` that belong to `groups`.
    pub fn restore(&mut self, name: &str, from: &mut dyn StateReader, groups: &KeyGroupRange) -> Result<()> {
        self.counts.restore(name, from, groups)
    }

    /// How much it keeps.
    pub fn size(&self) -> StateSize {
        self.counts.size()
    }
}
