//! A fragment as one node of a timely dataflow: the only progress loop there is.

use super::parcel::{Delivery, Parcel};
use crate::exchange::Router;
use crate::fragment::Fragment;
use crate::job_end::JobEnd;
use crate::operator::Output;
use millrace_types::{Result, Tick};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use timely::communication::Pull;
use timely::container::NoopBuilder;
use timely::dataflow::channels::Message;
use timely::dataflow::channels::pact::{DistributorPact, Pipeline};
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::generic::{InputHandleCore, OutputBuilder};
use timely::dataflow::operators::{Capability, InputCapability};
use timely::dataflow::{Scope, Stream};
use timely::progress::frontier::MutableAntichain;

pub type Parcels<'scope> = Stream<'scope, u64, Parcel>;
type Sender = OutputBuilder<u64, NoopBuilder<Parcel>>;
/// Hands over everything that has arrived at an input.
type Receiver = Box<dyn FnMut(&mut dyn FnMut(InputCapability<u64>, Parcel))>;

/// A fragment in its job, on one worker.
///
/// Parcels of the earliest open tick are folded in as they come; those of later ticks wait. When the frontier says that
/// nothing more of a tick can come, the fragment's tick ends and its capability goes, which moves the frontier of
/// whoever reads its output.
pub struct Node {
    pub fragment: Rc<RefCell<Fragment>>,
    pub router: Router,
    pub worker: usize,
    pub end: Rc<RefCell<JobEnd>>,
    /// Whether what time it is matters to the job: then every tick that reaches it ends here, also without input.
    pub timed: bool,
}

/// A tick that has begun and not ended.
#[derive(Default)]
struct Open {
    /// The right to send at this tick; the last node of a job sends nothing.
    capability: Option<Capability<u64>>,
    arrived: Vec<(usize, Parcel)>,
}

impl Node {
    /// Makes a timely operator of the node. `feeds`: a stream for each input of the fragment, with whether it is
    /// exchanged. `last`: the node ends the job, and there is no output.
    pub fn install<'scope>(
        self,
        name: &str,
        scope: Scope<'scope, u64>,
        feeds: Vec<(Parcels<'scope>, bool)>,
        last: bool,
    ) -> Option<Parcels<'scope>> {
        let mut builder = OperatorBuilder::new(name.to_owned(), scope);
        let receivers = feeds.into_iter().map(|(stream, exchanged)| match exchanged {
            true => receiver(builder.new_input(stream, DistributorPact(|_| Delivery))),
            false => receiver(builder.new_input(stream, Pipeline)),
        });
        let receivers = receivers.collect();
        let (sender, stream) = match last {
            true => (None, None),
            false => {
                let (output, stream) = builder.new_output();
                (Some(OutputBuilder::from(output)), Some(stream))
            }
        };
        builder.build(move |mut capabilities| {
            let first = capabilities.pop();
            let mut running =
                Running { node: self, receivers, sender, first, open: BTreeMap::new(), started: false, ended: 0 };
            move |frontiers| running.schedule(frontiers)
        });
        stream
    }
}

fn receiver<P: Pull<Message<u64, Parcel>> + 'static>(mut input: InputHandleCore<u64, Parcel, P>) -> Receiver {
    Box::new(move |take| input.for_each(|capability, parcel| take(capability, std::mem::take(parcel))))
}

struct Running {
    node: Node,
    receivers: Vec<Receiver>,
    sender: Option<Sender>,
    /// The right to send at the job's first tick, where every operator is called also without input; where time matters,
    /// at every tick to come.
    first: Option<Capability<u64>>,
    started: bool,
    /// The last tick that has ended.
    ended: u64,
    open: BTreeMap<u64, Open>,
}

impl Running {
    /// Does what can be done now.
    fn schedule(&mut self, frontiers: &[MutableAntichain<u64>]) {
        let frontier = frontiers.iter().filter_map(|f| f.frontier().first().copied()).min().unwrap_or(u64::MAX);
        self.open_first();
        self.open_current();
        self.receive();
        while let Some(tick) = self.open.first_key_value().map(|(tick, _)| *tick).filter(|tick| *tick <= frontier) {
            let ends = tick < frontier;
            let mut open = self.open.remove(&tick).unwrap_or_default();
            self.advance(tick, &mut open, ends);
            if !ends {
                self.open.insert(tick, open);
                break;
            }
            self.ended = tick;
        }
        if let Some(standing) =
            self.first.as_mut().filter(|standing| frontier != u64::MAX && *standing.time() < frontier)
            && self.started
        {
            standing.downgrade(&frontier);
        }
        if self.sender.is_none() {
            self.node.end.borrow_mut().set_frontier(frontier);
        }
        if frontier == u64::MAX {
            self.first = None;
        }
    }

    /// Opens the job's first tick on the capability that every operator starts with.
    fn open_first(&mut self) {
        let first = self.node.end.borrow().first_tick().filter(|_| !self.started);
        if let Some(tick) = first {
            self.started = true;
            let capability = self.first.as_ref().map(|capability| capability.delayed(&tick.0));
            if !self.node.timed {
                self.first = None;
            }
            self.open.insert(tick.0, Open { capability, arrived: vec![] });
        }
    }

    /// Opens the tick that has reached the job, whether or not input comes here.
    fn open_current(&mut self) {
        let tick = self.node.end.borrow().tick().0;
        if !self.node.timed || !self.started || tick <= self.ended {
            return;
        }
        let standing = &self.first;
        self.open.entry(tick).or_insert_with(|| {
            let capability = standing.as_ref().map(|capability| capability.delayed(&tick));
            Open { capability, arrived: vec![] }
        });
    }

    fn receive(&mut self) {
        let (open, sends) = (&mut self.open, self.sender.is_some());
        for (input, receiver) in self.receivers.iter_mut().enumerate() {
            receiver(&mut |capability, parcel| {
                let entry = open
                    .entry(*capability.time())
                    .or_insert_with(|| Open { capability: sends.then(|| capability.retain(0)), arrived: vec![] });
                entry.arrived.push((input, parcel));
            });
        }
    }

    /// Folds in what arrived and, if the tick ends, ends it. After a failure of the job nothing is computed any more:
    /// what arrives is dropped, so that the tick still comes to its end on every worker.
    fn advance(&mut self, tick: u64, open: &mut Open, ends: bool) {
        if self.node.end.borrow().has_failed() {
            open.arrived.clear();
            return;
        }
        if let Err(error) = self.compute(tick, open, ends) {
            self.node.end.borrow_mut().fail(error);
        }
    }

    fn compute(&mut self, tick: u64, open: &mut Open, ends: bool) -> Result<()> {
        for (input, parcel) in std::mem::take(&mut open.arrived) {
            if let Some(delta) = parcel.open()? {
                let mut out = Output::default();
                self.node.fragment.borrow_mut().on_batch(input, delta, &mut out)?;
                self.emit(out, open)?;
            }
        }
        if ends {
            let mut out = Output::default();
            let moment = self.node.end.borrow().moment();
            self.node.fragment.borrow_mut().on_tick(Tick(tick), &moment, &mut out)?;
            self.emit(out, open)?;
        }
        Ok(())
    }

    /// Sends deltas on, to the next fragment or the job's end; row errors go to the end at once, beside the deltas.
    fn emit(&mut self, mut out: Output, open: &Open) -> Result<()> {
        if out.is_empty() {
            return Ok(());
        }
        self.node.end.borrow_mut().report(out.take_errors());
        self.node.end.borrow_mut().reject(out.take_rejected());
        let (Some(sender), Some(capability)) = (&mut self.sender, &open.capability) else {
            return out.take_deltas().into_iter().try_for_each(|delta| self.node.end.borrow_mut().deliver(delta));
        };
        let mut session = sender.activate();
        let mut session = session.session_with_builder(capability);
        for delta in out.take_deltas() {
            let router = &mut self.node.router;
            router.split(self.node.worker, delta, |to, part| session.give_container(&mut Parcel::new(to, part)))?;
        }
        Ok(())
    }
}
