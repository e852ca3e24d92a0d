//! UPDATE: each row that matches goes, and comes again changed.

use super::prepared::{Body, Prepared};
use super::returning::{Changed, answer, check_rows, distinct_rows, evaluate, run};
use crate::coordinator::{Writes, row_identities};
use crate::reading::Snapshot;
use crate::session::Session;
use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::{Schema, SchemaRef};
use futures::FutureExt;
use millrace_planner::bind::Update;
use millrace_types::{Delta, Result, SqlError, Weights};
use millrace_wire::Response;
use std::sync::Arc;

pub async fn execute(session: &mut Session, prepared: &Arc<Prepared>, parameters: Vec<ArrayRef>) -> Result<Response> {
    let changed =
        session.write(false, |session| compute(session, prepared.clone(), parameters.clone()).boxed()).await?;
    Ok(answer("UPDATE", changed))
}

async fn compute(
    session: &mut Session,
    prepared: Arc<Prepared>,
    parameters: Vec<ArrayRef>,
) -> Result<(Writes, Changed)> {
    let planned = prepared.planned(session)?;
    let Body::Update(update) = &planned.body else { return Err(SqlError::internal("an UPDATE has a plan")) };
    let snapshot = session.snapshot();
    let pairs = old_and_new(&update.relation.schema);
    let rows = run(session, &planned.context, &update.plan, &parameters, snapshot.clone(), &pairs).await?;
    let (old, new, weights) = apart(update, &rows, &snapshot)?;
    let new = update.generated.fill(new)?;
    check_rows(&update.relation, &update.checks, &new)?;
    let returned = update.returning.as_ref().map(|returning| evaluate(returning, &new, &parameters)).transpose()?;
    let mut writes = Writes::default();
    writes.add(update.relation.id, replacement(old, new, &weights)?);
    Ok((writes, Changed { rows: weights.iter().sum::<i64>() as usize, returned }))
}

/// The columns of a table twice, as the plan of an UPDATE gives them.
fn old_and_new(schema: &SchemaRef) -> SchemaRef {
    let twice = schema.fields().iter().chain(schema.fields().iter()).cloned();
    Arc::new(Schema::new(twice.collect::<Vec<_>>()))
}

/// The rows as they are, as they will be, and how often each is there.
fn apart(update: &Update, rows: &RecordBatch, snapshot: &Snapshot) -> Result<(RecordBatch, RecordBatch, Vec<i64>)> {
    let width = update.relation.schema.fields().len();
    let (old, new) = (0..width, width..2 * width);
    let split = |columns: std::ops::Range<usize>, rows: &RecordBatch| rows.project(&columns.collect::<Vec<_>>());
    let old_rows = split(old.clone(), rows)?;
    let identities = row_identities(&old_rows)?;
    let first = distinct_rows(&identities);
    if first.len() == rows.num_rows() {
        return Ok((old_rows, split(new, rows)?, vec![1; rows.num_rows()]));
    }
    // Equal rows, or a row that several rows of FROM match: each different row changes once, as often as it is there.
    let rows = take_record_batch(rows, &first)?;
    let old = split(old, &rows)?;
    let weights = snapshot.model(update.relation.id)?.net_weights(&old)?;
    Ok((old, split(new, &rows)?, weights))
}

/// Rows that go and rows that come in their stead, as one delta.
pub fn replacement(old: RecordBatch, new: RecordBatch, weights: &[i64]) -> Result<Delta> {
    let schema = new.schema();
    let old = RecordBatch::try_new(schema.clone(), old.columns().to_vec())?;
    let signed: Vec<i64> = weights.iter().map(|weight| -weight).chain(weights.iter().copied()).collect();
    Ok(Delta::new(concat_batches(&schema, [&old, &new])?, Weights::Each(signed.into())))
}
