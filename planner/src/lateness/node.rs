//! The plan node that leaves out rows of windows that are final.

use datafusion::common::{Column, DFSchemaRef, Result, plan_err};
use datafusion::logical_expr::{Expr, Extension, Filter, LogicalPlan, UserDefinedLogicalNodeCore};
use millrace_types::RelationId;
use std::cmp::Ordering;
use std::sync::Arc;

/// The rows of its input but those whose window ends at or before the watermark that they came behind.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rejecting {
    input: LogicalPlan,
    /// The end of a row's window; NULL for a row in none.
    pub end: Expr,
    /// The hidden columns: the watermark before the row, and the row's number.
    pub before: Column,
    pub number: Column,
    /// The source that the rows are of.
    pub source: RelationId,
    /// Whether the windows are sessions, which a row in time for its own may still join to one that is final.
    pub of_sessions: bool,
}

impl Rejecting {
    /// Rejects rows of `input`, whose last two columns are the hidden ones.
    pub fn over(input: LogicalPlan, end: Expr, source: RelationId) -> Rejecting {
        let columns = input.schema().columns();
        let from_end = |n: usize| columns[columns.len() - n].clone();
        Rejecting { end, before: from_end(2), number: from_end(1), source, of_sessions: false, input }
    }

    /// The same, of sessions.
    pub fn of_sessions(self) -> Rejecting {
        Rejecting { of_sessions: true, ..self }
    }

    /// The node as a plan.
    pub fn into_plan(self) -> LogicalPlan {
        LogicalPlan::Extension(Extension { node: Arc::new(self) })
    }

    /// The node that a plan is, if it is one.
    pub fn of(plan: &LogicalPlan) -> Option<&Rejecting> {
        match plan {
            LogicalPlan::Extension(extension) => extension.node.as_any().downcast_ref(),
            _ => None,
        }
    }

    /// What it takes rows from.
    pub fn input(&self) -> &LogicalPlan {
        &self.input
    }

    /// What a query run once does instead: nobody is told what was left out.
    ///
    /// # Errors
    /// Those of making a filter, which a bound plan does not meet.
    pub fn as_filter(&self) -> Result<LogicalPlan> {
        let late = self.end.clone().lt_eq(Expr::Column(self.before.clone()));
        let stays = Expr::IsNotTrue(Box::new(late));
        Filter::try_new(stays, Arc::new(self.input.clone())).map(LogicalPlan::Filter)
    }
}

impl PartialOrd for Rejecting {
    fn partial_cmp(&self, other: &Rejecting) -> Option<Ordering> {
        self.end.partial_cmp(&other.end)
    }
}

impl UserDefinedLogicalNodeCore for Rejecting {
    fn name(&self) -> &str {
        "Reject"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        self.input.schema()
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![self.end.clone(), Expr::Column(self.before.clone()), Expr::Column(self.number.clone())]
    }

    fn fmt_for_explain(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "Reject: windows that ended before, {}", self.end)
    }

    fn with_exprs_and_inputs(&self, mut exprs: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Rejecting> {
        match (exprs.pop(), exprs.pop(), exprs.pop(), inputs.pop()) {
            (Some(Expr::Column(number)), Some(Expr::Column(before)), Some(end), Some(input)) => {
                Ok(Rejecting { input, end, before, number, source: self.source, of_sessions: self.of_sessions })
            }
            _ => plan_err!("Reject has an end, two columns and one input"),
        }
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let schema = self.input.schema();
        let mut needed = output_columns.to_vec();
        for column in self.expressions().iter().flat_map(Expr::column_refs) {
            needed.push(schema.index_of_column(column).ok()?);
        }
        needed.sort_unstable();
        needed.dedup();
        Some(vec![needed])
    }
}
