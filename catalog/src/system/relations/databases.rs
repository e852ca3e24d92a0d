//! `pg_database`: there is one database, by whatever name a session asked for it.

use super::super::rows::Rows;
use super::super::snapshot::{DATABASE, Snapshot};

pub fn fill(snapshot: &Snapshot, rows: &mut Rows) {
    rows.push([
        ("oid", DATABASE.into()),
        ("datname", snapshot.database.as_str().into()),
        ("datdba", snapshot.role_oid(&snapshot.user).into()),
        ("encoding", 6.into()),
        ("datlocprovider", 'c'.into()),
        ("datallowconn", true.into()),
        ("datconnlimit", (-1).into()),
        ("dattablespace", 1663u32.into()),
        ("datcollate", "C.UTF-8".into()),
        ("datctype", "C.UTF-8".into()),
    ]);
}

/// `pg_stat_database`.
pub fn statistics(snapshot: &Snapshot, rows: &mut Rows) {
    rows.push([
        ("datid", DATABASE.into()),
        ("datname", snapshot.database.as_str().into()),
        ("numbackends", snapshot.sessions.len().into()),
        ("stats_reset", snapshot.started_at.into()),
    ]);
}
