//! The fragments of a job as text.

use super::Shared;
use millrace_ir::{Job, Node, Output, Plan};
use std::collections::HashMap;
use std::fmt::Write;

/// The fragments of a job as EXPLAIN shows them, each with where its output goes. What feeds a fragment stands above
/// it.
pub fn describe(job: &Job) -> String {
    let (shared, once) = (Shared::of(&job.plan), HashMap::new());
    let mut description = Description { text: String::new(), fragments: 0, shared, once };
    let to = match &job.output {
        Output::ReadModel { key } if key.is_empty() => "read model".to_owned(),
        Output::ReadModel { key } => format!("read model by {}", numbers(key)),
        Output::Ordered { column } => format!("read model in the order of #{column}"),
        Output::Stream => "sink".to_owned(),
    };
    description.fragment(&job.plan, &to);
    description.text
}

struct Description {
    text: String,
    fragments: usize,
    shared: Shared,
    /// The fragments of shared subtrees, by the numbers of these.
    once: HashMap<usize, usize>,
}

impl Description {
    fn fragment(&mut self, root: &Node, to: &str) -> usize {
        let mut lines = String::new();
        self.node(root, 1, &mut lines);
        self.number(&lines, to)
    }

    fn number(&mut self, lines: &str, to: &str) -> usize {
        self.fragments += 1;
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "Fragment {} to {to}", self.fragments);
        self.text.push_str(lines);
        self.fragments
    }

    fn node(&mut self, node: &Node, depth: usize, lines: &mut String) {
        let Some(number) = self.shared.number(node) else { return self.unshared(node, depth, lines) };
        let fragment = match self.once.get(&number) {
            Some(fragment) => *fragment,
            None => {
                let fragment = match &node.plan {
                    Plan::Exchange { input, keys } => self.fragment(input, &workers_by(keys)),
                    _ => {
                        let mut lines = String::new();
                        self.unshared(node, 1, &mut lines);
                        self.number(&lines, "its readers")
                    }
                };
                *self.once.entry(number).or_insert(fragment)
            }
        };
        let _ = writeln!(lines, "{}Fragment {fragment}", "  ".repeat(depth));
    }

    fn unshared(&mut self, node: &Node, depth: usize, lines: &mut String) {
        let indent = "  ".repeat(depth);
        let _ = match &node.plan {
            Plan::Exchange { input, keys } => {
                let number = self.fragment(input, &workers_by(keys));
                writeln!(lines, "{indent}Fragment {number}")
            }
            _ => {
                let changes = if node.append_only { "append-only" } else { "retracting" };
                let key = node.unique_key.as_deref().map_or(String::new(), |key| format!(", key {}", numbers(key)));
                let state = state_of(node).map_or(String::new(), |state| format!(", keeps {state}"));
                let written = writeln!(lines, "{indent}{} [{changes}{key}{state}]", node.head());
                node.inputs().into_iter().for_each(|input| self.node(input, depth + 1, lines));
                written
            }
        };
    }
}

fn workers_by(keys: &[usize]) -> String {
    if keys.is_empty() { "one worker".to_owned() } else { format!("workers by {}", numbers(keys)) }
}

/// What an operator keeps, in words; `None` for one that keeps nothing.
pub(super) fn state_of(node: &Node) -> Option<&'static str> {
    match &node.plan {
        Plan::Aggregate { .. } => Some("one row per group"),
        Plan::Distinct { .. } => Some("one count per different row"),
        Plan::Join(_) => Some("the rows of its inputs, but of relations with its key"),
        Plan::TopK(top) if top.input.append_only && top.last.is_some() => Some("the first rows of each partition"),
        Plan::Temporal { .. } => Some("the rows that the clock is still to pass"),
        Plan::TopK(_) | Plan::Window(_) => Some("the rows of each partition in order"),
        Plan::LookUp(join) if join.left.append_only => Some("the rows that are looked up in"),
        Plan::LookUp(_) => Some("the rows that are looked up in, and what was found"),
        Plan::OnClose(_) => Some("the rows that are not final yet"),
        Plan::Input { .. }
        | Plan::Values { .. }
        | Plan::Filter { .. }
        | Plan::Reject { .. }
        | Plan::Project { .. }
        | Plan::Expand { .. }
        | Plan::Exchange { .. }
        | Plan::Unnest { .. }
        | Plan::Union { .. } => None,
    }
}

pub(crate) fn numbers(columns: &[usize]) -> String {
    let columns: Vec<_> = columns.iter().map(|column| format!("#{column}")).collect();
    format!("({})", columns.join(", "))
}
