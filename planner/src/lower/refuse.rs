//! What cannot be kept up to date yet: each construct is refused by its name.

use super::temporal::misplaced;
use crate::catalog::{Relation, RelationKind};
use crate::error::sql_error;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Distinct, Expr, LogicalPlan, Volatility};
use millrace_functions::{clock, is_as_of_now};
use millrace_types::{Result, SqlError, SqlState};

/// `0A000` for a construct that a maintained query may not hold; ad hoc it may.
pub fn in_view(what: impl std::fmt::Display) -> SqlError {
    SqlError::unsupported(format!("{what} in a maintained query"))
        .with_hint("SELECT it ad hoc, or over a materialized view of the rest of the query.")
}

/// The refusal of a plan node that has no operator.
pub fn node(plan: &LogicalPlan) -> SqlError {
    in_view(match plan {
        LogicalPlan::Sort(_) | LogicalPlan::Limit(_) => "LIMIT in a correlated subquery",
        LogicalPlan::Distinct(Distinct::On(_)) => "DISTINCT ON",
        LogicalPlan::Unnest(_) => "a set-returning function",
        LogicalPlan::RecursiveQuery(_) => "WITH RECURSIVE",
        LogicalPlan::Subquery(_) => "a subquery in an expression",
        _ => "this construct",
    })
}

/// Refuses relations whose changes cannot be followed.
///
/// # Errors
/// `0A000` for system relations, `42809` for sinks.
pub fn relation(relation: &Relation) -> Result<()> {
    match relation.kind {
        RelationKind::Table | RelationKind::Source | RelationKind::MaterializedView | RelationKind::Sequence => Ok(()),
        RelationKind::Sink => {
            let message = format!("cannot read from sink \"{}\"", relation.name);
            Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, message))
        }
        RelationKind::View | RelationKind::System => {
            Err(in_view(format!("the {} \"{}\"", relation.kind.name(), relation.name)))
        }
    }
}

/// Refuses expressions whose value is not a function of the row.
///
/// # Errors
/// `0A000` naming the construct; `42P02` for parameters.
pub fn expression(expr: &Expr) -> Result<()> {
    let mut refusal = None;
    expr.apply(|expr| {
        refusal = reason(expr);
        Ok(if refusal.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })
    .map_err(sql_error)?;
    refusal.map_or(Ok(()), Err)
}

fn reason(expr: &Expr) -> Option<SqlError> {
    match expr {
        Expr::ScalarFunction(_) if is_as_of_now(expr) => {
            Some(in_view("FOR SYSTEM_TIME AS OF PROCTIME() without an equality of both sides"))
        }
        Expr::ScalarFunction(_) => changing(expr),
        Expr::Exists(_) => Some(in_view("EXISTS in this place")),
        Expr::InSubquery(_) | Expr::SetComparison(_) => Some(in_view("IN (subquery) in this place")),
        Expr::ScalarSubquery(_) => Some(in_view("a subquery in an expression")),
        Expr::OuterReferenceColumn(..) => Some(in_view("a correlated subquery of this form")),
        Expr::WindowFunction(_) => Some(in_view("a window function")),
        Expr::Unnest(_) => Some(in_view("a set-returning function")),
        Expr::GroupingSet(_) => Some(in_view("GROUPING SETS")),
        Expr::Placeholder(placeholder) => {
            Some(SqlError::new(SqlState::UNDEFINED_PARAMETER, format!("there is no parameter {}", placeholder.id)))
        }
        _ => None,
    }
}

/// Refuses functions whose value is not a function of their arguments, anywhere in a plan.
///
/// # Errors
/// `0A000` naming the function.
pub fn changing_functions(plan: &LogicalPlan) -> Result<()> {
    let mut refusal = None;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                refusal = refusal.take().or_else(|| changing(expr));
                Ok(if refusal.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
            })
        })
    })
    .map_err(sql_error)?;
    refusal.map_or(Ok(()), Err)
}

fn changing(expr: &Expr) -> Option<SqlError> {
    match expr {
        Expr::ScalarFunction(function) if function.func.signature().volatility != Volatility::Immutable => {
            match clock::is_clock(expr) {
                true => Some(misplaced(function.name())),
                false => Some(in_view(format!("the function {}(), whose value changes by itself,", function.name()))),
            }
        }
        _ => None,
    }
}
