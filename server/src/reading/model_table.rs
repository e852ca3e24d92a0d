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
use millrace_planner::RelationKey;
use millrace_types::{RelationId, SqlError};
use std::sync::Arc;

/// A stored relation as DataFusion sees it: scans, and look-ups where the filters give all columns of its key.
#[derive(Debug)]
pub struct ModelTable {
    id: RelationId,
    schema: SchemaRef,
    keys: Vec<RelationKey>,
}

impl ModelTable {
    /// The relation with this id; `keys`: the ways in which rows are looked up.
    pub fn new(id: RelationId, schema: SchemaRef, keys: Vec<RelationKey>) -> ModelTable {
        ModelTable { id, schema, keys }
    }

    /// A key, and one value for each of its columns, when the filters say `column = literal` for all of them.
    fn key_values(&self, filters: &[Expr]) -> Option<(&RelationKey, Vec<ArrayRef>)> {
        let value = |column: &usize| filters.iter().find_map(|filter| self.equals(filter, *column));
        self.keys.iter().find_map(|key| Some((key, key.columns.iter().map(value).collect::<Option<_>>()?)))
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
        let snapshot = Snapshot::of(session)?;
        if let Some((key, values)) = self.key_values(filters) {
            let rows = snapshot.index(self.id, key.model).and_then(|index| index.lookup(&values)).map_err(external)?;
            let columns = rows.columns()[..self.schema.fields().len()].to_vec();
            let rows = RecordBatch::try_new(self.schema.clone(), columns)?;
            return Ok(MemorySourceConfig::try_new_exec(&[vec![rows]], self.schema.clone(), projection.cloned())?);
        }
        let model = snapshot.model(self.id).map_err(external)?;
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
