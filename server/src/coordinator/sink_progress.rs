//! How far sinks are, in checkpoints and after a restart.
//!
//! ```text
//!   handed over:   | d1 d2 d3 d4 | d5 d6 d7 |          checkpoint after d7:
//!   delivered:     | d1 d2 d3 d4 |                     position after d4; rest: d5 d6 d7; state of the job after d7
//!
//!   restart:       sink begins after d4 --> rest: d5 d6 d7 --> what the job makes of all that came since
//! ```
//!
//! A checkpoint never waits for a sink: what a sink has not delivered is written down beside where it stands, and the
//! state of the jobs that feed it is that of the same moment. What it delivers afterwards comes again after a restart, and
//! the sink undoes or recognises it.
//!
//! A sink goes on only together with all jobs that feed it. Any other hands over everything again, in the order of its
//! source: the source, and the views between, are then not restored.

use super::checkpoint::{weighted, with_weights, without_weights};
use super::clock::Clock;
use super::restoring::Restoring;
use super::sinks::SinkStatus;
use crate::statements::{Context, revive};
use millrace_catalog::{Catalog, Relation, RelationKind};
use millrace_connectors::Sink;
use millrace_dataflow::state::bytes_of;
use millrace_planner::FunctionSource;
use millrace_storage::SectionPiece;
use millrace_types::{Delta, RelationId, Result, SqlError, SqlState, Tick};
use parking_lot::Mutex;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of rows that are written and kept until a sink can say that they are delivered; beyond, where it stands is not
/// known until all of them are.
const KEPT_BYTES: usize = 64 << 20;

/// Bytes of rows beyond which a checkpoint keeps nothing of what a sink was handed: each would write all of it.
const SAVED_BYTES: usize = 256 << 20;

/// What a sink was handed at once.
#[derive(Clone)]
pub struct Handed {
    pub tick: Tick,
    pub deltas: Vec<Delta>,
    pub bytes: usize,
    /// Whether its rows are in a file.
    pub is_on_disk: bool,
}

impl Handed {
    pub fn new(tick: Tick, deltas: Vec<Delta>) -> Handed {
        let bytes = deltas.iter().map(|delta| bytes_of(delta.rows()) + delta.len() * size_of::<i64>()).sum();
        Handed { tick, deltas, bytes, is_on_disk: false }
    }
}

/// Bytes of rows that wait for a sink, as everybody may see them.
#[derive(Debug, Default)]
pub struct Waiting {
    pub in_memory: AtomicUsize,
    pub on_disk: AtomicUsize,
}

impl Waiting {
    fn place(&self, handed: &Handed) -> &AtomicUsize {
        if handed.is_on_disk { &self.on_disk } else { &self.in_memory }
    }

    fn add(&self, handed: &Handed) {
        self.place(handed).fetch_add(handed.bytes, Ordering::Relaxed);
    }

    fn remove(&self, handed: &Handed) {
        self.place(handed).fetch_sub(handed.bytes, Ordering::Relaxed);
    }
}

/// Where a sink stands.
pub struct Standing {
    /// The last tick that it has delivered.
    pub tick: Tick,
    /// Where that is, as its connector says it.
    pub position: String,
    /// What it was handed since.
    pub rest: Vec<(Tick, Vec<Delta>)>,
}

/// How far a sink is.
pub struct Progress {
    /// The last tick that it has delivered for good, and where that is; none when that is not known.
    tick: Tick,
    position: Option<String>,
    /// What it was handed since, oldest first, and how many things it was handed before these.
    rest: VecDeque<Handed>,
    before: u64,
    waiting: Arc<Waiting>,
    /// Bytes that it was handed after what is on disk, or on its way there.
    newest: usize,
    /// How many of these are written, and their bytes.
    written: usize,
    kept: usize,
    /// Whether it can never tell where it stands.
    lost: bool,
}

impl Progress {
    /// Of a sink that has delivered all of a tick.
    pub fn new(tick: Tick, position: Option<String>, waiting: Arc<Waiting>) -> Progress {
        let lost = position.is_none();
        Progress { tick, position, rest: VecDeque::new(), before: 0, waiting, newest: 0, written: 0, kept: 0, lost }
    }

    /// The sink is handed something.
    pub fn hand(&mut self, handed: Handed) {
        self.waiting.add(&handed);
        self.newest += handed.bytes;
        self.rest.push_back(handed);
    }

    /// What it is to write next.
    pub fn next(&self) -> Option<&Handed> {
        self.rest.get(self.written)
    }

    /// It has written that.
    pub fn wrote(&mut self) {
        let Some(handed) = self.next() else { return };
        self.waiting.remove(handed);
        self.kept += handed.bytes;
        self.written += 1;
        if self.lost || self.kept > KEPT_BYTES {
            self.forget();
        }
    }

    /// Where it stands with what it has written; `None`: that is not delivered for good.
    pub fn stand(&mut self, position: Option<String>) {
        let Some(position) = position.filter(|_| !self.lost) else { return };
        self.forget();
        self.position = Some(position);
    }

    /// From now on nobody can tell where it stands.
    pub fn lose(&mut self) {
        self.lost = true;
        self.forget();
    }

    fn forget(&mut self) {
        self.before += self.written as u64;
        self.tick = self.rest.drain(..self.written).next_back().map_or(self.tick, |handed| handed.tick);
        (self.written, self.kept, self.position) = (0, 0, None);
    }

    /// Whether more than `all` bytes wait in memory, and `newest` of them behind what is on disk.
    pub fn has_in_memory(&self, all: usize, newest: usize) -> bool {
        self.newest >= newest && self.waiting.in_memory.load(Ordering::Relaxed) > all
    }

    /// The newest `bytes` of what is in memory and not written, each thing with its number, oldest first; `None`: there is
    /// not so much behind what is on disk already.
    pub fn newest(&mut self, bytes: usize) -> Option<Vec<(u64, Handed)>> {
        self.newest = 0;
        let (mut found, mut left) = (vec![], bytes);
        for (place, handed) in self.rest.iter().enumerate().skip(self.written).rev() {
            if handed.is_on_disk {
                return None;
            }
            found.push((self.before + place as u64, handed.clone()));
            left = left.saturating_sub(handed.bytes);
            if left == 0 {
                found.reverse();
                return Some(found);
            }
        }
        None
    }

    /// What was in memory is elsewhere now; what has been written meanwhile is not needed any more.
    pub fn moved(&mut self, moved: Vec<(u64, Handed)>) {
        for (number, handed) in moved.into_iter().filter(|(number, _)| *number >= self.before + self.written as u64) {
            if let Some(place) = self.rest.get_mut((number - self.before) as usize) {
                self.waiting.remove(place);
                self.waiting.add(&handed);
                *place = handed;
            }
        }
    }

    /// Where it stands, and what it was handed since.
    pub fn standing(&self) -> Option<Standing> {
        let bytes: usize = self.rest.iter().map(|handed| handed.bytes).sum();
        let position = self.position.clone().filter(|_| bytes <= SAVED_BYTES)?;
        let rest = self.rest.iter().map(|handed| (handed.tick, handed.deltas.clone())).collect();
        Some(Standing { tick: self.tick, position, rest })
    }
}

/// The rest as sections: one for each tick, in order.
pub fn sections(rest: &[(Tick, Vec<Delta>)]) -> Result<Vec<(String, SectionPiece)>> {
    let section = |(tick, delta): (&Tick, &Delta)| {
        let rows = with_weights(delta, &weighted(delta.rows().schema_ref()))?;
        Ok((tick.to_string(), SectionPiece::Rows(rows)))
    };
    rest.iter().flat_map(|(tick, deltas)| deltas.iter().map(move |delta| (tick, delta))).map(section).collect()
}

/// What [`sections`] wrote.
pub fn rest_of(sections: Vec<(String, SectionPiece)>) -> Result<Vec<(Tick, Vec<Delta>)>> {
    let other = || SqlError::new(SqlState::DATA_CORRUPTED, "a state file holds something else than rows for a sink");
    let mut rest: Vec<(Tick, Vec<Delta>)> = vec![];
    for (name, piece) in sections {
        let (tick, SectionPiece::Rows(rows)) = (name.parse().map(Tick).map_err(|_| other())?, piece) else {
            return Err(other());
        };
        let delta = without_weights(&rows)?.ok_or_else(other)?;
        match rest.last_mut() {
            Some((same, deltas)) if *same == tick => deltas.push(delta),
            _ => rest.push((tick, vec![delta])),
        }
    }
    Ok(rest)
}

/// The jobs that feed a sink.
pub fn feeding(catalog: &Catalog, sink: RelationId) -> impl Iterator<Item = &Arc<Relation>> {
    catalog.relations().filter(move |relation| fed_by(relation) == Some(sink))
}

/// The sink that a relation feeds.
fn fed_by(relation: &Relation) -> Option<RelationId> {
    match &relation.kind {
        RelationKind::Sink { .. } => Some(relation.id),
        RelationKind::Job { target, .. } => Some(*target),
        _ => None,
    }
}

/// The jobs that hand over everything again, the sources that they read row by row, directly or through views that only
/// ever add rows, and these views. `goes_on`: whether there is what it takes for a job and its sink to go on.
pub fn handed_over(catalog: &Catalog, goes_on: impl Fn(RelationId, RelationId) -> bool) -> BTreeSet<RelationId> {
    let jobs: Vec<_> = catalog.relations().filter_map(|job| Some((job, fed_by(job)?))).collect();
    let mut sinks: BTreeSet<_> =
        jobs.iter().filter(|(job, sink)| !goes_on(job.id, *sink)).map(|(_, sink)| *sink).collect();
    loop {
        let again = jobs.iter().filter(|(_, sink)| sinks.contains(sink)).map(|(job, _)| *job);
        let found = read_again(catalog, again);
        // What reads something that comes from its beginning comes from its beginning, too.
        let (known, reads) = (sinks.len(), |job: &Relation| job.depends_on.iter().any(|read| found.contains(read)));
        sinks.extend(jobs.iter().filter(|(job, _)| reads(job)).map(|(_, sink)| *sink));
        if sinks.len() == known {
            return found;
        }
    }
}

fn read_again<'a>(catalog: &Catalog, jobs: impl Iterator<Item = &'a Arc<Relation>>) -> BTreeSet<RelationId> {
    let (mut found, mut open) = (BTreeSet::new(), vec![]);
    for job in jobs {
        found.insert(job.id);
        // With whether all of what it is made from is handed over, too.
        open.extend(job.depends_on.iter().map(|input| (*input, false)));
    }
    while let Some((id, whole)) = open.pop() {
        let Some(relation) = catalog.get(id) else { continue };
        match &relation.kind {
            RelationKind::View { .. } => open.extend(relation.depends_on.iter().map(|input| (*input, whole))),
            RelationKind::Source { .. } => drop(found.insert(id)),
            RelationKind::MaterializedView { .. } if (whole || relation.append_only) && found.insert(id) => {
                open.extend(relation.depends_on.iter().map(|input| (*input, true)));
            }
            _ => {}
        }
    }
    found
}

impl Clock {
    /// Starts a sink where it stands, or with nothing delivered.
    pub(super) fn start_sink(&mut self, id: RelationId, sink: Box<dyn Sink>, from: Option<Standing>) -> Result<()> {
        let status = Arc::new(Mutex::new(SinkStatus::default()));
        self.sinks.start(id, sink, status.clone(), from.ok_or(self.state.tick))?;
        self.sink_facts.lock().insert(id, status);
        Ok(())
    }

    /// Lets sinks go on whose jobs have been restored. Where that cannot be, the jobs hand over everything again.
    pub(super) fn resume_sinks(&mut self, functions: &FunctionSource, restoring: &mut Restoring) -> Result<()> {
        let catalog = self.state.catalog.clone();
        let sinks: BTreeSet<_> = catalog.relations().filter_map(|relation| fed_by(relation)).collect();
        for sink in sinks.into_iter().filter_map(|sink| catalog.get(sink)) {
            let jobs: Vec<_> = feeding(&catalog, sink.id).collect();
            if !jobs.iter().any(|job| restoring.has(job.id)) {
                continue;
            }
            let resumed = match jobs.iter().all(|job| restoring.has(job.id)) {
                true => self.resume_sink(sink, functions, restoring),
                false => Err(SqlError::internal("a job that feeds the sink cannot go on")),
            };
            if let Err(error) = resumed {
                tracing::warn!(sink = sink.name, %error, "a sink cannot go on where it stood; all is handed over again");
                for job in jobs.iter().filter(|job| restoring.forget(job.id)) {
                    self.jobs.remove(&job.id);
                    self.engine.drop_job(job.id)?;
                }
                continue;
            }
            restoring.note(sink.id);
            for job in jobs {
                self.sinks.route(job.id, sink.id, job.append_only);
            }
        }
        Ok(())
    }

    fn resume_sink(&mut self, sink: &Relation, functions: &FunctionSource, restoring: &Restoring) -> Result<()> {
        let standing = restoring.standing_of(sink.id)?;
        let context = Context::of_recovery(Arc::new(self.state.clone()), functions.clone(), sink);
        let connected = revive::parts(sink, &context)?.sink;
        let connected = connected.ok_or_else(|| SqlError::internal("a sink without a connector"))?;
        self.start_sink(sink.id, connected, Some(standing))
    }
}
