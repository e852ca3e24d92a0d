//! When the rows of a plan are final, and plans that wait for it: `EMIT ON WINDOW CLOSE`.
//!
//! A row of a relation with a watermark is final when the watermark is past its time. From there up each node says for
//! which columns this still holds. An aggregate holds it for its keys: a group is final when no row of its window can
//! come. A top-k does for its partition, or for the time that it is ordered by. Where nothing of it is left, or where
//! rows come from a relation without a watermark, a row may change at any time, and waiting for it is refused.

use super::node;
use datafusion::logical_expr::WindowFrameBound;
use datafusion::physical_expr::expressions::{Column, Literal};
use datafusion::physical_expr::window::{StandardWindowExpr, WindowExpr};
use datafusion::physical_plan::windows::WindowUDFExpr;
use datafusion::scalar::ScalarValue;
use millrace_functions::event_windows::{EventWindow, Sessions, Side, TimeExpression};
use millrace_ir::{Closing, Expr, Join, JoinKind, Node, OnClose, Plan, Reach, SortColumn, TopK, Window};
use millrace_types::{Result, SqlError};
use std::sync::Arc;

/// When the rows of a view appear.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Emission {
    /// As soon as they are there, and change with what they are made from.
    #[default]
    Changes,
    /// Once, when they are final. `idle`: after so many microseconds without input the wall clock closes them, too.
    OnClose { idle: Option<i64> },
}

/// The plan whose rows wait until they are final.
///
/// # Errors
/// `0A000` with the reason, where rows never are.
pub fn on_close(node: Node, idle: Option<i64>) -> Result<Node> {
    let mut node = waiting(node, idle)?;
    bounded(&mut node, idle, true);
    Ok(node)
}

/// Puts the node that waits as high in the plan as there is a column that says when.
fn waiting(mut node: Node, idle: Option<i64>) -> Result<Node> {
    let closings = closings(&node)?;
    // Of a row in a window that of the window is meant, not that of the row.
    let best = closings.iter().find(|known| known.of_window).or(closings.first());
    if let Some(Known { closing, .. }) = best.copied() {
        return Ok(Node {
            schema: node.schema.clone(),
            append_only: true,
            partitioned_by: node.partitioned_by.clone(),
            unique_key: node.unique_key.clone(),
            event_time: Some(closing.column),
            plan: Plan::OnClose(Box::new(OnClose { input: node, closing, idle })),
        });
    }
    let is_watermarked = is_watermarked(&node);
    match &mut node.plan {
        Plan::Project { input, .. } | Plan::Filter { input, .. } | Plan::Exchange { input, .. } => {
            let below = std::mem::replace(input.as_mut(), node::nothing());
            **input = waiting(below, idle)?;
            node.append_only = true;
            Ok(node)
        }
        _ if !is_watermarked => Err(refused("nothing that it reads has a watermark")
            .with_hint("Declare one where the rows come from: WATERMARK FOR ts AS ts - INTERVAL '5 seconds'.")),
        _ => Err(refused("nothing of it says when a row is final")
            .with_hint("Group by window_start and window_end, or select the time that has a watermark.")),
    }
}

fn is_watermarked(node: &Node) -> bool {
    match &node.plan {
        Plan::Input { watermarked, .. } => *watermarked,
        _ => node.inputs().into_iter().any(is_watermarked),
    }
}

/// Lets operators below drop what is final. What aggregates come to leaves them only then: whoever is above waits for it
/// in any case, and is spared what changes in between.
fn bounded(node: &mut Node, idle: Option<i64>, is_top: bool) {
    let mut waits = None;
    if let Plan::Aggregate { input, keys, aggregates, closing } = &mut node.plan {
        let keeps_rows = aggregates.iter().any(|call| call.distinct || call.function.keeps_rows());
        let known = closings(input).unwrap_or_default();
        let of_key = |known: &Known| {
            let column = keys.iter().position(|key| *key == known.closing.column)?;
            Some(Closing { column, ..known.closing })
        };
        let first = known.iter().filter_map(of_key).min_by_key(|closing| closing.delay);
        *closing = if keeps_rows { None } else { first };
        waits = first.filter(|_| !is_top);
    }
    let passes_on =
        matches!(node.plan, Plan::OnClose(_) | Plan::Project { .. } | Plan::Filter { .. } | Plan::Exchange { .. });
    node.inputs_mut().into_iter().for_each(|input| bounded(input, idle, is_top && passes_on));
    if let Some(closing) = waits {
        let (input, event_time) = (std::mem::replace(node, node::nothing()), Some(closing.column));
        *node = Node {
            schema: input.schema.clone(),
            append_only: true,
            partitioned_by: input.partitioned_by.clone(),
            unique_key: input.unique_key.clone(),
            event_time,
            plan: Plan::OnClose(Box::new(OnClose { input, closing, idle })),
        };
    }
}

fn refused(reason: &str) -> SqlError {
    SqlError::unsupported("EMIT ON WINDOW CLOSE of this query")
        .with_detail(format!("Each row is to appear once and never to change, but {reason}."))
}

/// A column that says when rows are final.
#[derive(Clone, Copy, Debug)]
struct Known {
    closing: Closing,
    /// Whether it is a side of a window, and not the time of a row.
    of_window: bool,
    /// The step and the offset of the grid that its times lie on.
    grid: (i64, i64),
}

impl Known {
    fn at(self, column: usize) -> Known {
        Known { closing: Closing { column, ..self.closing }, ..self }
    }
}

/// The columns that say when rows of a node are final; none, where rows are not known to become so.
fn closings(node: &Node) -> Result<Vec<Known>> {
    match &node.plan {
        Plan::Input { .. } => {
            let known = |column| Known { closing: Closing { column, delay: 1 }, of_window: false, grid: (1, 0) };
            Ok(node.event_time.map(known).into_iter().collect())
        }
        Plan::Values { .. } => Ok(vec![]),
        Plan::Filter { input, .. }
        | Plan::Reject { input, .. }
        | Plan::Exchange { input, .. }
        | Plan::Distinct { input } => closings(input),
        Plan::Temporal { .. } => Err(refused("rows come and go with the wall clock")),
        Plan::OnClose(close) => closings(&close.input),
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
        Plan::Aggregate { input, keys, .. } => {
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
                false => Ok(known),
            }
        }
        Plan::TopK(top) => first_rows(top),
        Plan::Window(window) => windowed(window),
        Plan::Join(join) => joined(join),
    }
}

/// What both say; where they differ in the delay, the later one.
fn common(one: &[Known], other: &[Known]) -> Vec<Known> {
    let both = one.iter().filter_map(|known| {
        let same = other.iter().find(|other| other.closing.column == known.closing.column)?;
        let delay = known.closing.delay.max(same.closing.delay);
        let of_window = known.of_window && same.of_window;
        Some(Known { closing: Closing { delay, ..known.closing }, of_window, grid: (1, 0) })
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
            TimeExpression::Before { column, micros } => {
                let known = of(column)?.at(place);
                let closing = Closing { delay: known.closing.delay.saturating_add(micros), ..known.closing };
                let (step, offset) = known.grid;
                Some(Known { closing, grid: (step, offset.saturating_sub(micros)), ..known })
            }
            TimeExpression::Window { window, side, column } => side_of(of(column)?, &window, side, place),
        }
    });
    known.collect()
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
    let delay = time.closing.delay.saturating_add(later).saturating_sub(before_end);
    let grid = if window.zone.is_none() { (window.step, window.offset) } else { (1, 0) };
    Some(Known { closing: Closing { column, delay }, of_window: true, grid })
}

/// What remains of the first rows of partitions: windows that are partitions of their own, or the time in whose order
/// they come, behind which nothing changes.
fn first_rows(top: &TopK) -> Result<Vec<Known>> {
    ordered(closings(&top.input)?, &top.partition, &top.order, true)
}

fn ordered(below: Vec<Known>, partition: &[usize], order: &[SortColumn], looks_back: bool) -> Result<Vec<Known>> {
    let in_partition = below.iter().copied().filter(|known| partition.contains(&known.closing.column));
    let mut known: Vec<Known> = in_partition.collect();
    if known.is_empty()
        && looks_back
        // What stands in the partition, too, orders nothing.
        && let Some(first) = order.iter().find(|sort| !partition.contains(&sort.column))
        && !first.options.descending
    {
        known.extend(below.iter().filter(|known| known.closing.column == first.column));
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
        let is_end = |function| called(function).and_then(|call| Sessions::side(call.fun())) == Some(Side::End);
        let ends = window.functions.iter().enumerate().filter(|(_, function)| is_end(function));
        return Ok(ends.map(|(place, _)| Known { of_window: true, ..time.at(width + place) }).collect());
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

/// The call of a window function that is no aggregate.
fn called(function: &Arc<dyn WindowExpr>) -> Option<&WindowUDFExpr> {
    let standard = function.as_any().downcast_ref::<StandardWindowExpr>()?;
    standard.get_standard_func_expr().as_any().downcast_ref::<WindowUDFExpr>()
}

/// Windows that both inputs are joined by: then a row has all of its partners when its window is over.
fn joined(join: &Join) -> Result<Vec<Known>> {
    let (left, right) = (closings(&join.left)?, closings(&join.right)?);
    if left.is_empty() && right.is_empty() {
        return Ok(vec![]);
    }
    let width = join.left.schema.fields().len();
    let mut known = vec![];
    for key in &join.keys {
        let of_left = left.iter().find(|known| known.closing.column == key.left);
        let of_right = right.iter().find(|known| known.closing.column == key.right);
        let (Some(of_left), Some(of_right)) = (of_left, of_right) else { continue };
        let delay = of_left.closing.delay.max(of_right.closing.delay);
        known.push(Known { closing: Closing { delay, ..of_left.closing }, ..*of_left });
        if join.kind == JoinKind::Inner {
            known.push(Known { closing: Closing { delay, column: width + key.right }, ..*of_right });
        }
    }
    match (known.is_empty(), join.kind) {
        (_, JoinKind::Full) => Err(refused("a FULL JOIN leaves the window of one side open")),
        (true, _) => Err(refused("rows may get partners at any time")
            .with_hint("Join by window_start and window_end of both sides.")),
        (false, _) => Ok(known),
    }
}
