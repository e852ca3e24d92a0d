//! `pg_*_is_visible`: whether a bare name finds the object. Types and functions are all in `pg_catalog`.

use super::Function;
use crate::system::cell::Cell;
use crate::system::snapshot::Snapshot;
use millrace_types::Result;

pub const FUNCTIONS: &[Function] = &[
    Function::new("pg_table_is_visible", &["oid"], "bool", table),
    Function::new("pg_type_is_visible", &["oid"], "bool", always),
    Function::new("pg_function_is_visible", &["oid"], "bool", always),
    Function::new("pg_operator_is_visible", &["oid"], "bool", always),
    Function::new("pg_opclass_is_visible", &["oid"], "bool", always),
    Function::new("pg_opfamily_is_visible", &["oid"], "bool", always),
    Function::new("pg_collation_is_visible", &["oid"], "bool", always),
    Function::new("pg_conversion_is_visible", &["oid"], "bool", always),
    Function::new("pg_statistics_obj_is_visible", &["oid"], "bool", always),
    Function::new("pg_ts_config_is_visible", &["oid"], "bool", always),
    Function::new("pg_ts_dict_is_visible", &["oid"], "bool", always),
    Function::new("pg_ts_parser_is_visible", &["oid"], "bool", always),
    Function::new("pg_ts_template_is_visible", &["oid"], "bool", always),
];

fn table(snapshot: &Snapshot, arguments: &[Cell]) -> Result<Cell> {
    Ok(arguments[0].oid().and_then(|oid| snapshot.class_is_visible(oid)).into())
}

fn always(_: &Snapshot, _: &[Cell]) -> Result<Cell> {
    Ok(true.into())
}
