//! Views on their way back from a checkpoint.
//!
//! ```text
//!   tables as of the checkpoint --> views as of it, those made from others after these --> sources from where they stood
//!                                                                     |
//!                                    the log since then <-------------+-------------> what could not be restored
//! ```
//!
//! A view is restored when its plan is what it was and everything that it reads is as it was: tables that were not written
//! anew since, sources that a reading of the checkpoint brought there, views that are restored themselves. Any other view
//! is made anew from what it reads. That is slower and never wrong. The jobs that feed sinks are views in this; they go on
//! together with their sinks (`sink_progress`).

use super::clock::Clock;
use super::ingest::Bounds;
use super::late_rows::Rejected;
use super::sink_progress::{Standing, handed_over, rest_of};
use super::source_status::DeadLetter;
use super::view_state::{BAD, LATE, fingerprint};
use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, UInt64Type};
use millrace_catalog::{Catalog, Relation, RelationKind};
use millrace_connectors::BadRecord;
use millrace_dataflow::capture::{Stored, StoredJob};
use millrace_dataflow::engine::TickInput;
use millrace_ir::Job;
use millrace_storage::{
    Checkpoints, Manifest, ReadingState, SectionPiece, SinkProgress, SplitReading, StateFile, StatePiece, ViewState,
};
use millrace_types::{EventTime, Offset, RelationId, Result, SqlError, SqlState};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// What the last checkpoint keeps beside tables, and what has come of it.
pub struct Restoring {
    store: Arc<Checkpoints>,
    workers: usize,
    now: EventTime,
    files: HashMap<(RelationId, u32), StateFile>,
    views: HashMap<RelationId, ViewState>,
    readings: HashMap<RelationId, ReadingState>,
    sinks: HashMap<RelationId, SinkProgress>,
    restored: BTreeSet<RelationId>,
    /// What is not restored, for it is handed over from its beginning.
    handed_over: BTreeSet<RelationId>,
    /// The columns of sources that restored views read.
    sources: BTreeMap<RelationId, BTreeSet<usize>>,
}

impl Restoring {
    /// What a checkpoint keeps; without one, nothing. `catalog`: what there is now.
    pub fn new(store: Arc<Checkpoints>, manifest: Option<&Manifest>, catalog: &Catalog) -> Restoring {
        let files = manifest.iter().flat_map(|manifest| &manifest.state_files);
        let views = manifest.iter().flat_map(|manifest| &manifest.views);
        let readings = manifest.iter().flat_map(|manifest| &manifest.readings);
        let sinks = manifest.iter().flat_map(|manifest| &manifest.sinks);
        let views: HashMap<_, _> = views.map(|view| (view.relation, view.clone())).collect();
        let sinks: HashMap<_, _> = sinks.map(|sink| (sink.relation, sink.clone())).collect();
        let goes_on = |job, sink| views.contains_key(&job) && sinks.contains_key(&sink);
        Restoring {
            store,
            workers: manifest.map_or(0, |manifest| manifest.workers as usize),
            now: EventTime(manifest.map_or(0, |manifest| manifest.now)),
            files: files.map(|file| ((file.relation, file.part), file.clone())).collect(),
            handed_over: handed_over(catalog, goes_on),
            views,
            readings: readings.map(|reading| (reading.relation, reading.clone())).collect(),
            sinks,
            restored: BTreeSet::new(),
            sources: BTreeMap::new(),
        }
    }

    /// Whether a view was restored, or a job that feeds a sink, or a sink goes on.
    pub fn has(&self, view: RelationId) -> bool {
        self.restored.contains(&view)
    }

    /// A sink goes on.
    pub fn note(&mut self, sink: RelationId) {
        self.restored.insert(sink);
    }

    /// A job that was restored is not to be, after all; whether it was.
    pub fn forget(&mut self, job: RelationId) -> bool {
        self.restored.remove(&job)
    }

    /// Where a sink stood, and what it was handed since.
    pub fn standing_of(&self, sink: RelationId) -> Result<Standing> {
        let lost = || SqlError::internal(format!("the checkpoint does not say where sink {sink} stood"));
        let SinkProgress { tick, position, rest, .. } = self.sinks.get(&sink).cloned().ok_or_else(lost)?;
        let sections = rest.map(|part| self.store.load_sections(self.file(sink, part)?)).transpose()?;
        Ok(Standing { tick, position, rest: rest_of(sections.unwrap_or_default())? })
    }

    /// The time of a table as of the checkpoint.
    pub fn time_of(&self, table: RelationId) -> Option<&ReadingState> {
        self.readings.get(&table)
    }

    /// Whether something is kept of a view.
    pub fn keeps(&self, view: RelationId) -> bool {
        self.views.contains_key(&view)
    }

    fn file(&self, owner: RelationId, part: u32) -> Result<&StateFile> {
        let lost = || SqlError::new(SqlState::DATA_CORRUPTED, "a checkpoint does not name a file that it needs");
        self.files.get(&(owner, part)).ok_or_else(lost)
    }

    fn load(&self, view: &ViewState) -> Result<StoredJob> {
        let pieces = view.pieces.iter().map(|piece| self.load_piece(view.relation, piece));
        Ok(StoredJob {
            workers: self.workers,
            told: view.told.iter().map(|(input, at)| (*input, at.map(EventTime))).collect(),
            pieces: pieces.collect::<Result<_>>()?,
        })
    }

    fn load_piece(&self, view: RelationId, piece: &StatePiece) -> Result<Stored> {
        let mut sections = HashMap::<String, Vec<RecordBatch>>::new();
        for (name, content) in self.store.load_sections(self.file(view, piece.part)?)? {
            let section = sections.entry(name).or_default();
            match content {
                SectionPiece::Rows(rows) => section.push(rows),
                SectionPiece::Run(run) => {
                    let lost = || SqlError::new(SqlState::DATA_CORRUPTED, "a state file names a run that is not there");
                    let part = piece.runs.get(run as usize).ok_or_else(lost)?;
                    section.extend(self.store.load(self.file(view, *part)?)?);
                }
            }
        }
        Ok(Stored { worker: piece.worker as usize, place: piece.place, sections })
    }

    /// The bad records and the late rows that were kept of a source; the latter of views that are restored, and those that
    /// nobody was to see.
    fn load_rest(&self, reading: &ReadingState) -> Result<(Vec<DeadLetter>, Vec<Rejected>)> {
        let (mut bad, mut late) = (vec![], vec![]);
        let Some(part) = reading.part else { return Ok((bad, late)) };
        for (name, content) in self.store.load_sections(self.file(reading.relation, part)?)? {
            let SectionPiece::Rows(rows) = content else { continue };
            if name == BAD {
                bad.extend(letters(&rows)?);
            } else if let Some(job) = name.strip_prefix(LATE) {
                let job = job.parse().ok().map(RelationId);
                let last = rows.num_columns().saturating_sub(1);
                let watermarks = rows.columns().get(last).and_then(|column| column.as_primitive_opt::<Int64Type>());
                let watermarks = watermarks.ok_or_else(other)?.clone();
                if job.is_none_or(|job| self.has(job)) {
                    late.push(Rejected { rows: rows.project(&(0..last).collect::<Vec<_>>())?, watermarks, job });
                }
            }
        }
        Ok((bad, late))
    }
}

fn other() -> SqlError {
    SqlError::new(SqlState::DATA_CORRUPTED, "a state file holds something else than what a source could not use")
}

fn letters(rows: &RecordBatch) -> Result<Vec<DeadLetter>> {
    let [split, offset, raw, reason] = rows.columns() else { return Err(other()) };
    let split = split.as_string_opt::<i32>().ok_or_else(other)?;
    let offset = offset.as_primitive_opt::<UInt64Type>().ok_or_else(other)?;
    let raw = raw.as_binary_opt::<i32>().ok_or_else(other)?;
    let reason = reason.as_string_opt::<i32>().ok_or_else(other)?;
    let letter = |row| DeadLetter {
        split: split.value(row).to_owned(),
        record: BadRecord {
            offset: Offset(offset.value(row)),
            raw: raw.value(row).to_vec(),
            reason: reason.value(row).to_owned(),
        },
    };
    Ok((0..rows.num_rows()).map(letter).collect())
}

impl Clock {
    /// Lets time go on from where it was.
    pub(super) fn recall_clock(&mut self, restoring: &Restoring) {
        self.last_now.set(self.last_now.get().max(restoring.now));
    }

    /// Restores a view, if that can be done; what it reads and can be restored must be there.
    ///
    /// # Errors
    /// When the view was restored and what belongs to it cannot be.
    pub(super) fn restore_view(&mut self, view: &Relation, job: Job, restoring: &mut Restoring) -> Result<()> {
        let Some(state) = restoring.views.get(&view.id).cloned() else { return Ok(()) };
        if restoring.handed_over.contains(&view.id) {
            return Ok(());
        }
        let reads: Vec<_> = job.plan.relations().into_iter().map(|(read, columns)| (read, columns.to_vec())).collect();
        if !reads.iter().all(|(read, _)| self.is_as_it_was(*read, restoring)) {
            return Ok(());
        }
        let ids = reads.iter().map(|(read, _)| *read);
        let restored = self.engine.create(job).and_then(|()| {
            let plan = self.engine.fingerprint(view.id).unwrap_or_default();
            match fingerprint(plan, &self.state.catalog, view, ids) == state.fingerprint {
                true => self.engine.restore(view.id, restoring.load(&state)?),
                false => Err(SqlError::new(SqlState::DATA_CORRUPTED, "the view is computed in another way now")),
            }
        });
        match restored {
            // Plans of other views go by what is known of this one.
            Ok(model) => model.into_iter().for_each(|model| self.state.models.put(view.id, model, self.state.tick)),
            Err(error) => {
                tracing::warn!(view = view.name, %error, "the state of a view cannot be used; the view is made anew");
                return self.engine.drop_job(view.id);
            }
        }
        for (source, columns) in self.sources_among(&reads) {
            restoring.sources.entry(source).or_default().extend(columns);
        }
        self.jobs.insert(view.id, reads);
        restoring.restored.insert(view.id);
        self.start_indexes(view)
    }

    fn is_as_it_was(&self, read: RelationId, restoring: &Restoring) -> bool {
        if self.state.failed.contains_key(&read) {
            return false;
        }
        self.state.catalog.get(read).is_some_and(|relation| match &relation.kind {
            RelationKind::Table(table) => table.is_stored(),
            RelationKind::Source { .. } => {
                restoring.readings.contains_key(&read) && !restoring.handed_over.contains(&read)
            }
            RelationKind::MaterializedView { .. } => restoring.has(read),
            _ => false,
        })
    }

    /// Lets sources and restored views go on from where they were.
    pub(super) fn resume(&mut self, restoring: &mut Restoring) -> Result<()> {
        for (source, columns) in std::mem::take(&mut restoring.sources) {
            let Some(state) = restoring.readings.get(&source) else { continue };
            self.resume_source(state, columns, restoring)?;
        }
        let shared = self.readings.iter().filter(|reading| reading.only.is_none());
        let times = shared.filter_map(|reading| Some((reading.relation, reading.time.as_ref()?)));
        let times = times.chain(self.table_times.iter().map(|(table, time)| (*table, time)));
        let watermarks: Vec<_> = times.filter_map(|(relation, time)| Some((relation, time.watermark?))).collect();
        self.engine.recall_watermarks(&watermarks);
        if restoring.restored.is_empty() {
            return Ok(());
        }
        let time_passes =
            TickInput { tick: self.state.tick.next(), inputs: vec![], now: self.now(), watermarks: vec![] };
        let result = self.engine.tick(time_passes)?;
        self.publish(result);
        tracing::info!(views = restoring.restored.len(), "views go on from the last checkpoint");
        Ok(())
    }

    fn resume_source(&mut self, state: &ReadingState, columns: BTreeSet<usize>, restoring: &Restoring) -> Result<()> {
        let Some(defined) = self.sources.lock().get(&state.relation).cloned() else { return Ok(()) };
        self.remembered.resume(state.relation, &*defined.source);
        let from = state.splits.iter().map(|split| (split.name.clone(), split.offset)).collect();
        let counted = |split: &SplitReading| split.rows.max(split.time.as_ref().map_or(0, |time| time.rows));
        let rows = state.splits.iter().map(|split| (split.name.clone(), counted(split))).collect();
        let mut reading = self.read(state.relation, columns, None, Bounds { from, until: None, rows })?;
        let now = self.now();
        reading.time.iter_mut().for_each(|time| time.recall(state, now));
        self.readings.push(reading);
        let (bad, late) = restoring.load_rest(state).unwrap_or_else(|error| {
            tracing::warn!(source = %state.relation, %error, "bad records and late rows that were kept are lost");
            Default::default()
        });
        let counts = state.splits.iter().map(|split| (split.name.clone(), (split.records, split.bad_records)));
        defined.status.recall(counts, bad);
        let counts = state.late.iter().filter(|(job, _)| job.is_none_or(|job| restoring.has(job)));
        defined.late.recall(late, counts.copied());
        Ok(())
    }
}
