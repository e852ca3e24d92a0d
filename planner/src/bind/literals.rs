//! Text constants are Utf8View, as all text is.
//!
//! DataFusion's planner makes them Utf8, which an expression over columns would convert again for every batch.

use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::scalar::ScalarValue;
use millrace_functions::takes_open_texts;
use std::sync::Arc;

/// The plan with every text constant as Utf8View.
pub fn type_literals(plan: LogicalPlan) -> Result<LogicalPlan> {
    // The types of a recursive query's rows are fixed by its first term while it is planned.
    if plan.exists(|plan| Ok(matches!(plan, LogicalPlan::RecursiveQuery(_))))? {
        return Ok(plan);
    }
    plan.transform_up_with_subqueries(type_node).map(|transformed| transformed.data)
}

fn type_node(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    if let LogicalPlan::Values(values) = plan {
        let type_row = |row: Vec<Expr>| row.into_iter().map(|expr| Ok(typed(expr)?.data)).collect();
        let rows = values.values.into_iter().map(type_row).collect::<Result<Vec<Vec<Expr>>>>()?;
        return Ok(Transformed::yes(LogicalPlanBuilder::values(rows)?.build()?));
    }
    let names = NamePreserver::new(&plan);
    let plan = plan.map_expressions(|expr| {
        let saved = names.save(&expr);
        Ok(typed(expr)?.update_data(|expr| saved.restore(expr)))
    })?;
    // Schemas above follow from those below, changed or not.
    Ok(Transformed::yes(plan.data.recompute_schema()?))
}

/// An expression with its text constants typed, but for those that a function of ours is given: by what a constant is
/// given to, type coercion settles what it is.
fn typed(expr: Expr) -> Result<Transformed<Expr>> {
    expr.transform_down_up(
        |expr| match expr {
            Expr::ScalarFunction(mut function) if takes_open_texts(&function.func) => {
                let arguments = function.args.into_iter().map(|argument| match argument {
                    open @ Expr::Literal(ScalarValue::Utf8(_), None) => Ok(open),
                    other => typed(other).data(),
                });
                function.args = arguments.collect::<Result<_>>()?;
                Ok(Transformed::new(Expr::ScalarFunction(function), true, TreeNodeRecursion::Jump))
            }
            other => Ok(Transformed::no(other)),
        },
        type_literal,
    )
}

fn type_literal(expr: Expr) -> Result<Transformed<Expr>> {
    Ok(match expr {
        Expr::Literal(ScalarValue::Utf8(value), metadata) => {
            Transformed::yes(Expr::Literal(ScalarValue::Utf8View(value), metadata))
        }
        Expr::Cast(mut cast) if *cast.field.data_type() == DataType::Utf8 => {
            cast.field = Arc::new(cast.field.as_ref().clone().with_data_type(DataType::Utf8View));
            Transformed::yes(Expr::Cast(cast))
        }
        other => Transformed::no(other),
    })
}
