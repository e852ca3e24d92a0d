//! A chain of operators between two exchanges, run as one. Linear exactly if all its steps are; the state is theirs.

use crate::operator::{Operator, Output, SnapshotKind, StateReader, StateSize, StateWriter};
use arrow::array::RecordBatch;
use millrace_types::{Delta, EventTime, KeyGroupRange, Result, Tick};

/// Calls its steps in sequence: what one emits, the next receives at port 0. The ports of the chain are those of its
/// first step.
pub struct Fused {
    steps: Vec<Box<dyn Operator>>,
}

impl Fused {
    /// The chain of `steps`. Without any it passes everything.
    pub fn new(steps: Vec<Box<dyn Operator>>) -> Fused {
        Fused { steps }
    }

    /// Lets what `from` emitted run through the steps from `first` on.
    fn pass(&mut self, first: usize, mut from: Output, out: &mut Output) -> Result<()> {
        for step in &mut self.steps[first..] {
            let mut next = Output::default();
            for delta in from.take_deltas() {
                step.on_batch(0, delta, &mut next)?;
            }
            report(from, out);
            from = next;
        }
        from.take_deltas().into_iter().for_each(|delta| out.push(delta));
        report(from, out);
        Ok(())
    }
}

fn report(mut from: Output, out: &mut Output) {
    from.take_errors().into_iter().for_each(|error| out.row_error(error.error, error.weight));
}

impl Operator for Fused {
    fn on_batch(&mut self, port: usize, delta: Delta, out: &mut Output) -> Result<()> {
        let Some(first) = self.steps.first_mut() else {
            out.push(delta);
            return Ok(());
        };
        let mut emitted = Output::default();
        first.on_batch(port, delta, &mut emitted)?;
        self.pass(1, emitted, out)
    }

    fn on_watermark(&mut self, port: usize, watermark: EventTime, out: &mut Output) -> Result<()> {
        for at in 0..self.steps.len() {
            let mut emitted = Output::default();
            self.steps[at].on_watermark(if at == 0 { port } else { 0 }, watermark, &mut emitted)?;
            self.pass(at + 1, emitted, out)?;
        }
        Ok(())
    }

    fn on_tick(&mut self, tick: Tick, out: &mut Output) -> Result<()> {
        // A step ends its tick only after all that the steps before it emitted at theirs.
        for at in 0..self.steps.len() {
            let mut emitted = Output::default();
            self.steps[at].on_tick(tick, &mut emitted)?;
            if !emitted.is_empty() {
                self.pass(at + 1, emitted, out)?;
            }
        }
        Ok(())
    }

    fn next_timer(&self) -> Option<EventTime> {
        self.steps.iter().filter_map(|step| step.next_timer()).min()
    }

    fn snapshot(&mut self, kind: SnapshotKind, to: &mut dyn StateWriter) -> Result<()> {
        let mut steps = self.steps.iter_mut().enumerate();
        steps.try_for_each(|(at, step)| step.snapshot(kind, &mut Prefixed { at, inner: &mut *to }))
    }

    fn restore(&mut self, from: &mut dyn StateReader, groups: KeyGroupRange) -> Result<()> {
        let mut steps = self.steps.iter_mut().enumerate();
        steps.try_for_each(|(at, step)| step.restore(&mut Prefixed { at, inner: &mut *from }, groups.clone()))
    }

    fn state_size(&self) -> StateSize {
        self.steps.iter().map(|step| step.state_size()).fold(StateSize::default(), |sum, size| StateSize {
            rows: sum.rows + size.rows,
            bytes: sum.bytes + size.bytes,
        })
    }
}

/// Keeps the sections of the steps apart: those of the second step are named `1/...`.
struct Prefixed<'a, T: ?Sized> {
    at: usize,
    inner: &'a mut T,
}

impl StateWriter for Prefixed<'_, dyn StateWriter + '_> {
    fn write(&mut self, name: &str, rows: RecordBatch) -> Result<()> {
        self.inner.write(&format!("{}/{name}", self.at), rows)
    }
}

impl StateReader for Prefixed<'_, dyn StateReader + '_> {
    fn read(&mut self, name: &str) -> Result<Vec<RecordBatch>> {
        self.inner.read(&format!("{}/{name}", self.at))
    }
}
