//! SHOW: settings, and what there is.

use super::answer::{rows, text_columns, text_rows};
use super::context::Context;
use super::prepared::Prepared;
use crate::session::{Session, canonical};
use crate::system;
use arrow::array::StringArray;
use arrow::datatypes::SchemaRef;
use millrace_catalog::{Relation, RelationKind};
use millrace_planner::parse::{ObjectKind, ShowObjects, fold, name_parts};
use millrace_types::{Result, SqlError};
use millrace_wire::{Response, Tag};
use sqlparser::ast::ObjectName;

type TextRow = Vec<Option<String>>;

/// A setting's name as SHOW may write it in several words.
fn setting_name(name: &str) -> &str {
    match name {
        "transaction isolation level" => "transaction_isolation",
        "time zone" => "TimeZone",
        "session authorization" => "session_authorization",
        name => name,
    }
}

pub fn setting_columns(session: &Session, name: &str) -> Result<SchemaRef> {
    let name = setting_name(name);
    if name == "all" {
        return Ok(text_columns(&["name", "setting", "description"]));
    }
    session.settings.get(name)?;
    Ok(text_columns(&[&canonical(name)?]))
}

pub fn setting(session: &Session, prepared: &Prepared, name: &str) -> Result<Response> {
    let schema = columns_of(prepared)?;
    let name = setting_name(name);
    let values: Vec<TextRow> = match name {
        "all" => {
            let all = session.settings.all().into_iter();
            all.map(|(name, value)| vec![Some(name), Some(value), Some(String::new())]).collect()
        }
        name => vec![vec![Some(session.settings.get(name)?.to_owned())]],
    };
    Ok(rows(text_rows(&schema, &values)?, Tag::plain("SHOW")))
}

fn columns_of(prepared: &Prepared) -> Result<SchemaRef> {
    prepared.columns.clone().ok_or_else(|| SqlError::internal("SHOW has columns"))
}

pub fn object_columns(objects: &ShowObjects) -> SchemaRef {
    match objects.kind {
        ObjectKind::Job => text_columns(&["id", "name", "kind", "state", "progress"]),
        ObjectKind::Snapshot => text_columns(&["name", "tick", "bytes"]),
        ObjectKind::Source => text_columns(&["schema", "name", "connector", "state", "records", "bad_records"]),
        ObjectKind::Schema | ObjectKind::Database => text_columns(&["name"]),
        _ => text_columns(&["schema", "name", "owner"]),
    }
}

pub async fn objects(session: &mut Session, prepared: &Prepared, objects: &ShowObjects) -> Result<Response> {
    let schema = columns_of(prepared)?;
    let snapshots = match objects.kind {
        ObjectKind::Snapshot => super::snapshots::lines(session.database.clone(), objects.store.as_deref()).await?,
        _ => vec![],
    };
    let published = session.published();
    let wanted_schema = objects.schema.as_ref().map(fold);
    let listed = published.catalog.relations().filter(|relation| {
        is_listed(objects.kind, relation) && wanted_schema.as_ref().is_none_or(|schema| *schema == relation.schema)
    });
    let mut lines: Vec<TextRow> = match objects.kind {
        ObjectKind::Job => system::jobs(&session.database, &published).into_iter().map(system::Job::line).collect(),
        ObjectKind::Source => listed.map(|relation| source_line(session, relation)).collect(),
        ObjectKind::Schema => published.catalog.schemas().map(|schema| vec![Some(schema.name.clone())]).collect(),
        ObjectKind::Database => vec![vec![Some(session.database_name.clone())]],
        ObjectKind::Index => published.catalog.relations().flat_map(|relation| index_lines(relation)).collect(),
        ObjectKind::Function => vec![],
        ObjectKind::Snapshot => snapshots,
        _ => listed.map(|r| vec![Some(r.schema.clone()), Some(r.name.clone()), Some(r.owner.clone())]).collect(),
    };
    if let Some(pattern) = &objects.like {
        let name = schema.index_of("name").unwrap_or_default();
        lines.retain(|line| line.get(name).and_then(Option::as_deref).is_some_and(|name| like(name, pattern)));
    }
    Ok(rows(text_rows(&schema, &lines)?, Tag::plain("SHOW")))
}

/// Whether a name matches a LIKE pattern.
fn like(name: &str, pattern: &str) -> bool {
    let (name, pattern) = (StringArray::from(vec![name]), StringArray::new_scalar(pattern));
    arrow::compute::kernels::comparison::like(&name, &pattern).is_ok_and(|matches| matches.value(0))
}

fn is_listed(kind: ObjectKind, relation: &Relation) -> bool {
    match (&relation.kind, kind) {
        (RelationKind::Table(table), ObjectKind::Sink) => !table.is_stored(),
        (RelationKind::Table(table), ObjectKind::Table) => table.is_stored(),
        (RelationKind::Source { .. }, ObjectKind::Source) => true,
        (RelationKind::View { .. }, ObjectKind::View) => true,
        (RelationKind::MaterializedView { .. }, ObjectKind::MaterializedView | ObjectKind::View) => true,
        (RelationKind::Sink { .. }, ObjectKind::Sink) => true,
        _ => false,
    }
}

fn index_lines(relation: &Relation) -> Vec<TextRow> {
    let line = |key: &millrace_catalog::Key| {
        vec![Some(relation.schema.clone()), Some(key.name.clone()), Some(relation.owner.clone())]
    };
    relation.index_keys().map(line).collect()
}

fn source_line(session: &Session, relation: &Relation) -> TextRow {
    let connector =
        relation.kind.options().iter().find(|(name, _)| name == "connector").map(|(_, value)| value.clone());
    let summary = system::source_summary(&session.database, relation.id);
    vec![
        Some(relation.schema.clone()),
        Some(relation.name.clone()),
        connector,
        Some(summary.state.to_owned()),
        Some(summary.records.to_string()),
        Some(summary.bad_records.to_string()),
    ]
}

pub fn definition_columns() -> SchemaRef {
    text_columns(&["name", "create_sql"])
}

/// SHOW CREATE
pub fn definition(session: &Session, prepared: &Prepared, name: &ObjectName) -> Result<Response> {
    let context = Context::new(session, session.published(), "");
    let relation = context.resolve(&name_parts(name))?;
    let lines = [vec![Some(format!("{}.{}", relation.schema, relation.name)), Some(relation.sql.clone())]];
    Ok(rows(text_rows(&columns_of(prepared)?, &lines)?, Tag::plain("SHOW")))
}

pub fn column_columns() -> SchemaRef {
    text_columns(&["name", "type", "nullable"])
}

/// SHOW COLUMNS FROM
pub fn columns(session: &Session, prepared: &Prepared, name: &ObjectName) -> Result<Response> {
    let context = Context::new(session, session.published(), "");
    let relation = context.resolve(&name_parts(name))?;
    let line = |column: &millrace_catalog::Column| {
        let nullable = if column.not_null { "no" } else { "yes" };
        vec![Some(column.name.clone()), Some(column.sql_type.to_string()), Some(nullable.to_owned())]
    };
    let lines: Vec<TextRow> = relation.columns.iter().map(line).collect();
    Ok(rows(text_rows(&columns_of(prepared)?, &lines)?, Tag::plain("SHOW")))
}
