//! `pg_rewrite` and `pg_depend`: which views read which relations, told as Postgres tells it: a view has a rule, and the
//! rule depends on what the view reads.

use super::super::rows::Rows;
use super::super::snapshot::Snapshot;
use crate::definition::{Relation, RelationKind};
use std::sync::Arc;

const PG_CLASS: u32 = 1259;
const PG_REWRITE: u32 = 2618;
const PG_CONSTRAINT: u32 = 2606;

/// Views of both kinds. Their rule has the view's own OID, which is free in `pg_rewrite`.
fn views(snapshot: &Snapshot) -> impl Iterator<Item = &Arc<Relation>> {
    let is_view =
        |kind: &RelationKind| matches!(kind, RelationKind::View { .. } | RelationKind::MaterializedView { .. });
    snapshot.relations().filter(move |relation| is_view(&relation.kind))
}

pub fn rules(snapshot: &Snapshot, rows: &mut Rows) {
    for view in views(snapshot) {
        rows.push([
            ("oid", view.id.into()),
            ("rulename", "_RETURN".into()),
            ("ev_class", view.id.into()),
            ("ev_type", '1'.into()),
            ("ev_enabled", 'O'.into()),
            ("is_instead", true.into()),
        ]);
    }
}

pub fn depend(snapshot: &Snapshot, rows: &mut Rows) {
    for view in views(snapshot) {
        let needs = view.depends_on.iter().map(|needed| (*needed, 'n')).chain([(view.id, 'i')]);
        for (needed, kind) in needs {
            rows.push([
                ("classid", PG_REWRITE.into()),
                ("objid", view.id.into()),
                ("refclassid", PG_CLASS.into()),
                ("refobjid", needed.into()),
                ("deptype", kind.into()),
            ]);
        }
    }
    for relation in snapshot.relations() {
        for key in relation.keys() {
            rows.push([
                ("classid", PG_CLASS.into()),
                ("objid", key.index.into()),
                ("refclassid", PG_CONSTRAINT.into()),
                ("refobjid", key.index.into()),
                ("deptype", 'i'.into()),
            ]);
        }
    }
}
