//! Windows are known when a query is bound: their lengths become constants, and are checked.

use super::{Bounds, EventWindow, not_constant, word};
use crate::error::carried;
use arrow::datatypes::Schema;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::config::ConfigOptions;
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{ColumnarValue, Expr, LogicalPlan};
use datafusion::optimizer::analyzer::AnalyzerRule;
use datafusion::physical_expr::create_physical_expr;
use std::sync::Arc;

/// Evaluates what windows are made of. Runs when casts are what they will be.
#[derive(Debug)]
pub struct SettledWindows;

impl AnalyzerRule for SettledWindows {
    fn name(&self) -> &str {
        "settled_windows"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let settled = plan.transform_up_with_subqueries(|plan| {
            let names = NamePreserver::new(&plan);
            let settled = plan.map_expressions(|expr| {
                let name = names.save(&expr);
                let settled = expr.transform_up(settle)?;
                Ok(settled.update_data(|expr| name.restore(expr)))
            })?;
            if settled.transformed { settled.map_data(LogicalPlan::recompute_schema) } else { Ok(settled) }
        })?;
        Ok(settled.data)
    }
}

fn settle(expr: Expr) -> Result<Transformed<Expr>> {
    let Expr::ScalarFunction(mut call) = expr else { return Ok(Transformed::no(expr)) };
    let Some(shape) = call.func.inner().downcast_ref::<Bounds>().map(|bounds| bounds.shape) else {
        return Ok(Transformed::no(Expr::ScalarFunction(call)));
    };
    let mut changed = false;
    for argument in call.args.iter_mut().skip(1) {
        if argument.any_column_refs() {
            return Err(carried(not_constant(word(shape))));
        }
        if !matches!(argument, Expr::Literal(..))
            && !argument.exists(|expr| Ok(matches!(expr, Expr::Placeholder(_))))?
        {
            *argument = Expr::Literal(value(argument)?, None);
            changed = true;
        }
    }
    let constants: Option<Vec<&ScalarValue>> = call.args[1..]
        .iter()
        .map(|expr| match expr {
            Expr::Literal(value, _) => Some(value),
            _ => None,
        })
        .collect();
    if let Some(constants) = constants {
        EventWindow::parsed(shape, &constants).map_err(carried)?;
    }
    Ok(Transformed::new_transformed(Expr::ScalarFunction(call), changed))
}

/// What an expression without columns gives.
fn value(expr: &Expr) -> Result<ScalarValue> {
    let (properties, context) = (ExecutionProps::new(), PhysicalPlanningContext::default());
    let physical = create_physical_expr(expr, &DFSchema::empty(), &properties, &context)?;
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    let row = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options)?;
    match physical.evaluate(&row)? {
        ColumnarValue::Scalar(value) => Ok(value),
        ColumnarValue::Array(array) => ScalarValue::try_from_array(&array, 0),
    }
}
