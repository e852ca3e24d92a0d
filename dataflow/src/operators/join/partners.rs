//! Which rows of an input have partners, and the rows of the output that say so.

use super::PAIRS;
use crate::operator::{Output, StateReader, StateSize, StateWriter};
use crate::state::{Counts, Expiry, RowId, batch_of, ids_of, interleave_rows, time_of, times_of};
use arrow::array::{ArrayRef, BooleanArray, RecordBatch, new_null_array};
use arrow::datatypes::SchemaRef;
use millrace_ir::{Closing, JoinKind};
use millrace_types::{Delta, KeyGroupRange, Result, Weights};
use std::ops::Range;
use std::sync::Arc;

/// The rows of one input with what tells whether they have a partner.
///
/// For each different row it counts the row's weight and the net weight of the pairs that it is in. Both are sums of
/// what passes by, and the second is the first times the weight of the row's partners: the row has a partner exactly
/// when it is not zero.
pub struct Partners {
    shown: Shown,
    /// The name of its section in a snapshot.
    section: &'static str,
    schema: SchemaRef,
    key: Vec<usize>,
    /// Where the input's columns stand in a pair, and in the output.
    columns: Range<usize>,
    counts: Counts<2>,
    /// When counters are dropped, by a column of the input.
    expiry: Option<Expiry<RowId>>,
    /// Batches of the open tick with the input's columns: where touched rows are to be found.
    open: Vec<RecordBatch>,
}

/// Which rows stand in the output, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    /// Those without a partner; NULLs fill the columns that are not theirs.
    Alone,
    /// Those with a partner.
    Partnered,
    /// All, with a flag.
    Marked,
}

/// The counters of a row: its weight, and that of its pairs.
type Count = [i64; 2];

const COUNTERS: [&str; 2] = ["weight", "pairs"];

impl Shown {
    /// How often a row stands in the output with this flag; rows that are not marked have the flag `false`.
    fn times(self, [weight, pairs]: Count, flag: bool) -> i64 {
        let stands = match self {
            Shown::Alone => !flag && pairs == 0,
            Shown::Partnered => !flag && pairs != 0,
            Shown::Marked => flag == (pairs != 0),
        };
        if stands { weight } else { 0 }
    }
}

/// A row that the output gets or loses.
struct Change {
    place: (usize, usize),
    flag: bool,
    weight: i64,
}

impl Partners {
    /// Of the left input, unless the kind does not ask for them.
    pub fn of_left(kind: JoinKind, schema: &SchemaRef, key: &[usize], closing: Option<Closing>) -> Option<Partners> {
        let shown = match kind {
            JoinKind::Inner => return None,
            JoinKind::Left | JoinKind::Full | JoinKind::Anti => Shown::Alone,
            JoinKind::Semi => Shown::Partnered,
            JoinKind::Mark => Shown::Marked,
        };
        Some(Partners::new(shown, "left partners", schema, key, 0, closing))
    }

    /// Of the right input, unless the kind does not ask for them. `start`: where its columns stand in a pair.
    pub fn of_right(
        kind: JoinKind,
        schema: &SchemaRef,
        key: &[usize],
        start: usize,
        closing: Option<Closing>,
    ) -> Option<Partners> {
        (kind == JoinKind::Full).then(|| Partners::new(Shown::Alone, "right partners", schema, key, start, closing))
    }

    fn new(
        shown: Shown,
        section: &'static str,
        schema: &SchemaRef,
        key: &[usize],
        start: usize,
        closing: Option<Closing>,
    ) -> Partners {
        let columns = start..start + schema.fields().len();
        let (schema, key) = (schema.clone(), key.to_vec());
        let (counts, expiry) = (Counts::default(), closing.map(Expiry::new));
        Partners { shown, section, schema, key, columns, counts, expiry, open: Vec::new() }
    }

    /// Counts changes of the input.
    pub fn count_rows(&mut self, delta: &Delta) -> Result<()> {
        self.count(delta.rows().clone(), |row, [weight, _]| *weight += delta.weight(row))
    }

    /// Counts changes of pairs.
    pub fn count_pairs(&mut self, pairs: &Delta) -> Result<()> {
        if pairs.is_empty() {
            return Ok(());
        }
        let rows = batch_of(&self.schema, pairs.rows().columns()[self.columns.clone()].to_vec(), pairs.len())?;
        self.count(rows, |row, [_, count]| *count += pairs.weight(row))
    }

    fn count(&mut self, rows: RecordBatch, mut change: impl FnMut(usize, &mut Count)) -> Result<()> {
        let ids: Vec<RowId> = ids_of(&rows, &self.key)?;
        ids.into_iter().enumerate().for_each(|(row, id)| change(row, self.counts.change(id, (self.open.len(), row))));
        self.open.push(rows);
        Ok(())
    }

    /// Ends the tick: emits for each row that was touched how its standing differs from before. `schema`: the output.
    pub fn emit(&mut self, schema: &SchemaRef, out: &mut Output) -> Result<()> {
        let (shown, mut changes) = (self.shown, Vec::new());
        let Partners { counts, expiry, open, .. } = self;
        counts.settle(|id, before, now, place| {
            if let Some(expiry) = expiry.as_mut().filter(|_| before == Count::default())
                && let Some(time) = time_of(times_of(&open[place.0], expiry.column()), place.1)
            {
                expiry.note(time, id);
            }
            for flag in [false, true] {
                let weight = shown.times(now, flag) - shown.times(before, flag);
                if weight != 0 {
                    changes.push(Change { place, flag, weight });
                }
            }
        });
        expiry.iter_mut().for_each(|expiry| expiry.forget(counts));
        let open = std::mem::take(open);
        let batches: Vec<_> = open.iter().collect();
        changes.chunks(PAIRS).try_for_each(|changes| {
            out.push(self.rows(schema, &batches, changes)?);
            Ok(())
        })
    }

    fn rows(&self, schema: &SchemaRef, batches: &[&RecordBatch], changes: &[Change]) -> Result<Delta> {
        let places: Vec<_> = changes.iter().map(|change| change.place).collect();
        let rows = interleave_rows(&self.schema, batches, &places, 0..self.columns.len())?;
        let column = |(at, field): (usize, &arrow::datatypes::FieldRef)| -> ArrayRef {
            match at.checked_sub(self.columns.start) {
                Some(own) if own < self.columns.len() => rows.column(own).clone(),
                _ if self.shown == Shown::Marked => {
                    Arc::new(changes.iter().map(|change| Some(change.flag)).collect::<BooleanArray>())
                }
                _ => new_null_array(field.data_type(), changes.len()),
            }
        };
        let columns = schema.fields().iter().enumerate().map(column).collect();
        let weights: Vec<i64> = changes.iter().map(|change| change.weight).collect();
        Ok(Delta::new(batch_of(schema, columns, changes.len())?, Weights::Each(weights.into())))
    }

    /// The watermark goes on.
    pub fn advance(&mut self, watermark: i64) {
        self.expiry.iter_mut().for_each(|expiry| expiry.advance(watermark));
    }

    pub fn snapshot(&self, to: &mut dyn StateWriter) -> Result<()> {
        self.counts.snapshot(self.section, COUNTERS, to)?;
        let times = self.times_section();
        self.expiry.as_ref().map_or(Ok(()), |expiry| expiry.snapshot(&times, &self.counts, to))
    }

    fn times_section(&self) -> String {
        format!("{} times", self.section)
    }

    pub fn restore(&mut self, from: &mut dyn StateReader, groups: &KeyGroupRange) -> Result<()> {
        self.counts.restore(self.section, from, groups)?;
        let times = self.times_section();
        self.expiry.as_mut().map_or(Ok(()), |expiry| expiry.restore(&times, from, groups))
    }

    pub fn size(&self) -> StateSize {
        let StateSize { rows, bytes } = self.counts.size();
        StateSize { rows, bytes: bytes + self.expiry.as_ref().map_or(0, Expiry::bytes) }
    }
}
