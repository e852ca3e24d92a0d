//! Values: rows known from the start, inserted at the first tick. Its state is whether that has happened; it is never
//! dropped.

use crate::operator::{Operator, Output, SnapshotKind, StateReader, StateWriter};
use crate::state::sorted_batch;
use arrow::array::RecordBatch;
use millrace_types::{Delta, KeyGroupRange, Result, Tick};

/// Emits its rows once.
pub struct Values {
    rows: Option<RecordBatch>,
    emitted: bool,
}

const SECTION: &str = "emitted";

impl Values {
    /// `here`: whether this worker is the one that emits them; exactly one does.
    pub fn new(rows: RecordBatch, here: bool) -> Values {
        Values { rows: here.then_some(rows), emitted: false }
    }
}

impl Operator for Values {
    fn on_batch(&mut self, _port: usize, _delta: Delta, _out: &mut Output) -> Result<()> {
        Ok(())
    }

    fn on_tick(&mut self, _tick: Tick, out: &mut Output) -> Result<()> {
        if !std::mem::replace(&mut self.emitted, true)
            && let Some(rows) = self.rows.take()
        {
            out.push(Delta::inserts(rows));
        }
        Ok(())
    }

    fn snapshot(&mut self, _kind: SnapshotKind, to: &mut dyn StateWriter) -> Result<()> {
        if self.emitted { to.write(SECTION, sorted_batch(vec![0], vec![])?) } else { Ok(()) }
    }

    /// Whichever worker emits the rows: any snapshot of the job taken after its first tick has them downstream.
    fn restore(&mut self, from: &mut dyn StateReader, _groups: KeyGroupRange) -> Result<()> {
        self.emitted |= !from.read(SECTION)?.is_empty();
        Ok(())
    }
}
