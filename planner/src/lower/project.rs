//! Projections, filters and unions.

use super::expression::Lowering;
use super::node::{self, moved};
use super::window;
use arrow::datatypes::SchemaRef;
use datafusion::common::DFSchema;
use datafusion::logical_expr::{Expr as LogicalExpr, Filter, Projection, Union};
use datafusion::physical_expr::expressions::Column;
use millrace_ir::{Expr, Node, Plan};
use millrace_types::Result;
use std::sync::Arc;

impl Lowering {
    pub fn projection(&self, projection: &Projection) -> Result<Node> {
        let input = self.plan(&projection.input)?;
        let schema = Arc::new(projection.schema.as_arrow().clone());
        self.project(input, projection.input.schema(), &projection.expr, schema)
    }

    /// Expressions over a node whose columns `input_schema` names.
    pub fn project(
        &self,
        input: Node,
        input_schema: &DFSchema,
        exprs: &[LogicalExpr],
        schema: SchemaRef,
    ) -> Result<Node> {
        let exprs = exprs.iter().map(|expr| self.expression(expr, input_schema)).collect::<Result<Vec<_>>>()?;
        Ok(projected(input, exprs, schema))
    }

    pub fn filter(&self, filter: &Filter) -> Result<Node> {
        if let Some(node) = self.first_rows(filter)? {
            return Ok(node);
        }
        let input = self.plan(&filter.input)?;
        let predicate = self.expression(&filter.predicate, filter.input.schema())?;
        Ok(filtered(input, predicate))
    }

    pub fn union(&self, union: &Union) -> Result<Node> {
        let schema: SchemaRef = Arc::new(union.schema.as_arrow().clone());
        let inputs = union.inputs.iter().map(|input| Ok(node::with_schema(self.plan(input)?, schema.clone())));
        let inputs = inputs.collect::<Result<Vec<Node>>>()?;
        Ok(unioned(inputs, schema))
    }
}

/// All rows of nodes that have the schema.
pub fn unioned(inputs: Vec<Node>, schema: SchemaRef) -> Node {
    let partitioned_by = match inputs.split_first() {
        Some((first, rest)) if rest.iter().all(|input| input.partitioned_by == first.partitioned_by) => {
            first.partitioned_by.clone()
        }
        _ => None,
    };
    let event_time = inputs.first().and_then(|first| first.event_time);
    let event_time = event_time.filter(|_| inputs.iter().all(|input| input.event_time == event_time));
    Node {
        append_only: inputs.iter().all(|input| input.append_only),
        schema,
        partitioned_by,
        unique_key: None,
        event_time,
        plan: Plan::Union { inputs },
    }
}

/// The rows of a node for which a predicate is true.
pub fn filtered(input: Node, predicate: Expr) -> Node {
    Node {
        schema: input.schema.clone(),
        append_only: input.append_only,
        partitioned_by: input.partitioned_by.clone(),
        unique_key: input.unique_key.clone(),
        event_time: input.event_time,
        plan: Plan::Filter { input: Box::new(input), predicate },
    }
}

/// Expressions over a node's columns; the node itself when they are its columns in order.
pub fn projected(input: Node, exprs: Vec<Expr>, schema: SchemaRef) -> Node {
    let (input, exprs) = merged(input, exprs);
    let input = window::without_unused_number(input, &exprs);
    let columns: Vec<Option<usize>> = exprs.iter().map(column_of).collect();
    let identity = columns.len() == input.schema.fields().len()
        && columns.iter().enumerate().all(|(index, column)| *column == Some(index));
    if identity {
        return node::with_schema(input, schema);
    }
    let place = |column| columns.iter().position(|from| *from == Some(column));
    let (partitioned_by, unique_key) = (moved(&input.partitioned_by, place), moved(&input.unique_key, place));
    let (append_only, event_time) = (input.append_only, input.event_time.and_then(place));
    let plan = Plan::Project { input: Box::new(input), exprs };
    Node { append_only, partitioned_by, unique_key, event_time, schema, plan }
}

/// Columns of a projection are some of its expressions: one projection instead of two.
fn merged(input: Node, exprs: Vec<Expr>) -> (Node, Vec<Expr>) {
    match (input.plan, exprs.iter().map(column_of).collect::<Option<Vec<usize>>>()) {
        (Plan::Project { input, exprs: inner }, Some(columns)) => {
            (*input, columns.into_iter().map(|column| inner[column].clone()).collect())
        }
        (plan, _) => (Node { plan, ..input }, exprs),
    }
}

fn column_of(expr: &Expr) -> Option<usize> {
    expr.downcast_ref::<Column>().map(|column| column.index())
}
