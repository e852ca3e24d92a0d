//! Which jobs there are, and which of them a tick reaches.

use crate::engine::RelationInput;
use crate::job_time::JobTime;
use crate::movable::{fingerprint, is_movable};
use crate::read_model::{Part, ReadModel};
use crate::worker::{Reached, is_fed, partition_of};
use millrace_ir::{Job, Output};
use millrace_types::{Delta, EventTime, RelationId, Result, SqlError, SqlState};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// The jobs of an engine, and what joins them.
#[derive(Default)]
pub struct Jobs {
    known: HashMap<RelationId, Known>,
    /// The jobs that read a relation, in the order in which they were created.
    readers: HashMap<RelationId, Vec<RelationId>>,
    /// Jobs that ended by an error and were not dropped yet.
    failed: HashMap<RelationId, SqlError>,
    /// Relations whose changes are asked for.
    pub subscribed: HashSet<RelationId>,
    /// How far the times of sources and tables have come.
    pub(crate) watermarks: HashMap<RelationId, EventTime>,
    /// The jobs that want a tick at some watermark or at some time.
    pub(crate) waiting: BTreeSet<RelationId>,
    /// The jobs that were restored and have not gone on yet.
    pub(crate) restored: BTreeSet<RelationId>,
    created: u64,
    serial: u64,
}

/// A job that runs.
pub struct Known {
    pub name: String,
    reads: Vec<RelationId>,
    /// Jobs created later never feed ones created earlier, so this orders jobs as changes flow.
    number: u64,
    /// Its relation's changes come from outside; it only keeps them.
    fed: bool,
    pub attached: bool,
    pub time: JobTime,
    pub stream: bool,
    /// The version as of the last tick; `None` for a job that only emits.
    pub model: Option<ReadModel>,
    pub parts: Vec<Part>,
    /// Its number among all jobs that ever were.
    pub serial: u64,
    /// A hash of the plan.
    pub fingerprint: u64,
    /// Whether its state may go to other workers than it was on.
    pub is_movable: bool,
}

impl Jobs {
    /// Checks that a job can be created.
    ///
    /// # Errors
    /// `55000` when it reads a job that ended by an error; `XX000` when there is such a job already, or one that reads it.
    pub fn check_new(&self, job: &Job) -> Result<()> {
        if self.known.contains_key(&job.id) {
            return Err(SqlError::internal(format!("there is a job {} already", job.id)));
        }
        if !is_fed(job) && self.readers.get(&job.id).is_some_and(|readers| !readers.is_empty()) {
            return Err(SqlError::internal(format!("job {} is created after a job that reads it", job.id)));
        }
        match job.plan.relations().iter().find_map(|(relation, _)| self.failed.get(relation)) {
            Some(error) => {
                let message = "a relation that the view reads from cannot be computed any more";
                let detail = format!("Its job ended: {error}.");
                Err(SqlError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message).with_detail(detail))
            }
            None => Ok(()),
        }
    }

    /// Adds a job that sees nothing yet.
    pub fn add(&mut self, job: &Job, workers: usize) {
        let mut reads: Vec<_> = job.plan.relations().into_iter().map(|(relation, _)| relation).collect();
        reads.sort_unstable();
        reads.dedup();
        reads.iter().for_each(|relation| self.readers.entry(*relation).or_default().push(job.id));
        let parts = vec![Part::default(); workers];
        let model = match &job.output {
            Output::ReadModel { key } => {
                Some(ReadModel::new(job.plan.schema.clone(), key.clone(), partition_of(job), parts.clone()))
            }
            Output::Ordered { column } => Some(ReadModel::by_value(job.plan.schema.clone(), *column, parts.clone())),
            Output::Stream => None,
        };
        let stream = job.output == Output::Stream;
        let (name, number, fed) = (job.name.clone(), self.created, is_fed(job));
        let time = JobTime::of(&job.plan);
        let (fingerprint, is_movable, attached) = (fingerprint(&job.plan), is_movable(job), false);
        let serial = self.serial;
        let known =
            Known { name, reads, number, fed, attached, time, stream, model, parts, serial, fingerprint, is_movable };
        self.known.insert(job.id, known);
        self.serial += 1;
        self.created += 1;
    }

    /// Forgets a job; whether there was one.
    pub fn remove(&mut self, job: RelationId) -> bool {
        self.failed.remove(&job);
        self.subscribed.remove(&job);
        self.waiting.remove(&job);
        self.restored.remove(&job);
        let Some(known) = self.known.remove(&job) else { return false };
        for relation in known.reads {
            if let Some(readers) = self.readers.get_mut(&relation) {
                readers.retain(|reader| *reader != job);
                if readers.is_empty() {
                    self.readers.remove(&relation);
                }
            }
        }
        true
    }

    /// Whether somebody reads a job: other jobs, subscribers or a sink.
    pub fn is_read(&self, job: RelationId) -> bool {
        self.is_watched(job) || self.readers_of(job).next().is_some()
    }

    /// The jobs that read a relation.
    pub fn readers_of(&self, relation: RelationId) -> impl Iterator<Item = RelationId> {
        self.attached_readers(relation).map(|(id, _)| id).filter(move |id| *id != relation)
    }

    /// What has to happen to the rows of one job for them to be those of another, in the columns of the first.
    pub fn difference(&self, old: RelationId, new: RelationId) -> Result<Vec<Delta>> {
        let model = |job| self.known.get(&job).and_then(|known| known.model.as_ref());
        match (model(old), model(new)) {
            (Some(old), Some(new)) => old.difference(new),
            _ => Ok(vec![]),
        }
    }

    /// Ends the first job of each pair, and knows the second by the id of the first. Who asked for the changes of a job
    /// goes on to get them.
    pub fn replace(&mut self, names: &[(RelationId, RelationId)]) {
        let renamed = |id: RelationId| names.iter().find(|(_, new)| *new == id).map_or(id, |(old, _)| *old);
        for (old, new) in names {
            let subscribed = self.subscribed.contains(old);
            let waits = self.waiting.remove(new);
            self.remove(*old);
            if waits {
                self.waiting.insert(*old);
            }
            if subscribed {
                self.subscribed.insert(*old);
            }
            if let Some(mut known) = self.known.remove(new) {
                known.reads.iter_mut().for_each(|read| *read = renamed(*read));
                known.time.rename(renamed);
                self.known.insert(*old, known);
            }
            let readers = self.readers.remove(new).unwrap_or_default();
            self.readers.entry(*old).or_default().extend(readers);
        }
        self.readers.values_mut().flatten().for_each(|reader| *reader = renamed(*reader));
        self.renumber();
    }

    /// Numbers the jobs anew, as a replaced one may read jobs that were created after its readers.
    fn renumber(&mut self) {
        let mut by_age: Vec<_> = self.known.iter().map(|(id, known)| (known.number, *id)).collect();
        by_age.sort_unstable();
        let mut order = vec![];
        by_age.iter().for_each(|(_, job)| self.place(*job, &mut order));
        for (number, job) in order.iter().enumerate() {
            if let Some(known) = self.known.get_mut(job) {
                known.number = number as u64;
            }
        }
        self.created = order.len() as u64;
    }

    /// Adds a job to `order` after those that it reads.
    fn place(&self, job: RelationId, order: &mut Vec<RelationId>) {
        let Some(known) = self.known.get(&job).filter(|_| !order.contains(&job)) else { return };
        known.reads.iter().filter(|read| **read != job).for_each(|read| self.place(*read, order));
        order.push(job);
    }

    /// A job by its relation.
    pub fn get(&self, job: RelationId) -> Option<&Known> {
        self.known.get(&job)
    }

    /// As [`Jobs::get`], to be changed.
    pub fn get_mut(&mut self, job: RelationId) -> Option<&mut Known> {
        self.known.get_mut(&job)
    }

    /// Whether a job runs.
    pub fn contains(&self, job: RelationId) -> bool {
        self.known.contains_key(&job)
    }

    /// Whether somebody besides its read model and the jobs that read it wants the changes of a job.
    pub fn is_watched(&self, job: RelationId) -> bool {
        self.subscribed.contains(&job) || self.known.get(&job).is_some_and(|known| known.stream)
    }

    /// The jobs that changes of `inputs` reach, directly or through other jobs, and those that wait for what time it is
    /// now, in levels: a job stands in a later level than the jobs whose output it reads.
    pub fn reached(&mut self, inputs: &[RelationInput], now: EventTime) -> Vec<Vec<Reached>> {
        let mut due: BTreeMap<_, _> = self.due(now).map(|(id, job)| (job.number, (id, 0))).collect();
        for input in inputs {
            match input.only {
                Some(job) => due.extend(self.known.get(&job).map(|known| (known.number, (job, 0)))),
                None => due.extend(self.attached_readers(input.relation).map(|(id, job)| (job.number, (id, 0)))),
            }
        }
        let restored = std::mem::take(&mut self.restored);
        due.extend(restored.iter().filter_map(|id| Some((self.known.get(id)?.number, (*id, 0)))));
        let mut levels: Vec<Vec<Reached>> = Vec::new();
        while let Some((_, (job, level))) = due.pop_first() {
            let readers: Vec<_> = self.output_readers(job).collect();
            for (id, known) in &readers {
                let place = due.entry(known.number).or_insert((*id, 0));
                place.1 = place.1.max(level + 1);
            }
            if levels.len() <= level {
                levels.resize_with(level + 1, Vec::new);
            }
            let attached = self.known.get(&job).is_some_and(|known| known.attached);
            let tapped = !readers.is_empty() || self.is_watched(job);
            levels[level].push(Reached { job, tapped, attached, watermarks: vec![] });
        }
        for reached in levels.iter_mut().flatten() {
            reached.watermarks = match restored.contains(&reached.job) {
                true => self.told(reached.job).into_iter().filter_map(|(input, at)| Some((input, at?))).collect(),
                false => self.tell(reached.job),
            };
        }
        levels
    }

    fn attached_readers(&self, relation: RelationId) -> impl Iterator<Item = (RelationId, &Known)> {
        let readers = self.readers.get(&relation).into_iter().flatten();
        readers.filter_map(|id| Some((*id, self.known.get(id)?))).filter(|(_, known)| known.attached)
    }

    /// The jobs that read the output of a job. Those that read a relation fed from outside read the same input as the
    /// job that keeps it.
    fn output_readers(&self, job: RelationId) -> impl Iterator<Item = (RelationId, &Known)> {
        let fed = self.known.get(&job).is_none_or(|known| known.fed);
        self.attached_readers(job).filter(move |_| !fed)
    }

    /// Makes jobs failed, and with them all that read their output: these have missed changes. Answers all of them.
    pub fn fail(&mut self, mut failures: Vec<(RelationId, SqlError)>) -> Vec<(RelationId, SqlError)> {
        let mut next = 0;
        while let Some((job, error)) = failures.get(next).cloned() {
            let name = self.known.get(&job).map_or("", |known| &known.name);
            let detail = format!("The job of \"{name}\", which it reads from, ended with this error.");
            let error = error.with_detail(detail);
            let readers = self.readers.get(&job).into_iter().flatten().copied();
            let readers: Vec<_> = readers.filter(|_| self.known.get(&job).is_some_and(|known| !known.fed)).collect();
            for reader in readers {
                if !failures.iter().any(|(known, _)| *known == reader) {
                    failures.push((reader, error.clone()));
                }
            }
            next += 1;
        }
        for (job, error) in &failures {
            self.remove(*job);
            self.failed.insert(*job, error.clone());
        }
        failures
    }
}
