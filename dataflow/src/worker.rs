//! A worker: one thread that builds the jobs it is told to and runs the ticks it is told to.
//!
//! Every worker gets the same commands in the same order, so that all build the same dataflows in the same order, as
//! the exchanges between them need. In one process a lock around sending sees to the order; several processes would
//! pass the same commands through a dataflow of their own. Between commands a worker sleeps.

use crate::capture::{Captured, Known, StoredJob};
use crate::engine::{OperatorInfo, RelationInput};
use crate::fragment::catching;
use crate::job_end::{JobEnd, Outcome};
use crate::movable::moved_groups;
use crate::operator::{Moment, Timers};
use crate::read_model::{MaintainedPart, Part, ReadModel};
use crate::render::{Leaf, Loan, Port, render};
use crate::timely::{Dataflow, Feeder, Substrate};
use millrace_ir::{Job, Output, Plan};
use millrace_types::{Delta, EventTime, RelationId, Result, SqlError, Tick};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError};
use std::time::Duration;

/// What the engine asks of every worker.
#[derive(Clone)]
pub enum Command {
    /// Build a job; it sees nothing yet.
    Create(Arc<Job>),
    /// Run a tick.
    Run(Arc<Run>),
    /// End a job.
    Drop(RelationId),
    /// End the first job of each pair, and know the second by the id of the first.
    Replace(Arc<[(RelationId, RelationId)]>),
    /// Tell what the operators keep.
    Operators,
    /// Hand over what these jobs, by their serial numbers, keep, but for what is known already.
    Capture(Arc<[(RelationId, u64)]>, Arc<Known>),
    /// Give a job that has seen nothing what it kept.
    Restore(RelationId, Arc<StoredJob>),
}

/// A tick, as all workers run it.
pub struct Run {
    pub tick: Tick,
    /// The wall clock.
    pub now: EventTime,
    /// The jobs that the tick reaches; each stands in a later level than the jobs that it reads.
    pub levels: Vec<Vec<Reached>>,
    /// The changes from outside.
    pub inputs: Vec<RelationInput>,
    /// The one job reads what is there already of the relations that it reads, instead of their changes.
    pub hydrate: bool,
}

/// A job that a tick reaches.
pub struct Reached {
    pub job: RelationId,
    /// Whether someone besides its read model wants its changes.
    pub tapped: bool,
    /// Whether it sees the tick; else only what is for it alone.
    pub attached: bool,
    /// The watermarks of the relations that it reads, of those that have one.
    pub watermarks: Vec<(RelationId, EventTime)>,
}

/// What a worker answers to a command.
pub enum Answer {
    Done,
    Outcomes(Vec<(RelationId, Outcome)>),
    Operators(Vec<OperatorInfo>),
    /// What each job keeps, or why that cannot be told.
    Captured(Vec<(RelationId, Result<Vec<Captured>>)>),
    /// The part of the read model that a job has again.
    Restored(Part),
}

/// What all workers share.
pub struct Crew {
    /// Where answers go, with the number of the worker.
    pub replies: Sender<(usize, Result<Answer>)>,
    /// A worker panicked outside of an operator: nobody waits for it any more.
    pub broken: AtomicBool,
}

/// Looks at the command queue before the thread goes to sleep: a few microseconds, in which a busy engine already has
/// the next tick.
const LOOKS: usize = 100;
/// Steps without sleep while a tick runs: other workers' word usually takes less than waking up does.
const EAGER_STEPS: usize = 50;
/// How long a worker sleeps in a tick when nothing wakes it.
const NAP: Duration = Duration::from_millis(1);
/// Input of at least this many rows is shared among the workers.
const SHARED_ROWS: usize = 4096;
/// Pieces of a read model that are fed before the dataflow works on them.
const PIECES: usize = 8;

struct Worker<'thread, 'timely> {
    substrate: &'thread mut Substrate<'timely>,
    crew: &'thread Crew,
    jobs: HashMap<RelationId, Running>,
}

/// A job on this worker.
struct Running {
    job: Arc<Job>,
    ports: Vec<Port>,
    /// The relations whose rows its operators borrow.
    loans: Vec<Loan>,
    dataflow: Dataflow,
    end: Rc<RefCell<JobEnd>>,
    /// The worker's part of the read model as of the last tick.
    part: Part,
    /// Whether it has seen all of what it reads.
    attached: bool,
    /// Whether it goes on where it was: what the plan itself gives has been given.
    is_restored: bool,
}

/// Does what `commands` say until they end.
pub fn work(substrate: &mut Substrate, commands: Receiver<Command>, crew: &Crew) {
    let mut worker = Worker { substrate, crew, jobs: HashMap::new() };
    while let Some(command) = next(&commands) {
        let mut sound = false;
        let answer = catching(|| {
            let answer = worker.execute(command);
            sound = true;
            answer
        });
        if !sound {
            crew.broken.store(true, Ordering::Release);
        }
        if crew.replies.send((worker.substrate.worker(), answer)).is_err() || !sound {
            return;
        }
    }
    worker.jobs.clear();
}

/// The next command; none when there will be no more.
fn next(commands: &Receiver<Command>) -> Option<Command> {
    for _ in 0..LOOKS {
        match commands.try_recv() {
            Ok(command) => return Some(command),
            Err(TryRecvError::Empty) => std::hint::spin_loop(),
            Err(TryRecvError::Disconnected) => return None,
        }
    }
    commands.recv().ok()
}

impl Worker<'_, '_> {
    fn execute(&mut self, command: Command) -> Result<Answer> {
        match command {
            Command::Create(job) => {
                self.create(job);
                Ok(Answer::Done)
            }
            Command::Run(run) => self.run(&run).map(Answer::Outcomes),
            Command::Drop(job) => {
                if let Some(running) = self.jobs.remove(&job) {
                    self.substrate.remove(running.dataflow);
                }
                Ok(Answer::Done)
            }
            Command::Replace(names) => {
                self.replace(&names);
                Ok(Answer::Done)
            }
            Command::Operators => Ok(Answer::Operators(self.operators())),
            Command::Capture(jobs, known) => {
                let capture = |(job, serial): &(RelationId, u64)| Some((*job, self.capture(*job, *serial, &known)?));
                Ok(Answer::Captured(jobs.iter().filter_map(capture).collect()))
            }
            Command::Restore(job, stored) => self.restore(job, &stored).map(Answer::Restored),
        }
    }

    fn replace(&mut self, names: &[(RelationId, RelationId)]) {
        for (old, new) in names {
            if let Some(before) = self.jobs.remove(old) {
                self.substrate.remove(before.dataflow);
            }
            if let Some(mut running) = self.jobs.remove(new) {
                running.job = Arc::new(Job { id: *old, ..Job::clone(&running.job) });
                self.jobs.insert(*old, running);
            }
        }
        for port in self.jobs.values_mut().flat_map(|running| &mut running.ports) {
            if let Leaf::Relation(relation) = &mut port.leaf
                && let Some((old, _)) = names.iter().find(|(_, new)| new == relation)
            {
                *relation = *old;
            }
        }
        for loan in self.jobs.values_mut().flat_map(|running| &mut running.loans) {
            if let Some((old, _)) = names.iter().find(|(_, new)| *new == loan.keeper) {
                loan.keeper = *old;
            }
        }
    }

    /// # Panics
    /// When the job cannot be rendered. The engine has tried, and a worker that left a job out while others build it
    /// would misname every exchange from then on.
    fn create(&mut self, job: Arc<Job>) {
        let keeper = |relation: RelationId, key: &[usize]| self.keeper(relation, key);
        let graph = render(&job, self.substrate.worker(), self.substrate.workers(), &keeper);
        let mut graph = graph.expect("a job that can be rendered for one worker can be for every one");
        let (ports, loans) = (graph.ports.clone(), std::mem::take(&mut graph.loans));
        let model = match &job.output {
            Output::ReadModel { .. } => Some(MaintainedPart::new(job.plan.schema.clone(), partition_of(&job))),
            Output::Ordered { column } => Some(MaintainedPart::by_value(job.plan.schema.clone(), *column)),
            Output::Stream => None,
        };
        let end = Rc::new(RefCell::new(JobEnd::new(job.name.clone(), model)));
        let dataflow = self.substrate.build(&job.name, graph, &end);
        let (part, attached, is_restored) = (Part::default(), false, false);
        self.jobs.insert(job.id, Running { job, ports, loans, dataflow, end, part, attached, is_restored });
    }

    /// The job that keeps the rows of a relation by `key`: its own, or an index of it.
    fn keeper(&self, relation: RelationId, key: &[usize]) -> Option<RelationId> {
        let keeps = |running: &&Running| kept_relation(&running.job) == Some(relation) && keeps_by(&running.job, key);
        let keepers = self.jobs.values().filter(keeps).map(|running| running.job.id);
        keepers.min_by_key(|keeper| (*keeper != relation, *keeper))
    }

    fn run(&mut self, run: &Run) -> Result<Vec<(RelationId, Outcome)>> {
        for level in &run.levels {
            level.iter().for_each(|reached| self.begin(run, reached));
            self.complete(run.tick, level)?;
        }
        let reached = run.levels.iter().flatten();
        let finish = |job: &Reached| Some((job.job, self.jobs.get_mut(&job.job)?.finish()));
        let outcomes = reached.clone().filter_map(finish).collect();
        reached.filter(|reached| reached.attached).for_each(|reached| self.lend_to(reached.job));
        Ok(outcomes)
    }

    /// Lends a job that has seen all changes of the relations that it reads these relations as they are now. When an
    /// index is gone, or a relation with another key has come in place of one, there is nothing to be lent any more: the
    /// job goes on with what it has.
    fn lend_to(&mut self, job: RelationId) {
        let Some(loans) = self.jobs.get_mut(&job).map(|running| std::mem::take(&mut running.loans)) else { return };
        let goes_on = |Loan { keeper, borrowed }: &Loan| {
            let lender = self.jobs.get(keeper).filter(|lender| keeps_by(&lender.job, &borrowed.relation_key()));
            // One that is being filled does not have all rows yet.
            if let Some(lender) = lender.filter(|lender| lender.attached && !lender.end.borrow().has_failed()) {
                borrowed.lend(lender.part.runs());
            }
            lender.is_some()
        };
        let loans = loans.into_iter().filter(goes_on).collect();
        self.jobs.entry(job).and_modify(|running| running.loans = loans);
    }

    /// Feeds a job everything that it reads in this tick.
    fn begin(&mut self, run: &Run, reached: &Reached) {
        // Taken out of the map so that the jobs that it reads can be looked at while it is fed.
        let Some(mut running) = self.jobs.remove(&reached.job) else { return };
        let first = running.end.borrow().first_tick().is_none() && !running.is_restored;
        running.end.borrow_mut().begin(run.tick, running.moment(run, reached), reached.tapped);
        running.attached |= reached.attached;
        running.dataflow.inputs.iter_mut().for_each(|input| input.open(run.tick));
        if let Err(error) = self.feed(run, reached, &mut running, first) {
            running.end.borrow_mut().fail(error);
        }
        running.dataflow.inputs.iter_mut().for_each(|input| input.close(run.tick));
        self.jobs.insert(reached.job, running);
    }

    fn feed(&mut self, run: &Run, reached: &Reached, running: &mut Running, first: bool) -> Result<()> {
        for (port, input) in running.ports.iter().zip(&mut running.dataflow.inputs) {
            match &port.leaf {
                Leaf::Values(rows) if first && self.substrate.worker() == 0 => input.send(rows.clone())?,
                Leaf::Values(_) => {}
                Leaf::Relation(relation) if run.hydrate => {
                    let model = self.jobs.get(relation).map(Running::model);
                    model.map_or(Ok(()), |model| self.feed_slowly(port, input, model.deltas()))?;
                }
                Leaf::Relation(relation) => {
                    let upstream = self.jobs.get(relation).filter(|upstream| !upstream.is_fed());
                    if let Some(upstream) = upstream.filter(|_| reached.attached) {
                        upstream.end.borrow().deltas().iter().try_for_each(|delta| port.feed(input, delta))?;
                    }
                    self.feed_from_outside(run, reached, *relation, port, input)?;
                }
            }
        }
        Ok(())
    }

    /// Feeds the contents of a relation, letting the dataflow work in between.
    fn feed_slowly(
        &mut self,
        port: &Port,
        input: &mut Feeder,
        pieces: impl Iterator<Item = Result<Delta>>,
    ) -> Result<()> {
        for (number, piece) in pieces.enumerate() {
            port.feed(input, &piece?)?;
            if number % PIECES == PIECES - 1 {
                self.substrate.step(Duration::ZERO);
            }
        }
        Ok(())
    }

    /// Feeds this worker's share of the changes from outside. Large deltas are shared among the workers by rows, small
    /// ones go to one worker whole, in turns; where a row has to be is for exchanges to say.
    fn feed_from_outside(
        &self,
        run: &Run,
        reached: &Reached,
        relation: RelationId,
        port: &Port,
        input: &mut Feeder,
    ) -> Result<()> {
        let (worker, workers) = (self.substrate.worker(), self.substrate.workers());
        let seen = |input: &&RelationInput| {
            input.relation == relation && input.only.map_or(reached.attached, |only| only == reached.job)
        };
        for changes in run.inputs.iter().filter(seen) {
            let columns = port.among(&changes.columns)?;
            let rows: usize = changes.deltas.iter().map(Delta::len).sum();
            // Consecutive rows go to one worker: what leaves the workers one after the other is in the order of the rows.
            let ours = match rows >= SHARED_ROWS {
                true => rows * worker / workers..rows * (worker + 1) / workers,
                false if run.tick.0 % workers as u64 == worker as u64 => 0..rows,
                false => 0..0,
            };
            let mut first = 0;
            for delta in &changes.deltas {
                let (start, end) = (ours.start.max(first), ours.end.min(first + delta.len()));
                if start < end {
                    port.feed_columns(input, &delta.slice(start - first, end - start), &columns)?;
                }
                first += delta.len();
            }
        }
        Ok(())
    }

    /// Lets timely work until the tick is through in all jobs of the level.
    fn complete(&mut self, tick: Tick, level: &[Reached]) -> Result<()> {
        let ends = level.iter().filter_map(|reached| Some(self.jobs.get(&reached.job)?.end.clone()));
        let mut open: Vec<_> = ends.collect();
        for step in 0.. {
            open.retain(|end| !end.borrow().is_through(tick));
            if open.is_empty() {
                break;
            }
            if self.crew.broken.load(Ordering::Acquire) {
                return Err(SqlError::internal("a worker has panicked"));
            }
            self.substrate.step(if step < EAGER_STEPS { Duration::ZERO } else { NAP });
        }
        Ok(())
    }

    fn capture(&self, job: RelationId, serial: u64, known: &Known) -> Option<Result<Vec<Captured>>> {
        let (worker, running) = (self.substrate.worker(), self.jobs.get(&job)?);
        let is_known = |place, touched| known.get(&(serial, worker, place)) == Some(&touched);
        let fragments = running.dataflow.fragments.iter();
        let of_operators = fragments.map(|fragment| fragment.borrow_mut().capture(worker, &is_known));
        let of_operators = of_operators.collect::<Result<Vec<_>>>().map(|captured| captured.into_iter().flatten());
        let of_model = catching(|| running.end.borrow().capture(worker, &is_known));
        Some(of_operators.and_then(|captured| Ok(captured.chain(of_model?).collect())))
    }

    /// What a job borrows is lent to it at once: it must find its relations as they were.
    fn restore(&mut self, job: RelationId, stored: &StoredJob) -> Result<Part> {
        let share = (self.substrate.worker(), self.substrate.workers());
        let absent = || SqlError::internal(format!("there is no job {job} to restore"));
        let running = self.jobs.get_mut(&job).ok_or_else(absent)?;
        for fragment in &running.dataflow.fragments {
            fragment.borrow_mut().restore(stored, share)?;
        }
        let moved = moved_groups(&running.job, share)?;
        running.part = catching(|| running.end.borrow_mut().restore(stored, share, moved))?;
        (running.attached, running.is_restored) = (true, true);
        let part = running.part.clone();
        let keepers: Vec<_> = running.loans.iter().map(|loan| loan.keeper).collect();
        let lends = |keeper: &RelationId| {
            self.jobs.get(keeper).is_some_and(|keeper| keeper.attached && !keeper.end.borrow().has_failed())
        };
        if !keepers.iter().all(lends) {
            return Err(SqlError::internal(format!("job {job} borrows rows that are not there")));
        }
        self.lend_to(job);
        Ok(part)
    }

    fn operators(&self) -> Vec<OperatorInfo> {
        let worker = self.substrate.worker();
        let mut infos = vec![];
        for (&job, running) in &self.jobs {
            let mut add = |name: &str, size: crate::operator::StateSize, dropped: u64| {
                let (name, rows, bytes) = (name.to_owned(), size.rows, size.bytes);
                infos.push(OperatorInfo { job, worker, name, rows, bytes, dropped });
            };
            for fragment in &running.dataflow.fragments {
                fragment.borrow().sizes().for_each(|(name, size, dropped)| add(name, size, dropped));
            }
            if let Some(size) = running.end.borrow().model_size() {
                add("ReadModel", size, 0);
            }
        }
        infos
    }
}

impl Running {
    /// Whether the relation's changes come from outside: its job only keeps them. Others read the same changes.
    fn is_fed(&self) -> bool {
        is_fed(&self.job)
    }

    /// What time it is for the job in a tick.
    fn moment(&self, run: &Run, reached: &Reached) -> Moment {
        let of = |port: &Port| match port.leaf {
            Leaf::Relation(relation) => {
                reached.watermarks.iter().find(|(known, _)| *known == relation).map(|(_, watermark)| *watermark)
            }
            Leaf::Values(_) => None,
        };
        Moment { now: Some(run.now), watermarks: self.ports.iter().map(of).collect() }
    }

    /// The worker's part as a read model of its own.
    fn model(&self) -> ReadModel {
        let key = partition_of(&self.job);
        ReadModel::new(self.job.plan.schema.clone(), key.clone(), key, vec![self.part.clone()])
    }

    fn finish(&mut self) -> Outcome {
        let outcome = catching(|| Ok(self.end.borrow_mut().finish()));
        let mut outcome = outcome.unwrap_or_else(|error| Outcome { failure: Some(error), ..Outcome::default() });
        let timers = self.dataflow.fragments.iter().map(|fragment| fragment.borrow().timers());
        outcome.timers = timers.fold(Timers::default(), Timers::or);
        if let Some(part) = &outcome.part {
            self.part = part.clone();
        }
        outcome
    }
}

/// Whether a job's relation is fed from outside: it reads itself, as the job of a table does.
pub fn is_fed(job: &Job) -> bool {
    job.plan.relations().iter().any(|(relation, _)| *relation == job.id)
}

/// The relation whose rows the read model of a job has, as they are: that of the job, or one that it is an index of.
fn kept_relation(job: &Job) -> Option<RelationId> {
    match &job.plan.plan {
        Plan::Exchange { input, .. } => match &input.plan {
            Plan::Input { relation, columns, .. } if columns.iter().copied().eq(0..columns.len()) => Some(*relation),
            _ => Some(job.id),
        },
        _ => Some(job.id),
    }
}

fn keeps_by(job: &Job, wanted: &[usize]) -> bool {
    matches!(&job.output, Output::ReadModel { key } if !key.is_empty() && key == wanted)
}

/// The columns that order the read model of a job: those of its key, or those that its rows are placed by.
pub fn partition_of(job: &Job) -> Vec<usize> {
    match &job.output {
        Output::ReadModel { key } if !key.is_empty() => key.clone(),
        _ => job.plan.partitioned_by.clone().unwrap_or_default(),
    }
}
