//! Window: each row with what functions over the ordered rows of its partition give for it.
//!
//! Stateful: the rows of each partition in order. At the end of a tick the functions are evaluated over the rows of
//! each changed partition as they were and as they are, by the very code that evaluates them in an ad-hoc query, and the
//! difference is emitted; nothing of the output is kept. A function that fails over a partition, as when a sum leaves
//! its type, gives a row error instead of the partition's rows until it does not. The rows of a partition go with their
//! retractions, or when the watermark says that no row can come or go that looks at them.
//!
//! Functions that look at no more than so many rows before and behind a row (`lag`, frames of ROWS) are evaluated only
//! there. With a reach of two rows and a change at x:
//!
//! ```text
//!   a b c [d e f g x h i j k] l m     what the change reaches: f g x h i; evaluated: what these look at, too
//! ```
//!
//! At the ends of such a stretch rows miss neighbours, and their results may be wrong; but they see the same rows before
//! and after, so that they are no difference.
//!
//! Sessions are evaluated where they change. A stretch goes as far as no gap separates rows, counting those that came as
//! well as those that went: so sessions that a row joins, and those into which one falls apart, are one stretch.

use super::expression::sql_error;
use crate::operator::{Operator, Output, SnapshotKind, StateReader, StateSize, StateWriter};
use crate::state::{Decoding, Format, Ordered, OrderedRow, Passed, Passing, Run, batch_of};
use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::{concat, concat_batches};
use arrow::datatypes::SchemaRef;
use datafusion::physical_expr::window::WindowExpr;
use millrace_ir::{Closing, Reach, SortColumn};
use millrace_types::{Delta, EventTime, KeyGroupRange, Result, SqlError, Tick, Weights};
use std::sync::Arc;

/// What a window computes: the fields of `ir::Window`, with the input's schema.
pub struct WindowOptions {
    pub input: SchemaRef,
    pub partition: Vec<usize>,
    pub order: Vec<SortColumn>,
    pub functions: Vec<Arc<dyn WindowExpr>>,
    pub reach: Reach,
    /// When a partition goes, by a column of it; or its rows, by the time that they are in the order of.
    pub closing: Option<Closing>,
    /// The columns of the input, then those of the functions.
    pub schema: SchemaRef,
}

/// Passes each row on with columns that depend on the rows of its partition.
pub struct Window {
    state: Ordered,
    functions: Functions,
    reach: Reach,
}

/// About how many rows are evaluated together.
const TOGETHER: usize = 8_192;

const SECTION: &str = "rows";

impl Window {
    /// A window over nothing yet.
    ///
    /// # Errors
    /// `0A000` for a column of a type without an order.
    pub fn new(options: WindowOptions) -> Result<Window> {
        let passing = options.closing.and_then(|closing| {
            let passed = match options.reach {
                _ if options.partition.contains(&closing.column) => Passed::Partition,
                Reach::Session(gap) => Passed::Sessions { gap },
                // Whatever is evaluated looks so far back.
                Reach::Rows(reach) => Passed::Rows(2 * reach),
                Reach::Partition => return None,
            };
            Some(Passing::new(passed, closing))
        });
        let state = Ordered::new(options.input, &options.partition, &options.order)?.passing(passing);
        let functions = Functions { functions: options.functions, schema: options.schema };
        Ok(Window { state, functions, reach: options.reach })
    }
}

impl Operator for Window {
    fn on_batch(&mut self, _port: usize, delta: Delta, _out: &mut Output) -> Result<()> {
        self.state.change(&delta, None, |_, _| true)
    }

    fn on_watermark(&mut self, _port: usize, watermark: EventTime, _out: &mut Output) -> Result<()> {
        self.state.advance(watermark.0);
        Ok(())
    }

    fn on_tick(&mut self, _tick: Tick, out: &mut Output) -> Result<()> {
        let Window { state, functions, reach } = self;
        let (mut before, mut after) = (Stretches::default(), Stretches::default());
        state.settle(
            |format, rows, changes| {
                let parts = match *reach {
                    Reach::Rows(reach) => rows.near(changes, 2 * reach),
                    Reach::Session(gap) => rows.in_sessions(changes, gap),
                    Reach::Partition => vec![rows.beside(changes)],
                };
                for part in parts {
                    for (row, was, is) in part {
                        before.push(row, was);
                        after.push(row, is);
                    }
                    before.end();
                    after.end();
                }
                match before.rows.len() + after.rows.len() < TOGETHER {
                    true => Ok(()),
                    false => functions.compare(format, &mut before, &mut after, out),
                }
            },
            None,
        )?;
        functions.compare(state.format(), &mut before, &mut after, out)
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

/// Rows of several partitions, or of parts of them, one after the other.
#[derive(Default)]
struct Stretches {
    rows: Decoding,
    ends: Vec<usize>,
}

impl Stretches {
    fn push(&mut self, row: &OrderedRow, copies: i64) {
        (0..copies).for_each(|_| self.rows.push(row));
    }

    fn end(&mut self) {
        if self.rows.len() > self.ends.last().copied().unwrap_or(0) {
            self.ends.push(self.rows.len());
        }
    }
}

/// The functions, and the columns that they make with the input's.
struct Functions {
    functions: Vec<Arc<dyn WindowExpr>>,
    schema: SchemaRef,
}

impl Functions {
    /// Emits how the output over the rows after differs from that over the rows before.
    fn compare(&self, format: &Format, before: &mut Stretches, after: &mut Stretches, out: &mut Output) -> Result<()> {
        let mut sides = Vec::with_capacity(2);
        for (stretches, weight) in [(before, -1), (after, 1)] {
            let stretches = std::mem::take(stretches);
            if !stretches.rows.is_empty() {
                let rows = self.evaluate(&format.decode(&stretches.rows)?, &stretches.ends, weight, out)?;
                let weights = Weights::Each(vec![weight; rows.num_rows()].into());
                sides.push(Delta::new(rows, weights));
            }
        }
        if let Some(run) = Run::of(&self.schema, &[], &sides)? {
            for chunk in run.chunks() {
                out.push(Delta::new(chunk.rows.clone(), Weights::Each(chunk.weights.clone())));
            }
        }
        Ok(())
    }

    /// The rows with the functions' columns. Stretches over which a function fails are reported and left out.
    fn evaluate(&self, rows: &RecordBatch, ends: &[usize], weight: i64, out: &mut Output) -> Result<RecordBatch> {
        let mut results: Vec<Vec<ArrayRef>> = vec![Vec::with_capacity(ends.len()); self.functions.len()];
        let (mut kept, mut failed) = (Vec::with_capacity(ends.len()), false);
        let mut start = 0;
        for &end in ends {
            let stretch = rows.slice(start, end - start);
            let values = self.functions.iter().map(|function| function.evaluate(&stretch).map_err(sql_error));
            match values.collect::<Result<Vec<ArrayRef>, SqlError>>() {
                Ok(values) => {
                    results.iter_mut().zip(values).for_each(|(results, value)| results.push(value));
                    kept.push(stretch);
                }
                Err(error) => {
                    out.row_error(error, weight);
                    failed = true;
                }
            }
            start = end;
        }
        let rows = if failed { concat_batches(&rows.schema(), &kept)? } else { rows.clone() };
        if rows.num_rows() == 0 {
            return Ok(RecordBatch::new_empty(self.schema.clone()));
        }
        let mut columns = rows.columns().to_vec();
        for results in results {
            columns.push(concat(&results.iter().map(|result| result.as_ref()).collect::<Vec<_>>())?);
        }
        batch_of(&self.schema, columns, rows.num_rows())
    }
}
