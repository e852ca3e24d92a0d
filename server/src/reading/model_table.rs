//! Tables and materialized views: their read model as of the statement's snapshot.

use super::Snapshot;
use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::datasource::TableType;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator, TableProviderFilterPushDown};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::{ExecutionPlan, SendableRecordBatchStream};
use futures::stream;
use millrace_dataflow::read_model::ReadModel;
use millrace_types::{RelationId, SqlError};
use std::sync::Arc;

/// A stored relation as DataFusion sees it: scans, and look-ups where the filters give all columns of its key.
#[derive(Debug)]
pub struct ModelTable {
    id: RelationId,
    schema: SchemaRef,
    key: Vec<usize>,
}

impl ModelTable {
    /// The relation with this id; `key`: the columns by which its read model looks rows up, empty for none.
    pub fn new(id: RelationId, schema: SchemaRef, key: Vec<usize>) -> ModelTable {
        ModelTable { id, schema, key }
    }

    /// One value for each key column, when the filters say `column = literal` for all of them.
    fn key_values(&self, filters: &[Expr]) -> Option<Vec<ArrayRef>> {
        if self.key.is_empty() {
            return None;
        }
        self.key.iter().map(|column| filters.iter().find_map(|filter| self.equals(filter, *column))).collect()
    }

    fn equals(&self, filter: &Expr, column: usize) -> Option<ArrayRef> {
        let field = self.schema.field(column);
        let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = filter else { return None };
        let value = match (left.as_ref(), right.as_ref()) {
            (Expr::Column(name), Expr::Literal(value, _)) | (Expr::Literal(value, _), Expr::Column(name))
                if name.name() == field.name() && value.data_type() == *field.data_type() && !value.is_null() =>
            {
                value
            }
            _ => return None,
        };
        cast(&value.to_array().ok()?, field.data_type()).ok()
    }
}

#[async_trait]
impl TableProvider for ModelTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let model = Snapshot::of(session)?.model(self.id).map_err(external)?;
        if let Some(key) = self.key_values(filters) {
            let rows = model.lookup(&key).map_err(external)?;
            let rows = RecordBatch::try_new(self.schema.clone(), rows.columns().to_vec())?;
            return Ok(MemorySourceConfig::try_new_exec(&[vec![rows]], self.schema.clone(), projection.cloned())?);
        }
        let projection = projection.cloned().unwrap_or_else(|| (0..self.schema.fields().len()).collect());
        let schema = Arc::new(self.schema.project(&projection)?);
        let partitions = (0..model.partitions()).map(|partition| {
            let (model, projection) = (model.clone(), projection.clone());
            Arc::new(ModelPartition { model, partition, projection, schema: schema.clone() })
                as Arc<dyn PartitionStream>
        });
        Ok(Arc::new(StreamingTableExec::try_new(schema.clone(), partitions.collect(), None, [], false, limit)?))
    }
}

/// One worker's part of a read model.
#[derive(Debug)]
struct ModelPartition {
    model: ReadModel,
    partition: usize,
    projection: Vec<usize>,
    schema: SchemaRef,
}

impl PartitionStream for ModelPartition {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let schema = self.schema.clone();
        let batches = self.model.scan_partition(self.partition, Some(&self.projection)).map(move |rows| {
            let rows = rows.map_err(external)?;
            let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
            Ok(RecordBatch::try_new_with_options(schema.clone(), rows.columns().to_vec(), &options)?)
        });
        Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), stream::iter(batches)))
    }
}

/// An error of ours on its way through DataFusion; the planner's `sql_error` finds it again.
pub fn external(error: SqlError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}
