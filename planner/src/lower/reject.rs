//! Rows that come too late for their windows.

use super::closing::Emission;
use super::expression::Lowering;
use super::node;
use super::project::projected;
use crate::error::sql_error;
use crate::lateness::{Rejecting, later};
use arrow::datatypes::{FieldRef, Schema};
use datafusion::logical_expr::{Expr as LogicalExpr, ExprSchemable};
use millrace_ir::{Expr, Node, Plan};
use millrace_types::Result;
use std::sync::Arc;

impl Lowering {
    /// The ends of windows are computed beside the columns, unless they are one, and leave with what was rejected.
    pub fn rejecting(&self, rejecting: &Rejecting) -> Result<Node> {
        let names = rejecting.input().schema();
        let input = self.plan(rejecting.input())?;
        let width = input.schema.fields().len();
        let place = |column| names.index_of_column(column).map_err(sql_error);
        let (before, number) = (place(&rejecting.before)?, place(&rejecting.number)?);
        let end = self.expression(&self.end_of(rejecting), names)?;
        let mut exprs: Vec<Expr> = (0..width).map(|column| node::column(&input, column)).collect();
        let known = exprs.iter().position(|column| column.eq(&end));
        let schema = input.schema.clone();
        let input = match known {
            Some(_) => input,
            None => {
                let (_, field) = rejecting.end.to_field(names).map_err(sql_error)?;
                let mut fields: Vec<FieldRef> = input.schema.fields().to_vec();
                fields.push(Arc::new(field.as_ref().clone().with_name("end of the window")));
                exprs.push(end);
                projected(input, exprs, Arc::new(Schema::new(fields)))
            }
        };
        let node = Node {
            schema: input.schema.clone(),
            append_only: input.append_only,
            partitioned_by: input.partitioned_by.clone(),
            unique_key: input.unique_key.clone(),
            event_time: input.event_time,
            plan: Plan::Reject {
                input: Box::new(input),
                source: rejecting.source,
                end: known.unwrap_or(width),
                before,
                number,
            },
        };
        let shown = (0..width).map(|column| node::column(&node, column)).collect();
        Ok(projected(node, shown, schema))
    }

    /// Until when a row is taken. A session that has appeared does not change: where rows wait until they are final, one
    /// that is late at all is rejected, since its session may have.
    fn end_of(&self, rejecting: &Rejecting) -> LogicalExpr {
        match (&rejecting.end, self.emission) {
            (LogicalExpr::BinaryExpr(sum), Emission::OnClose { .. }) if rejecting.of_sessions => {
                later(sum.left.as_ref().clone(), 1)
            }
            (end, _) => end.clone(),
        }
    }
}
