//! CREATE SINK, and INSERT INTO a table that feeds a sink.

use super::answer::done;
use super::context::Context;
use super::create_view::{already_there, define, maintainable, view_columns};
use crate::coordinator::{Parts, machine_now};
use crate::session::Session;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use millrace_catalog::{Relation, RelationKind};
use millrace_ir::{Job, Output};
use millrace_planner::lower::lower;
use millrace_planner::parse::{CreateSink, SinkInput, name_parts, parse_query};
use millrace_types::{Delta, RelationId, Result, SqlError, SqlState};
use millrace_wire::Response;
use sqlparser::ast;

pub async fn execute(session: &mut Session, create: &CreateSink, text: &str) -> Result<Response> {
    let context = Context::new(session, session.published(), text);
    let taken = context.new_name(&name_parts(&create.name))?;
    if create.if_not_exists
        && let Some(response) = already_there(session, &context, &taken, "CREATE SINK")
    {
        return Ok(response);
    }
    context.published.catalog.check_new_relation(&taken.0, &taken.1)?;
    let (query, parsed) = match &create.from {
        SinkInput::Query { query, ast } => (query.clone(), ast.clone()),
        SinkInput::Relation(name) => {
            context.resolve(&name_parts(name))?;
            let query = format!("SELECT * FROM {name}");
            (query.clone(), parse_query(&query)?)
        }
    };
    let id = session.database.coordinator.allocate(1);
    let (job, schema) = plan_stream(&context, &parsed, id, &taken.1)?;
    let (given, rows) = (create.options.clone(), schema.clone());
    let options = tokio::task::spawn_blocking(move || millrace_connectors::settled_sink(given, &rows)).await;
    let options = options.map_err(|error| SqlError::internal(format!("a sink could not be asked: {error}")))??;
    let sink = millrace_connectors::create_sink(&options, &schema, job.plan.append_only)?;
    let relation = Relation {
        id,
        schema: taken.0,
        name: taken.1,
        kind: RelationKind::Sink { query, options },
        columns: view_columns(&schema, &[])?,
        sql: text.trim().trim_end_matches(';').to_owned(),
        depends_on: context.used(),
        seen: context.seen(),
        owner: session.user.clone(),
        comment: None,
        watermark: None,
        event_time: None,
        time_zone: context.zone_name(),
        append_only: job.plan.append_only,
        created_at: machine_now().0,
        indexes: vec![],
    };
    define(session, relation, Parts { job: Some(job), sink: Some(sink), ..Parts::default() }, false).await?;
    done("CREATE SINK")
}

/// Plans the job that hands on a query's changes, and tells its columns.
pub fn plan_stream(context: &Context, query: &ast::Query, id: RelationId, name: &str) -> Result<(Job, SchemaRef)> {
    let bound = maintainable(context, query)?;
    let plan = lower(&bound, &context.functions)?;
    Ok((Job { id, name: name.to_owned(), plan, output: Output::Stream }, bound.schema))
}

/// INSERT INTO a table that feeds a sink: a job that goes on until it is dropped.
pub async fn insert_job(session: &mut Session, target: &Relation, query: &ast::Query, text: &str) -> Result<Response> {
    let context = Context::new(session, session.published(), text);
    let id = session.database.coordinator.allocate(1);
    let name = format!("job_{id}");
    let (job, schema) = plan_stream(&context, query, id, &name)?;
    check_columns(target, &schema)?;
    if !job.plan.append_only && !millrace_connectors::takes_changes(target.kind.options()) {
        let message = format!("cannot insert a query whose rows change into \"{}\"", target.name);
        return Err(SqlError::unsupported("a query whose rows change, in an append-only sink")
            .with_detail(message)
            .with_hint("Create the target with changes = 'true', or insert from an append-only query."));
    }
    let columns = view_columns(&schema, &[])?;
    let depends_on = context.used().into_iter().chain([target.id]).collect();
    let relation = Relation {
        id,
        schema: target.schema.clone(),
        name,
        kind: RelationKind::Job { target: target.id, query: query.to_string() },
        columns,
        sql: text.trim().trim_end_matches(';').to_owned(),
        depends_on,
        seen: context.seen(),
        owner: session.user.clone(),
        comment: None,
        watermark: None,
        event_time: None,
        time_zone: context.zone_name(),
        append_only: job.plan.append_only,
        created_at: machine_now().0,
        indexes: vec![],
    };
    define(session, relation, Parts { job: Some(job), ..Parts::default() }, false).await?;
    done(format!("INSERT JOB {id}"))
}

/// Hands rows to a sink once.
pub async fn write_to_sink(session: &mut Session, sink: RelationId, rows: RecordBatch) -> Result<()> {
    session.database.coordinator.feed(sink, Delta::inserts(rows)).await
}

fn check_columns(target: &Relation, schema: &SchemaRef) -> Result<()> {
    let (given, wanted) = (schema.fields().len(), target.columns.len());
    if given != wanted {
        let which = if given > wanted { "expressions than target columns" } else { "target columns than expressions" };
        return Err(SqlError::new(SqlState::SYNTAX_ERROR, format!("INSERT has more {which}")));
    }
    for (field, column) in schema.fields().iter().zip(&target.columns) {
        if *field.data_type() != column.sql_type.arrow() {
            let found = millrace_types::sql_type_of(field);
            let message =
                format!("column \"{}\" is of type {} but expression is of type {found}", column.name, column.sql_type);
            return Err(SqlError::new(SqlState::DATATYPE_MISMATCH, message)
                .with_hint("You will need to rewrite or cast the expression."));
        }
    }
    Ok(())
}
