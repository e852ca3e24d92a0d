//! Aggregates over windows take rows in the order of the window.
//!
//! `string_agg` and its like order the rows of a group by their values where the call says nothing, since relations have
//! no order of their own. The rows of a window have one.

use super::gathered::Gathered;
use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{AggregateUDF, Expr, LogicalPlan, WindowFunctionDefinition};
use datafusion::optimizer::analyzer::AnalyzerRule;
use std::any::Any;
use std::sync::Arc;

/// The rule that gives calls over windows the order of their windows.
#[derive(Debug)]
pub struct WindowOrder;

impl AnalyzerRule for WindowOrder {
    fn name(&self) -> &str {
        "window_order"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let ordered = plan.transform_up_with_subqueries(|plan| {
            let names = NamePreserver::new(&plan);
            plan.map_expressions(|expr| {
                let name = names.save(&expr);
                Ok(expr.transform_up(in_window)?.update_data(|expr| name.restore(expr)))
            })
        })?;
        Ok(ordered.data)
    }
}

fn in_window(expr: Expr) -> Result<Transformed<Expr>> {
    let Expr::WindowFunction(mut call) = expr else { return Ok(Transformed::no(expr)) };
    let arriving = match &call.fun {
        WindowFunctionDefinition::AggregateUDF(function) => {
            let function: &dyn Any = function.inner().as_ref();
            function.downcast_ref::<Gathered>().map(Gathered::in_window)
        }
        WindowFunctionDefinition::WindowUDF(_) => None,
    };
    let Some(arriving) = arriving else { return Ok(Transformed::no(Expr::WindowFunction(call))) };
    call.fun = WindowFunctionDefinition::AggregateUDF(Arc::new(AggregateUDF::from(arriving)));
    Ok(Transformed::yes(Expr::WindowFunction(call)))
}
