//! The state of views, and of the jobs that feed sinks, on its way into a checkpoint, with where the readings stood that
//! brought it there, and where the sinks stood.
//!
//! The clock captures it between two ticks: what changed since the last checkpoint is copied, runs are handed over as
//! they are. The checkpoint's thread writes it (`view_files`).

use super::clock::Clock;
use super::define::is_temporary;
use super::late_rows::Rejected;
use super::sink_progress::Standing;
use super::source_status::DeadLetter;
use arrow::array::RecordBatch;
use millrace_catalog::{Catalog, Relation, RelationKind};
use millrace_dataflow::capture::{CapturedJob, Known};
use millrace_storage::{ReadingState, SplitReading};
use millrace_types::{RelationId, Result};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// The version of what operators write of their state. State of another version is not read.
const STATE_VERSION: u32 = 1;

/// What a checkpoint keeps beside tables.
#[derive(Default)]
pub struct CapturedState {
    pub(super) views: Vec<CapturedJob>,
    pub(super) readings: Vec<CapturedReading>,
    /// Of sources, what the wall clock decided about their rows.
    pub(super) arrivals: Vec<(RelationId, SplitNotes)>,
    pub(super) sinks: Vec<(RelationId, Standing)>,
    /// The wall clock, in microseconds.
    pub(super) now: i64,
    pub(super) workers: usize,
}

/// What is noted of each split.
pub(super) type SplitNotes = Vec<(String, RecordBatch)>;

pub(super) struct CapturedReading {
    pub state: ReadingState,
    pub bad: Vec<DeadLetter>,
    pub late: Vec<Rejected>,
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
