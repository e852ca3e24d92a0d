//! Scalar expressions over a node's columns.

use super::refuse;
use crate::error::sql_error;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result as DataFusionResult};
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr as LogicalExpr, Operator};
use datafusion::physical_expr::create_physical_expr;
use datafusion::physical_expr::expressions::BinaryExpr;
use millrace_ir::Expr;
use millrace_types::Result;
use std::sync::Arc;

/// What lowering a plan needs besides the plan.
pub struct Lowering {
    properties: ExecutionProps,
}

impl Lowering {
    pub fn new() -> Lowering {
        Lowering { properties: ExecutionProps::new() }
    }

    /// A logical expression over columns of `schema`, as it is evaluated.
    ///
    /// # Errors
    /// `0A000` for what cannot be kept up to date.
    pub fn expression(&self, expr: &LogicalExpr, schema: &DFSchema) -> Result<Expr> {
        refuse::expression(expr)?;
        create_physical_expr(expr, schema, &self.properties, &PhysicalPlanningContext::default())
            .and_then(checked)
            .map_err(sql_error)
    }
}

/// The expression with `+`, `-` and `*` failing on overflow instead of wrapping around.
///
/// # Errors
/// Those of rebuilding an expression, which a valid one does not meet.
pub fn checked(expr: Expr) -> DataFusionResult<Expr> {
    expr.transform_up(|expr| match expr.downcast_ref::<BinaryExpr>() {
        Some(binary) if matches!(binary.op(), Operator::Plus | Operator::Minus | Operator::Multiply) => {
            let operation = BinaryExpr::new(binary.left().clone(), *binary.op(), binary.right().clone());
            Ok(Transformed::yes(Arc::new(operation.with_fail_on_overflow(true)) as Expr))
        }
        _ => Ok(Transformed::no(expr)),
    })
    .map(|transformed| transformed.data)
}
