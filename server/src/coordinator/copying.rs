//! Checkpoints on their way to the checkpoint store, an object store away from the machine.
//!
//! A thread copies the newest checkpoint whenever there is a new one; those that came meanwhile are left out. Nothing waits
//! for it: a store that cannot be reached is tried again, less and less often, and `millrace.checkpoint_store` says so.

use millrace_storage::{CheckpointStore, Checkpoints, Copied, ObjectFolder};
use millrace_types::{Result, SqlError, SqlState};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

/// How long after a failure it is tried again, at first and at most.
const SOON: Duration = Duration::from_secs(1);
const LATE: Duration = Duration::from_secs(60);
/// How long the last copy may hold up the end of the server.
const LAST_WAIT: Duration = Duration::from_secs(10);

/// How the copying stands, as `millrace.checkpoint_store` shows it.
#[derive(Clone, Debug)]
pub struct StoreFacts {
    pub url: String,
    pub state: StoreState,
    /// The last one that was copied, and when.
    pub copied: Option<(Copied, SystemTime)>,
    /// Bytes sent since the start of the server.
    pub sent: u64,
    /// Failures since the last success.
    pub failures: u32,
    pub retry_at: Option<SystemTime>,
    pub error: Option<SqlError>,
}

/// What the thread does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreState {
    /// Everything is copied.
    Idle,
    Copying,
    /// It waits before it tries again.
    Retrying,
    /// The store is another's: nothing is copied any more.
    Stopped,
}

impl StoreState {
    /// As it is shown.
    pub fn word(self) -> &'static str {
        match self {
            StoreState::Idle => "idle",
            StoreState::Copying => "copying",
            StoreState::Retrying => "retrying",
            StoreState::Stopped => "stopped",
        }
    }
}

enum News {
    Checkpoint,
    /// Copy what is not copied yet until then, and end.
    End(Instant),
}

/// The thread, from outside.
pub struct Copying {
    facts: Arc<Mutex<StoreFacts>>,
    news: Sender<News>,
    ended: Mutex<Option<(Receiver<()>, JoinHandle<()>)>>,
}

impl Copying {
    /// Starts copying the checkpoints of a data folder of this identity.
    ///
    /// # Errors
    /// `22023` when the URL is none of an object store.
    pub fn start(url: &str, identity: String, checkpoints: Arc<Checkpoints>) -> Result<Copying> {
        let folder = ObjectFolder::open(url)?;
        let facts = Arc::new(Mutex::new(StoreFacts {
            url: folder.url().to_owned(),
            state: StoreState::Idle,
            copied: None,
            sent: 0,
            failures: 0,
            retry_at: None,
            error: None,
        }));
        let (news, queue) = channel();
        let told = news.clone();
        // The thread may have ended: then nobody wants to know.
        checkpoints.watch(move || _ = told.send(News::Checkpoint));
        let (ending, ended) = channel();
        let shown = facts.clone();
        let copier = Copier { folder, identity, checkpoints, store: None, facts: shown, last: None, deadline: None };
        let thread = thread::Builder::new().name("copy".to_owned()).spawn(move || {
            copier.run(&queue);
            let _ = ending.send(());
        })?;
        Ok(Copying { facts, news, ended: Mutex::new(Some((ended, thread))) })
    }

    /// How it stands.
    pub fn facts(&self) -> StoreFacts {
        self.facts.lock().clone()
    }

    /// Copies the last checkpoint if that does not take long, and ends the thread.
    pub fn end(&self) {
        let Some((ended, thread)) = self.ended.lock().take() else { return };
        let _ = self.news.send(News::End(Instant::now() + LAST_WAIT));
        match ended.recv_timeout(LAST_WAIT) {
            // A request that is still on its way ends with the process.
            Err(RecvTimeoutError::Timeout) => {
                tracing::warn!(store = self.facts.lock().url, "the last checkpoint is not in the checkpoint store");
            }
            // A panic has been reported by the panic hook.
            _ => _ = thread.join(),
        }
    }
}

/// The thread's side.
struct Copier {
    folder: ObjectFolder,
    identity: String,
    checkpoints: Arc<Checkpoints>,
    /// Once it has been taken over.
    store: Option<CheckpointStore>,
    facts: Arc<Mutex<StoreFacts>>,
    /// The number of the last checkpoint that was copied.
    last: Option<u64>,
    /// When the thread has to be through, once the server ends.
    deadline: Option<Instant>,
}

impl Copier {
    fn run(mut self, news: &Receiver<News>) {
        let (mut wait, mut due) = (Duration::ZERO, Instant::now());
        while self.deadline.is_none() {
            let next = match self.is_behind() {
                true => news.recv_timeout(due.saturating_duration_since(Instant::now())),
                false => news.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match next {
                Ok(News::Checkpoint) | Err(RecvTimeoutError::Timeout) => {}
                Ok(News::End(until)) => self.deadline = Some(until),
                Err(RecvTimeoutError::Disconnected) => return,
            }
            // A store that cannot be reached is not asked more often because there is more for it.
            let is_due = self.deadline.is_some() || Instant::now() >= due;
            if !self.is_behind() || !is_due {
                continue;
            }
            match self.copy() {
                Ok(()) => wait = Duration::ZERO,
                Err(error) if error.state() == SqlState::OBJECT_IN_USE => return self.stop(error),
                Err(error) => {
                    wait = (wait * 2).clamp(SOON, LATE);
                    self.note_failure(error, wait);
                }
            }
            due = Instant::now() + wait;
        }
    }

    fn is_behind(&self) -> bool {
        self.checkpoints.newest_number() != self.last
    }

    fn copy(&mut self) -> Result<()> {
        self.facts.lock().state = StoreState::Copying;
        let store = match &mut self.store {
            Some(store) => store,
            none => none.insert(CheckpointStore::open(self.folder.clone(), &self.identity)?),
        };
        let deadline = self.deadline;
        let goes_on = || match deadline.is_some_and(|deadline| Instant::now() > deadline) {
            false => Ok(()),
            true => Err(SqlError::new(SqlState::ADMIN_SHUTDOWN, "the server ends before the checkpoint is copied")),
        };
        let begun = Instant::now();
        let copied = store.copy_newest(&self.checkpoints, &goes_on)?;
        tracing::debug!(tick = %copied.tick, sent = copied.sent, took = ?begun.elapsed(), "a checkpoint is copied");
        self.last = Some(copied.checkpoint);
        let mut facts = self.facts.lock();
        if facts.failures > 0 {
            tracing::info!(store = facts.url, "the checkpoint store takes checkpoints again");
        }
        facts.sent += copied.sent;
        facts.copied = Some((copied, SystemTime::now()));
        (facts.state, facts.failures, facts.retry_at, facts.error) = (StoreState::Idle, 0, None, None);
        Ok(())
    }

    fn note_failure(&self, error: SqlError, wait: Duration) {
        let mut facts = self.facts.lock();
        if facts.failures == 0 {
            tracing::warn!(store = facts.url, %error, "a checkpoint could not be copied; it is tried again");
        }
        facts.failures += 1;
        facts.state = StoreState::Retrying;
        facts.retry_at = Some(SystemTime::now() + wait);
        facts.error = Some(error);
    }

    fn stop(&self, error: SqlError) {
        let mut facts = self.facts.lock();
        tracing::error!(store = facts.url, %error, "no more checkpoints are copied");
        (facts.state, facts.retry_at, facts.error) = (StoreState::Stopped, None, Some(error));
    }
}
