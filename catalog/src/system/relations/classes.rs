//! `pg_class`: relations, their indexes, and the system relations themselves.
//!
//! Tables are `r`, views `v`, materialized views `m`. Sources and sinks are foreign tables, `f`: their rows live
//! outside, behind a server that is the connector.

use super::super::cell::Cell;
use super::super::rows::Rows;
use super::super::shape::SHAPES;
use super::super::snapshot::Snapshot;
use crate::catalog::is_temporary_schema;
use crate::definition::{Key, Relation, RelationKind};

/// OID of the access method `heap`.
const HEAP: u32 = 2;
/// OID of the access method `btree`.
const BTREE: u32 = 403;

pub fn fill(snapshot: &Snapshot, rows: &mut Rows) {
    for relation in snapshot.relations() {
        relation_row(snapshot, relation, rows);
        for key in relation.index_keys() {
            index_row(snapshot, relation, key, rows);
        }
    }
    for shape in SHAPES.iter() {
        rows.push([
            ("oid", shape.oid.into()),
            ("relname", shape.name.into()),
            ("relnamespace", snapshot.schema_oid(shape.schema).into()),
            ("relowner", 10u32.into()),
            ("relam", if shape.kind == 'r' { HEAP } else { 0 }.into()),
            ("relpersistence", 'p'.into()),
            ("relkind", shape.kind.into()),
            ("relnatts", shape.columns.len().into()),
            ("relhasrules", (shape.kind == 'v').into()),
            ("relispopulated", true.into()),
            ("relreplident", 'n'.into()),
        ]);
    }
}

/// `pg_class.relkind` of a relation.
pub fn kind_letter(kind: &RelationKind) -> char {
    match kind {
        RelationKind::Table(_) => 'r',
        RelationKind::View { .. } => 'v',
        RelationKind::MaterializedView { .. } => 'm',
        RelationKind::Sequence(_) => 'S',
        RelationKind::Source { .. } | RelationKind::Sink { .. } | RelationKind::Job { .. } => 'f',
    }
}

/// `pg_class.relpersistence`: `t` for what ends with its session.
fn persistence(relation: &Relation) -> Cell {
    if is_temporary_schema(&relation.schema) { 't' } else { 'p' }.into()
}

fn relation_row(snapshot: &Snapshot, relation: &Relation, rows: &mut Rows) {
    let kind = kind_letter(&relation.kind);
    let stored = matches!(kind, 'r' | 'm');
    let size = snapshot.sizes.get(&relation.id);
    rows.push([
        ("oid", relation.id.into()),
        ("relname", relation.name.as_str().into()),
        ("relnamespace", snapshot.schema_oid(&relation.schema).into()),
        ("relowner", snapshot.role_oid(&relation.owner).into()),
        ("relam", if stored { HEAP } else { 0 }.into()),
        ("relfilenode", if stored { relation.id.0 } else { 0 }.into()),
        ("relpages", size.map_or(0, |size| size.bytes.div_ceil(8_192) as i64).min(i64::from(i32::MAX)).into()),
        ("reltuples", size.map_or(-1.0, |size| size.rows as f64).into()),
        ("relhasindex", relation.index_keys().next().is_some().into()),
        ("relpersistence", persistence(relation)),
        ("relkind", kind.into()),
        ("relnatts", relation.columns.len().into()),
        ("relchecks", relation.checks().len().into()),
        ("relhasrules", matches!(kind, 'v' | 'm').into()),
        ("relispopulated", true.into()),
        ("relreplident", if kind == 'r' { 'd' } else { 'n' }.into()),
    ]);
}

fn index_row(snapshot: &Snapshot, relation: &Relation, key: &Key, rows: &mut Rows) {
    let size = snapshot.sizes.get(&relation.id);
    rows.push([
        ("oid", key.index.into()),
        ("relname", key.name.as_str().into()),
        ("relnamespace", snapshot.schema_oid(&relation.schema).into()),
        ("relowner", snapshot.role_oid(&relation.owner).into()),
        ("relam", BTREE.into()),
        ("relfilenode", key.index.into()),
        ("reltuples", size.map_or(-1.0, |size| size.rows as f64).into()),
        ("relpersistence", persistence(relation)),
        ("relkind", 'i'.into()),
        ("relnatts", key.columns.len().into()),
        ("relispopulated", true.into()),
        ("relreplident", 'n'.into()),
    ]);
}
