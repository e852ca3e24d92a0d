//! The engine as the server sees it: jobs come and go, ticks run one after the other.
//!
//! ```text
//!   tick --> which jobs does it reach? --> every worker: level by level, feed, work, next level
//!                                              |
//!   result <-- new read models, deltas, failures
//! ```
//!
//! An engine is a handle that threads share; its calls run one at a time. It keeps no clock of its own: ticks come with
//! their number and their time.

use crate::fragment::catching;
use crate::job_end::Outcome;
use crate::jobs::Jobs;
use crate::operator::{RejectedRow, Timers};
use crate::read_model::ReadModel;
use crate::render::render;
use crate::timely::{Channels, Threads, spawn};
use crate::worker::{Answer, Command, Crew, Reached, Run, work};
use millrace_ir::Job;
use millrace_types::{Delta, EventTime, RelationId, Result, SqlError, SqlState, Tick};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

/// How an engine runs.
#[derive(Clone, Copy, Debug)]
pub struct EngineOptions {
    /// Worker threads, at least one.
    pub workers: usize,
}

/// The running engine. Dropping it ends its threads.
pub struct Engine {
    workers: usize,
    state: Mutex<State>,
}

struct State {
    commands: Vec<Sender<Command>>,
    replies: Receiver<(usize, Result<Answer>)>,
    crew: Arc<Crew>,
    threads: Option<Threads>,
    jobs: Jobs,
    last: Tick,
}

/// What a tick brings.
#[derive(Debug)]
pub struct TickInput {
    /// Its number: greater than that of every tick and hydration before.
    pub tick: Tick,
    /// Changes from outside; a relation may stand here more than once.
    pub inputs: Vec<RelationInput>,
    /// The wall clock, for whatever depends on time; it never goes back.
    pub now: EventTime,
    /// The watermarks of sources and tables, of those that have moved.
    pub watermarks: Vec<(RelationId, EventTime)>,
}

/// Changes of one relation from outside: of a table by a transaction, or what a source read.
#[derive(Clone, Debug)]
pub struct RelationInput {
    /// The table or source.
    pub relation: RelationId,
    /// Which columns of the relation the deltas hold, in their order.
    pub columns: Arc<[usize]>,
    /// The changes.
    pub deltas: Vec<Delta>,
    /// Only this job sees them: it reads history that the others have seen.
    pub only: Option<RelationId>,
}

/// What a tick changed.
#[derive(Debug)]
pub struct TickResult {
    /// Its number.
    pub tick: Tick,
    /// The new versions of the read models that changed, with the parts of all workers.
    pub models: Vec<(RelationId, ReadModel)>,
    /// The changes of jobs that only emit, and of relations subscribed to; a relation without changes is left out.
    pub outputs: Vec<(RelationId, Vec<Delta>)>,
    /// The jobs that left out rows that came too late, and these rows.
    pub rejected: Vec<(RelationId, Vec<RejectedRow>)>,
    /// Jobs that ended by an error, and those that read them. They run no more; the others go on.
    pub failed: Vec<(RelationId, SqlError)>,
}

/// An operator on a worker, and what it keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorInfo {
    /// The job that it belongs to.
    pub job: RelationId,
    /// The worker that it runs on.
    pub worker: usize,
    /// What it does.
    pub name: String,
    /// Rows kept.
    pub rows: usize,
    /// Bytes of memory, nearly.
    pub bytes: usize,
    /// Changes that came after what they concern was final.
    pub dropped: u64,
}

impl Engine {
    /// Starts the workers.
    ///
    /// # Errors
    /// `22023` for no workers; `53200` when the system gives no threads.
    pub fn start(options: EngineOptions) -> Result<Engine> {
        Engine::start_on(options.workers, Channels::Shared)
    }

    fn start_on(workers: usize, channels: Channels) -> Result<Engine> {
        if workers == 0 {
            return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, "the number of workers must be at least 1"));
        }
        let (commands, receivers): (Vec<_>, Vec<_>) = (0..workers).map(|_| channel()).unzip();
        let (replies, answers) = channel();
        let crew = Arc::new(Crew { replies, broken: AtomicBool::new(false) });
        let receivers: Vec<_> = receivers.into_iter().map(|receiver| Mutex::new(Some(receiver))).collect();
        let shared = crew.clone();
        let threads = spawn(workers, channels, move |substrate| {
            if let Some(commands) = receivers[substrate.worker()].lock().take() {
                work(substrate, commands, &shared);
            }
        })?;
        let state = State {
            commands,
            replies: answers,
            crew,
            threads: Some(threads),
            jobs: Jobs::default(),
            last: Tick::default(),
        };
        Ok(Engine { workers, state: Mutex::new(state) })
    }

    /// The number of workers.
    pub fn workers(&self) -> usize {
        self.workers
    }

    /// Builds a job on every worker, after the jobs that it reads. It sees nothing until it is hydrated.
    ///
    /// # Errors
    /// `0A000` when the plan needs what no operator does; `55000` when it reads a job that has failed.
    pub fn create(&self, job: Job) -> Result<()> {
        let mut state = self.state.lock();
        state.jobs.check_new(&job)?;
        // Workers build the same from the same plan, so what cannot be built is found here, before any of them has.
        catching(|| render(&job, 0, self.workers, &|_, _| None).map(drop))?;
        let job = Arc::new(job);
        state.ask(Command::Create(job.clone()))?;
        state.jobs.add(&job, self.workers);
        Ok(())
    }

    /// Feeds a new job what is there of the relations that it reads and that this engine keeps, as of the last tick,
    /// and attaches it: from the next tick on it sees their changes. It takes a tick of its own, in which nothing else
    /// happens; the result has the job's first read model or first output. `follows`: that is all that there is, so that
    /// it sees watermarks from now on.
    ///
    /// # Errors
    /// `XX000` when there is no such job, or it was hydrated before. A job that fails is in the result.
    pub fn hydrate(&self, job: RelationId, tick: Tick, now: EventTime, follows: bool) -> Result<TickResult> {
        let mut state = self.state.lock();
        state.advance(tick)?;
        let known = state.jobs.get_mut(job).filter(|known| !known.attached);
        let known = known.ok_or_else(|| SqlError::internal(format!("there is no job {job} to hydrate")))?;
        known.attached = true;
        if follows {
            state.jobs.follow(job);
        }
        let tapped = state.jobs.is_watched(job);
        let watermarks = state.jobs.tell(job);
        let levels = vec![vec![Reached { job, tapped, attached: true, watermarks }]];
        state.run(Run { tick, now, levels, inputs: vec![], hydrate: true })
    }

    /// From the next tick on a job sees the watermarks of what it reads, which it reaches then: it has read all rows that
    /// these are about. Jobs that are hydrated from tables and views alone do so from the start.
    pub fn follow(&self, job: RelationId) {
        self.state.lock().jobs.follow(job);
    }

    /// Forgets the watermark of a source that is read from its start again.
    pub fn forget_watermark(&self, relation: RelationId) {
        self.state.lock().jobs.forget_watermark(relation);
    }

    /// The watermark of a relation: of a source or table what ticks have brought, of a view the least one of what it is
    /// made from.
    pub fn watermark(&self, relation: RelationId) -> Option<EventTime> {
        self.state.lock().jobs.watermark(relation)
    }

    /// Whether some job wants a tick without input, by what time it is.
    pub fn is_due(&self, now: EventTime) -> bool {
        self.state.lock().jobs.due(now).next().is_some()
    }

    /// The moment of the wall clock at which some job wants a tick.
    pub fn next_alarm(&self) -> Option<EventTime> {
        self.state.lock().jobs.next_alarm()
    }

    /// Attaches a job that was fed by inputs for it alone instead of being hydrated: from the next tick on it sees the
    /// changes of what it reads, beside what is for it alone.
    ///
    /// # Errors
    /// `XX000` when there is no such job, or it was attached before.
    pub fn attach(&self, job: RelationId) -> Result<()> {
        let mut state = self.state.lock();
        let known = state.jobs.get_mut(job).filter(|known| !known.attached);
        let known = known.ok_or_else(|| SqlError::internal(format!("there is no job {job} to attach")))?;
        known.attached = true;
        Ok(())
    }

    /// Ends a job; nothing must read it any more. A job that has failed is forgotten.
    pub fn drop_job(&self, job: RelationId) -> Result<()> {
        let mut state = self.state.lock();
        match state.jobs.remove(job) {
            true => state.ask(Command::Drop(job)).map(drop),
            false => Ok(()),
        }
    }

    /// Runs a tick to its end: feeds the inputs, lets every job work that they reach, and no other, and returns what
    /// changed. Blocks until then.
    ///
    /// # Errors
    /// `XX000` when ticks are not in order or the engine has broken down; errors of jobs are in the result.
    pub fn tick(&self, input: TickInput) -> Result<TickResult> {
        let mut state = self.state.lock();
        state.advance(input.tick)?;
        let TickInput { tick, inputs, now, watermarks } = input;
        state.jobs.advance(&watermarks);
        let levels = state.jobs.reached(&inputs, now);
        let mut result = state.run(Run { tick, now, levels, inputs, hydrate: false })?;
        result.outputs.retain(|(_, deltas)| !deltas.is_empty());
        Ok(result)
    }

    /// From now on tick results carry the changes of a relation.
    ///
    /// # Errors
    /// `XX000` when no job keeps or makes the relation.
    pub fn subscribe(&self, relation: RelationId) -> Result<()> {
        let mut state = self.state.lock();
        if !state.jobs.contains(relation) {
            return Err(SqlError::internal(format!("there is no job {relation} to subscribe to")));
        }
        state.jobs.subscribed.insert(relation);
        Ok(())
    }

    /// Ends what [`Engine::subscribe`] began.
    pub fn unsubscribe(&self, relation: RelationId) {
        self.state.lock().jobs.subscribed.remove(&relation);
    }

    /// Ends a job with an error, and those that read it: all of them. They run no more; the others go on.
    ///
    /// # Errors
    /// `XX000` when the engine has broken down.
    pub fn fail(&self, job: RelationId, error: SqlError) -> Result<Vec<(RelationId, SqlError)>> {
        let mut state = self.state.lock();
        let failed = state.jobs.fail(vec![(job, error)]);
        failed.iter().try_for_each(|(job, _)| state.ask(Command::Drop(*job)).map(drop))?;
        Ok(failed)
    }

    /// Every operator of every job on every worker.
    pub fn operators(&self) -> Vec<OperatorInfo> {
        let Ok(answers) = self.state.lock().ask(Command::Operators) else { return vec![] };
        let mut infos: Vec<_> = answers
            .into_iter()
            .flat_map(|answer| if let Answer::Operators(infos) = answer { infos } else { vec![] })
            .collect();
        infos.sort_by_key(|info| (info.job, info.worker));
        infos
    }

    /// Ends the threads and waits for them.
    pub fn shutdown(self) {}
}

impl Drop for Engine {
    fn drop(&mut self) {
        let state = self.state.get_mut();
        state.commands.clear();
        if let Some(threads) = state.threads.take() {
            threads.join();
        }
    }
}

impl State {
    /// Sends a command to every worker and waits for all answers, which come back in the order of workers.
    fn ask(&mut self, command: Command) -> Result<Vec<Answer>> {
        let broken = || SqlError::internal("the engine has stopped after a worker panicked");
        if self.crew.broken.load(Ordering::Acquire) {
            return Err(broken());
        }
        for worker in &self.commands {
            if worker.send(command.clone()).is_err() {
                // The others would wait for a worker that is gone.
                self.crew.broken.store(true, Ordering::Release);
                return Err(broken());
            }
        }
        // All answers are taken, also after an error: none may be left for the next command.
        let answers = self.commands.iter().map(|_| self.replies.recv().map_err(|_| broken()));
        let mut answers = answers.collect::<Vec<_>>().into_iter().collect::<Result<Vec<_>>>()?;
        answers.sort_unstable_by_key(|(worker, _)| *worker);
        answers.into_iter().map(|(_, answer)| answer).collect()
    }

    fn advance(&mut self, tick: Tick) -> Result<()> {
        if tick <= self.last {
            return Err(SqlError::internal(format!("tick {tick} comes after tick {}", self.last)));
        }
        self.last = tick;
        Ok(())
    }

    fn run(&mut self, run: Run) -> Result<TickResult> {
        let tick = run.tick;
        let mut outcomes = BTreeMap::<RelationId, Vec<Outcome>>::new();
        if !run.levels.is_empty() {
            for answer in self.ask(Command::Run(Arc::new(run)))? {
                let Answer::Outcomes(of_worker) = answer else { continue };
                of_worker.into_iter().for_each(|(job, outcome)| outcomes.entry(job).or_default().push(outcome));
            }
        }
        self.conclude(tick, outcomes)
    }

    /// Puts what the workers answered together, and ends the jobs that failed.
    fn conclude(&mut self, tick: Tick, mut outcomes: BTreeMap<RelationId, Vec<Outcome>>) -> Result<TickResult> {
        let failures = outcomes.iter().filter_map(|(job, outcomes)| {
            outcomes.iter().find_map(|outcome| outcome.failure.clone()).map(|error| (*job, error))
        });
        let failed = failures.collect::<Vec<_>>();
        let failed = if failed.is_empty() { failed } else { self.jobs.fail(failed) };
        for (job, _) in &failed {
            outcomes.remove(job);
            self.ask(Command::Drop(*job))?;
        }
        let mut result = TickResult { tick, models: vec![], outputs: vec![], rejected: vec![], failed };
        for (job, outcomes) in outcomes {
            let watched = self.jobs.is_watched(job);
            let timers = outcomes.iter().map(|outcome| outcome.timers).fold(Timers::default(), Timers::or);
            self.jobs.set_timers(job, timers);
            let Some(known) = self.jobs.get_mut(job) else { continue };
            let (mut changed, mut deltas, mut rejected) = (false, vec![], vec![]);
            for (part, outcome) in known.parts.iter_mut().zip(outcomes) {
                if let Some(new) = outcome.part {
                    (*part, changed) = (new, true);
                }
                deltas.extend(outcome.deltas);
                rejected.extend(outcome.rejected);
            }
            if let Some(model) = known.model.as_mut().filter(|_| changed) {
                *model = model.with_parts(known.parts.clone());
                result.models.push((job, model.clone()));
            }
            if watched {
                result.outputs.push((job, deltas));
            }
            if !rejected.is_empty() {
                result.rejected.push((job, rejected));
            }
        }
        Ok(result)
    }
}

mod durable;
mod replace;

pub use replace::Replacement;

#[cfg(test)]
mod naive;
#[cfg(test)]
mod tests;
