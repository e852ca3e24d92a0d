//! `sum` and `avg`: a total and a count per group.
//!
//! | argument | total | sum | avg |
//! |---|---|---|---|
//! | int2, int4 | i128 | Int64 | Decimal128(38, 20) |
//! | int8 | i128 | Decimal128(38, 0) | Decimal128(38, 19) |
//! | numeric(_, s) | i128 | Decimal128(38, s) | Decimal128(38, max(s, 20)) |
//! | float4 | [`FloatTotal`] | Float32 | Float64 |
//! | float8 | [`FloatTotal`] | Float64 | Float64 |
//! | interval | [`IntervalTotal`] | Interval | Interval |

use super::distinct::{self, Distinct};
use super::measures::{FloatTotal, IntervalTotal};
use super::single::{Retract, Single};
use super::summed::{Groups, types_of};
use crate::error::carried;
use crate::function::no_such_function;
use crate::operators::arithmetic::numeric_like;
use crate::operators::decimal::{overflow, scale_of, within};
use crate::operators::number::out_of_range;
use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, Int64Array, PrimitiveArray};
use arrow::buffer::{NullBuffer, ScalarBuffer};
use arrow::datatypes::*;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature, Volatility};
use millrace_types::numeric::{BIGINT_AVERAGE_SCALE, QUOTIENT_SCALE, quotient};
use std::sync::Arc;

/// `sum` or `avg`.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Total {
    mean: bool,
    signature: Signature,
}

impl Total {
    /// The sum of the arguments that are not NULL.
    pub fn sum() -> Total {
        Total { mean: false, signature: Signature::user_defined(Volatility::Immutable) }
    }

    /// Their mean.
    pub fn avg() -> Total {
        Total { mean: true, signature: Signature::user_defined(Volatility::Immutable) }
    }
}

/// Whether totals of this type are integers.
fn is_exact(argument: &DataType) -> bool {
    !(argument.is_floating() || matches!(argument, DataType::Interval(_)))
}

impl AggregateUDFImpl for Total {
    fn name(&self) -> &str {
        if self.mean { "avg" } else { "sum" }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        // Unfitting types stay as they are, so that the error of `return_type` is seen: one of here would come as text.
        Ok(self.argument(types).map_or_else(|_| types.to_vec(), |argument| vec![argument]))
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        let argument = self.argument(types)?;
        Ok(match (&argument, self.mean) {
            (DataType::Float32, false) => DataType::Float32,
            (DataType::Float32 | DataType::Float64, _) => DataType::Float64,
            (interval @ DataType::Interval(_), _) => interval.clone(),
            (DataType::Int16 | DataType::Int32, false) => DataType::Int64,
            (other, false) => DataType::Decimal128(38, scale_of(other)),
            (DataType::Int64, true) => DataType::Decimal128(38, BIGINT_AVERAGE_SCALE),
            (other, true) => DataType::Decimal128(38, scale_of(other).max(QUOTIENT_SCALE)),
        })
    }

    fn return_field(&self, fields: &[FieldRef]) -> Result<FieldRef> {
        let types: Vec<_> = fields.iter().map(|field| field.data_type().clone()).collect();
        let result = Field::new(self.name(), self.return_type(&types)?, true);
        Ok(Arc::new(numeric_like(fields, result)))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let argument = self.argument(&[args.input_fields[0].data_type().clone()])?;
        if args.is_distinct {
            return Ok(distinct::state_fields(args.name, &[argument]));
        }
        if !is_exact(&argument) {
            return Ok(vec![Field::new(format_state_name(args.name, "sums"), DataType::Binary, true).into()]);
        }
        let total_type = DataType::Decimal128(38, scale_of(&argument));
        let total = Field::new(format_state_name(args.name, "total"), total_type, true);
        let count = Field::new(format_state_name(args.name, "count"), DataType::Int64, false);
        Ok(vec![total.into(), count.into()])
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let arguments = types_of(args.expr_fields);
        let total = Single::new(self.groups(&arguments[0], args.return_type())?, &arguments)?;
        Ok(match args.is_distinct {
            true => Box::new(Distinct::new(Box::new(total), arguments)),
            false => Box::new(total),
        })
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        !args.is_distinct
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(self.groups(args.expr_fields[0].data_type(), args.return_type())?)
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        self.accumulator(args)
    }
}

impl Total {
    /// What the argument becomes.
    fn argument(&self, types: &[DataType]) -> Result<DataType> {
        use DataType::*;
        Ok(match types {
            [Int8 | Int16 | UInt8] => Int16,
            [Int32 | UInt16] => Int32,
            [Int64 | UInt32] => Int64,
            [UInt64] => Decimal128(20, 0),
            [Decimal32(p, s) | Decimal64(p, s) | Decimal128(p, s)] => Decimal128(*p, *s),
            [Decimal256(_, s)] => Decimal128(38, *s),
            [Float16 | Float32] => Float32,
            [Float64] => Float64,
            [Interval(_)] => Interval(IntervalUnit::MonthDayNano),
            [Null] => Int64,
            other => return Err(carried(no_such_function(self.name(), other))),
        })
    }

    fn groups(&self, argument: &DataType, result: &DataType) -> Result<Box<dyn Retract>> {
        let (mean, result) = (self.mean, result.clone());
        let scale = scale_of(argument);
        Ok(match self.argument(std::slice::from_ref(argument))? {
            DataType::Int16 => Box::new(Totals::<Int16Type, Decimal128Type>::new(mean, result, scale)),
            DataType::Int32 => Box::new(Totals::<Int32Type, Decimal128Type>::new(mean, result, scale)),
            DataType::Int64 => Box::new(Totals::<Int64Type, Decimal128Type>::new(mean, result, scale)),
            DataType::Float32 | DataType::Float64 if mean => {
                Groups::boxed(FloatTotal::default(), FloatTotal::mean, &result, 0)
            }
            DataType::Float32 | DataType::Float64 => Groups::boxed(FloatTotal::default(), FloatTotal::sum, &result, 0),
            DataType::Interval(_) if mean => Groups::boxed(IntervalTotal::default(), IntervalTotal::mean, &result, 0),
            DataType::Interval(_) => Groups::boxed(IntervalTotal::default(), IntervalTotal::sum, &result, 0),
            _ => Box::new(Totals::<Decimal128Type, Decimal128Type>::new(mean, result, scale)),
        })
    }
}

/// A type of totals: how a value joins one, and what the finished column is.
trait Sum<V>: ArrowPrimitiveType + Send {
    /// The total and the value, wrapped; whether it overflowed.
    fn join(total: &mut Self::Native, value: V) -> bool;
    /// The total without the value.
    fn leave(total: &mut Self::Native, value: V);
}

macro_rules! sums {
    ($total:ty: $($value:ty),*) => {$(
        impl Sum<$value> for $total {
            #[inline(always)]
            fn join(total: &mut Self::Native, value: $value) -> bool {
                let (sum, over) = total.overflowing_add(value.into());
                *total = sum;
                over
            }

            fn leave(total: &mut Self::Native, value: $value) {
                *total = total.wrapping_sub(value.into());
            }
        }
    )*};
}

sums!(Decimal128Type: i16, i32, i64, i128);

/// Makes the result column of totals.
trait Finish: ArrowPrimitiveType {
    fn finish(totals: Vec<Self::Native>, counts: &[i64], mean: bool, scale: i8, result: &DataType) -> Result<ArrayRef>;
}

fn nulls_of(counts: &[i64]) -> Option<NullBuffer> {
    Some(NullBuffer::from_iter(counts.iter().map(|count| *count > 0))).filter(|nulls| nulls.null_count() > 0)
}

impl Finish for Decimal128Type {
    fn finish(totals: Vec<i128>, counts: &[i64], mean: bool, scale: i8, result: &DataType) -> Result<ArrayRef> {
        let nulls = nulls_of(counts);
        if result == &DataType::Int64 {
            let narrow =
                totals.into_iter().map(|total| i64::try_from(total).map_err(|_| carried(out_of_range("bigint"))));
            let values = narrow.collect::<Result<Vec<_>>>()?;
            return Ok(Arc::new(Int64Array::new(ScalarBuffer::from(values), nulls)));
        }
        let places = scale_of(result);
        let one = |(total, count): (i128, &i64)| {
            let value = match mean && *count > 0 {
                true => quotient((i256::from_i128(total), scale), ((*count).into(), 0), places),
                false => within(total),
            };
            value.ok_or_else(|| carried(overflow()))
        };
        let values = totals.into_iter().zip(counts).map(one).collect::<Result<Vec<_>>>()?;
        let array = PrimitiveArray::<Decimal128Type>::new(ScalarBuffer::from(values), nulls);
        Ok(Arc::new(array.with_data_type(result.clone())))
    }
}

/// The totals of all groups: one vector of totals, one of counts.
struct Totals<V: ArrowPrimitiveType, T: ArrowPrimitiveType> {
    totals: Vec<T::Native>,
    counts: Vec<i64>,
    mean: bool,
    result: DataType,
    scale: i8,
    values: std::marker::PhantomData<fn(V)>,
}

impl<V, T> Totals<V, T>
where
    V: ArrowPrimitiveType,
    T: Sum<V::Native> + Sum<<T as ArrowPrimitiveType>::Native> + Finish,
{
    fn new(mean: bool, result: DataType, scale: i8) -> Totals<V, T> {
        Totals { totals: Vec::new(), counts: Vec::new(), mean, result, scale, values: std::marker::PhantomData }
    }

    fn grow(&mut self, groups: usize) {
        self.totals.resize(groups, T::Native::default());
        self.counts.resize(groups, 0);
    }

    fn take(&mut self, emit_to: EmitTo) -> (Vec<T::Native>, Vec<i64>) {
        (emit_to.take_needed(&mut self.totals), emit_to.take_needed(&mut self.counts))
    }

    /// Without NULLs and filter, one pass over two slices.
    fn dense(&mut self, values: &[V::Native], groups: &[usize]) -> bool {
        let mut over = false;
        for (value, group) in values.iter().zip(groups) {
            over |= T::join(&mut self.totals[*group], *value);
            self.counts[*group] += 1;
        }
        over
    }

    fn sparse(&mut self, values: &PrimitiveArray<V>, groups: &[usize], filter: Option<&BooleanArray>) -> bool {
        let mut over = false;
        for (row, group) in groups.iter().enumerate() {
            let wanted = filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
            if wanted && values.is_valid(row) {
                over |= T::join(&mut self.totals[*group], values.value(row));
                self.counts[*group] += 1;
            }
        }
        over
    }

    fn retract(&mut self, values: &PrimitiveArray<V>) {
        for value in values.iter().flatten() {
            T::leave(&mut self.totals[0], value);
            self.counts[0] -= 1;
        }
    }

    fn typed(&self, totals: Vec<T::Native>) -> PrimitiveArray<T> {
        let array = PrimitiveArray::<T>::new(ScalarBuffer::from(totals), None);
        match T::DATA_TYPE {
            DataType::Decimal128(..) => array.with_data_type(DataType::Decimal128(38, self.scale)),
            _ => array,
        }
    }
}

impl<V, T> Retract for Totals<V, T>
where
    V: ArrowPrimitiveType,
    T: Sum<V::Native> + Sum<<T as ArrowPrimitiveType>::Native> + Finish,
{
    fn leave(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.retract(values[0].as_primitive::<V>());
        Ok(())
    }

    fn value(&self) -> Result<ScalarValue> {
        let result = T::finish(vec![self.totals[0]], &self.counts[..1], self.mean, self.scale, &self.result)?;
        ScalarValue::try_from_array(&result, 0)
    }
}

impl<V, T> GroupsAccumulator for Totals<V, T>
where
    V: ArrowPrimitiveType,
    T: Sum<V::Native> + Sum<<T as ArrowPrimitiveType>::Native> + Finish,
{
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.grow(total);
        let values = values[0].as_primitive::<V>();
        let over = match (values.null_count(), filter) {
            (0, None) => self.dense(values.values(), groups),
            _ => self.sparse(values, groups, filter),
        };
        if over { Err(carried(overflow())) } else { Ok(()) }
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let (totals, counts) = self.take(emit_to);
        T::finish(totals, &counts, self.mean, self.scale, &self.result)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let (totals, counts) = self.take(emit_to);
        Ok(vec![Arc::new(self.typed(totals)), Arc::new(Int64Array::from(counts))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.grow(total);
        let (totals, counts) = (states[0].as_primitive::<T>(), states[1].as_primitive::<Int64Type>());
        let mut over = false;
        for (row, group) in groups.iter().enumerate() {
            if totals.is_valid(row) {
                over |= <T as Sum<T::Native>>::join(&mut self.totals[*group], totals.value(row));
                self.counts[*group] += counts.value(row);
            }
        }
        if over { Err(carried(overflow())) } else { Ok(()) }
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let values = values[0].as_primitive::<V>();
        let (mut totals, mut counts) = (vec![T::Native::default(); values.len()], vec![0i64; values.len()]);
        for row in 0..values.len() {
            let wanted = filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
            if wanted && values.is_valid(row) {
                T::join(&mut totals[row], values.value(row));
                counts[row] = 1;
            }
        }
        Ok(vec![Arc::new(self.typed(totals)), Arc::new(Int64Array::from(counts))])
    }

    fn size(&self) -> usize {
        self.totals.capacity() * size_of::<T::Native>() + self.counts.capacity() * size_of::<i64>()
    }
}
