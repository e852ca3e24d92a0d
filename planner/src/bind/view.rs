//! The queries of views.

use super::names::plain_name;
use super::provider::Provider;
use super::query::{self, Bound};
use super::{output, refuse};
use crate::catalog::{Catalog, Relation};
use crate::decorrelate::decorrelate;
use crate::error::sql_error;
use crate::functions::FunctionSource;
use crate::parse::{self, fold};
use arrow::datatypes::{Field, Schema};
use datafusion::common::Column;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::sql::planner::PlannerContext;
use millrace_types::{Result, SqlError, SqlState};
use sqlparser::ast;
use std::sync::Arc;

/// Resolves the query of a view, whose first columns are renamed to `columns`.
///
/// # Errors
/// As [`super::bind_query`]; `42701` when two columns have one name, `42601` for more names than columns, `42P02` for
/// parameters.
pub fn bind_view(
    query: &ast::Query,
    columns: &[ast::Ident],
    catalog: &dyn Catalog,
    functions: &FunctionSource,
) -> Result<Bound> {
    refuse::parameters(query)?;
    let mut bound = super::bind_query(query, catalog, functions, &[])?;
    if columns.len() > bound.schema.fields().len() {
        let message = "CREATE VIEW specifies more column names than columns";
        return Err(SqlError::new(SqlState::SYNTAX_ERROR, message));
    }
    let fields = bound.schema.fields().iter().enumerate().map(|(index, field)| match columns.get(index) {
        Some(name) => field.as_ref().clone().with_name(fold(name)),
        None => field.as_ref().clone(),
    });
    let fields: Vec<Field> = fields.collect();
    for (index, field) in fields.iter().enumerate() {
        if fields[..index].iter().any(|other| other.name() == field.name()) {
            let message = format!("column \"{}\" specified more than once", field.name());
            return Err(SqlError::new(SqlState::DUPLICATE_COLUMN, message));
        }
    }
    bound.schema = Arc::new(Schema::new(fields));
    Ok(bound)
}

/// The plan that stands for a plain view. Errors keep no position: it would be one in the view's text.
pub fn expand(relation: &Relation, text: &str, provider: &Provider) -> Result<LogicalPlan> {
    let expanded = parse::parse_query(text)
        .and_then(|query| query::plan(&query, provider, PlannerContext::new(), &[]))
        .and_then(|plan| decorrelate(plan, provider.functions))
        .and_then(|plan| output::canonical(plan).map_err(sql_error))
        .and_then(|plan| output::stored(plan, provider.functions))
        .and_then(|plan| renamed(plan, relation).map_err(sql_error));
    expanded.map_err(without_position)
}

/// The columns of a view's plan under the names of the view.
fn renamed(plan: LogicalPlan, relation: &Relation) -> datafusion::common::Result<LogicalPlan> {
    let wanted = relation.schema.fields().iter().map(|field| field.name().as_str());
    let columns: Vec<Expr> = plan
        .schema()
        .iter()
        .zip(wanted)
        .map(|((qualifier, field), name)| {
            let column = Expr::Column(Column::from((qualifier, field)));
            if field.name() == name { column } else { column.alias(plain_name(name)) }
        })
        .collect();
    LogicalPlanBuilder::from(plan).project(columns)?.build()
}

fn without_position(error: SqlError) -> SqlError {
    let mut plain = SqlError::new(error.state(), error.message());
    if let Some(detail) = error.detail() {
        plain = plain.with_detail(detail);
    }
    match error.hint() {
        Some(hint) => plain.with_hint(hint),
        None => plain,
    }
}
