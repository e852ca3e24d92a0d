//! How far the times of sources and tables have come.
//!
//! ```text
//!   split 0   rows in order --> running maximum --+
//!   split 1   rows in order --> running maximum --+--> least of those not idle --> watermark of the source
//!   split 2   idle ................................
//! ```
//!
//! A split's watermark is the maximum of the definition's expression over its rows; it never goes back. Whether a row is
//! late follows from its own split alone: from the watermark as of the row before it. So it does not depend on how rows
//! were put into ticks, nor on how splits were interleaved.
//!
//! The source's watermark is the least of its splits. A split that has been silent for the idle timeout holds nothing
//! back any more; when it speaks again, or when a split comes that was not there before, its own watermark is raised to
//! the source's: what was final stays final. A table is one split, with its rows in the order of commits.
//!
//! What the wall clock has to do with it is noted (`arrivals`), so that rows that are read again are judged as they were.

use super::late_rows::LateRows;
use arrow::array::{Array, ArrayRef, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions};
use arrow::buffer::NullBuffer;
use arrow::compute::kernels::cmp::lt;
use arrow::compute::{filter, filter_record_batch, not};
use arrow::datatypes::{Field, FieldRef, Schema};
use millrace_catalog::{Late, Watermark};
use millrace_planner::bind::{WatermarkExpression, micros};
use millrace_storage::{ReadingState, SplitReadingTime};
use millrace_types::{EventTime, Result, SqlError};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The watermark definition of a relation, ready to be computed.
#[derive(Debug)]
pub struct Timed {
    pub expression: WatermarkExpression,
    pub definition: Watermark,
    /// The column with the event time.
    pub column: usize,
    /// How many columns the relation has: the hidden ones come after.
    pub width: usize,
}

/// A row's number in its source: the split above, the row's place in it below.
const SPLIT_SHIFT: u32 = 40;

/// What is read of a source with a watermark.
#[derive(Clone, Debug)]
pub struct Held {
    /// The columns that its rows have in the end, the hidden ones last.
    pub columns: Arc<[usize]>,
    /// Those of them that are not hidden.
    pub read: Arc<[usize]>,
    /// Whether late rows are kept.
    pub keeps_late: bool,
}

impl Timed {
    /// What is to be read for those who ask for some columns. Late rows are kept whole, so that all columns are read where
    /// there may be such rows; but if `tells_whole`, those of late rows can be had afterwards.
    pub fn held(&self, mut columns: BTreeSet<usize>, tells_whole: bool) -> Held {
        columns.insert(self.column);
        columns.extend(self.expression.columns());
        let keeps_late = self.definition.late == Late::Drop || columns.contains(&(self.width + 1));
        if keeps_late && !tells_whole {
            columns.extend(0..self.width);
        }
        let read = columns.iter().copied().filter(|column| *column < self.width).collect();
        Held { columns: columns.into_iter().collect(), read, keeps_late }
    }
}

/// Rows on their way in.
#[derive(Debug)]
pub struct Stamped {
    pub rows: RecordBatch,
    /// Those that came too late, if they are kept; with `late = drop` they are not among the others.
    pub late: Option<LateRows>,
    /// The places of these among all.
    pub late_places: Vec<u32>,
}

/// How far the times of a relation have come, and those of its splits.
#[derive(Clone, Debug)]
pub struct RelationTime {
    pub timed: Arc<Timed>,
    pub splits: BTreeMap<u32, SplitTime>,
    /// The least watermark of the splits that count, or the greatest that this ever was.
    pub watermark: Option<EventTime>,
    /// No split will come that is not there.
    bounded: bool,
    /// How far the watermark had come without rows when the server ended, once all rows of then are there.
    floor: Option<i64>,
    /// Splits that are not known again since the server started, as they were when they were read so far.
    remembered: BTreeMap<String, SplitTime>,
}

/// How far the times of a split have come.
#[derive(Clone, Debug)]
pub struct SplitTime {
    pub name: String,
    pub watermark: Option<i64>,
    /// Its rows so far; a row's number is how many came before it.
    pub rows: u64,
    /// Rows older than the watermark of the row before them.
    pub late: u64,
    /// Rows too far in the future to move the watermark.
    pub ahead: u64,
    /// When its last row came, by the wall clock.
    pub heard: EventTime,
    /// Whether there are rows that have not come yet, as far as is known: then it is not silent.
    pub is_behind: bool,
    pub state: SplitPhase,
}

/// Whether a split holds the watermark back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SplitPhase {
    Active,
    /// It has been silent for the idle timeout.
    Idle,
    /// It is read to its end and does not grow.
    Finished,
}

impl SplitPhase {
    /// The word that system relations show.
    pub fn word(self) -> &'static str {
        match self {
            SplitPhase::Active => "active",
            SplitPhase::Idle => "idle",
            SplitPhase::Finished => "finished",
        }
    }
}

impl RelationTime {
    /// The time of a relation none of whose rows have come.
    pub fn new(timed: Arc<Timed>, bounded: bool) -> RelationTime {
        RelationTime {
            timed,
            splits: BTreeMap::new(),
            watermark: None,
            bounded,
            floor: None,
            remembered: BTreeMap::new(),
        }
    }

    /// Goes on where it was: see [`RelationTime::stored`]. Nobody could be heard while the server was away.
    pub fn recall(&mut self, stored: &ReadingState, now: EventTime) {
        self.watermark = stored.watermark.map(EventTime);
        // Those of a table are known already: it has one, whatever it is called.
        let mut known = self.splits.values_mut();
        for split in &stored.splits {
            let Some(time) = &split.time else { continue };
            let phases = [SplitPhase::Active, SplitPhase::Idle, SplitPhase::Finished];
            let state = phases.into_iter().find(|phase| phase.word() == time.state).unwrap_or(SplitPhase::Active);
            let SplitReadingTime { watermark, rows, late, ahead, .. } = *time;
            let time = SplitTime {
                name: split.name.clone(),
                watermark,
                rows,
                late,
                ahead,
                heard: now,
                is_behind: false,
                state,
            };
            match known.next() {
                Some(known) => *known = time,
                None => drop(self.remembered.insert(split.name.clone(), time)),
            }
        }
    }

    /// How far the splits have come, to be written down.
    pub fn stored(&self) -> impl Iterator<Item = (&String, SplitReadingTime)> {
        self.remembered.values().chain(self.splits.values()).map(|split| {
            let SplitTime { watermark, rows, late, ahead, state, .. } = *split;
            (&split.name, SplitReadingTime { watermark, rows, late, ahead, state: state.word().to_owned() })
        })
    }

    /// There is a split.
    pub fn know(&mut self, split: u32, name: &str, now: EventTime) {
        let watermark = self.watermark.map(|watermark| watermark.0);
        if let Some(known) = self.remembered.remove(name) {
            self.splits.entry(split).or_insert(known);
        }
        self.splits.entry(split).or_insert_with(|| SplitTime {
            name: name.to_owned(),
            watermark,
            rows: 0,
            late: 0,
            ahead: 0,
            heard: now,
            is_behind: false,
            state: SplitPhase::Active,
        });
    }

    /// Whether a split is known to have rows that have not come yet.
    pub fn set_behind(&mut self, split: u32, is_behind: bool) {
        if let Some(split) = self.splits.get_mut(&split) {
            split.is_behind = is_behind;
        }
    }

    /// How far a split that speaks now is raised: one that held nothing back to the source's watermark.
    pub fn wakes(&self, split: u32) -> Option<i64> {
        let split = self.splits.get(&split).filter(|split| split.state != SplitPhase::Active)?;
        self.watermark.map(|watermark| watermark.0).filter(|source| split.watermark < Some(*source))
    }

    /// Rows of a split have been read now, whenever they came first.
    pub fn hear(&mut self, split: u32, now: EventTime) {
        if let Some(split) = self.splits.get_mut(&split) {
            split.heard = split.heard.max(now);
        }
    }

    /// Brings a split at least as far as a moment.
    pub fn raise_split(&mut self, split: u32, to: i64) {
        if let Some(split) = self.splits.get_mut(&split) {
            split.watermark = split.watermark.max(Some(to));
        }
    }

    /// The watermark has come at least so far.
    pub fn set_floor(&mut self, to: Option<i64>) {
        self.floor = self.floor.max(to);
    }

    /// Whether the watermark has come farther than rows say.
    pub fn is_ahead_of_rows(&self) -> bool {
        let open = self.splits.values().filter(|split| split.state != SplitPhase::Finished);
        let least = open.map(|split| split.watermark).min();
        least.is_some_and(|least| least < self.watermark.map(|watermark| watermark.0))
    }

    /// A split will have no more rows.
    pub fn finish(&mut self, split: u32) {
        if let Some(split) = self.splits.get_mut(&split) {
            split.state = SplitPhase::Finished;
        }
    }

    /// Rows of a split that came at a moment, in order: how far time has come with each, and their own times. Answers the
    /// split's watermark as of the row before each.
    pub fn observe(&mut self, split: u32, marks: &Int64Array, times: &Int64Array, now: EventTime) -> Int64Array {
        let latest = self.timed.definition.max_future_skew.map(|skew| now.0.saturating_add(skew));
        match self.splits.get_mut(&split) {
            Some(split) => split.observe(marks, times, latest, now),
            None => Int64Array::new_null(marks.len()),
        }
    }

    /// Takes in the times of rows of a split, in order, and gives these the hidden columns that `held` has: the split's
    /// watermark before the row, and the row's number.
    pub fn stamp(
        &mut self,
        split: u32,
        rows: RecordBatch,
        marks: &Int64Array,
        held: &Held,
        now: EventTime,
    ) -> Result<Stamped> {
        let timed = self.timed.clone();
        let place = held.read.iter().position(|column| *column == timed.column);
        let place = place.ok_or_else(|| SqlError::internal("a reading lacks the event time"))?;
        let times = micros(rows.column(place))?;
        let first = (i64::from(split) << SPLIT_SHIFT) | self.splits.get(&split).map_or(0, |split| split.rows as i64);
        let before = self.observe(split, marks, &times, now);
        let numbers = Int64Array::from_iter_values(first..first + rows.num_rows() as i64);
        let late = lt(&times, &before)?;
        let late = late.nulls().map_or_else(|| late.clone(), |known| BooleanArray::from(late.values() & known.inner()));
        let keeps = held.keeps_late && late.true_count() > 0;
        let kept = keeps.then(|| kept(&rows, &late, &numbers, &before)).transpose()?;
        let late_places = if keeps { late.values().set_indices_u32().collect() } else { vec![] };
        let time_type = rows.column(place).data_type();
        let hidden: [ArrayRef; 2] = [arrow::compute::cast(&before, time_type)?, Arc::new(numbers)];
        let rows = with_columns(
            rows,
            hidden.into_iter().enumerate().filter_map(|(at, values)| {
                held.columns.contains(&(timed.width + at)).then_some((timed.width + at, values))
            }),
        )?;
        let drops = timed.definition.late == Late::Drop && late.true_count() > 0;
        let rows = if drops { filter_record_batch(&rows, &not(&late)?)? } else { rows };
        Ok(Stamped { rows, late: kept, late_places })
    }

    /// Brings all splits at least as far as a moment. Answers those that were not, with how many rows each has.
    pub fn raise(&mut self, to: EventTime) -> Vec<(String, u64)> {
        let behind = self.splits.values_mut().filter(|split| split.watermark < Some(to.0));
        let raised = behind.map(|split| {
            split.watermark = Some(to.0);
            (split.name.clone(), split.rows)
        });
        raised.collect()
    }

    /// What time it is now: splits fall idle, and the watermark moves. Answers whether anything is different, and the
    /// watermark if it moved.
    pub fn advance(&mut self, now: EventTime) -> (bool, Option<EventTime>) {
        let mut changed = false;
        if let Some(timeout) = self.timed.definition.idle_timeout {
            let speaking = |split: &&mut SplitTime| split.state == SplitPhase::Active && !split.is_behind;
            for split in self.splits.values_mut().filter(speaking) {
                if now.0.saturating_sub(split.heard.0) >= timeout {
                    (split.state, changed) = (SplitPhase::Idle, true);
                }
            }
        }
        let moved = self
            .least()
            .max(self.floor)
            .map(EventTime)
            .filter(|least| self.watermark.is_none_or(|known| known < *least));
        self.watermark = moved.or(self.watermark);
        (changed || moved.is_some(), moved)
    }

    fn least(&self) -> Option<i64> {
        let in_state = |state| self.splits.values().filter(move |split| split.state == state);
        if self.bounded && !self.splits.is_empty() && in_state(SplitPhase::Finished).count() == self.splits.len() {
            // Nothing will come ever again.
            return Some(i64::MAX);
        }
        let mut active = in_state(SplitPhase::Active).peekable();
        match active.peek() {
            // A split without a watermark holds all of them back.
            Some(_) => active.map(|split| split.watermark).min().flatten(),
            None => self.splits.values().filter_map(|split| split.watermark).max(),
        }
    }

    /// The split that holds the watermark back: the one that is the least far of those that count.
    pub fn holder(&self) -> Option<&SplitTime> {
        let active = self.splits.values().filter(|split| split.state == SplitPhase::Active);
        active.min_by_key(|split| split.watermark)
    }

    /// The farthest that any split has come.
    pub fn farthest(&self) -> Option<i64> {
        self.splits.values().filter_map(|split| split.watermark).max()
    }

    /// The moment of the wall clock at which the next split falls idle.
    pub fn next_idle(&self) -> Option<EventTime> {
        let timeout = self.timed.definition.idle_timeout?;
        let active = self.splits.values().filter(|split| split.state == SplitPhase::Active && !split.is_behind);
        active.map(|split| EventTime(split.heard.0.saturating_add(timeout))).min()
    }
}

/// The late rows among rows, with the columns that these have.
fn kept(rows: &RecordBatch, late: &BooleanArray, numbers: &Int64Array, before: &Int64Array) -> Result<LateRows> {
    let numbers = micros(&filter(numbers, late)?)?.values().to_vec();
    let watermarks = micros(&filter(before, late)?)?;
    Ok(LateRows { rows: filter_record_batch(rows, late)?, numbers, watermarks })
}

/// Rows with more columns.
fn with_columns(rows: RecordBatch, more: impl Iterator<Item = (usize, ArrayRef)>) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    let mut fields: Vec<FieldRef> = rows.schema().fields().to_vec();
    let mut columns = rows.columns().to_vec();
    for (number, values) in more {
        fields.push(Arc::new(Field::new(format!("hidden {number}"), values.data_type().clone(), true)));
        columns.push(values);
    }
    Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)?)
}

impl SplitTime {
    fn observe(&mut self, marks: &Int64Array, times: &Int64Array, latest: Option<i64>, now: EventTime) -> Int64Array {
        (self.state, self.heard) = (SplitPhase::Active, self.heard.max(now));
        self.rows += marks.len() as u64;
        if latest.is_none() && marks.null_count() == 0 && times.null_count() == 0 {
            return self.observe_all(marks.values(), times.values());
        }
        let before = (0..marks.len()).map(|row| {
            let before = self.watermark;
            let time = times.is_valid(row).then(|| times.value(row));
            self.late += u64::from(time < before && time.is_some());
            match latest.is_some_and(|latest| time.is_some_and(|time| time > latest)) {
                true => self.ahead += 1,
                false if marks.is_valid(row) => self.watermark = before.max(Some(marks.value(row))),
                false => {}
            }
            before
        });
        before.collect()
    }

    /// As [`observe`](SplitTime::observe), of rows that all have a time and move the watermark.
    fn observe_all(&mut self, marks: &[i64], times: &[i64]) -> Int64Array {
        let (is_known, mut watermark, mut late) = (self.watermark.is_some(), self.watermark.unwrap_or(i64::MIN), 0);
        let before = marks.iter().zip(times).map(|(mark, time)| {
            let before = watermark;
            late += u64::from(*time < before);
            watermark = before.max(*mark);
            before
        });
        let before: Vec<i64> = before.collect();
        self.late += late;
        self.watermark = self.watermark.max((!before.is_empty()).then_some(watermark));
        // Only the first row of all is behind nothing.
        let unknown =
            (!is_known && !before.is_empty()).then(|| NullBuffer::from_iter((0..before.len()).map(|row| row > 0)));
        Int64Array::new(before.into(), unknown)
    }
}

#[cfg(test)]
mod tests;
