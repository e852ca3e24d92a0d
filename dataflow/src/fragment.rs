//! Fragments: operators between two exchanges, run as one.
//!
//! ```text
//!   input 0 --> Filter --+
//!                        +--> Join --> Project --> out
//!   input 1 -------------+
//! ```
//!
//! What an operator emits goes to the next one at once, by a call; nothing is queued inside a fragment. A fragment
//! knows no threads and no timely, so that the adapter stays small and a fragment can be driven by hand.

use crate::operator::{Operator, Output, StateSize};
use millrace_types::{Delta, Result, SqlError, Tick};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A tree of operators with one output.
#[derive(Default)]
pub struct Fragment {
    /// Every operator stands after the one that it feeds.
    operators: Vec<Fused>,
    /// Where the changes of each input enter.
    inputs: Vec<Target>,
}

/// An operator and the reader of its output.
struct Fused {
    name: String,
    operator: Box<dyn Operator>,
    target: Target,
}

/// Where changes go inside a fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// To a port of an operator.
    Operator { at: usize, port: usize },
    /// Out of the fragment.
    Out,
}

impl Fragment {
    /// Adds an operator that feeds `target`, and answers its place.
    ///
    /// # Panics
    /// When the target is not there yet: a fragment is built from its output to its inputs.
    pub fn add(&mut self, name: String, operator: Box<dyn Operator>, target: Target) -> usize {
        self.check(target);
        self.operators.push(Fused { name, operator, target });
        self.operators.len() - 1
    }

    /// Adds an input whose changes go to `target`, and answers its number.
    ///
    /// # Panics
    /// As [`Fragment::add`].
    pub fn add_input(&mut self, target: Target) -> usize {
        self.check(target);
        self.inputs.push(target);
        self.inputs.len() - 1
    }

    fn check(&self, target: Target) {
        if let Target::Operator { at, .. } = target {
            assert!(at < self.operators.len(), "a fragment is built from its output to its inputs");
        }
    }

    /// The number of inputs.
    pub fn inputs(&self) -> usize {
        self.inputs.len()
    }

    /// Changes of the open tick that arrive at an input.
    ///
    /// # Errors
    /// What an operator answered, or `XX000` when it panicked; the fragment is not to be called again then.
    pub fn on_batch(&mut self, input: usize, delta: Delta, out: &mut Output) -> Result<()> {
        catching(|| self.feed(self.inputs[input], delta, out))
    }

    /// All input of `tick` has arrived.
    ///
    /// # Errors
    /// As [`Fragment::on_batch`].
    pub fn on_tick(&mut self, tick: Tick, out: &mut Output) -> Result<()> {
        catching(|| {
            for at in (0..self.operators.len()).rev() {
                let fused = &mut self.operators[at];
                let mut emitted = Output::default();
                fused.operator.on_tick(tick, &mut emitted)?;
                let target = fused.target;
                self.pass_on(emitted, target, out)?;
            }
            Ok(())
        })
    }

    fn feed(&mut self, target: Target, delta: Delta, out: &mut Output) -> Result<()> {
        match target {
            Target::Out => {
                out.push(delta);
                Ok(())
            }
            Target::Operator { at, port } => {
                let fused = &mut self.operators[at];
                let mut emitted = Output::default();
                fused.operator.on_batch(port, delta, &mut emitted)?;
                let target = fused.target;
                self.pass_on(emitted, target, out)
            }
        }
    }

    fn pass_on(&mut self, mut emitted: Output, target: Target, out: &mut Output) -> Result<()> {
        emitted.take_errors().into_iter().for_each(|error| out.report(error));
        emitted.take_deltas().into_iter().try_for_each(|delta| self.feed(target, delta, out))
    }

    /// Each operator, inputs first, with how much it keeps.
    pub fn sizes(&self) -> impl Iterator<Item = (&str, StateSize)> {
        self.operators.iter().rev().map(|fused| (fused.name.as_str(), fused.operator.state_size()))
    }
}

/// Runs `work` and makes a panic an error: a broken operator ends its job, not the engine.
pub fn catching<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let message = match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
            (Some(message), _) => message,
            (_, Some(message)) => message.as_str(),
            _ => "unknown",
        };
        Err(SqlError::internal(format!("an operator panicked: {message}")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int64Array, RecordBatch};
    use std::sync::Arc;

    fn number(n: i64) -> Delta {
        Delta::inserts(RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from(vec![n])) as _)]).unwrap())
    }

    /// Keeps what it gets until the tick ends, then emits it in the order of ports.
    #[derive(Default)]
    struct Hold(Vec<(usize, Delta)>);

    impl Operator for Hold {
        fn on_batch(&mut self, port: usize, delta: Delta, _: &mut Output) -> Result<()> {
            self.0.push((port, delta));
            Ok(())
        }

        fn on_tick(&mut self, _: Tick, out: &mut Output) -> Result<()> {
            self.0.sort_by_key(|(port, _)| *port);
            self.0.drain(..).for_each(|(_, delta)| out.push(delta));
            Ok(())
        }
    }

    struct Panics;

    impl Operator for Panics {
        fn on_batch(&mut self, _: usize, _: Delta, _: &mut Output) -> Result<()> {
            panic!("seven")
        }

        fn on_tick(&mut self, _: Tick, _: &mut Output) -> Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_tick_ends_at_the_inputs_first() {
        let mut fragment = Fragment::default();
        let last = fragment.add("last".into(), Box::new(Hold::default()), Target::Out);
        let first = fragment.add("first".into(), Box::new(Hold::default()), Target::Operator { at: last, port: 1 });
        let (a, b) = (Target::Operator { at: first, port: 0 }, Target::Operator { at: last, port: 0 });
        let (a, b) = (fragment.add_input(a), fragment.add_input(b));
        let mut out = Output::default();
        fragment.on_batch(a, number(2), &mut out).unwrap();
        fragment.on_batch(b, number(1), &mut out).unwrap();
        assert!(out.is_empty());
        fragment.on_tick(Tick(1), &mut out).unwrap();
        let rows: Vec<_> = out.take_deltas().into_iter().map(|delta| delta.rows().clone()).collect();
        assert_eq!(rows, [number(1).rows().clone(), number(2).rows().clone()]);
    }

    #[test]
    fn a_panic_is_an_internal_error() {
        let mut fragment = Fragment::default();
        let at = fragment.add("panics".into(), Box::new(Panics), Target::Out);
        let input = fragment.add_input(Target::Operator { at, port: 0 });
        let error = fragment.on_batch(input, number(1), &mut Output::default()).unwrap_err();
        assert_eq!(error, SqlError::internal("an operator panicked: seven"));
    }
}
