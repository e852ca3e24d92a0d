//! `min` and `max`: DataFusion's, but for floats per group, where NaN must stand above every number, and for intervals
//! and arrays, which are compared as Postgres does.

use super::collections::{MAX, MIN};
use super::gathered::{self, Definition};
use crate::error::carried;
use crate::function::no_such_function;
use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, PrimitiveArray};
use arrow::buffer::{NullBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, FieldRef, Float32Type, Float64Type};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, SetMonotonicity, Signature, StatisticsArgs,
};
use millrace_types::{SqlError, SqlState, SqlType, sql_type_of};
use std::sync::Arc;

/// One of the two.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Extreme {
    inner: Arc<AggregateUDF>,
    greatest: bool,
}

impl Extreme {
    /// Over DataFusion's function of the same name.
    pub fn new(inner: Arc<AggregateUDF>, greatest: bool) -> Extreme {
        Extreme { inner, greatest }
    }

    /// What computes it over values that are sorted; `None` where DataFusion's order is Postgres's.
    fn gathered(&self, argument: &DataType) -> Option<&'static Definition> {
        let sorts = matches!(argument, DataType::Interval(_) | DataType::List(_));
        sorts.then_some(if self.greatest { &MAX } else { &MIN })
    }
}

/// Whether Postgres knows no least and greatest of these.
fn is_unordered(sql_type: &SqlType) -> bool {
    matches!(sql_type, SqlType::Bool | SqlType::Json | SqlType::Jsonb)
}

impl AggregateUDFImpl for Extreme {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match types {
            [DataType::Utf8 | DataType::Null] => Ok(vec![DataType::Utf8View]),
            [one] if self.gathered(one).is_some() => Ok(types.to_vec()),
            [_] => self.inner.coerce_types(types),
            other => Ok(other.to_vec()),
        }
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [one] if self.gathered(one).is_some() => Ok(one.clone()),
            [_] => self.inner.return_type(types),
            other => Err(carried(no_such_function(self.name(), other))),
        }
    }

    fn return_field(&self, fields: &[FieldRef]) -> Result<FieldRef> {
        if fields.len() == 1 && is_unordered(&sql_type_of(&fields[0])) {
            let message = format!("function {}({}) does not exist", self.name(), sql_type_of(&fields[0]));
            return Err(carried(SqlError::new(SqlState::UNDEFINED_FUNCTION, message)));
        }
        if fields.len() == 1 && self.gathered(fields[0].data_type()).is_some() {
            return Ok(Arc::new(fields[0].as_ref().clone().with_name(self.name()).with_nullable(true)));
        }
        let result = self.return_type(&super::summed::types_of(fields))?;
        let field = fields[0].as_ref().clone().with_name(self.name()).with_data_type(result).with_nullable(true);
        // There is none of varchar: it is that of text.
        let is_varchar = matches!(sql_type_of(&field), SqlType::Varchar(_));
        Ok(Arc::new(if is_varchar { field.with_metadata(Default::default()) } else { field }))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        match self.gathered(args.input_fields[0].data_type()) {
            Some(_) => Ok(gathered::state_fields(&args)),
            None => self.inner.state_fields(args),
        }
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        match self.gathered(args.expr_fields[0].data_type()) {
            Some(definition) => gathered::accumulator(definition, &args, false),
            None => self.inner.accumulator(args),
        }
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        match self.gathered(args.expr_fields[0].data_type()) {
            Some(definition) => gathered::sliding(definition, &args, false),
            None => self.inner.create_sliding_accumulator(args),
        }
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        self.gathered(args.expr_fields[0].data_type()).is_some() || self.inner.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        if let Some(definition) = self.gathered(args.expr_fields[0].data_type()) {
            return Ok(gathered::groups(definition, &args, false)?);
        }
        match args.return_type() {
            DataType::Float32 => Ok(Box::new(Floats::<Float32Type>::new(self.greatest, f32::total_cmp))),
            DataType::Float64 => Ok(Box::new(Floats::<Float64Type>::new(self.greatest, f64::total_cmp))),
            _ => self.inner.create_groups_accumulator(args),
        }
    }

    fn is_descending(&self) -> Option<bool> {
        Some(self.greatest)
    }

    fn order_sensitivity(&self) -> datafusion::logical_expr::utils::AggregateOrderSensitivity {
        self.inner.order_sensitivity()
    }

    fn reverse_expr(&self) -> datafusion::logical_expr::ReversedUDAF {
        datafusion::logical_expr::ReversedUDAF::Identical
    }

    fn value_from_stats(&self, args: &StatisticsArgs) -> Option<ScalarValue> {
        self.inner.value_from_stats(args)
    }

    fn set_monotonicity(&self, data_type: &DataType) -> SetMonotonicity {
        self.inner.inner().set_monotonicity(data_type)
    }
}

type Order<N> = fn(&N, &N) -> std::cmp::Ordering;

/// The extreme float of each group. IEEE's total order puts a positive NaN, which is all we keep, at the top.
struct Floats<T: ArrowPrimitiveType> {
    values: Vec<T::Native>,
    seen: Vec<bool>,
    greatest: bool,
    order: Order<T::Native>,
}

impl<T: ArrowPrimitiveType> Floats<T> {
    fn new(greatest: bool, order: Order<T::Native>) -> Floats<T> {
        Floats { values: Vec::new(), seen: Vec::new(), greatest, order }
    }
}

impl<T: ArrowPrimitiveType> GroupsAccumulator for Floats<T> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.values.resize(total, T::Native::default());
        self.seen.resize(total, false);
        let values = values[0].as_primitive::<T>();
        for (row, group) in groups.iter().enumerate() {
            let wanted = filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
            if !wanted || values.is_null(row) {
                continue;
            }
            let value = values.value(row);
            if !self.seen[*group] || (self.order)(&value, &self.values[*group]).is_gt() == self.greatest {
                self.values[*group] = value;
                self.seen[*group] = true;
            }
        }
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let (values, seen) = (emit_to.take_needed(&mut self.values), emit_to.take_needed(&mut self.seen));
        Ok(Arc::new(PrimitiveArray::<T>::new(ScalarBuffer::from(values), Some(NullBuffer::from(seen)))))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.evaluate(emit_to)?])
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.update_batch(states, groups, None, total)
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let Some(filter) = filter else {
            return Ok(values.to_vec());
        };
        let excluded = arrow::compute::not(&arrow::compute::prep_null_mask_filter(filter))?;
        Ok(vec![arrow::compute::nullif(&values[0], &excluded)?])
    }

    fn size(&self) -> usize {
        self.values.capacity() * size_of::<T::Native>() + self.seen.capacity()
    }
}
