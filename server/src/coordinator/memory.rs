//! Memory that has an end: views that need more than they may are ended with an error, before the system ends the server.
//!
//! Runs of state go to disk by themselves when there are too many (`dataflow/src/state/spill.rs`). What is looked at here
//! is the rest: groups, partitions and whatever else must be in memory.

use super::clock::Clock;
use millrace_catalog::RelationKind;
use millrace_types::{RelationId, SqlError, SqlState, Tick};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How often it is looked at.
const EVERY: Duration = Duration::from_secs(1);
/// How long the memory of an ended view may take to be given back.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is known of memory.
pub struct Memory {
    /// Bytes that the process may use.
    limit: usize,
    looked: Instant,
    tick: Tick,
    /// When a view was ended for the good of the others.
    ended: Option<Instant>,
}

impl Memory {
    /// `limit`: bytes that the process may use.
    pub fn new(limit: usize) -> Memory {
        Memory { limit, looked: Instant::now(), tick: Tick::default(), ended: None }
    }
}

impl Clock {
    /// Ends the views that have outgrown their limits, and the largest one when the process has outgrown its own.
    pub(super) fn bound_memory(&mut self) {
        if self.memory.tick == self.state.tick || self.memory.looked.elapsed() < EVERY {
            return;
        }
        (self.memory.looked, self.memory.tick) = (Instant::now(), self.state.tick);
        let is_full = used_memory().is_some_and(|used| used > self.memory.limit)
            && self.memory.ended.is_none_or(|ended| ended.elapsed() > PATIENCE);
        let limits: HashMap<RelationId, usize> = self
            .state
            .catalog
            .relations()
            .filter_map(|relation| Some((relation.id, relation.memory_limit()?)))
            .collect();
        if !is_full && limits.is_empty() {
            return;
        }
        let mut used = HashMap::<RelationId, usize>::new();
        self.engine.operators().iter().for_each(|info| *used.entry(info.job).or_default() += info.bytes);
        for (job, limit) in limits {
            if used.get(&job).is_some_and(|used| *used > limit) {
                used.remove(&job);
                let detail = format!("Its limit is {} MiB.", limit >> 20);
                self.end_for_memory(job, &detail, "Raise its memory_limit, or let it keep less.");
            }
        }
        let largest = used.into_iter().filter(|(job, _)| self.can_end(*job)).max_by_key(|(_, bytes)| *bytes);
        if let (true, Some((job, bytes))) = (is_full, largest) {
            self.memory.ended = Some(Instant::now());
            let detail = format!(
                "The server may use {} MiB, and this is the view with most of it: {} MiB.",
                self.memory.limit >> 20,
                bytes >> 20
            );
            self.end_for_memory(job, &detail, "Let it keep less, or give the server more: --state-memory-mib.");
        }
    }

    /// Whether a job is computed from others, so that nothing is lost when it ends.
    fn can_end(&self, job: RelationId) -> bool {
        let kind = self.state.catalog.get(job).map(|relation| &relation.kind);
        matches!(
            kind,
            Some(RelationKind::MaterializedView { .. } | RelationKind::Sink { .. } | RelationKind::Job { .. })
        )
    }

    fn end_for_memory(&mut self, job: RelationId, detail: &str, hint: &str) {
        let Some(relation) = self.state.catalog.get(job) else { return };
        let message = format!("out of memory: \"{}\" needs more than there is for it", relation.name);
        let error = SqlError::new(SqlState::OUT_OF_MEMORY, message).with_detail(detail.to_owned());
        let hint = format!("{hint} Drop it and create it again afterwards.");
        match self.engine.fail(job, error.with_hint(hint)) {
            Ok(failed) => {
                self.note_failed(failed);
                self.show();
            }
            Err(error) => tracing::error!(%job, %error, "a job could not be ended"),
        }
    }
}

/// Bytes that the process has in memory and that the system cannot get back from files; `None` where it does not tell.
fn used_memory() -> Option<usize> {
    let pages = std::fs::read_to_string("/proc/self/statm").ok()?;
    let mut pages = pages.split_ascii_whitespace().skip(1).map_while(|count| count.parse::<usize>().ok());
    let (resident, shared) = (pages.next()?, pages.next()?);
    Some(resident.saturating_sub(shared) * 4_096)
}
