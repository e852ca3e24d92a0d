//! `WHERE x <> 0 AND 10 / x > 1` must not divide by the zeros that its first condition leaves out.

use super::marked::{is_marked, marked};
use crate::functions::named;
use crate::operators::call;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result};
use datafusion::config::ConfigOptions;
use datafusion::logical_expr::expr::Case;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::{conjunction, merge_schema, split_conjunction_owned};
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan};
use datafusion::optimizer::analyzer::AnalyzerRule;

/// Postgres evaluates the conditions of a filter from the left, row by row, and stops at the first that does not hold;
/// DataFusion evaluates them over whole batches. A condition that may fail is put behind those before it:
/// `a AND b` becomes `a AND CASE WHEN a THEN b END`. In a filter NULL is as good as false. The CASE is over flags
/// instead of booleans, as the optimizer would turn one of booleans back into `a AND b`.
#[derive(Debug, Default)]
pub struct GuardFilters;

impl AnalyzerRule for GuardFilters {
    fn name(&self) -> &str {
        "guard_filters"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let guarded = plan.transform_up_with_subqueries(|plan| match plan {
            LogicalPlan::Filter(mut filter) => {
                filter.predicate = guarded(filter.predicate);
                Ok(Transformed::yes(LogicalPlan::Filter(filter)))
            }
            LogicalPlan::Aggregate(_) | LogicalPlan::Window(_) => {
                let schema = merge_schema(&plan.inputs());
                let names = NamePreserver::new(&plan);
                plan.map_expressions(|expr| {
                    let name = names.save(&expr);
                    Ok(expr.transform_up(|expr| filtered(expr, &schema))?.update_data(|expr| name.restore(expr)))
                })
            }
            other => Ok(Transformed::no(other)),
        })?;
        Ok(guarded.data)
    }
}

/// `sum(10 / x) FILTER (WHERE x <> 0)`: the arguments of an aggregate are evaluated for the rows of its FILTER alone.
fn filtered(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let mut expr = expr;
    let (filter, arguments) = match &mut expr {
        Expr::AggregateFunction(call) => (call.params.filter.clone(), &mut call.params.args),
        Expr::WindowFunction(call) => (call.params.filter.clone(), &mut call.params.args),
        _ => return Ok(Transformed::no(expr)),
    };
    let Some(filter) = filter else { return Ok(Transformed::no(expr)) };
    let mut changed = false;
    for argument in arguments.iter_mut().filter(|argument| may_fail(argument) && !is_marked(argument)) {
        let (_, field) = argument.to_field(schema)?;
        let arm = (filter.clone(), Box::new(std::mem::take(argument)));
        *argument = marked(Expr::Case(Case::new(None, vec![arm], None)), &field);
        changed = true;
    }
    Ok(Transformed::new_transformed(expr, changed))
}

fn guarded(predicate: Expr) -> Expr {
    let conditions = split_conjunction_owned(predicate);
    let mut kept: Vec<Expr> = Vec::with_capacity(conditions.len());
    let mut before: Vec<Expr> = Vec::new();
    for condition in conditions {
        let guard = may_fail(&condition).then(|| conjunction(before.iter().cloned())).flatten();
        kept.push(match guard {
            Some(guard) => {
                let arm = (Box::new(guard), Box::new(call(named("to_flag"), vec![condition])));
                call(named("from_flag"), vec![Expr::Case(Case::new(None, vec![arm], None))])
            }
            None => {
                before.push(condition.clone());
                condition
            }
        });
    }
    // Splitting a predicate gives at least one condition.
    conjunction(kept).unwrap_or_else(|| datafusion::logical_expr::lit(true))
}

/// Whether a condition divides by something or reads a text as a value. Subqueries are left to the optimizer.
fn may_fail(condition: &Expr) -> bool {
    let subquery = condition.exists(|e| {
        Ok(matches!(e, Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_) | Expr::SetComparison(_)))
    });
    let fails = condition.exists(|e| {
        Ok(match e {
            Expr::ScalarFunction(function) => match function.func.name() {
                "/" | "%" | "mod" | "div" => !matches!(function.args.get(1), Some(Expr::Literal(..))),
                "cast" => true,
                _ => false,
            },
            _ => false,
        })
    });
    matches!((subquery, fails), (Ok(false), Ok(true)))
}
