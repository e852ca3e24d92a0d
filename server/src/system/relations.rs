//! The schema `millrace`: jobs, sources, splits, bad records, sinks and operators as relations.

use super::jobs::{jobs, source_summary};
use crate::coordinator::{CheckpointFacts, DefinedSource, Published, nullable};
use crate::database::Database;
use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Int64Array, RecordBatch, StringViewArray, TimestampMicrosecondArray,
};
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::datasource::TableType;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::ExecutionPlan;
use millrace_catalog::system::{Snapshot, is_system_relation, system_tables};
use millrace_catalog::{Relation, RelationKind};
use millrace_dataflow::read_model::ReadModel;
use millrace_types::SqlError;
use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// A system relation by name, with the schema that it is in; `None` when there is none of the name.
pub fn relation(
    database: &Arc<Database>,
    published: &Arc<Published>,
    facts: &Arc<Snapshot>,
    schema: Option<&str>,
    name: &str,
) -> Option<(String, Arc<dyn TableProvider>)> {
    if schema == Some("millrace") {
        let fill = RELATIONS.iter().find(|(relation, _)| *relation == name)?.1;
        let table = OwnTable::new(database.clone(), published.clone(), fill).ok()?;
        return Some(("millrace".to_owned(), Arc::new(table)));
    }
    if !is_system_relation(schema, name) {
        return None;
    }
    let schema = schema.unwrap_or("pg_catalog");
    let tables = system_tables(facts.clone()).into_iter().find(|(found, _)| *found == schema)?.1;
    Some((schema.to_owned(), tables.relation(name)?))
}

pub(super) type Columns = Vec<(&'static str, ArrayRef)>;
type Fill = fn(&Database, &Published, &[OperatorRow]) -> Columns;
pub(super) type OperatorRow = millrace_dataflow::engine::OperatorInfo;

/// The relations of the schema.
const RELATIONS: &[(&str, Fill)] = &[
    ("jobs", fill_jobs),
    ("sources", fill_sources),
    ("splits", fill_splits),
    ("bad_records", fill_bad_records),
    ("view_errors", fill_view_errors),
    ("sinks", fill_sinks),
    ("operators", fill_operators),
    ("checkpoints", fill_checkpoints),
    ("checkpoint_state", fill_checkpoint_state),
    ("checkpoint_store", fill_checkpoint_store),
    ("snapshots", fill_snapshots),
    ("watermarks", super::watermarks::fill),
    ("late_rows", super::late::fill),
];

/// A relation whose rows are made when a query scans it.
struct OwnTable {
    database: Arc<Database>,
    published: Arc<Published>,
    fill: Fill,
    schema: SchemaRef,
}

impl OwnTable {
    fn new(database: Arc<Database>, published: Arc<Published>, fill: Fill) -> Result<OwnTable> {
        let schema =
            RecordBatch::try_from_iter(fill(&database, &Published::new((*published.catalog).clone()), &[]))?.schema();
        Ok(OwnTable { database, published, fill, schema: nullable(&schema) })
    }
}

impl fmt::Debug for OwnTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OwnTable")
    }
}

#[async_trait]
impl TableProvider for OwnTable {
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
        let external = |error: SqlError| DataFusionError::External(Box::new(error));
        let operators = self.database.coordinator.operators().await.map_err(external)?;
        let columns = (self.fill)(&self.database, &self.published, &operators);
        let arrays = columns.into_iter().map(|(_, array)| array).collect();
        let rows = RecordBatch::try_new(self.schema.clone(), arrays)?;
        Ok(MemorySourceConfig::try_new_exec(&[vec![rows]], self.schema.clone(), projection.cloned())?)
    }
}

pub(super) fn text<S: AsRef<str>>(values: impl IntoIterator<Item = Option<S>>) -> ArrayRef {
    Arc::new(values.into_iter().collect::<StringViewArray>())
}

pub(super) fn number(values: impl IntoIterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(values.into_iter().collect::<Int64Array>())
}

fn fill_view_errors(_: &Database, published: &Published, _: &[OperatorRow]) -> Columns {
    let mut lines = vec![];
    for view in published.catalog.relations() {
        let errors = published.models.get(&view.id).into_iter().flat_map(ReadModel::errors);
        // What cannot be read of an error is left out: the view itself says so when it is read.
        lines.extend(errors.flatten().map(|error| (view, error)));
    }
    vec![
        ("schema_name", text(lines.iter().map(|(view, _)| Some(&view.schema)))),
        ("view_name", text(lines.iter().map(|(view, _)| Some(&view.name)))),
        ("sqlstate", text(lines.iter().map(|(_, error)| Some(error.error.state().0)))),
        ("message", text(lines.iter().map(|(_, error)| Some(error.error.message())))),
        ("row", text(lines.iter().map(|(_, error)| error.row.as_deref()))),
        ("count", number(lines.iter().map(|(_, error)| Some(error.weight)))),
    ]
}

fn fill_jobs(database: &Database, published: &Published, _: &[OperatorRow]) -> Columns {
    let jobs = jobs(database, published);
    vec![
        ("id", number(jobs.iter().map(|job| Some(i64::from(job.id.0))))),
        ("schema_name", text(jobs.iter().map(|job| Some(&job.schema)))),
        ("name", text(jobs.iter().map(|job| Some(&job.name)))),
        ("kind", text(jobs.iter().map(|job| Some(job.kind)))),
        ("state", text(jobs.iter().map(|job| Some(job.state)))),
        ("error", text(jobs.iter().map(|job| job.error.as_ref().map(|error| error.message().to_owned())))),
        ("append_only", Arc::new(BooleanArray::from_iter(jobs.iter().map(|job| Some(job.append_only))))),
    ]
}

fn defined_sources(database: &Database, published: &Published) -> Vec<(Arc<Relation>, Arc<DefinedSource>)> {
    let sources = published
        .catalog
        .relations()
        .filter(|relation| relation.is_fed() || matches!(relation.kind, RelationKind::Source { .. }));
    sources.filter_map(|relation| Some((relation.clone(), database.coordinator.source(relation.id)?))).collect()
}

fn fill_sources(database: &Database, published: &Published, _: &[OperatorRow]) -> Columns {
    let sources = defined_sources(database, published);
    let summaries: Vec<_> = sources.iter().map(|(relation, _)| source_summary(database, relation.id)).collect();
    let connector = |relation: &Relation| {
        relation.kind.options().iter().find(|(name, _)| name == "connector").map(|(_, value)| value.clone())
    };
    vec![
        ("id", number(sources.iter().map(|(relation, _)| Some(i64::from(relation.id.0))))),
        ("schema_name", text(sources.iter().map(|(relation, _)| Some(&relation.schema)))),
        ("name", text(sources.iter().map(|(relation, _)| Some(&relation.name)))),
        ("connector", text(sources.iter().map(|(relation, _)| connector(relation)))),
        ("state", text(summaries.iter().map(|summary| Some(summary.state)))),
        ("records", number(summaries.iter().map(|summary| Some(summary.records as i64)))),
        ("bad_records", number(summaries.iter().map(|summary| Some(summary.bad_records as i64)))),
        (
            "error",
            text(sources.iter().map(|(_, source)| source.status.error().map(|error| error.message().to_owned()))),
        ),
    ]
}

fn fill_splits(database: &Database, published: &Published, _: &[OperatorRow]) -> Columns {
    let of = |(relation, source): (Arc<Relation>, Arc<DefinedSource>)| {
        source.status.splits().into_iter().map(move |(id, split)| (relation.name.clone(), id, split))
    };
    let splits: Vec<_> = defined_sources(database, published).into_iter().flat_map(of).collect();
    vec![
        ("source", text(splits.iter().map(|(source, _, _)| Some(source)))),
        ("split", number(splits.iter().map(|(_, id, _)| Some(i64::from(*id))))),
        ("name", text(splits.iter().map(|(_, _, split)| Some(&split.name)))),
        ("state", text(splits.iter().map(|(_, _, split)| Some(split.state.word())))),
        ("read_offset", number(splits.iter().map(|(_, _, split)| Some(split.offset.0 as i64)))),
        ("records", number(splits.iter().map(|(_, _, split)| Some(split.records as i64)))),
        ("bad_records", number(splits.iter().map(|(_, _, split)| Some(split.bad_records as i64)))),
        ("lag", number(splits.iter().map(|(_, _, split)| split.lag.map(|lag| lag as i64)))),
        (
            "error",
            text(splits.iter().map(|(_, _, split)| split.error.as_ref().map(|error| error.message().to_owned()))),
        ),
    ]
}

fn fill_bad_records(database: &Database, published: &Published, _: &[OperatorRow]) -> Columns {
    let of = |(relation, source): (Arc<Relation>, Arc<DefinedSource>)| {
        source.status.bad_records().into_iter().map(move |letter| (relation.name.clone(), letter))
    };
    let letters: Vec<_> = defined_sources(database, published).into_iter().flat_map(of).collect();
    vec![
        ("source", text(letters.iter().map(|(source, _)| Some(source)))),
        ("split", text(letters.iter().map(|(_, letter)| Some(&letter.split)))),
        ("record_offset", number(letters.iter().map(|(_, letter)| Some(letter.record.offset.0 as i64)))),
        ("raw", Arc::new(letters.iter().map(|(_, letter)| Some(&letter.record.raw)).collect::<BinaryArray>())),
        ("reason", text(letters.iter().map(|(_, letter)| Some(&letter.record.reason)))),
    ]
}

fn fill_sinks(database: &Database, published: &Published, _: &[OperatorRow]) -> Columns {
    let mut sinks: Vec<_> = database.coordinator.sinks().into_iter().collect();
    sinks.sort_by_key(|(id, _)| *id);
    let name = |id| published.catalog.get(id).map(|relation| relation.name.clone());
    vec![
        ("id", number(sinks.iter().map(|(id, _)| Some(i64::from(id.0))))),
        ("name", text(sinks.iter().map(|(id, _)| name(*id)))),
        ("rows", number(sinks.iter().map(|(_, status)| Some(status.rows as i64)))),
        ("tick", number(sinks.iter().map(|(_, status)| Some(status.tick.0 as i64)))),
        ("state", text(sinks.iter().map(|(_, status)| Some(status.state())))),
        ("queued_bytes", number(sinks.iter().map(|(_, status)| Some(status.queued_bytes().0 as i64)))),
        ("queued_on_disk", number(sinks.iter().map(|(_, status)| Some(status.queued_bytes().1 as i64)))),
        ("error", text(sinks.iter().map(|(_, status)| status.trouble().map(|error| error.message().to_owned())))),
    ]
}

fn fill_checkpoints(database: &Database, _: &Published, _: &[OperatorRow]) -> Columns {
    let checkpoints = database.coordinator.checkpoints();
    let started = checkpoints.iter().map(|checkpoint| checkpoint.started.and_then(micros));
    let state = |checkpoint: &CheckpointFacts| match (&checkpoint.error, checkpoint.started) {
        (Some(_), _) => "failed",
        (None, Some(_)) => "written",
        (None, None) => "recovered",
    };
    vec![
        ("id", number(checkpoints.iter().map(|checkpoint| checkpoint.id.map(|id| id as i64)))),
        ("tick", number(checkpoints.iter().map(|checkpoint| Some(checkpoint.tick.0 as i64)))),
        ("state", text(checkpoints.iter().map(|checkpoint| Some(state(checkpoint))))),
        ("started_at", Arc::new(started.collect::<TimestampMicrosecondArray>().with_timezone("UTC"))),
        (
            "duration_ms",
            number(checkpoints.iter().map(|checkpoint| checkpoint.duration.map(|took| took.as_millis() as i64))),
        ),
        ("files", number(checkpoints.iter().map(|checkpoint| Some(checkpoint.files as i64)))),
        ("bytes_new", number(checkpoints.iter().map(|checkpoint| Some(checkpoint.bytes_new as i64)))),
        ("bytes_total", number(checkpoints.iter().map(|checkpoint| Some(checkpoint.bytes_total as i64)))),
        ("error", text(checkpoints.iter().map(|checkpoint| checkpoint.error.as_ref().map(|e| e.message().to_owned())))),
    ]
}

/// What the newest checkpoint keeps of views.
fn fill_checkpoint_state(database: &Database, published: &Published, _: &[OperatorRow]) -> Columns {
    let checkpoints = database.coordinator.checkpoints();
    let newest = checkpoints.iter().rev().find(|checkpoint| checkpoint.error.is_none());
    let state = newest.map_or(&[][..], |newest| &newest.state[..]);
    let name = |id| published.catalog.get(id).map(|relation| relation.name.clone());
    vec![
        ("checkpoint", number(state.iter().map(|_| newest.and_then(|newest| newest.id).map(|id| id as i64)))),
        ("job", number(state.iter().map(|kept| Some(i64::from(kept.view.0))))),
        ("job_name", text(state.iter().map(|kept| name(kept.view)))),
        ("worker", number(state.iter().map(|kept| Some(i64::from(kept.worker))))),
        ("operator", number(state.iter().map(|kept| kept.operator.map(i64::from)))),
        ("bytes", number(state.iter().map(|kept| Some(kept.bytes as i64)))),
    ]
}

/// How checkpoints get to the checkpoint store; nothing without one.
fn fill_checkpoint_store(database: &Database, _: &Published, _: &[OperatorRow]) -> Columns {
    let store = database.coordinator.checkpoint_store();
    let copied = || store.iter().map(|store| store.copied);
    let time = |at: Option<SystemTime>| -> ArrayRef {
        let at = store.iter().map(|_| at.and_then(micros));
        Arc::new(at.collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
    };
    vec![
        ("url", text(store.iter().map(|store| Some(&store.url)))),
        ("state", text(store.iter().map(|store| Some(store.state.word())))),
        ("checkpoint", number(copied().map(|copied| copied.map(|(copied, _)| copied.checkpoint as i64)))),
        ("tick", number(copied().map(|copied| copied.map(|(copied, _)| copied.tick.0 as i64)))),
        ("copied_at", time(copied().next().flatten().map(|(_, at)| at))),
        ("bytes_sent", number(store.iter().map(|store| Some(store.sent as i64)))),
        ("bytes_total", number(copied().map(|copied| copied.map(|(copied, _)| copied.total as i64)))),
        ("failures", number(store.iter().map(|store| Some(i64::from(store.failures))))),
        ("retry_at", time(store.as_ref().and_then(|store| store.retry_at))),
        ("error", text(store.iter().map(|store| store.error.as_ref().map(|error| error.message().to_owned())))),
    ]
}

/// Microseconds since 1970.
fn micros(at: SystemTime) -> Option<i64> {
    at.duration_since(UNIX_EPOCH).ok().map(|since| since.as_micros() as i64)
}

fn fill_snapshots(database: &Database, _: &Published, _: &[OperatorRow]) -> Columns {
    let snapshots = database.coordinator.snapshots().list().unwrap_or_else(|error| {
        tracing::warn!(%error, "the folder of snapshots cannot be read");
        vec![]
    });
    let created = snapshots.iter().map(|snapshot| snapshot.created.and_then(micros));
    vec![
        ("name", text(snapshots.iter().map(|snapshot| Some(&snapshot.name)))),
        ("tick", number(snapshots.iter().map(|snapshot| snapshot.tick.map(|tick| tick.0 as i64)))),
        ("created_at", Arc::new(created.collect::<TimestampMicrosecondArray>().with_timezone("UTC"))),
        ("bytes", number(snapshots.iter().map(|snapshot| Some(snapshot.bytes as i64)))),
    ]
}

fn fill_operators(_: &Database, published: &Published, operators: &[OperatorRow]) -> Columns {
    let name = |id| published.catalog.get(id).map(|relation| relation.name.clone());
    vec![
        ("job", number(operators.iter().map(|operator| Some(i64::from(operator.job.0))))),
        ("job_name", text(operators.iter().map(|operator| name(operator.job)))),
        ("worker", number(operators.iter().map(|operator| Some(operator.worker as i64)))),
        ("name", text(operators.iter().map(|operator| Some(operator.name.to_string())))),
        ("rows", number(operators.iter().map(|operator| Some(operator.rows as i64)))),
        ("bytes", number(operators.iter().map(|operator| Some(operator.bytes as i64)))),
        ("dropped", number(operators.iter().map(|operator| Some(operator.dropped as i64)))),
    ]
}
