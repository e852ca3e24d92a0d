//! Arithmetic that overflows is an error.
//!
//! DataFusion's integers wrap around unless each operation is told not to. Constants are folded before that can be
//! told, so operations on constants are computed here first, checked.

use crate::lower::checked;
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result};
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{BinaryExpr, Expr, LogicalPlan, Operator};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};
use datafusion::physical_expr::create_physical_expr;
use std::sync::Arc;

/// Computes `+`, `-` and `*` of integer constants; fails with `22003` where the result does not fit. Valid under
/// retractions because a constant is no row.
#[derive(Debug)]
pub struct CheckedArithmetic;

impl OptimizerRule for CheckedArithmetic {
    fn name(&self) -> &str {
        "checked_arithmetic"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let names = NamePreserver::new(&plan);
        plan.map_expressions(|expr| {
            let saved = names.save(&expr);
            let folded = expr.transform_up(fold)?;
            Ok(folded.update_data(|expr| saved.restore(expr)))
        })
    }
}

fn fold(expr: Expr) -> Result<Transformed<Expr>> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = &expr else { return Ok(Transformed::no(expr)) };
    let is_arithmetic = matches!(op, Operator::Plus | Operator::Minus | Operator::Multiply);
    if !(is_arithmetic && is_integer(left) && is_integer(right)) {
        return Ok(Transformed::no(expr));
    }
    let physical =
        create_physical_expr(&expr, &DFSchema::empty(), &ExecutionProps::new(), &PhysicalPlanningContext::default())?;
    let schema = Arc::new(Schema::new(Vec::<Field>::new()));
    let one_row =
        RecordBatch::try_new_with_options(schema, vec![], &RecordBatchOptions::new().with_row_count(Some(1)))?;
    let value = checked(physical)?.evaluate(&one_row)?.into_array(1)?;
    let value = datafusion::scalar::ScalarValue::try_from_array(&value, 0)?;
    Ok(Transformed::yes(Expr::Literal(value, None)))
}

/// An integer constant, possibly cast.
fn is_integer(expr: &Expr) -> bool {
    match expr {
        Expr::Literal(value, _) => value.data_type().is_integer(),
        Expr::Cast(cast) => {
            matches!(cast.field.data_type(), DataType::Int16 | DataType::Int32 | DataType::Int64)
                && is_integer(&cast.expr)
        }
        _ => false,
    }
}
