//! Rows of the elements of arrays.

use super::expression::Lowering;
use super::node::moved;
use crate::error::sql_error;
use millrace_functions::sets::Unnest;
use millrace_ir::{Node, Plan};
use millrace_types::Result;
use std::sync::Arc;

impl Lowering {
    pub fn unnest(&self, unnest: &Unnest) -> Result<Node> {
        let input = self.plan(unnest.input())?;
        let lists = unnest.places().map_err(sql_error)?;
        let kept = |column| (!lists.contains(&column)).then_some(column);
        Ok(Node {
            append_only: input.append_only,
            partitioned_by: moved(&input.partitioned_by, kept),
            unique_key: None,
            event_time: input.event_time.and_then(kept),
            schema: Arc::new(datafusion::logical_expr::UserDefinedLogicalNodeCore::schema(unnest).as_arrow().clone()),
            plan: Plan::Unnest { input: Box::new(input), lists, outer: unnest.is_outer() },
        })
    }
}
