//! The coordinator: it alone changes anything. Sessions hand it transactions and definitions; it puts them into ticks,
//! runs these through the engine, makes them durable and publishes them.
//!
//! | file | what it knows |
//! |---|---|
//! | `clock` | opens, bounds and publishes ticks |
//! | `writes` | transactions, and whether they still fit when their turn comes |
//! | `reads` | whether what they read is still so, where that is asked for |
//! | `references` | foreign keys |
//! | `published`, `models` | what readers see after a tick |
//! | `define` | one definition at a time, between ticks |
//! | `reshape` | tables and indexes that change |
//! | `replace` | definitions and views that take the place of others |
//! | `filling` | new views over much that is there already |
//! | `ingest` | reader threads of sources |
//! | `event_time` | watermarks of sources and tables |
//! | `late_rows` | rows that came too late, as data |
//! | `timing` | when ticks are due |
//! | `wall_clock` | what time it is |
//! | `feed` | tables that a connector feeds |
//! | `sequences` | numbers handed out outside of transactions |
//! | `sinks`, `subscriptions` | who gets the changes of a tick |
//! | `sink_progress`, `sink_backlog` | how far sinks are, and what waits for them on disk |
//! | `memory` | views that need more of it than they may |
//! | `journal` | what is written before it is acknowledged |
//! | `checkpoint` | all of it at one tick, so that the journal can be cut |
//! | `copying` | checkpoints on their way to an object store |
//! | `view_state`, `view_files`, `restoring` | the state of views on its way into a checkpoint, there, and on its way back |
//! | `remembered` | how far sources had been read before the server ended |
//! | `recovery` | the way back after a crash |

mod arrivals;
mod checkpoint;
mod clock;
mod copying;
mod define;
mod event_time;
mod feed;
mod filling;
mod ingest;
mod journal;
mod late_rows;
mod memory;
mod models;
mod published;
mod reads;
mod recovery;
mod references;
mod remembered;
mod replace;
mod reshape;
mod restoring;
mod sequences;
mod sink_backlog;
mod sink_progress;
mod sinks;
mod source_status;
mod subscriptions;
mod timing;
mod view_files;
mod view_state;
mod wall_clock;
mod writes;

pub use arrivals::{Arrivals, Coming};
pub use checkpoint::{CheckpointFacts, CheckpointPolicy};
pub use clock::{DefinedSource, TimeChange};
pub use copying::StoreFacts;
pub use define::{Built, Definition, Parts, nullable, schema_of, schema_of_columns, temporary};
pub use event_time::{Held, RelationTime, SplitPhase, SplitTime, Timed};
pub use late_rows::Rejected;
pub use published::Published;
pub use reads::Reads;
pub use references::Reference;
pub use replace::{Replacement, Step};
pub use reshape::{EachRow, Reshape, store_anew};
pub use sequences::{Position, sequence_columns};
pub use sinks::SinkStatus;
pub use source_status::{SplitState, SplitStatus};
pub use subscriptions::Subscription;
pub use wall_clock::{WallClock, machine_now};
pub use writes::{Accepted, Deferring, Writes, key_identities, row_identities, value_text};

use arc_swap::ArcSwap;
use checkpoint::CheckpointHistory;
use clock::{Committing, Request, SinkFacts, SourceFacts, shutting_down};
use copying::Copying;
use millrace_dataflow::engine::OperatorInfo;
use millrace_storage::{Checkpoints, ObjectFolder, ObjectSnapshots, SnapshotFacts, Snapshots};
use millrace_types::{Delta, EventTime, RelationId, Result, SqlError, SqlState, Tick};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;
use tokio::sync::oneshot;

/// The handle through which sessions reach the clock's thread. Shared by all of them.
pub struct Coordinator {
    requests: Sender<Request>,
    published: Arc<ArcSwap<Published>>,
    sources: SourceFacts,
    sink_facts: SinkFacts,
    checkpoints: CheckpointHistory,
    /// The checkpoints on disk.
    stored: Arc<Checkpoints>,
    snapshots: Arc<Snapshots>,
    copying: Option<Copying>,
    next_id: AtomicU32,
    /// Where each sequence stands that was used since the start.
    positions: Mutex<HashMap<RelationId, Position>>,
    wall: Arc<WallClock>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Coordinator {
    /// What time it is.
    pub fn now(&self) -> EventTime {
        self.wall.now()
    }

    /// Whether statements say what time it is.
    pub fn has_test_clock(&self) -> bool {
        self.wall.check_test_mode().is_ok()
    }

    /// Moves the clock or a watermark of a server in test mode; answers when everything that follows from it has happened.
    ///
    /// # Errors
    /// `55000` outside of test mode, and for the watermark of a source that nothing reads.
    pub async fn set_time(&self, change: TimeChange) -> Result<()> {
        self.wall.check_test_mode()?;
        self.ask(|reply| Request::SetTime { change, reply }).await?
    }

    /// What readers see now.
    pub fn published(&self) -> Arc<Published> {
        self.published.load_full()
    }

    /// Makes a transaction visible to everyone, in one tick; answers after that. `durable`: and after it is on disk.
    /// `reads`: what must still be as it was read.
    ///
    /// # Errors
    /// `40001` and `23505` when the changes no longer fit; what the disk says when they cannot be written.
    pub async fn commit(&self, writes: Writes, reads: Option<Arc<Reads>>, durable: bool) -> Result<Tick> {
        let published = self.published();
        if let Some(fed) = writes.iter().find_map(|(table, _)| published.catalog.get(table).filter(|t| t.is_fed())) {
            let message = format!("cannot change table \"{}\" that a connector feeds", fed.name);
            return Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, message)
                .with_hint("Its rows are what the connector has sent; write to that."));
        }
        self.ask(|reply| Request::Commit(Committing { writes, reads, durable, reply })).await?
    }

    /// Changes definitions; answers when everyone sees it.
    pub async fn define(&self, definition: Definition) -> Result<Built> {
        self.ask(|reply| Request::Define { definition: Box::new(definition), reply }).await?
    }

    /// Follows a relation from the state that is published now.
    pub async fn subscribe(&self, relation: RelationId) -> Result<Subscription> {
        self.ask(|reply| Request::Subscribe { relation, reply }).await?
    }

    /// Hands rows to a sink once, in order with the ticks of the jobs that feed it.
    pub async fn feed(&self, sink: RelationId, delta: Delta) -> Result<()> {
        self.ask(|reply| Request::Feed { sink, delta, reply }).await?
    }

    /// Waits until everything is read and published that lies ready in sources now.
    pub async fn settle(&self) -> Result<()> {
        self.ask(|reply| Request::Settle { reply }).await
    }

    /// Writes a checkpoint of everything that was committed before; answers its tick when it is durable.
    ///
    /// # Errors
    /// `53100` when the disk is full; then everything is as it was.
    pub async fn checkpoint(&self) -> Result<Tick> {
        self.ask(|reply| Request::Checkpoint { reply }).await?
    }

    /// Keeps a checkpoint of everything that was committed before under a name, in the data folder or at a URL.
    ///
    /// # Errors
    /// `42710` when the name is taken, `42602` when it is none; `58030` when the store at the URL cannot be reached; as
    /// [`Coordinator::checkpoint`] otherwise.
    pub async fn keep_snapshot(&self, name: &str, url: Option<&str>) -> Result<SnapshotFacts> {
        let name = name.to_owned();
        match url {
            None => {
                self.snapshots.check_new(&name)?;
                self.checkpoint().await?;
                let snapshots = self.snapshots.clone();
                blocking(move || snapshots.create(&name)).await
            }
            Some(url) => {
                let snapshots = Arc::new(ObjectSnapshots::of(ObjectFolder::open(url)?));
                let (early, wanted) = (snapshots.clone(), name.clone());
                blocking(move || early.check_new(&wanted)).await?;
                self.checkpoint().await?;
                let stored = self.stored.clone();
                blocking(move || snapshots.create(&name, &stored)).await
            }
        }
    }

    /// The snapshots in the data folder, or at a URL.
    ///
    /// # Errors
    /// `22023` when the URL is none; `58030` when the store there cannot be reached.
    pub async fn list_snapshots(&self, url: Option<&str>) -> Result<Vec<SnapshotFacts>> {
        let Some(url) = url else { return self.snapshots.list() };
        let snapshots = ObjectSnapshots::of(ObjectFolder::open(url)?);
        blocking(move || snapshots.list()).await
    }

    /// Removes a snapshot; false when there is none of that name.
    ///
    /// # Errors
    /// As [`Coordinator::list_snapshots`].
    pub async fn remove_snapshot(&self, name: &str, url: Option<&str>) -> Result<bool> {
        let name = name.to_owned();
        let Some(url) = url else { return self.snapshots.remove(&name) };
        let snapshots = ObjectSnapshots::of(ObjectFolder::open(url)?);
        blocking(move || snapshots.remove(&name)).await
    }

    /// How checkpoints get to the checkpoint store, if there is one.
    pub fn checkpoint_store(&self) -> Option<StoreFacts> {
        self.copying.as_ref().map(Copying::facts)
    }

    /// The checkpoints that have names.
    pub fn snapshots(&self) -> &Snapshots {
        &self.snapshots
    }

    /// The last checkpoints, oldest first.
    pub fn checkpoints(&self) -> Vec<CheckpointFacts> {
        self.checkpoints.lock().iter().cloned().collect()
    }

    /// How much state each operator of each job keeps.
    pub async fn operators(&self) -> Result<Vec<OperatorInfo>> {
        self.ask(|reply| Request::Operators { reply }).await
    }

    /// `count` ids in a row that no relation has; answers the first.
    pub fn allocate(&self, count: u32) -> RelationId {
        RelationId(self.next_id.fetch_add(count, Ordering::Relaxed))
    }

    /// The outside world of a source.
    pub fn source(&self, id: RelationId) -> Option<Arc<DefinedSource>> {
        self.sources.lock().get(&id).cloned()
    }

    /// What each sink has done.
    pub fn sinks(&self) -> HashMap<RelationId, SinkStatus> {
        self.sink_facts.lock().iter().map(|(id, status)| (*id, status.lock().clone())).collect()
    }

    /// Ends the clock after what it was asked before, and waits for it.
    pub fn shutdown(&self) {
        let _ = self.requests.send(Request::Shutdown);
        if let Some(thread) = self.thread.lock().take() {
            // A panic of the clock has been reported by the panic hook.
            let _ = thread.join();
        }
        self.copying.iter().for_each(Copying::end);
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(request(reply)).map_err(|_| shutting_down())?;
        answer.await.map_err(|_| shutting_down())
    }
}

/// Does what blocks on a thread where that is no harm.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|error| SqlError::internal(error.to_string()))?
}
