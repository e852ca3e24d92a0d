//! When the rows of a plan are final, and plans that wait for it: `EMIT ON WINDOW CLOSE`.
//!
//! A row of a relation with a watermark is final when the watermark is past its time. From there up each node says for
//! which columns this still holds. An aggregate holds it for its keys: a group is final when no row of its window can
//! come. A top-k does for its partition, or for the time that it is ordered by. Where nothing of it is left, or where
//! rows come from a relation without a watermark, a row may change at any time, and waiting for it is refused.

use super::finality::{closings, refused};
use super::node;
use datafusion::physical_expr::expressions::Column;
use millrace_ir::{Aggregate, AggregateFunction, Closing, JoinKind, Node, OnClose, Plan};
use millrace_types::Result;

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
    give_once(&mut node);
    only_added(&mut node);
    Ok(node)
}

/// Puts the node that waits as high in the plan as there is a column that says when.
fn waiting(mut node: Node, idle: Option<i64>) -> Result<Node> {
    let closings = closings(&node)?;
    // Of a row in a window that of the window is meant, not that of the row; and of this the end: windows of one start may
    // end one after the other.
    let of_windows = closings.iter().filter(|known| known.of_window);
    let best = of_windows.min_by_key(|known| known.closing.delay).or(closings.first());
    if let Some(closing) = best.map(|known| known.closing) {
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

/// Whether something that a plan reads has a watermark.
pub fn is_watermarked(node: &Node) -> bool {
    match &node.plan {
        Plan::Input { watermarked, .. } => *watermarked,
        _ => node.inputs().into_iter().any(is_watermarked),
    }
}

/// Lets operators below drop what is final. What aggregates come to leaves them only then: whoever is above waits for it
/// in any case, and is spared what changes in between.
fn bounded(node: &mut Node, idle: Option<i64>, is_top: bool) {
    let mut waits = None;
    let is_aggregate = matches!(node.plan, Plan::Aggregate { .. });
    let known = if is_aggregate { closings(node).unwrap_or_default() } else { vec![] };
    let first = known.iter().map(|known| known.closing).min_by_key(|closing| closing.delay);
    if let Plan::Aggregate { closing, .. } = &mut node.plan {
        *closing = first;
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

/// Lets aggregates give what waits right above them once and by themselves, which saves all changes in between. By the
/// wall clock rows leave without their groups.
fn give_once(node: &mut Node) {
    if let Plan::OnClose(close) = &mut node.plan
        && close.idle.is_none()
        && gives_once(&mut close.input, close.closing)
    {
        let input = std::mem::replace(&mut close.input, node::nothing());
        *node = Node { event_time: node.event_time, ..input };
    }
    node.inputs_mut().into_iter().for_each(give_once);
}

/// Makes the aggregate below a node give its rows when they are final by a column of the node. Answers whether it does.
fn gives_once(node: &mut Node, by: Closing) -> bool {
    let known = matches!(node.plan, Plan::Aggregate { .. }) && is_known(node, by);
    let gives = match &mut node.plan {
        Plan::Project { input, exprs } => match exprs[by.column].downcast_ref::<Column>() {
            Some(column) => gives_once(input, Closing { column: column.index(), ..by }),
            None => false,
        },
        Plan::Filter { input, .. } | Plan::Exchange { input, .. } => gives_once(input, by),
        Plan::Aggregate { aggregates, closing, once, .. } => {
            // What is computed at the end of a tick is computed for the groups that changed in it.
            let at_any_time = |call: &Aggregate| !call.distinct && !matches!(call.function, AggregateFunction::Call(_));
            *once = known && aggregates.iter().all(at_any_time);
            if *once {
                *closing = Some(by);
            }
            *once
        }
        _ => false,
    };
    node.append_only |= gives;
    gives
}

/// What is above rows that are given once may only add rows, too.
fn only_added(node: &mut Node) {
    node.inputs_mut().into_iter().for_each(only_added);
    let passes_on = match &node.plan {
        Plan::Project { .. }
        | Plan::Filter { .. }
        | Plan::Reject { .. }
        | Plan::Exchange { .. }
        | Plan::Unnest { .. }
        | Plan::Expand { .. }
        | Plan::Distinct { .. }
        | Plan::Union { .. } => true,
        Plan::Join(join) => join.kind == JoinKind::Inner,
        _ => false,
    };
    node.append_only |= passes_on && node.inputs().into_iter().all(|input| input.append_only);
}

fn is_known(node: &Node, closing: Closing) -> bool {
    closings(node).unwrap_or_default().iter().any(|known| known.closing == closing)
}
