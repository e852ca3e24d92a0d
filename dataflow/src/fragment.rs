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
//!
//! Watermarks do not flow: a fragment knows which leaves of the plan are below each port of its operators, and is told
//! the watermarks of the leaves.

use crate::capture::{Captured, Sections, StoredJob};
use crate::operator::{Moment, Operator, Output, SnapshotKind, StateSize, Timers};
use millrace_types::{Delta, EventTime, KeyGroupRange, Result, SqlError, Tick};
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
    ports: Vec<PortTime>,
    /// Its number in the job.
    number: u32,
    /// Whether the open tick may have changed its state, and the last tick that may have.
    is_touched: bool,
    touched: Tick,
}

/// What bounds the times of the rows that arrive at a port.
#[derive(Clone, Debug, Default)]
struct PortTime {
    /// The leaves below it that have a watermark, by their number in the job.
    leaves: Vec<usize>,
    /// What the operator was told last.
    told: Option<EventTime>,
}

impl PortTime {
    /// The port's watermark, if it is later than what was told.
    fn advance(&mut self, watermarks: &[Option<EventTime>]) -> Option<EventTime> {
        let of = |leaf: &usize| watermarks.get(*leaf).copied().flatten();
        // One leaf without a watermark holds all of them back.
        let all: Option<Vec<EventTime>> = self.leaves.iter().map(of).collect();
        let watermark = all?.into_iter().min().filter(|watermark| self.told.is_none_or(|told| told < *watermark))?;
        self.told = Some(watermark);
        Some(watermark)
    }
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
        let (at, touched) = (self.operators.len(), Tick::default());
        // The first tick calls each operator, whether or not there is input.
        let is_touched = true;
        self.operators.push(Fused { name, operator, target, ports: vec![], number: at as u32, is_touched, touched });
        at
    }

    /// Gives the operator at a place its number in the job.
    pub fn number(&mut self, at: usize, number: u32) {
        self.operators[at].number = number;
    }

    /// Adds an input whose changes go to `target`, and answers its number. `leaves`: what is below it of the plan's
    /// leaves that have a watermark.
    ///
    /// # Panics
    /// As [`Fragment::add`].
    pub fn add_input(&mut self, target: Target, leaves: &[usize]) -> usize {
        self.check(target);
        let mut above = target;
        while let Target::Operator { at, port } = above {
            let Fused { ports, target, .. } = &mut self.operators[at];
            if ports.len() <= port {
                ports.resize_with(port + 1, PortTime::default);
            }
            ports[port].leaves.extend(leaves);
            above = *target;
        }
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

    /// All input of `tick` has arrived, and this is what time it is.
    ///
    /// # Errors
    /// As [`Fragment::on_batch`].
    pub fn on_tick(&mut self, tick: Tick, moment: &Moment, out: &mut Output) -> Result<()> {
        catching(|| {
            for at in (0..self.operators.len()).rev() {
                let fused = &mut self.operators[at];
                let mut emitted = Output::default();
                for (port, time) in fused.ports.iter_mut().enumerate() {
                    if let Some(watermark) = time.advance(&moment.watermarks) {
                        fused.is_touched = true;
                        fused.operator.on_watermark(port, watermark, &mut emitted)?;
                    }
                }
                moment.now.map_or(Ok(()), |now| fused.operator.on_clock(now))?;
                fused.operator.on_tick(tick, &mut emitted)?;
                if std::mem::take(&mut fused.is_touched) || !emitted.is_empty() || fused.operator.follows_clock() {
                    fused.touched = tick;
                }
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
                fused.is_touched = true;
                fused.operator.on_batch(port, delta, &mut emitted)?;
                let target = fused.target;
                self.pass_on(emitted, target, out)
            }
        }
    }

    fn pass_on(&mut self, mut emitted: Output, target: Target, out: &mut Output) -> Result<()> {
        emitted.take_errors().into_iter().for_each(|error| out.report(error));
        out.reject(emitted.take_rejected().into_iter());
        emitted.take_deltas().into_iter().try_for_each(|delta| self.feed(target, delta, out))
    }

    /// What each operator keeps, between two ticks. `is_known`: whether the state of an operator as of its last tick is
    /// somewhere already.
    pub fn capture(&mut self, worker: usize, is_known: &dyn Fn(u32, Tick) -> bool) -> Result<Vec<Captured>> {
        catching(|| {
            let capture = |fused: &mut Fused| {
                let (place, touched) = (fused.number, fused.touched);
                let mut sections = Sections::default();
                let is_known = is_known(place, touched);
                if !is_known {
                    fused.operator.snapshot(SnapshotKind::Full, &mut sections)?;
                }
                Ok::<_, SqlError>(Captured { worker, place, touched, sections: (!is_known).then_some(sections.0) })
            };
            self.operators.iter_mut().map(capture).collect()
        })
    }

    /// Gives operators that have seen nothing what they kept. `share`: which worker this is, of how many.
    pub fn restore(&mut self, stored: &StoredJob, share: (usize, usize)) -> Result<()> {
        let own = KeyGroupRange::of_worker(share.0, share.1);
        catching(|| {
            self.operators.iter_mut().try_for_each(|fused| {
                stored.restore(fused.number, share, own.clone(), |from, groups| fused.operator.restore(from, groups))
            })
        })
    }

    /// When its operators want a tick without input.
    pub fn timers(&self) -> Timers {
        let of = |fused: &Fused| Timers { watermark: fused.operator.next_timer(), clock: fused.operator.next_alarm() };
        self.operators.iter().map(of).fold(Timers::default(), Timers::or)
    }

    /// Each operator, inputs first, with how much it keeps, and how many changes it has dropped.
    pub fn sizes(&self) -> impl Iterator<Item = (&str, StateSize, u64)> {
        let operators = self.operators.iter().rev();
        operators.map(|fused| (fused.name.as_str(), fused.operator.state_size(), fused.operator.dropped()))
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
        let (a, b) = (fragment.add_input(a, &[0]), fragment.add_input(b, &[1]));
        let mut out = Output::default();
        fragment.on_batch(a, number(2), &mut out).unwrap();
        fragment.on_batch(b, number(1), &mut out).unwrap();
        assert!(out.is_empty());
        fragment.on_tick(Tick(1), &Moment::default(), &mut out).unwrap();
        let rows: Vec<_> = out.take_deltas().into_iter().map(|delta| delta.rows().clone()).collect();
        assert_eq!(rows, [number(1).rows().clone(), number(2).rows().clone()]);
    }

    /// Tells what it is told.
    struct Listens(&'static str, std::sync::mpsc::Sender<(&'static str, usize, i64)>);

    impl Operator for Listens {
        fn on_batch(&mut self, _: usize, delta: Delta, out: &mut Output) -> Result<()> {
            out.push(delta);
            Ok(())
        }

        fn on_watermark(&mut self, port: usize, watermark: EventTime, _: &mut Output) -> Result<()> {
            self.1.send((self.0, port, watermark.0)).unwrap();
            Ok(())
        }

        fn on_tick(&mut self, _: Tick, _: &mut Output) -> Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_port_is_told_the_least_watermark_below_it_when_it_grows() {
        let (told, heard) = std::sync::mpsc::channel();
        let mut fragment = Fragment::default();
        let last = fragment.add("last".into(), Box::new(Listens("last", told.clone())), Target::Out);
        let first =
            fragment.add("first".into(), Box::new(Listens("first", told)), Target::Operator { at: last, port: 0 });
        fragment.add_input(Target::Operator { at: first, port: 0 }, &[0]);
        fragment.add_input(Target::Operator { at: first, port: 1 }, &[1]);
        fragment.add_input(Target::Operator { at: last, port: 1 }, &[]);
        let mut tick = |watermarks: [Option<i64>; 2]| {
            let watermarks = watermarks.map(|watermark| watermark.map(EventTime)).to_vec();
            fragment.on_tick(Tick(1), &Moment { now: None, watermarks }, &mut Output::default()).unwrap();
            heard.try_iter().collect::<Vec<_>>()
        };
        assert_eq!(tick([Some(5), None]), [("first", 0, 5)]);
        assert_eq!(tick([Some(5), Some(3)]), [("first", 1, 3), ("last", 0, 3)]);
        assert_eq!(tick([Some(9), Some(3)]), [("first", 0, 9)]);
        assert_eq!(tick([Some(9), Some(9)]), [("first", 1, 9), ("last", 0, 9)]);
        assert_eq!(tick([Some(9), Some(9)]), []);
    }

    #[test]
    fn a_panic_is_an_internal_error() {
        let mut fragment = Fragment::default();
        let at = fragment.add("panics".into(), Box::new(Panics), Target::Out);
        let input = fragment.add_input(Target::Operator { at, port: 0 }, &[]);
        let error = fragment.on_batch(input, number(1), &mut Output::default()).unwrap_err();
        assert_eq!(error, SqlError::internal("an operator panicked: seven"));
    }
}
