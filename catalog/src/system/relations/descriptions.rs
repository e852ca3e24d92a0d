//! `pg_description`: the comments on relations and columns.

use super::super::rows::Rows;
use super::super::snapshot::Snapshot;
use crate::definition::Relation;

/// OID of `pg_class`, the relation that lists what is commented on.
const PG_CLASS: u32 = 1259;

pub fn fill(snapshot: &Snapshot, rows: &mut Rows) {
    for relation in snapshot.relations() {
        for position in 0..=relation.columns.len() {
            let Some(text) = description(relation, position) else { continue };
            rows.push([
                ("objoid", relation.id.into()),
                ("classoid", PG_CLASS.into()),
                ("objsubid", position.into()),
                ("description", text.into()),
            ]);
        }
        for index in &relation.indexes {
            let Some(text) = &index.comment else { continue };
            rows.push([
                ("objoid", index.key.index.into()),
                ("classoid", PG_CLASS.into()),
                ("objsubid", 0usize.into()),
                ("description", text.into()),
            ]);
        }
    }
}

/// The comment on a relation, for position 0, or on its column with that `attnum`.
pub fn description(relation: &Relation, position: usize) -> Option<&str> {
    match position.checked_sub(1) {
        None => relation.comment.as_deref(),
        Some(index) => relation.columns.get(index)?.comment.as_deref(),
    }
}
