//! Small steps on nodes that several kinds of plan need.

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::physical_expr::expressions::Column;
use millrace_ir::{Expr, Node, Plan};
use std::sync::Arc;

/// A column of a node's output as an expression over it.
pub fn column(node: &Node, index: usize) -> Expr {
    Arc::new(Column::new(node.schema.field(index).name(), index))
}

/// A node without columns and rows: what is left where a node is taken out of a plan.
pub fn nothing() -> Node {
    let schema: SchemaRef = Arc::new(Schema::empty());
    Node {
        plan: Plan::Values { rows: RecordBatch::new_empty(schema.clone()) },
        schema,
        append_only: true,
        partitioned_by: None,
        unique_key: None,
        event_time: None,
    }
}

/// The node with other names or nullability for its columns, whose types stay.
pub fn with_schema(mut node: Node, schema: SchemaRef) -> Node {
    if node.schema == schema {
        return node;
    }
    if let Plan::Project { .. } | Plan::Union { .. } = node.plan {
        node.schema = schema;
        return node;
    }
    let exprs = (0..schema.fields().len()).map(|index| column(&node, index)).collect();
    Node {
        append_only: node.append_only,
        partitioned_by: node.partitioned_by.clone(),
        unique_key: node.unique_key.clone(),
        event_time: node.event_time,
        schema,
        plan: Plan::Project { input: Box::new(node), exprs },
    }
}

/// The node with rows that agree in `keys` on one worker, moved there only if they may not be yet.
pub fn partitioned(node: Node, keys: &[usize]) -> Node {
    let suffices = node.partitioned_by.as_ref().is_some_and(|by| by.iter().all(|column| keys.contains(column)));
    if suffices { node } else { exchanged(node, keys) }
}

/// The node with its rows moved to the owners of the hash of exactly `keys`, in this order.
pub fn partitioned_exactly(node: Node, keys: &[usize]) -> Node {
    match &node.partitioned_by {
        Some(by) if by == keys => node,
        _ => exchanged(node, keys),
    }
}

fn exchanged(node: Node, keys: &[usize]) -> Node {
    Node {
        schema: node.schema.clone(),
        append_only: node.append_only,
        partitioned_by: Some(keys.to_vec()),
        unique_key: node.unique_key.clone(),
        event_time: node.event_time,
        plan: Plan::Exchange { input: Box::new(node), keys: keys.to_vec() },
    }
}

/// Each different row of the node once. Over append-only input a row that is there stays.
pub fn distinct(input: Node) -> Node {
    // Rows that are unique by some columns are different already.
    if input.unique_key.is_some() {
        return input;
    }
    let all: Vec<usize> = (0..input.schema.fields().len()).collect();
    let input = partitioned(input, &all);
    Node {
        schema: input.schema.clone(),
        append_only: input.append_only,
        partitioned_by: input.partitioned_by.clone(),
        unique_key: Some(all),
        event_time: input.event_time,
        plan: Plan::Distinct { input: Box::new(input), closing: None },
    }
}

/// Columns of an input by their place in an output that keeps some: `None` when one of them is gone.
pub fn moved(columns: &Option<Vec<usize>>, place: impl Fn(usize) -> Option<usize>) -> Option<Vec<usize>> {
    columns.as_ref().and_then(|columns| columns.iter().map(|column| place(*column)).collect())
}
