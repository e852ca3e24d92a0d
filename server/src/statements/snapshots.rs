//! CREATE SNAPSHOT, DROP SNAPSHOT, SHOW SNAPSHOTS, RESTORE FROM SNAPSHOT.

use super::answer::done;
use crate::database::Database;
use crate::session::Session;
use millrace_planner::parse::{SnapshotName, fold};
use millrace_storage::SnapshotFacts;
use millrace_types::{Result, SqlError, SqlState};
use millrace_wire::{Notice, Response};
use std::sync::Arc;

/// CREATE SNAPSHOT: everything that is committed, kept as of one tick.
pub async fn create(session: &mut Session, snapshot: &SnapshotName, if_not_exists: bool) -> Result<Response> {
    let database = session.database.clone();
    match database.coordinator.keep_snapshot(&fold(&snapshot.name), snapshot.store.as_deref()).await {
        Err(error) if if_not_exists && error.state() == SqlState::DUPLICATE_OBJECT => {
            session.notice(Notice::plain(format!("{}, skipping", error.message())));
        }
        kept => drop(kept?),
    }
    done("CREATE SNAPSHOT")
}

/// DROP SNAPSHOT.
pub async fn drop_snapshot(session: &mut Session, snapshot: &SnapshotName, if_exists: bool) -> Result<Response> {
    let (database, name) = (session.database.clone(), fold(&snapshot.name));
    if !database.coordinator.remove_snapshot(&name, snapshot.store.as_deref()).await? {
        let message = format!("snapshot \"{name}\" does not exist");
        match if_exists {
            true => session.notice(Notice::plain(format!("{message}, skipping"))),
            false => return Err(SqlError::new(SqlState::UNDEFINED_OBJECT, message)),
        }
    }
    done("DROP SNAPSHOT")
}

/// The lines of SHOW SNAPSHOTS: name, tick, bytes.
pub async fn lines(database: Arc<Database>, url: Option<&str>) -> Result<Vec<Vec<Option<String>>>> {
    let snapshots = database.coordinator.list_snapshots(url).await?;
    let line = |snapshot: SnapshotFacts| {
        let tick = snapshot.tick.map(|tick| tick.0.to_string());
        vec![Some(snapshot.name), tick, Some(snapshot.bytes.to_string())]
    };
    Ok(snapshots.into_iter().map(line).collect())
}

/// RESTORE FROM SNAPSHOT: the database is what it was then, for everyone. It goes on when its client has gone.
pub async fn restore(session: &mut Session, snapshot: &SnapshotName) -> Result<Response> {
    if session.transaction.explicit || !session.transaction.is_untouched() {
        let message = "RESTORE FROM SNAPSHOT cannot run inside a transaction block";
        return Err(SqlError::new(SqlState::ACTIVE_SQL_TRANSACTION, message));
    }
    let (door, by, name) = (session.door.clone(), session.process_id, fold(&snapshot.name));
    let url = snapshot.store.clone();
    let restoring = tokio::spawn(async move { door.restore(by, name, url).await });
    let (database, restored) = restoring.await.map_err(|error| SqlError::internal(error.to_string()))?;
    if !Arc::ptr_eq(&database, &session.database) {
        session.settings.set_temporary_schema(None)?;
        session.move_to(database);
    }
    restored?;
    done("RESTORE")
}
