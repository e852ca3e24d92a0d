//! `pg_tables`, `pg_views`, `pg_matviews`, `pg_indexes`: what there is of one kind, by name.

use super::super::rows::Rows;
use super::super::shape::SHAPES;
use super::super::snapshot::Snapshot;
use super::indexes::index_definition;
use crate::definition::RelationKind;

pub fn tables(snapshot: &Snapshot, rows: &mut Rows) {
    for relation in snapshot.relations() {
        if matches!(relation.kind, RelationKind::Table(_)) {
            rows.push([
                ("schemaname", relation.schema.as_str().into()),
                ("tablename", relation.name.as_str().into()),
                ("tableowner", relation.owner.as_str().into()),
                ("hasindexes", relation.index_keys().next().is_some().into()),
            ]);
        }
    }
    for shape in SHAPES.iter().filter(|shape| shape.kind == 'r') {
        let owner = snapshot.role_name(10);
        rows.push([
            ("schemaname", shape.schema.into()),
            ("tablename", shape.name.into()),
            ("tableowner", owner.into()),
        ]);
    }
}

pub fn views(snapshot: &Snapshot, rows: &mut Rows) {
    for relation in snapshot.relations() {
        if let RelationKind::View { query } = &relation.kind {
            rows.push([
                ("schemaname", relation.schema.as_str().into()),
                ("viewname", relation.name.as_str().into()),
                ("viewowner", relation.owner.as_str().into()),
                ("definition", format!("{query};").into()),
            ]);
        }
    }
}

pub fn materialized_views(snapshot: &Snapshot, rows: &mut Rows) {
    for relation in snapshot.relations() {
        if let RelationKind::MaterializedView { query, .. } = &relation.kind {
            rows.push([
                ("schemaname", relation.schema.as_str().into()),
                ("matviewname", relation.name.as_str().into()),
                ("matviewowner", relation.owner.as_str().into()),
                ("ispopulated", true.into()),
                ("definition", format!("{query};").into()),
            ]);
        }
    }
}

pub fn indexes(snapshot: &Snapshot, rows: &mut Rows) {
    for relation in snapshot.relations() {
        for key in relation.index_keys() {
            rows.push([
                ("schemaname", relation.schema.as_str().into()),
                ("tablename", relation.name.as_str().into()),
                ("indexname", key.name.as_str().into()),
                ("indexdef", index_definition(relation, key).into()),
            ]);
        }
    }
}
