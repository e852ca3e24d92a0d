//! `pg_namespace`: the schemas.

use super::super::rows::Rows;
use super::super::snapshot::Snapshot;

pub fn fill(snapshot: &Snapshot, rows: &mut Rows) {
    for (oid, name) in snapshot.schemas() {
        let owner = snapshot.catalog.schemas().find(|schema| schema.name == name).map(|schema| schema.owner.as_str());
        let owner = owner.and_then(|owner| snapshot.role_oid(owner)).unwrap_or(10);
        rows.push([("oid", oid.into()), ("nspname", name.into()), ("nspowner", owner.into())]);
    }
}
