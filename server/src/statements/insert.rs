//! INSERT: rows of VALUES or a query, with ON CONFLICT and RETURNING.

use super::conflict::{Resolved, resolve};
use super::context::Context;
use super::create_sink::{insert_job, write_to_sink};
use super::prepared::{Body, Prepared};
use super::returning::{Changed, answer, check_rows, evaluate, run};
use super::running::reads_clock;
use super::select::conform;
use crate::coordinator::Writes;
use crate::reading::Snapshot;
use crate::session::Session;
use arrow::array::{ArrayRef, RecordBatch};
use futures::FutureExt;
use millrace_planner::RelationKind;
use millrace_planner::bind::Insert;
use millrace_types::{Result, SqlError, SqlState};
use millrace_wire::Response;
use sqlparser::ast;
use std::sync::Arc;

pub async fn execute(
    session: &mut Session,
    prepared: &Arc<Prepared>,
    statement: &ast::Insert,
    parameters: Vec<ArrayRef>,
) -> Result<Response> {
    let planned = prepared.planned(session)?;
    if let Body::Insert(insert) = &planned.body
        && insert.relation.kind == RelationKind::Sink
    {
        return into_sink(session, prepared, statement, insert, parameters).await;
    }
    let resolves = statement.on.is_some();
    let changed =
        session.write(resolves, |session| compute(session, prepared.clone(), parameters.clone()).boxed()).await?;
    Ok(answer("INSERT 0", changed))
}

pub async fn compute(
    session: &mut Session,
    prepared: Arc<Prepared>,
    parameters: Vec<ArrayRef>,
) -> Result<(Writes, Changed)> {
    let planned = prepared.planned(session)?;
    let Body::Insert(insert) = &planned.body else { return Err(SqlError::internal("an INSERT has a plan")) };
    let snapshot = session.snapshot();
    let rows = rows(session, &planned.context, insert, &parameters, snapshot.clone()).await?;
    let rows = insert.generated.fill(rows)?;
    let resolved = match &insert.conflict {
        None => Resolved { fresh: rows, replaced: None },
        Some(conflict) => resolve(insert, conflict, rows, &snapshot, &parameters)?,
    };
    let (delta, new) = resolved.changes(|rows| insert.generated.fill(rows))?;
    check_rows(&insert.relation, &insert.checks, &new)?;
    let returned = insert.returning.as_ref().map(|returning| evaluate(returning, &new, &parameters)).transpose()?;
    let mut writes = Writes::default();
    writes.add(insert.relation.id, delta);
    Ok((writes, Changed { rows: new.num_rows(), returned, repeated: false }))
}

/// The rows that are to be inserted.
async fn rows(
    session: &mut Session,
    context: &Context,
    insert: &Insert,
    parameters: &[ArrayRef],
    snapshot: Arc<Snapshot>,
) -> Result<RecordBatch> {
    let schema = &insert.relation.schema;
    // Values that are computed at once read the machine's clock.
    let other_clock = session.transaction.explicit || session.database.coordinator.has_test_clock();
    let is_told = other_clock && reads_clock(&insert.plan);
    match insert.constant.as_ref().filter(|_| !is_told) {
        Some(constant) => conform(constant.evaluate(parameters)?, schema),
        None => run(session, context, &insert.plan, parameters, snapshot, schema).await,
    }
}

/// A query feeds a sink for as long as its job runs; rows that are written out go once.
async fn into_sink(
    session: &mut Session,
    prepared: &Prepared,
    statement: &ast::Insert,
    insert: &Insert,
    parameters: Vec<ArrayRef>,
) -> Result<Response> {
    let target = session.published().catalog.get(insert.relation.id).cloned();
    let target = target.ok_or_else(|| SqlError::new(SqlState::UNDEFINED_TABLE, "the sink was dropped meanwhile"))?;
    match &statement.source {
        Some(query) if !matches!(*query.body, ast::SetExpr::Values(_)) => {
            insert_job(session, &target, query, &prepared.text).await
        }
        _ => {
            let (planned, snapshot) = (prepared.planned(session)?, session.snapshot());
            let rows = rows(session, &planned.context, insert, &parameters, snapshot).await?;
            let count = rows.num_rows();
            write_to_sink(session, target.id, rows).await?;
            Ok(answer("INSERT 0", Changed { rows: count, returned: None, repeated: false }))
        }
    }
}
