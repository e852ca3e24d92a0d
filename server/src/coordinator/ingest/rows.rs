//! What becomes of the rows of a chunk: their times, when they came in, and those that are late.

use super::threads::Times;
use super::{CHUNK_ROWS, Fed, Partly, Reading};
use crate::coordinator::arrivals::Coming;
use crate::coordinator::event_time::Stamped;
use crate::coordinator::late_rows::LateRows;
use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use millrace_catalog::Late;
use millrace_connectors::{Chunk, Poll, Split};
use millrace_types::{EventTime, Offset, Result, SqlError};

impl Reading {
    /// A split is there: one that others were before begins at the watermark.
    pub(super) fn know_time(&mut self, split: &Split, now: EventTime) {
        let Some(time) = &mut self.time else { return };
        let is_new = !time.splits.contains_key(&split.id);
        time.know(split.id, &split.name, now);
        let Some(arrivals) = self.arrivals.as_ref().filter(|_| is_new) else { return };
        let taken = self.taken.get(&split.id).copied().unwrap_or_default();
        match (arrivals.rows(&split.name), time.splits.get(&split.id).and_then(|split| split.watermark)) {
            (None, Some(begins)) if self.only.is_none() && taken == 0 => arrivals.note_raise(&split.name, 0, begins),
            (Some(rows), _) => {
                if taken == 0
                    && let Some(begins) = arrivals.first_raise(&split.name)
                {
                    time.raise_split(split.id, begins);
                }
                time.set_behind(split.id, rows > taken);
            }
            _ => {}
        }
    }

    pub(super) fn note_behind(&mut self, split: u32, has_more: bool) {
        let name = self.names.get(&split);
        let known = name.and_then(|name| self.arrivals.as_ref()?.rows(name)).unwrap_or_default();
        if let Some(time) = &mut self.time {
            time.set_behind(split, has_more || self.taken.get(&split).is_some_and(|taken| *taken < known));
        }
    }

    /// Takes in the times of rows, and gives them the hidden columns that were asked for and the moments at which they came
    /// in. Keeps those that came too late beside the tick.
    pub(super) fn timed(
        &mut self,
        (split, from): (u32, Offset),
        Chunk { rows, deletes, .. }: Chunk,
        Times { marks, whole }: Times,
        now: EventTime,
    ) -> Result<Vec<Fed>> {
        let Some(arrivals) = self.arrivals.clone() else { return Ok(vec![Fed { rows, deletes }]) };
        let first = self.taken.get(&split).copied().unwrap_or_default();
        let end = first + rows.num_rows() as u64;
        self.taken.insert(split, end);
        let raise = self.time.as_ref().and_then(|time| time.wakes(split));
        let coming = Coming { now, raise, is_noted: self.only.is_none() };
        let name = self.names.get(&split).map_or("", String::as_str);
        let (mut fed, mut at) = (vec![], 0);
        for piece in arrivals.pieces(name, first..end, coming) {
            let part = arrivals.filled(rows.slice(at, piece.rows), &self.read, piece.moment)?;
            let marks = marks.as_ref().map(|marks| marks.slice(at, piece.rows));
            let marks = marks.or_else(|| self.marks.as_ref().map(|marks| marks.times(&part)));
            let rows = match (&mut self.time, marks, &self.held) {
                (Some(time), Some(marks), Some(held)) => {
                    if let Some(to) = piece.raise {
                        time.raise_split(split, to);
                    }
                    let Stamped { rows, late, late_places } = time.stamp(split, part, &marks, held, piece.moment)?;
                    time.hear(split, now);
                    if let Some(late) = late {
                        let places: Vec<u32> = late_places.iter().map(|place| place + at as u32).collect();
                        let rows = self.whole(late.rows, (split, from), &places, whole.as_ref())?;
                        self.keep_late(LateRows { rows, ..late });
                    }
                    rows
                }
                _ => part,
            };
            at += piece.rows;
            fed.push(Fed { rows, deletes: None });
        }
        Ok(fed)
    }

    fn keep_late(&mut self, late: LateRows) {
        match self.time.as_ref().is_some_and(|time| time.timed.definition.late == Late::Drop) {
            true if self.only.is_none() => self.late_store.add(late.dropped()),
            true => {}
            false => self.late.push(late),
        }
    }

    /// Late rows with all columns, by their places in the chunk that starts at an offset. The reader has most of them: it
    /// knows nothing of what the wall clock decided.
    fn whole(
        &self,
        rows: RecordBatch,
        (split, from): (u32, Offset),
        places: &[u32],
        known: Option<&(Vec<u32>, RecordBatch)>,
    ) -> Result<RecordBatch> {
        let Some(Partly { source, columns }) = &self.again else { return Ok(rows) };
        if let Some((known, whole)) = known {
            let found = places.iter().map(|place| Some(known.binary_search(place).ok()? as u32));
            if let Some(found) = found.collect::<Option<Vec<u32>>>() {
                return Ok(take_record_batch(whole, &UInt32Array::from(found))?);
            }
        }
        let lost = || SqlError::internal("rows that came late cannot be read again");
        let name = self.names.get(&split).cloned().unwrap_or_default();
        let mut reader = source.open(&Split { id: split, name }, from, columns)?;
        let (mut seen, mut left, mut parts) = (0, places, vec![]);
        while !left.is_empty() {
            let Poll::Chunk(chunk) = reader.poll(CHUNK_ROWS)? else { return Err(lost()) };
            let next = seen + chunk.rows.num_rows() as u32;
            let (here, after) = left.split_at(left.partition_point(|place| *place < next));
            let here: Vec<u32> = here.iter().map(|place| place - seen).collect();
            if !here.is_empty() {
                parts.push(reader.whole(&here)?.ok_or_else(lost)?);
            }
            (seen, left) = (next, after);
        }
        match parts.first() {
            Some(first) => Ok(concat_batches(&first.schema(), &parts)?),
            None => Ok(rows),
        }
    }
}
