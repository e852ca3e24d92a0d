//! LIMIT, OFFSET and DISTINCT ON as row numbers: the form in which lowering finds the rows that come first.
//!
//! ```text
//!   Limit 3 offset 2                    Projection          without the number
//!     Sort by a               -->         Filter            2 < number <= 5
//!       t                                   Window          row_number() OVER (ORDER BY a)
//!                                             t
//! ```
//!
//! `DISTINCT ON (k)` is number 1 of each `k`. Which rows of equal order come first is not said by the query; the
//! operator takes an order of all columns, so that it is the same rows however the changes came. A limit inside of a
//! correlated subquery is left to whoever joins that subquery.

use crate::error::sql_error;
use crate::functions::FunctionSource;
use crate::numbering::{keep_where, number, numbered};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, DataFusionError, Result, ScalarValue};
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::expr::Sort as SortExpr;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Distinct, DistinctOn, Expr, Limit, LogicalPlan, Projection, Sort, SubqueryAlias, lit};
use datafusion::physical_expr::create_physical_expr;
use std::sync::Arc;

/// The plan with the limits of uncorrelated queries and every DISTINCT ON as row numbers.
pub fn first_rows(plan: LogicalPlan, functions: &FunctionSource) -> millrace_types::Result<LogicalPlan> {
    let distinct = |plan| match plan {
        LogicalPlan::Distinct(Distinct::On(distinct)) => first_of_each(distinct, functions).map(Transformed::yes),
        other => Ok(Transformed::no(other)),
    };
    let limit = |plan| match plan {
        LogicalPlan::Limit(limit) if !is_correlated(&limit.input)? => limited(limit, functions).map(Transformed::yes),
        other => Ok(Transformed::no(other)),
    };
    let plan = plan.transform_up_with_subqueries(distinct).map_err(sql_error)?.data;
    Ok(plan.transform_down_with_subqueries(limit).map_err(sql_error)?.data)
}

/// Whether a plan reads columns of a query around it.
fn is_correlated(plan: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    plan.apply(|plan| {
        found |= plan.contains_outer_reference();
        Ok(match plan {
            // What a LATERAL subquery reads of its neighbours is inside of this plan.
            LogicalPlan::Subquery(_) => TreeNodeRecursion::Jump,
            _ => TreeNodeRecursion::Continue,
        })
    })?;
    Ok(found)
}

/// `DISTINCT ON` with its order on top, which a limit may ask for.
fn first_of_each(distinct: DistinctOn, functions: &FunctionSource) -> Result<LogicalPlan> {
    let DistinctOn { on_expr, select_expr, sort_expr, input, schema } = distinct;
    let order = sort_expr.unwrap_or_default();
    let mut plan = from_to(input, functions, on_expr, order.clone(), 0, Some(1))?;
    if !order.is_empty() {
        plan = LogicalPlan::Sort(Sort { expr: order, input: Arc::new(plan), fetch: None });
    }
    let named = select_expr.into_iter().zip(schema.iter()).map(|(expr, (qualifier, field))| match &expr {
        Expr::Column(column) if column.relation.as_ref() == qualifier && column.name == *field.name() => expr,
        _ => expr.unalias().alias_qualified(qualifier.cloned(), field.name()),
    });
    Ok(LogicalPlan::Projection(Projection::try_new(named.collect(), Arc::new(plan))?))
}

fn limited(limit: Limit, functions: &FunctionSource) -> Result<LogicalPlan> {
    let skip = limit.skip.as_deref().map(count).transpose()?.flatten().unwrap_or(0);
    let fetch = limit.fetch.as_deref().map(count).transpose()?.flatten();
    match (skip, fetch) {
        (0, None) => Ok(Arc::unwrap_or_clone(limit.input)),
        _ => below(limit.input, functions, skip, fetch.map(|fetch| fetch.saturating_add(skip))),
    }
}

/// Puts a limit where the order is: what stands between keeps the rows and their order.
fn below(input: Arc<LogicalPlan>, functions: &FunctionSource, skip: i64, last: Option<i64>) -> Result<LogicalPlan> {
    match Arc::unwrap_or_clone(input) {
        LogicalPlan::Sort(sort) => from_to(sort.input, functions, vec![], sort.expr, skip, last),
        LogicalPlan::Projection(projection) if !projection.expr.iter().any(repeats_rows) => {
            let input = below(projection.input, functions, skip, last)?;
            let projection = Projection::try_new_with_schema(projection.expr, Arc::new(input), projection.schema)?;
            Ok(LogicalPlan::Projection(projection))
        }
        LogicalPlan::SubqueryAlias(alias) => {
            let input = below(alias.input, functions, skip, last)?;
            SubqueryAlias::try_new(Arc::new(input), alias.alias).map(LogicalPlan::SubqueryAlias)
        }
        other => from_to(Arc::new(other), functions, vec![], vec![], skip, last),
    }
}

fn repeats_rows(expr: &Expr) -> bool {
    expr.exists(|expr| Ok(matches!(expr, Expr::Unnest(_)))).unwrap_or(true)
}

/// The rows of `input` with a number of more than `skip` and up to `last`.
fn from_to(
    input: Arc<LogicalPlan>,
    functions: &FunctionSource,
    partition: Vec<Expr>,
    order: Vec<SortExpr>,
    skip: i64,
    last: Option<i64>,
) -> Result<LogicalPlan> {
    let bounds = [(skip > 0).then(|| number().gt(lit(skip))), last.map(|last| number().lt_eq(lit(last)))];
    match bounds.into_iter().flatten().reduce(Expr::and) {
        Some(predicate) => keep_where(numbered(input, functions, "row_number", partition, order)?, predicate),
        None => Ok(Arc::unwrap_or_clone(input)),
    }
}

/// The value of a constant expression as a number of rows; NULL is none.
fn count(expr: &Expr) -> Result<Option<i64>> {
    let (schema, properties) = (DFSchema::empty(), ExecutionProps::new());
    let physical = create_physical_expr(expr, &schema, &properties, &PhysicalPlanningContext::default())?;
    let row = arrow::array::RecordBatch::try_new_with_options(
        schema.inner().clone(),
        vec![],
        &arrow::array::RecordBatchOptions::new().with_row_count(Some(1)),
    )?;
    let value = ScalarValue::try_from_array(&*physical.evaluate(&row)?.into_array(1)?, 0)?;
    match value.cast_to(&arrow::datatypes::DataType::Int64)? {
        ScalarValue::Int64(value) => Ok(value),
        other => Err(DataFusionError::Internal(format!("not a number of rows: {other}"))),
    }
}
