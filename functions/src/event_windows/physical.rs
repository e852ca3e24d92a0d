//! Windows of time in expressions that are ready to be evaluated.

use super::{Bounds, EventWindow, Shape, Side};
use arrow::datatypes::{IntervalMonthDayNano, Schema};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::ScalarUDF;
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

impl TimeExpression {
    /// The start of the slice that a row is in: windows of one call are made of whole slices, each as long as a slide or
    /// a step. `expr` gives windows of times of rows of `schema`; `None` where they are not made of slices.
    pub fn slice(expr: &Arc<dyn PhysicalExpr>, schema: &Schema) -> Option<Arc<dyn PhysicalExpr>> {
        let TimeExpression::Window { window, .. } = TimeExpression::of(expr)? else { return None };
        let is_sliced = window.shape != Shape::Tumble && window.zone.is_none() && window.size % window.step == 0;
        let call = expr.downcast_ref::<ScalarFunctionExpr>().filter(|_| is_sliced)?;
        // The time, and the length of a slice: the slide or the step.
        let mut args: Vec<Arc<dyn PhysicalExpr>> = call.args().get(..2)?.to_vec();
        args.extend(call.args().get(3).cloned());
        let function = Arc::new(ScalarUDF::from(Bounds::new("tumble_start", Shape::Tumble, Side::Start)));
        let options = Arc::new(call.config_options().clone());
        let slice = ScalarFunctionExpr::try_new(function, args, schema, options).ok()?;
        Some(Arc::new(slice))
    }
}

/// The length of an interval of time alone.
fn exact(interval: IntervalMonthDayNano) -> Option<i64> {
    (interval.months == 0 && interval.days == 0).then_some(interval.nanoseconds / 1000)
}
