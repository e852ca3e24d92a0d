//! `pg_get_*` and `*_description`: catalog entries spelled out as SQL or told in words.

use super::super::relations::{
    check_definition, description, function, index_definition, key_definition, reference_definition, references,
};
use super::Function;
use super::names::type_name;
use crate::definition::{Key, Relation, RelationKind};
use crate::system::cell::Cell;
use crate::system::snapshot::{Snapshot, derived_oid, quote_identifier};
use millrace_types::{RelationId, Result, SqlError, SqlState};

pub const FUNCTIONS: &[Function] = &[
    Function::new("format_type", &["oid", "int4"], "text", format_type).lenient(),
    Function::new("pg_get_expr", &["text", "oid", "bool"], "text", |_, a| Ok(a[0].clone())).optional(2),
    Function::new("pg_get_viewdef", &["regclass", "any"], "text", view).optional(1),
    Function::new("pg_get_ruledef", &["oid", "bool"], "text", absent).optional(1),
    Function::new("pg_get_triggerdef", &["oid", "bool"], "text", absent).optional(1),
    Function::new("pg_get_indexdef", &["oid", "int4", "bool"], "text", index).optional(1),
    Function::new("pg_get_constraintdef", &["oid", "bool"], "text", constraint).optional(1),
    Function::new("pg_get_partkeydef", &["oid"], "text", absent),
    Function::new("pg_get_partition_constraintdef", &["oid"], "text", absent),
    Function::new("pg_get_statisticsobjdef", &["oid"], "text", absent),
    Function::new("pg_get_statisticsobjdef_columns", &["oid"], "text", absent),
    Function::new("pg_get_serial_sequence", &["text", "text"], "text", serial_sequence),
    Function::new("pg_get_functiondef", &["oid"], "text", absent),
    Function::new("pg_get_function_sqlbody", &["oid"], "text", absent),
    Function::new("pg_get_function_arg_default", &["oid", "int4"], "text", absent),
    Function::new("pg_get_function_result", &["oid"], "text", function_result),
    Function::new("pg_get_function_arguments", &["oid"], "text", function_arguments),
    Function::new("pg_get_function_identity_arguments", &["oid"], "text", function_arguments),
    Function::new("pg_get_userbyid", &["oid"], "name", user),
    Function::new("pg_relation_is_publishable", &["regclass"], "bool", |_, _| Ok(false.into())),
    Function::new("obj_description", &["oid", "name"], "text", object_description).optional(1),
    Function::new("shobj_description", &["oid", "name"], "text", absent),
    Function::new("col_description", &["oid", "int4"], "text", column_description),
];

/// The sequence that numbers a column of a table.
fn serial_sequence(snapshot: &Snapshot, arguments: &[Cell]) -> Result<Cell> {
    let (Some(table), Some(column)) = (arguments[0].text(), arguments[1].text()) else { return Ok(Cell::Null) };
    let table = RelationId(snapshot.require_class(table)?);
    let Some(relation) = snapshot.relations().find(|relation| relation.id == table) else { return Ok(Cell::Null) };
    let Some(column) = relation.column_index(column) else {
        let message = format!("column \"{column}\" of relation \"{}\" does not exist", relation.name);
        return Err(SqlError::new(SqlState::UNDEFINED_COLUMN, message));
    };
    let owned = |relation: &&std::sync::Arc<Relation>| match &relation.kind {
        RelationKind::Sequence(sequence) => sequence.owned_by == Some((table, column)),
        _ => false,
    };
    let found = snapshot.relations().find(owned);
    Ok(found.map_or(Cell::Null, |sequence| {
        format!("{}.{}", quote_identifier(&sequence.schema), quote_identifier(&sequence.name)).into()
    }))
}

/// For what no catalog here holds.
fn absent(_: &Snapshot, _: &[Cell]) -> Result<Cell> {
    Ok(Cell::Null)
}

fn format_type(_: &Snapshot, arguments: &[Cell]) -> Result<Cell> {
    let Some(oid) = arguments[0].oid() else { return Ok(Cell::Null) };
    let modifier = arguments[1].int().and_then(|modifier| i32::try_from(modifier).ok());
    Ok(match oid {
        0 => "-".into(),
        oid => type_name(oid, modifier).unwrap_or_else(|| "???".to_owned()).into(),
    })
}

fn relation<'a>(snapshot: &'a Snapshot, argument: &Cell) -> Option<&'a Relation> {
    snapshot.catalog.get(RelationId(argument.oid()?)).map(AsRef::as_ref)
}

fn view(snapshot: &Snapshot, arguments: &[Cell]) -> Result<Cell> {
    let query = relation(snapshot, &arguments[0]).and_then(|relation| relation.kind.query());
    Ok(query.map(|query| format!(" {query};")).into())
}

fn key<'a>(snapshot: &'a Snapshot, argument: &Cell) -> Option<(&'a Relation, &'a Key)> {
    let oid = argument.oid()?;
    let mut keys =
        snapshot.relations().flat_map(|relation| relation.index_keys().map(move |key| (relation.as_ref(), key)));
    keys.find(|(_, key)| key.index.0 == oid)
}

/// The whole definition, or with a number other than 0 that column of it.
fn index(snapshot: &Snapshot, arguments: &[Cell]) -> Result<Cell> {
    let Some((relation, key)) = key(snapshot, &arguments[0]) else { return Ok(Cell::Null) };
    let position = arguments.get(1).and_then(Cell::int).unwrap_or(0);
    Ok(match usize::try_from(position - 1) {
        Err(_) => index_definition(relation, key).into(),
        Ok(position) => {
            let column = key.columns.get(position).and_then(|column| relation.columns.get(*column));
            column.map_or_else(String::new, |column| quote_identifier(&column.name)).into()
        }
    })
}

fn constraint(snapshot: &Snapshot, arguments: &[Cell]) -> Result<Cell> {
    if let Some((relation, key)) = key(snapshot, &arguments[0]) {
        return Ok(key_definition(relation, key).into());
    }
    let oid = arguments[0].oid();
    let mut foreign = snapshot.relations().flat_map(|relation| references(snapshot, relation));
    if let Some(reference) = foreign.find(|reference| Some(reference.oid) == oid) {
        return Ok(reference_definition(&reference).into());
    }
    let mut checks = snapshot.relations().flat_map(|relation| {
        relation.checks().iter().enumerate().map(|(index, check)| (derived_oid(relation.id, index), check))
    });
    Ok(checks.find(|(known, _)| Some(*known) == oid).map(|(_, check)| check_definition(check)).into())
}

fn function_result(_: &Snapshot, arguments: &[Cell]) -> Result<Cell> {
    let function = arguments[0].oid().and_then(function);
    Ok(function.map(|function| spelled(function.result)).into())
}

fn function_arguments(_: &Snapshot, arguments: &[Cell]) -> Result<Cell> {
    let function = arguments[0].oid().and_then(function);
    let list = function.map(|f| f.arguments.iter().map(|name| spelled(name)).collect::<Vec<_>>().join(", "));
    Ok(list.unwrap_or_default().into())
}

/// The SQL name of a type in a function's signature.
fn spelled(name: &str) -> String {
    crate::system::shape::named_type(name).map_or_else(|| format!("\"{name}\""), |sql_type| sql_type.to_string())
}

fn user(snapshot: &Snapshot, arguments: &[Cell]) -> Result<Cell> {
    let oid = arguments[0].oid().unwrap_or(0);
    Ok(snapshot.role_name(oid).map_or_else(|| format!("unknown (OID={oid})"), str::to_owned).into())
}

fn object_description(snapshot: &Snapshot, arguments: &[Cell]) -> Result<Cell> {
    let of_class = arguments.get(1).and_then(Cell::text).is_none_or(|catalog| catalog == "pg_class");
    let relation = relation(snapshot, &arguments[0]).filter(|_| of_class);
    Ok(relation.and_then(|relation| description(relation, 0)).into())
}

fn column_description(snapshot: &Snapshot, arguments: &[Cell]) -> Result<Cell> {
    let position = arguments[1].int().and_then(|position| usize::try_from(position).ok()).filter(|p| *p > 0);
    let relation = relation(snapshot, &arguments[0]);
    Ok(relation.zip(position).and_then(|(relation, position)| description(relation, position)).into())
}
