//! Sessions: rows of a partition of which each is at most a gap after the one before.

use super::{Side, in_micros, missing, moment_type, not_constant, unnamed};
use crate::error::carried;
use crate::temporal::out_of_range;
use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray};
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::{DataType, Field, FieldRef, IntervalMonthDayNanoType, TimestampMicrosecondType};
use datafusion::common::{DataFusionError, ScalarValue};
use datafusion::logical_expr::function::{PartitionEvaluatorArgs, WindowUDFFieldArgs};
use datafusion::logical_expr::{
    ColumnarValue, Expr, LimitEffect, PartitionEvaluator, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility, WindowUDF, WindowUDFImpl,
};
use datafusion::physical_expr::PhysicalExpr;
use millrace_types::{Result, SqlError, SqlState, SqlType};
use std::sync::{Arc, LazyLock};

/// The functions of sessions over rows of a partition ordered by time: `session_start(ts, gap) OVER (...)`.
pub fn window_functions() -> Vec<Arc<WindowUDF>> {
    vec![Sessions::function(Side::Start), Sessions::function(Side::End)]
}

/// The same as keys of a GROUP BY, for which the other keys are the partition. No identifier of a user holds their
/// names.
pub fn functions() -> Vec<ScalarUDF> {
    [Side::Start, Side::End].map(|side| ScalarUDF::from(SessionKey { side, signature: signature() })).into()
}

fn signature() -> Signature {
    Signature::user_defined(Volatility::Immutable)
}

/// What the window functions of sessions have in common.
pub struct Sessions;

impl Sessions {
    /// The window function of one side.
    pub fn function(side: Side) -> Arc<WindowUDF> {
        static BOTH: LazyLock<[Arc<WindowUDF>; 2]> = LazyLock::new(|| {
            [Side::Start, Side::End].map(|side| Arc::new(WindowUDF::from(Session { side, signature: signature() })))
        });
        BOTH[usize::from(side == Side::End)].clone()
    }

    /// The side that a window function of sessions gives; `None` for others.
    pub fn side(function: &WindowUDF) -> Option<Side> {
        function.inner().downcast_ref::<Session>().map(|session| session.side)
    }

    /// The side that a key of a GROUP BY gives, of which time, with which gap; `None` for other expressions.
    pub fn key(expr: &Expr) -> Option<(Side, &[Expr])> {
        let Expr::ScalarFunction(call) = expr else { return None };
        call.func.inner().downcast_ref::<SessionKey>().map(|key| (key.side, call.args.as_slice()))
    }

    /// The gap of a call in microseconds.
    ///
    /// # Errors
    /// `22023` and `0A000` for what is no gap.
    pub fn gap(constant: &ScalarValue) -> Result<i64> {
        let ScalarValue::IntervalMonthDayNano(Some(interval)) = constant else { return Err(missing("the gap")) };
        match in_micros("SESSION", "GAP", *interval)? {
            gap if gap > 0 => Ok(gap),
            _ => {
                let message = "SESSION gap must be greater than zero";
                Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message))
            }
        }
    }
}

fn types(fields: &[FieldRef]) -> Result<Vec<DataType>> {
    match fields {
        [time, _] => Ok(vec![moment_type("SESSION", time)?, SqlType::Interval.arrow()]),
        _ => Err(crate::generic::no_such_function("session", fields)),
    }
}

fn name(side: Side) -> &'static str {
    match side {
        Side::Start => "session_start",
        Side::End => "session_end",
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Session {
    side: Side,
    signature: Signature,
}

impl WindowUDFImpl for Session {
    fn name(&self) -> &str {
        name(self.side)
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>, DataFusionError> {
        // Unfitting types stay as they are, so that the error of `field` is seen: one of here would come as text.
        Ok(types(&unnamed(given)).unwrap_or_else(|_| given.to_vec()))
    }

    fn partition_evaluator(
        &self,
        args: PartitionEvaluatorArgs,
    ) -> Result<Box<dyn PartitionEvaluator>, DataFusionError> {
        let gap = args.input_exprs().get(1).and_then(|gap| {
            gap.downcast_ref::<datafusion::physical_expr::expressions::Literal>().map(|gap| gap.value().clone())
        });
        // What is known is checked now, not when the first row comes.
        gap.map_or(Ok(0), |gap| Sessions::gap(&gap)).map_err(carried)?;
        Ok(Box::new(Evaluator(self.side)))
    }

    fn field(&self, args: WindowUDFFieldArgs) -> Result<FieldRef, DataFusionError> {
        let moment = types(args.input_fields()).map_err(carried)?.swap_remove(0);
        Ok(Arc::new(Field::new(args.name(), moment, true)))
    }

    fn limit_effect(&self, _: &[Arc<dyn PhysicalExpr>]) -> LimitEffect {
        LimitEffect::Unknown
    }
}

#[derive(Debug)]
struct Evaluator(Side);

impl PartitionEvaluator for Evaluator {
    fn evaluate_all(&mut self, values: &[ArrayRef], rows: usize) -> Result<ArrayRef, DataFusionError> {
        let times = values[0].as_primitive::<TimestampMicrosecondType>();
        let gaps = values[1].as_primitive::<IntervalMonthDayNanoType>();
        if rows == 0 {
            return Ok(values[0].clone());
        }
        if (1..rows).any(|row| gaps.value(row) != gaps.value(0)) {
            return Err(carried(not_constant("SESSION")));
        }
        let gap = Sessions::gap(&ScalarValue::try_from_array(&values[1], 0)?).map_err(carried)?;
        Ok(Arc::new(sides(self.0, times, gap).map_err(carried)?))
    }
}

/// A side of the session of each of some times, which are in order, NULLs last.
fn sides(
    side: Side,
    times: &PrimitiveArray<TimestampMicrosecondType>,
    gap: i64,
) -> Result<PrimitiveArray<TimestampMicrosecondType>> {
    let known = times.len() - times.null_count();
    let mut values = vec![0; times.len()];
    let mut first = 0;
    for row in 0..known {
        let time = times.value(row);
        if matches!(time, i64::MIN | i64::MAX) {
            return Err(out_of_range("timestamp"));
        }
        let next = (row + 1 < known).then(|| times.value(row + 1));
        if next.is_some_and(|next| next.checked_sub(time).is_some_and(|between| between <= gap)) {
            continue;
        }
        let value = match side {
            Side::Start => times.value(first),
            Side::End => time.checked_add(gap).ok_or_else(|| out_of_range("timestamp"))?,
        };
        values[first..=row].fill(value);
        first = row + 1;
    }
    let nulls = times.nulls().cloned();
    Ok(PrimitiveArray::new(ScalarBuffer::from(values), nulls).with_data_type(times.data_type().clone()))
}

/// A side of a session as a key: binding replaces it by the window function.
#[derive(Debug, PartialEq, Eq, Hash)]
struct SessionKey {
    side: Side,
    signature: Signature,
}

impl ScalarUDFImpl for SessionKey {
    fn name(&self) -> &str {
        match self.side {
            Side::Start => super::SESSION_START_KEY,
            Side::End => super::SESSION_END_KEY,
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>, DataFusionError> {
        Ok(types(&unnamed(given)).unwrap_or_else(|_| given.to_vec()))
    }

    fn return_type(&self, given: &[DataType]) -> Result<DataType, DataFusionError> {
        types(&unnamed(given)).map(|mut types| types.swap_remove(0)).map_err(carried)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef, DataFusionError> {
        let moment = types(args.arg_fields).map_err(carried)?.swap_remove(0);
        Ok(Arc::new(Field::new(name(self.side), moment, true)))
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue, DataFusionError> {
        let message = "SESSION is a key of GROUP BY or a function in FROM";
        Err(carried(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message)))
    }
}
