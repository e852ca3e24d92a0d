//! Windows and watermarks among the expressions of a plan.

use crate::bind::RelationSource;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, Result as Planned};
use datafusion::logical_expr::expr::{ScalarFunction, WindowFunction};
use datafusion::logical_expr::{Expr, LogicalPlan, Operator, Projection, WindowFunctionDefinition, binary_expr};
use datafusion::scalar::ScalarValue;
use millrace_functions::event_windows::{self, EventWindow, Sessions, Shape, Side};
use millrace_functions::sets::Unnest;
use std::sync::Arc;

/// Whether a plan has windows of time, or asks for watermarks, or joins sources that have one.
pub fn concerns(plan: &LogicalPlan) -> Planned<bool> {
    let (mut found, mut joins, mut late) = (false, false, false);
    plan.apply_with_subqueries(|node| {
        match node {
            LogicalPlan::Join(_) => joins = true,
            LogicalPlan::TableScan(scan) => {
                let relation = scan.source.downcast_ref::<RelationSource>().map(RelationSource::relation);
                late |= relation.is_some_and(|relation| relation.hidden.is_some());
            }
            _ => {}
        }
        found |= joins && late;
        node.apply_expressions(|expr| {
            found = found || expr.exists(|expr| Ok(is_concerned(expr)))?;
            Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
        })
    })?;
    Ok(found)
}

fn is_concerned(expr: &Expr) -> bool {
    EventWindow::is_call(expr) || session(expr).is_some() || current_watermark::is_call(expr)
}

/// The windows that expressions assign: of which time each, and where it ends.
#[derive(Default)]
pub struct Windows(Vec<(Column, Expr)>);

impl Windows {
    /// Those of which a row has one: tumbling ones, and the session that it is in alone.
    pub fn among(exprs: &[Expr]) -> Windows {
        let mut windows = vec![];
        for expr in exprs {
            // Looking at an expression cannot fail.
            let _ = expr.apply(|expr| {
                windows.extend(tumbling(expr).or_else(|| session(expr)));
                Ok(TreeNodeRecursion::Continue)
            });
        }
        Windows(windows)
    }

    /// Those of which a row has several, which a projection gives as arrays and a node above it makes rows of.
    pub fn among_sets(projection: &Projection, unnest: &Unnest) -> Windows {
        let mut windows: Vec<(Column, Expr, Side)> = vec![];
        for (place, expr) in projection.expr.iter().enumerate() {
            let array = Column::from(projection.schema.qualified_field(place));
            let element = unnest.lists().iter().position(|list| *list == array);
            let Some(element) = element.and_then(|at| unnest.elements().get(at)) else { continue };
            let bare = expr.clone().unalias();
            let Some((window, side, Expr::Column(_))) = EventWindow::of(&bare) else { continue };
            let Some(time) = time_after(&bare, projection) else { continue };
            let element = Expr::Column(element.clone());
            match side {
                Side::End => windows.push((time, element, side)),
                // Clocks that are turned make windows of another length.
                Side::Start if window.shape == Shape::Hop && window.zone.is_none() => {
                    windows.push((time, later(element, window.size), side));
                }
                Side::Start => {}
            }
        }
        windows.sort_by_key(|(_, _, side)| *side == Side::Start);
        Windows(windows.into_iter().map(|(time, end, _)| (time, end)).collect())
    }

    /// Whether there are any.
    pub fn is_any(&self) -> bool {
        !self.0.is_empty()
    }

    /// Where the window of a time ends.
    pub fn end(&self, time: &Column) -> Option<Expr> {
        self.0.iter().find(|(of, _)| of == time).map(|(_, end)| end.clone())
    }
}

/// The time of a call in a projection, as a column that the projection gives.
fn time_after(call: &Expr, projection: &Projection) -> Option<Column> {
    let (_, _, Expr::Column(time)) = EventWindow::of(call)? else { return None };
    let is_time = |expr: &Expr| matches!(expr.clone().unalias(), Expr::Column(column) if column == *time);
    let place = projection.expr.iter().position(is_time)?;
    Some(Column::from(projection.schema.qualified_field(place)))
}

fn tumbling(expr: &Expr) -> Option<(Column, Expr)> {
    let (window, side, time) = EventWindow::of(expr)?;
    let (Shape::Tumble, Expr::Column(time), Expr::ScalarFunction(call)) = (window.shape, time, expr) else {
        return None;
    };
    let end = match side {
        Side::End => expr.clone(),
        Side::Start => {
            let end = event_windows::functions().into_iter().find(|function| function.name() == "tumble_end")?;
            Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(end), call.args.clone()))
        }
    };
    Some((time.clone(), end))
}

fn session(expr: &Expr) -> Option<(Column, Expr)> {
    let Expr::WindowFunction(call) = expr else { return None };
    let WindowFunction { fun: WindowFunctionDefinition::WindowUDF(function), params } = call.as_ref() else {
        return None;
    };
    Sessions::side(function)?;
    let [Expr::Column(time), Expr::Literal(gap, _)] = params.args.as_slice() else { return None };
    let gap = Sessions::gap(gap).ok()?;
    Some((time.clone(), later(Expr::Column(time.clone()), gap)))
}

/// A moment so many microseconds after another.
pub fn later(moment: Expr, micros: i64) -> Expr {
    let span = ScalarValue::new_interval_mdn(0, 0, micros.saturating_mul(1000));
    binary_expr(moment, Operator::Plus, Expr::Literal(span, None))
}

/// Calls of `current_watermark(ts)`, which the hidden column answers.
pub mod current_watermark {
    use super::super::{Carried, Tracked, no_watermark};
    use datafusion::common::Result as Planned;
    use datafusion::common::tree_node::{Transformed, TreeNode};
    use datafusion::logical_expr::Expr;
    use millrace_functions::CURRENT_WATERMARK;

    /// Whether an expression is such a call.
    pub fn is_call(expr: &Expr) -> bool {
        matches!(expr, Expr::ScalarFunction(call) if call.name() == CURRENT_WATERMARK)
    }

    /// Whether an expression holds such a call.
    pub fn is_in(expr: &Expr) -> bool {
        expr.exists(|expr| Ok(is_call(expr))).unwrap_or(false)
    }

    /// The expression with the hidden column of its input in place of calls.
    pub fn replaced(expr: Expr, input: &Tracked) -> Planned<Expr> {
        let name = expr.schema_name().to_string();
        let replaced = expr.transform_up(|expr| {
            let Expr::ScalarFunction(call) = &expr else { return Ok(Transformed::no(expr)) };
            if !is_call(&expr) {
                return Ok(Transformed::no(expr));
            }
            match (&input.carried, call.args.as_slice(), input.hidden().first()) {
                (Some(Carried { time, .. }), [Expr::Column(column)], Some(before)) if column == time => {
                    Ok(Transformed::yes(before.clone()))
                }
                _ => Err(no_watermark()),
            }
        })?;
        Ok(match replaced.transformed && replaced.data.schema_name().to_string() != name {
            true => replaced.data.alias(name),
            false => replaced.data,
        })
    }
}
