//! `has_*_privilege`: every role may do everything, with what exists.

use super::Function;
use crate::system::cell::Cell;
use crate::system::snapshot::Snapshot;
use millrace_types::Result;

pub const FUNCTIONS: &[Function] = &[
    Function::new("has_table_privilege", &["any", "any", "text"], "bool", table).optional(2),
    Function::new("has_any_column_privilege", &["any", "any", "text"], "bool", table).optional(2),
    Function::new("has_column_privilege", &["any", "any", "any", "text"], "bool", always).optional(3),
    Function::new("has_schema_privilege", &["any", "any", "text"], "bool", schema).optional(2),
    Function::new("has_database_privilege", &["any", "any", "text"], "bool", always).optional(2),
    Function::new("has_function_privilege", &["any", "any", "text"], "bool", always).optional(2),
    Function::new("has_sequence_privilege", &["any", "any", "text"], "bool", always).optional(2),
    Function::new("has_type_privilege", &["any", "any", "text"], "bool", always).optional(2),
    Function::new("has_language_privilege", &["any", "any", "text"], "bool", always).optional(2),
    Function::new("has_server_privilege", &["any", "any", "text"], "bool", always).optional(2),
    Function::new("has_tablespace_privilege", &["any", "any", "text"], "bool", always).optional(2),
    Function::new("has_foreign_data_wrapper_privilege", &["any", "any", "text"], "bool", always).optional(2),
    Function::new("pg_has_role", &["any", "any", "text"], "bool", always).optional(2),
    Function::new("row_security_active", &["regclass"], "bool", never),
];

/// The object is the last argument but the privilege; before it there may be a role.
fn object(arguments: &[Cell]) -> &Cell {
    &arguments[arguments.len() - 2]
}

fn table(snapshot: &Snapshot, arguments: &[Cell]) -> Result<Cell> {
    if let Some(name) = object(arguments).text() {
        snapshot.require_class(name)?;
    }
    Ok(true.into())
}

fn schema(snapshot: &Snapshot, arguments: &[Cell]) -> Result<Cell> {
    if let Some(name) = object(arguments).text() {
        snapshot.catalog.check_schema(name)?;
    }
    Ok(true.into())
}

fn always(_: &Snapshot, _: &[Cell]) -> Result<Cell> {
    Ok(true.into())
}

fn never(_: &Snapshot, _: &[Cell]) -> Result<Cell> {
    Ok(false.into())
}
