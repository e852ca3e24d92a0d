//! What jobs keep, handed over between two ticks; and jobs that go on where they were.

use super::Engine;
use crate::capture::{CapturedJob, Known, StoredJob};
use crate::read_model::ReadModel;
use crate::worker::{Answer, Command};
use millrace_types::{EventTime, RelationId, Result, SqlError, SqlState};
use std::collections::BTreeMap;
use std::sync::Arc;

impl Engine {
    /// What these jobs keep as of the last tick, but for what is `known` already. Jobs that have not seen all of what they
    /// read are left out, and so is one that cannot tell.
    ///
    /// # Errors
    /// `XX000` when the engine has broken down.
    pub fn capture(&self, jobs: impl IntoIterator<Item = RelationId>, known: Arc<Known>) -> Result<Vec<CapturedJob>> {
        let mut state = self.state.lock();
        let attached = |job| state.jobs.get(job).filter(|known| known.attached).map(|known| (job, known.serial));
        let jobs: Arc<[_]> = jobs.into_iter().filter_map(attached).collect();
        let mut captured: BTreeMap<RelationId, Result<Vec<_>>> = BTreeMap::new();
        for answer in state.ask(Command::Capture(jobs, known))? {
            let Answer::Captured(of_worker) = answer else { continue };
            for (job, pieces) in of_worker {
                let all = captured.entry(job).or_insert_with(|| Ok(vec![]));
                match (all, pieces) {
                    (Ok(all), Ok(pieces)) => all.extend(pieces),
                    (all, Err(error)) => *all = Err(error),
                    (Err(_), _) => {}
                }
            }
        }
        let whole = |(job, pieces): (RelationId, Result<Vec<_>>)| match pieces {
            Ok(pieces) => {
                let (known, told) = (state.jobs.get(job)?, state.jobs.told(job));
                Some(CapturedJob { job, serial: known.serial, fingerprint: known.fingerprint, told, pieces })
            }
            Err(error) => {
                tracing::warn!(%job, %error, "the state of a job cannot be told");
                None
            }
        };
        Ok(captured.into_iter().filter_map(whole).collect())
    }

    /// A hash of the plan of a job.
    pub fn fingerprint(&self, job: RelationId) -> Option<u64> {
        self.state.lock().jobs.get(job).map(|known| known.fingerprint)
    }

    /// Gives a job that was created and has seen nothing what it kept, and attaches it; answers its read model, if it has
    /// one. All that it reads must be as it was then. It goes on with the next tick. A job that cannot be restored is to be
    /// dropped.
    ///
    /// # Errors
    /// `XX001` when the state is not that of such a job, `0A000` when it cannot go to so many workers.
    pub fn restore(&self, job: RelationId, stored: StoredJob) -> Result<Option<ReadModel>> {
        let mut state = self.state.lock();
        let known = state.jobs.get(job).filter(|known| !known.attached);
        let known = known.ok_or_else(|| SqlError::internal(format!("there is no job {job} to restore")))?;
        if stored.workers != self.workers && !known.is_movable {
            return Err(SqlError::unsupported("state that is placed by more than a key on another number of workers"));
        }
        let stored = Arc::new(stored);
        let answers = state.ask(Command::Restore(job, stored.clone()))?;
        if !state.jobs.recall(job, &stored.told) {
            return Err(SqlError::new(SqlState::DATA_CORRUPTED, "the state is of a job that read something else"));
        }
        let Some(known) = state.jobs.get_mut(job) else { return Ok(None) };
        let part = |answer| if let Answer::Restored(part) = answer { Some(part) } else { None };
        known.parts = answers.into_iter().filter_map(part).collect();
        known.model = known.model.as_ref().map(|model| model.with_parts(known.parts.clone()));
        Ok(known.model.clone())
    }

    /// What time it is for the jobs that go on: the watermarks of sources and tables.
    pub fn recall_watermarks(&self, watermarks: &[(RelationId, EventTime)]) {
        self.state.lock().jobs.advance(watermarks);
    }
}
