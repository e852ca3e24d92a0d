//! How far sources had been read before the server ended.
//!
//! Each tick with rows of a source writes its offsets into the journal. After a restart sources are read from their
//! start, and what is made from one is not shown before it is read again as far as it was: nobody sees an older state
//! than they may have seen before.

use super::clock::Clock;
use super::ingest::Reading;
use millrace_connectors::Source;
use millrace_dataflow::engine::RelationInput;
use millrace_storage::SourceOffset;
use millrace_types::{Offset, RelationId};
use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

/// How often the log tells how far recovery has come.
const REPORT: Duration = Duration::from_secs(1);

/// The offsets of splits by name, for each source.
#[derive(Default)]
pub struct Remembered {
    offsets: BTreeMap<RelationId, BTreeMap<String, Offset>>,
    reported: Option<Instant>,
}

impl Remembered {
    /// Takes in what was written down; of two offsets the farther one counts.
    pub fn learn(&mut self, offsets: Vec<SourceOffset>) {
        for at in offsets {
            let known = self.offsets.entry(at.relation).or_default().entry(at.split).or_default();
            *known = at.offset.max(*known);
        }
    }

    /// Tells a source how far it was read.
    pub fn resume(&self, id: RelationId, source: &dyn Source) {
        let Some(offsets) = self.offsets.get(&id) else { return };
        // A source whose splits cannot be listed says so when it is read.
        for split in source.splits().unwrap_or_default() {
            if let Some(read) = offsets.get(&split.name) {
                source.resume(&split, *read);
            }
        }
    }

    /// How far the splits of one source were read.
    pub fn of(&self, id: RelationId) -> BTreeMap<String, Offset> {
        self.offsets.get(&id).cloned().unwrap_or_default()
    }

    /// Forgets sources that are not there any more.
    pub fn retain(&mut self, is_there: impl Fn(RelationId) -> bool) {
        self.offsets.retain(|source, _| is_there(*source));
    }
}

fn offsets_of(reading: &Reading) -> impl Iterator<Item = SourceOffset> {
    reading.named_offsets().map(|(split, offset)| SourceOffset {
        relation: reading.relation,
        split: split.clone(),
        offset,
    })
}

impl Clock {
    /// The offsets that a tick with these inputs brings, those of tables that are fed among them.
    pub(super) fn new_offsets(&self, inputs: &[RelationInput]) -> Vec<SourceOffset> {
        let shared = self.readings.iter().filter(|reading| reading.only.is_none());
        let moved =
            |reading: &&Reading| inputs.iter().any(|input| input.relation == reading.relation && input.only.is_none());
        shared.filter(moved).flat_map(offsets_of).filter(|at| at.offset > Offset::default()).collect()
    }

    /// How far all sources are read, or were before the server ended where that is farther.
    pub(super) fn source_offsets(&mut self) -> Vec<SourceOffset> {
        let shared = self.readings.iter().filter(|reading| reading.only.is_none());
        let now: Vec<_> = shared.flat_map(offsets_of).collect();
        self.remembered.learn(now);
        let catalog = &self.state.catalog;
        self.remembered.retain(|source| catalog.get(source).is_some());
        let splits = |(relation, splits): (&RelationId, &BTreeMap<String, Offset>)| {
            let relation = *relation;
            let at = move |(split, offset): (&String, &Offset)| SourceOffset {
                relation,
                split: split.clone(),
                offset: *offset,
            };
            splits.iter().map(at).collect::<Vec<_>>()
        };
        self.remembered.offsets.iter().flat_map(splits).collect()
    }

    /// Holds back what is made from sources that had been read before, and views that read their history again.
    pub(super) fn begin_recovering(&mut self) {
        let behind: HashSet<_> = self.behind().chain(self.state.building.iter().copied()).collect();
        if !behind.is_empty() {
            tracing::info!(relations = behind.len(), "sources are read again; what is made from them waits for that");
            self.state.recovering = behind;
            self.show();
        } else {
            self.sinks.recovered();
        }
    }

    /// Shows what has come as far as it was.
    pub(super) fn finish_recovering(&mut self) {
        if self.state.recovering.is_empty() {
            return;
        }
        let behind = self.behind().chain(self.state.building.iter().copied());
        let behind: HashSet<_> = behind.filter(|relation| self.state.recovering.contains(relation)).collect();
        if behind.len() < self.state.recovering.len() {
            self.state.recovering = behind;
            self.show();
        }
        if self.state.recovering.is_empty() {
            self.sinks.recovered();
            tracing::info!(tick = %self.state.tick, "every source is read as far as it was");
        } else if self.remembered.reported.is_none_or(|at| at.elapsed() >= REPORT) {
            self.remembered.reported = Some(Instant::now());
            self.report();
        }
    }

    /// The sources whose reading has not come as far as it was. A source that nobody reads is not among them.
    fn behind(&self) -> impl Iterator<Item = RelationId> {
        // What feeds a table goes on where its rows end, so that the table is never behind.
        let shared = self.readings.iter().filter(|reading| reading.only.is_none() && !reading.feeds);
        shared.filter_map(|reading| {
            let wanted = self.remembered.offsets.get(&reading.relation)?;
            (!reading.has_reached(wanted)).then_some(reading.relation)
        })
    }

    fn report(&self) {
        for reading in self.readings.iter().filter(|reading| self.state.recovering.contains(&reading.relation)) {
            let name = self.state.catalog.get(reading.relation).map_or("", |relation| &relation.name);
            let wanted = self.remembered.offsets.get(&reading.relation);
            let total = |offsets: &mut dyn Iterator<Item = Offset>| offsets.map(|offset| offset.0).sum::<u64>();
            let read = total(&mut reading.named_offsets().map(|(_, offset)| offset));
            let wanted = total(&mut wanted.into_iter().flat_map(BTreeMap::values).copied());
            tracing::info!(source = name, read, wanted, "recovering");
        }
    }
}
