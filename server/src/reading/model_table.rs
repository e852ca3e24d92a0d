//! Tables and materialized views: their read model as of the statement's snapshot.

use super::Snapshot;
use super::index_lookup::IndexLookup;
use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::datasource::TableType;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator, TableProviderFilterPushDown};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::{ExecutionPlan, SendableRecordBatchStream};
use futures::stream;
use millrace_dataflow::read_model::ReadModel;
use millrace_dataflow::state::order_keys;
use millrace_planner::RelationKey;
use millrace_types::{RelationId, SqlError};
use std::ops::RangeInclusive;
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
        self.keys
            .iter()
            .filter(|key| !key.ordered)
            .find_map(|key| Some((key, key.columns.iter().map(value).collect::<Option<_>>()?)))
    }

    fn equals(&self, filter: &Expr, column: usize) -> Option<ArrayRef> {
        let (operator, value) = self.compares(filter, column)?;
        (operator == Operator::Eq).then_some(value)
    }

    /// What a filter compares a column with, as `column operator value`.
    fn compares(&self, filter: &Expr, column: usize) -> Option<(Operator, ArrayRef)> {
        let field = self.schema.field(column);
        let Expr::BinaryExpr(BinaryExpr { left, op, right }) = filter else { return None };
        let (name, value, operator) = match (left.as_ref(), right.as_ref()) {
            (Expr::Column(name), Expr::Literal(value, _)) => (name, value, *op),
            (Expr::Literal(value, _), Expr::Column(name)) => (name, value, op.swap()?),
            _ => return None,
        };
        if name.name() != field.name() || value.data_type() != *field.data_type() || value.is_null() {
            return None;
        }
        Some((operator, cast(&value.to_array().ok()?, field.data_type()).ok()?))
    }

    /// An index for ranges, and the range of numbers in it that the filters leave.
    fn key_range(&self, filters: &[Expr]) -> Option<(&RelationKey, RangeInclusive<u64>)> {
        self.keys.iter().filter(|key| key.ordered).find_map(|key| {
            let (mut low, mut high) = (0, u64::MAX);
            let bounds =
                filters.iter().flat_map(split_conjunction).flat_map(|filter| self.bounds(filter, key.columns[0]));
            for (operator, value) in bounds {
                let number = *order_keys(&value).ok()?.first()?;
                if matches!(operator, Operator::Eq | Operator::Gt | Operator::GtEq) {
                    low = low.max(number);
                }
                if matches!(operator, Operator::Eq | Operator::Lt | Operator::LtEq) {
                    high = high.min(number);
                }
            }
            (low > 0 || high < u64::MAX).then_some((key, low..=high))
        })
    }

    fn bounds(&self, filter: &Expr, column: usize) -> Vec<(Operator, ArrayRef)> {
        match filter {
            Expr::Between(between) if !between.negated => {
                let side = |operator, value: &Expr| {
                    let comparison = BinaryExpr::new(between.expr.clone(), operator, Box::new(value.clone()));
                    self.compares(&Expr::BinaryExpr(comparison), column)
                };
                let sides = [side(Operator::GtEq, &between.low), side(Operator::LtEq, &between.high)];
                sides.into_iter().flatten().collect()
            }
            other => self.compares(other, column).into_iter().collect(),
        }
    }

    /// Rows that were found by an index, as a plan; filters still apply.
    fn found(
        &self,
        index: &RelationKey,
        rows: RecordBatch,
        projection: Option<&Vec<usize>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let columns = rows.columns()[..self.schema.fields().len()].to_vec();
        let rows = RecordBatch::try_new(self.schema.clone(), columns)?;
        let rows = MemorySourceConfig::try_new_exec(&[vec![rows]], self.schema.clone(), projection.cloned())?;
        Ok(Arc::new(IndexLookup::new(index.name.clone(), rows)))
    }
}

/// The part of a relation's rows from which on reading all of them is no worse than an index.
const RANGE_SHARE: usize = 4;

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
            let rows = snapshot.lookup(self.id, key.model, &values).map_err(external)?;
            return self.found(key, rows, projection);
        }
        if let Some((key, range)) = self.key_range(filters) {
            let index = snapshot.index(self.id, key.model).map_err(external)?;
            if range.is_empty() || index.rows_in_range(&range) <= index.rows() / RANGE_SHARE {
                return self.found(key, index.range(&range).map_err(external)?, projection);
            }
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
