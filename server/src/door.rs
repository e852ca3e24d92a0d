//! The door: opens a session for every client on the database that is there now. RESTORE FROM SNAPSHOT puts another in its
//! place: what the snapshot holds is written beside the data folder's contents while everything goes on, then the door
//! closes, every other session ends, and the database is opened anew on what was written.

use crate::database::Database;
use millrace_storage::{Backup, switch};
use millrace_types::{Result, SqlError, SqlState};
use parking_lot::{Mutex, RwLock};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// How long sessions that were told to end are waited for.
const PATIENCE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(5);

/// The door. Clones are the same door. Any user and any database name are welcome; there is one database.
#[derive(Clone)]
pub struct Door(Arc<Behind>);

struct Behind {
    state: RwLock<State>,
    /// Why there is no database any more.
    failure: Mutex<Option<SqlError>>,
    failed: Notify,
}

struct State {
    database: Arc<Database>,
    /// Whether a snapshot is being prepared, and whether nobody is let in.
    restoring: bool,
    closed: bool,
}

impl Door {
    /// The door to a database.
    pub fn new(database: Arc<Database>) -> Door {
        let state = RwLock::new(State { database, restoring: false, closed: false });
        Door(Arc::new(Behind { state, failure: Mutex::default(), failed: Notify::new() }))
    }

    /// The database that is there now.
    pub fn database(&self) -> Arc<Database> {
        self.0.state.read().database.clone()
    }

    /// Lets a client in: nobody can close the door before `enter` is through.
    ///
    /// # Errors
    /// `57P03` while the door is closed.
    pub fn enter<T>(&self, enter: impl FnOnce(&Arc<Database>) -> T) -> Result<T> {
        let state = self.0.state.read();
        match state.closed {
            false => Ok(enter(&state.database)),
            true => Err(SqlError::new(SqlState::CANNOT_CONNECT_NOW, "the database system is being restored")),
        }
    }

    /// Comes when there is no database any more.
    pub async fn failed(&self) {
        self.0.failed.notified().await;
    }

    /// Why there is no database any more.
    pub fn failure(&self) -> Option<SqlError> {
        self.0.failure.lock().take()
    }

    /// Goes back to what a snapshot in the data folder, or at a URL, holds. The session of process id `by` stays; it is
    /// handed the database that it goes on with, also when there was an error and nothing has changed.
    ///
    /// # Errors
    /// `42704` when there is no such snapshot; `55006` while another is restored; `XX001` naming a file of it that is
    /// damaged; `53100` when the disk is full.
    pub async fn restore(&self, by: i32, name: String, url: Option<String>) -> (Arc<Database>, Result<()>) {
        let old = {
            let mut state = self.0.state.write();
            let old = state.database.clone();
            if std::mem::replace(&mut state.restoring, true) {
                let message = "another session is restoring the database";
                return (old, Err(SqlError::new(SqlState::OBJECT_IN_USE, message)));
            }
            old
        };
        let (database, outcome) = match prepare(old.clone(), name, url).await {
            Err(error) => (old, Err(error)),
            Ok(()) => self.replace(old, by).await,
        };
        let mut state = self.0.state.write();
        (state.restoring, state.closed, state.database) = (false, false, database.clone());
        (database, outcome)
    }

    /// Ends the database and opens it anew, on what was prepared if that can be decided.
    async fn replace(&self, old: Arc<Database>, by: i32) -> (Arc<Database>, Result<()>) {
        self.0.state.write().closed = true;
        end_others(&old, by).await;
        let ending = old.clone();
        let reopened = tokio::task::spawn_blocking(move || {
            ending.shutdown();
            let decided = switch::decide(&ending.config.data_dir);
            (Database::open(ending.config.clone()), decided)
        });
        let (opened, decided) = match reopened.await {
            Ok((opened, decided)) => (opened, decided),
            Err(panic) => (Err(SqlError::internal(panic.to_string())), Ok(())),
        };
        let ready = match opened {
            Ok(database) => database.end_sessions().await.map(|()| database),
            Err(error) => Err(error),
        };
        match ready {
            Ok(database) => (database, decided),
            Err(error) => {
                tracing::error!(%error, "the database cannot be opened again");
                *self.0.failure.lock() = Some(error.clone());
                self.0.failed.notify_one();
                (old, Err(error))
            }
        }
    }
}

/// Writes what a snapshot holds beside the contents of the data folder.
async fn prepare(database: Arc<Database>, name: String, url: Option<String>) -> Result<()> {
    if !database.is_local {
        return Err(SqlError::unsupported("RESTORE FROM SNAPSHOT on a simulated disk"));
    }
    let work = move || {
        let from = match &url {
            Some(url) => format!("{}/{name}", url.trim_end_matches('/')),
            None => database.coordinator.snapshots().path_of(&name)?.display().to_string(),
        };
        let backup = Backup::open(&from).map_err(|error| match error.state() {
            SqlState::UNDEFINED_FILE => {
                SqlError::new(SqlState::UNDEFINED_OBJECT, format!("snapshot \"{name}\" does not exist"))
                    .with_hint("SHOW SNAPSHOTS lists them.")
            }
            _ => error,
        })?;
        switch::prepare(&database.config.data_dir, &backup).map(drop)
    };
    tokio::task::spawn_blocking(work).await.map_err(|error| SqlError::internal(error.to_string()))?
}

/// Ends all sessions but one, and waits for them, but not for long: what they still read is of the past, and what they
/// write is refused.
async fn end_others(database: &Database, by: i32) {
    for (process_id, session) in database.sessions.lock().iter() {
        if *process_id != by {
            let message = "terminating connection because the database is restored from a snapshot";
            session.cancel.close(SqlError::new(SqlState::ADMIN_SHUTDOWN, message));
        }
    }
    let begun = Instant::now();
    while database.sessions.lock().keys().any(|process_id| *process_id != by) && begun.elapsed() < PATIENCE {
        tokio::time::sleep(POLL).await;
    }
}
