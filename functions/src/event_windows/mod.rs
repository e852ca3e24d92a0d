//! Windows of time: which ones a row is in.
//!
//! `tumble_start(ts, size [, offset [, zone]])` and its relatives give start and end of a row's windows. A row is in
//! one tumbling window, so these are values; it is in several hopping and cumulating ones, so that theirs are sets. What
//! they are called with besides the time is constant: [`SettledWindows`] evaluates it while a query is bound, and
//! [`EventWindow::of`] finds it again in a plan. A session depends on other rows: it is a window function
//! (`session.rs`).

mod grid;
mod physical;
mod session;
mod settled;

pub use grid::{EventWindow, Shape};
pub use physical::{MovedTime, TimeExpression, length_of};
pub use session::{Sessions, window_functions};
pub use settled::SettledWindows;

use crate::error::carried;
use crate::format::write_interval;
use crate::generic::{list_of, no_such_function};
use crate::operators::arithmetic::{TIMESTAMP, timestamptz};
use crate::temporal::{DAY, zone};
use arrow::array::{Array, ArrayRef, AsArray, ListArray, PrimitiveArray};
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field, FieldRef, IntervalMonthDayNano, TimestampMicrosecondType};
use datafusion::common::{DataFusionError, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use millrace_types::{Result, SqlError, SqlState, SqlType, sql_type_of};
use std::sync::Arc;

/// How many windows the rows of one batch may have: they are in memory at once.
const WINDOWS_MAX: usize = 1 << 26;

/// The names of the keys of sessions in a GROUP BY. They cannot be typed.
pub const SESSION_START_KEY: &str = "\u{1}session_start";
/// See [`SESSION_START_KEY`].
pub const SESSION_END_KEY: &str = "\u{1}session_end";

/// Which end of a window a function gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    Start,
    End,
}

/// The functions of windows of which a row has one.
pub fn functions() -> Vec<ScalarUDF> {
    let tumble = |name, side| ScalarUDF::from(Bounds::new(name, Shape::Tumble, side));
    let mut all = vec![tumble("tumble_start", Side::Start), tumble("tumble_end", Side::End)];
    all.extend(session::functions());
    all
}

/// The functions of windows of which a row has several: as arrays, that become sets.
pub fn lists() -> Vec<ScalarUDF> {
    let list = |name, shape, side| ScalarUDF::from(Bounds::new(name, shape, side));
    vec![
        list("hop_start", Shape::Hop, Side::Start),
        list("hop_end", Shape::Hop, Side::End),
        list("cumulate_start", Shape::Cumulate, Side::Start),
        list("cumulate_end", Shape::Cumulate, Side::End),
    ]
}

/// A function that gives one side of a row's windows.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Bounds {
    name: &'static str,
    shape: Shape,
    side: Side,
    signature: Signature,
}

impl EventWindow {
    /// The windows that a call is about, which side it gives, and of which time; `None` for other expressions.
    pub fn of(expr: &Expr) -> Option<(EventWindow, Side, &Expr)> {
        let Expr::ScalarFunction(call) = expr else { return None };
        let bounds = call.func.inner().downcast_ref::<Bounds>()?;
        let (time, rest) = call.args.split_first()?;
        let constants: Option<Vec<&ScalarValue>> = rest
            .iter()
            .map(|expr| match expr {
                Expr::Literal(value, _) => Some(value),
                _ => None,
            })
            .collect();
        Some((EventWindow::parsed(bounds.shape, &constants?).ok()?, bounds.side, time))
    }

    /// Whether an expression is a call of a function of windows.
    pub fn is_call(expr: &Expr) -> bool {
        matches!(expr, Expr::ScalarFunction(call) if call.func.inner().is::<Bounds>())
    }

    /// The windows of lengths, an offset and a zone.
    ///
    /// # Errors
    /// `22023` and `0A000` for those that make no windows.
    fn parsed(shape: Shape, constants: &[&ScalarValue]) -> Result<EventWindow> {
        let lengths = lengths(shape);
        let mut values = [0; 2];
        for (value, (name, constant)) in values.iter_mut().zip(lengths.iter().zip(constants)) {
            *value = length(shape, name, interval(constant)?)?;
        }
        let (step, size) = if lengths.len() == 1 { (values[0], values[0]) } else { (values[0], values[1]) };
        let offset =
            constants.get(lengths.len()).map_or(Ok(0), |constant| micros(shape, "OFFSET", interval(constant)?))?;
        let zone = match constants.get(lengths.len() + 1).map(|constant| constant.try_as_str()) {
            None => None,
            Some(Some(Some(name))) => Some(zone(name)?),
            Some(_) => return Err(missing("TIME_ZONE")),
        };
        let window = EventWindow { shape, size, step, offset, zone };
        window.check(constants).map(|()| window)
    }

    fn check(&self, constants: &[&ScalarValue]) -> Result<()> {
        let text = |at: usize| {
            let mut text = String::new();
            interval(constants[at]).map(|interval| write_interval(&mut text, interval)).map(|()| text)
        };
        match self.shape {
            Shape::Hop if self.step > self.size => {
                let message = format!("HOP slide {} must not be greater than its size {}", text(0)?, text(1)?);
                Err(invalid(message).with_detail("Rows between two windows would be in none."))
            }
            Shape::Cumulate if self.size % self.step != 0 => {
                let message = format!("CUMULATE size {} must be a multiple of its step {}", text(1)?, text(0)?);
                Err(invalid(message))
            }
            _ => Ok(()),
        }
    }
}

/// The names of the lengths that windows are made of, in the order of arguments.
fn lengths(shape: Shape) -> &'static [&'static str] {
    match shape {
        Shape::Tumble => &["SIZE"],
        Shape::Hop => &["SLIDE", "SIZE"],
        Shape::Cumulate => &["STEP", "SIZE"],
    }
}

fn word(shape: Shape) -> &'static str {
    match shape {
        Shape::Tumble => "TUMBLE",
        Shape::Hop => "HOP",
        Shape::Cumulate => "CUMULATE",
    }
}

fn invalid(message: String) -> SqlError {
    SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message)
}

fn missing(name: &str) -> SqlError {
    SqlError::new(SqlState::NULL_VALUE_NOT_ALLOWED, format!("{name} of a window must not be null"))
}

fn interval(constant: &ScalarValue) -> Result<IntervalMonthDayNano> {
    match constant {
        ScalarValue::IntervalMonthDayNano(Some(interval)) => Ok(*interval),
        _ => Err(missing("an interval")),
    }
}

fn length(shape: Shape, name: &str, interval: IntervalMonthDayNano) -> Result<i64> {
    match micros(shape, name, interval)? {
        micros if micros > 0 => Ok(micros),
        _ => Err(invalid(format!("{} {} must be greater than zero", word(shape), name.to_lowercase()))),
    }
}

/// The length of an interval of days and time.
fn micros(shape: Shape, name: &str, interval: IntervalMonthDayNano) -> Result<i64> {
    in_micros(word(shape), name, interval)
}

fn in_micros(word: &str, name: &str, interval: IntervalMonthDayNano) -> Result<i64> {
    if interval.months != 0 {
        let message = format!("{word} {} cannot be given in months or years", name.to_lowercase());
        let error = SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message);
        return Err(error
            .with_detail("Months differ in length, so that windows of months would not be of one size.")
            .with_hint("Group by date_trunc('month', ...) instead."));
    }
    let days = i64::from(interval.days).checked_mul(DAY);
    let sum = days.and_then(|days| days.checked_add(interval.nanoseconds / 1000));
    sum.ok_or_else(|| SqlError::new(SqlState::DATETIME_FIELD_OVERFLOW, "interval out of range"))
}

/// The type of a time column in windows: a date is its midnight.
fn moment_type(name: &str, field: &Field) -> Result<DataType> {
    match sql_type_of(field) {
        SqlType::Timestamptz => Ok(timestamptz()),
        SqlType::Timestamp | SqlType::Date => Ok(TIMESTAMP),
        // A constant whose type is open.
        _ if matches!(field.data_type(), DataType::Utf8 | DataType::Null) => Ok(TIMESTAMP),
        other => {
            let message = format!("{name} needs a time of type timestamp or timestamp with time zone, not {other}",);
            Err(SqlError::new(SqlState::DATATYPE_MISMATCH, message))
        }
    }
}

impl Bounds {
    fn new(name: &'static str, shape: Shape, side: Side) -> Bounds {
        Bounds { name, shape, side, signature: Signature::user_defined(Volatility::Immutable) }
    }

    fn types(&self, fields: &[FieldRef]) -> Result<Vec<DataType>> {
        let lengths = lengths(self.shape).len();
        if !(1 + lengths..=3 + lengths).contains(&fields.len()) {
            return Err(no_such_function(self.name, fields));
        }
        let moment = moment_type(word(self.shape), &fields[0])?;
        if fields.len() == 3 + lengths && moment == TIMESTAMP {
            let message = format!("TIME_ZONE of {} needs a time of type timestamp with time zone", word(self.shape));
            return Err(SqlError::new(SqlState::DATATYPE_MISMATCH, message).with_hint(
                "A timestamp without time zone is in no zone. Use \"ts AT TIME ZONE 'UTC'\" if it is in UTC.",
            ));
        }
        let mut types = vec![moment];
        types.extend(vec![SqlType::Interval.arrow(); fields.len().min(2 + lengths) - 1]);
        types.extend((fields.len() == 3 + lengths).then_some(DataType::Utf8View));
        let fits =
            |given: &FieldRef| matches!(sql_type_of(given), SqlType::Interval | SqlType::Unknown | SqlType::Text);
        match fields[1..].iter().all(fits) {
            true => Ok(types),
            false => Err(no_such_function(self.name, fields)),
        }
    }

    fn result(&self, fields: &[FieldRef]) -> Result<Field> {
        let moment = self.types(fields)?.swap_remove(0);
        Ok(match self.shape {
            Shape::Tumble => Field::new(self.name, moment, true),
            Shape::Hop | Shape::Cumulate => list_of(&Field::new("", moment, true)).with_name(self.name),
        })
    }

    /// The windows of a column of times.
    fn run(&self, window: &EventWindow, times: &ArrayRef, result: &Field) -> Result<ArrayRef> {
        let times = times.as_primitive::<TimestampMicrosecondType>();
        match result.data_type() {
            DataType::List(element) => self.lists(window, times, element),
            moment => self.values(window, times, moment),
        }
    }

    fn values(
        &self,
        window: &EventWindow,
        times: &PrimitiveArray<TimestampMicrosecondType>,
        moment: &DataType,
    ) -> Result<ArrayRef> {
        let mut values = Vec::with_capacity(times.len());
        for row in 0..times.len() {
            values.push(match times.is_valid(row) {
                true => {
                    let (start, end) = window.tumbling(times.value(row))?;
                    if self.side == Side::Start { start } else { end }
                }
                false => 0,
            });
        }
        let values =
            PrimitiveArray::<TimestampMicrosecondType>::new(ScalarBuffer::from(values), times.nulls().cloned());
        Ok(Arc::new(values.with_data_type(moment.clone())))
    }

    fn lists(
        &self,
        window: &EventWindow,
        times: &PrimitiveArray<TimestampMicrosecondType>,
        element: &FieldRef,
    ) -> Result<ArrayRef> {
        let (mut values, mut lengths) = (vec![], Vec::with_capacity(times.len()));
        for row in 0..times.len() {
            let before = values.len();
            if times.is_valid(row) {
                let side = self.side;
                window.each(times.value(row), &mut |start, end| {
                    values.push(if side == Side::Start { start } else { end });
                })?;
            }
            if values.len() > WINDOWS_MAX {
                let message = format!("{} gives more than {WINDOWS_MAX} windows at once", word(self.shape));
                return Err(SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message));
            }
            lengths.push(values.len() - before);
        }
        let values = PrimitiveArray::<TimestampMicrosecondType>::from_iter_values(values)
            .with_data_type(element.data_type().clone());
        let nulls: Option<NullBuffer> = times.nulls().cloned();
        let offsets = OffsetBuffer::from_lengths(lengths);
        Ok(Arc::new(ListArray::try_new(element.clone(), offsets, Arc::new(values), nulls)?))
    }
}

impl ScalarUDFImpl for Bounds {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType, DataFusionError> {
        self.result(&unnamed(types)).map(|field| field.data_type().clone()).map_err(carried)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef, DataFusionError> {
        self.result(args.arg_fields).map(Arc::new).map_err(carried)
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>, DataFusionError> {
        // Unfitting types stay as they are, so that the error of `return_type` is seen: one of here would come as text.
        Ok(self.types(&unnamed(types)).unwrap_or_else(|_| types.to_vec()))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue, DataFusionError> {
        let Some((time, rest)) = args.args.split_first() else { return Err(carried(missing("the time"))) };
        let constants: Option<Vec<&ScalarValue>> = rest
            .iter()
            .map(|value| match value {
                ColumnarValue::Scalar(value) => Some(value),
                ColumnarValue::Array(_) => None,
            })
            .collect();
        let constants = constants.ok_or_else(|| carried(not_constant(word(self.shape))))?;
        let window = EventWindow::parsed(self.shape, &constants).map_err(carried)?;
        let constant = matches!(time, ColumnarValue::Scalar(_));
        let times = time.to_array(if constant { 1 } else { args.number_rows })?;
        let result = self.run(&window, &times, &args.return_field).map_err(carried)?;
        match constant {
            true => crate::function::scalar_of(&result).map(ColumnarValue::Scalar),
            false => Ok(ColumnarValue::Array(result)),
        }
    }
}

/// `0A000`: the lengths of windows are the same for all rows.
fn not_constant(word: &str) -> SqlError {
    SqlError::unsupported(format!("{word} of a size that is not a constant"))
}

fn unnamed(types: &[DataType]) -> Vec<FieldRef> {
    types.iter().map(|data_type| Arc::new(Field::new("", data_type.clone(), true))).collect()
}
