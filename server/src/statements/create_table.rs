//! CREATE TABLE: stored rows, or the door to a sink.

use super::answer::done;
use super::context::Context;
use super::create_source::{check_names, declared};
use super::create_view::{already_there, define};
use crate::coordinator::{Parts, now};
use crate::session::Session;
use millrace_catalog::{Check, Column, Key, Relation, RelationKind, TableDefinition};
use millrace_planner::parse::{ConflictBehavior, CreateTable, fold, name_parts};
use millrace_types::{RelationId, Result, SqlError, SqlState};
use millrace_wire::{Notice, Response};
use sqlparser::ast::Ident;

/// Postgres's limit on columns.
const COLUMNS_MAX: usize = 1600;

pub async fn execute(session: &mut Session, create: &CreateTable, text: &str) -> Result<Response> {
    let context = Context::new(session, session.published(), text);
    let taken = context.new_name(&name_parts(&create.name))?;
    if create.if_not_exists
        && let Some(response) = already_there(session, &context, &taken, "CREATE TABLE")
    {
        return Ok(response);
    }
    context.published.catalog.check_new_relation(&taken.0, &taken.1)?;
    refuse(create)?;
    check_names(&create.columns)?;
    if create.not_enforced {
        session.notice(Notice::plain("NOT ENFORCED has no effect: keys are always enforced"));
    }
    let first = session.database.coordinator.allocate(2 + create.unique.len() as u32);
    let (schema, name) = taken;
    let kind = RelationKind::Table(table(create, &name, first)?);
    let relation = Relation {
        id: first,
        schema,
        name,
        columns: columns(create),
        kind,
        sql: text.trim().trim_end_matches(';').to_owned(),
        depends_on: vec![],
        owner: session.user.clone(),
        comment: None,
        append_only: false,
        created_at: now().0,
    };
    context.check_expressions(&relation)?;
    let mut parts = Parts::default();
    if !create.options.is_empty() {
        parts.sink = Some(millrace_connectors::create_sink(&create.options, &declared(&create.columns), true)?);
    }
    define(session, relation, parts, false).await?;
    done("CREATE TABLE")
}

fn refuse(create: &CreateTable) -> Result<()> {
    if create.temporary {
        return Err(SqlError::unsupported("CREATE TEMPORARY TABLE"));
    }
    if create.on_conflict != ConflictBehavior::Error {
        return Err(SqlError::unsupported("ON CONFLICT of a table").with_hint("INSERT ... ON CONFLICT is supported."));
    }
    if create.columns.len() > COLUMNS_MAX {
        let message = format!("tables can have at most {COLUMNS_MAX} columns");
        return Err(SqlError::new(SqlState::TOO_MANY_COLUMNS, message));
    }
    if create.options.is_empty() {
        return Ok(());
    }
    if !create.primary_key.is_empty() || !create.unique.is_empty() || !create.checks.is_empty() {
        return Err(SqlError::unsupported("a constraint of a table that feeds a sink"));
    }
    Ok(())
}

/// The columns as the catalog keeps them; those of the primary key refuse NULL.
pub fn columns(create: &CreateTable) -> Vec<Column> {
    let in_key = |name: &Ident| create.primary_key.iter().any(|key| fold(key) == fold(name));
    let column = |definition: &millrace_planner::parse::ColumnDefinition| Column {
        not_null: definition.not_null || definition.primary_key || in_key(&definition.name),
        default: definition.default.clone(),
        ..Column::new(fold(&definition.name), definition.sql_type.clone())
    };
    create.columns.iter().map(column).collect()
}

/// Keys and checks with the names that Postgres gives them. Index ids follow the table's own.
fn table(create: &CreateTable, name: &str, id: RelationId) -> Result<TableDefinition> {
    let positions = |names: &[Ident]| names.iter().map(|name| position(create, name)).collect::<Result<Vec<_>>>();
    let primary_key = match create.primary_key.is_empty() {
        true => None,
        false => Some(Key {
            name: format!("{name}_pkey"),
            index: RelationId(id.0 + 1),
            columns: positions(&create.primary_key)?,
        }),
    };
    let unique = create.unique.iter().enumerate().map(|(number, names)| {
        let joined: Vec<_> = names.iter().map(fold).collect();
        let name = format!("{name}_{}_key", joined.join("_"));
        Ok(Key { name, index: RelationId(id.0 + 2 + number as u32), columns: positions(names)? })
    });
    let mut checks: Vec<Check> = vec![];
    for check in &create.checks {
        let base = match (&check.name, &check.column) {
            (Some(name), _) => fold(name),
            (None, Some(column)) => format!("{name}_{}_check", fold(column)),
            (None, None) => format!("{name}_check"),
        };
        let taken = |name: &str| checks.iter().any(|check| check.name == name);
        let name =
            (1..).map(|n| format!("{base}{n}")).find(|name| !taken(name)).filter(|_| taken(&base)).unwrap_or(base);
        checks.push(Check { name, sql: check.expression.clone() });
    }
    Ok(TableDefinition { primary_key, unique: unique.collect::<Result<_>>()?, checks, options: create.options.clone() })
}

fn position(create: &CreateTable, name: &Ident) -> Result<usize> {
    let name = fold(name);
    create.columns.iter().position(|column| fold(&column.name) == name).ok_or_else(|| {
        SqlError::new(SqlState::UNDEFINED_COLUMN, format!("column \"{name}\" named in key does not exist"))
    })
}
