//! SELECT, VALUES, WITH: queries over one snapshot.

use super::context::Context;
use super::prepared::{Body, Prepared, scalars};
use super::running::{Rows, Runnable, once};
use crate::coordinator::nullable;
use crate::session::Session;
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use datafusion::logical_expr::LogicalPlan;
use futures::StreamExt;
use millrace_planner::bind::{self, Bound, bind_query, name_outputs};
use millrace_planner::parse::Statement;
use millrace_types::{Result, SqlError, SqlType};
use millrace_wire::{Response, Tag};
use sqlparser::ast;

/// Resolves a query; one that concerns the system's relations is first made into what can be planned.
pub fn bind(context: &Context, query: &ast::Query, types: &[Option<SqlType>]) -> Result<Bound> {
    if !context.is_system() {
        return bind_query(query, context, &context.functions, types);
    }
    let mut query = query.clone();
    // Names follow from the expressions as they were written.
    name_outputs(&mut query);
    millrace_catalog::system::rewrite(&mut query);
    bind_query(&query, context, &context.functions, types)
}

pub async fn execute(session: &mut Session, prepared: &Prepared, parameters: Vec<ArrayRef>) -> Result<Response> {
    let planned = prepared.planned(session)?;
    let Body::Query { bound, lookup } = &planned.body else { return Err(SqlError::internal("a query has a plan")) };
    let locks = matches!(&prepared.statement, Some(Statement::Query(query)) if !query.locks.is_empty());
    let snapshot = if locks { session.validated_snapshot() } else { session.snapshot() };
    let schema = prepared.columns.clone().unwrap_or_else(|| bound.schema.clone());
    if let Some(lookup) = lookup {
        let rows = lookup.run(&snapshot, &parameters)?;
        let told = rows.columns().iter().zip(schema.fields()).all(|(c, field)| c.data_type() == field.data_type());
        let rows = if told { rows } else { conform(rows, &schema)? };
        return Ok(Response::Rows { schema, rows: once(rows), tag: Tag::counted("SELECT") });
    }
    let plan = with_parameters(bound.plan.clone(), &parameters)?;
    let rows = Runnable::new(session, &planned.context, plan, snapshot).await?.stream(session);
    Ok(Response::Rows { rows: conforming(rows, schema.clone()), schema, tag: Tag::counted("SELECT") })
}

/// The plan with its placeholders replaced.
pub fn with_parameters(plan: LogicalPlan, parameters: &[ArrayRef]) -> Result<LogicalPlan> {
    match parameters.is_empty() {
        true => Ok(plan),
        false => bind::with_parameters(plan, scalars(parameters)?),
    }
}

/// All rows of a query given as an expression tree, and their columns.
pub async fn collect(session: &mut Session, query: &ast::Query, text: &str) -> Result<(SchemaRef, Vec<RecordBatch>)> {
    let snapshot = session.snapshot();
    let context = Context::new(session, snapshot.published.clone(), text);
    let bound = bind(&context, query, &[])?;
    let schema = bound.schema.clone();
    let batches = Runnable::new(session, &context, bound.plan, snapshot).await?.collect(session).await?;
    let batches = batches.into_iter().map(|rows| conform(rows, &schema)).collect::<Result<_>>()?;
    Ok((schema, batches))
}

/// The value of an expression without columns, as a type: a parameter of EXECUTE.
pub async fn constant(session: &mut Session, expression: &ast::Expr, sql_type: &SqlType) -> Result<ArrayRef> {
    let text = format!("SELECT CAST({expression} AS {sql_type})");
    let query = millrace_planner::parse::parse_query(&text)?;
    let (_, batches) = collect(session, &query, &text).await.map_err(SqlError::unplaced)?;
    let first = batches.into_iter().find(|rows| rows.num_rows() > 0);
    first.map(|rows| rows.column(0).slice(0, 1)).ok_or_else(|| SqlError::internal("an expression has a value"))
}

/// Rows under the column names and marks that the client was told.
pub fn conforming(rows: Rows, schema: SchemaRef) -> Rows {
    rows.map(move |rows| conform(rows?, &schema)).boxed()
}

/// See [`conforming`]. Columns are told to be nullable, which the rows of outer joins may make true.
pub fn conform(rows: RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    let columns = rows.columns().iter().zip(schema.fields()).map(|(column, field)| {
        match column.data_type() == field.data_type() {
            true => Ok(column.clone()),
            false => arrow::compute::cast(column, field.data_type()),
        }
    });
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    Ok(RecordBatch::try_new_with_options(nullable(schema), columns, &options)?)
}
