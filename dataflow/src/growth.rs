//! What each operator of a plan emits and keeps, and what bounds what it keeps: EXPLAIN (CHANGELOG, STATE).

use crate::render::{head, numbers};
use millrace_ir::{Node, Plan};
use std::fmt::Write;

/// Which of it is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    pub changelog: bool,
    pub state: bool,
}

/// What an operator keeps.
struct Kept {
    what: String,
    /// What it grows with.
    bound: Bound,
}

enum Bound {
    /// It never grows.
    Constant,
    /// With the rows that are there, and shrinks with them.
    Rows,
    /// With the rows that the watermark has not passed.
    Watermark,
    /// With every row that ever came, or every different key of one: nothing takes it back.
    Nothing(String),
}

/// The operators of a plan, root first, each with lines of what was asked for; and at the end how many keep what nothing
/// bounds.
pub fn describe(root: &Node, shown: Shown) -> String {
    let mut text = String::new();
    let mut warnings = 0;
    let keeps = Kept { what: "every row of the view".to_owned(), bound: of_rows(root, "the view") };
    // Writing to a string cannot fail.
    let _ = writeln!(text, "Read model");
    lines(&mut text, 1, root, Some(keeps), shown, &mut warnings);
    node(&mut text, 1, root, shown, &mut warnings);
    if shown.state {
        let _ = match warnings {
            0 => writeln!(text, "State: bounded by the rows that are there"),
            1 => writeln!(text, "State: WARNING: nothing bounds what one operator keeps"),
            many => writeln!(text, "State: WARNING: nothing bounds what {many} operators keep"),
        };
    }
    text
}

fn node(text: &mut String, depth: usize, of: &Node, shown: Shown, warnings: &mut usize) {
    let _ = writeln!(text, "{}{}", "  ".repeat(depth), head(of));
    lines(text, depth + 1, of, kept(of), shown, warnings);
    of.inputs().into_iter().for_each(|input| node(text, depth + 1, input, shown, warnings));
}

fn lines(text: &mut String, depth: usize, of: &Node, kept: Option<Kept>, shown: Shown, warnings: &mut usize) {
    let indent = "  ".repeat(depth);
    if shown.changelog {
        let changes = if of.append_only { "append-only: rows are never taken back" } else { "retracting" };
        let key = of.unique_key.as_deref().map_or(String::new(), |key| format!(", one row per {}", numbers(key)));
        let _ = writeln!(text, "{indent}- emits {changes}{key}");
    }
    let Some(kept) = kept.filter(|_| shown.state) else { return };
    let _ = match kept.bound {
        Bound::Constant => writeln!(text, "{indent}- keeps {}: constant", kept.what),
        Bound::Watermark => writeln!(text, "{indent}- keeps {}: until the watermark passes them", kept.what),
        Bound::Rows => writeln!(text, "{indent}- keeps {}: as long as its rows are there", kept.what),
        Bound::Nothing(why) => {
            *warnings += 1;
            writeln!(text, "{indent}- keeps {}: WARNING: nothing bounds it, {why}", kept.what)
        }
    };
}

/// The bound of what is kept of each row of an input.
fn of_rows(input: &Node, name: &str) -> Bound {
    match input.append_only {
        false => Bound::Rows,
        true => Bound::Nothing(format!("since {name} only ever grows")),
    }
}

/// The bound of what is kept for each different key of an input.
fn of_groups(input: &Node, keys: &[usize]) -> Bound {
    match (keys.is_empty(), input.append_only) {
        (true, _) => Bound::Constant,
        (false, false) => Bound::Rows,
        (false, true) => Bound::Nothing(format!("since groups by {} never go", numbers(keys))),
    }
}

fn kept(node: &Node) -> Option<Kept> {
    let kept = |what: &str, bound| Some(Kept { what: what.to_owned(), bound });
    match &node.plan {
        Plan::Aggregate { input, aggregates, .. } if aggregates.iter().any(|a| a.function.keeps_rows()) => {
            kept("the rows of each group", of_rows(input, "the input"))
        }
        Plan::Aggregate { input, aggregates, .. } if aggregates.iter().any(|aggregate| aggregate.distinct) => {
            kept("one row per group and each different argument", of_rows(input, "the input"))
        }
        Plan::Aggregate { closing: Some(_), .. } => kept("one row per group", Bound::Watermark),
        Plan::Aggregate { input, keys, .. } => {
            kept(if keys.is_empty() { "one row" } else { "one row per group" }, of_groups(input, keys))
        }
        Plan::Distinct { input } => kept("one count per different row", of_rows(input, "the input")),
        Plan::Join(join) => {
            let bound = match (join.left.append_only, join.right.append_only) {
                (true, true) => Bound::Nothing("since both inputs only ever grow".to_owned()),
                (true, false) => of_rows(&join.left, "the left input"),
                _ => of_rows(&join.right, "the right input"),
            };
            kept("the rows of both inputs", bound)
        }
        Plan::Temporal { .. } => kept("the rows that the clock is still to pass", Bound::Rows),
        Plan::TopK(top) if top.input.append_only && top.last.is_some() => {
            kept("the first rows of each partition", of_groups(&top.input, &top.partition))
        }
        Plan::TopK(top) => kept("the rows of each partition in order", of_rows(&top.input, "the input")),
        Plan::Window(window) => kept("the rows of each partition in order", of_rows(&window.input, "the input")),
        Plan::OnClose(_) => kept("the rows that are not final yet", Bound::Watermark),
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
