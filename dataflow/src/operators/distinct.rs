//! Distinct: each different row once. Stateful: how often each row is there, by its identity; the rows themselves come
//! with the changes. A retraction emits one exactly when it takes the last copy, and the row's state goes with it; so it
//! does when the watermark says that no change of the row can come.

use crate::operator::{Operator, Output, SnapshotKind, StateReader, StateSize, StateWriter};
use crate::state::{Counts, Expiry, RowId, ids_of, interleave_rows, time_of, times_of};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use millrace_ir::Closing;
use millrace_types::{Delta, EventTime, KeyGroupRange, Result, Tick, Weights};

/// Passes a row on when its first copy comes and takes it back when the last one goes.
pub struct Distinct {
    schema: SchemaRef,
    partitioned_by: Vec<usize>,
    counts: Counts<1>,
    expiry: Option<Expiry<RowId>>,
    /// The batches of the open tick: where changed rows are to be found.
    open: Vec<RecordBatch>,
}

const SECTION: &str = "counts";
const TIMES: &str = "times";

impl Distinct {
    /// `partitioned_by`: the columns by which rows are distributed over the workers. `closing`: when what is kept of a row
    /// is dropped, if it is.
    pub fn new(schema: SchemaRef, partitioned_by: Vec<usize>, closing: Option<Closing>) -> Distinct {
        let expiry = closing.map(Expiry::new);
        Distinct { schema, partitioned_by, counts: Counts::default(), expiry, open: Vec::new() }
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

    fn on_watermark(&mut self, _port: usize, watermark: EventTime, _out: &mut Output) -> Result<()> {
        self.expiry.iter_mut().for_each(|expiry| expiry.advance(watermark.0));
        Ok(())
    }

    fn on_tick(&mut self, _tick: Tick, out: &mut Output) -> Result<()> {
        let (mut places, mut weights) = (Vec::new(), Vec::new());
        let Distinct { counts, expiry, open, .. } = self;
        counts.settle(|id, [before], [now], (batch, row)| {
            let change = i64::from(now > 0) - i64::from(before > 0);
            if change != 0 {
                places.push((batch, row));
                weights.push(change);
            }
            if let Some(expiry) = expiry.as_mut().filter(|_| before == 0)
                && let Some(time) = time_of(times_of(&open[batch], expiry.column()), row)
            {
                expiry.note(time, id);
            }
        });
        expiry.iter_mut().for_each(|expiry| expiry.forget(counts));
        let open = std::mem::take(open);
        if !places.is_empty() {
            let batches: Vec<_> = open.iter().collect();
            let rows = interleave_rows(&self.schema, &batches, &places, 0..self.schema.fields().len())?;
            out.push(Delta::new(rows, Weights::Each(weights.into())));
        }
        Ok(())
    }

    fn snapshot(&mut self, _kind: SnapshotKind, to: &mut dyn StateWriter) -> Result<()> {
        self.counts.snapshot(SECTION, ["count"], to)?;
        self.expiry.as_ref().map_or(Ok(()), |expiry| expiry.snapshot(TIMES, &self.counts, to))
    }

    fn restore(&mut self, from: &mut dyn StateReader, groups: KeyGroupRange) -> Result<()> {
        self.counts.restore(SECTION, from, &groups)?;
        self.expiry.as_mut().map_or(Ok(()), |expiry| expiry.restore(TIMES, from, &groups))
    }

    fn state_size(&self) -> StateSize {
        let StateSize { rows, bytes } = self.counts.size();
        StateSize { rows, bytes: bytes + self.expiry.as_ref().map_or(0, Expiry::bytes) }
    }
}
