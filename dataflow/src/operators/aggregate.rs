//! Aggregate: one row per group with what its aggregates come to.
//!
//! Stateful: a packed row of words per group (see `groups`), and beside it what words cannot hold:
//!
//! | aggregate | state beside the words | on a retraction |
//! |---|---|---|
//! | counts, sums, means (`packed`) | none | subtracts |
//! | minima, maxima (`extreme`) | an ordered multiset of values, unless the input is append-only | looks up the next |
//! | calls that take values back (`folded`) | an accumulator per group | takes them back |
//! | other calls (`gathered`) | the rows of the group | computes the group anew |
//! | `DISTINCT` of the first and third (`distinct`) | how often each argument is there | subtracts |
//!
//! At the end of a tick each group that came to something else retracts its row and inserts the new one; a group without
//! rows vanishes with its state; without keys there is exactly one row from the first tick on. A group whose aggregate
//! cannot be given, as when a sum leaves its type, gives a row error instead of its row until it can.
//!
//! A group that the watermark has passed is dropped without a retraction, with all that is kept of it (`closed`). Where
//! each is given once, it is given then, and what changes before costs no more than its words.
//!
//! The rows of a key may be several groups, its sessions (`sessions`).

mod accumulator;
mod changes;
mod closed;
mod distinct;
mod emission;
mod extreme;
mod fixed;
mod folded;
mod gathered;
mod groups;
mod outcomes;
mod packed;
mod rows;
mod sections;
mod sessions;
mod total;
mod value;

use crate::operator::{Operator, Output, SnapshotKind, StateReader, StateSize, StateWriter};
use crate::state::Expiry;
use accumulator::{Accumulator, Kind};
use arrow::array::ArrayRef;
use arrow::datatypes::{Schema, SchemaRef};
use changes::Changes;
use distinct::{Distinct, GroupHashes};
use gathered::Gathered;
use groups::{BLOCK, FIRST_ACCUMULATOR, Groups, Prepared};
use millrace_ir::Closing;
use millrace_types::{Delta, EventTime, KeyGroupRange, Result, SqlError, Tick};
use outcomes::{Outcomes, Values};
use sessions::{SESSION_WORDS, Sessions};

/// What an [`Aggregate`] must know beside what it computes.
#[derive(Clone, Debug)]
pub struct AggregateOptions {
    /// Whether the input never retracts.
    pub append_only: bool,
    /// The key columns by which the input is partitioned over the workers, as columns of the input and in the order of
    /// the exchange; all of them are among the keys.
    pub partitioned_by: Vec<usize>,
    /// Whether this worker owns the one group of an aggregate without keys.
    pub owns_empty_key: bool,
    /// Whether the groups of a key are its sessions.
    pub sessions: Option<millrace_ir::Sessions>,
    /// When the row of a group is final, if that is known.
    pub closing: Option<Closing>,
    /// Whether a row is given only then.
    pub once: bool,
}

/// Keeps one output row per group up to date.
pub struct Aggregate {
    keys: Vec<usize>,
    /// Which of the keys the input is partitioned by.
    partition: Vec<usize>,
    accumulators: Vec<Accumulator>,
    groups: Groups,
    sessions: Option<Sessions>,
    schema: SchemaRef,
    /// Whether the one row of an aggregate without keys has been given, or is not ours to give.
    started: bool,
    /// The groups of the block at hand.
    found: Vec<u32>,
    /// The arguments of the aggregates with DISTINCT.
    distincts: Vec<Distinct>,
    /// The rows of the groups, if an aggregate needs them.
    gathered: Option<Gathered>,
    /// The batches of the open tick with their groups, if an aggregate is computed at its end.
    open: Vec<(Delta, Vec<u32>)>,
    defers: bool,
    /// When groups are dropped, if they are.
    closed: Option<Expiry<u32>>,
    /// Whether a group is given once, when it is dropped; those up to this time have been.
    once: Option<Option<i64>>,
    /// Rows that came for groups that had been given.
    dropped: u64,
}

/// A value in a snapshot: the place of its group, its bytes, how often it is there.
type Stored = (u32, value::Bytes, i64);

impl Aggregate {
    /// The aggregate over rows of `input` by its columns `keys`; `schema`: the keys, then the aggregates.
    ///
    /// # Errors
    /// `0A000` for a minimum or maximum of a type without an order here.
    pub fn new(
        input: &Schema,
        schema: SchemaRef,
        keys: Vec<usize>,
        aggregates: &[millrace_ir::Aggregate],
        options: AggregateOptions,
    ) -> Result<Aggregate> {
        let types: Vec<_> = keys.iter().map(|&key| input.field(key).data_type().clone()).collect();
        let place = |column: &usize| keys.iter().position(|key| key == column);
        let partition: Vec<usize> = options.partitioned_by.iter().filter_map(place).collect();
        let sessions = options.sessions.map(Sessions::new);
        let mut next = FIRST_ACCUMULATOR + if sessions.is_some() { SESSION_WORDS } else { 0 };
        let mut accumulators = Vec::with_capacity(aggregates.len());
        for aggregate in aggregates {
            let accumulator = Accumulator::new(aggregate, input, options.append_only, next)?;
            next = accumulator.words().end;
            accumulators.push(accumulator);
        }
        let groups = Groups::new(types, next - FIRST_ACCUMULATOR, options.once)?;
        let started = !(keys.is_empty() && options.owns_empty_key);
        let arguments = accumulators.iter().enumerate();
        let arguments = arguments.filter_map(|(at, one)| Some((at, one.distinct_argument(input)?))).collect();
        let distincts = Distinct::shared(arguments, options.append_only, options.closing);
        let gathered = Gathered::new(input, &keys, aggregates, options.closing.map(|closing| closing.column))?;
        let defers = accumulators.iter().any(Accumulator::is_deferred);
        let mergeable = accumulators.iter().all(Accumulator::is_mergeable);
        if (options.once && (defers || options.closing.is_none())) || (sessions.is_some() && !mergeable) {
            return Err(SqlError::internal("an aggregate over windows that it is not made for"));
        }
        let (found, open) = (Vec::new(), Vec::new());
        Ok(Aggregate {
            sessions,
            once: options.once.then_some(None),
            dropped: 0,
            keys,
            partition,
            accumulators,
            groups,
            schema,
            started,
            found,
            distincts,
            gathered,
            open,
            defers,
            closed: options.closing.map(Expiry::new),
        })
    }

    /// Computes what is computed at the end of a tick.
    fn finish_tick(&mut self) -> Result<()> {
        let changes = Changes::of(&mut self.open)?;
        let dirty = std::mem::take(&mut self.groups.dirty);
        let before = self.folded(&dirty)?;
        if let Some(changes) = &changes {
            self.accumulators.iter_mut().try_for_each(|accumulator| accumulator.update_deferred(changes))?;
            self.update_distinct(changes)?;
        }
        let now = self.folded(&dirty)?;
        let mut folded = before.into_iter().zip(now).map(|(before, now)| Outcomes::new(before, now));
        let mut gathered = self.gather(changes.as_ref(), &dirty)?.into_iter();
        for accumulator in &mut self.accumulators {
            match &mut accumulator.kind {
                Kind::Folded { outcomes, .. } => *outcomes = folded.next().transpose()?,
                Kind::Gathered { outcomes } => *outcomes = gathered.next(),
                Kind::Packed(_) | Kind::Extreme(_) => {}
            }
        }
        self.groups.dirty = dirty;
        Ok(())
    }

    /// What the calls that take values back come to, for each of them.
    fn folded(&mut self, dirty: &[u32]) -> Result<Vec<Values>> {
        let values = self.accumulators.iter_mut().filter_map(|accumulator| {
            let output = accumulator.output().clone();
            match &mut accumulator.kind {
                Kind::Folded { calls, .. } => Some(calls.values(dirty, &output)),
                _ => None,
            }
        });
        values.collect()
    }

    /// Gives the aggregates with DISTINCT what came and went.
    fn update_distinct(&mut self, changes: &Changes) -> Result<()> {
        if self.distincts.is_empty() {
            return Ok(());
        }
        let rows = changes.delta.rows();
        let keys: Vec<ArrayRef> = self.keys.iter().map(|&key| rows.column(key).clone()).collect();
        let groups = GroupHashes::of(&keys, &self.partition, rows.num_rows())?;
        for distinct in &mut self.distincts {
            let counted = distinct.members.iter().map(|&member| self.accumulators[member].counted(rows));
            let moved = distinct.changes(changes, &groups, &self.keys, &counted.collect::<Result<Vec<_>>>()?)?;
            for (&member, moved) in distinct.members.iter().zip(&moved) {
                self.accumulators[member].update_distinct(&mut self.groups, moved)?;
            }
        }
        Ok(())
    }

    /// What the calls that need all rows of a group come to, for each of them.
    fn gather(&mut self, changes: Option<&Changes>, dirty: &[u32]) -> Result<Vec<Outcomes>> {
        let Some(gathered) = &mut self.gathered else { return Ok(Vec::new()) };
        let keys = self.groups.key_columns(dirty.iter().copied())?;
        gathered.change(changes, &keys, dirty.len())
    }

    fn forget(&mut self, group: u32) {
        match &mut self.sessions {
            Some(sessions) => sessions.remove(&mut self.groups, group),
            None => self.groups.remove(group),
        }
        self.accumulators.iter_mut().for_each(|accumulator| accumulator.forget(group));
    }

    fn find(&mut self, keys: &Prepared, rows: std::ops::Range<usize>) {
        self.groups.find(keys, rows, &mut self.found);
    }
}

impl Operator for Aggregate {
    fn on_batch(&mut self, _port: usize, delta: Delta, out: &mut Output) -> Result<()> {
        let delta = match &self.sessions {
            Some(sessions) => {
                let (delta, errors) = sessions.timed(delta)?;
                errors.into_iter().for_each(|(error, weight)| out.row_error(error, weight));
                delta
            }
            None => delta,
        };
        let keys: Vec<ArrayRef> = self.keys.iter().map(|&key| delta.rows().column(key).clone()).collect();
        let keys = self.groups.prepare(&keys)?;
        let counted = self.accumulators.iter().map(|accumulator| accumulator.counted(delta.rows()));
        let counted = counted.collect::<Result<Vec<_>>>()?;
        let mut all = Vec::with_capacity(if self.defers { delta.len() } else { 0 });
        for start in (0..delta.len()).step_by(BLOCK) {
            self.find(&keys, start..(start + BLOCK).min(delta.len()));
            let Aggregate { groups, accumulators, found, sessions, once, .. } = self;
            match sessions {
                Some(sessions) => sessions.assign(groups, accumulators, found, (&delta, start)),
                None => groups.touch(found, start, delta.weights()),
            }
            for (accumulator, counted) in accumulators.iter_mut().zip(&counted) {
                if once.is_none() {
                    accumulator.note_before(&groups.dirty);
                }
                accumulator.update(groups, found, start, &delta, counted.as_ref());
            }
            if self.defers {
                all.extend_from_slice(found);
            }
        }
        if self.defers {
            self.open.push((delta, all));
        }
        if let Some(sessions) = self.sessions.as_mut().filter(|_| self.once.is_some()) {
            sessions.remove_merged(&mut self.groups);
        }
        Ok(())
    }

    fn on_tick(&mut self, _tick: Tick, out: &mut Output) -> Result<()> {
        if self.once.is_some() {
            let new = std::mem::take(&mut self.groups.dirty);
            self.note(new)?;
            return self.close(out);
        }
        if !self.started && self.groups.dirty.is_empty() {
            // The one row over no input: a change of nothing makes it dirty.
            self.find(&Prepared::Columns(vec![]), 0..1);
            self.groups.touch_one(0, 0);
            let Aggregate { groups, accumulators, .. } = self;
            accumulators.iter_mut().for_each(|accumulator| accumulator.note_before(&groups.dirty));
        }
        if !self.groups.dirty.is_empty() {
            if self.defers {
                self.finish_tick()?;
            }
            self.emit(out)?;
            self.started = true;
            self.accumulators.iter_mut().for_each(Accumulator::end_tick);
            self.sessions.iter_mut().for_each(Sessions::forget_merged);
        }
        self.close(out)
    }

    fn on_watermark(&mut self, _port: usize, watermark: EventTime, _out: &mut Output) -> Result<()> {
        self.closed.iter_mut().for_each(|closed| closed.advance(watermark.0));
        self.distincts.iter_mut().for_each(|distinct| distinct.advance(watermark.0));
        Ok(())
    }

    fn next_timer(&self) -> Option<EventTime> {
        self.closed.as_ref().filter(|_| self.once.is_some())?.next()
    }

    fn snapshot(&mut self, _kind: SnapshotKind, to: &mut dyn StateWriter) -> Result<()> {
        self.write_sections(to)
    }

    fn restore(&mut self, from: &mut dyn StateReader, groups: KeyGroupRange) -> Result<()> {
        self.read_sections(from, &groups)?;
        match self.closed.is_some() {
            true => self.note(self.groups.all()),
            false => Ok(()),
        }
    }

    fn dropped(&self) -> u64 {
        self.dropped
    }

    fn state_size(&self) -> StateSize {
        let beside: usize = self.accumulators.iter().map(Accumulator::bytes_beside).sum();
        let beside = beside + self.distincts.iter().map(|distinct| distinct.size().bytes).sum::<usize>();
        let gathered = self.gathered.as_ref().map(Gathered::size).unwrap_or_default();
        let closing = self.closed.as_ref().map_or(0, Expiry::bytes);
        let closing = closing + self.sessions.as_ref().map_or(0, Sessions::bytes);
        StateSize {
            rows: self.groups.len() + gathered.rows,
            bytes: self.groups.bytes() + beside + gathered.bytes + closing,
        }
    }
}
