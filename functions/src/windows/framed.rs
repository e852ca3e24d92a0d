//! Aggregates and values of a frame from which rows are excluded.
//!
//! The frame of a row is at most three stretches of its partition: what is before the excluded rows, the row itself if
//! only its peers are excluded, and what is behind. An aggregate takes them anew for each row whose stretches are others
//! than those of the row before, since what is excluded is not what was added first.

use super::Exclusion;
use crate::error::carried;
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, UInt64Array, new_empty_array};
use arrow::compute::{SortOptions, filter, partition, take};
use arrow::datatypes::{DataType, FieldRef, Int64Type, Schema};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::function::{AccumulatorArgs, PartitionEvaluatorArgs, WindowUDFFieldArgs};
use datafusion::logical_expr::window_state::WindowFrameContext;
use datafusion::logical_expr::{
    AggregateUDF, LimitEffect, PartitionEvaluator, Signature, Volatility, WindowFrame, WindowFunctionDefinition,
    WindowUDF, WindowUDFImpl,
};
use datafusion::physical_expr::PhysicalExpr;
use millrace_types::{SqlError, SqlState};
use std::ops::Range;
use std::sync::Arc;

/// What is computed over frames.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum FrameFunction {
    Aggregate(Arc<AggregateUDF>),
    First,
    Last,
    /// The value of the row with a number from 1, which each row says for itself.
    Nth,
}

impl FrameFunction {
    /// The function of a call, if it looks at frames.
    pub fn of(function: &WindowFunctionDefinition) -> Option<FrameFunction> {
        match function {
            WindowFunctionDefinition::AggregateUDF(function) => Some(FrameFunction::Aggregate(function.clone())),
            WindowFunctionDefinition::WindowUDF(function) => match function.name() {
                "first_value" => Some(FrameFunction::First),
                "last_value" => Some(FrameFunction::Last),
                "nth_value" => Some(FrameFunction::Nth),
                _ if FrameFunction::is_counted(function) => Some(FrameFunction::Nth),
                _ => None,
            },
        }
    }

    /// Whether this is `nth_value` with a number that is no constant.
    pub fn is_counted(function: &WindowUDF) -> bool {
        super::COUNTED.contains(&("nth_value", function.name()))
    }
}

/// A function over frames as a window function over partitions. Its arguments are those of the function, the filter if
/// there is one, and what the window is ordered by.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Framed {
    function: FrameFunction,
    frame: WindowFrame,
    exclusion: Exclusion,
    arguments: usize,
    filtered: bool,
    options: Vec<SortOptions>,
    result: FieldRef,
    signature: Signature,
}

impl Framed {
    pub(super) fn new(
        function: FrameFunction,
        frame: WindowFrame,
        exclusion: Exclusion,
        arguments: usize,
        filtered: bool,
        options: Vec<SortOptions>,
        result: FieldRef,
    ) -> Framed {
        let signature = Signature::variadic_any(Volatility::Immutable);
        Framed { function, frame, exclusion, arguments, filtered, options, result, signature }
    }

    /// The frame that a window function looks at by itself; `None` for others.
    pub fn frame_of(function: &WindowUDF) -> Option<&WindowFrame> {
        function.inner().downcast_ref::<Framed>().map(|framed| &framed.frame)
    }
}

impl WindowUDFImpl for Framed {
    fn name(&self) -> &str {
        match &self.function {
            FrameFunction::Aggregate(function) => function.name(),
            FrameFunction::First => "first_value",
            FrameFunction::Last => "last_value",
            FrameFunction::Nth => "nth_value",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn partition_evaluator(&self, args: PartitionEvaluatorArgs) -> Result<Box<dyn PartitionEvaluator>> {
        Ok(Box::new(Evaluator {
            function: self.function.clone(),
            frame: Arc::new(self.frame.clone()),
            exclusion: self.exclusion,
            filtered: self.filtered,
            options: self.options.clone(),
            result: self.result.clone(),
            arguments: args.input_exprs()[..self.arguments].to_vec(),
            fields: args.input_fields()[..self.arguments].to_vec(),
        }))
    }

    fn field(&self, args: WindowUDFFieldArgs) -> Result<FieldRef> {
        Ok(Arc::new(self.result.as_ref().clone().with_name(args.name())))
    }

    fn limit_effect(&self, _: &[Arc<dyn PhysicalExpr>]) -> LimitEffect {
        LimitEffect::Unknown
    }
}

#[derive(Debug)]
struct Evaluator {
    function: FrameFunction,
    frame: Arc<WindowFrame>,
    exclusion: Exclusion,
    filtered: bool,
    options: Vec<SortOptions>,
    result: FieldRef,
    arguments: Vec<Arc<dyn PhysicalExpr>>,
    fields: Vec<FieldRef>,
}

/// The stretches of a partition that are the frame of a row.
type Stretches = [Range<usize>; 3];

impl PartitionEvaluator for Evaluator {
    fn evaluate_all(&mut self, values: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
        if rows == 0 {
            return Ok(new_empty_array(self.result.data_type()));
        }
        let (arguments, rest) = values.split_at(self.arguments.len());
        let (conditions, order) = rest.split_at(usize::from(self.filtered));
        let frames = self.frames(order, rows)?;
        match &self.function {
            FrameFunction::Aggregate(function) => {
                self.aggregated(function, arguments, conditions.first().map(|array| array.as_boolean()), &frames)
            }
            FrameFunction::First => Ok(take(&arguments[0], &places(&frames, |_| Ok(Some(1)))?, None)?),
            FrameFunction::Last => {
                let last = |row: usize| Ok(Some(count(&frames[row]).max(1)));
                Ok(take(&arguments[0], &places(&frames, last)?, None)?)
            }
            FrameFunction::Nth => {
                let numbers = arrow::compute::cast(&arguments[1], &DataType::Int64)?;
                let numbers = numbers.as_primitive::<Int64Type>();
                let nth = |row: usize| numbers.is_valid(row).then(|| place(numbers.value(row))).transpose();
                Ok(take(&arguments[0], &places(&frames, nth)?, None)?)
            }
        }
    }
}

impl Evaluator {
    fn frames(&self, order: &[ArrayRef], rows: usize) -> Result<Vec<Stretches>> {
        let peers = self.peers(order, rows)?;
        let mut context = WindowFrameContext::new(self.frame.clone(), self.options.clone());
        let mut range = 0..0;
        let mut frames = Vec::with_capacity(rows);
        for (row, peers) in peers.into_iter().enumerate() {
            range = context.calculate_range(order, &range, rows, row)?;
            let (behind, before, kept) = match self.exclusion {
                Exclusion::NoOthers => (rows, rows, 0..0),
                Exclusion::CurrentRow => (row, row + 1, 0..0),
                Exclusion::Group => (peers.start, peers.end, 0..0),
                Exclusion::Ties => (peers.start, peers.end, row..row + 1),
            };
            let within = |part: Range<usize>| {
                let (start, end) = (part.start.max(range.start), part.end.min(range.end));
                start..end.max(start)
            };
            frames.push([within(0..behind), within(kept), within(before..rows)]);
        }
        Ok(frames)
    }

    /// For each row, those that the order leaves equal to it.
    fn peers(&self, order: &[ArrayRef], rows: usize) -> Result<Vec<Range<usize>>> {
        if order.is_empty() || !matches!(self.exclusion, Exclusion::Group | Exclusion::Ties) {
            return Ok(vec![0..rows; rows]);
        }
        let groups = partition(order)?.ranges();
        Ok(groups.into_iter().flat_map(|group| std::iter::repeat_n(group.clone(), group.len())).collect())
    }

    fn aggregated(
        &self,
        function: &AggregateUDF,
        arguments: &[ArrayRef],
        condition: Option<&BooleanArray>,
        frames: &[Stretches],
    ) -> Result<ArrayRef> {
        let schema = Schema::new(self.fields.clone());
        let mut values: Vec<ScalarValue> = Vec::with_capacity(frames.len());
        for (row, frame) in frames.iter().enumerate() {
            if row > 0 && frames[row - 1] == *frame {
                values.push(values[row - 1].clone());
                continue;
            }
            let mut accumulator = function.accumulator(AccumulatorArgs {
                return_field: self.result.clone(),
                schema: &schema,
                ignore_nulls: false,
                order_bys: &[],
                is_reversed: false,
                name: function.name(),
                is_distinct: false,
                exprs: &self.arguments,
                expr_fields: &self.fields,
            })?;
            for stretch in frame.iter().filter(|stretch| !stretch.is_empty()) {
                let columns = arguments.iter().map(|column| {
                    let column = column.slice(stretch.start, stretch.len());
                    match condition {
                        Some(condition) => filter(&column, &condition.slice(stretch.start, stretch.len())),
                        None => Ok(column),
                    }
                });
                let columns = columns.collect::<std::result::Result<Vec<_>, _>>()?;
                accumulator.update_batch(&columns)?;
            }
            values.push(accumulator.evaluate()?);
        }
        ScalarValue::iter_to_array(values)
    }
}

fn count(frame: &Stretches) -> u64 {
    frame.iter().map(|stretch| stretch.len() as u64).sum()
}

fn place(number: i64) -> Result<u64> {
    match u64::try_from(number) {
        Ok(number) if number > 0 => Ok(number),
        _ => {
            let message = "argument of nth_value must be greater than zero";
            Err(carried(SqlError::new(SqlState::INVALID_ARGUMENT_FOR_NTH_VALUE, message)))
        }
    }
}

/// For each row, the place in the partition of the row of its frame with a number from 1.
fn places(frames: &[Stretches], number: impl Fn(usize) -> Result<Option<u64>>) -> Result<UInt64Array> {
    let place = |(row, frame): (usize, &Stretches)| {
        let Some(mut left) = number(row)? else { return Ok(None) };
        for stretch in frame {
            if left <= stretch.len() as u64 {
                return Ok(Some(stretch.start as u64 + left - 1));
            }
            left -= stretch.len() as u64;
        }
        Ok(None)
    };
    frames.iter().enumerate().map(place).collect()
}
