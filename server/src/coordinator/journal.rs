//! The journal: what is written before it is acknowledged. A thread of its own writes transactions to the command log,
//! so that the engine computes meanwhile; definitions go to the catalog store, and into the log beside the transactions.

use super::writes::Writes;
use millrace_catalog::{Catalog, Change};
use millrace_storage::{CommandLog, DataFolder, KeyValue, Record, RecordKind, SledStore, batch};
use millrace_types::{Result, SqlError, Tick};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// The key under which the catalog store keeps the whole catalog.
const CATALOG: &[u8] = b"catalog";
/// How long commits that nobody waits for may stay unsynced.
const LINGER: Duration = Duration::from_millis(100);

/// The handle of the clock.
pub struct Journal {
    tasks: Sender<Task>,
    thread: JoinHandle<()>,
    // Held until everything is closed: it locks the folder.
    _folder: DataFolder,
}

enum Task {
    Transactions { tick: Tick, writes: Writes, durable: bool, done: Sender<Result<()>> },
    Change { tick: Tick, change: Vec<u8>, catalog: Catalog, done: Sender<Result<()>> },
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
    /// Starts the thread over an opened folder.
    pub fn start(folder: DataFolder, log: CommandLog, store: SledStore) -> Result<Journal> {
        let (tasks, queue) = channel();
        let writer = Writer { log, store };
        let thread = thread::Builder::new().name("journal".to_owned()).spawn(move || writer.run(&queue))?;
        Ok(Journal { tasks, thread, _folder: folder })
    }

    /// Begins to write the transactions of a tick. Those that need not be durable are written too, but not waited for.
    pub fn write(&self, tick: Tick, writes: Writes, durable: bool) -> Written {
        if writes.is_empty() {
            return Written(None);
        }
        let (done, answer) = channel();
        // When the thread is gone the answer says so.
        let _ = self.tasks.send(Task::Transactions { tick, writes, durable, done });
        Written(durable.then_some(answer))
    }

    /// Writes a change of the catalog, and waits until it is durable.
    pub fn change(&self, tick: Tick, change: &Change, catalog: &Catalog) -> Result<()> {
        let (done, answer) = channel();
        let change = change.to_bytes()?;
        self.tasks.send(Task::Change { tick, change, catalog: catalog.clone(), done }).map_err(|_| gone())?;
        answer.recv().map_err(|_| gone())?
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
    store: SledStore,
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
                Ok(Task::Transactions { tick, writes, durable, done }) => {
                    unsynced = !durable;
                    let written = self.transactions(tick, writes, durable);
                    if let (Err(error), false) = (&written, durable) {
                        tracing::error!(%tick, error = %error, "an acknowledged asynchronous commit is not on disk");
                    }
                    let _ = done.send(written);
                }
                Ok(Task::Change { tick, change, catalog, done }) => {
                    unsynced = false;
                    let _ = done.send(self.change(tick, &change, &catalog));
                }
                Err(RecvTimeoutError::Timeout) => {
                    unsynced = false;
                    self.sync();
                }
                Err(RecvTimeoutError::Disconnected) => return self.sync(),
            }
        }
    }

    fn transactions(&mut self, tick: Tick, writes: Writes, durable: bool) -> Result<()> {
        let deltas: Vec<_> = writes.into_deltas().collect();
        let payload = batch::encode(&deltas)?;
        self.log.append(&[Record { tick, kind: RecordKind::Transaction, payload: &payload }])?;
        if durable {
            self.sync();
        }
        Ok(())
    }

    fn change(&mut self, tick: Tick, change: &[u8], catalog: &Catalog) -> Result<()> {
        let mut payload = catalog.version().to_le_bytes().to_vec();
        payload.extend_from_slice(change);
        self.log.append(&[Record { tick, kind: RecordKind::CatalogChange, payload: &payload }])?;
        self.sync();
        self.store.put(CATALOG, &catalog.to_bytes()?)?;
        self.store.flush()
    }

    /// A sync that fails leaves nobody knowing what is on disk: the process ends before it can acknowledge anything.
    fn sync(&mut self) {
        if let Err(error) = self.log.sync() {
            tracing::error!(error = %error, "the command log cannot be made durable: ending, so that nothing false is acknowledged");
            std::process::exit(1);
        }
    }
}

/// The catalog that a folder holds: the store's, and the changes of the log that it lacks.
pub fn stored_catalog(store: &SledStore, log: &CommandLog) -> Result<Catalog> {
    let mut catalog = match store.get(CATALOG)? {
        Some(bytes) => Catalog::from_bytes(&bytes)?,
        None => Catalog::new("millrace"),
    };
    log.read_all(Tick::default(), |record| {
        let Some((version, change)) = record.payload.split_first_chunk::<8>() else { return Ok(()) };
        if record.kind == RecordKind::CatalogChange && u64::from_le_bytes(*version) > catalog.version() {
            catalog = catalog.apply(&Change::from_bytes(change)?)?;
        }
        Ok(())
    })?;
    Ok(catalog)
}
