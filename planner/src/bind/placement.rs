//! Where aggregates may stand, and what only aggregates take.

use crate::error::sql_error;
use crate::functions::FunctionSource;
use crate::parse::name_parts;
use arrow::datatypes::DataType;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::{Expr as Planned, ExprSchemable, LogicalPlan};
use millrace_functions::Walk;
use millrace_types::{Result, SqlError, SqlState, SqlType};
use sqlparser::ast::{
    DuplicateTreatment, Expr, Function, FunctionArgumentClause, FunctionArguments, GroupByExpr, Query, Select, Visitor,
};
use std::ops::ControlFlow;

/// Refuses what Postgres does before names are resolved.
///
/// # Errors
/// `42803` for aggregates among the keys of groups, `42P20` for window functions there, `42809` for what is said of a
/// function that is no aggregate.
pub fn check(query: &Query, functions: &FunctionSource) -> Result<()> {
    struct Checker<'a>(&'a FunctionSource);
    impl Visitor for Checker<'_> {
        type Break = SqlError;

        fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<SqlError> {
            let GroupByExpr::Expressions(keys, _) = &select.group_by else { return ControlFlow::Continue(()) };
            let calls = keys.iter().filter_map(|key| match key {
                Expr::Function(call) => misplaced(call, self.0),
                _ => None,
            });
            calls.map(ControlFlow::Break).next().unwrap_or(ControlFlow::Continue(()))
        }

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<SqlError> {
            match expr {
                Expr::Function(call) => {
                    no_aggregate(call, self.0).map_or(ControlFlow::Continue(()), ControlFlow::Break)
                }
                _ => ControlFlow::Continue(()),
            }
        }
    }
    query.walk(&mut Checker(functions))
}

/// What is wrong with a call that is the key of a group.
fn misplaced(call: &Function, functions: &FunctionSource) -> Option<SqlError> {
    let name = name_parts(&call.name).pop()?;
    if call.over.is_some() {
        let words = "window functions are not allowed in GROUP BY";
        return Some(SqlError::new(SqlState::WINDOWING_ERROR, words));
    }
    let words = "aggregate functions are not allowed in GROUP BY";
    functions.state().udaf(&name).is_ok().then(|| SqlError::new(SqlState::GROUPING_ERROR, words))
}

/// What is wrong with a call of a plain function that says what only calls of aggregates do.
fn no_aggregate(call: &Function, functions: &FunctionSource) -> Option<SqlError> {
    let name = name_parts(&call.name).pop()?;
    let state = functions.state();
    if state.udaf(&name).is_ok() || state.udwf(&name).is_ok() || state.udf(&name).is_err() {
        return None;
    }
    let list = match &call.args {
        FunctionArguments::List(list) => Some(list),
        _ => None,
    };
    let is_distinct = list.is_some_and(|list| list.duplicate_treatment == Some(DuplicateTreatment::Distinct));
    let is_order = |clause: &FunctionArgumentClause| matches!(clause, FunctionArgumentClause::OrderBy(_));
    let is_ordered = list.is_some_and(|list| list.clauses.iter().any(is_order));
    let (what, kind) = match call {
        _ if is_distinct => ("DISTINCT", "an aggregate function"),
        _ if is_ordered => ("ORDER BY", "an aggregate function"),
        Function { filter: Some(_), .. } => ("FILTER", "an aggregate function"),
        Function { over: Some(_), .. } => ("OVER", "a window function nor an aggregate function"),
        _ => return None,
    };
    let words = format!("{what} specified, but {name} is not {kind}");
    Some(SqlError::new(SqlState::WRONG_OBJECT_TYPE, words))
}

/// Refuses conditions of FILTER that are not boolean.
///
/// # Errors
/// `42804`
pub fn check_filters(plan: &LogicalPlan) -> Result<()> {
    let mut found = None;
    plan.apply_with_subqueries(|node| {
        let LogicalPlan::Aggregate(aggregate) = node else { return Ok(TreeNodeRecursion::Continue) };
        for expr in &aggregate.aggr_expr {
            expr.apply(|expr| {
                if let Planned::AggregateFunction(call) = expr
                    && let Some(filter) = &call.params.filter
                    && !matches!(filter.as_ref(), Planned::Literal(..) | Planned::Placeholder(_))
                    && let Ok(data_type) = filter.get_type(aggregate.input.schema())
                    && !matches!(data_type, DataType::Boolean | DataType::Null)
                {
                    found = Some(data_type);
                }
                Ok(TreeNodeRecursion::Continue)
            })?;
        }
        Ok(TreeNodeRecursion::Continue)
    })
    .map_err(sql_error)?;
    found.map_or(Ok(()), |data_type| {
        let given = SqlType::from_arrow(&data_type);
        let words = format!("argument of FILTER must be type boolean, not type {given}");
        Err(SqlError::new(SqlState::DATATYPE_MISMATCH, words))
    })
}
