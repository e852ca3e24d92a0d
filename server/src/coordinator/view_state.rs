//! The state of views, and of the jobs that feed sinks, on its way into a checkpoint, with where the readings stood that
//! brought it there, and where the sinks stood.
//!
//! The clock captures it between two ticks: what changed since the last checkpoint is copied, runs are handed over as
//! they are. The checkpoint's thread writes it. A piece is the state of one operator on one worker, or the rows of a view
//! there; it has a file, and so has each large run of it. What did not change is named by its old files.

use super::checkpoint::OWN_FILE_ROWS;
use super::clock::Clock;
use super::define::is_temporary;
use super::late_rows::Rejected;
use super::sink_progress::{Standing, sections};
use super::source_status::DeadLetter;
use arrow::array::{ArrayRef, BinaryArray, RecordBatch, StringArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema};
use millrace_catalog::{Catalog, Relation, RelationKind};
use millrace_dataflow::capture::{Captured, CapturedJob, Known, Section, Sections};
use millrace_dataflow::read_model::{Block, BlockId};
use millrace_storage::{
    Checkpoints, Manifest, ReadingState, SectionPiece, SinkProgress, SplitReading, StateFile, StatePiece, ViewState,
};
use millrace_types::{Delta, KEY_GROUPS, KeyGroupRange, RelationId, Result, SqlError, Tick};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;

/// The version of what operators write of their state. State of another version is not read.
const STATE_VERSION: u32 = 1;

/// What a checkpoint keeps beside tables.
#[derive(Default)]
pub struct CapturedState {
    views: Vec<CapturedJob>,
    readings: Vec<CapturedReading>,
    /// Of sources, what the wall clock decided about their rows.
    arrivals: Vec<(RelationId, SplitNotes)>,
    sinks: Vec<(RelationId, Standing)>,
    /// The wall clock, in microseconds.
    now: i64,
    workers: usize,
}

/// What is noted of each split.
type SplitNotes = Vec<(String, RecordBatch)>;

struct CapturedReading {
    state: ReadingState,
    bad: Vec<DeadLetter>,
    late: Vec<Rejected>,
}

/// The sections of the file of a reading.
pub const BAD: &str = "bad";
/// Followed by the id of the view that left the rows out, if one did.
pub const LATE: &str = "late ";

/// What the state of a view depends on besides the plan: with another hash, it is not the state of this view.
pub fn fingerprint(plan: u64, catalog: &Catalog, view: &Relation, reads: impl Iterator<Item = RelationId>) -> u64 {
    let mut hasher = DefaultHasher::new();
    (STATE_VERSION, env!("CARGO_PKG_VERSION"), plan).hash(&mut hasher);
    hash_definition(catalog, view, &mut hasher);
    let mut reads: Vec<_> = reads.collect();
    reads.sort_unstable();
    reads.dedup();
    for relation in reads.into_iter().filter_map(|id| catalog.get(id)) {
        let options = match &relation.kind {
            RelationKind::Source { options } => Some(options),
            _ => None,
        };
        format!("{} {:?} {:?} {options:?}", relation.id, relation.storage(), relation.watermark).hash(&mut hasher);
    }
    hasher.finish()
}

/// The text of a view and of the plain views that stand in it: all that a plan may not show, as it shortens constants.
fn hash_definition(catalog: &Catalog, view: &Relation, hasher: &mut DefaultHasher) {
    format!("{:?} {:?}", view.kind, view.time_zone).hash(hasher);
    for relation in view.depends_on.iter().filter_map(|id| catalog.get(*id)) {
        if let RelationKind::View { .. } = &relation.kind {
            hash_definition(catalog, relation, hasher);
        }
    }
}

impl Clock {
    /// What all views and jobs keep that are complete, as of the last tick, but for what is `known` already.
    pub(super) fn capture(&self, known: Arc<Known>) -> Result<CapturedState> {
        let mut sinks = self.sinks.standing();
        let is_whole = |view: &&Arc<Relation>| {
            (matches!(view.kind, RelationKind::MaterializedView { .. })
                || sinks.iter().any(|(_, _, jobs)| jobs.contains(&view.id)))
                && !is_temporary(view)
                && !self.state.building.contains(&view.id)
                && !self.state.failed.contains_key(&view.id)
        };
        let catalog = &self.state.catalog;
        let mut views = self.engine.capture(catalog.relations().filter(is_whole).map(|view| view.id), known)?;
        for view in &mut views {
            let Some(relation) = catalog.get(view.job) else { continue };
            let reads = self.jobs.get(&view.job).into_iter().flatten().map(|(read, _)| *read);
            view.fingerprint = fingerprint(view.fingerprint, catalog, relation, reads);
        }
        // A sink goes on with all of its jobs, or not at all.
        sinks.retain(|(_, _, jobs)| jobs.iter().all(|job| views.iter().any(|captured| captured.job == *job)));
        let sinks = sinks.into_iter().map(|(sink, standing, _)| (sink, standing)).collect();
        let (now, workers) = (self.now().0, self.engine.workers());
        let arrivals = self.captured_arrivals()?;
        Ok(CapturedState { views, readings: self.captured_readings(), arrivals, sinks, now, workers })
    }

    fn captured_arrivals(&self) -> Result<Vec<(RelationId, SplitNotes)>> {
        self.table_times.keys().filter_map(|table| self.arrivals.get(table)).for_each(|table| table.forget_old());
        let sources = self.arrivals.iter().filter(|(relation, _)| !self.table_times.contains_key(relation));
        let captured = sources.map(|(source, arrivals)| Ok((*source, arrivals.sections()?)));
        let captured = captured.filter(|of| of.as_ref().map_or(true, |(_, sections)| !sections.is_empty()));
        captured.collect()
    }

    fn captured_readings(&self) -> Vec<CapturedReading> {
        let shared = self.readings.iter().filter(|reading| reading.only.is_none() && !reading.feeds);
        let mut captured: Vec<_> = vec![];
        for reading in shared {
            let Some(defined) = self.sources.lock().get(&reading.relation).cloned() else { continue };
            let counts = defined.status.counts();
            let times: HashMap<_, _> = reading.time.iter().flat_map(|time| time.stored()).collect();
            let taken = reading.rows_taken();
            let split = |(name, offset): (String, _)| {
                let (records, bad_records) = counts.get(&name).copied().unwrap_or_default();
                let time = times.get(&name).cloned();
                let rows = taken.get(&name).copied().unwrap_or_default();
                SplitReading { name, offset, records, bad_records, rows, time }
            };
            let state = ReadingState {
                relation: reading.relation,
                watermark: reading.time.as_ref().and_then(|time| time.watermark).map(|watermark| watermark.0),
                splits: reading.position().into_iter().map(split).collect(),
                late: defined.late.counts(),
                part: None,
            };
            captured.push(CapturedReading { state, bad: defined.status.bad_records(), late: defined.late.kept() });
        }
        for (table, time) in &self.table_times {
            let split = |(name, time): (&String, _)| SplitReading {
                name: name.clone(),
                time: Some(time),
                ..SplitReading::default()
            };
            let state = ReadingState {
                relation: *table,
                watermark: time.watermark.map(|watermark| watermark.0),
                splits: time.stored().map(split).collect(),
                late: vec![],
                part: None,
            };
            captured.push(CapturedReading { state, bad: vec![], late: vec![] });
        }
        captured
    }
}

/// The files of views, as of the last checkpoint.
#[derive(Default)]
pub struct ViewFiles(HashMap<(u64, usize, u32), Piece>);

/// The files of a piece.
struct Piece {
    touched: Tick,
    /// None, if nothing is kept.
    file: Option<StateFile>,
    runs: Vec<(BlockId, StateFile)>,
}

impl ViewFiles {
    /// Of which ticks the state in the files is.
    pub fn known(&self) -> Known {
        self.0.iter().map(|(place, piece)| (*place, piece.touched)).collect()
    }

    /// Writes what is new and names all of it in the manifest; answers the files and how many bytes were written.
    /// `goes_on`: fails when the server ends meanwhile.
    pub fn write(
        &self,
        captured: CapturedState,
        manifest: &mut Manifest,
        store: &Checkpoints,
        goes_on: &dyn Fn() -> Result<()>,
    ) -> Result<(ViewFiles, u64)> {
        let CapturedState { views, readings, arrivals, sinks, now, workers } = captured;
        let mut writing =
            Writing { store, tick: manifest.tick, workers, goes_on, owner: RelationId(0), part: 0, bytes: 0 };
        let mut files = HashMap::new();
        (manifest.now, manifest.workers) = (now, workers as u32);
        for view in views {
            (writing.owner, writing.part) = (view.job, 0);
            let mut state = ViewState {
                relation: view.job,
                fingerprint: view.fingerprint,
                told: view.told.iter().map(|(input, at)| (*input, at.map(|at| at.0))).collect(),
                pieces: vec![],
            };
            for captured in view.pieces {
                let (place, worker) = ((view.serial, captured.worker, captured.place), captured.worker);
                let piece = writing.piece(captured, self.0.get(&place))?;
                state.pieces.extend(Writing::named(&piece, worker, place.2, manifest));
                files.insert(place, piece);
            }
            manifest.views.push(state);
        }
        for CapturedReading { mut state, bad, late } in readings {
            (writing.owner, writing.part) = (state.relation, 0);
            if let Some(file) = writing.reading(&bad, &late)? {
                state.part = Some(file.part);
                manifest.state_files.push(file);
            }
            manifest.readings.push(state);
        }
        for (source, sections) in arrivals {
            // The first part is that of the reading.
            (writing.owner, writing.part) = (source, 1);
            manifest.state_files.push(writing.arrivals(sections)?);
            manifest.arrivals.push((source, 1));
        }
        for (relation, Standing { tick, position, rest }) in sinks {
            let rest = writing.rest(relation, &rest, manifest)?;
            manifest.sinks.push(SinkProgress { relation, tick, position, rest });
        }
        Ok((ViewFiles(files), writing.bytes))
    }
}

/// Files being written.
struct Writing<'a> {
    store: &'a Checkpoints,
    tick: Tick,
    workers: usize,
    goes_on: &'a dyn Fn() -> Result<()>,
    owner: RelationId,
    /// The number of the owner's next file.
    part: u32,
    bytes: u64,
}

impl Writing<'_> {
    fn piece(&mut self, captured: Captured, before: Option<&Piece>) -> Result<Piece> {
        let touched = captured.touched;
        let Some(sections) = captured.sections else {
            let before = before.filter(|before| before.touched == touched);
            let lost = || SqlError::internal("the files of a state that did not change are not known");
            let Piece { file, runs, .. } = before.ok_or_else(lost)?;
            return Ok(Piece { touched, file: file.clone(), runs: runs.clone() });
        };
        let sections = Sections::written(sections)?;
        if sections.is_empty() {
            return Ok(Piece { touched, file: None, runs: vec![] });
        }
        let groups = groups(captured.worker, self.workers);
        let (mut rows, mut runs) = (vec![], vec![]);
        for section in sections {
            match section {
                Section::Rows(name, batch) => rows.push((name, SectionPiece::Rows(batch))),
                Section::Runs(name, blocks) => {
                    for block in blocks {
                        if block.rows() < OWN_FILE_ROWS {
                            for batch in block.sections() {
                                rows.push((name.clone(), SectionPiece::Rows(batch?)));
                            }
                            continue;
                        }
                        let known = before.iter().flat_map(|before| &before.runs).find(|(id, _)| id.is(&block));
                        let file = match known {
                            Some((_, file)) => file.clone(),
                            None => self.run(&block, &groups)?,
                        };
                        rows.push((name.clone(), SectionPiece::Run(runs.len() as u32)));
                        runs.push((block.id(), file));
                    }
                }
                // All of these are written.
                Section::Later(_) => {}
            }
        }
        let name = self.next_name()?;
        let file = self.store.put_sections((self.owner, self.part, groups), &name, &rows)?;
        self.bytes += file.bytes;
        Ok(Piece { touched, file: Some(file), runs })
    }

    fn run(&mut self, block: &Block, groups: &Range<u32>) -> Result<StateFile> {
        let name = self.next_name()?;
        let mut batches = block.sections().peekable();
        let schema = match batches.peek() {
            Some(Ok(first)) => first.schema(),
            _ => return Err(SqlError::internal("a run without rows")),
        };
        let file = self.store.put_batches((self.owner, self.part, groups.clone()), &name, &schema, batches)?;
        self.bytes += file.bytes;
        Ok(file)
    }

    /// A name that no other file has: numbers go on from piece to piece, and ticks from checkpoint to checkpoint.
    fn next_name(&mut self) -> Result<String> {
        (self.goes_on)()?;
        self.part += 1;
        Ok(format!("{}-{}-{}.state", self.owner, self.tick, self.part))
    }

    /// Names the files of a piece in the manifest.
    fn named(piece: &Piece, worker: usize, place: u32, manifest: &mut Manifest) -> Option<StatePiece> {
        let part = name(piece.file.as_ref()?, manifest);
        let runs = piece.runs.iter().map(|(_, run)| name(run, manifest)).collect();
        Some(StatePiece { worker: worker as u32, place, part, runs })
    }

    /// What is known of how the rows of a source came in.
    fn arrivals(&mut self, sections: SplitNotes) -> Result<StateFile> {
        let name = self.next_name()?;
        let sections: Vec<_> = sections.into_iter().map(|(split, rows)| (split, SectionPiece::Rows(rows))).collect();
        let file = self.store.put_sections((self.owner, 1, 0..KEY_GROUPS), &name, &sections)?;
        self.bytes += file.bytes;
        Ok(file)
    }

    /// What a sink has not delivered, if there is such; the number of its file.
    fn rest(&mut self, sink: RelationId, rest: &[(Tick, Vec<Delta>)], manifest: &mut Manifest) -> Result<Option<u32>> {
        if rest.is_empty() {
            return Ok(None);
        }
        (self.goes_on)()?;
        let file_name = format!("{sink}-{}-rest.state", self.tick);
        let file = self.store.put_sections((sink, 0, 0..KEY_GROUPS), &file_name, &sections(rest)?)?;
        self.bytes += file.bytes;
        Ok(Some(name(&file, manifest)))
    }

    /// What a reading could not use, if there is such.
    fn reading(&mut self, bad: &[DeadLetter], late: &[Rejected]) -> Result<Option<StateFile>> {
        let mut sections = vec![];
        if !bad.is_empty() {
            sections.push((BAD.to_owned(), SectionPiece::Rows(bad_rows(bad)?)));
        }
        for rejected in late {
            let job = rejected.job.map_or(String::new(), |job| job.to_string());
            sections.push((format!("{LATE}{job}"), SectionPiece::Rows(late_rows(rejected)?)));
        }
        if sections.is_empty() {
            return Ok(None);
        }
        let name = self.next_name()?;
        let file = self.store.put_sections((self.owner, 0, 0..KEY_GROUPS), &name, &sections)?;
        self.bytes += file.bytes;
        Ok(Some(file))
    }
}

/// Names a file in the manifest, and numbers it there. One from an earlier checkpoint had another number.
fn name(file: &StateFile, manifest: &mut Manifest) -> u32 {
    let part = manifest.state_files.iter().filter(|known| known.relation == file.relation).count() as u32;
    manifest.state_files.push(StateFile { part, ..file.clone() });
    part
}

/// The key groups of a worker.
fn groups(worker: usize, workers: usize) -> Range<u32> {
    let KeyGroupRange(groups) = KeyGroupRange::of_worker(worker, workers);
    // With more workers than groups some have none; a file is about some.
    if groups.is_empty() { 0..KEY_GROUPS } else { groups }
}

fn bad_rows(bad: &[DeadLetter]) -> Result<RecordBatch> {
    let split: ArrayRef = Arc::new(StringArray::from_iter_values(bad.iter().map(|letter| &letter.split)));
    let offset: ArrayRef = Arc::new(UInt64Array::from_iter_values(bad.iter().map(|letter| letter.record.offset.0)));
    let raw: ArrayRef = Arc::new(BinaryArray::from_iter_values(bad.iter().map(|letter| &letter.record.raw)));
    let reason: ArrayRef = Arc::new(StringArray::from_iter_values(bad.iter().map(|letter| &letter.record.reason)));
    Ok(RecordBatch::try_from_iter([("split", split), ("offset", offset), ("raw", raw), ("reason", reason)])?)
}

/// Late rows, and after their columns the watermark of each.
fn late_rows(rejected: &Rejected) -> Result<RecordBatch> {
    let schema = rejected.rows.schema();
    let fields = schema.fields().iter().map(|field| field.as_ref().clone());
    let fields: Vec<_> = fields.chain([Field::new("watermark", DataType::Int64, true)]).collect();
    let watermarks: ArrayRef = Arc::new(rejected.watermarks.clone());
    let columns = rejected.rows.columns().iter().cloned().chain([watermarks]).collect();
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}
