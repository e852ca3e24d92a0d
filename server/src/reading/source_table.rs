//! Sources read ad hoc: from their start to what is there now.

use super::model_table::external;
use crate::coordinator::{Arrivals, Coming, DefinedSource, Held, RelationTime};
use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::datasource::TableType;
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::stream::RecordBatchReceiverStreamBuilder;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::{ExecutionPlan, SendableRecordBatchStream};
use millrace_catalog::Late;
use millrace_connectors::{Poll, Split};
use millrace_types::{EventTime, Offset, SqlError, SqlState};
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
    source: Option<(Arc<DefinedSource>, EventTime)>,
}

/// The columns of a source, with the hidden ones after them: see [`HiddenColumns`](millrace_planner::HiddenColumns).
pub fn with_hidden(schema: &SchemaRef, time: usize) -> SchemaRef {
    let hidden = [("\u{1}before", schema.field(time).data_type().clone()), ("\u{1}number", DataType::Int64)];
    let hidden = hidden.map(|(name, data_type)| Arc::new(Field::new(name, data_type, true)));
    Arc::new(Schema::new(schema.fields().iter().cloned().chain(hidden).collect::<Vec<_>>()))
}

impl SourceTable {
    /// The source with these columns, of which the last may be hidden ones, and what time it is; `None` when its connector
    /// is not running.
    pub fn new(name: String, schema: SchemaRef, source: Option<(Arc<DefinedSource>, EventTime)>) -> SourceTable {
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
        let (source, now) = self.source.clone().ok_or_else(|| external(stopped()))?;
        let splits = source.source.splits().map_err(external)?;
        let columns = projection.cloned().unwrap_or_else(|| (0..self.schema.fields().len()).collect());
        let schema = Arc::new(self.schema.project(&columns)?);
        let known = source.status.splits();
        let timed = source
            .timed
            .as_ref()
            .filter(|timed| timed.definition.late == Late::Drop || columns.iter().any(|column| *column >= timed.width));
        let wanted = match &source.arrivals {
            Some(arrivals) => arrivals.widened(columns.iter().copied()),
            None => columns.iter().copied().collect(),
        };
        let held = timed.map(|timed| timed.held(wanted.clone(), true));
        let read: Arc<[usize]> = held.as_ref().map_or_else(|| wanted.into_iter().collect(), |held| held.read.clone());
        let parts = splits.into_iter().map(|split| {
            let seen = known.iter().find(|(id, _)| *id == split.id).map(|(_, status)| status.offset);
            let (source, columns, schema, held) = (source.clone(), columns.clone(), schema.clone(), held.clone());
            let (read, limited) = (read.clone(), limit.is_some());
            Arc::new(SplitPartition { source, split, columns, read, held, now, schema, seen, limited })
                as Arc<dyn PartitionStream>
        });
        Ok(Arc::new(StreamingTableExec::try_new(schema.clone(), parts.collect(), None, [], false, limit)?))
    }
}

struct SplitPartition {
    source: Arc<DefinedSource>,
    split: Split,
    columns: Vec<usize>,
    /// The columns that are read, and those that tell when a row came in.
    read: Arc<[usize]>,
    /// What is read to tell which rows are late, if that matters.
    held: Option<Held>,
    now: EventTime,
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
        let (source, split) = (self.source.clone(), self.split.clone());
        let (schema, seen, limited) = (self.schema.clone(), self.seen, self.limited);
        let mut stamping = Stamping::of(self);
        builder.spawn_blocking(move || {
            let mut reader = source.source.open(&split, Offset::default(), &stamping.read()).map_err(external)?;
            let mut position = Offset::default();
            loop {
                let endless = reader.lag().is_none() && !source.source.is_bounded() && !limited;
                if endless && seen.is_none_or(|seen| position >= seen) {
                    return if seen.is_some() { Ok(()) } else { Err(external(no_end(&split))) };
                }
                match reader.poll(BATCH_ROWS).map_err(external)? {
                    Poll::Chunk(chunk) => {
                        position = chunk.end;
                        let options = arrow::array::RecordBatchOptions::new();
                        let rows = stamping.stamp(chunk.rows).map_err(external)?;
                        let options = options.with_row_count(Some(rows.num_rows()));
                        let columns = rows.columns().to_vec();
                        let rows = RecordBatch::try_new_with_options(schema.clone(), columns, &options)?;
                        if batches.blocking_send(Ok(rows)).is_err() {
                            return Ok(());
                        }
                    }
                    Poll::Pending | Poll::Finished => return Ok(()),
                    Poll::Waiting(Some(error)) => return Err(external(error)),
                    Poll::Waiting(None) if batches.is_closed() => return Ok(()),
                    Poll::Waiting(None) => reader.wait(),
                }
            }
        });
        builder.build()
    }
}

/// Tells rows by their times, and by when they came in, as a view's reading does.
struct Stamping {
    split: Split,
    columns: Vec<usize>,
    read: Arc<[usize]>,
    timed: Option<(RelationTime, Held)>,
    arrivals: Option<Arc<Arrivals>>,
    /// Rows so far.
    rows: u64,
    now: EventTime,
}

impl Stamping {
    fn of(partition: &SplitPartition) -> Stamping {
        let SplitPartition { source, split, columns, read, held, now, .. } = partition;
        let arrivals = source.arrivals.clone();
        let timed = source.timed.clone().zip(held.clone()).map(|(timed, held)| {
            let mut time = RelationTime::new(timed, false);
            time.know(split.id, &split.name, *now);
            (time, held)
        });
        let (split, columns, read) = (split.clone(), columns.clone(), read.clone());
        Stamping { split, columns, read, timed, arrivals, rows: 0, now: *now }
    }

    /// The columns that the connector reads, as it counts them.
    fn read(&self) -> Vec<usize> {
        self.arrivals.as_ref().map_or_else(|| self.read.to_vec(), |arrivals| arrivals.outside(&self.read))
    }

    /// The columns that are asked for.
    fn stamp(&mut self, rows: RecordBatch) -> millrace_types::Result<RecordBatch> {
        let Some(arrivals) = self.arrivals.clone() else { return Ok(rows) };
        let held = self.timed.as_ref().map_or_else(|| self.read.clone(), |(_, held)| held.columns.clone());
        let place = |column: &usize| held.iter().position(|held| held == column);
        let places: Option<Vec<usize>> = self.columns.iter().map(place).collect();
        let places = places.ok_or_else(|| SqlError::internal("a reading lacks a column"))?;
        let (first, end) = (self.rows, self.rows + rows.num_rows() as u64);
        self.rows = end;
        let coming = Coming { now: self.now, raise: None, is_noted: false };
        let (mut parts, mut at) = (vec![], 0);
        for piece in arrivals.pieces(&self.split.name, first..end, coming) {
            let mut part = arrivals.filled(rows.slice(at, piece.rows), &self.read, piece.moment)?;
            at += piece.rows;
            if let Some((time, held)) = &mut self.timed {
                if let Some(to) = piece.raise {
                    time.raise_split(self.split.id, to);
                }
                let marks = time.timed.expression.over(&held.read)?.times(&part);
                part = time.stamp(self.split.id, part, &marks, held, piece.moment)?.rows;
            }
            parts.push(part.project(&places)?);
        }
        match parts.as_slice() {
            [one] => Ok(one.clone()),
            [first, ..] => Ok(concat_batches(&first.schema(), &parts)?),
            [] => Ok(rows),
        }
    }
}

fn no_end(split: &Split) -> SqlError {
    SqlError::new(
        SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("split \"{}\" of the source has no end", split.name),
    )
    .with_hint("Add a LIMIT, or read it through a materialized view.")
}
