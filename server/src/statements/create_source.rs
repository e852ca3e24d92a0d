//! CREATE SOURCE.

use super::answer::done;
use super::context::Context;
use super::create_table::column;
use super::create_view::{already_there, define};
use super::watermark;
use crate::coordinator::{Parts, machine_now, schema_of, schema_of_columns};
use crate::session::Session;
use arrow::datatypes::{Schema, SchemaRef};
use millrace_catalog::{Column, Generated, Relation, RelationKind};
use millrace_connectors::CONNECTORS;
use millrace_planner::parse::{ColumnDefinition, CreateSource, GeneratedColumn, fold, name_parts};
use millrace_types::{Result, SqlError, SqlState, field_of, sql_type_of};
use millrace_wire::Response;
use std::sync::Arc;

pub async fn execute(session: &mut Session, create: &CreateSource, text: &str) -> Result<Response> {
    let context = Context::new(session, session.published(), text);
    let taken = context.new_name(&name_parts(&create.name))?;
    if create.if_not_exists
        && let Some(response) = already_there(session, &context, &taken, "CREATE SOURCE")
    {
        return Ok(response);
    }
    if !create.primary_key.is_empty() {
        return Err(
            SqlError::unsupported("a PRIMARY KEY of a source").with_hint("Rows of a source are only ever added.")
        );
    }
    context.published.catalog.check_new_relation(&taken.0, &taken.1)?;
    let options = settled(with_start_time(create.options.clone())).await?;
    let arrives = |definition: &ColumnDefinition| definition.generated == Some(GeneratedColumn::Arrival);
    let read: Vec<_> = create.columns.iter().filter(|definition| !arrives(definition)).cloned().collect();
    let (schema, source) = millrace_connectors::create_source(&options, &declared(&read))?;
    let not_null = |name: &str| create.columns.iter().any(|column| fold(&column.name) == name && column.not_null);
    let columns = schema
        .fields()
        .iter()
        .map(|field| Column { not_null: not_null(field.name()), ..Column::new(field.name(), sql_type_of(field)) });
    let mut columns: Vec<_> = columns.collect();
    for (place, definition) in create.columns.iter().enumerate().filter(|(_, definition)| arrives(definition)) {
        columns.insert(place.min(columns.len()), column(definition, false));
    }
    check_names(&create.columns)?;
    let schema = schema_of_columns(&columns);
    let watermark = create.watermark.as_ref().map(|watermark| watermark::defined(watermark, &schema)).transpose()?;
    let relation = Relation {
        id: session.database.coordinator.allocate(1),
        schema: taken.0,
        name: taken.1,
        kind: RelationKind::Source { options },
        columns,
        sql: text.trim().trim_end_matches(';').to_owned(),
        depends_on: vec![],
        seen: vec![],
        owner: session.user.clone(),
        comment: None,
        event_time: watermark.as_ref().map(|(_, column)| *column),
        watermark: watermark.map(|(watermark, _)| watermark),
        time_zone: context.zone_name(),
        append_only: true,
        created_at: machine_now().0,
        indexes: vec![],
    };
    let timed = watermark::timed(&context, &relation, &schema_of(&relation))?;
    define(session, relation, Parts { source: Some(source), timed, ..Parts::default() }, false).await?;
    done("CREATE SOURCE")
}

/// The options with what a source must remember of the moment when it is made; the cluster it comes from is asked for it.
pub async fn settled(options: Vec<(String, String)>) -> Result<Vec<(String, String)>> {
    let asked = tokio::task::spawn_blocking(|| millrace_connectors::settled(options)).await;
    asked.map_err(|error| SqlError::internal(format!("a source could not be asked: {error}")))?
}

/// The columns of a source that its connector reads: all but those that tell when a row came in.
pub fn read_columns(source: &Relation) -> SchemaRef {
    let read = source.columns.iter().filter(|column| column.generated != Some(Generated::Arrival));
    schema_of_columns(read)
}

/// The columns that a statement declares, as a schema.
pub fn declared(columns: &[ColumnDefinition]) -> SchemaRef {
    let fields = columns.iter().map(|column| field_of(fold(&column.name), &column.sql_type, !column.not_null));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// Refuses columns of the same name.
pub fn check_names(columns: &[ColumnDefinition]) -> Result<()> {
    let mut seen = std::collections::HashSet::new();
    match columns.iter().map(|column| fold(&column.name)).find(|name| !seen.insert(name.clone())) {
        None => Ok(()),
        Some(name) => {
            let message = format!("column \"{name}\" specified more than once");
            Err(SqlError::new(SqlState::DUPLICATE_COLUMN, message))
        }
    }
}

/// A generator that is paced by the clock goes on after a restart where it would be by now: its start is written down.
fn with_start_time(mut options: Vec<(String, String)>) -> Vec<(String, String)> {
    let value = |name: &str| options.iter().find(|(option, _)| option == name).map(|(_, value)| value.as_str());
    let paced = CONNECTORS.iter().any(|connector| {
        Some(connector.name) == value("connector") && connector.source_options().iter().any(|o| o.name == "start.time")
    });
    if paced
        && value("start.time").is_none()
        && let Some(at) = chrono::DateTime::from_timestamp_micros(machine_now().0)
    {
        options.push(("start.time".to_owned(), at.naive_utc().to_string()));
    }
    options
}
