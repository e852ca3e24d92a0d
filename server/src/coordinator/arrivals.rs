//! What the wall clock decides about rows as they come in, kept so that it is the same when they are read again.
//!
//! ```text
//!   rows of a split   0 ............ 4000 ............ 4100 .... 4200 | those that come now
//!   moments           ^ 10:00:00.0   ^ 10:00:00.1                     | what the wall clock says
//!   raised                                             ^ to 09:59:00  | to the source's watermark, if it was idle
//! ```
//!
//! A source is read again from its start after a restart, for a view that is made later, and by ad-hoc queries. Which rows
//! are too far in the future, how far a split was raised that had been idle, and what a `PROCTIME()` column holds follows
//! from the wall clock when the rows came first. That is noted by the rows' numbers in their splits, goes into the journal
//! with the tick that shows it, and is kept for as long as the source is there. Moments are noted to a tenth of a second,
//! so that what is kept grows with the time in which rows come, not with the rows.

use super::clock::Clock;
use super::event_time::Timed;
use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, RecordBatchOptions};
use arrow::array::{TimestampMicrosecondArray, UInt8Array, UInt64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, UInt8Type, UInt64Type};
use millrace_catalog::{Column, Generated, Relation};
use millrace_storage::{Arrival, ArrivalNote};
use millrace_types::{EventTime, RelationId, Result, SqlError, SqlState, field_of};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

/// Moments closer together than this count as one, in microseconds.
const RESOLUTION: i64 = 100_000;
/// The split of tables, which have one.
pub(super) const OF_TABLE: &str = "";

/// What is known of how the rows of a source or table came in.
#[derive(Debug)]
pub struct Arrivals {
    relation: RelationId,
    /// How many columns it has.
    width: usize,
    /// Its columns that tell when a row came in.
    columns: Vec<(usize, DataType)>,
    /// Whether anything depends on when each row came in.
    keeps_moments: bool,
    /// Whether it matters which rows are known already.
    counts_rows: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    splits: BTreeMap<String, Known>,
    /// How far the relation's watermark has come without rows.
    watermark: Option<i64>,
    /// What is not in the journal yet.
    unwritten: Vec<ArrivalNote>,
}

/// What is known of a split: moments and raises, each from a row on.
#[derive(Debug, Default)]
struct Known {
    rows: u64,
    moments: Vec<(u64, i64)>,
    raises: Vec<(u64, i64)>,
}

/// Consecutive rows that came in together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    pub rows: usize,
    pub moment: EventTime,
    /// How far their split is raised first.
    pub raise: Option<i64>,
}

/// What is so when rows come that are not known yet.
#[derive(Clone, Copy, Debug)]
pub struct Coming {
    pub now: EventTime,
    /// How far their split is raised.
    pub raise: Option<i64>,
    /// Whether it is to be noted: it is the first time that they come.
    pub is_noted: bool,
}

impl Arrivals {
    /// What is to be kept of a relation, if the wall clock matters to its rows.
    pub fn of(relation: &Relation, timed: Option<&Timed>) -> Option<Arc<Arrivals>> {
        let is_table = relation.kind.is_table();
        let tells = |column: &&Column| !is_table && column.generated == Some(Generated::Arrival);
        let columns = relation.columns.iter().enumerate().filter(|(_, column)| tells(column));
        let data_type = |column: &Column| field_of(&column.name, &column.sql_type, true).data_type().clone();
        let columns: Vec<_> = columns.map(|(place, column)| (place, data_type(column))).collect();
        let definition = timed.map(|timed| &timed.definition);
        let keeps_moments = !columns.is_empty() || definition.is_some_and(|it| it.max_future_skew.is_some());
        // A table has one split, which is always as far as the table.
        let counts_rows = keeps_moments || (!is_table && definition.is_some_and(|it| it.idle_timeout.is_some()));
        let state = Mutex::default();
        let width = relation.columns.len();
        let arrivals = Arrivals { relation: relation.id, width, columns, keeps_moments, counts_rows, state };
        (timed.is_some() || keeps_moments).then(|| Arc::new(arrivals))
    }

    /// Whether some of its columns tell when a row came in.
    pub fn has_columns(&self) -> bool {
        !self.columns.is_empty()
    }

    /// What is to be read for some columns: all, if rows tell when they came in. Which records are bad is the same for all
    /// readers then, so that rows have the same numbers.
    pub fn widened(&self, columns: impl Iterator<Item = usize>) -> BTreeSet<usize> {
        let all = if self.has_columns() { 0..self.width } else { 0..0 };
        columns.chain(all).collect()
    }

    /// Whether a column tells when a row came in.
    pub fn is_told(&self, column: usize) -> bool {
        self.columns.iter().any(|(place, _)| *place == column)
    }

    /// What a connector is to read for some columns, as it counts them.
    pub fn outside(&self, columns: &[usize]) -> Vec<usize> {
        let before = |column: usize| self.columns.iter().filter(|(place, _)| *place < column).count();
        columns.iter().filter(|column| !self.is_told(**column)).map(|column| column - before(*column)).collect()
    }

    /// Rows as a connector gives them with all of `columns`.
    pub fn filled(&self, rows: RecordBatch, columns: &[usize], moment: EventTime) -> Result<RecordBatch> {
        if !self.has_columns() {
            return Ok(rows);
        }
        let (schema, mut next) = (rows.schema(), 0);
        let (mut fields, mut values) = (vec![], vec![]);
        for column in columns {
            match self.columns.iter().find(|(place, _)| place == column) {
                Some((place, data_type)) => {
                    fields.push(Arc::new(Field::new(format!("arrival {place}"), data_type.clone(), true)));
                    values.push(moments(moment, rows.num_rows(), data_type)?);
                }
                None => {
                    fields.push(schema.fields()[next].clone());
                    values.push(rows.column(next).clone());
                    next += 1;
                }
            }
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), values, &options)?)
    }

    /// How many rows of a split are known; none of one that is new.
    pub fn rows(&self, split: &str) -> Option<u64> {
        self.state.lock().splits.get(split).map(|known| known.rows)
    }

    /// How far a split is raised before its first row.
    pub fn first_raise(&self, split: &str) -> Option<i64> {
        let state = self.state.lock();
        state.splits.get(split)?.raises.first().filter(|(row, _)| *row == 0).map(|(_, to)| *to)
    }

    /// How far the relation's watermark came without rows.
    pub fn watermark(&self) -> Option<i64> {
        self.state.lock().watermark
    }

    /// The relation's watermark has come so far without rows.
    pub fn note_watermark(&self, to: i64) {
        let mut state = self.state.lock();
        if state.watermark < Some(to) {
            state.watermark = Some(to);
            state.note(self.relation, "", Arrival::Watermark, 0, to);
        }
    }

    /// Before a row, a split is raised.
    pub fn note_raise(&self, split: &str, row: u64, to: i64) {
        let mut state = self.state.lock();
        let known = state.known(split);
        known.raises.push((row, to));
        known.rows = known.rows.max(row);
        state.note(self.relation, split, Arrival::Raise, row, to);
        state.note(self.relation, split, Arrival::Rows, row, 0);
    }

    /// How rows of a split come, or came, by their numbers.
    pub fn pieces(&self, split: &str, rows: Range<u64>, coming: Coming) -> Vec<Piece> {
        let mut state = self.state.lock();
        let known = state.splits.get(split);
        let old = rows.start..known.map_or(0, |known| known.rows).clamp(rows.start, rows.end);
        let mut pieces = known.map_or(vec![], |known| known.pieces(old.clone(), coming.now));
        let first = old.end;
        if first == rows.end {
            return pieces;
        }
        let noted = known.and_then(|known| known.raise_at(first));
        let raise = coming.raise.filter(|_| old.is_empty()).max(noted);
        let mut moment = coming.now;
        if coming.is_noted {
            if let Some(to) = raise.filter(|_| raise > noted) {
                state.known(split).raises.push((first, to));
                state.note(self.relation, split, Arrival::Raise, first, to);
            }
            if self.keeps_moments {
                moment = self.moment(&mut state, split, first, coming.now);
            }
            if self.counts_rows {
                state.known(split).rows = rows.end;
                state.note(self.relation, split, Arrival::Rows, rows.end, 0);
            }
        }
        pieces.push(Piece { rows: (rows.end - first) as usize, moment, raise });
        pieces
    }

    fn moment(&self, state: &mut State, split: &str, row: u64, now: EventTime) -> EventTime {
        let last = state.known(split).moments.last().map(|(_, at)| *at);
        if let Some(last) = last.filter(|last| now.0.saturating_sub(*last) < RESOLUTION) {
            return EventTime(last);
        }
        state.known(split).moments.push((row, now.0));
        state.note(self.relation, split, Arrival::Moment, row, now.0);
        now
    }

    /// What is to be written down since the last time.
    pub fn take_unwritten(&self) -> Vec<ArrivalNote> {
        std::mem::take(&mut self.state.lock().unwritten)
    }

    /// Takes in what was written down.
    pub fn learn(&self, note: &ArrivalNote) {
        let ArrivalNote { ref split, what, row, at, .. } = *note;
        let mut state = self.state.lock();
        match what {
            Arrival::Watermark => state.watermark = state.watermark.max(Some(at)),
            Arrival::Rows => {
                let known = state.known(split);
                known.rows = known.rows.max(row);
            }
            // What a checkpoint has may be in the log, too.
            Arrival::Moment => add(&mut state.known(split).moments, row, at),
            Arrival::Raise => add(&mut state.known(split).raises, row, at),
        }
    }

    /// Forgets what concerns rows that will not be read again: those of a table that a checkpoint has.
    pub fn forget_old(&self) {
        for known in self.state.lock().splits.values_mut() {
            known.raises.clear();
            known.moments.drain(..known.moments.len().saturating_sub(1));
        }
    }

    /// All of it, as sections of a file: by split, and at last by nothing what concerns the relation.
    pub fn sections(&self) -> Result<Vec<(String, RecordBatch)>> {
        let state = self.state.lock();
        let mut sections = vec![];
        for (split, known) in &state.splits {
            let each = |what, entries: &[(u64, i64)]| entries.iter().map(move |(row, at)| (what, *row, *at)).collect();
            let mut all: Vec<(Arrival, u64, i64)> = each(Arrival::Moment, &known.moments);
            all.extend::<Vec<_>>(each(Arrival::Raise, &known.raises));
            all.push((Arrival::Rows, known.rows, 0));
            sections.push((split.clone(), section(&all)?));
        }
        if let Some(watermark) = state.watermark {
            sections.push((String::new(), section(&[(Arrival::Watermark, 0, watermark)])?));
        }
        Ok(sections)
    }
}

/// What a section of a file says.
///
/// # Errors
/// `XX001` when it says something else.
pub fn notes_of(relation: RelationId, split: &str, rows: &RecordBatch) -> Result<Vec<ArrivalNote>> {
    let other = || SqlError::new(SqlState::DATA_CORRUPTED, "a state file holds something else than arrivals of rows");
    let [what, row, at] = rows.columns() else { return Err(other()) };
    let what = what.as_primitive_opt::<UInt8Type>().ok_or_else(other)?;
    let row = row.as_primitive_opt::<UInt64Type>().ok_or_else(other)?;
    let at = at.as_primitive_opt::<Int64Type>().ok_or_else(other)?;
    let note = |place| {
        let what = Arrival::ALL.into_iter().find(|kind| *kind as u8 == what.value(place)).ok_or_else(other)?;
        Ok(ArrivalNote { relation, split: split.to_owned(), what, row: row.value(place), at: at.value(place) })
    };
    (0..rows.num_rows()).map(note).collect()
}

impl State {
    fn known(&mut self, split: &str) -> &mut Known {
        self.splits.entry(split.to_owned()).or_default()
    }

    fn note(&mut self, relation: RelationId, split: &str, what: Arrival, row: u64, at: i64) {
        if let Some(last) = self.unwritten.last_mut()
            && what == Arrival::Rows
            && (last.what, last.split.as_str()) == (what, split)
        {
            last.row = row;
            return;
        }
        self.unwritten.push(ArrivalNote { relation, split: split.to_owned(), what, row, at });
    }
}

impl Known {
    /// Rows that are known, cut where another moment or a raise begins.
    fn pieces(&self, rows: Range<u64>, now: EventTime) -> Vec<Piece> {
        let (mut pieces, mut at) = (vec![], rows.start);
        while at < rows.end {
            let after = |entries: &[(u64, i64)]| entries.get(entries.partition_point(|(row, _)| *row <= at)).copied();
            let begins = [after(&self.moments), after(&self.raises)].into_iter().flatten().map(|(row, _)| row);
            let end = begins.min().map_or(rows.end, |row| row.min(rows.end));
            let moment = self.moments.partition_point(|(row, _)| *row <= at).checked_sub(1);
            let moment = moment.and_then(|place| self.moments.get(place)).map_or(now, |(_, at)| EventTime(*at));
            pieces.push(Piece { rows: (end - at) as usize, moment, raise: self.raise_at(at) });
            at = end;
        }
        pieces
    }

    fn raise_at(&self, row: u64) -> Option<i64> {
        let begins = self.raises.partition_point(|(at, _)| *at < row);
        self.raises[begins..].iter().take_while(|(at, _)| *at == row).map(|(_, to)| *to).max()
    }
}

fn add(entries: &mut Vec<(u64, i64)>, row: u64, at: i64) {
    let place = entries.partition_point(|entry| *entry < (row, at));
    if entries.get(place) != Some(&(row, at)) {
        entries.insert(place, (row, at));
    }
}

fn section(all: &[(Arrival, u64, i64)]) -> Result<RecordBatch> {
    let what: ArrayRef = Arc::new(UInt8Array::from_iter_values(all.iter().map(|(what, ..)| *what as u8)));
    let row: ArrayRef = Arc::new(UInt64Array::from_iter_values(all.iter().map(|(_, row, _)| *row)));
    let at: ArrayRef = Arc::new(Int64Array::from_iter_values(all.iter().map(|(.., at)| *at)));
    Ok(RecordBatch::try_from_iter([("what", what), ("row", row), ("at", at)])?)
}

/// A moment for each row, as values of a column.
pub(super) fn moments(moment: EventTime, rows: usize, data_type: &DataType) -> Result<ArrayRef> {
    let moments = TimestampMicrosecondArray::from_value(moment.0, rows).with_timezone("UTC");
    Ok(cast(&moments, data_type)?)
}

impl Clock {
    /// Begins to keep how rows of a relation come in, or goes on with what was written down.
    pub(super) fn keep_arrivals(&mut self, relation: &Relation, timed: Option<&Timed>) {
        let written = self.recovered_arrivals.remove(&relation.id).unwrap_or_default();
        if let Some(arrivals) = Arrivals::of(relation, timed) {
            written.iter().for_each(|note| arrivals.learn(note));
            self.arrivals.insert(relation.id, arrivals);
        }
    }

    /// What is to be written with the next tick of how rows came in.
    pub(super) fn new_arrivals(&self) -> Vec<ArrivalNote> {
        self.arrivals.values().flat_map(|arrivals| arrivals.take_unwritten()).collect()
    }
}

#[cfg(test)]
mod tests;
