//! TopK: the rows of each partition whose number in an order is in a range.
//!
//! Stateful: the rows of each partition in order; over append-only input only those that can ever be asked for. At the
//! end of a tick the rows of each changed partition are walked once, as they were and as they are side by side, from the
//! first change to the end of the range, or until both sides count alike again; the rows that entered, left or changed
//! their number are emitted. So a row behind the range costs its insertion alone, whatever the size of the partition.
//! The rows of a partition go with their retractions, or when the watermark has passed the partition.
//!
//! ```text
//!   before   a b c | d e f         last = 3; x came, a went
//!   after    b x c | d e f         emitted: -a +x; with numbers also b and its new number
//! ```

use crate::operator::{Operator, Output, SnapshotKind, StateReader, StateSize, StateWriter};
use crate::state::{Change, Decoding, Format, Keep, Ordered, OrderedRow, Passed, Passing, Rows, batch_of};
use arrow::array::Int64Array;
use arrow::datatypes::SchemaRef;
use millrace_ir::{Closing, Ranking, SortColumn};
use millrace_types::{Delta, EventTime, KeyGroupRange, Result, Tick, Weights};
use std::ops::Range;
use std::sync::Arc;

/// What a top-k computes: the fields of `ir::TopK`, with the input's schema and whether it never retracts.
pub struct TopKOptions {
    pub input: SchemaRef,
    pub partition: Vec<usize>,
    pub order: Vec<SortColumn>,
    pub ranking: Ranking,
    pub skip: u64,
    pub last: Option<u64>,
    pub numbered: bool,
    pub append_only: bool,
    /// When a partition goes, by a column of it.
    pub closing: Option<Closing>,
    /// The columns of the input, then the number if there is one.
    pub schema: SchemaRef,
}

/// Passes on the rows of each partition that stand in a range of numbers.
pub struct TopK {
    state: Ordered,
    range: Numbers,
    append_only: bool,
    schema: SchemaRef,
}

const SECTION: &str = "rows";

/// The most rows of an emitted batch, nearly.
const EMITTED: usize = 8_192;

impl TopK {
    /// A top-k over nothing yet.
    ///
    /// # Errors
    /// `0A000` for a column of a type without an order.
    pub fn new(options: TopKOptions) -> Result<TopK> {
        let passing = options.closing.map(|closing| Passing::new(Passed::Partition, closing));
        let state = Ordered::new(options.input, &options.partition, &options.order)?.passing(passing);
        let range = Numbers {
            ranking: options.ranking,
            skip: i64::try_from(options.skip).unwrap_or(i64::MAX),
            last: options.last.map_or(i64::MAX, |last| i64::try_from(last).unwrap_or(i64::MAX)),
            numbered: options.numbered,
        };
        let append_only = options.append_only && options.last.is_some();
        Ok(TopK { state, range, append_only, schema: options.schema })
    }
}

impl Operator for TopK {
    fn on_batch(&mut self, _port: usize, delta: Delta, _out: &mut Output) -> Result<()> {
        let Numbers { ranking, last, .. } = self.range;
        let first = self.append_only.then(|| match ranking {
            Ranking::RowNumber | Ranking::Rank => usize::try_from(last).unwrap_or(usize::MAX),
            // That many rows may have fewer ranks.
            Ranking::DenseRank => usize::MAX,
        });
        // Behind the last row that is kept nothing can enter: what is before it never goes.
        self.state.change(&delta, first, |row, last| match ranking {
            Ranking::RowNumber => row.identity < last.identity,
            Ranking::Rank | Ranking::DenseRank => row.peers <= last.peers,
        })
    }

    fn on_watermark(&mut self, _port: usize, watermark: EventTime, _out: &mut Output) -> Result<()> {
        self.state.advance(watermark.0);
        Ok(())
    }

    fn on_tick(&mut self, _tick: Tick, out: &mut Output) -> Result<()> {
        let TopK { state, range, append_only, schema } = self;
        let mut emission = Emission::default();
        let keep = |rows: &Rows| range.kept(rows);
        let keep: Option<&Keep<'_>> = if *append_only { Some(&keep) } else { None };
        state.settle(
            |format, rows, changes| {
                range.compare(rows, changes, &mut emission);
                match emission.weights.len() < EMITTED {
                    true => Ok(()),
                    false => emission.send(format, range.numbered, schema, out),
                }
            },
            keep,
        )?;
        emission.send(state.format(), range.numbered, schema, out)
    }

    fn snapshot(&mut self, _kind: SnapshotKind, to: &mut dyn StateWriter) -> Result<()> {
        self.state.snapshot(SECTION, to)
    }

    fn restore(&mut self, from: &mut dyn StateReader, groups: KeyGroupRange) -> Result<()> {
        self.state.restore(SECTION, from, &groups)
    }

    fn state_size(&self) -> StateSize {
        self.state.size()
    }
}

/// Rows to be emitted.
#[derive(Default)]
struct Emission {
    rows: Decoding,
    numbers: Vec<i64>,
    weights: Vec<i64>,
}

impl Emission {
    fn push(&mut self, row: &OrderedRow, number: i64, weight: i64) {
        if weight != 0 {
            self.rows.push(row);
            self.numbers.push(number);
            self.weights.push(weight);
        }
    }

    /// Emits what was collected.
    fn send(&mut self, format: &Format, numbered: bool, schema: &SchemaRef, out: &mut Output) -> Result<()> {
        let Emission { rows, numbers, weights } = std::mem::take(self);
        if weights.is_empty() {
            return Ok(());
        }
        let mut columns = format.decode(&rows)?.columns().to_vec();
        if numbered {
            columns.push(Arc::new(Int64Array::from(numbers)));
        }
        let rows = batch_of(schema, columns, weights.len())?;
        out.push(Delta::new(rows, Weights::Each(weights.into())));
        Ok(())
    }
}

/// Which numbers pass.
#[derive(Clone, Copy)]
struct Numbers {
    ranking: Ranking,
    /// So many rows are left out first.
    skip: i64,
    /// The largest number that stays.
    last: i64,
    numbered: bool,
}

impl Numbers {
    /// Emits how the numbers of the first rows of a partition differ after the changes.
    fn compare(&self, rows: &Rows, changes: &[Change], out: &mut Emission) {
        let Some((first, _)) = changes.first() else { return };
        // Rows before the first change, and before its peers, keep their numbers.
        let (copies, mut walk) = match self.ranking {
            Ranking::RowNumber => rows.beside_from(first.view().identity, changes),
            Ranking::Rank => rows.beside_from(first.view().peers, changes),
            // How many ranks there are before is not known.
            Ranking::DenseRank => (0, rows.beside(changes)),
        };
        let (mut before, mut after) = (Counter::after(copies), Counter::after(copies));
        while !(before.is_past(self) && after.is_past(self)) {
            // Once both sides count alike, and nothing changes any more, so do all rows behind.
            if walk.is_unchanged() && before.counts_as(&after, self) {
                break;
            }
            let Some((row, was, is)) = walk.next() else { break };
            let (was, is) = (before.next(self, row, was), after.next(self, row, is));
            match (self.numbered, self.ranking) {
                (false, _) => out.push(row, 0, is.copies() - was.copies()),
                (true, Ranking::RowNumber) => {
                    was.numbers().filter(|number| !is.has(*number)).for_each(|number| out.push(row, number, -1));
                    is.numbers().filter(|number| !was.has(*number)).for_each(|number| out.push(row, number, 1));
                }
                (true, _) if was.first == is.first => out.push(row, is.first, is.copies() - was.copies()),
                (true, _) => {
                    out.push(row, was.first, -was.copies());
                    out.push(row, is.first, is.copies());
                }
            }
        }
    }

    /// How many of the rows can pass, if no row behind them can; `None` while there is room.
    fn kept(&self, rows: &Rows) -> Option<usize> {
        let mut counter = Counter::default();
        for (at, (row, weight)) in rows.iter().enumerate() {
            if counter.is_past(self) || counter.next(self, row, weight).first > self.last {
                return Some(at);
            }
        }
        let is_full = match self.ranking {
            Ranking::RowNumber | Ranking::Rank => counter.rows >= self.last,
            Ranking::DenseRank => counter.number >= self.last,
        };
        is_full.then(|| rows.len())
    }
}

/// Counts the rows of a partition in order.
#[derive(Default)]
struct Counter<'a> {
    rows: i64,
    /// The number of the peers at hand.
    number: i64,
    peers: Option<&'a [u8]>,
}

/// Copies of a row and their numbers.
#[derive(Clone)]
struct Numbered {
    /// The number of the first copy, and of all in a rank.
    first: i64,
    /// Those of the copies that pass, counted as rows.
    passing: Range<i64>,
}

impl<'a> Counter<'a> {
    /// Counts on from so many rows.
    fn after(rows: i64) -> Counter<'a> {
        Counter { rows, ..Counter::default() }
    }

    /// Whether rows have the same numbers here and there from now on.
    fn counts_as(&self, other: &Counter<'_>, range: &Numbers) -> bool {
        let alike = range.ranking == Ranking::RowNumber || (self.number, self.peers) == (other.number, other.peers);
        self.rows == other.rows && alike
    }

    /// Whether no further row passes.
    fn is_past(&self, range: &Numbers) -> bool {
        match range.ranking {
            Ranking::RowNumber => self.rows >= range.last,
            // Peers of a row at the end of the range pass with it.
            Ranking::Rank | Ranking::DenseRank => self.number > range.last,
        }
    }

    /// The numbers of the next row, which is there `weight` times.
    fn next(&mut self, range: &Numbers, row: &'a OrderedRow, weight: i64) -> Numbered {
        if weight <= 0 {
            return Numbered { first: 0, passing: 0..0 };
        }
        let start = self.rows + 1;
        self.rows = self.rows.saturating_add(weight);
        let peers = row.view().peers;
        if self.peers != Some(peers) {
            self.peers = Some(peers);
            self.number = if range.ranking == Ranking::DenseRank { self.number + 1 } else { start };
        }
        let copies = start.max(range.skip.saturating_add(1))..self.rows.saturating_add(1);
        match range.ranking {
            Ranking::RowNumber => {
                Numbered { first: start, passing: copies.start..copies.end.min(range.last.saturating_add(1)) }
            }
            _ if self.number > range.last => Numbered { first: self.number, passing: 0..0 },
            _ => Numbered { first: self.number, passing: copies },
        }
    }
}

impl Numbered {
    fn copies(&self) -> i64 {
        (self.passing.end - self.passing.start).max(0)
    }

    fn numbers(&self) -> Range<i64> {
        self.passing.clone()
    }

    fn has(&self, number: i64) -> bool {
        self.passing.contains(&number)
    }
}
