//! What time it is for the ticks: the wall clock, and the watermarks of sources and tables.

use super::arrivals::{Coming, OF_TABLE, Piece};
use super::clock::{Clock, IDLE, TimeChange};
use super::event_time::{RelationTime, Timed};
use super::ingest::Reading;
use super::writes::Writes;
use arrow::array::BooleanArray;
use arrow::compute::filter_record_batch;
use millrace_catalog::Relation;
use millrace_planner::bind::micros;
use millrace_types::{Delta, EventTime, RelationId, Result, SqlError, SqlState};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::oneshot;

/// A statement that waits until everything is read that lay ready in sources when it came.
pub(super) struct Settling {
    /// The rounds of each reading, and how many there must be.
    rounds: Vec<(Arc<AtomicU64>, u64)>,
    reply: oneshot::Sender<()>,
}

impl Settling {
    fn is_through(&self) -> bool {
        self.rounds.iter().all(|(rounds, wanted)| rounds.load(Ordering::Acquire) >= *wanted)
    }
}

/// How long the clock sleeps while a statement waits for readers.
const SETTLING: Duration = Duration::from_millis(2);

impl Clock {
    /// Waits until all is read that lies ready in sources now.
    pub(super) fn settle(&mut self, reply: oneshot::Sender<()>) {
        let rounds = self.readings.iter().map(Reading::rounds).collect();
        self.settling.push(Settling { rounds, reply });
    }

    /// Answers the statements whose readers are through, after what these have read.
    pub(super) fn finish_settling(&mut self) {
        if self.settling.iter().any(Settling::is_through) {
            let through: Vec<_> = self.settling.extract_if(.., |settling| settling.is_through()).collect();
            self.tick(vec![]);
            for settling in through {
                let _ = settling.reply.send(());
            }
        }
    }

    /// The wall clock; it does not go back.
    pub(super) fn now(&self) -> EventTime {
        let now = self.wall.now().max(self.last_now.get());
        self.last_now.set(now);
        now
    }

    /// How long the clock may sleep: until somebody wants a tick by what time it is.
    pub(super) fn patience(&self) -> Duration {
        if !self.settling.is_empty() {
            return SETTLING;
        }
        let idle = self.times().filter_map(|(_, time)| time.next_idle());
        let Some(next) = idle.chain(self.engine.next_alarm()).min() else { return IDLE };
        let left = next.0.saturating_sub(self.now().0);
        IDLE.min(Duration::from_micros(u64::try_from(left).unwrap_or(0).max(1000)))
    }

    /// The relations with a watermark: sources that are read, and tables.
    fn times(&self) -> impl Iterator<Item = (RelationId, &RelationTime)> {
        let shared = self.readings.iter().filter(|reading| reading.only.is_none());
        let sources = shared.filter_map(|reading| Some((reading.relation, reading.time.as_ref()?)));
        sources.chain(self.table_times.iter().map(|(table, time)| (*table, time)))
    }

    fn times_mut(&mut self) -> impl Iterator<Item = (RelationId, &mut RelationTime)> {
        let shared = self.readings.iter_mut().filter(|reading| reading.only.is_none());
        let sources = shared.filter_map(|reading| Some((reading.relation, reading.time.as_mut()?)));
        sources.chain(self.table_times.iter_mut().map(|(table, time)| (*table, time)))
    }

    /// Begins to keep the time of a relation that has a watermark.
    pub(super) fn keep_time(&mut self, relation: &Relation, timed: Option<Arc<Timed>>) {
        let Some(timed) = timed else { return };
        if relation.kind.is_table() {
            let mut time = RelationTime::new(timed.clone(), false);
            time.know(0, &relation.name, self.now());
            self.table_times.insert(relation.id, time);
        }
        self.timed.insert(relation.id, timed);
        self.state.times = self.published_times();
    }

    fn published_times(&self) -> Arc<BTreeMap<RelationId, RelationTime>> {
        Arc::new(self.times().map(|(relation, time)| (relation, time.clone())).collect())
    }

    /// Takes in the times of rows that transactions bring, in the order of the transactions.
    pub(super) fn observe_tables(&mut self, writes: &Writes) {
        if self.table_times.is_empty() {
            return;
        }
        for (table, deltas) in writes.iter() {
            deltas.iter().for_each(|delta| self.observe_table(table, delta));
        }
    }

    /// Takes in the times of rows of a table; those that go say nothing.
    pub(super) fn observe_table(&mut self, table: RelationId, delta: &Delta) {
        let (now, is_noted) = (self.now(), self.serving);
        let arrivals = self.arrivals.get(&table).cloned();
        let Some(time) = self.table_times.get_mut(&table) else { return };
        let come: BooleanArray = (0..delta.len()).map(|row| Some(delta.weight(row) > 0)).collect();
        let observed = filter_record_batch(delta.rows(), &come).map_err(SqlError::from).and_then(|rows| {
            let count = rows.num_rows();
            if count == 0 {
                return Ok(());
            }
            let times = micros(rows.column(time.timed.column))?;
            let marks = time.timed.expression.times(&rows);
            let first = time.splits.get(&0).map_or(0, |split| split.rows);
            let coming = Coming { now, raise: time.wakes(0), is_noted };
            let pieces = arrivals.map(|arrivals| arrivals.pieces(OF_TABLE, first..first + count as u64, coming));
            let mut at = 0;
            for piece in pieces.unwrap_or_else(|| vec![Piece { rows: count, moment: now, raise: coming.raise }]) {
                if let Some(to) = piece.raise {
                    time.raise_split(0, to);
                }
                time.observe(0, &marks.slice(at, piece.rows), &times.slice(at, piece.rows), piece.moment);
                at += piece.rows;
            }
            time.hear(0, now);
            Ok(())
        });
        if let Err(error) = observed {
            tracing::error!(%table, %error, "the times of rows cannot be read");
        }
    }

    /// Moves all watermarks to where they are now; answers those that moved.
    pub(super) fn advance_times(&mut self) -> Vec<(RelationId, EventTime)> {
        let (now, mut changed, mut moved, mut ahead) = (self.now(), false, vec![], vec![]);
        for reading in self.readings.iter_mut().filter(|reading| reading.only.is_none()) {
            let floor = reading.floor();
            reading.time.iter_mut().for_each(|time| time.set_floor(floor));
        }
        for (relation, time) in self.times_mut() {
            let (is_different, watermark) = time.advance(now);
            changed |= is_different;
            moved.extend(watermark.map(|watermark| (relation, watermark)));
            ahead.extend(watermark.filter(|_| time.is_ahead_of_rows()).map(|watermark| (relation, watermark)));
        }
        for (relation, watermark) in ahead {
            self.arrivals.get(&relation).into_iter().for_each(|arrivals| arrivals.note_watermark(watermark.0));
        }
        if changed || self.times().count() != self.state.times.len() || self.has_read() {
            self.state.times = self.published_times();
            if moved.is_empty() {
                self.show();
            }
        }
        moved
    }

    /// Whether rows have come since the times were published.
    fn has_read(&self) -> bool {
        let rows = |time: &RelationTime| time.splits.values().map(|split| split.rows).sum::<u64>();
        self.times().any(|(relation, time)| self.state.times.get(&relation).map(rows) != Some(rows(time)))
    }

    /// Jobs that have read all there was see watermarks from now on, at once.
    pub(super) fn follow(&mut self, jobs: &[RelationId]) {
        jobs.iter().for_each(|job| self.engine.follow(*job));
        if self.engine.is_due(self.now())
            && let Err(error) = self.run_tick(Writes::default(), vec![], vec![], false)
        {
            tracing::error!(%error, "a tick failed");
        }
        self.show();
    }

    /// What a statement says of the time, and all that follows from it.
    pub(super) fn set_time(&mut self, change: TimeChange) -> Result<()> {
        match change {
            TimeChange::Clock(to) => self.wall.set(to)?,
            TimeChange::ClockBy(micros) => self.wall.set(EventTime(self.wall.now().0.saturating_add(micros)))?,
            TimeChange::Watermark(relation, to) => {
                let time = self.times_mut().find(|(timed, _)| *timed == relation).map(|(_, time)| time);
                let Some(time) = time else { return Err(self.without_time(relation)) };
                let raised = time.raise(to);
                if let Some(arrivals) = self.arrivals.get(&relation) {
                    let is_table = self.table_times.contains_key(&relation);
                    for (split, rows) in raised {
                        arrivals.note_raise(if is_table { OF_TABLE } else { &split }, rows, to.0);
                    }
                    arrivals.note_watermark(to.0);
                }
            }
        }
        let watermarks = self.advance_times();
        match !watermarks.is_empty() || self.engine.is_due(self.now()) {
            true => self.run_tick(Writes::default(), vec![], watermarks, false).map(drop),
            false => Ok(()),
        }
    }

    fn without_time(&self, id: RelationId) -> SqlError {
        let relation = self.state.catalog.get(id);
        let name = relation.map_or("", |relation| &relation.name);
        match relation.is_some_and(|relation| relation.watermark.is_some()) {
            true => {
                let message = format!("source \"{name}\" is not being read");
                SqlError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
                    .with_hint("It has a watermark while a materialized view or a sink reads it.")
            }
            false => SqlError::new(SqlState::WRONG_OBJECT_TYPE, format!("\"{name}\" has no watermark"))
                .with_hint("WATERMARK FOR in CREATE SOURCE or CREATE TABLE gives it one."),
        }
    }
}
