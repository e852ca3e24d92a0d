//! When operators may drop what they keep: behind the watermark, where no change comes that needs it any more.
//!
//! It is not enough that a row is final for whoever waits for it. What is dropped must not be missed by a late row, nor
//! by a retraction: so only what is [sealed](super::finality) counts. In a view that emits on window close whatever
//! comes for a window that is over is left out above, so that its aggregates have dropped it earlier already.

use super::finality::{Known, closings, known_of_pairs};
use millrace_ir::{Closing, Join, Node, Plan, Reach, Window};

/// Lets every operator of a plan drop what is sealed.
pub fn free(node: &mut Node) {
    let is_aggregate = matches!(node.plan, Plan::Aggregate { .. });
    let by_key = is_aggregate.then(|| sealed(node)).and_then(|sealed| soonest(sealed.into_iter()));
    match &mut node.plan {
        Plan::Aggregate { closing, .. } if closing.is_none() => *closing = by_key,
        Plan::Distinct { input, closing } => *closing = soonest(sealed(input).into_iter()),
        Plan::TopK(top) => {
            let sealed = sealed(&top.input);
            top.closing = soonest(sealed.into_iter().filter(|sealed| top.partition.contains(&sealed.column)));
        }
        Plan::Window(window) => window.closing = of_window(window),
        Plan::Join(join) => join.closing = of_join(join),
        _ => {}
    }
    node.inputs_mut().into_iter().for_each(free);
}

/// The columns of a node that say when nothing changes any more.
fn sealed(node: &Node) -> Vec<Closing> {
    closings(node).unwrap_or_default().iter().filter_map(Known::seal).collect()
}

fn soonest(closings: impl Iterator<Item = Closing>) -> Option<Closing> {
    closings.min_by_key(|closing| closing.delay)
}

/// Partitions that are over; or, of rows in the order of their time, sessions that are over and rows that no other one
/// looks at.
fn of_window(window: &Window) -> Option<Closing> {
    let sealed = sealed(&window.input);
    let of_partition = sealed.iter().filter(|sealed| window.partition.contains(&sealed.column)).copied();
    let by_time = || {
        let [first] = window.order.as_slice() else { return None };
        let time = sealed.iter().find(|sealed| sealed.column == first.column && !first.options.descending)?;
        match window.reach {
            Reach::Partition => None,
            Reach::Rows(_) => Some(*time),
            Reach::Session(gap) => Some(Closing { delay: time.delay.saturating_add(gap), ..*time }),
        }
    };
    soonest(of_partition).or_else(by_time)
}

fn of_join(join: &Join) -> [Option<Closing>; 2] {
    let (left, right) = (closings(&join.left).unwrap_or_default(), closings(&join.right).unwrap_or_default());
    let width = join.left.schema.fields().len();
    let known = known_of_pairs(join, &left, &right);
    let sealed = || known.iter().filter_map(Known::seal);
    let of_right = sealed().filter(|sealed| sealed.column >= width);
    let of_right = of_right.map(|sealed| Closing { column: sealed.column - width, ..sealed });
    [soonest(sealed().filter(|sealed| sealed.column < width)), soonest(of_right)]
}
