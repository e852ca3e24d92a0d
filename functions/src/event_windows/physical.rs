//! Windows of time in expressions that are ready to be evaluated.

use super::{Bounds, EventWindow, Shape, Side};
use arrow::datatypes::{IntervalMonthDayNano, Schema};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Operator, ScalarUDF};
use datafusion::physical_expr::expressions::{BinaryExpr, Column, Literal};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use std::sync::Arc;

/// What an expression says of the time in a column.
#[derive(Clone, Debug)]
pub enum TimeExpression {
    /// One side of the windows that the time is in.
    Window { window: EventWindow, side: Side, column: usize },
    /// The time that is so many microseconds before it.
    Before { column: usize, micros: i64 },
}

impl TimeExpression {
    /// What an expression is, if it is one of these.
    pub fn of(expr: &Arc<dyn PhysicalExpr>) -> Option<TimeExpression> {
        if let Some(call) = expr.downcast_ref::<ScalarFunctionExpr>()
            && let Some(bounds) = call.fun().inner().downcast_ref::<Bounds>()
        {
            let (time, rest) = call.args().split_first()?;
            let column = time.downcast_ref::<Column>()?.index();
            let constants = rest.iter().map(|expr| expr.downcast_ref::<Literal>().map(Literal::value));
            let constants = constants.collect::<Option<Vec<&ScalarValue>>>()?;
            let window = EventWindow::parsed(bounds.shape, &constants).ok()?;
            return Some(TimeExpression::Window { window, side: bounds.side, column });
        }
        let moved = MovedTime::of(expr)?;
        let is_column = expr.downcast_ref::<Column>().is_some();
        (moved.least == moved.most && !is_column)
            .then_some(TimeExpression::Before { column: moved.column, micros: moved.least.checked_neg()? })
    }
}

impl TimeExpression {
    /// A side of the slice that a row is in: windows of one call are made of whole slices, each as long as a slide or a
    /// step. `expr` gives windows of times of rows of `schema`; `None` where they are not made of slices.
    pub fn slice(expr: &Arc<dyn PhysicalExpr>, schema: &Schema, side: Side) -> Option<Arc<dyn PhysicalExpr>> {
        let TimeExpression::Window { window, .. } = TimeExpression::of(expr)? else { return None };
        let is_sliced = window.shape != Shape::Tumble && window.zone.is_none() && window.size % window.step == 0;
        let call = expr.downcast_ref::<ScalarFunctionExpr>().filter(|_| is_sliced)?;
        // The time, the length of a slice, which is the slide or the step, and the offset.
        let mut args: Vec<Arc<dyn PhysicalExpr>> = call.args().get(..2)?.to_vec();
        args.extend(call.args().get(3).cloned());
        let name = if side == Side::Start { "tumble_start" } else { "tumble_end" };
        let function = Arc::new(ScalarUDF::from(Bounds::new(name, Shape::Tumble, side)));
        let options = Arc::new(call.config_options().clone());
        let slice = ScalarFunctionExpr::try_new(function, args, schema, options).ok()?;
        Some(Arc::new(slice))
    }
}

/// The time in a column and a constant span more, of at least and at most so many microseconds: days differ in length
/// where clocks are turned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MovedTime {
    pub column: usize,
    pub least: i64,
    pub most: i64,
}

impl MovedTime {
    /// What an expression is, if it is such a time.
    pub fn of(expr: &Arc<dyn PhysicalExpr>) -> Option<MovedTime> {
        if let Some(column) = expr.downcast_ref::<Column>() {
            return Some(MovedTime { column: column.index(), least: 0, most: 0 });
        }
        let (time, sign, span) = if let Some(binary) = expr.downcast_ref::<BinaryExpr>() {
            match binary.op() {
                Operator::Plus => (binary.left(), 1, binary.right()),
                Operator::Minus => (binary.left(), -1, binary.right()),
                _ => return None,
            }
        } else {
            let call = expr.downcast_ref::<ScalarFunctionExpr>()?;
            match (call.fun().name(), call.args()) {
                ("+", [time, span]) => (time, 1, span),
                ("-", [time, span]) => (time, -1, span),
                _ => return None,
            }
        };
        let column = time.downcast_ref::<Column>()?.index();
        let ScalarValue::IntervalMonthDayNano(Some(span)) = span.downcast_ref::<Literal>()?.value() else {
            return None;
        };
        let (least, most) = length_of(*span)?;
        let (least, most) = if sign > 0 { (least, most) } else { (most.checked_neg()?, least.checked_neg()?) };
        Some(MovedTime { column, least, most })
    }
}

/// The least and the greatest length of an interval in microseconds; `None` for one with months.
pub fn length_of(interval: IntervalMonthDayNano) -> Option<(i64, i64)> {
    /// No zone has ever turned its clocks by more than this.
    const TURNED: i64 = 25 * 3_600_000_000;
    let days = i64::from(interval.days) * 86_400_000_000;
    let length = days.checked_add(interval.nanoseconds / 1000)?;
    let turned = if days == 0 { 0 } else { TURNED };
    (interval.months == 0).then_some((length.checked_sub(turned)?, length.checked_add(turned)?))
}
