//! Calls that must see all rows of a group again when one of them changes: the rows of all groups, arranged by group.
//!
//! At the end of a tick the groups that changed are computed from their rows as they were and as they are, by the same
//! accumulators as in a query that is run once. What a group came to is not kept: it is computed again when it is to be
//! retracted. All calls of an aggregate share the rows.

use super::changes::Changes;
use super::outcomes::{Outcomes, Values};
use crate::operator::{StateReader, StateSize, StateWriter};
use crate::operators::expression::sql_error;
use crate::state::{Arrangement, Backlog, Probe};
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::{cast, concat, filter};
use arrow::datatypes::{DataType, Schema};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::EmitTo;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::scalar::ScalarValue;
use millrace_ir::Expr;
use millrace_types::{KeyGroupRange, Result};
use std::collections::BTreeSet;
use std::sync::Arc;

/// How many groups are computed together.
const BLOCK: usize = 4_096;

/// The rows, and the calls over them.
pub struct Gathered {
    /// The columns of the input that are kept: the keys, then what the calls read.
    columns: Vec<usize>,
    rows: Arrangement,
    /// The rows by the key that says when they go, if one does.
    backlog: Option<Backlog>,
    calls: Vec<Call>,
}

/// A call over the kept columns.
struct Call {
    function: Arc<AggregateFunctionExpr>,
    /// What it is given of each row: arguments, then what orders them.
    arguments: Vec<Expr>,
    filter: Option<usize>,
    output: DataType,
}

impl Gathered {
    /// The calls among `aggregates` that keep rows; `None` when there are none. The input must be partitioned by exactly
    /// `keys`. `closing`: the one of them that says when rows go.
    pub fn new(
        input: &Schema,
        keys: &[usize],
        aggregates: &[millrace_ir::Aggregate],
        closing: Option<usize>,
    ) -> Result<Option<Gathered>> {
        let mut calls = Vec::new();
        let mut read = BTreeSet::new();
        for aggregate in aggregates.iter().filter(|aggregate| aggregate.function.keeps_rows()) {
            let millrace_ir::AggregateFunction::Call(function) = &aggregate.function else { continue };
            let all = function.all_expressions();
            let arguments: Vec<Expr> = all.args.into_iter().chain(all.order_by_exprs).collect();
            read.extend(arguments.iter().flat_map(collect_columns).map(|column| column.index()));
            read.extend(aggregate.filter);
            let output = aggregate.output.data_type().clone();
            calls.push(Call { function: function.clone(), arguments, filter: aggregate.filter, output });
        }
        if calls.is_empty() {
            return Ok(None);
        }
        let mut columns = keys.to_vec();
        columns.extend(read.into_iter().filter(|column| !keys.contains(column)));
        for call in &mut calls {
            call.place(&columns)?;
        }
        let rows = Arrangement::new(Arc::new(input.project(&columns)?), (0..keys.len()).collect());
        Ok(Some(Gathered { columns, rows, backlog: closing.map(Backlog::new), calls }))
    }

    /// Takes in the changes of a tick; answers what became of each call for the groups with these `keys`, which are all
    /// that changed, as many as `groups`.
    pub fn change(&mut self, changes: Option<&Changes>, keys: &[ArrayRef], groups: usize) -> Result<Vec<Outcomes>> {
        let before = self.values(keys, groups)?;
        if let Some(changes) = changes {
            let delta = changes.delta.project(&self.columns)?;
            self.backlog.iter_mut().for_each(|backlog| backlog.note(delta.rows()));
            self.rows.append(&delta)?;
        }
        let now = self.values(keys, groups)?;
        before.into_iter().zip(now).map(|(before, now)| Outcomes::new(before, now)).collect()
    }

    /// Drops the rows of groups whose time is not after `passed`, when they are many.
    pub fn drop_until(&mut self, passed: i64) -> Result<()> {
        let Some(backlog) = &mut self.backlog else { return Ok(()) };
        if backlog.pass(passed) { self.rows.drop_until(backlog.column(), passed) } else { Ok(()) }
    }

    /// What each call comes to for groups with these keys.
    fn values(&self, keys: &[ArrayRef], groups: usize) -> Result<Vec<Values>> {
        let mut pieces: Vec<Vec<ArrayRef>> = vec![Vec::new(); self.calls.len()];
        let mut values: Vec<_> = self.calls.iter().map(|call| Values::none(&call.output)).collect();
        for start in (0..groups).step_by(BLOCK) {
            let count = BLOCK.min(groups - start);
            let keys = keys.iter().map(|key| key.slice(start, count)).collect();
            let (slots, rows) = self.rows_of(keys, count)?;
            for (at, call) in self.calls.iter().enumerate() {
                let piece = call.values(&rows, &slots, count)?;
                let failures = piece.failures.into_iter().map(|(slot, error)| (slot + start as u32, error));
                values[at].failures.extend(failures);
                pieces[at].push(piece.column);
            }
        }
        for (values, pieces) in values.iter_mut().zip(pieces).filter(|(_, pieces)| !pieces.is_empty()) {
            values.column = concat(&pieces.iter().map(|piece| piece.as_ref()).collect::<Vec<_>>())?;
        }
        Ok(values)
    }

    /// The rows of these groups, each as often as it is there, with the places of their groups in ascending order.
    fn rows_of(&self, keys: Vec<ArrayRef>, groups: usize) -> Result<(Vec<usize>, RecordBatch)> {
        let schema = self.rows.schema();
        let nulls_match = vec![true; keys.len()];
        let mut probe = Probe::new(self.rows.runs(), self.rows.key(), keys, groups, &nulls_match)?;
        let Some(matches) = probe.next_matches(usize::MAX)? else {
            return Ok((Vec::new(), RecordBatch::new_empty(schema.clone())));
        };
        let (probed, weights, rows) = matches.net(schema)?;
        let mut order: Vec<u32> = Vec::with_capacity(rows.num_rows());
        for (row, &weight) in weights.iter().enumerate() {
            order.extend(std::iter::repeat_n(row as u32, weight.max(0) as usize));
        }
        let slots = order.iter().map(|&row| probed[row as usize] as usize).collect();
        let rows = match weights.iter().all(|&weight| weight == 1) {
            true => rows,
            false => crate::state::take_rows(schema, &rows, order.into_iter())?,
        };
        Ok((slots, rows))
    }

    /// Writes the rows.
    pub fn snapshot(&self, to: &mut dyn StateWriter) -> Result<()> {
        self.rows.snapshot("rows", to)
    }

    /// Takes back the rows that belong to `groups`.
    pub fn restore(&mut self, from: &mut dyn StateReader, groups: &KeyGroupRange) -> Result<()> {
        self.rows.restore("rows", from, groups)?;
        if let Some(backlog) = &mut self.backlog {
            self.rows.runs().flat_map(|run| run.chunks()).for_each(|chunk| backlog.note(&chunk.rows));
        }
        Ok(())
    }

    /// How much it keeps.
    pub fn size(&self) -> StateSize {
        self.rows.size()
    }
}

impl Call {
    /// Makes it read the kept columns instead of those of the input.
    fn place(&mut self, columns: &[usize]) -> Result<()> {
        let place = |column: usize| columns.iter().position(|kept| *kept == column);
        self.filter = self.filter.and_then(place);
        for argument in &mut self.arguments {
            let placed = argument.clone().transform(|expr| {
                Ok(match expr.downcast_ref::<Column>().map(|column| (column.name(), place(column.index()))) {
                    Some((name, Some(at))) => Transformed::yes(Arc::new(Column::new(name, at)) as Expr),
                    _ => Transformed::no(expr),
                })
            });
            *argument = placed.map_err(sql_error)?.data;
        }
        Ok(())
    }

    /// The values of `groups` groups from their rows; `slots` are the places of the rows' groups, ascending.
    fn values(&self, rows: &RecordBatch, slots: &[usize], groups: usize) -> Result<Values> {
        let arguments = self.arguments.iter().map(|argument| {
            let value = argument.evaluate(rows).map_err(sql_error)?;
            value.into_array(rows.num_rows()).map_err(sql_error)
        });
        let arguments = arguments.collect::<Result<Vec<_>>>()?;
        let filter = self.filter.map(|column| rows.column(column).as_boolean());
        if self.function.groups_accumulator_supported()
            && let Ok(column) = self.values_at_once(&arguments, filter, slots, groups)
        {
            return Ok(Values { column: self.typed(column)?, ..Values::none(&self.output) });
        }
        self.values_by_group(arguments, filter, slots, groups)
    }

    fn values_at_once(
        &self,
        arguments: &[ArrayRef],
        filter: Option<&BooleanArray>,
        slots: &[usize],
        groups: usize,
    ) -> Result<ArrayRef> {
        let mut accumulator = self.function.create_groups_accumulator().map_err(sql_error)?;
        accumulator.update_batch(arguments, slots, filter, groups).map_err(sql_error)?;
        accumulator.evaluate(EmitTo::All).map_err(sql_error)
    }

    /// One group after the other: where a value cannot be given, the others still can.
    fn values_by_group(
        &self,
        arguments: Vec<ArrayRef>,
        wanted: Option<&BooleanArray>,
        slots: &[usize],
        groups: usize,
    ) -> Result<Values> {
        let (arguments, slots) = match wanted {
            None => (arguments, slots.iter().map(|&slot| slot as u32).collect::<UInt32Array>()),
            Some(wanted) => {
                let slots = slots.iter().map(|&slot| slot as u32).collect::<UInt32Array>();
                let kept = filter(&slots, wanted)?;
                let arguments = arguments.iter().map(|column| filter(column, wanted)).collect::<Result<_, _>>()?;
                (arguments, kept.as_primitive().clone())
            }
        };
        let slots: &[u32] = slots.values();
        let mut values = Values::none(&self.output);
        let null = ScalarValue::try_from(&self.output).map_err(sql_error)?;
        let (mut scalars, mut start) = (Vec::with_capacity(groups), 0);
        for group in 0..groups as u32 {
            let count = slots[start..].iter().take_while(|&&slot| slot == group).count();
            let rows: Vec<_> = arguments.iter().map(|column| column.slice(start, count)).collect();
            start += count;
            scalars.push(self.value(&rows).unwrap_or_else(|error| {
                values.failures.insert(group, error);
                null.clone()
            }));
        }
        if !scalars.is_empty() {
            values.column = self.typed(ScalarValue::iter_to_array(scalars).map_err(sql_error)?)?;
        }
        Ok(values)
    }

    fn value(&self, arguments: &[ArrayRef]) -> Result<ScalarValue> {
        let mut accumulator = self.function.create_accumulator().map_err(sql_error)?;
        if arguments.first().is_some_and(|column| !column.is_empty()) {
            accumulator.update_batch(arguments).map_err(sql_error)?;
        }
        accumulator.evaluate().map_err(sql_error)
    }

    fn typed(&self, column: ArrayRef) -> Result<ArrayRef> {
        if column.data_type() == &self.output { Ok(column) } else { Ok(cast(&column, &self.output)?) }
    }
}
