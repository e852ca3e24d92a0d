//! The substrate: the only module that knows timely.
//!
//! Timely schedules, tracks progress and moves parcels between workers. One dataflow is built per job, with one input
//! per leaf of the plan and one node per fragment; time is the tick. A dataflow that a tick does not reach is not
//! advanced, so it costs the tick nothing.

mod node;
mod parcel;

use crate::exchange::Router;
use crate::fragment::Fragment;
use crate::job_end::JobEnd;
use crate::render::{Feed, Graph, Port};
use millrace_types::{Delta, Result, SqlError, SqlState, Tick};
use node::{Node, Parcels};
use parcel::Parcel;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};
use timely::communication::WorkerGuards;
use timely::container::NoopBuilder;
use timely::dataflow::operators::Input;
use timely::dataflow::{InputHandle, Scope};
use timely::{CommunicationConfig, Config, WorkerConfig};

/// How long a dropped dataflow may take to come to its end before it is removed as it is.
const FAREWELL: Duration = Duration::from_secs(1);

/// The worker threads.
pub struct Threads(WorkerGuards<()>);

/// How parcels go from thread to thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channels {
    /// As they are: columns are shared, not copied.
    Shared,
    /// As the bytes that go between processes, to test them.
    #[cfg(test)]
    Bytes,
}

/// Starts `workers` threads that each call `run`, and end when it returns.
///
/// # Errors
/// `53200` when the system gives no more threads.
pub fn spawn(
    workers: usize,
    channels: Channels,
    run: impl Fn(&mut Substrate) + Send + Sync + 'static,
) -> Result<Threads> {
    let communication = match channels {
        _ if workers == 1 => CommunicationConfig::Thread,
        Channels::Shared => CommunicationConfig::Process(workers),
        #[cfg(test)]
        Channels::Bytes => CommunicationConfig::ProcessBinary(workers),
    };
    let config = Config { communication, worker: WorkerConfig::default() };
    let threads = timely::execute(config, move |worker| {
        run(&mut Substrate(worker));
        worker.installed_dataflows().into_iter().for_each(|dataflow| worker.drop_dataflow(dataflow));
    });
    threads.map(Threads).map_err(|detail| {
        SqlError::new(SqlState::OUT_OF_MEMORY, "could not start the worker threads").with_detail(detail)
    })
}

impl Threads {
    /// Waits until every thread has ended.
    pub fn join(self) {
        for ended in self.0.join() {
            if let Err(error) = ended {
                tracing::error!(error, "a worker thread panicked");
            }
        }
    }
}

/// Timely's part of one worker thread.
pub struct Substrate<'worker>(&'worker mut timely::worker::Worker);

/// A job as timely runs it on one worker.
pub struct Dataflow {
    index: usize,
    /// In the order of the graph's ports.
    pub inputs: Vec<Feeder>,
    /// The fragments on this worker, for their sizes and timers.
    pub fragments: Vec<Rc<RefCell<Fragment>>>,
}

/// An input of a dataflow.
pub struct Feeder {
    handle: InputHandle<u64, NoopBuilder<Parcel>>,
    router: Router,
    worker: usize,
}

impl Feeder {
    /// Opens a tick, which is later than all before.
    pub fn open(&mut self, tick: Tick) {
        self.handle.advance_to(tick.0);
    }

    /// Feeds changes of the open tick.
    pub fn send(&mut self, delta: Delta) -> Result<()> {
        let handle = &mut self.handle;
        self.router.split(self.worker, delta, |to, part| handle.send_batch(&mut Parcel::new(to, part)))
    }

    /// Says that nothing more of the tick comes.
    pub fn close(&mut self, tick: Tick) {
        self.handle.advance_to(tick.next().0);
    }
}

impl Substrate<'_> {
    /// The number of this worker, from 0.
    pub fn worker(&self) -> usize {
        self.0.index()
    }

    /// The number of workers.
    pub fn workers(&self) -> usize {
        self.0.peers()
    }

    /// Lets every dataflow that has something to do work on it. With nothing to do, waits up to `patience` for word
    /// from another worker.
    pub fn step(&mut self, patience: Duration) {
        self.0.step_or_park(Some(patience));
    }

    /// Builds a dataflow. All workers build the same ones in the same order.
    pub fn build(&mut self, name: &str, graph: Graph, end: &Rc<RefCell<JobEnd>>) -> Dataflow {
        let index = self.0.next_dataflow_index();
        self.0.dataflow_named(name, |scope| connect(scope, index, graph, end))
    }

    /// Ends a dataflow in which no tick is open: lets the word that its inputs are closed go round, and removes it.
    pub fn remove(&mut self, dataflow: Dataflow) {
        let index = dataflow.index;
        drop(dataflow);
        let begun = Instant::now();
        while self.0.installed_dataflows().contains(&index) && begun.elapsed() < FAREWELL {
            self.step(Duration::from_micros(100));
        }
        self.0.drop_dataflow(index);
    }
}

fn connect<'scope>(scope: Scope<'scope, u64>, index: usize, graph: Graph, end: &Rc<RefCell<JobEnd>>) -> Dataflow {
    let (worker, workers) = (scope.index(), scope.peers());
    let router = |keys: Option<Vec<usize>>| keys.map_or(Router::Local, |keys| Router::by_hash(keys, workers));
    let (mut inputs, mut ports) = (vec![], vec![]);
    for Port { exchanged_by, .. } in &graph.ports {
        let (handle, stream) = scope.new_input_with_builder();
        inputs.push(Feeder { handle, router: router(exchanged_by.clone()), worker });
        ports.push((stream, exchanged_by.is_some()));
    }
    let (last, timed) = (graph.stages.len().saturating_sub(1), graph.timed);
    let (mut fragments, mut outputs): (Vec<_>, Vec<Option<(Parcels<'scope>, bool)>>) = (vec![], vec![]);
    for (at, stage) in graph.stages.into_iter().enumerate() {
        let feeds = stage.feeds.iter().map(|feed| match feed {
            Feed::Port(port) => ports[*port].clone(),
            Feed::Stage(stage) => outputs[*stage].clone().expect("a stage stands after those that feed it"),
        });
        let feeds = feeds.collect();
        let fragment = Rc::new(RefCell::new(stage.fragment));
        fragments.push(fragment.clone());
        let exchanged = stage.exchanged_by.is_some();
        let node = Node { fragment, router: router(stage.exchanged_by), worker, end: end.clone(), timed };
        let output = node.install(&stage.name, scope, feeds, at == last);
        outputs.push(output.map(|stream| (stream, exchanged)));
    }
    Dataflow { index, inputs, fragments }
}
