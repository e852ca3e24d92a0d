//! CREATE VIEW and CREATE MATERIALIZED VIEW.

use super::answer::done;
use super::context::Context;
use super::{emission, replace, temporary};
use crate::coordinator::{Definition, Parts, machine_now};
use crate::session::Session;
use arrow::datatypes::{DataType, Field, SchemaRef};
use millrace_catalog::{Column, Relation, RelationKind, Seen, is_temporary_schema, parse_bytes};
use millrace_ir::Job;
use millrace_planner::bind::{Bound, bind_stored};
use millrace_planner::lower::{Emission, job, lower_to_emit};
use millrace_planner::parse::{CreateMaterializedView, CreateView, fold, name_parts};
use millrace_types::{RelationId, Result, SqlError, SqlState, SqlType, sql_type_of};
use millrace_wire::{Notice, Response};
use sqlparser::ast::{self, Ident};

/// A query planned to be kept up to date.
pub struct PlannedJob {
    pub job: Job,
    /// Its columns, with Postgres's names.
    pub schema: SchemaRef,
    pub depends_on: Vec<RelationId>,
    pub seen: Vec<Seen>,
}

/// Plans the job that keeps a query's rows under an id and name, which appear when `emission` says.
pub fn plan_job(
    context: &Context,
    query: &ast::Query,
    emission: Emission,
    id: RelationId,
    name: &str,
) -> Result<PlannedJob> {
    let bound = maintainable(context, query)?;
    let node = lower_to_emit(&bound, &context.functions, emission)?;
    Ok(PlannedJob { job: job(id, name, node), schema: bound.schema, depends_on: context.used(), seen: context.seen() })
}

/// Binds a query that is to be kept up to date: it takes no parameters.
pub fn maintainable(context: &Context, query: &ast::Query) -> Result<Bound> {
    // As it stands, not as a query on system relations: those cannot be kept, and nobody makes the query into one that
    // can be planned when the view is brought back.
    let bound = bind_stored(query, context, &context.functions)?;
    match bound.parameters.is_empty() {
        true => Ok(bound),
        false => Err(SqlError::new(SqlState::UNDEFINED_PARAMETER, "there is no parameter $1")),
    }
}

/// The columns of a view: those of its query, the first ones renamed.
pub fn view_columns(schema: &SchemaRef, names: &[Ident]) -> Result<Vec<Column>> {
    if names.len() > schema.fields().len() {
        return Err(SqlError::new(SqlState::SYNTAX_ERROR, "too many column names were specified"));
    }
    let mut columns: Vec<Column> = vec![];
    for (index, field) in schema.fields().iter().enumerate() {
        let name = names.get(index).map_or_else(|| field.name().clone(), fold);
        if columns.iter().any(|column| column.name == name) {
            let message = format!("column \"{name}\" specified more than once");
            return Err(SqlError::new(SqlState::DUPLICATE_COLUMN, message));
        }
        columns.push(Column::new(name, stored_type(field)));
    }
    match columns.is_empty() {
        true => Err(SqlError::new(SqlState::INVALID_TABLE_DEFINITION, "view must have at least one column")),
        false => Ok(columns),
    }
}

/// The type in which a column of a query is stored: a numeric that an expression gave more digits after the point than
/// an unconstrained one has keeps them.
fn stored_type(field: &Field) -> SqlType {
    let sql_type = sql_type_of(field);
    match field.data_type() {
        DataType::Decimal128(..) if sql_type.arrow() != *field.data_type() => SqlType::from_arrow(field.data_type()),
        _ => sql_type,
    }
}

/// The options of a materialized view.
///
/// # Errors
/// `22023` for an option or a value that there is not.
fn view_options(options: &[(String, String)]) -> Result<Vec<(String, String)>> {
    for (name, value) in options {
        let invalid = match (name.as_str(), value.to_ascii_lowercase().as_str()) {
            ("on_error", "strict" | "skip") => continue,
            ("memory_limit", value) if parse_bytes(value).is_some_and(|bytes| bytes > 0) => continue,
            ("memory_limit", _) => SqlError::new(
                SqlState::INVALID_PARAMETER_VALUE,
                format!("invalid value for option \"memory_limit\": \"{value}\""),
            )
            .with_hint("Valid units are \"B\", \"kB\", \"MB\", \"GB\", and \"TB\", as in '512MB'."),
            ("on_error", _) => SqlError::new(
                SqlState::INVALID_PARAMETER_VALUE,
                format!("invalid value for option \"on_error\": \"{value}\""),
            )
            .with_hint("It is 'strict', so that reading the view fails while a row of it does, or 'skip'."),
            _ => SqlError::new(
                SqlState::INVALID_PARAMETER_VALUE,
                format!("unrecognized option \"{name}\" of a materialized view"),
            )
            .with_hint("The options of a materialized view are on_error and memory_limit."),
        };
        return Err(invalid);
    }
    Ok(options.iter().map(|(name, value)| (name.clone(), value.to_ascii_lowercase())).collect())
}

/// What CREATE ... IF NOT EXISTS answers when the name is taken.
pub fn already_there(session: &mut Session, context: &Context, name: &(String, String), tag: &str) -> Option<Response> {
    context.published.catalog.find(&name.0, &name.1)?;
    let message = format!("relation \"{}\" already exists, skipping", name.1);
    session.notice(Notice::plain(message));
    Some(Response::Complete(tag.to_owned()))
}

/// The schema and the name of a view; one of temporary relations is temporary too.
async fn name_of_view(session: &mut Session, create: &CreateView, text: &str) -> Result<(String, String)> {
    let context = Context::new(session, session.published(), text);
    let parts = name_parts(&create.name);
    if create.temporary {
        return temporary::new_name(session, &parts).await;
    }
    let name = context.new_name(&parts)?;
    if session.settings.temporary_schema().is_none() {
        return Ok(name);
    }
    maintainable(&context, &create.ast)?;
    let catalog = &context.published.catalog;
    let mut used = context.used().into_iter().filter_map(|id| catalog.get(id));
    match used.any(|relation| is_temporary_schema(&relation.schema)) {
        true => {
            session.notice(Notice::plain(format!("view \"{}\" will be a temporary view", name.1)));
            temporary::new_name(session, &parts).await
        }
        false => Ok(name),
    }
}

pub async fn execute_plain(session: &mut Session, create: &CreateView, text: &str) -> Result<Response> {
    let taken = name_of_view(session, create, text).await?;
    let context = Context::new(session, session.published(), text);
    let before = if create.or_replace { replace::target(session, &context, &taken, "view")? } else { None };
    if create.if_not_exists
        && let Some(response) = already_there(session, &context, &taken, "CREATE VIEW")
    {
        return Ok(response);
    }
    if before.is_none() {
        context.published.catalog.check_new_relation(&taken.0, &taken.1)?;
    }
    let bound = maintainable(&context, &create.ast)?;
    let relation = Relation {
        id: session.database.coordinator.allocate(1),
        schema: taken.0,
        name: taken.1,
        kind: RelationKind::View { query: create.query.clone() },
        columns: view_columns(&bound.schema, &create.columns)?,
        sql: text.trim().trim_end_matches(';').to_owned(),
        depends_on: context.used(),
        seen: context.seen(),
        owner: session.user.clone(),
        comment: None,
        watermark: None,
        event_time: None,
        time_zone: context.zone_name(),
        append_only: false,
        created_at: machine_now().0,
        indexes: vec![],
    };
    match before {
        None => define(session, relation, Parts::default(), false).await?,
        Some(before) => {
            replace::check_columns(&before.columns, &relation.columns)?;
            let relation = replace::succeed(&before, relation);
            replace::put(session, &before, relation, &create.ast).await?;
        }
    }
    done("CREATE VIEW")
}

pub async fn execute_materialized(
    session: &mut Session,
    create: &CreateMaterializedView,
    text: &str,
) -> Result<Response> {
    let context = Context::new(session, session.published(), text);
    let taken = context.new_name(&name_parts(&create.name))?;
    let before =
        if create.or_replace { replace::target(session, &context, &taken, "materialized view")? } else { None };
    if create.if_not_exists
        && let Some(response) = already_there(session, &context, &taken, "CREATE MATERIALIZED VIEW")
    {
        return Ok(response);
    }
    let mut options = view_options(&create.options)?;
    options.extend(emission::options(create)?);
    if before.is_none() {
        context.published.catalog.check_new_relation(&taken.0, &taken.1)?;
    }
    let id = session.database.coordinator.allocate(1);
    let planned = plan_job(&context, &create.ast, emission::of(&options)?, id, &taken.1)?;
    let relation = Relation {
        id,
        schema: taken.0,
        name: taken.1,
        kind: RelationKind::MaterializedView { query: create.query.clone(), options },
        columns: view_columns(&planned.schema, &create.columns)?,
        sql: text.trim().trim_end_matches(';').to_owned(),
        depends_on: planned.depends_on,
        seen: planned.seen,
        owner: session.user.clone(),
        comment: None,
        watermark: None,
        event_time: planned.job.plan.event_time,
        time_zone: context.zone_name(),
        append_only: planned.job.plan.append_only,
        created_at: machine_now().0,
        indexes: vec![],
    };
    if let Some(before) = before {
        let relation = replace::succeed(&before, relation);
        replace::put(session, &before, relation, &create.ast).await?;
        return done("CREATE MATERIALIZED VIEW");
    }
    let wait = !session.settings.is_on("background_ddl");
    define(session, relation, Parts { job: Some(planned.job), ..Parts::default() }, wait).await?;
    done("CREATE MATERIALIZED VIEW")
}

/// Makes a relation, and remembers that the transaction made it. A statement that is cancelled while it waits for the
/// history of its sources takes the relation back.
pub async fn define(session: &mut Session, relation: Relation, parts: Parts, wait: bool) -> Result<()> {
    temporary::check(&session.published().catalog, &relation)?;
    let (id, cancel) = (relation.id, session.cancel.clone());
    let database = session.database.clone();
    let made = tokio::select! {
        made = database.coordinator.define(Definition::Create { relation, parts, wait }) => made.map(|_| ()),
        reason = cancel.cancelled() => Err(reason),
    };
    match made {
        Ok(()) => {
            session.transaction.created.push(id);
            Ok(())
        }
        Err(error) => {
            session.drop_now(vec![id]).await?;
            Err(error)
        }
    }
}
