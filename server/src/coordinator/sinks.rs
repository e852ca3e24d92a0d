//! Sinks on the way out: each has a thread of its own and a queue that the clock never waits for, so that one that is
//! slow, or whose peer is away, delays nobody else. What memory has no room for waits on disk.

use super::sink_backlog::relieve;
use super::sink_progress::{Handed, Progress, Standing, Waiting};
use millrace_connectors::{Sink, SinkState};
use millrace_dataflow::state::net;
use millrace_types::{Delta, RelationId, Result, SqlError, SqlState, Tick};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Bytes of rows that may wait for a sink in memory, which is where they are when the disk does not take them, and on
/// disk; beyond, the sink is stopped, for neither is endless.
const MOST_BYTES: (usize, usize) = (1 << 30, 16 << 30);
/// How long the end of the server waits for a sink.
const LAST_WAIT: Duration = Duration::from_secs(5);

/// The running sinks, and which jobs feed which.
#[derive(Default)]
pub struct Sinks {
    running: HashMap<RelationId, RunningSink>,
    /// Job to sink; a `CREATE SINK` is its own job.
    routes: HashMap<RelationId, RelationId>,
    /// Whether sources have been read as far as they were before the server ended.
    recovered: bool,
}

/// What became of a sink, for system relations.
#[derive(Clone, Debug, Default)]
pub struct SinkStatus {
    pub rows: u64,
    pub tick: Tick,
    pub error: Option<SqlError>,
    state: Arc<SinkState>,
    waiting: Arc<Waiting>,
}

impl SinkStatus {
    /// `running`, `retrying` while its peer is away, `failed` for good.
    pub fn state(&self) -> &'static str {
        match (&self.error, self.state.trouble()) {
            (Some(_), _) => "failed",
            (None, Some(_)) => "retrying",
            (None, None) => "running",
        }
    }

    /// What ended it, or what stands in the way.
    pub fn trouble(&self) -> Option<SqlError> {
        self.error.clone().or_else(|| self.state.trouble())
    }

    /// Bytes of rows that wait for it in memory, and on disk.
    pub fn queued_bytes(&self) -> (usize, usize) {
        (self.waiting.in_memory.load(Ordering::Relaxed), self.waiting.on_disk.load(Ordering::Relaxed))
    }
}

/// What a sink's thread is told.
enum Item {
    /// There is one more thing that it was handed.
    Handed,
    /// The rows are as far again as they were before the server ended.
    Recovered,
}

struct RunningSink {
    queue: Sender<Item>,
    status: Arc<Mutex<SinkStatus>>,
    state: Arc<SinkState>,
    progress: Arc<Mutex<Progress>>,
    /// Whether a thread is moving what waits for it to disk.
    relieved: Arc<AtomicBool>,
    /// Whether it can go on at a position also when rows are taken back.
    undoes: bool,
    thread: JoinHandle<()>,
}

impl Sinks {
    /// Starts a sink where it stands, or, as of a tick, with nothing delivered; `status` is told what it does.
    ///
    /// # Errors
    /// When it cannot go on there.
    pub fn start(
        &mut self,
        id: RelationId,
        mut sink: Box<dyn Sink>,
        status: Arc<Mutex<SinkStatus>>,
        from: std::result::Result<Standing, Tick>,
    ) -> Result<()> {
        let (queue, items) = channel();
        let SinkStatus { state, waiting, .. } = status.lock().clone();
        sink.share(state.clone());
        sink.begin(from.as_ref().ok().map(|standing| standing.position.as_str()))?;
        let tick = from.as_ref().map_or_else(|tick| *tick, |standing| standing.tick);
        let progress = Arc::new(Mutex::new(Progress::new(tick, sink.position(), waiting)));
        let undoes = sink.undoes();
        let worker = Worker { sink, status: status.clone(), progress: progress.clone() };
        let thread = thread::Builder::new().name(format!("sink-{id}")).spawn(move || worker.run(&items))?;
        let relieved = Arc::default();
        self.running.insert(id, RunningSink { queue, status, state, progress, relieved, undoes, thread });
        for (tick, deltas) in from.map_or_else(|_| vec![], |standing| standing.rest) {
            self.feed(id, tick, &deltas);
        }
        if self.recovered
            && let Some(running) = self.running.get(&id)
        {
            // A thread that is gone has left its error in the status.
            let _ = running.queue.send(Item::Recovered);
        }
        Ok(())
    }

    /// Lets a job feed a sink; `append_only`: it never takes rows back.
    pub fn route(&mut self, job: RelationId, sink: RelationId, append_only: bool) {
        self.routes.insert(job, sink);
        if let Some(running) = self.running.get(&sink).filter(|running| !append_only && !running.undoes) {
            running.progress.lock().lose();
        }
    }

    /// Hands a tick's output of a job to its sink, if it has one.
    pub fn deliver(&mut self, job: RelationId, tick: Tick, deltas: &[Delta]) {
        if let Some(sink) = self.routes.get(&job).filter(|_| deltas.iter().any(|delta| !delta.is_empty())) {
            self.feed(*sink, tick, deltas);
        }
    }

    /// Hands rows to a sink.
    pub fn feed(&self, sink: RelationId, tick: Tick, deltas: &[Delta]) {
        // A thread that is gone has left its error in the status.
        let Some(sink) = self.running.get(&sink).filter(|sink| !sink.thread.is_finished()) else { return };
        let (in_memory, on_disk) = sink.status.lock().queued_bytes();
        if in_memory > MOST_BYTES.0 || on_disk > MOST_BYTES.1 {
            let message = "the sink has fallen too far behind";
            let error = SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message);
            sink.status.lock().error.get_or_insert(error);
            sink.progress.lock().lose();
            sink.state.stop();
            return;
        }
        sink.progress.lock().hand(Handed::new(tick, deltas.to_vec()));
        let _ = sink.queue.send(Item::Handed);
        relieve(&sink.progress, &sink.relieved);
    }

    /// All rows are as far again as they were before the server ended.
    pub fn recovered(&mut self) {
        if !std::mem::replace(&mut self.recovered, true) {
            for sink in self.running.values() {
                // A thread that is gone has left its error in the status.
                let _ = sink.queue.send(Item::Recovered);
            }
        }
    }

    /// Where the sinks stand that can go on from there, and the jobs that feed each.
    pub fn standing(&self) -> Vec<(RelationId, Standing, Vec<RelationId>)> {
        let of = |(id, sink): (&RelationId, &RunningSink)| {
            let jobs = self.routes.iter().filter(|(_, to)| *to == id).map(|(job, _)| *job).collect();
            Some((*id, sink.progress.lock().standing()?, jobs))
        };
        self.running.iter().filter_map(of).collect()
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
        if let Some(sink) = self.running.remove(&id)
            && sink.state.trouble().is_some()
        {
            sink.state.stop();
        }
    }

    /// Ends all sinks, and waits a while until what was queued is written.
    pub fn close(self) {
        let deadline = Instant::now() + LAST_WAIT;
        let ending: Vec<_> = self.running.into_values().map(|sink| (sink.thread, sink.state)).collect();
        for (thread, state) in &ending {
            while !thread.is_finished() && Instant::now() < deadline && state.trouble().is_none() {
                thread::sleep(Duration::from_millis(5));
            }
            state.stop();
        }
        for (thread, _) in ending {
            // A panicking sink has been reported by the panic hook.
            let _ = thread.join();
        }
    }
}

/// The thread's side.
struct Worker {
    sink: Box<dyn Sink>,
    status: Arc<Mutex<SinkStatus>>,
    progress: Arc<Mutex<Progress>>,
}

impl Worker {
    fn run(mut self, items: &Receiver<Item>) {
        if let Err(error) = self.deliver(items) {
            if error.state() != SqlState::ADMIN_SHUTDOWN {
                tracing::error!(error = %error, "sink stopped");
            }
            self.status.lock().error.get_or_insert(error);
            self.progress.lock().lose();
        }
    }

    fn deliver(&mut self, items: &Receiver<Item>) -> Result<()> {
        // Since when something is written and not flushed, and what.
        let (mut unflushed, mut written): (Option<Instant>, _) = (None, (0, Tick::default()));
        loop {
            let item = match unflushed {
                None => items.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(since) => items.recv_timeout(self.sink.linger().saturating_sub(since.elapsed())),
            };
            match item {
                Ok(Item::Handed) => {
                    if let Some((tick, rows)) = self.write_next()? {
                        written = (written.0 + rows as u64, tick);
                    }
                    unflushed.get_or_insert_with(Instant::now);
                }
                Ok(Item::Recovered) => {
                    self.sink.recovered()?;
                    unflushed.get_or_insert_with(Instant::now);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.sink.flush(),
            }
            if unflushed.is_some_and(|since| since.elapsed() >= self.sink.linger()) {
                unflushed = None;
                self.sink.flush()?;
                self.progress.lock().stand(self.sink.position());
                let mut status = self.status.lock();
                status.rows += std::mem::take(&mut written.0);
                status.tick = status.tick.max(written.1);
            }
        }
    }

    /// Writes the next thing that was handed over; answers its tick and how many rows it has.
    fn write_next(&mut self) -> Result<Option<(Tick, usize)>> {
        // The lock is not held while the sink works.
        let next = self.progress.lock().next().cloned();
        let Some(Handed { tick, deltas, .. }) = next else { return Ok(None) };
        let deltas = if self.sink.wants_net() { net(deltas)? } else { deltas };
        self.sink.write(tick, &deltas)?;
        self.progress.lock().wrote();
        Ok(Some((tick, deltas.iter().map(Delta::len).sum())))
    }
}
