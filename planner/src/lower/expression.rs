//! Scalar expressions over a node's columns.

use super::closing::Emission;
use super::refuse;
use crate::error::sql_error;
use crate::functions::FunctionSource;
use datafusion::common::DFSchema;
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::Expr as LogicalExpr;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::physical_expr::create_physical_expr;
use millrace_ir::Expr;
use millrace_types::Result;
use std::sync::Arc;

/// What lowering a plan needs besides the plan.
pub struct Lowering {
    properties: ExecutionProps,
    /// When the rows of the plan appear.
    pub emission: Emission,
}

impl Lowering {
    /// Expressions are evaluated in the zone that the functions are for.
    pub fn new(emission: Emission, functions: &FunctionSource) -> Lowering {
        let mut properties = ExecutionProps::new();
        properties.config_options = Some(Arc::new(functions.analysis().clone()));
        Lowering { properties, emission }
    }

    /// A logical expression over columns of `schema`, as it is evaluated.
    ///
    /// # Errors
    /// `0A000` for what cannot be kept up to date.
    pub fn expression(&self, expr: &LogicalExpr, schema: &DFSchema) -> Result<Expr> {
        refuse::expression(expr)?;
        create_physical_expr(expr, schema, &self.properties, &PhysicalPlanningContext::default()).map_err(sql_error)
    }
}
