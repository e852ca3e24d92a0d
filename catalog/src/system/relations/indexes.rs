//! `pg_index`: the indexes behind primary keys and UNIQUE constraints, and those of CREATE INDEX.

use super::super::cell::Cell;
use super::super::rows::Rows;
use super::super::snapshot::{Snapshot, quote_identifier};
use super::constraints::column_list;
use crate::definition::{Key, Relation, RelationKind, TableDefinition};

/// OID of the operator class that `indclass` shows for every column.
const OPERATOR_CLASS: u32 = 10_020;

pub fn fill(snapshot: &Snapshot, rows: &mut Rows) {
    for relation in snapshot.relations() {
        for key in relation.index_keys() {
            let columns = key.columns.len();
            rows.push([
                ("indexrelid", key.index.into()),
                ("indrelid", relation.id.into()),
                ("indnatts", columns.into()),
                ("indnkeyatts", columns.into()),
                ("indisunique", relation.index_of(key).is_none_or(|index| index.unique).into()),
                ("indisprimary", is_primary(relation, key).into()),
                ("indimmediate", true.into()),
                ("indisvalid", true.into()),
                ("indisready", true.into()),
                ("indislive", true.into()),
                ("indkey", attribute_numbers(key)),
                ("indcollation", vec![0u32; columns].into()),
                ("indclass", vec![OPERATOR_CLASS; columns].into()),
                ("indoption", vec![0i16; columns].into()),
            ]);
        }
    }
}

/// Whether a key is the primary key of its table.
pub fn is_primary(relation: &Relation, key: &Key) -> bool {
    matches!(&relation.kind, RelationKind::Table(TableDefinition { primary_key: Some(primary), .. }) if primary == key)
}

/// The columns of a key as `attnum`s.
pub fn attribute_numbers(key: &Key) -> Cell {
    key.columns.iter().map(|column| column + 1).collect::<Vec<_>>().into()
}

/// What `pg_get_indexdef` says of a key's index.
pub fn index_definition(relation: &Relation, key: &Key) -> String {
    let index = relation.index_of(key);
    let unique = if index.is_none_or(|index| index.unique) { "UNIQUE " } else { "" };
    let columns = index.map_or_else(|| format!("({})", column_list(relation, key)), |index| index.sql.clone());
    format!(
        "CREATE {unique}INDEX {} ON {}.{} USING btree {columns}",
        quote_identifier(&key.name),
        quote_identifier(&relation.schema),
        quote_identifier(&relation.name)
    )
}
