//! `pg_constraint`: primary keys, UNIQUE, CHECK and FOREIGN KEY constraints.

use super::super::rows::Rows;
use super::super::snapshot::{Snapshot, derived_oid, quote_identifier};
use super::indexes::{attribute_numbers, is_primary};
use crate::definition::{Check, Deferral, ForeignKey, Key, ReferentialAction, Relation};

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
        for reference in references(snapshot, relation) {
            let action = |action| match action {
                ReferentialAction::Refuse => 'a',
                ReferentialAction::Cascade => 'c',
                ReferentialAction::SetNull => 'n',
            };
            rows.push([
                ("oid", reference.oid.into()),
                ("conname", reference.foreign.name.as_str().into()),
                ("connamespace", snapshot.schema_oid(&relation.schema).into()),
                ("contype", 'f'.into()),
                ("condeferrable", (reference.foreign.deferral != Deferral::Never).into()),
                ("condeferred", (reference.foreign.deferral == Deferral::Deferred).into()),
                ("convalidated", true.into()),
                ("conrelid", relation.id.into()),
                ("conindid", reference.key.index.into()),
                ("confrelid", reference.parent.id.into()),
                ("confupdtype", action(reference.foreign.on_update).into()),
                ("confdeltype", action(reference.foreign.on_delete).into()),
                ("confmatchtype", 's'.into()),
                ("conislocal", true.into()),
                ("connoinherit", true.into()),
                ("conkey", attribute_numbers(reference.own)),
                ("confkey", attribute_numbers(reference.key)),
            ]);
        }
    }
}

/// A foreign key with the keys on both its sides.
pub struct KnownReference<'a> {
    pub oid: u32,
    foreign: &'a ForeignKey,
    child: &'a Relation,
    own: &'a Key,
    parent: &'a Relation,
    key: &'a Key,
}

/// The foreign keys of a table whose other side is still there.
pub fn references<'a>(snapshot: &'a Snapshot, child: &'a Relation) -> impl Iterator<Item = KnownReference<'a>> {
    let first = child.checks().len();
    child.foreign_keys().iter().enumerate().filter_map(move |(index, foreign)| {
        let own = child.index_keys().find(|key| key.index == foreign.index)?;
        let parent: &Relation = snapshot.relations().find(|relation| relation.id == foreign.table)?;
        let key = parent.unique_keys().find(|key| key.index == foreign.key)?;
        Some(KnownReference { oid: derived_oid(child.id, first + index), foreign, child, own, parent, key })
    })
}

/// What `pg_get_constraintdef` says of a foreign key.
pub fn reference_definition(reference: &KnownReference) -> String {
    let KnownReference { child, own, parent, key, foreign, .. } = reference;
    let action = |event: &str, action| match action {
        ReferentialAction::Refuse => String::new(),
        ReferentialAction::Cascade => format!(" ON {event} CASCADE"),
        ReferentialAction::SetNull => format!(" ON {event} SET NULL"),
    };
    format!(
        "FOREIGN KEY ({}) REFERENCES {}({}){}{}{}",
        column_list(child, own),
        quote_identifier(&parent.name),
        column_list(parent, key),
        action("UPDATE", foreign.on_update),
        action("DELETE", foreign.on_delete),
        match foreign.deferral {
            Deferral::Never => "",
            Deferral::Immediate => " DEFERRABLE",
            Deferral::Deferred => " DEFERRABLE INITIALLY DEFERRED",
        },
    )
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
