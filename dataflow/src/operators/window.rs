//! Window: each row with what functions over the ordered rows of its partition give for it.
//!
//! Stateful: the rows of each partition in order. At the end of a tick the functions are evaluated over the rows of
//! each changed partition as they were and as they are, by the very code that evaluates them in an ad-hoc query, and the
//! difference is emitted; nothing of the output is kept. A function that fails over a partition, as when a sum leaves
//! its type, gives a row error instead of the partition's rows until it does not. The rows of a partition go with their
//! retractions.

use super::expression::sql_error;
use crate::operator::{Operator, Output, SnapshotKind, StateReader, StateSize, StateWriter};
use crate::state::{Change, Decoding, Format, Ordered, Rows, Run, batch_of};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::physical_expr::window::WindowExpr;
use millrace_ir::SortColumn;
use millrace_types::{Delta, KeyGroupRange, Result, Tick, Weights};
use std::sync::Arc;

/// What a window computes: the fields of `ir::Window`, with the input's schema.
pub struct WindowOptions {
    pub input: SchemaRef,
    pub partition: Vec<usize>,
    pub order: Vec<SortColumn>,
    pub functions: Vec<Arc<dyn WindowExpr>>,
    /// The columns of the input, then those of the functions.
    pub schema: SchemaRef,
}

/// Passes each row on with columns that depend on the rows of its partition.
pub struct Window {
    state: Ordered,
    functions: Functions,
}

const SECTION: &str = "rows";

impl Window {
    /// A window over nothing yet.
    ///
    /// # Errors
    /// `0A000` for a column of a type without an order.
    pub fn new(options: WindowOptions) -> Result<Window> {
        let state = Ordered::new(options.input, &options.partition, &options.order)?;
        Ok(Window { state, functions: Functions { functions: options.functions, schema: options.schema } })
    }
}

impl Operator for Window {
    fn on_batch(&mut self, _port: usize, delta: Delta, _out: &mut Output) -> Result<()> {
        self.state.change(&delta, |_, _| true)
    }

    fn on_tick(&mut self, _tick: Tick, out: &mut Output) -> Result<()> {
        let Window { state, functions } = self;
        let mut emitted = Vec::new();
        state.settle(|format, rows, changes| functions.compare(format, rows, changes, &mut emitted, out), None)?;
        emitted.into_iter().for_each(|delta| out.push(delta));
        Ok(())
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

/// The functions, and the columns that they make with the input's.
struct Functions {
    functions: Vec<Arc<dyn WindowExpr>>,
    schema: SchemaRef,
}

impl Functions {
    /// Emits how the output of a partition differs after the changes.
    fn compare(
        &self,
        format: &Format,
        rows: &Rows,
        changes: &[Change],
        emitted: &mut Vec<Delta>,
        out: &mut Output,
    ) -> Result<()> {
        let (mut before, mut after) = (Decoding::default(), Decoding::default());
        for (row, was, is) in rows.beside(changes) {
            (0..was).for_each(|_| before.push(row));
            (0..is).for_each(|_| after.push(row));
        }
        let mut sides = Vec::with_capacity(2);
        for (rows, weight) in [(before, -1), (after, 1)] {
            if rows.is_empty() {
                continue;
            }
            match self.evaluate(&format.decode(&rows)?) {
                Ok(rows) => {
                    let weights = Weights::Each(vec![weight; rows.num_rows()].into());
                    sides.push(Delta::new(rows, weights));
                }
                Err(error) => out.row_error(error, weight),
            }
        }
        if let Some(run) = Run::of(&self.schema, &[], &sides)? {
            let deltas = run
                .chunks()
                .iter()
                .map(|chunk| Delta::new(chunk.rows.clone(), Weights::Each(chunk.weights.clone().into())));
            emitted.extend(deltas);
        }
        Ok(())
    }

    /// The rows of a partition with the functions' columns.
    fn evaluate(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let mut columns = rows.columns().to_vec();
        for function in &self.functions {
            columns.push(function.evaluate(rows).map_err(sql_error)?);
        }
        batch_of(&self.schema, columns, rows.num_rows())
    }
}
