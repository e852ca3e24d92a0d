//! CREATE OR REPLACE and REFRESH: what is computed anew is built beside what is there, and put in its place in one tick.
//!
//! ```text
//!   readers of v <-- job of v             readers of v <--+   job of v: ends
//!                                                         |
//!                    new job: hydrates    =>    only the  +-- new job, now called v
//!                    and reads history          difference
//! ```
//!
//! Until then everybody sees the old rows. Views that are planned anew because a view below them is are built on the
//! new jobs, and all take their places together.

use super::clock::Clock;
use super::define::Built;
use millrace_catalog::{Catalog, Change, Relation};
use millrace_dataflow::engine;
use millrace_ir::Job;
use millrace_types::{RelationId, Result, SqlError, SqlState};
use std::sync::Arc;
use tokio::sync::oneshot;

/// Relations that get new definitions or are computed anew, each after those that it needs.
pub struct Replacement {
    pub steps: Vec<Step>,
}

/// One relation of a [`Replacement`].
pub struct Step {
    /// The relation as it was when the step was planned.
    pub before: Arc<Relation>,
    /// The relation as it will be; its id stays.
    pub after: Relation,
    /// Computes it anew, under an id of its own; none for a plain view.
    pub job: Option<Job>,
    /// Whether the jobs that read the relation go on with the difference; otherwise they are steps too.
    pub passes_on: bool,
}

/// A replacement under way.
pub(super) struct Replacing {
    steps: Vec<Step>,
    /// For each step the id of its job.
    jobs: Vec<Option<RelationId>>,
    reply: oneshot::Sender<Result<Built>>,
}

impl Clock {
    /// Starts to build; the statement is answered when everything has taken its place.
    pub(super) fn begin_replacing(&mut self, replacement: Replacement, reply: oneshot::Sender<Result<Built>>) {
        let jobs = replacement.steps.iter().map(|step| step.job.as_ref().map(|job| job.id)).collect();
        let mut replacing = Replacing { steps: replacement.steps, jobs, reply };
        match self.check(&replacing).and_then(|()| self.build(&mut replacing)) {
            Ok(()) => self.replacing.push(replacing),
            Err(error) => self.abandon(replacing, error),
        }
        self.finish_replacing();
    }

    fn build(&mut self, replacing: &mut Replacing) -> Result<()> {
        for step in &mut replacing.steps {
            let Some(job) = step.job.take() else { continue };
            let id = job.id;
            self.start_beside(job)?;
            if let Some(error) = self.state.failed.get(&id) {
                return Err(error.clone());
            }
        }
        Ok(())
    }

    /// Puts what is built in its place.
    pub(super) fn finish_replacing(&mut self) {
        for replacing in std::mem::take(&mut self.replacing) {
            let failure = replacing.jobs.iter().flatten().find_map(|job| self.state.failed.get(job).cloned());
            match failure {
                _ if replacing.reply.is_closed() => {
                    self.abandon(replacing, SqlError::new(SqlState::QUERY_CANCELED, "the statement was cancelled"));
                }
                Some(error) => self.abandon(replacing, error),
                None if replacing.jobs.iter().flatten().all(|job| self.is_built(*job)) => self.finish(replacing),
                None => self.replacing.push(replacing),
            }
        }
    }

    fn finish(&mut self, replacing: Replacing) {
        let swapped = self.check(&replacing).and_then(|()| self.swap(&replacing));
        match swapped {
            Ok(built) => drop(replacing.reply.send(Ok(built))),
            Err(error) => self.abandon(replacing, error),
        }
    }

    /// Nobody may have changed what the plans rest on.
    fn check(&self, replacing: &Replacing) -> Result<()> {
        let catalog = &self.state.catalog;
        let is_step = |id: RelationId| replacing.steps.iter().any(|step| step.after.id == id);
        for step in &replacing.steps {
            let id = step.after.id;
            let same = catalog.get(id) == Some(&step.before);
            let readers = catalog.relations().filter(|other| other.depends_on.contains(&id));
            let known = step.passes_on || readers.into_iter().all(|reader| is_step(reader.id));
            let needed = step.after.depends_on.iter().all(|needed| catalog.get(*needed).is_some());
            if !same || !known || !needed {
                let message =
                    format!("could not replace \"{}\" due to a concurrent change of definitions", step.after.name);
                return Err(SqlError::new(SqlState::SERIALIZATION_FAILURE, message));
            }
        }
        Ok(())
    }

    fn swap(&mut self, replacing: &Replacing) -> Result<Built> {
        let catalog = self.recorded(replacing)?;
        let pairs = replacing.steps.iter().zip(&replacing.jobs);
        let replacements: Vec<_> = pairs
            .filter_map(|(step, job)| {
                Some(engine::Replacement { old: step.after.id, new: (*job)?, passes_on: step.passes_on })
            })
            .collect();
        // Indexes of views whose readers are not told the difference begin again, like all that reads them.
        let lost: Vec<_> =
            replacing.steps.iter().filter(|step| !step.passes_on && !step.before.indexes.is_empty()).collect();
        lost.iter().flat_map(|step| step.before.index_keys()).for_each(|key| self.end(key.index));
        let result = self.engine.replace(&replacements, self.state.tick.next(), self.now())?;
        let renamed = |id: RelationId| replacements.iter().find(|r| r.new == id).map_or(id, |r| r.old);
        for replacement in &replacements {
            let reads = self.jobs.remove(&replacement.new).unwrap_or_default();
            let reads = reads.into_iter().map(|(relation, columns)| (renamed(relation), columns)).collect();
            self.jobs.insert(replacement.old, reads);
            self.state.models.remove(replacement.new);
            self.each_late_store(|late| late.rename(replacement.new, replacement.old));
            self.state.failed.remove(&replacement.old);
            self.state.building.remove(&replacement.old);
        }
        for step in replacing.steps.iter().filter(|step| step.before.columns != step.after.columns) {
            self.subscriptions.end(step.after.id);
        }
        self.state.catalog = Arc::new(catalog);
        self.drop_idle_readings();
        self.changing = !lost.is_empty();
        self.publish(result);
        let started = lost.into_iter().try_for_each(|step| self.start_indexes(&step.after));
        self.changing = false;
        self.show();
        started?;
        let relation = replacing.steps.first().map_or(RelationId::FIRST_USER, |step| step.after.id);
        Ok(Built { tick: self.state.tick, relation })
    }

    /// Writes the new definitions down, and answers the catalog with them.
    fn recorded(&self, replacing: &Replacing) -> Result<Catalog> {
        let mut catalog = Catalog::clone(&self.state.catalog);
        for step in replacing.steps.iter().filter(|step| *step.before != step.after) {
            let change = Change::Replace(step.after.clone());
            catalog = catalog.apply(&change)?;
            self.record(&change, &catalog)?;
        }
        Ok(catalog)
    }

    /// Takes back what was built.
    fn abandon(&mut self, replacing: Replacing, error: SqlError) {
        for job in replacing.jobs.iter().flatten().rev() {
            self.end(*job);
        }
        self.show();
        let _ = replacing.reply.send(Err(error));
    }
}
