//! Distinct: each different row once. Stateful: how often each row is there, by its identity; the rows themselves come
//! with the changes. A retraction emits one exactly when it takes the last copy, and the row's state goes with it.

use crate::operator::{Operator, Output, SnapshotKind, StateReader, StateSize, StateWriter};
use crate::state::{Counts, ids_of, interleave_rows};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use millrace_types::{Delta, KeyGroupRange, Result, Tick, Weights};

/// Passes a row on when its first copy comes and takes it back when the last one goes.
pub struct Distinct {
    schema: SchemaRef,
    partitioned_by: Vec<usize>,
    counts: Counts<1>,
    /// The batches of the open tick: where changed rows are to be found.
    open: Vec<RecordBatch>,
}

const SECTION: &str = "counts";

impl Distinct {
    /// `partitioned_by`: the columns by which rows are distributed over the workers.
    pub fn new(schema: SchemaRef, partitioned_by: Vec<usize>) -> Distinct {
        Distinct { schema, partitioned_by, counts: Counts::default(), open: Vec::new() }
    }
}

impl Operator for Distinct {
    fn on_batch(&mut self, _port: usize, delta: Delta, _out: &mut Output) -> Result<()> {
        for (row, id) in ids_of(delta.rows(), &self.partitioned_by)?.into_iter().enumerate() {
            let [count] = self.counts.change(id, (self.open.len(), row));
            *count += delta.weight(row);
        }
        self.open.push(delta.into_parts().0);
        Ok(())
    }

    fn on_tick(&mut self, _tick: Tick, out: &mut Output) -> Result<()> {
        let (mut places, mut weights) = (Vec::new(), Vec::new());
        self.counts.settle(|[before], [now], place| {
            let change = i64::from(now > 0) - i64::from(before > 0);
            if change != 0 {
                places.push(place);
                weights.push(change);
            }
        });
        let open = std::mem::take(&mut self.open);
        if !places.is_empty() {
            let batches: Vec<_> = open.iter().collect();
            let rows = interleave_rows(&self.schema, &batches, &places, 0..self.schema.fields().len())?;
            out.push(Delta::new(rows, Weights::Each(weights.into())));
        }
        Ok(())
    }

    fn snapshot(&mut self, _kind: SnapshotKind, to: &mut dyn StateWriter) -> Result<()> {
        self.counts.snapshot(SECTION, ["count"], to)
    }

    fn restore(&mut self, from: &mut dyn StateReader, groups: KeyGroupRange) -> Result<()> {
        self.counts.restore(SECTION, from, &groups)
    }

    fn state_size(&self) -> StateSize {
        self.counts.size()
    }
}
