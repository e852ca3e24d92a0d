//! The relation `<source>_late`: the rows that came too late, with the watermark that they came behind, the view that
//! left them out and how late they were. `INSERT INTO ... SELECT ... FROM <source>_late` takes them in after all.

use super::relations::{Columns, OperatorRow, number, text};
use crate::coordinator::{DefinedSource, Published, Rejected, nullable};
use crate::database::Database;
use arrow::array::{Array, ArrayRef, IntervalMonthDayNanoArray, RecordBatch, StringViewArray};
use arrow::datatypes::{DataType, Field, FieldRef, IntervalUnit, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::datasource::TableType;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::ExecutionPlan;
use millrace_catalog::Relation;
use millrace_planner::bind::micros;
use millrace_types::RelationId;
use std::fmt;
use std::sync::Arc;

/// What the name of a source is followed by.
pub const SUFFIX: &str = "_late";

/// The late rows of a source.
pub struct LateTable {
    database: Arc<Database>,
    defined: Arc<DefinedSource>,
    schema: SchemaRef,
}

impl LateTable {
    /// The late rows of a source with these columns, whose event time is the column at `time`.
    pub fn new(database: Arc<Database>, defined: Arc<DefinedSource>, source: &SchemaRef, time: usize) -> LateTable {
        let mut fields: Vec<FieldRef> = source.fields().to_vec();
        let added = [
            ("watermark", source.field(time).data_type().clone()),
            ("view", DataType::Utf8View),
            ("lateness", DataType::Interval(IntervalUnit::MonthDayNano)),
        ];
        for (name, data_type) in added {
            let mut name = name.to_owned();
            while fields.iter().any(|field| *field.name() == name) {
                name.push('_');
            }
            fields.push(Arc::new(Field::new(name, data_type, true)));
        }
        LateTable { database, defined, schema: nullable(&Arc::new(Schema::new(fields))) }
    }

    fn rows(&self, published: &Published, rejected: &Rejected) -> Result<RecordBatch> {
        let time = self.defined.timed.as_ref().map_or(0, |timed| timed.column);
        let mut columns = rejected.rows.columns().to_vec();
        let external = |error| DataFusionError::External(Box::new(error));
        let times = micros(&columns[time]).map_err(external)?;
        let rows = rejected.rows.num_rows();
        let lateness = (0..rows).map(|row| {
            let known = rejected.watermarks.is_valid(row) && times.is_valid(row);
            known.then(|| super::watermarks::interval(rejected.watermarks.value(row).saturating_sub(times.value(row))))
        });
        let lateness: ArrayRef = Arc::new(lateness.collect::<IntervalMonthDayNanoArray>());
        let watermarks: ArrayRef = Arc::new(rejected.watermarks.clone());
        let view = rejected.job.map(|job| name_of(published, job));
        let view: StringViewArray = std::iter::repeat_n(view, rows).collect();
        let time_type = self.schema.field(columns.len()).data_type();
        columns.extend([arrow::compute::cast(&watermarks, time_type)?, Arc::new(view), lateness]);
        Ok(RecordBatch::try_new(self.schema.clone(), columns)?)
    }
}

/// A job as people know it.
fn name_of(published: &Published, job: RelationId) -> String {
    published.catalog.get(job).map_or_else(|| format!("job {job}"), |relation| relation.name.clone())
}

impl fmt::Debug for LateTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LateTable")
    }
}

#[async_trait]
impl TableProvider for LateTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    async fn scan(
        &self,
        _session: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let published = self.database.coordinator.published();
        let rows = self.defined.late.kept().into_iter().map(|rejected| self.rows(&published, &rejected));
        let rows = rows.collect::<Result<Vec<_>>>()?;
        Ok(MemorySourceConfig::try_new_exec(&[rows], self.schema.clone(), projection.cloned())?)
    }
}

/// `millrace.late_rows`: how many rows each view has left out.
pub fn fill(database: &Database, published: &Published, _: &[OperatorRow]) -> Columns {
    let of = |relation: &Arc<Relation>| {
        let counts = database.coordinator.source(relation.id).map(|defined| defined.late.counts());
        counts.into_iter().flatten().map(|(job, count)| (relation.clone(), job, count)).collect::<Vec<_>>()
    };
    let lines: Vec<_> = published.catalog.relations().flat_map(of).collect();
    vec![
        ("schema_name", text(lines.iter().map(|(source, ..)| Some(&source.schema)))),
        ("source", text(lines.iter().map(|(source, ..)| Some(&source.name)))),
        ("view", text(lines.iter().map(|(_, job, _)| job.map(|job| name_of(published, job))))),
        ("late", text(lines.iter().map(|(source, ..)| source.watermark.as_ref().map(|w| w.late.word())))),
        ("rows", number(lines.iter().map(|(.., count)| Some(*count as i64)))),
    ]
}
