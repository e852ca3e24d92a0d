//! Windows of time in expressions that are ready to be evaluated.

use super::{Bounds, EventWindow, Side};
use arrow::datatypes::IntervalMonthDayNano;
use datafusion::common::ScalarValue;
use datafusion::physical_expr::expressions::{Column, Literal};
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
        let call = expr.downcast_ref::<ScalarFunctionExpr>()?;
        let (time, rest) = call.args().split_first()?;
        let column = time.downcast_ref::<Column>()?.index();
        let constants = rest.iter().map(|expr| expr.downcast_ref::<Literal>().map(Literal::value));
        let constants = constants.collect::<Option<Vec<&ScalarValue>>>()?;
        if let Some(bounds) = call.fun().inner().downcast_ref::<Bounds>() {
            let window = EventWindow::parsed(bounds.shape, &constants).ok()?;
            return Some(TimeExpression::Window { window, side: bounds.side, column });
        }
        match (call.fun().name(), constants.as_slice()) {
            ("-", [ScalarValue::IntervalMonthDayNano(Some(interval))]) => {
                Some(TimeExpression::Before { column, micros: exact(*interval)? })
            }
            _ => None,
        }
    }
}

/// The length of an interval of time alone.
fn exact(interval: IntervalMonthDayNano) -> Option<i64> {
    (interval.months == 0 && interval.days == 0).then_some(interval.nanoseconds / 1000)
}
