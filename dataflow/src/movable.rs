//! Whether a plan is the one whose state was kept, and whether that state may go to other workers.

use crate::exchange::owner_of_no_key;
use crate::worker::partition_of;
use millrace_ir::{Job, Node, Output, Plan};
use millrace_types::hash::mix;
use millrace_types::{KeyGroupRange, Result};
use std::fmt::Write;

/// A hash of all that a plan says.
pub fn fingerprint(plan: &Node) -> u64 {
    struct Hashed(u64);
    impl Write for Hashed {
        fn write_str(&mut self, text: &str) -> std::fmt::Result {
            for byte in text.bytes() {
                self.0 = mix(self.0 ^ u64::from(byte)).wrapping_add(1);
            }
            Ok(())
        }
    }
    let mut hashed = Hashed(0);
    // Writing to a number does not fail.
    let _ = write!(hashed, "{plan:?}");
    hashed.0
}

/// The key groups of the rows that a worker has of a job's read model. Rows that are all on one worker are kept by other
/// hashes than the one that says which.
pub fn moved_groups(job: &Job, (worker, workers): (usize, usize)) -> Result<KeyGroupRange> {
    Ok(match job.plan.partitioned_by.as_deref() {
        Some([]) if owner_of_no_key(workers)? == worker => KeyGroupRange::all(),
        Some([]) => KeyGroupRange(0..0),
        _ => KeyGroupRange::of_worker(worker, workers),
    })
}

/// Whether each row of a job's state is placed by the hash that it is kept under. Rows are often placed by less, when a
/// part of a key was enough to bring them together; then only the worker that had them can have them again.
pub fn is_movable(job: &Job) -> bool {
    let placed = job.plan.partitioned_by.as_deref();
    let is_read = match &job.output {
        Output::Stream => true,
        Output::Ordered { .. } => false,
        Output::ReadModel { .. } if placed.is_none() => job.plan.append_only && partition_of(job).is_empty(),
        Output::ReadModel { .. } => placed == Some(&[]) || placed == Some(&partition_of(job)[..]),
    };
    is_read && moves(&job.plan)
}

fn moves(node: &Node) -> bool {
    let placed_by = |input: &Node, key: &[usize]| input.partitioned_by.as_deref() == Some(key);
    let own = match &node.plan {
        Plan::Aggregate { input, keys, .. } => placed_by(input, keys),
        Plan::Distinct { input, .. } => input.partitioned_by.is_some(),
        Plan::Join(join) => {
            let left: Vec<usize> = join.keys.iter().map(|key| key.left).collect();
            let right: Vec<usize> = join.keys.iter().map(|key| key.right).collect();
            placed_by(&join.left, &left) && placed_by(&join.right, &right)
        }
        Plan::TopK(top) => placed_by(&top.input, &top.partition),
        Plan::Window(window) => placed_by(&window.input, &window.partition),
        Plan::OnClose(close) => close.idle.is_none() && close.input.partitioned_by.is_some(),
        Plan::Temporal { .. } | Plan::LookUp(_) => false,
        Plan::Input { .. }
        | Plan::Values { .. }
        | Plan::Filter { .. }
        | Plan::Reject { .. }
        | Plan::Project { .. }
        | Plan::Expand { .. }
        | Plan::Exchange { .. }
        | Plan::Unnest { .. }
        | Plan::Union { .. } => true,
    };
    own && node.inputs().into_iter().all(moves)
}
