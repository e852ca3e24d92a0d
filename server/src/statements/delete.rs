//! DELETE.

use super::prepared::{Body, Prepared};
use super::returning::{Changed, answer, each_once, evaluate, run};
use crate::coordinator::Writes;
use crate::session::Session;
use arrow::array::ArrayRef;
use futures::FutureExt;
use millrace_types::{Delta, Result, SqlError, Weights};
use millrace_wire::Response;
use std::sync::Arc;

pub async fn execute(session: &mut Session, prepared: &Arc<Prepared>, parameters: Vec<ArrayRef>) -> Result<Response> {
    let changed =
        session.write(false, |session| compute(session, prepared.clone(), parameters.clone()).boxed()).await?;
    Ok(answer("DELETE", changed))
}

pub async fn compute(
    session: &mut Session,
    prepared: Arc<Prepared>,
    parameters: Vec<ArrayRef>,
) -> Result<(Writes, Changed)> {
    let planned = prepared.planned(session)?;
    let Body::Delete(delete) = &planned.body else { return Err(SqlError::internal("a DELETE has a plan")) };
    let snapshot = session.snapshot();
    let schema = &delete.relation.schema;
    let rows = run(session, &planned.context, &delete.plan, &parameters, snapshot.clone(), schema).await?;
    let matches = rows.num_rows() as i64;
    let (rows, weights) = each_once(&delete.relation, rows, &snapshot)?;
    let returned = delete.returning.as_ref().map(|returning| evaluate(returning, &rows, &parameters)).transpose()?;
    let count: i64 = weights.iter().sum();
    let gone: Vec<i64> = weights.iter().map(|weight| -weight).collect();
    let mut writes = Writes::default();
    writes.add(delete.relation.id, Delta::new(rows, Weights::Each(gone.into())));
    Ok((writes, Changed { rows: count as usize, returned, repeated: matches > count }))
}
