//! `pg_foreign_table`, `pg_foreign_server`, `pg_foreign_data_wrapper`: sources and sinks as Postgres would tell of them.
//! The server is the connector; what is left of the options is the table's.

use super::super::cell::Cell;
use super::super::rows::Rows;
use super::super::snapshot::Snapshot;
use crate::definition::{Relation, RelationKind};
use std::collections::BTreeSet;
use std::sync::Arc;

/// OID of the one foreign-data wrapper.
const WRAPPER: u32 = 14_000;
/// OID of the first server; the others count on in the order of their names.
const FIRST_SERVER: u32 = 14_001;

/// Sources and sinks.
pub fn relations(snapshot: &Snapshot) -> impl Iterator<Item = &Arc<Relation>> {
    let is_outside = |kind: &RelationKind| matches!(kind, RelationKind::Source { .. } | RelationKind::Sink { .. });
    snapshot.relations().filter(move |relation| is_outside(&relation.kind))
}

/// The connector of a relation; empty when its options name none.
pub fn connector(relation: &Relation) -> &str {
    let option = relation.kind.options().iter().find(|(key, _)| key == "connector");
    option.map_or("", |(_, connector)| connector.as_str())
}

fn connectors(snapshot: &Snapshot) -> BTreeSet<&str> {
    relations(snapshot).map(|relation| connector(relation)).collect()
}

pub fn wrappers(_: &Snapshot, rows: &mut Rows) {
    rows.push([("oid", WRAPPER.into()), ("fdwname", "millrace".into()), ("fdwowner", 10u32.into())]);
}

pub fn servers(snapshot: &Snapshot, rows: &mut Rows) {
    for (oid, name) in (FIRST_SERVER..).zip(connectors(snapshot)) {
        rows.push([
            ("oid", oid.into()),
            ("srvname", name.into()),
            ("srvowner", 10u32.into()),
            ("srvfdw", WRAPPER.into()),
        ]);
    }
}

pub fn tables(snapshot: &Snapshot, rows: &mut Rows) {
    let connectors = connectors(snapshot);
    for relation in relations(snapshot) {
        let name = connector(relation);
        let server = connectors.iter().position(|known| *known == name).map(|index| FIRST_SERVER + index as u32);
        let options = relation.kind.options().iter().filter(|(key, _)| key != "connector");
        let options: Vec<String> = options.map(|(key, value)| format!("{key}={value}")).collect();
        rows.push([
            ("ftrelid", relation.id.into()),
            ("ftserver", server.into()),
            ("ftoptions", if options.is_empty() { Cell::Null } else { options.into() }),
        ]);
    }
}
