//! SUBSCRIBE: the changes of a relation or query, whole ticks in order.
//!
//! Each row is preceded by `millrace_tick`, the tick that changed it, and `millrace_diff`, how often it was inserted
//! (positive) or retracted. First comes the state as it is, as insertions. With `progress` a row without a change
//! (`millrace_diff` is NULL) follows each tick, so that a reader knows that the tick is complete.

use super::context::Context;
use super::create_view::plan_job;
use super::running::{Rows, receiver_stream};
use super::select;
use crate::coordinator::{Definition, Parts, Subscription};
use crate::database::Database;
use crate::session::Session;
use arrow::array::{ArrayRef, Int64Array, RecordBatch, new_null_array};
use arrow::datatypes::{Schema, SchemaRef};
use millrace_catalog::{Column, Relation, RelationKind};
use millrace_dataflow::state::net;
use millrace_planner::lower::Emission;
use millrace_planner::parse::{Subscribe, SubscribeTarget, name_parts};
use millrace_types::{Delta, RelationId, Result, SqlError, SqlState, SqlType, Tick, field_of, sql_type_of};
use millrace_wire::{Notice, Response, Tag};
use std::sync::Arc;
use tokio::sync::mpsc;

/// Batches on their way to the client.
const READ_AHEAD: usize = 2;

pub async fn execute(session: &mut Session, subscribe: &Subscribe, text: &str) -> Result<Response> {
    let (schema, rows) = open(session, subscribe, text).await?;
    if session.settings.get("application_name")? == "psql" {
        let mut notice =
            Notice::plain("psql shows rows when a statement ends, which this one does when it is cancelled");
        notice.content = notice.content.with_hint("COPY (SUBSCRIBE ...) TO STDOUT shows changes as they happen.");
        session.notice(notice);
    }
    Ok(Response::Rows { schema, rows, tag: Tag::counted("SUBSCRIBE") })
}

/// The columns of the answer.
pub fn columns(session: &Session, subscribe: &Subscribe, text: &str) -> Result<SchemaRef> {
    let context = Context::new(session, session.published(), text);
    let schema = match &subscribe.target {
        SubscribeTarget::Relation(name) => crate::coordinator::schema_of(context.resolve(&name_parts(name))?),
        SubscribeTarget::Query { ast, .. } => select::bind(&context, ast, &[])?.schema,
    };
    Ok(change_columns(&schema))
}

fn change_columns(schema: &SchemaRef) -> SchemaRef {
    let own = [field_of("millrace_tick", &SqlType::Int8, false), field_of("millrace_diff", &SqlType::Int8, true)];
    let rest = schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
    Arc::new(Schema::new(own.into_iter().chain(rest).collect::<Vec<_>>()))
}

/// Starts to follow.
pub async fn open(session: &mut Session, subscribe: &Subscribe, text: &str) -> Result<(SchemaRef, Rows)> {
    let options = Options::of(subscribe)?;
    let (relation, temporary) = match &subscribe.target {
        SubscribeTarget::Relation(name) => (existing(session, &name_parts(name), text)?, None),
        SubscribeTarget::Query { query, ast } => {
            let relation = temporary_view(session, query, ast, text).await?;
            (relation, Some(Temporary { database: session.database.clone(), relation }))
        }
    };
    let subscription = session.database.coordinator.subscribe(relation).await?;
    let schema = change_columns(subscription.snapshot.schema());
    let (sender, rows) = mpsc::channel(READ_AHEAD);
    tokio::spawn(follow(subscription, schema.clone(), options, sender, temporary));
    Ok((schema, receiver_stream(rows)))
}

#[derive(Clone, Copy)]
struct Options {
    snapshot: bool,
    progress: bool,
}

impl Options {
    fn of(subscribe: &Subscribe) -> Result<Options> {
        let mut options = Options { snapshot: true, progress: false };
        for (name, value) in &subscribe.options {
            let on = !matches!(value.as_str(), "false" | "off" | "0");
            match name.as_str() {
                "snapshot" => options.snapshot = on,
                "progress" => options.progress = on,
                _ => {
                    return Err(SqlError::new(
                        SqlState::SYNTAX_ERROR,
                        format!("unrecognized SUBSCRIBE option \"{name}\""),
                    )
                    .with_hint("The options are snapshot and progress."));
                }
            }
        }
        Ok(options)
    }
}

fn existing(session: &Session, name: &[String], text: &str) -> Result<RelationId> {
    let context = Context::new(session, session.published(), text);
    let relation = context.resolve(name)?;
    match &relation.kind {
        RelationKind::MaterializedView { .. } => Ok(relation.id),
        RelationKind::Table(table) if table.is_stored() => Ok(relation.id),
        kind => {
            let message = format!("\"{}\" is a {}, whose changes are not kept", relation.name, kind.noun());
            let hint = format!("Use SUBSCRIBE (SELECT ... FROM {}).", relation.name);
            Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, message).with_hint(hint))
        }
    }
}

/// A query is followed through a view of its own, which goes with the subscription.
async fn temporary_view(
    session: &mut Session,
    query: &str,
    ast: &sqlparser::ast::Query,
    text: &str,
) -> Result<RelationId> {
    let context = Context::new(session, session.published(), text);
    let id = session.database.coordinator.allocate(1);
    let name = format!("subscription_{id}");
    let planned = plan_job(&context, ast, Emission::Changes, id, &name)?;
    let columns = planned.schema.fields().iter().map(|field| Column::new(field.name(), sql_type_of(field))).collect();
    let relation = Relation {
        id,
        schema: millrace_catalog::DEFAULT_SCHEMA.to_owned(),
        name,
        kind: RelationKind::MaterializedView { query: query.to_owned(), options: crate::coordinator::temporary() },
        columns,
        sql: text.to_owned(),
        depends_on: planned.depends_on,
        seen: planned.seen,
        owner: session.user.clone(),
        comment: None,
        watermark: None,
        event_time: None,
        time_zone: None,
        append_only: planned.job.plan.append_only,
        created_at: crate::coordinator::machine_now().0,
        indexes: vec![],
    };
    let parts = Parts { job: Some(planned.job), ..Parts::default() };
    session.database.coordinator.define(Definition::Create { relation, parts, wait: true }).await?;
    Ok(id)
}

/// Drops the view of a subscription with it.
struct Temporary {
    database: Arc<Database>,
    relation: RelationId,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let (database, relations) = (self.database.clone(), vec![self.relation]);
        tokio::spawn(async move {
            // The server may be shutting down.
            let _ = database.coordinator.define(Definition::Drop { relations, schema: None }).await;
        });
    }
}

type Sender = mpsc::Sender<Result<RecordBatch>>;

async fn follow(
    subscription: Subscription,
    schema: SchemaRef,
    options: Options,
    sender: Sender,
    _held: Option<Temporary>,
) {
    let Subscription { snapshot, tick, mut updates } = subscription;
    if options.snapshot {
        for delta in snapshot.deltas() {
            let rows = delta.and_then(|delta| changes(&schema, tick, &delta));
            if sender.send(rows).await.is_err() {
                return;
            }
        }
    }
    if options.progress && sender.send(progress(&schema, tick)).await.is_err() {
        return;
    }
    loop {
        let update = tokio::select! {
            update = updates.recv() => update,
            () = sender.closed() => return,
        };
        let Some(update) = update else { break };
        let rows = match net(update.deltas) {
            Ok(deltas) => deltas.iter().map(|delta| changes(&schema, update.tick, delta)).collect(),
            Err(error) => vec![Err(error)],
        };
        for rows in rows {
            if sender.send(rows).await.is_err() {
                return;
            }
        }
        if options.progress && sender.send(progress(&schema, update.tick)).await.is_err() {
            return;
        }
    }
    let message = "the subscription ended: the relation was dropped, or the reader fell too far behind";
    let _ = sender.send(Err(SqlError::new(SqlState::OBJECT_IN_USE, message))).await;
}

fn changes(schema: &SchemaRef, tick: Tick, delta: &Delta) -> Result<RecordBatch> {
    let ticks: ArrayRef = Arc::new(Int64Array::from(vec![tick.0 as i64; delta.len()]));
    let weights: ArrayRef = Arc::new(Int64Array::new(delta.weights_buffer(), None));
    let columns = [ticks, weights].into_iter().chain(delta.rows().columns().iter().cloned()).collect();
    Ok(RecordBatch::try_new(schema.clone(), columns)?)
}

fn progress(schema: &SchemaRef, tick: Tick) -> Result<RecordBatch> {
    let ticks: ArrayRef = Arc::new(Int64Array::from(vec![tick.0 as i64]));
    let nulls = schema.fields().iter().skip(1).map(|field| new_null_array(field.data_type(), 1));
    Ok(RecordBatch::try_new(schema.clone(), [ticks].into_iter().chain(nulls).collect())?)
}
