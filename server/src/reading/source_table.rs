//! Sources read ad hoc: from their start to what is there now.

use super::model_table::external;
use crate::coordinator::DefinedSource;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::datasource::TableType;
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::stream::RecordBatchReceiverStreamBuilder;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::{ExecutionPlan, SendableRecordBatchStream};
use millrace_connectors::{Poll, Split};
use millrace_types::{Offset, SqlError, SqlState};
use std::fmt;
use std::sync::Arc;

/// Rows of a batch: small, so that a LIMIT does not read far ahead.
const BATCH_ROWS: usize = 8192;
/// Batches decoded ahead of the query.
const READ_AHEAD: usize = 2;

/// A source as DataFusion sees it. Each scan opens readers of its own; it ends where each split has nothing more for
/// the moment, and where a split has no end, at the offset that views have read up to.
pub struct SourceTable {
    name: String,
    schema: SchemaRef,
    source: Option<Arc<DefinedSource>>,
}

impl SourceTable {
    /// The source with these columns; `None` when its connector is not running.
    pub fn new(name: String, schema: SchemaRef, source: Option<Arc<DefinedSource>>) -> SourceTable {
        SourceTable { name, schema, source }
    }
}

impl fmt::Debug for SourceTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SourceTable({})", self.name)
    }
}

#[async_trait]
impl TableProvider for SourceTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _session: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let stopped = || {
            SqlError::new(
                SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
                format!("source \"{}\" is not running", self.name),
            )
        };
        let source = self.source.clone().ok_or_else(|| external(stopped()))?;
        let splits = source.source.splits().map_err(external)?;
        let columns = projection.cloned().unwrap_or_else(|| (0..self.schema.fields().len()).collect());
        let schema = Arc::new(self.schema.project(&columns)?);
        let read = source.status.splits();
        let parts = splits.into_iter().map(|split| {
            let seen = read.iter().find(|(id, _)| *id == split.id).map(|(_, status)| status.offset);
            let (source, columns, schema) = (source.clone(), columns.clone(), schema.clone());
            Arc::new(SplitPartition { source, split, columns, schema, seen, limited: limit.is_some() })
                as Arc<dyn PartitionStream>
        });
        Ok(Arc::new(StreamingTableExec::try_new(schema.clone(), parts.collect(), None, [], false, limit)?))
    }
}

struct SplitPartition {
    source: Arc<DefinedSource>,
    split: Split,
    columns: Vec<usize>,
    schema: SchemaRef,
    /// How far views have read it.
    seen: Option<Offset>,
    /// The query stops by itself after some rows.
    limited: bool,
}

impl fmt::Debug for SplitPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SplitPartition({})", self.split.name)
    }
}

impl PartitionStream for SplitPartition {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut builder = RecordBatchReceiverStreamBuilder::new(self.schema.clone(), READ_AHEAD);
        let batches = builder.tx();
        let (source, split, columns) = (self.source.clone(), self.split.clone(), self.columns.clone());
        let (schema, seen, limited) = (self.schema.clone(), self.seen, self.limited);
        builder.spawn_blocking(move || {
            let mut reader = source.source.open(&split, Offset::default(), &columns).map_err(external)?;
            let mut position = Offset::default();
            loop {
                let endless = reader.lag().is_none() && !source.source.is_bounded() && !limited;
                if endless && seen.is_none_or(|seen| position >= seen) {
                    return if seen.is_some() { Ok(()) } else { Err(external(no_end(&split))) };
                }
                match reader.poll(BATCH_ROWS).map_err(external)? {
                    Poll::Chunk(chunk) => {
                        position = chunk.end;
                        let options =
                            arrow::array::RecordBatchOptions::new().with_row_count(Some(chunk.rows.num_rows()));
                        let columns = chunk.rows.columns().to_vec();
                        let rows = RecordBatch::try_new_with_options(schema.clone(), columns, &options)?;
                        if batches.blocking_send(Ok(rows)).is_err() {
                            return Ok(());
                        }
                    }
                    Poll::Pending | Poll::Finished => return Ok(()),
                }
            }
        });
        builder.build()
    }
}

fn no_end(split: &Split) -> SqlError {
    SqlError::new(
        SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("split \"{}\" of the source has no end", split.name),
    )
    .with_hint("Add a LIMIT, or read it through a materialized view.")
}
