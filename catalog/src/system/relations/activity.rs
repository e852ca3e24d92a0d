//! `pg_stat_activity` and `pg_stat_user_tables`: who is connected, and how much relations hold.

use super::super::rows::Rows;
use super::super::snapshot::{DATABASE, Snapshot};
use crate::definition::RelationKind;

pub fn sessions(snapshot: &Snapshot, rows: &mut Rows) {
    for session in &snapshot.sessions {
        rows.push([
            ("datid", DATABASE.into()),
            ("datname", session.database.as_str().into()),
            ("pid", session.pid.into()),
            ("usesysid", snapshot.role_oid(&session.user).into()),
            ("usename", session.user.as_str().into()),
            ("application_name", session.application_name.as_str().into()),
            ("client_addr", session.client_address.as_deref().into()),
            ("client_port", session.client_port.into()),
            ("backend_start", session.started_at.into()),
            ("xact_start", session.transaction_started_at.into()),
            ("query_start", session.query_started_at.into()),
            ("state", session.state.into()),
            ("query", session.query.as_str().into()),
            ("backend_type", "client backend".into()),
        ]);
    }
}

pub fn tables(snapshot: &Snapshot, rows: &mut Rows) {
    for relation in snapshot.relations() {
        if matches!(relation.kind, RelationKind::Table(_) | RelationKind::MaterializedView { .. }) {
            let held = snapshot.sizes.get(&relation.id).map_or(0, |size| size.rows as i64);
            rows.push([
                ("relid", relation.id.into()),
                ("schemaname", relation.schema.as_str().into()),
                ("relname", relation.name.as_str().into()),
                ("n_live_tup", held.into()),
            ]);
        }
    }
}
