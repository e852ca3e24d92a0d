//! Calls whose accumulators take values back: one accumulator for each group.
//!
//! In a tick a group's accumulator is given first all values that come and then all that go, so that it never loses
//! what it has not seen.

use super::extreme::{at_mut, forget_at};
use super::outcomes::Values;
use crate::operators::expression::{evaluate, sql_error};
use arrow::array::{ArrayRef, UInt32Array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::take;
use arrow::datatypes::{DataType, FieldRef};
use datafusion::logical_expr::Accumulator;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::scalar::ScalarValue;
use millrace_ir::Expr;
use millrace_types::{Delta, Result};
use std::sync::Arc;

/// The accumulators of all groups.
pub struct Folded {
    call: Arc<AggregateFunctionExpr>,
    accumulators: Vec<Option<Box<dyn Accumulator>>>,
}

impl Folded {
    /// No groups.
    pub fn new(call: Arc<AggregateFunctionExpr>) -> Folded {
        Folded { call, accumulators: Vec::new() }
    }

    /// What the call is given of each row.
    pub fn arguments(&self) -> Vec<Expr> {
        self.call.expressions()
    }

    /// Takes in the rows that count.
    pub fn update(&mut self, delta: &Delta, groups: &[u32], counted: Option<&BooleanBuffer>) -> Result<()> {
        let counts = |row: &usize| counted.is_none_or(|counted| counted.value(*row));
        let mut order: Vec<(u32, bool, u32)> = Vec::with_capacity(delta.len());
        for row in (0..delta.len()).filter(counts) {
            let weight = delta.weight(row);
            let copies = std::iter::repeat_n((groups[row], weight < 0, row as u32), weight.unsigned_abs() as usize);
            order.extend(copies);
        }
        // Stable: the values of a group stay in the order in which they came.
        order.sort_by_key(|(group, leaves, _)| (*group, *leaves));
        let places = UInt32Array::from_iter_values(order.iter().map(|(.., row)| *row));
        let arguments = self.arguments().iter().map(|one| evaluate(one, delta)).collect::<Result<Vec<_>>>()?;
        let arguments: Vec<_> = arguments.iter().map(|column| take(column, &places, None)).collect::<Result<_, _>>()?;
        let mut start = 0;
        for same in order.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)) {
            let values: Vec<_> = arguments.iter().map(|column| column.slice(start, same.len())).collect();
            start += same.len();
            let accumulator = self.accumulator(same[0].0)?;
            let taken = if same[0].1 { accumulator.retract_batch(&values) } else { accumulator.update_batch(&values) };
            taken.map_err(sql_error)?;
        }
        Ok(())
    }

    fn accumulator(&mut self, group: u32) -> Result<&mut Box<dyn Accumulator>> {
        let one = at_mut(&mut self.accumulators, group as usize);
        match one {
            Some(accumulator) => Ok(accumulator),
            None => Ok(one.insert(self.call.create_accumulator().map_err(sql_error)?)),
        }
    }

    /// What these groups come to.
    pub fn values(&mut self, groups: &[u32], output: &DataType) -> Result<Values> {
        let mut values = Values::none(output);
        let null = ScalarValue::try_from(output).map_err(sql_error)?;
        let mut scalars = Vec::with_capacity(groups.len());
        for (at, &group) in groups.iter().enumerate() {
            scalars.push(self.accumulator(group)?.evaluate().map_err(sql_error).unwrap_or_else(|error| {
                values.failures.insert(at as u32, error);
                null.clone()
            }));
        }
        if !scalars.is_empty() {
            values.column = ScalarValue::iter_to_array(scalars).map_err(sql_error)?;
        }
        Ok(values)
    }

    /// Forgets a group that is gone.
    pub fn forget(&mut self, group: usize) {
        forget_at(&mut self.accumulators, group);
    }

    /// The bytes of memory, nearly.
    pub fn bytes(&self) -> usize {
        self.accumulators.iter().flatten().map(|one| one.size()).sum()
    }

    /// The columns in which a snapshot keeps an accumulator.
    pub fn state_fields(&self) -> Result<Vec<FieldRef>> {
        self.call.state_fields().map_err(sql_error)
    }

    /// The states of these groups, a column for each of [`state_fields`](Folded::state_fields).
    pub fn states(&mut self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        let mut columns = vec![Vec::with_capacity(groups.len()); self.state_fields()?.len()];
        for &group in groups {
            let state = self.accumulator(group)?.state().map_err(sql_error)?;
            columns.iter_mut().zip(state).for_each(|(column, value)| column.push(value));
        }
        columns.into_iter().map(|column| ScalarValue::iter_to_array(column).map_err(sql_error)).collect()
    }

    /// Takes back a state of a group.
    pub fn restore(&mut self, group: u32, state: &[ArrayRef]) -> Result<()> {
        self.accumulator(group)?.merge_batch(state).map_err(sql_error)
    }
}
