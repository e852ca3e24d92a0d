//! What INSERT, UPDATE and DELETE share: running their plans, constraints of rows, and RETURNING.

use super::context::Context;
use super::prepared::scalars;
use super::running::Runnable;
use super::select::{conform, with_parameters};
use crate::coordinator::{nullable, row_identities, value_text};
use crate::reading::Snapshot;
use crate::session::Session;
use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::SchemaRef;
use datafusion::logical_expr::LogicalPlan;
use futures::StreamExt;
use millrace_planner::bind::{Checks, RowExpressions};
use millrace_planner::{Relation, sql_error};
use millrace_types::{Result, SqlError, SqlState};
use millrace_wire::{Response, Tag};
use std::collections::HashSet;
use std::sync::Arc;

/// All rows of a statement's plan, under `schema`.
pub async fn run(
    session: &mut Session,
    context: &Context,
    plan: &LogicalPlan,
    parameters: &[ArrayRef],
    snapshot: Arc<Snapshot>,
    schema: &SchemaRef,
) -> Result<RecordBatch> {
    let plan = with_parameters(plan.clone(), parameters)?;
    let batches = Runnable::new(session, context, plan, snapshot).await?.collect(session).await?;
    let batches = batches.into_iter().map(|rows| conform(rows, schema)).collect::<Result<Vec<_>>>()?;
    match &batches[..] {
        [rows] => Ok(rows.clone()),
        many => {
            let nullable = many.first().map_or_else(|| schema.clone(), RecordBatch::schema);
            Ok(concat_batches(&nullable, many)?)
        }
    }
}

/// Checks NOT NULL and CHECK of rows that are to be stored.
///
/// # Errors
/// `23502` and `23514`, with the row.
pub fn check_rows(relation: &Relation, checks: &Checks, rows: &RecordBatch) -> Result<()> {
    for (index, field) in relation.schema.fields().iter().enumerate() {
        let column = rows.column(index);
        if !field.is_nullable() && column.null_count() > 0 {
            let row = (0..rows.num_rows()).find(|row| column.is_null(*row)).unwrap_or_default();
            let message = format!(
                "null value in column \"{}\" of relation \"{}\" violates not-null constraint",
                field.name(),
                relation.name
            );
            return Err(SqlError::new(SqlState::NOT_NULL_VIOLATION, message).with_detail(failing(rows, row)));
        }
    }
    if let Some((name, row)) = checks.violated(rows)? {
        let message = format!("new row for relation \"{}\" violates check constraint \"{name}\"", relation.name);
        return Err(SqlError::new(SqlState::CHECK_VIOLATION, message).with_detail(failing(rows, row)));
    }
    Ok(())
}

fn failing(rows: &RecordBatch, row: usize) -> String {
    let values: Vec<_> = rows.columns().iter().map(|column| value_text(column, row)).collect();
    format!("Failing row contains ({}).", values.join(", "))
}

/// The values of expressions over rows.
pub fn evaluate(expressions: &RowExpressions, rows: &RecordBatch, parameters: &[ArrayRef]) -> Result<RecordBatch> {
    let physical = expressions.physical(&scalars(parameters)?)?;
    let columns = physical.iter().zip(expressions.schema.fields()).map(|(expression, field)| {
        let value = expression.evaluate(rows).and_then(|value| value.into_array(rows.num_rows())).map_err(sql_error)?;
        match value.data_type() == field.data_type() {
            true => Ok(value),
            false => Ok(arrow::compute::cast(&value, field.data_type())?),
        }
    });
    let schema = nullable(&expressions.schema);
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    Ok(RecordBatch::try_new_with_options(schema, columns.collect::<Result<_>>()?, &options)?)
}

/// What a statement did.
pub struct Changed {
    /// How many rows it inserted, updated or deleted.
    pub rows: usize,
    /// What RETURNING gives.
    pub returned: Option<RecordBatch>,
    /// Whether a row was to be changed several times, and was once.
    pub repeated: bool,
}

/// The answer: a count, or the rows of RETURNING.
pub fn answer(tag: &str, changed: Changed) -> Response {
    match changed.returned {
        None => Response::Complete(format!("{tag} {}", changed.rows)),
        Some(rows) => Response::Rows {
            schema: rows.schema(),
            rows: futures::stream::iter([Ok(rows)]).boxed(),
            tag: Tag::counted(tag),
        },
    }
}

/// The rows of a table that a statement changes, which are the first columns of `rows`: each different one once, and how
/// often it is there. Equal rows stand there several times, and so do rows that several rows of FROM or USING match.
pub fn each_once(relation: &Relation, rows: RecordBatch, snapshot: &Snapshot) -> Result<(RecordBatch, Vec<i64>)> {
    let own: Vec<usize> = (0..relation.schema.fields().len()).collect();
    let mut seen = HashSet::new();
    let identities = row_identities(&rows.project(&own)?)?;
    let first = identities.into_iter().zip(0u32..).filter(|(identity, _)| seen.insert(*identity));
    let first: UInt32Array = first.map(|(_, row)| row).collect();
    if first.len() == rows.num_rows() {
        let weights = vec![1; rows.num_rows()];
        return Ok((rows, weights));
    }
    let rows = take_record_batch(&rows, &first)?;
    let weights = snapshot.unnoted(relation.id)?.net_weights(&rows.project(&own)?)?;
    Ok((rows, weights))
}
