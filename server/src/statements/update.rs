//! UPDATE: each row that matches goes, and comes again changed.

use super::prepared::{Body, Prepared};
use super::returning::{Changed, answer, check_rows, each_once, evaluate, run};
use crate::coordinator::Writes;
use crate::session::Session;
use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{Schema, SchemaRef};
use futures::FutureExt;
use millrace_types::{Delta, Result, SqlError, Weights};
use millrace_wire::Response;
use std::sync::Arc;

pub async fn execute(session: &mut Session, prepared: &Arc<Prepared>, parameters: Vec<ArrayRef>) -> Result<Response> {
    let changed =
        session.write(false, |session| compute(session, prepared.clone(), parameters.clone()).boxed()).await?;
    Ok(answer("UPDATE", changed))
}

pub async fn compute(
    session: &mut Session,
    prepared: Arc<Prepared>,
    parameters: Vec<ArrayRef>,
) -> Result<(Writes, Changed)> {
    let planned = prepared.planned(session)?;
    let Body::Update(update) = &planned.body else { return Err(SqlError::internal("an UPDATE has a plan")) };
    let snapshot = session.snapshot();
    let pairs = old_and_new(&update.relation.schema);
    let rows = run(session, &planned.context, &update.plan, &parameters, snapshot.clone(), &pairs).await?;
    let matches = rows.num_rows() as i64;
    let (rows, weights) = each_once(&update.relation, rows, &snapshot)?;
    let width = update.relation.schema.fields().len();
    let old = rows.project(&(0..width).collect::<Vec<_>>())?;
    let new = update.generated.fill(rows.project(&(width..2 * width).collect::<Vec<_>>())?)?;
    check_rows(&update.relation, &update.checks, &new)?;
    let returned = update.returning.as_ref().map(|returning| evaluate(returning, &new, &parameters)).transpose()?;
    let mut writes = Writes::default();
    writes.add(update.relation.id, replacement(old, new, &weights)?);
    let count = weights.iter().sum::<i64>();
    Ok((writes, Changed { rows: count as usize, returned, repeated: matches > count }))
}

/// The columns of a table twice, as the plan of an UPDATE gives them.
fn old_and_new(schema: &SchemaRef) -> SchemaRef {
    let twice = schema.fields().iter().chain(schema.fields().iter()).cloned();
    Arc::new(Schema::new(twice.collect::<Vec<_>>()))
}

/// Rows that go and rows that come in their stead, as one delta.
pub fn replacement(old: RecordBatch, new: RecordBatch, weights: &[i64]) -> Result<Delta> {
    let schema = new.schema();
    let old = RecordBatch::try_new(schema.clone(), old.columns().to_vec())?;
    let signed: Vec<i64> = weights.iter().map(|weight| -weight).chain(weights.iter().copied()).collect();
    Ok(Delta::new(concat_batches(&schema, [&old, &new])?, Weights::Each(signed.into())))
}
