//! DELETE.

use super::dml;
use super::expression::{self, RowExpressions};
use super::parameters::{self, Parameters};
use super::provider::Provider;
use super::query;
use crate::catalog::{Catalog, Relation};
use crate::error::sql_error;
use crate::functions::FunctionSource;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use datafusion::sql::planner::PlannerContext;
use millrace_types::{Result, SqlError, SqlType};
use sqlparser::ast;
use std::sync::Arc;

/// A DELETE with its names and types resolved.
#[derive(Clone, Debug)]
pub struct Delete {
    pub relation: Arc<Relation>,
    /// Gives the columns of each row that goes. In a table without a key, a row that several rows of USING match
    /// stands several times.
    pub plan: LogicalPlan,
    pub parameters: Vec<SqlType>,
    /// RETURNING, over the rows that go.
    pub returning: Option<RowExpressions>,
}

/// Resolves a DELETE.
///
/// # Errors
/// `42P01`, `42703`, `42809` for what cannot be changed.
pub fn bind_delete(
    statement: &crate::parse::Delete,
    catalog: &dyn Catalog,
    functions: &FunctionSource,
    parameter_types: &[Option<SqlType>],
) -> Result<Delete> {
    let provider = Provider::new(catalog, functions);
    let delete = &statement.syntax;
    let in_with = statement.with.as_ref().map_or(0, parameters::count);
    let count = parameters::count(delete).max(in_with).max(parameter_types.len());
    let (ast::FromTable::WithFromKeyword(from) | ast::FromTable::WithoutKeyword(from)) = &delete.from;
    let [table] = from.as_slice() else { return Err(SqlError::unsupported("DELETE from several tables")) };
    let (name, known_as) = dml::table_name(&table.relation)?;
    let relation = dml::target(&name, &provider, "delete from")?;

    let fields = relation.schema.fields().iter();
    let items = fields.map(|field| ast::SelectItem::UnnamedExpr(dml::qualified(&known_as, field.name()))).collect();
    let others = delete.using.iter().flatten().cloned();
    let mut select =
        dml::select(items, std::iter::once(table.clone()).chain(others).collect(), delete.selection.clone())?;
    select.with = statement.with.clone();
    let mut plan = query::plan(&select, &provider, PlannerContext::new(), parameter_types)?;
    if delete.using.is_some() && relation.unique_key.is_some() {
        plan = LogicalPlanBuilder::from(plan).distinct().and_then(LogicalPlanBuilder::build).map_err(sql_error)?;
    }
    let returning = expression::returning(&delete.returning, table.clone(), &provider, parameter_types)?;
    let mut known = Parameters::given(parameter_types);
    for plan in std::iter::once(&plan).chain(&returning) {
        known.observe_plan(plan).map_err(sql_error)?;
    }
    Ok(Delete {
        plan: query::typed(plan, &known, count, functions)?,
        parameters: known.types(count),
        returning: returning.map(|plan| RowExpressions::of(plan, &known, functions, "RETURNING")).transpose()?,
        relation,
    })
}
