//! Views over much that is there already are filled beside the ticks, so that nobody waits for them.
//!
//! ```text
//!   tick          T        T+1        T+2       T+3        T+4
//!   input         |  d1     |  d2      |  d3     |  d4      |  d5
//!   new view      |  slice  |  slice   |  d1 d2  |  d3, d4  |  d5
//!                 made from version T ----------> changes since, then like everybody
//! ```
//!
//! A view that is made at tick T reads the versions of T in slices, one a tick, while the changes of what it reads wait
//! in a queue. Then it takes these, and when one tick can take all that are left, it sees that tick itself. In this order
//! no row goes before it has come.
//!
//! Slices are as large as others can wait for. But where each of them makes a partition be computed anew, they double,
//! so that all of them together cost twice as much as one.

use super::clock::Clock;
use millrace_dataflow::engine::RelationInput;
use millrace_ir::{Job, Node, Plan, Reach};
use millrace_types::{Delta, RelationId, Result};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

/// What is there of its inputs, in rows, from which on a view is filled beside the ticks.
const SLICED_ROWS: usize = 128 * 1024;
/// Rows of a first slice; the next ones are as large as [`SLICE_TIME`] allows.
const SLICE_ROWS: usize = 16 * 1024;
/// What a tick of others may have to wait for a slice.
const SLICE_TIME: Duration = Duration::from_millis(10);
/// Rows of waiting changes in a tick. More than ticks bring, so that the queue gets shorter.
const QUEUED_ROWS: usize = 1024 * 1024;

/// A job being filled.
pub(super) struct Filling {
    pub job: RelationId,
    /// What it reads of tables and views, and of sources.
    inputs: BTreeSet<RelationId>,
    sources: BTreeMap<RelationId, BTreeSet<usize>>,
    /// The rest of the versions of the tick in which it began.
    there: VecDeque<(RelationId, Pieces)>,
    /// The rest of a piece of the first of these.
    piece: Option<Delta>,
    /// Whether a slice costs as much as all that came before it, so that there must be few.
    recomputes: bool,
    /// Rows of all slices so far, rows of the next one, and when the last one was taken.
    taken_rows: usize,
    slice_rows: usize,
    taken_at: Option<Instant>,
    /// The changes since.
    since: VecDeque<(RelationId, Delta)>,
}

type Pieces = Box<dyn Iterator<Item = Result<Delta>> + Send>;

impl Filling {
    /// Up to about a slice of what the job is to see next.
    fn take(&mut self) -> Result<Vec<(RelationId, Delta)>> {
        let (mut taken, mut rows) = (vec![], 0);
        self.taken_at = Some(Instant::now());
        while rows < self.slice_rows {
            let Some((relation, pieces)) = self.there.front_mut() else { break };
            let Some(piece) = self.piece.take().map(Ok).or_else(|| pieces.next()).transpose()? else {
                self.there.pop_front();
                continue;
            };
            let length = piece.len().min(self.slice_rows - rows);
            taken.push((*relation, piece.slice(0, length)));
            rows += length;
            self.piece = (length < piece.len()).then(|| piece.slice(length, piece.len() - length));
        }
        self.taken_rows += rows;
        while rows < QUEUED_ROWS && self.there.is_empty() {
            let Some((relation, delta)) = self.since.pop_front() else { break };
            rows += delta.len();
            taken.push((relation, delta));
        }
        Ok(taken)
    }

    /// After the tick that took the last slice: makes the next one larger or smaller, or as large as all before it.
    fn adapt(&mut self) {
        let Some(took) = self.taken_at.take().map(|at| at.elapsed()) else { return };
        if self.recomputes {
            self.slice_rows = self.taken_rows.max(SLICE_ROWS);
        } else if took > SLICE_TIME {
            self.slice_rows = (self.slice_rows / 2).max(SLICE_ROWS / 16);
        } else if took < SLICE_TIME / 4 {
            self.slice_rows = (self.slice_rows * 2).min(SLICE_ROWS * 16);
        }
    }

    fn is_through(&self) -> bool {
        self.there.is_empty() && self.since.is_empty()
    }
}

/// Whether a change makes an operator compute all of a partition anew: a window whose functions look at all of it.
fn recomputes(node: &Node) -> bool {
    matches!(&node.plan, Plan::Window(window) if window.reach == Reach::Partition)
        || node.inputs().into_iter().any(recomputes)
}

/// The relations that rows are looked up in: what is there of them is to be there before these rows come.
fn looked_up(node: &Node) -> BTreeSet<RelationId> {
    let own = match &node.plan {
        Plan::LookUp(join) => join.right.relations(),
        _ => vec![],
    };
    let below = node.inputs().into_iter().flat_map(looked_up);
    own.into_iter().map(|(relation, _)| relation).chain(below).collect()
}

impl Clock {
    /// Starts a job that reads much beside the ticks, and any other at once.
    pub(super) fn start_beside(&mut self, job: Job) -> Result<()> {
        let (id, reads, recomputes) = (job.id, job.plan.relations(), recomputes(&job.plan));
        let inputs: BTreeSet<_> = reads.iter().map(|(relation, _)| *relation).collect();
        let mut models: Vec<_> =
            inputs.iter().filter_map(|id| Some((*id, self.state.models.get(id)?.clone()))).collect();
        let first = looked_up(&job.plan);
        models.sort_by_key(|(relation, _)| !first.contains(relation));
        let unfinished = inputs.iter().any(|input| self.fillings.iter().any(|filling| filling.job == *input));
        let rows: usize = models.iter().map(|(_, model)| model.rows()).sum();
        if !self.serving || (rows < SLICED_ROWS && !unfinished) {
            return self.start_job(job);
        }
        let reads: Vec<_> = reads.into_iter().map(|(relation, columns)| (relation, columns.to_vec())).collect();
        self.engine.create(job)?;
        let sources = self.sources_among(&reads);
        self.jobs.insert(id, reads);
        for (relation, _) in &models {
            self.engine.subscribe(*relation)?;
        }
        let there = models.iter().map(|(relation, model)| (*relation, Box::new(model.deltas()) as Pieces)).collect();
        let inputs = models.iter().map(|(relation, _)| *relation).collect();
        self.fillings.push(Filling {
            job: id,
            inputs,
            sources,
            there,
            piece: None,
            recomputes,
            taken_rows: 0,
            slice_rows: SLICE_ROWS,
            taken_at: None,
            since: VecDeque::new(),
        });
        self.state.building.insert(id);
        self.waker.wake();
        Ok(())
    }

    /// What the jobs being filled see in the next tick. One that takes all that is left sees the tick itself, too.
    pub(super) fn take_fillings(&mut self) -> Vec<RelationInput> {
        let mut inputs = vec![];
        for mut filling in std::mem::take(&mut self.fillings) {
            filling.adapt();
            let job = filling.job;
            // Even where there is nothing to see, the job begins.
            inputs.push(RelationInput { relation: job, columns: [].into(), deltas: vec![], only: Some(job) });
            let taken = filling.take().and_then(|taken| {
                inputs.extend(taken.into_iter().map(|(relation, delta)| RelationInput {
                    relation,
                    columns: (0..delta.rows().num_columns()).collect(),
                    deltas: vec![delta],
                    only: Some(job),
                }));
                match filling.is_through() {
                    true => self.attach_filled(&filling).map(|()| None),
                    false => Ok(Some(filling)),
                }
            });
            match taken {
                Ok(rest) => self.fillings.extend(rest),
                Err(error) => {
                    tracing::error!(%job, %error, "a view could not be filled");
                    self.state.failed.insert(job, error);
                    self.show();
                }
            }
        }
        if !self.fillings.is_empty() {
            self.waker.wake();
        }
        inputs
    }

    fn attach_filled(&mut self, filling: &Filling) -> Result<()> {
        self.engine.attach(filling.job)?;
        self.state.building.remove(&filling.job);
        let sources = filling.sources.clone();
        sources.into_iter().try_for_each(|(source, columns)| self.attach(source, columns, filling.job))?;
        if !self.state.building.contains(&filling.job) {
            self.engine.follow(filling.job);
        }
        Ok(())
    }

    /// Keeps the changes of a relation for the jobs that are to see them later; whether there are any.
    pub(super) fn keep_for_fillings(&mut self, relation: RelationId, deltas: &[Delta]) -> bool {
        let mut kept = false;
        for filling in self.fillings.iter_mut().filter(|filling| filling.inputs.contains(&relation)) {
            filling.since.extend(deltas.iter().map(|delta| (relation, delta.clone())));
            kept = true;
        }
        kept
    }
}
