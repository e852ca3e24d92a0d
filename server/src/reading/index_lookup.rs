//! Rows that an index has found, as a leaf of a plan that says so.

use datafusion::common::Result;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::execution::TaskContext;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, SendableRecordBatchStream,
};
use std::fmt;
use std::sync::Arc;

/// Gives rows that are in memory.
#[derive(Debug)]
pub struct IndexLookup {
    /// The name of the index.
    index: String,
    rows: Arc<dyn ExecutionPlan>,
}

impl IndexLookup {
    /// The rows, which `index` has found.
    pub fn new(index: String, rows: Arc<dyn ExecutionPlan>) -> IndexLookup {
        IndexLookup { index, rows }
    }
}

impl DisplayAs for IndexLookup {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IndexLookup: {}", self.index)
    }
}

impl ExecutionPlan for IndexLookup {
    fn name(&self) -> &str {
        "IndexLookup"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.rows.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, _: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        self.rows.execute(partition, context)
    }
}
