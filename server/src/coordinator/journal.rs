//! The journal: what is written before it is acknowledged. A thread of its own writes transactions to the command log,
//! so that the engine computes meanwhile; definitions go to the catalog store, and into the log beside the transactions.

use super::define::is_temporary;
use super::writes::Writes;
use millrace_catalog::{Catalog, Change};
use millrace_storage::recovery::encode_change;
use millrace_storage::{
    ArrivalNote, CatalogHistory, CatalogStore, CommandLog, DataFolder, Position, Record, RecordKind, SourceOffset,
    Storage, arrivals, batch, offsets,
};
use millrace_types::{Result, SqlError, Tick};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Changes after which the catalog store gets the whole catalog in their place.
const SNAPSHOT_CHANGES: u64 = 256;
/// How long commits that nobody waits for may stay unsynced.
const LINGER: Duration = Duration::from_millis(100);

/// The handle of the clock.
pub struct Journal {
    tasks: Sender<Task>,
    written: Arc<AtomicU64>,
    thread: JoinHandle<()>,
    // Held until everything is closed: it locks the folder.
    _folder: DataFolder,
}

enum Task {
    Transactions { tick: Tick, writes: Writes, offsets: Vec<SourceOffset>, durable: bool, done: Sender<Result<()>> },
    Change { tick: Tick, change: Vec<u8>, catalog: Catalog, done: Sender<Result<()>> },
    Offsets { tick: Tick, offsets: Vec<SourceOffset>, done: Sender<Result<()>> },
    Arrivals { tick: Tick, notes: Vec<ArrivalNote>, done: Sender<Result<()>> },
    Mark { done: Sender<Result<Mark>> },
    Truncate { before: Tick },
}

/// A place in the journal between two ticks: everything before it is durable, in segments of its own.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    pub position: Position,
    /// How many changes of the catalog are before it.
    pub catalog_version: u64,
}

/// A write under way.
pub struct Written(Option<Receiver<Result<()>>>);

impl Written {
    /// Waits until it is as durable as was asked for.
    pub fn wait(self) -> Result<()> {
        match self.0 {
            None => Ok(()),
            Some(done) => done.recv().map_err(|_| gone())?,
        }
    }
}

fn gone() -> SqlError {
    SqlError::internal("the journal has ended")
}

impl Journal {
    /// Starts the thread over an opened folder, in which `recorded` changes of the catalog are written.
    pub fn start(storage: Storage, recorded: u64) -> Result<Journal> {
        let (tasks, queue) = channel();
        let Storage { folder, catalog, log, .. } = storage;
        let written = Arc::new(AtomicU64::new(0));
        let writer = Writer { log, catalog, recorded, written: written.clone() };
        let thread = thread::Builder::new().name("journal".to_owned()).spawn(move || writer.run(&queue))?;
        Ok(Journal { tasks, written, thread, _folder: folder })
    }

    /// Begins to write the transactions of a tick, and with them how far sources are read. Those that need not be durable
    /// are written too, but not waited for.
    pub fn write(&self, tick: Tick, writes: Writes, offsets: Vec<SourceOffset>, durable: bool) -> Written {
        if writes.is_empty() {
            return Written(None);
        }
        let (done, answer) = channel();
        // When the thread is gone the answer says so.
        let _ = self.tasks.send(Task::Transactions { tick, writes, offsets, durable, done });
        Written(durable.then_some(answer))
    }

    /// Writes a change of the catalog, and waits until it is durable.
    pub fn change(&self, tick: Tick, change: &Change, catalog: &Catalog) -> Result<()> {
        let (done, answer) = channel();
        let change = change.to_bytes()?;
        self.tasks.send(Task::Change { tick, change, catalog: catalog.clone(), done }).map_err(|_| gone())?;
        answer.recv().map_err(|_| gone())?
    }

    /// Writes how far sources were read into a tick. It is not waited for to be synced: it need not survive the machine.
    pub fn offsets(&self, tick: Tick, offsets: Vec<SourceOffset>) -> Written {
        if offsets.is_empty() {
            return Written(None);
        }
        let (done, answer) = channel();
        // When the thread is gone the answer says so.
        let _ = self.tasks.send(Task::Offsets { tick, offsets, done });
        Written(Some(answer))
    }

    /// Writes what the wall clock decided about rows of a tick, like [`offsets`](Journal::offsets).
    pub fn arrivals(&self, tick: Tick, notes: Vec<ArrivalNote>) -> Written {
        if notes.is_empty() {
            return Written(None);
        }
        let (done, answer) = channel();
        // When the thread is gone the answer says so.
        let _ = self.tasks.send(Task::Arrivals { tick, notes, done });
        Written(Some(answer))
    }

    /// Marks the place after everything that was given so far. The answer comes when all of that is durable.
    pub fn mark(&self) -> Receiver<Result<Mark>> {
        let (done, answer) = channel();
        // When the thread is gone the answer says so.
        let _ = self.tasks.send(Task::Mark { done });
        answer
    }

    /// Forgets what is before a tick, for a checkpoint has it.
    pub fn truncate(&self, before: Tick) {
        // When the thread is gone, the next start forgets it.
        let _ = self.tasks.send(Task::Truncate { before });
    }

    /// Bytes that the log has grown by since the start.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Ends the thread after what it was given, everything synced.
    pub fn close(self) {
        drop(self.tasks);
        // A panic has been reported by the panic hook.
        let _ = self.thread.join();
    }
}

/// The thread's side.
struct Writer {
    log: CommandLog,
    catalog: CatalogStore,
    /// How many changes of the catalog are written: the number of the last one.
    recorded: u64,
    /// Bytes appended.
    written: Arc<AtomicU64>,
}

impl Writer {
    fn run(mut self, tasks: &Receiver<Task>) {
        let mut unsynced = false;
        loop {
            let task = match unsynced {
                true => tasks.recv_timeout(LINGER),
                false => tasks.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match task {
                Ok(Task::Transactions { tick, writes, offsets, durable, done }) => {
                    unsynced = !durable;
                    let written = self.transactions(tick, writes, &offsets, durable);
                    if let (Err(error), false) = (&written, durable) {
                        tracing::error!(%tick, error = %error, "an acknowledged asynchronous commit is not on disk");
                    }
                    let _ = done.send(written);
                }
                Ok(Task::Change { tick, change, catalog, done }) => {
                    unsynced = false;
                    let _ = done.send(self.change(tick, &change, &catalog));
                }
                Ok(Task::Offsets { tick, offsets, done }) => {
                    unsynced = true;
                    let written = offsets::encode(&offsets);
                    let _ = done.send(written.and_then(|payload| self.append(tick, RecordKind::Offsets, &payload)));
                }
                Ok(Task::Arrivals { tick, notes, done }) => {
                    unsynced = true;
                    let written = arrivals::encode(&notes);
                    let _ = done.send(written.and_then(|payload| self.append(tick, RecordKind::Arrivals, &payload)));
                }
                Ok(Task::Mark { done }) => {
                    self.sync();
                    let position = self.log.cut();
                    unsynced &= position.is_err();
                    let _ = done.send(position.map(|position| Mark { position, catalog_version: self.recorded }));
                }
                Ok(Task::Truncate { before }) => {
                    if let Err(error) = self.log.truncate_before(before) {
                        tracing::warn!(%error, "the command log before the last checkpoint could not be deleted");
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    unsynced = false;
                    self.sync();
                }
                Err(RecvTimeoutError::Disconnected) => return self.sync(),
            }
        }
    }

    fn transactions(&mut self, tick: Tick, writes: Writes, offsets: &[SourceOffset], durable: bool) -> Result<()> {
        let deltas: Vec<_> = writes.into_deltas().collect();
        let payload = batch::encode(&deltas)?;
        let offsets = if offsets.is_empty() { None } else { Some(offsets::encode(offsets)?) };
        let records = [(RecordKind::Transaction, Some(&payload)), (RecordKind::Offsets, offsets.as_ref())];
        let records = records.into_iter().filter_map(|(kind, payload)| Some(Record { tick, kind, payload: payload? }));
        let records: Vec<_> = records.collect();
        self.log.append(&records)?;
        let bytes: usize = records.iter().map(|record| record.payload.len()).sum();
        self.written.fetch_add(bytes as u64, Ordering::Relaxed);
        if durable {
            self.sync();
        }
        Ok(())
    }

    fn append(&mut self, tick: Tick, kind: RecordKind, payload: &[u8]) -> Result<()> {
        self.log.append(&[Record { tick, kind, payload }])?;
        self.written.fetch_add(payload.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    fn change(&mut self, tick: Tick, change: &[u8], catalog: &Catalog) -> Result<()> {
        let number = self.recorded + 1;
        let payload = encode_change(number, change);
        self.append(tick, RecordKind::CatalogChange, &payload)?;
        self.sync();
        // From here on the change is a fact; the store only saves the next start some work.
        self.recorded = number;
        let kept = self.catalog.append(number, change).and_then(|()| match number % SNAPSHOT_CHANGES {
            0 => self.catalog.put_snapshot(number, &catalog.to_bytes()?),
            _ => Ok(()),
        });
        if let Err(error) = kept {
            tracing::warn!(error = %error, "the catalog store lags behind the command log");
        }
        Ok(())
    }

    /// A sync that fails leaves nobody knowing what is on disk: the process ends before it can acknowledge anything.
    fn sync(&mut self) {
        if let Err(error) = self.log.sync() {
            tracing::error!(error = %error, "the command log cannot be made durable: ending, so that nothing false is acknowledged");
            std::process::exit(1);
        }
    }
}

/// The catalog that a folder holds.
pub fn stored_catalog(history: &CatalogHistory) -> Result<Catalog> {
    let first = match &history.snapshot {
        Some((_, bytes)) => Catalog::from_bytes(bytes)?,
        None => Catalog::new("millrace"),
    };
    let apply = |catalog: Catalog, (_, change): &(u64, Vec<u8>)| catalog.apply(&Change::from_bytes(change)?);
    let catalog = history.changes.iter().try_fold(first, apply)?;
    // A whole catalog is written with the views of subscriptions in it, which ended with their sessions.
    let ended: Vec<_> = catalog.relations().filter(|relation| is_temporary(relation)).map(|r| r.id).collect();
    ended.into_iter().try_fold(catalog, |catalog, id| catalog.apply(&Change::Drop(id)))
}
