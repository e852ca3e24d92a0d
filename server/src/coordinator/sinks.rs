//! Sinks on the way out: each has a thread of its own, so that one that is slow to take a tick delays others only once
//! its bounded queue is full.

use millrace_connectors::Sink;
use millrace_types::{Delta, RelationId, SqlError, Tick};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

/// Ticks that wait for a sink.
const QUEUED_TICKS: usize = 16;

/// The running sinks, and which jobs feed which.
#[derive(Default)]
pub struct Sinks {
    running: HashMap<RelationId, RunningSink>,
    /// Job to sink; a `CREATE SINK` is its own job.
    routes: HashMap<RelationId, RelationId>,
}

/// What became of a sink, for system relations.
#[derive(Clone, Debug, Default)]
pub struct SinkStatus {
    pub rows: u64,
    pub tick: Tick,
    pub error: Option<SqlError>,
}

struct RunningSink {
    queue: SyncSender<(Tick, Vec<Delta>)>,
    status: Arc<Mutex<SinkStatus>>,
    thread: JoinHandle<()>,
}

impl Sinks {
    /// Starts a sink; `status` is told what it does.
    pub fn start(
        &mut self,
        id: RelationId,
        sink: Box<dyn Sink>,
        status: Arc<Mutex<SinkStatus>>,
    ) -> std::io::Result<()> {
        let (queue, ticks) = sync_channel(QUEUED_TICKS);
        let told = status.clone();
        let thread = thread::Builder::new().name(format!("sink-{id}")).spawn(move || run(sink, &ticks, &told))?;
        self.running.insert(id, RunningSink { queue, status, thread });
        Ok(())
    }

    /// Lets a job feed a sink.
    pub fn route(&mut self, job: RelationId, sink: RelationId) {
        self.routes.insert(job, sink);
    }

    /// Hands a tick's output of a job to its sink, if it has one.
    pub fn deliver(&mut self, job: RelationId, tick: Tick, deltas: &[Delta]) {
        if let Some(sink) = self.routes.get(&job).filter(|_| deltas.iter().any(|delta| !delta.is_empty())) {
            self.feed(*sink, tick, deltas);
        }
    }

    /// Hands rows to a sink.
    pub fn feed(&self, sink: RelationId, tick: Tick, deltas: &[Delta]) {
        if let Some(sink) = self.running.get(&sink) {
            // A thread that is gone has left its error in the status.
            let _ = sink.queue.send((tick, deltas.to_vec()));
        }
    }

    /// The job that feeds a sink failed.
    pub fn fail(&mut self, job: RelationId, error: &SqlError) {
        if let Some(sink) = self.routes.get(&job).and_then(|sink| self.running.get(sink)) {
            sink.status.lock().error = Some(error.clone());
        }
    }

    /// Ends a sink, or the job that feeds one, after what is queued.
    pub fn drop(&mut self, id: RelationId) {
        self.routes.retain(|job, sink| *job != id && *sink != id);
        self.running.remove(&id);
    }

    /// Ends all sinks and waits until what was queued is written.
    pub fn close(self) {
        for (_, sink) in self.running {
            drop(sink.queue);
            // A panicking sink has been reported by the panic hook.
            let _ = sink.thread.join();
        }
    }
}

fn run(mut sink: Box<dyn Sink>, ticks: &Receiver<(Tick, Vec<Delta>)>, status: &Mutex<SinkStatus>) {
    for (tick, deltas) in ticks {
        let rows: usize = deltas.iter().map(Delta::len).sum();
        if let Err(error) = sink.write(tick, &deltas).and_then(|()| sink.flush()) {
            tracing::error!(error = %error, "sink stopped");
            status.lock().error = Some(error);
            return;
        }
        let mut status = status.lock();
        status.rows += rows as u64;
        status.tick = tick;
    }
}
