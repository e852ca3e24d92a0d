//! Definitions: what is created, dropped or altered, one at a time, between two ticks.
//!
//! A definition is first tried in the engine, then written durably, then published; what fails on the way is undone. A
//! restart takes the same path with definitions that are already written.

use super::clock::{Clock, DefinedSource, Waiting};
use super::event_time::{RelationTime, Timed};
use super::ingest::{Bounds, Reading};
use super::late_rows::LateStore;
use super::replace::Replacement;
use super::reshape::Reshape;
use super::source_status::SourceStatus;
use arrow::datatypes::{Schema, SchemaRef};
use millrace_catalog::{Catalog, Change, Column, Relation, RelationKind};
use millrace_connectors::Sink;
use millrace_connectors::Source;
use millrace_ir::{Job, Node, Output, Plan};
use millrace_types::{RelationId, Result, SqlError, SqlState, Tick, field_of};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::oneshot;

/// A change of definitions, checked and planned by a session.
#[expect(clippy::large_enum_variant, reason = "requests carry it boxed")]
pub enum Definition {
    /// A new relation with what brings it to life.
    Create {
        relation: Relation,
        parts: Parts,
        /// Answer only when the relation shows the history of its sources too.
        wait: bool,
    },
    /// Relations that go, dependents before what they need, and after them a schema.
    Drop { relations: Vec<RelationId>, schema: Option<String> },
    /// Changes that touch nothing that runs: comments, names, schemas.
    Alter(Change),
    /// Relations that are computed anew and take their own places.
    Replace(Replacement),
    /// A stored relation under a changed definition.
    Reshape(Reshape),
}

/// What a relation needs to run, beside its definition.
#[derive(Default)]
pub struct Parts {
    /// The dataflow of a materialized view, a sink or an INSERT job.
    pub job: Option<Job>,
    /// The outside world of a source.
    pub source: Option<Arc<dyn Source>>,
    /// The outside world of a sink or of a table with a sink connector.
    pub sink: Option<Box<dyn Sink>>,
    /// The watermark of a source or table.
    pub timed: Option<Arc<Timed>>,
}

/// A definition that took effect.
#[derive(Clone, Copy, Debug)]
pub struct Built {
    /// The tick that shows it.
    pub tick: Tick,
    /// The relation that was made; of a DROP, the last one that went.
    pub relation: RelationId,
}

impl Clock {
    pub(super) fn define(&mut self, definition: Definition, reply: oneshot::Sender<Result<Built>>) {
        let (outcome, wait) = match definition {
            Definition::Create { relation, parts, wait } => (self.create(relation, parts), wait),
            Definition::Drop { relations, schema } => (self.drop_relations(&relations, schema), false),
            Definition::Alter(change) => (self.alter(change), false),
            Definition::Reshape(reshape) => (self.reshape(reshape), false),
            Definition::Replace(replacement) => return self.begin_replacing(replacement, reply),
        };
        match outcome {
            Ok(built) if wait && !self.is_built(built.relation) => {
                self.waiting.push(Waiting { relation: built.relation, reply });
            }
            outcome => drop(reply.send(outcome)),
        }
    }

    fn create(&mut self, relation: Relation, parts: Parts) -> Result<Built> {
        let id = relation.id;
        let change = Change::Create(relation);
        let next = self.state.catalog.apply(&change)?;
        let Change::Create(relation) = &change else { return Err(SqlError::internal("a creation is a creation")) };
        self.check_inputs(&parts)?;
        self.state.catalog = Arc::new(next.clone());
        let started = self.start(relation, parts).and_then(|()| self.record(&change, &next));
        if let Err(error) = started {
            self.end(id);
            self.forget(id)?;
            self.show();
            return Err(error);
        }
        self.show();
        Ok(Built { tick: self.state.tick, relation: id })
    }

    /// Writes a change down, unless it concerns what ends with its session.
    pub(super) fn record(&self, change: &Change, next: &Catalog) -> Result<()> {
        let concerned = match change {
            Change::Create(relation) => Some(relation),
            Change::Drop(id) => self.state.catalog.get(*id).map(Arc::as_ref),
            _ => None,
        };
        if concerned.is_some_and(is_temporary) {
            return Ok(());
        }
        self.journal.change(self.state.tick, change, next)
    }

    /// A relation that a plan reads may have been dropped since the session planned it.
    fn check_inputs(&self, parts: &Parts) -> Result<()> {
        let reads = parts.job.iter().flat_map(|job| job.plan.relations());
        match reads.into_iter().find(|(relation, _)| self.state.catalog.get(*relation).is_none()) {
            Some(_) => Err(SqlError::new(SqlState::UNDEFINED_TABLE, "a relation of the query was dropped meanwhile")),
            None => Ok(()),
        }
    }

    /// Takes a relation out of the catalog in memory, after its creation failed.
    fn forget(&mut self, id: RelationId) -> Result<()> {
        self.state.catalog = Arc::new(self.state.catalog.apply(&Change::Drop(id))?);
        Ok(())
    }

    /// Brings a relation of the catalog to life; its inputs must live already.
    pub(super) fn start(&mut self, relation: &Relation, parts: Parts) -> Result<()> {
        self.keep_arrivals(relation, parts.timed.as_deref());
        self.keep_time(relation, parts.timed.clone());
        if let Some(source) = parts.source {
            if let RelationKind::Table(_) = &relation.kind {
                self.start_rows(relation)?;
                self.start_indexes(relation)?;
                return self.start_feed(relation, source);
            }
            let (status, late) = (Arc::new(SourceStatus::default()), Arc::new(LateStore::default()));
            let arrivals = self.arrivals.get(&relation.id).cloned();
            let defined = DefinedSource { source, status, timed: parts.timed, late, arrivals, feeds: false };
            self.sources.lock().insert(relation.id, Arc::new(defined));
        }
        let feeds = match (&relation.kind, parts.sink) {
            (_, Some(sink)) => {
                self.start_sink(relation.id, sink, None)?;
                Some(relation.id)
            }
            (RelationKind::Job { target, .. }, None) => Some(*target),
            (RelationKind::Table(_) | RelationKind::Sequence(_), None) => {
                self.start_rows(relation)?;
                return self.start_indexes(relation);
            }
            _ => None,
        };
        let Some(job) = parts.job else { return Ok(()) };
        if let Some(sink) = feeds {
            self.sinks.route(relation.id, sink, relation.append_only);
        }
        self.start_beside(job)?;
        self.start_indexes(relation)
    }

    pub(super) fn start_job(&mut self, job: Job) -> Result<()> {
        let id = job.id;
        let reads: Vec<_> =
            job.plan.relations().into_iter().map(|(relation, columns)| (relation, columns.to_vec())).collect();
        self.engine.create(job)?;
        self.jobs.insert(id, reads.clone());
        let sources = self.sources_among(&reads);
        // One that has history to read sees watermarks when it has read it.
        let follows = !sources.keys().any(|source| self.has_begun(*source));
        let hydrated = self.engine.hydrate(id, self.state.tick.next(), self.now(), follows)?;
        self.publish(hydrated);
        sources.into_iter().try_for_each(|(source, columns)| self.attach(source, columns, id))
    }

    /// Whether a source has been read for others already.
    fn has_begun(&self, source: RelationId) -> bool {
        let shared = self.readings.iter().find(|reading| reading.relation == source && reading.only.is_none());
        shared.is_some_and(|reading| reading.position().values().any(|offset| offset.0 > 0))
    }

    /// The sources that a job reads, with their columns.
    pub(super) fn sources_among(&self, reads: &[(RelationId, Vec<usize>)]) -> BTreeMap<RelationId, BTreeSet<usize>> {
        let mut sources = BTreeMap::<RelationId, BTreeSet<usize>>::new();
        for (relation, columns) in reads {
            if self.sources.lock().get(relation).is_some_and(|source| !source.feeds) {
                sources.entry(*relation).or_default().extend(columns);
            }
        }
        sources
    }

    /// Lets a new job see a source: all of it that is read from now on, and the history by a reader of its own.
    pub(super) fn attach(&mut self, source: RelationId, columns: BTreeSet<usize>, job: RelationId) -> Result<()> {
        let shared = self.readings.iter().position(|reading| reading.relation == source && reading.only.is_none());
        let Some(shared) = shared else {
            let bounds = Bounds::default();
            let reading = self.read(source, columns, None, bounds)?;
            self.readings.push(reading);
            return Ok(());
        };
        let position = self.readings[shared].position();
        let held: BTreeSet<usize> = self.readings[shared].columns.iter().copied().collect();
        if !columns.is_subset(&held) {
            let union = held.union(&columns).copied().collect();
            let rows = self.readings[shared].rows_taken();
            let bounds = Bounds { from: position.clone(), until: None, rows };
            // Chunks that wait in the old queue are read again: the offsets count only what ticks have taken.
            let time = self.readings[shared].time.take();
            self.readings[shared] = self.read(source, union, None, bounds)?;
            self.readings[shared].time = time;
        }
        if position.values().any(|offset| offset.0 > 0) {
            let bounds = Bounds { until: Some(position), ..Bounds::default() };
            let reading = self.read(source, columns, Some(job), bounds)?;
            self.readings.push(reading);
            self.state.building.insert(job);
        }
        Ok(())
    }

    pub(super) fn read(
        &self,
        source: RelationId,
        mut columns: BTreeSet<usize>,
        only: Option<RelationId>,
        bounds: Bounds,
    ) -> Result<Reading> {
        let defined = self.sources.lock().get(&source).cloned();
        let defined = defined.ok_or_else(|| SqlError::internal(format!("source {source} is not defined")))?;
        if bounds.from.is_empty() && only.is_none() {
            defined.status.reset();
            defined.late.reset();
            self.remembered.resume(source, &*defined.source);
            self.engine.forget_watermark(source);
        }
        if let Some(arrivals) = &defined.arrivals {
            columns = arrivals.widened(columns.into_iter());
        }
        let timed = self.timed.get(&source);
        let time = timed.map(|timed| RelationTime::new(timed.clone(), defined.source.is_bounded()));
        Reading::start(source, &defined, columns, only, bounds, time, self.waker.clone())
    }

    fn drop_relations(&mut self, relations: &[RelationId], schema: Option<String>) -> Result<Built> {
        let drops = relations.iter().map(|id| Change::Drop(*id));
        let changes: Vec<_> = drops.chain(schema.map(|name| Change::DropSchema { name })).collect();
        let mut next = (*self.state.catalog).clone();
        let mut steps = vec![];
        for change in changes {
            next = next.apply(&change)?;
            steps.push((change, next.clone()));
        }
        for (change, catalog) in steps {
            self.record(&change, &catalog)?;
        }
        relations.iter().for_each(|id| self.end(*id));
        self.state.catalog = Arc::new(next);
        self.show();
        let relation = relations.last().copied().unwrap_or(RelationId::FIRST_USER);
        Ok(Built { tick: self.state.tick, relation })
    }

    /// Stops everything that runs for a relation; it may be half started.
    pub(super) fn end(&mut self, id: RelationId) {
        let indexes = self.state.catalog.get(id).map(|r| r.index_keys().map(|key| key.index).collect::<Vec<_>>());
        for job in [id].into_iter().chain(indexes.unwrap_or_default()) {
            if self.jobs.remove(&job).is_some()
                && let Err(error) = self.engine.drop_job(job)
            {
                tracing::error!(%job, error = %error, "a dropped job did not end");
            }
            self.state.models.remove(job);
        }
        self.each_late_store(|late| late.forget(id));
        self.sinks.drop(id);
        self.sink_facts.lock().remove(&id);
        self.subscriptions.end(id);
        self.sources.lock().remove(&id);
        self.timed.remove(&id);
        self.table_times.remove(&id);
        self.arrivals.remove(&id);
        self.engine.forget_watermark(id);
        self.state.building.remove(&id);
        self.state.failed.remove(&id);
        self.fillings.retain(|filling| filling.job != id);
        self.readings.retain(|reading| reading.only != Some(id) && !(reading.feeds && reading.relation == id));
        self.drop_idle_readings();
        for waiting in self.waiting.extract_if(.., |waiting| waiting.relation == id) {
            let gone = SqlError::new(SqlState::QUERY_CANCELED, "the relation was dropped while it was being built");
            let _ = waiting.reply.send(Err(gone));
        }
    }

    /// Ends the readings that no job needs any more.
    pub(super) fn drop_idle_readings(&mut self) {
        let jobs = &self.jobs;
        let needed = |relation| jobs.values().any(|reads| reads.iter().any(|(read, _)| *read == relation));
        self.readings.retain(|reading| reading.only.is_some() || reading.feeds || needed(reading.relation));
    }

    fn alter(&mut self, change: Change) -> Result<Built> {
        let next = self.state.catalog.apply(&change)?;
        self.record(&change, &next)?;
        self.state.catalog = Arc::new(next);
        self.show();
        let relation = match change {
            Change::Rename { id, .. } | Change::SetComment { id, .. } => id,
            _ => RelationId::FIRST_USER,
        };
        Ok(Built { tick: self.state.tick, relation })
    }
}

/// The options of a view that ends with the session that made it.
pub fn temporary() -> Vec<(String, String)> {
    vec![("temporary".to_owned(), "true".to_owned())]
}

/// Whether a relation ends with the session that made it, so that it is never written down.
pub fn is_temporary(relation: &Relation) -> bool {
    relation.kind.options() == temporary()
}

/// The Arrow schema of a relation's rows.
pub fn schema_of(relation: &Relation) -> SchemaRef {
    schema_of_columns(&relation.columns)
}

/// The Arrow schema of rows with these columns.
pub fn schema_of_columns<'a>(columns: impl IntoIterator<Item = &'a Column>) -> SchemaRef {
    let field = |column: &Column| field_of(&column.name, &column.sql_type, !column.not_null);
    Arc::new(Schema::new(columns.into_iter().map(field).collect::<Vec<_>>()))
}

/// The same columns, each of which may be NULL: what rows on their way have, before and beside constraints.
pub fn nullable(schema: &SchemaRef) -> SchemaRef {
    if schema.fields().iter().all(|field| field.is_nullable()) {
        return schema.clone();
    }
    let fields = schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// The job that keeps a table's rows, or an index of a table or view, by key.
pub(super) fn table_job(relation: &Relation, id: RelationId, name: String, key: Vec<usize>) -> Job {
    let schema = schema_of(relation);
    let columns: Vec<usize> = (0..schema.fields().len()).collect();
    let placed_by = if key.is_empty() { columns.clone() } else { key.clone() };
    let input = Node {
        plan: Plan::Input {
            relation: relation.id,
            name: relation.name.clone(),
            columns,
            watermarked: false,
            drops_late: false,
        },
        schema: schema.clone(),
        append_only: false,
        partitioned_by: None,
        unique_key: None,
        event_time: None,
    };
    let plan = Node {
        plan: Plan::Exchange { input: Box::new(input), keys: placed_by.clone() },
        schema,
        append_only: false,
        partitioned_by: Some(placed_by),
        unique_key: Some(key.clone()).filter(|key| !key.is_empty()),
        event_time: None,
    };
    Job { id, name, plan, output: Output::ReadModel { key } }
}
