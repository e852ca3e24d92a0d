//! Look-ups: joins with the rows of the other side as of when a row comes.

use crate::lower::refuse::in_view;
use millrace_ir::{JoinKind, Node, Plan};
use millrace_types::Result;

/// A join as a look-up of its left rows in its right ones.
pub fn looked_up(kind: JoinKind, mirrored: bool, mut node: Node) -> Result<Node> {
    let join = match node.plan {
        Plan::Join(join) if !mirrored && matches!(kind, JoinKind::Inner | JoinKind::Left) && !join.keys.is_empty() => {
            join
        }
        _ => return Err(in_view("FOR SYSTEM_TIME AS OF PROCTIME() in a join of this form")),
    };
    let width = join.left.schema.fields().len();
    let finds_one = |right: &[usize]| right.iter().all(|column| join.keys.iter().any(|key| key.right == *column));
    // Not the right key alone: a row that has changed its join key may have been found under both.
    node.unique_key = join.left.unique_key.clone().zip(join.right.unique_key.as_ref()).map(|(mut left, right)| {
        if !finds_one(right) {
            left.extend(right.iter().map(|column| column + width));
        }
        left
    });
    node.append_only = join.left.append_only;
    node.event_time = join.left.event_time;
    node.plan = Plan::LookUp(join);
    Ok(node)
}
