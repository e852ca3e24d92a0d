//! Constants with Postgres's types.
//!
//! DataFusion reads `1` as bigint and `'a'` as Arrow's Utf8. In Postgres an integer constant that fits is an integer,
//! and text is Utf8View here. Changing constants in the finished plan leaves alone what is no value: places in GROUP BY
//! and ORDER BY, LIMIT, window frames.

use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::scalar::ScalarValue;

/// The plan with every constant of Postgres's type.
pub fn type_literals(plan: LogicalPlan) -> Result<LogicalPlan> {
    // The types of a recursive query's rows are fixed by its first term while it is planned.
    if plan.exists(|plan| Ok(matches!(plan, LogicalPlan::RecursiveQuery(_))))? {
        return Ok(plan);
    }
    plan.transform_up_with_subqueries(type_node).map(|transformed| transformed.data)
}

/// The expression with every constant of Postgres's type.
pub fn type_expression(expr: Expr) -> Result<Expr> {
    expr.transform_up(|expr| Ok(type_literal(expr))).map(|transformed| transformed.data)
}

fn type_node(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    match plan {
        // The counts of a LIMIT are bigint.
        LogicalPlan::Limit(_) => Ok(Transformed::no(plan)),
        LogicalPlan::Values(values) => {
            let rows = values.values.into_iter().map(|row| row.into_iter().map(type_expression).collect());
            let rows = rows.collect::<Result<Vec<Vec<Expr>>>>()?;
            Ok(Transformed::yes(LogicalPlanBuilder::values(rows)?.build()?))
        }
        plan => {
            let names = NamePreserver::new(&plan);
            let plan = plan.map_expressions(|expr| {
                let saved = names.save(&expr);
                let typed = expr.transform_up(|expr| Ok(type_literal(expr)))?;
                Ok(typed.update_data(|expr| saved.restore(expr)))
            })?;
            // Schemas above follow from those below, changed or not.
            Ok(Transformed::yes(plan.data.recompute_schema()?))
        }
    }
}

fn type_literal(expr: Expr) -> Transformed<Expr> {
    match expr {
        Expr::Literal(ScalarValue::Int64(Some(value)), metadata) => match i32::try_from(value) {
            Ok(value) => Transformed::yes(Expr::Literal(ScalarValue::Int32(Some(value)), metadata)),
            Err(_) => Transformed::no(Expr::Literal(ScalarValue::Int64(Some(value)), metadata)),
        },
        Expr::Literal(ScalarValue::Utf8(value), metadata) => {
            Transformed::yes(Expr::Literal(ScalarValue::Utf8View(value), metadata))
        }
        Expr::Cast(mut cast) if *cast.field.data_type() == DataType::Utf8 => {
            cast.field = std::sync::Arc::new(cast.field.as_ref().clone().with_data_type(DataType::Utf8View));
            Transformed::yes(Expr::Cast(cast))
        }
        other => Transformed::no(other),
    }
}
