//! The plan node of a condition on the wall clock.

use datafusion::common::{DFSchemaRef, Result, plan_err};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNodeCore};
use millrace_ir::Comparison;
use std::cmp::Ordering;
use std::sync::Arc;

/// The rows of its input whose value compares with a moment that goes on with the clock.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TemporalFilter {
    pub input: LogicalPlan,
    pub value: Expr,
    pub comparison: Comparison,
    /// Not an expression over the input, and nothing for an optimizer: it calls `now()`.
    pub moment: Expr,
}

impl TemporalFilter {
    /// The node as a plan.
    pub fn into_plan(self) -> LogicalPlan {
        LogicalPlan::Extension(Extension { node: Arc::new(self) })
    }

    /// The node that a plan is, if it is one.
    pub fn of(plan: &LogicalPlan) -> Option<&TemporalFilter> {
        match plan {
            LogicalPlan::Extension(extension) => extension.node.as_any().downcast_ref(),
            _ => None,
        }
    }
}

impl PartialOrd for TemporalFilter {
    fn partial_cmp(&self, other: &TemporalFilter) -> Option<Ordering> {
        self.value.partial_cmp(&other.value)
    }
}

impl UserDefinedLogicalNodeCore for TemporalFilter {
    fn name(&self) -> &str {
        "TemporalFilter"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        self.input.schema()
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![self.value.clone()]
    }

    fn fmt_for_explain(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "TemporalFilter: {} {} {}", self.value, self.comparison, self.moment)
    }

    fn with_exprs_and_inputs(&self, mut exprs: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<TemporalFilter> {
        match (exprs.pop(), inputs.pop()) {
            (Some(value), Some(input)) => Ok(TemporalFilter { input, value, ..self.clone() }),
            _ => plan_err!("TemporalFilter has a value and one input"),
        }
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let schema = self.input.schema();
        let mut needed = output_columns.to_vec();
        for column in self.value.column_refs() {
            needed.push(schema.index_of_column(column).ok()?);
        }
        needed.sort_unstable();
        needed.dedup();
        Some(vec![needed])
    }
}
