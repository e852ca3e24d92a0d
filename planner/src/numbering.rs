//! Rows with their numbers in an order: what limits, DISTINCT ON and INTERSECT ALL are made of.

use crate::functions::FunctionSource;
use datafusion::common::{Column, DataFusionError, Result};
use datafusion::logical_expr::expr::{Sort, WindowFunction};
use datafusion::logical_expr::{
    Expr, ExprFunctionExt, Filter, LogicalPlan, Projection, Window, WindowFrame, WindowFunctionDefinition,
};
use std::sync::Arc;

/// The name of the column of numbers: no identifier of a user.
const NUMBER: &str = "number\u{1}";

/// The column of numbers.
pub fn number() -> Expr {
    Expr::Column(Column::new_unqualified(NUMBER))
}

/// The rows of `input`, and behind their columns what `function`, a ranking function, gives for them.
pub fn numbered(
    input: Arc<LogicalPlan>,
    functions: &FunctionSource,
    function: &str,
    partition: Vec<Expr>,
    order: Vec<Sort>,
) -> Result<LogicalPlan> {
    let function = functions.state().window_functions().get(function).cloned();
    let function = function.ok_or_else(|| DataFusionError::Internal("a ranking function is missing".to_owned()))?;
    let call = WindowFunction::new(WindowFunctionDefinition::WindowUDF(function), vec![]);
    let call = Expr::WindowFunction(Box::new(call)).partition_by(partition).order_by(order);
    // Ranking functions look at no frame; the one of all rows needs no order.
    let call = call.window_frame(WindowFrame::new(None)).build()?;
    Window::try_new(vec![call.alias(NUMBER)], input).map(LogicalPlan::Window)
}

/// The numbered rows for which a condition on the number holds, without it.
pub fn keep_where(numbered: LogicalPlan, predicate: Expr) -> Result<LogicalPlan> {
    let mut columns: Vec<Expr> = numbered.schema().columns().into_iter().map(Expr::Column).collect();
    columns.pop();
    let filter = Filter::try_new(predicate, Arc::new(numbered))?;
    Projection::try_new(columns, Arc::new(LogicalPlan::Filter(filter))).map(LogicalPlan::Projection)
}
