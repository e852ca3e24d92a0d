//! CREATE SNAPSHOT, DROP SNAPSHOT, SHOW SNAPSHOTS.

use super::answer::done;
use crate::session::Session;
use millrace_planner::parse::fold;
use millrace_types::{Result, SqlError, SqlState};
use millrace_wire::{Notice, Response};
use sqlparser::ast::Ident;

/// CREATE SNAPSHOT: everything that is committed, kept as of one tick.
pub async fn create(session: &mut Session, name: &Ident, if_not_exists: bool) -> Result<Response> {
    let database = session.database.clone();
    match database.coordinator.keep_snapshot(&fold(name)).await {
        Err(error) if if_not_exists && error.state() == SqlState::DUPLICATE_OBJECT => {
            session.notice(Notice::plain(format!("{}, skipping", error.message())));
        }
        kept => drop(kept?),
    }
    done("CREATE SNAPSHOT")
}

/// DROP SNAPSHOT.
pub fn drop_snapshot(session: &mut Session, name: &Ident, if_exists: bool) -> Result<Response> {
    let name = fold(name);
    if !session.database.coordinator.snapshots().remove(&name)? {
        let message = format!("snapshot \"{name}\" does not exist");
        match if_exists {
            true => session.notice(Notice::plain(format!("{message}, skipping"))),
            false => return Err(SqlError::new(SqlState::UNDEFINED_OBJECT, message)),
        }
    }
    done("DROP SNAPSHOT")
}

/// The lines of SHOW SNAPSHOTS: name, tick, bytes.
pub fn lines(session: &Session) -> Result<Vec<Vec<Option<String>>>> {
    let snapshots = session.database.coordinator.snapshots().list()?;
    let line = |snapshot: millrace_storage::SnapshotFacts| {
        let tick = snapshot.tick.map(|tick| tick.0.to_string());
        vec![Some(snapshot.name), tick, Some(snapshot.bytes.to_string())]
    };
    Ok(snapshots.into_iter().map(line).collect())
}
