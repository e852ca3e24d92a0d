//! The clock: one thread that opens, bounds and publishes ticks.
//!
//! ```text
//!   commits --+
//!   chunks ---+--> one tick --> engine ----+
//!             |        |                   +--> publish --> answer the commits, feed sinks and subscribers
//!             |        +-----> journal ----+
//!             +--> definitions: between two ticks
//! ```
//!
//! While one tick runs, the next one's input queues; so ticks are small when little happens and large under load. The
//! journal writes (and syncs, if a commit wants it) while the engine computes; nothing is published before both are
//! through.

use super::arrivals::Arrivals;
use super::checkpoint::{Checkpointing, Outcome};
use super::define::{Built, Definition};
use super::event_time::{RelationTime, Timed};
use super::filling::Filling;
use super::ingest::Reading;
use super::journal::Journal;
use super::late_rows::LateStore;
use super::memory::Memory;
use super::published::Published;
use super::reads::Reads;
use super::remembered::Remembered;
use super::replace::Replacing;
use super::sinks::{SinkStatus, Sinks};
use super::source_status::SourceStatus;
use super::subscriptions::{Subscription, Subscriptions};
use super::timing::Settling;
use super::wall_clock::WallClock;
use super::writes::{Accepted, Writes};
use arc_swap::ArcSwap;
use millrace_connectors::Source;
use millrace_dataflow::engine::{Engine, OperatorInfo, RelationInput, TickInput, TickResult};
use millrace_dataflow::state::net;
use millrace_storage::ArrivalNote;
use millrace_types::{Delta, EventTime, RelationId, Result, SqlError, SqlState, Tick};
use parking_lot::Mutex;
use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::time::Duration;
use tokio::sync::oneshot;

/// Source rows in one tick.
const TICK_ROWS: usize = 256 * 1024;
/// Transactions in one tick.
const TICK_COMMITS: usize = 4096;
/// How long the clock sleeps at most, so that what has no waker is looked at.
pub(super) const IDLE: Duration = Duration::from_millis(500);

/// What sessions ask of the clock.
pub enum Request {
    /// Make the changes of a transaction visible; `durable`: answer only when they survive a crash.
    Commit(Committing),
    /// Change definitions.
    Define { definition: Box<Definition>, reply: oneshot::Sender<Result<Built>> },
    /// Deliver the changes of a relation from now on.
    Subscribe { relation: RelationId, reply: oneshot::Sender<Result<Subscription>> },
    /// Hand rows to a sink once.
    Feed { sink: RelationId, delta: Delta, reply: oneshot::Sender<Result<()>> },
    /// Write a checkpoint of everything before this.
    Checkpoint { reply: oneshot::Sender<Result<Tick>> },
    /// A checkpoint is written, or has failed.
    Checkpointed(Outcome),
    /// Say what time it is.
    SetTime { change: TimeChange, reply: oneshot::Sender<Result<()>> },
    /// How much state each operator keeps.
    Operators { reply: oneshot::Sender<Vec<OperatorInfo>> },
    /// Answer when all is read that lies ready in sources now.
    Settle { reply: oneshot::Sender<()> },
    /// Readers have something.
    Wake,
    /// End the thread after the requests before this one.
    Shutdown,
}

/// What statements of a server in test mode say of the time.
#[derive(Clone, Copy, Debug)]
pub enum TimeChange {
    /// The wall clock goes on to a moment.
    Clock(EventTime),
    /// The wall clock goes on by so many microseconds.
    ClockBy(i64),
    /// The watermark of a source or table is at least this.
    Watermark(RelationId, EventTime),
}

/// Wakes the clock for what readers have queued; many wakes before it looks count as one.
#[derive(Clone)]
pub struct Waker {
    requests: Sender<Request>,
    woken: Arc<AtomicBool>,
}

impl Waker {
    pub fn new(requests: Sender<Request>) -> Waker {
        Waker { requests, woken: Arc::new(AtomicBool::new(false)) }
    }

    /// Makes the clock look at its readings.
    pub fn wake(&self) {
        if !self.woken.swap(true, Ordering::AcqRel) {
            // The clock is gone only when the server shuts down.
            let _ = self.requests.send(Request::Wake);
        }
    }

    fn rest(&self) {
        self.woken.store(false, Ordering::Release);
    }
}

/// A source that is defined, and what is known of it.
pub struct DefinedSource {
    pub source: Arc<dyn Source>,
    pub status: Arc<SourceStatus>,
    /// Its watermark, if it has one.
    pub timed: Option<Arc<Timed>>,
    /// Its rows that came too late.
    pub late: Arc<LateStore>,
    /// What the wall clock decides about its rows, if it does.
    pub arrivals: Option<Arc<Arrivals>>,
    /// Whether it feeds the table of its id.
    pub feeds: bool,
}

/// The sources' facts that sessions read for system relations and ad-hoc queries.
pub type SourceFacts = Arc<Mutex<HashMap<RelationId, Arc<DefinedSource>>>>;

/// The sinks' progress that sessions read for system relations.
pub type SinkFacts = Arc<Mutex<HashMap<RelationId, Arc<Mutex<SinkStatus>>>>>;

/// A statement that waits until the history of its sources has been read.
pub(super) struct Waiting {
    pub relation: RelationId,
    pub reply: oneshot::Sender<Result<Built>>,
}

/// The state of the coordinator; only its own thread touches it.
pub struct Clock {
    pub(super) engine: Engine,
    pub(super) journal: Journal,
    pub(super) state: Published,
    pub(super) published: Arc<ArcSwap<Published>>,
    pub(super) sources: SourceFacts,
    pub(super) sink_facts: SinkFacts,
    /// What each running job reads: relations with their columns.
    pub(super) jobs: HashMap<RelationId, Vec<(RelationId, Vec<usize>)>>,
    pub(super) readings: Vec<Reading>,
    pub(super) sinks: Sinks,
    pub(super) subscriptions: Subscriptions,
    pub(super) waiting: Vec<Waiting>,
    pub(super) settling: Vec<Settling>,
    pub(super) replacing: Vec<Replacing>,
    /// Whether a definition is half changed, so that nothing is shown until it is whole.
    pub(super) changing: bool,
    pub(super) waker: Waker,
    pub(super) checkpoints: Checkpointing,
    /// How far sources had been read when the server ended, of those that are not there again yet or have moved on.
    pub(super) remembered: Remembered,
    pub(super) fillings: Vec<Filling>,
    pub(super) wall: Arc<WallClock>,
    /// What time it was in the last tick: it does not go back.
    pub(super) last_now: Cell<EventTime>,
    /// The definitions of watermarks.
    pub(super) timed: HashMap<RelationId, Arc<Timed>>,
    /// How far the times of tables have come; those of sources are known to their readings.
    pub(super) table_times: HashMap<RelationId, RelationTime>,
    /// What the wall clock decides about the rows of sources and tables.
    pub(super) arrivals: HashMap<RelationId, Arc<Arrivals>>,
    /// What was written down of that, of relations that are not there again yet.
    pub(super) recovered_arrivals: HashMap<RelationId, Vec<ArrivalNote>>,
    pub(super) memory: Memory,
    /// Whether there is anybody who would have to wait for a long tick: not while the server recovers.
    pub(super) serving: bool,
    /// Position from which the readings are asked, so that a busy one does not starve the others.
    turn: usize,
}

/// What the clock's thread changes and others look at.
pub struct Shown {
    pub published: Arc<ArcSwap<Published>>,
    pub sources: SourceFacts,
    pub sink_facts: SinkFacts,
}

/// A transaction that is to be committed.
pub struct Committing {
    pub writes: Writes,
    /// What must still be as it was read.
    pub reads: Option<Arc<Reads>>,
    pub durable: bool,
    pub reply: oneshot::Sender<Result<Tick>>,
}

/// A commit that was accepted into the open tick.
struct Accepting {
    durable: bool,
    reply: oneshot::Sender<Result<Tick>>,
}

impl Clock {
    #[expect(clippy::too_many_arguments, reason = "each is a part of the server by itself")]
    pub fn new(
        engine: Engine,
        journal: Journal,
        state: Published,
        Shown { published, sources, sink_facts }: Shown,
        waker: Waker,
        checkpoints: Checkpointing,
        wall: Arc<WallClock>,
        memory: Memory,
    ) -> Clock {
        Clock {
            engine,
            journal,
            state,
            published,
            sources,
            sink_facts,
            jobs: HashMap::new(),
            readings: vec![],
            sinks: Sinks::default(),
            subscriptions: Subscriptions::default(),
            waiting: vec![],
            settling: vec![],
            replacing: vec![],
            changing: false,
            waker,
            checkpoints,
            remembered: Remembered::default(),
            fillings: vec![],
            last_now: Cell::new(wall.now()),
            wall,
            timed: HashMap::new(),
            table_times: HashMap::new(),
            arrivals: HashMap::new(),
            recovered_arrivals: HashMap::new(),
            memory,
            serving: false,
            turn: 0,
        }
    }

    /// Runs until it is told to shut down.
    pub fn run(mut self, requests: Receiver<Request>) {
        self.serving = true;
        loop {
            let first = requests.recv_timeout(self.patience()).ok();
            let (mut commits, mut next) = (vec![], first);
            let mut definition = None;
            while let Some(request) = next.take() {
                match request {
                    Request::Commit(commit) => commits.push(commit),
                    Request::Wake => {}
                    Request::Shutdown => {
                        self.tick(commits);
                        self.end_checkpoints(&requests);
                        return self.stop();
                    }
                    other => {
                        definition = Some(other);
                        break;
                    }
                }
                if commits.len() < TICK_COMMITS {
                    next = requests.try_recv().ok();
                }
            }
            self.tick(commits);
            if let Some(request) = definition {
                self.answer(request);
            }
            self.finish_settling();
            self.bound_memory();
            self.checkpoint_if_due();
        }
    }

    fn stop(self) {
        drop(self.readings);
        self.sinks.close();
        self.engine.shutdown();
        self.journal.close();
    }

    fn answer(&mut self, request: Request) {
        match request {
            Request::Define { definition, reply } => self.define(*definition, reply),
            Request::Subscribe { relation, reply } => {
                let _ = reply.send(self.subscribe(relation));
            }
            Request::Feed { sink, delta, reply } => {
                self.sinks.feed(sink, self.state.tick, &[delta]);
                let _ = reply.send(Ok(()));
            }
            Request::Checkpoint { reply } => self.checkpoint_now(reply),
            Request::Checkpointed(outcome) => self.finish_checkpoint(outcome),
            Request::SetTime { change, reply } => {
                let _ = reply.send(self.set_time(change));
            }
            Request::Settle { reply } => self.settle(reply),
            Request::Operators { reply } => {
                let _ = reply.send(self.engine.operators());
            }
            Request::Commit(_) | Request::Wake | Request::Shutdown => {}
        }
    }

    /// Runs one tick over the commits and what the readings have, if there is anything.
    pub(super) fn tick(&mut self, commits: Vec<Committing>) {
        let (mut writes, accepted) = self.accept(commits);
        self.waker.rest();
        let (mut inputs, more) = self.take_readings();
        if self.take_feeds(TICK_ROWS, &mut writes) || more {
            self.waker.wake();
        }
        inputs.extend(self.take_fillings());
        self.observe_tables(&writes);
        let watermarks = self.advance_times();
        let durable = accepted.iter().any(|commit| commit.durable);
        inputs.extend(writes.iter().map(|(table, deltas)| self.table_input(table, deltas.to_vec())));
        if !inputs.is_empty() || !watermarks.is_empty() || self.engine.is_due(self.now()) {
            let outcome = self.run_tick(writes, inputs, watermarks, durable);
            for commit in accepted {
                let _ = commit.reply.send(outcome.clone());
            }
        }
        self.finish_waiting();
        self.finish_recovering();
    }

    fn accept(&mut self, commits: Vec<Committing>) -> (Writes, Vec<Accepting>) {
        let (mut all, mut accepted, mut state) = (Writes::default(), vec![], Accepted::default());
        for Committing { writes, reads, durable, reply } in commits {
            let current = reads.map_or(Ok(()), |reads| reads.check(&self.state, &state));
            match current.and_then(|()| state.accept(&writes, &self.state)) {
                Ok(()) if writes.is_empty() => {
                    let _ = reply.send(Ok(self.state.tick));
                }
                Ok(()) => {
                    all.append(writes);
                    accepted.push(Accepting { durable, reply });
                }
                Err(error) => {
                    let _ = reply.send(Err(error));
                }
            }
        }
        all.gather();
        (all, accepted)
    }

    fn take_readings(&mut self) -> (Vec<RelationInput>, bool) {
        let (mut inputs, mut left, mut more) = (vec![], TICK_ROWS, false);
        let now = self.now();
        let count = self.readings.len();
        for step in 0..count {
            let reading = &mut self.readings[(self.turn + step) % count];
            if reading.feeds {
                continue;
            }
            let (deltas, unread) = reading.take(left, now);
            more |= unread;
            left = left.saturating_sub(deltas.iter().map(Delta::len).sum());
            if !deltas.is_empty() {
                let (relation, columns, only) = (reading.relation, reading.columns.clone(), reading.only);
                inputs.push(RelationInput { relation, columns, deltas, only });
            }
        }
        self.turn = self.turn.wrapping_add(1);
        (inputs, more)
    }

    /// The changes of a table as input of the engine, with all columns.
    pub(super) fn table_input(&self, table: RelationId, deltas: Vec<Delta>) -> RelationInput {
        let width = self.state.catalog.get(table).map_or(0, |relation| relation.columns.len());
        RelationInput { relation: table, columns: (0..width).collect(), deltas, only: None }
    }

    /// One tick through engine and journal, then published. A journal that cannot take the transactions undoes them in
    /// the engine before anybody has seen them.
    pub(super) fn run_tick(
        &mut self,
        writes: Writes,
        inputs: Vec<RelationInput>,
        watermarks: Vec<(RelationId, EventTime)>,
        durable: bool,
    ) -> Result<Tick> {
        let tick = self.state.tick.next();
        let offsets = self.new_offsets(&inputs);
        let (with, alone) = if writes.is_empty() { (vec![], offsets) } else { (offsets, vec![]) };
        let written = self.journal.write(tick, self.as_stored(&writes), with, durable);
        let noted = self.journal.offsets(tick, alone);
        let arrived = self.journal.arrivals(tick, self.new_arrivals());
        let mut result = self.engine.tick(TickInput { tick, inputs, now: self.now(), watermarks })?;
        if let Err(error) = written.wait() {
            let undo = writes
                .iter()
                .map(|(table, deltas)| self.table_input(table, deltas.iter().map(Delta::negated).collect()));
            let undo = TickInput { tick: tick.next(), inputs: undo.collect(), now: self.now(), watermarks: vec![] };
            let undone = self.engine.tick(undo)?;
            result = merged(result, undone)?;
            self.publish(result);
            self.read_feeds_again();
            return Err(error);
        }
        if let Err(error) = noted.wait().and(arrived.wait()) {
            tracing::warn!(%error, "how far sources are read is not written down");
        }
        self.publish(result);
        Ok(tick)
    }

    /// Changes by the ids under which the command log knows the tables.
    fn as_stored(&self, writes: &Writes) -> Writes {
        let storage = |id: RelationId| self.state.catalog.get(id).map_or(id, |relation| relation.storage());
        writes.clone().renamed(storage)
    }

    /// Makes the outcome of a tick visible to everyone at once.
    pub(super) fn publish(&mut self, result: TickResult) {
        self.state.tick = result.tick;
        self.keep_rejected(result.rejected);
        result.models.into_iter().for_each(|(id, model)| self.state.models.put(id, model, result.tick));
        self.note_failed(result.failed);
        self.show();
        for (relation, deltas) in result.outputs {
            self.sinks.deliver(relation, result.tick, &deltas);
            let kept = self.keep_for_fillings(relation, &deltas);
            if !self.subscriptions.deliver(relation, result.tick, &deltas) && !kept {
                self.engine.unsubscribe(relation);
            }
        }
    }

    /// Remembers why jobs have ended.
    pub(super) fn note_failed(&mut self, failed: Vec<(RelationId, SqlError)>) {
        for (job, error) in failed {
            tracing::error!(%job, error = %error, "job failed");
            self.sinks.fail(job, &error);
            self.fillings.retain(|filling| filling.job != job);
            self.state.failed.insert(job, error);
        }
    }

    /// Publishes the state as it stands.
    pub(super) fn show(&self) {
        if self.changing {
            return;
        }
        self.published.store(Arc::new(self.state.clone()));
    }

    /// Answers the statements whose views have read their history, and ends the readings that are through.
    fn finish_waiting(&mut self) {
        let through: Vec<_> =
            self.readings.iter().filter(|r| r.is_caught_up()).filter_map(|reading| reading.only).collect();
        if !through.is_empty() {
            self.readings.retain(|reading| !(reading.only.is_some() && reading.is_caught_up()));
        }
        let still_reading: Vec<_> = self.readings.iter().filter_map(|reading| reading.only).collect();
        let mut built = through;
        built.retain(|job| !still_reading.contains(job) && self.state.building.remove(job));
        if !built.is_empty() {
            self.follow(&built);
        }
        if !self.replacing.is_empty() {
            self.finish_replacing();
        }
        if self.waiting.is_empty() {
            return;
        }
        let (done, waiting) = std::mem::take(&mut self.waiting).into_iter().partition(|w| self.is_built(w.relation));
        self.waiting = waiting;
        let done: Vec<Waiting> = done;
        for statement in done {
            let _ = statement.reply.send(Ok(Built { tick: self.state.tick, relation: statement.relation }));
        }
    }

    /// Whether a relation, and all that it is made from, has read the history of its sources.
    pub(super) fn is_built(&self, id: RelationId) -> bool {
        if self.state.failed.contains_key(&id) {
            return true;
        }
        if self.state.building.contains(&id) {
            return false;
        }
        let reading = self.readings.iter().filter(|r| r.relation == id && r.only.is_none() && !r.feeds);
        let mut upstream = self.jobs.get(&id).into_iter().flatten().map(|(relation, _)| *relation);
        reading.into_iter().all(Reading::is_caught_up) && upstream.all(|up| up == id || self.is_built(up))
    }

    fn subscribe(&mut self, relation: RelationId) -> Result<Subscription> {
        let model = self.state.model(relation)?.clone();
        self.engine.subscribe(relation)?;
        Ok(self.subscriptions.add(relation, model, self.state.tick))
    }
}

/// Two ticks published as one: the later versions, and what both have changed in all.
fn merged(mut first: TickResult, second: TickResult) -> Result<TickResult> {
    first.tick = second.tick;
    first.models.extend(second.models);
    for (relation, deltas) in second.outputs {
        match first.outputs.iter_mut().find(|(known, _)| *known == relation) {
            Some((_, known)) => known.extend(deltas),
            None => first.outputs.push((relation, deltas)),
        }
    }
    for (_, deltas) in &mut first.outputs {
        *deltas = net(std::mem::take(deltas))?;
    }
    first.outputs.retain(|(_, deltas)| !deltas.is_empty());
    first.rejected.extend(second.rejected);
    first.failed.extend(second.failed);
    Ok(first)
}

/// The error of requests that come while the server ends.
pub fn shutting_down() -> SqlError {
    SqlError::new(SqlState::ADMIN_SHUTDOWN, "the database system is shutting down")
}
