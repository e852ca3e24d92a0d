//! Jobs: a plan under the name of the relation that it maintains.

use super::temporal::temporal_filters;
use super::{Emission, lower_to_emit, node};
use crate::bind::Bound;
use crate::error::sql_error;
use crate::functions::FunctionSource;
use crate::rewrite;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::{Expr, LogicalPlan};
use millrace_ir::{Job, Node, Output};
use millrace_types::{RelationId, Result};

/// The job that keeps a relation up to date in a read model. Its key is what identifies a row, if that is known.
pub fn job(id: RelationId, name: impl Into<String>, node: Node) -> Job {
    let key = node.unique_key.clone().unwrap_or_default();
    let plan = meeting(node, &key);
    Job { id, name: name.into(), plan, output: Output::ReadModel { key } }
}

/// The plan with every row on the worker where its retraction will be: that of its key, or of some columns.
fn meeting(plan: Node, key: &[usize]) -> Node {
    if !key.is_empty() {
        return node::partitioned_exactly(plan, key);
    }
    if plan.append_only || plan.partitioned_by.is_some() {
        return plan;
    }
    let all: Vec<usize> = (0..plan.schema.fields().len()).collect();
    node::partitioned_exactly(plan, &all)
}

/// How a query is kept up to date, as EXPLAIN shows it: the rewritten logical plan and the dataflow plan.
///
/// # Errors
/// As [`lower_to_emit`].
pub fn explain(bound: &Bound, functions: &FunctionSource, emission: Emission) -> Result<String> {
    let logical = rewrite::rewrite(temporal_filters(bound.plan.clone())?, functions)?;
    let dataflow = lower_to_emit(bound, functions, emission)?;
    let dataflow = meeting(dataflow.clone(), dataflow.unique_key.as_deref().unwrap_or_default());
    Ok(format!("Logical plan\n{}\n\nDataflow plan\n{dataflow}", readable(logical)?))
}

/// A logical plan as EXPLAIN shows it: constants without the marks of their types.
///
/// # Errors
/// None in fact: the plan stays as it is.
pub fn readable(plan: LogicalPlan) -> Result<String> {
    let plain = |expr: Expr| {
        expr.transform_up(|expr| match expr {
            Expr::Literal(value, Some(_)) => Ok(Transformed::yes(Expr::Literal(value, None))),
            other => Ok(Transformed::no(other)),
        })
    };
    let plan = plan.transform_up_with_subqueries(|node| node.map_expressions(plain)).map_err(sql_error)?;
    Ok(plan.data.display_indent().to_string())
}
