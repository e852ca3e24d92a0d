//! Joins that bound how far the times of two sources lie apart.
//!
//! Each row has a span of times in which its partners lie. When the watermark has passed the row and its span, the row is
//! final: as of a window that is over, a row that comes later than that is rejected. So nothing that is kept of rows is
//! needed for ever.
//!
//! ```text
//!   a.ts BETWEEN b.ts - 5 min AND b.ts + 10 min
//!   a: 12:00   partners 11:50 .. 12:05   rejected behind a watermark after 12:05
//!   b: 12:00   partners 11:55 .. 12:10   rejected behind a watermark after 12:10
//! ```

use super::calls::{current_watermark, later};
use super::{Carried, Rejecting, Tracked, no_watermark, subqueries_tracked, track};
use datafusion::common::{Column, JoinType, Result as Planned};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Between, BinaryExpr, Expr, Filter, Join, LogicalPlan, Operator};
use datafusion::scalar::ScalarValue;
use millrace_functions::event_windows::length_of;
use std::sync::Arc;

/// A filter above a join, whose condition may stand there.
pub fn of_filtered(join: Join, predicate: Expr) -> Planned<Tracked> {
    if current_watermark::is_in(&predicate) {
        return Err(no_watermark());
    }
    let conditions: Vec<Expr> = match join.join_type {
        JoinType::Inner => split_conjunction(&predicate).into_iter().cloned().collect(),
        _ => vec![],
    };
    let joined = of_join(join, &conditions)?.plan;
    Filter::try_new(predicate, Arc::new(joined)).map(LogicalPlan::Filter).map(Tracked::without)
}

/// A join; `above`: what else holds of its pairs.
pub fn of_join(join: Join, above: &[Expr]) -> Planned<Tracked> {
    let own = join.filter.iter().flat_map(split_conjunction).cloned();
    let conditions: Vec<Expr> = above.iter().cloned().chain(own).collect();
    let input = |input: &LogicalPlan| match subqueries_tracked(input.clone())? {
        LogicalPlan::Join(below) if join.join_type == JoinType::Inner && below.join_type == JoinType::Inner => {
            of_join(below, &conditions)
        }
        other => track(other, true),
    };
    let (left, right) = (input(&join.left)?, input(&join.right)?);
    let times = left.carried.as_ref().zip(right.carried.as_ref());
    let ends = times
        .and_then(|(left, right)| Some([left.time.clone(), right.time.clone()]).zip(ends(&conditions, left, right)));
    let (left, right) = match ends {
        Some(([left_time, right_time], [of_left, of_right])) => {
            (left.late_after(&left_time, of_left), right.late_after(&right_time, of_right))
        }
        None => (left, right),
    };
    let (left, right) = (Arc::new(left.shown()?), Arc::new(right.shown()?));
    Ok(Tracked::without(LogicalPlan::Join(Join { left, right, ..join })))
}

impl Tracked {
    /// The plan without the rows whose time and so many microseconds are before the watermark that they came behind.
    fn late_after(self, time: &Column, micros: i64) -> Tracked {
        let Some(source) = self.carried.as_ref().filter(|carried| carried.rejects).map(|carried| carried.source) else {
            return self;
        };
        let end = later(Expr::Column(time.clone()), micros.saturating_add(1));
        Tracked { plan: Rejecting::over(self.plan, end, source).into_plan(), ..self }
    }
}

/// How long after its own time a row of either side has partners, if conditions say so of both.
fn ends(conditions: &[Expr], left: &Carried, right: &Carried) -> Option<[i64; 2]> {
    let (mut least, mut most) = (None::<i64>, None::<i64>);
    for (earlier, later) in conditions.iter().flat_map(ordered) {
        // earlier + its span <= later + its span
        if earlier.time == left.time && later.time == right.time {
            let bound = later.most.checked_sub(earlier.least)?;
            most = Some(most.map_or(bound, |most| most.min(bound)));
        } else if earlier.time == right.time && later.time == left.time {
            let bound = earlier.least.checked_sub(later.most)?;
            least = Some(least.map_or(bound, |least| least.max(bound)));
        }
    }
    Some([least?.checked_neg()?.max(0), most?.max(0)])
}

/// A time and a span more, of at least and at most so many microseconds.
struct Moved {
    time: Column,
    least: i64,
    most: i64,
}

/// The pairs of times of which a condition says that the first is not after the second.
fn ordered(condition: &Expr) -> Vec<(Moved, Moved)> {
    match condition {
        Expr::Between(Between { expr, negated: false, low, high }) => {
            not_after(low, expr).into_iter().chain(not_after(expr, high)).collect()
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match op {
            Operator::Lt | Operator::LtEq => not_after(left, right).into_iter().collect(),
            Operator::Gt | Operator::GtEq => not_after(right, left).into_iter().collect(),
            _ => vec![],
        },
        _ => vec![],
    }
}

fn not_after(earlier: &Expr, later: &Expr) -> Option<(Moved, Moved)> {
    moved(earlier).zip(moved(later))
}

fn moved(expr: &Expr) -> Option<Moved> {
    let (time, sign, span) = match expr {
        Expr::Column(time) => return Some(Moved { time: time.clone(), least: 0, most: 0 }),
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Plus, right }) => (left.as_ref(), 1, right.as_ref()),
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Minus, right }) => (left.as_ref(), -1, right.as_ref()),
        Expr::ScalarFunction(call) => match (call.name(), call.args.as_slice()) {
            ("+", [time, span]) => (time, 1, span),
            ("-", [time, span]) => (time, -1, span),
            _ => return None,
        },
        _ => return None,
    };
    let (Expr::Column(time), Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(span)), _)) = (time, span) else {
        return None;
    };
    let (least, most) = length_of(*span)?;
    let (least, most) = if sign > 0 { (least, most) } else { (most.checked_neg()?, least.checked_neg()?) };
    Some(Moved { time: time.clone(), least, most })
}
