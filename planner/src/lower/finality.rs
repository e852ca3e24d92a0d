//! What watermarks say of the rows of a plan: for which columns, and how much later.
//!
//! Two questions are asked of each node, and a column answers both, with a span of time each:
//!
//! - `closing`: when is a row final, if rows that are late do not count? Plans that emit on window close go by it.
//! - `sealed`: behind the watermark, when does nothing change any more at all? State may be dropped then. Of a source
//!   whose late rows are dropped that is its time. Of others a late row may come at any time, until windows reject it:
//!
//! ```text
//!   Aggregate by end              end: nothing comes once the watermark is there
//!     Project tumble_end(ts)      end: of the windows that reject, nothing comes
//!       Reject tumble_end(ts)     ts:  a window's size later, nothing comes
//!         Input                   ts:  nothing is sealed; late rows come
//! ```
//!
//! A table is never sealed: its rows may be deleted at any time. Nor is what another query gives, which may be replaced.

use super::interval::bounds_of;
use datafusion::logical_expr::WindowFrameBound;
use datafusion::physical_expr::expressions::{Column, Literal};
use datafusion::physical_expr::window::{StandardWindowExpr, WindowExpr};
use datafusion::physical_plan::windows::WindowUDFExpr;
use datafusion::scalar::ScalarValue;
use millrace_functions::event_windows::{EventWindow, Sessions, Shape, Side, TimeExpression};
use millrace_ir::{Closing, Expr, Join, JoinKind, Node, OnClose, Plan, Reach, SortColumn, TopK, Window};
use millrace_types::{Result, SqlError};
use std::sync::Arc;

/// A column that says when rows are final.
#[derive(Clone, Debug)]
pub struct Known {
    pub closing: Closing,
    /// Whether it is a side of a window, and not the time of a row.
    pub of_window: bool,
    /// When a time in the column and so many microseconds are not after the watermark, no change of such a row comes
    /// any more.
    pub sealed: Option<i64>,
    /// The step and the offset of the grid that its times lie on.
    grid: (i64, i64),
    origin: Origin,
    /// The windows of it that reject late rows.
    rejects: Option<EventWindow>,
}

/// How a column comes from the times of a source's rows.
#[derive(Clone, Debug, PartialEq)]
enum Origin {
    /// So many microseconds before the row's time.
    Time {
        before: i64,
    },
    /// At most so many microseconds before the end of a window of it.
    Window {
        window: EventWindow,
        before_end: i64,
    },
    Other,
}

impl Known {
    fn at(&self, column: usize) -> Known {
        Known { closing: Closing { column, ..self.closing }, ..self.clone() }
    }

    /// When nothing of it changes any more.
    pub fn seal(&self) -> Option<Closing> {
        self.sealed.map(|delay| Closing { delay, ..self.closing })
    }
}

/// What the watermark is waited for in vain for.
pub fn refused(reason: &str) -> SqlError {
    SqlError::unsupported("EMIT ON WINDOW CLOSE of this query")
        .with_detail(format!("Each row is to appear once and never to change, but {reason}."))
}

/// The columns that say when rows of a node are final; none, where rows are not known to become so.
///
/// # Errors
/// `0A000` with the reason, where rows are known never to become final.
pub fn closings(node: &Node) -> Result<Vec<Known>> {
    match &node.plan {
        Plan::Input { drops_late, .. } => {
            Ok(node.event_time.map(|column| of_rows(node, column, *drops_late)).into_iter().collect())
        }
        Plan::Values { .. } => Ok(vec![]),
        Plan::Reject { input, end, .. } => rejecting(closings(input)?, *end, input.append_only),
        Plan::Filter { input, .. } | Plan::Exchange { input, .. } | Plan::Distinct { input, .. } => closings(input),
        Plan::Temporal { .. } => Err(refused("rows come and go with the wall clock")),
        Plan::OnClose(close) => waited(close),
        Plan::Unnest { input, .. } => closings(input),
        Plan::Project { input, exprs } => Ok(projected(&closings(input)?, exprs)),
        Plan::Expand { input, sets } => {
            let below = closings(input)?;
            let mut sets = sets.iter().map(|set| projected(&below, set));
            let first = sets.next().unwrap_or_default();
            Ok(sets.fold(first, |all, set| common(&all, &set)))
        }
        Plan::Union { inputs } => {
            let mut inputs = inputs.iter().map(closings);
            let first = inputs.next().unwrap_or_else(|| Ok(vec![]))?;
            inputs.try_fold(first, |all, input| Ok(common(&all, &input?)))
        }
        Plan::Aggregate { input, keys, sessions: Some(sessions), closing, once, .. } => {
            let below = closings(input)?;
            let time = below.iter().find(|known| known.closing.column == sessions.time);
            let known = time.map(|time| end_of_session(time, keys.len() + 1));
            Ok(given(known.into_iter().collect(), closing.filter(|_| *once)))
        }
        Plan::Aggregate { input, keys, closing, once, .. } => {
            let below = closings(input)?;
            let of_keys = keys.iter().enumerate();
            let known: Vec<Known> = of_keys
                .flat_map(|(place, key)| {
                    below.iter().filter(|known| known.closing.column == *key).map(move |k| k.at(place))
                })
                .collect();
            match known.is_empty() && !below.is_empty() {
                true => Err(refused("a group without a window among its keys may get rows at any time")
                    .with_hint("Group by window_start and window_end.")),
                false => Ok(given(known, closing.filter(|_| *once))),
            }
        }
        Plan::TopK(top) => first_rows(top),
        Plan::Window(window) => windowed(window),
        Plan::Join(join) => joined(join),
        Plan::LookUp(join) => closings(&join.left),
    }
}

/// The time of the rows of a relation.
fn of_rows(node: &Node, column: usize, drops_late: bool) -> Known {
    Known {
        closing: Closing { column, delay: 1 },
        of_window: false,
        sealed: (drops_late && node.append_only).then_some(1),
        grid: (1, 0),
        origin: Origin::Time { before: 0 },
        rejects: None,
    }
}

/// Rows whose window ended before the watermark that they came behind are left out. What comes ends behind the
/// watermark, and starts at most a window's size before.
fn rejecting(mut below: Vec<Known>, end: usize, append_only: bool) -> Result<Vec<Known>> {
    let rejected = below.iter().find(|known| known.closing.column == end).map(|known| known.origin.clone());
    let Some(rejected) = rejected.filter(|_| append_only) else { return Ok(below) };
    for known in &mut below {
        let sealed = match (&rejected, &known.origin) {
            (Origin::Time { before: end }, Origin::Time { before }) => Some(before.saturating_sub(*end)),
            (Origin::Window { window, before_end: 0 }, Origin::Time { before }) => {
                known.rejects = (*before == 0).then(|| window.clone());
                window.zone.is_none().then(|| window.size.saturating_add(*before))
            }
            (Origin::Window { window: end, before_end: 0 }, Origin::Window { window, before_end }) if end == window => {
                Some(*before_end)
            }
            _ => None,
        };
        known.sealed = sooner(known.sealed, sealed);
    }
    Ok(below)
}

/// Of two spans that both hold the lesser one.
fn sooner(one: Option<i64>, other: Option<i64>) -> Option<i64> {
    one.into_iter().chain(other).min()
}

/// Rows leave when the watermark is there, and what comes later is left out.
fn waited(close: &OnClose) -> Result<Vec<Known>> {
    Ok(given(closings(&close.input)?, Some(close.closing)))
}

fn given(mut known: Vec<Known>, at: Option<Closing>) -> Vec<Known> {
    for known in known.iter_mut().filter(|known| Some(known.closing) == at) {
        known.sealed = sooner(known.sealed, Some(known.closing.delay));
    }
    known
}

/// What both say; where they differ in the delay, the later one.
fn common(one: &[Known], other: &[Known]) -> Vec<Known> {
    let both = one.iter().filter_map(|known| {
        let same = other.iter().find(|other| other.closing.column == known.closing.column)?;
        let delay = known.closing.delay.max(same.closing.delay);
        Some(Known {
            closing: Closing { delay, ..known.closing },
            of_window: known.of_window && same.of_window,
            sealed: known.sealed.zip(same.sealed).map(|(one, other)| one.max(other)),
            grid: (1, 0),
            origin: Origin::Other,
            rejects: None,
        })
    });
    both.collect()
}

/// What is left of the columns of an input behind expressions over them.
fn projected(below: &[Known], exprs: &[Expr]) -> Vec<Known> {
    let of = |column: usize| below.iter().find(|known| known.closing.column == column);
    let known = exprs.iter().enumerate().filter_map(|(place, expr)| {
        if let Some(column) = expr.downcast_ref::<Column>() {
            return of(column.index()).map(|known| known.at(place));
        }
        match TimeExpression::of(expr)? {
            TimeExpression::Before { column, micros } => Some(moved(of(column)?, micros, place)),
            TimeExpression::Window { window, side, column } => side_of(of(column)?, &window, side, place),
        }
    });
    known.collect()
}

/// What a time so many microseconds before a known one says.
fn moved(time: &Known, micros: i64, column: usize) -> Known {
    let (step, offset) = time.grid;
    Known {
        closing: Closing { column, delay: time.closing.delay.saturating_add(micros) },
        of_window: time.of_window,
        sealed: time.sealed.map(|sealed| sealed.saturating_add(micros)),
        grid: (step, offset.saturating_sub(micros)),
        origin: match &time.origin {
            Origin::Time { before } => Origin::Time { before: before.saturating_add(micros) },
            Origin::Window { window, before_end } => {
                Origin::Window { window: window.clone(), before_end: before_end.saturating_add(micros) }
            }
            Origin::Other => Origin::Other,
        },
        rejects: None,
    }
}

/// What a side of the windows of a known time says. How long before the end of a window the last time comes at least
/// follows from the grid of times, if ends of windows always lie alike on it.
fn side_of(time: &Known, window: &EventWindow, side: Side, column: usize) -> Option<Known> {
    let (step, offset) = time.grid;
    let before_end = match window.zone.is_none() && window.step % step == 0 {
        true => window.offset.wrapping_sub(offset).wrapping_sub(1).rem_euclid(step) + 1,
        false => 1,
    };
    let later = match (side, &window.zone) {
        (Side::End, _) => 0,
        (Side::Start, None) => window.size,
        // Days of a zone differ in length.
        (Side::Start, Some(_)) => return None,
    };
    let at_end = |delay: i64| delay.saturating_add(later).saturating_sub(before_end);
    let by_time = time.sealed.map(at_end);
    let by_rejection = time.rejects.as_ref().filter(|rejects| *rejects == window).map(|_| later);
    // Cumulating windows of one start end at different times.
    let is_fixed = side == Side::End || window.shape != Shape::Cumulate;
    Some(Known {
        closing: Closing { column, delay: at_end(time.closing.delay) },
        of_window: true,
        sealed: sooner(by_time, by_rejection),
        grid: if window.zone.is_none() { (window.step, window.offset) } else { (1, 0) },
        origin: match (&time.origin, is_fixed) {
            (Origin::Time { before: 0 }, true) => Origin::Window { window: window.clone(), before_end: later },
            _ => Origin::Other,
        },
        rejects: None,
    })
}

/// What remains of the first rows of partitions: windows that are partitions of their own, or the time in whose order
/// they come, behind which nothing changes.
fn first_rows(top: &TopK) -> Result<Vec<Known>> {
    ordered(closings(&top.input)?, &top.partition, &top.order, true)
}

fn ordered(below: Vec<Known>, partition: &[usize], order: &[SortColumn], looks_back: bool) -> Result<Vec<Known>> {
    let in_partition = below.iter().filter(|known| partition.contains(&known.closing.column)).cloned();
    let mut known: Vec<Known> = in_partition.collect();
    if known.is_empty()
        && looks_back
        // What stands in the partition, too, orders nothing.
        && let Some(first) = order.iter().find(|sort| !partition.contains(&sort.column))
        && !first.options.descending
    {
        known.extend(below.iter().filter(|known| known.closing.column == first.column).cloned());
    }
    match known.is_empty() && !below.is_empty() {
        true => Err(refused("a row that comes later may change the places of others")
            .with_hint("Partition by window_start and window_end, or order by the time that has a watermark.")),
        false => Ok(known),
    }
}

fn windowed(window: &Window) -> Result<Vec<Known>> {
    let below = closings(&window.input)?;
    let width = window.input.schema.fields().len();
    if let Reach::Session(_) = window.reach {
        // A session is final when no row can join it: one at its very end still does.
        let Some(time) = below.iter().find(|known| window.order.iter().any(|by| by.column == known.closing.column))
        else {
            return Ok(vec![]);
        };
        let is_end = |function| session_side(function) == Some(Side::End);
        let ends = window.functions.iter().enumerate().filter(|(_, function)| is_end(function));
        return Ok(ends.map(|(place, _)| end_of_session(time, width + place)).collect());
    }
    ordered(below, &window.partition, &window.order, window.functions.iter().all(looks_back))
}

/// Whether what a function gives for a row depends on no row behind it.
fn looks_back(function: &Arc<dyn WindowExpr>) -> bool {
    let (name, args) = called(function).map_or(("", &[][..]), |call| (call.fun().name(), call.args()));
    let is_behind = |offset: &Expr| match offset.downcast_ref::<Literal>().map(Literal::value) {
        Some(ScalarValue::Int64(Some(offset))) => *offset >= 0,
        Some(ScalarValue::Int32(Some(offset))) => *offset >= 0,
        _ => false,
    };
    match name {
        "row_number" | "rank" | "dense_rank" => true,
        "lag" => args.get(1).is_none_or(is_behind),
        "" | "first_value" | "last_value" | "nth_value" => {
            !matches!(function.get_window_frame().end_bound, WindowFrameBound::Following(_))
        }
        _ => false,
    }
}

/// What the end of a session of times says.
fn end_of_session(time: &Known, column: usize) -> Known {
    Known { of_window: true, origin: Origin::Other, ..time.at(column) }
}

/// The side of a session that a function gives, if it does.
pub fn session_side(function: &Arc<dyn WindowExpr>) -> Option<Side> {
    called(function).and_then(|call| Sessions::side(call.fun()))
}

/// The call of a window function that is no aggregate.
fn called(function: &Arc<dyn WindowExpr>) -> Option<&WindowUDFExpr> {
    let standard = function.as_any().downcast_ref::<StandardWindowExpr>()?;
    standard.get_standard_func_expr().as_any().downcast_ref::<WindowUDFExpr>()
}

/// Windows that both inputs are joined by: then a row has all of its partners when its window is over. Or times of both
/// that lie in spans of one another.
fn joined(join: &Join) -> Result<Vec<Known>> {
    let (left, right) = (closings(&join.left)?, closings(&join.right)?);
    if left.is_empty() && right.is_empty() {
        return Ok(vec![]);
    }
    let width = join.left.schema.fields().len();
    let known = known_of_pairs(join, &left, &right);
    let shown = known.into_iter().filter(|known| known.closing.column < width || join.kind == JoinKind::Inner);
    let known: Vec<Known> = shown.collect();
    match (known.is_empty(), join.kind) {
        (_, JoinKind::Full) => Err(refused("a FULL JOIN leaves the window of one side open")),
        (true, _) => Err(refused("rows may get partners at any time")
            .with_hint("Join by window_start and window_end of both sides, or by a span between their times.")),
        (false, _) => Ok(known),
    }
}

/// What the columns of pairs say, in the columns of both inputs.
pub fn known_of_pairs(join: &Join, left: &[Known], right: &[Known]) -> Vec<Known> {
    let width = join.left.schema.fields().len();
    let of = |known: &[Known], column: usize| known.iter().find(|known| known.closing.column == column).cloned();
    let mut known = vec![];
    for key in &join.keys {
        if let Some((left, right)) = of(left, key.left).zip(of(right, key.right)) {
            known.push(paired(&left, &right, 0, key.left));
            known.push(paired(&right, &left, 0, width + key.right));
        }
    }
    for bounds in join.residual.iter().flat_map(|residual| bounds_of(residual, width)) {
        let Some((left, right)) = of(left, bounds.left).zip(of(right, bounds.right)) else { continue };
        // left - right is in a span: a left row meets right ones until its time less the least of it.
        known.extend(bounds.least.map(|least| paired(&left, &right, least.saturating_neg(), bounds.left)));
        known.extend(bounds.most.map(|most| paired(&right, &left, most, width + bounds.right)));
    }
    known
}

/// A row is final when it is and when its partners are, whose times are at most so much later.
fn paired(own: &Known, other: &Known, later: i64, column: usize) -> Known {
    let with_other = |own: i64, other: i64| own.max(other.saturating_add(later));
    Known {
        closing: Closing { column, delay: with_other(own.closing.delay, other.closing.delay) },
        sealed: own.sealed.zip(other.sealed).map(|(own, other)| with_other(own, other)),
        origin: Origin::Other,
        rejects: None,
        ..own.clone()
    }
}
