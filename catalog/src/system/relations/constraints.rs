//! `pg_constraint`: primary keys, UNIQUE and CHECK constraints.

use super::super::rows::Rows;
use super::super::snapshot::{Snapshot, derived_oid, quote_identifier};
use super::indexes::{attribute_numbers, is_primary};
use crate::definition::{Check, Key, Relation};

pub fn fill(snapshot: &Snapshot, rows: &mut Rows) {
    for relation in snapshot.relations() {
        for key in relation.keys() {
            rows.push([
                ("oid", key.index.into()),
                ("conname", key.name.as_str().into()),
                ("connamespace", snapshot.schema_oid(&relation.schema).into()),
                ("contype", if is_primary(relation, key) { 'p' } else { 'u' }.into()),
                ("convalidated", true.into()),
                ("conrelid", relation.id.into()),
                ("conindid", key.index.into()),
                ("conislocal", true.into()),
                ("connoinherit", true.into()),
                ("conkey", attribute_numbers(key)),
            ]);
        }
        for (index, check) in relation.checks().iter().enumerate() {
            rows.push([
                ("oid", derived_oid(relation.id, index).into()),
                ("conname", check.name.as_str().into()),
                ("connamespace", snapshot.schema_oid(&relation.schema).into()),
                ("contype", 'c'.into()),
                ("convalidated", true.into()),
                ("conrelid", relation.id.into()),
                ("conislocal", true.into()),
                ("conbin", check.sql.as_str().into()),
            ]);
        }
    }
}

/// What `pg_get_constraintdef` says of a key.
pub fn key_definition(relation: &Relation, key: &Key) -> String {
    let word = if is_primary(relation, key) { "PRIMARY KEY" } else { "UNIQUE" };
    format!("{word} ({})", column_list(relation, key))
}

/// What `pg_get_constraintdef` says of a CHECK.
pub fn check_definition(check: &Check) -> String {
    format!("CHECK ({})", check.sql)
}

/// The names of a key's columns as SQL writes them.
pub fn column_list(relation: &Relation, key: &Key) -> String {
    let columns = key.columns.iter().filter_map(|column| relation.columns.get(*column));
    columns.map(|column| quote_identifier(&column.name)).collect::<Vec<_>>().join(", ")
}
