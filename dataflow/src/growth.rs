//! What each operator of a plan emits and keeps, and what bounds what it keeps: EXPLAIN (CHANGELOG, STATE).

use crate::render::{Keeper, Shared, borrowable, is_self_join, numbers};
use millrace_ir::{Join, JoinKind, Node, Plan};
use std::collections::HashSet;
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
/// bounds. `keeper`: who keeps a relation by a key.
pub fn describe(root: &Node, shown: Shown, keeper: Keeper) -> String {
    let (shared, seen) = (Shared::of(root), HashSet::new());
    let mut description = Description { text: String::new(), warnings: 0, shown, keeper, shared, seen };
    let keeps = Kept { what: "every row of the view".to_owned(), bound: of_rows(root, "the view") };
    // Writing to a string cannot fail.
    let _ = writeln!(description.text, "Read model");
    description.lines(1, root, Some(keeps));
    description.node(1, root);
    let Description { mut text, warnings, .. } = description;
    if shown.state {
        let _ = match warnings {
            0 => writeln!(text, "State: bounded by the rows that are there"),
            1 => writeln!(text, "State: WARNING: nothing bounds what one operator keeps"),
            many => writeln!(text, "State: WARNING: nothing bounds what {many} operators keep"),
        };
    }
    text
}

struct Description<'a> {
    text: String,
    warnings: usize,
    shown: Shown,
    keeper: Keeper<'a>,
    shared: Shared,
    /// The shared subtrees that are described already.
    seen: HashSet<usize>,
}

impl Description<'_> {
    fn node(&mut self, depth: usize, node: &Node) {
        let again = self.shared.number(node).is_some_and(|number| !self.seen.insert(number));
        let note = if again { ": the same as above, which runs once" } else { "" };
        let _ = writeln!(self.text, "{}{}{note}", "  ".repeat(depth), node.head());
        if !again {
            self.lines(depth + 1, node, kept(node, self.keeper));
            node.inputs().into_iter().for_each(|input| self.node(depth + 1, input));
        }
    }

    fn lines(&mut self, depth: usize, of: &Node, kept: Option<Kept>) {
        let (text, indent) = (&mut self.text, "  ".repeat(depth));
        if self.shown.changelog {
            let changes = if of.append_only { "append-only: rows are never taken back" } else { "retracting" };
            let key = of.unique_key.as_deref().map_or(String::new(), |key| format!(", one row per {}", numbers(key)));
            let _ = writeln!(text, "{indent}- emits {changes}{key}");
        }
        let Some(kept) = kept.filter(|_| self.shown.state) else { return };
        let _ = match kept.bound {
            Bound::Constant => writeln!(text, "{indent}- keeps {}: constant", kept.what),
            Bound::Watermark => writeln!(text, "{indent}- keeps {}: until the watermark passes them", kept.what),
            Bound::Rows => writeln!(text, "{indent}- keeps {}: as long as its rows are there", kept.what),
            Bound::Nothing(why) => {
                self.warnings += 1;
                writeln!(text, "{indent}- keeps {}: WARNING: nothing bounds it, {why}", kept.what)
            }
        };
    }
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

fn kept(node: &Node, keeper: Keeper) -> Option<Kept> {
    let kept = kept_of(node, keeper)?;
    Some(if is_freed(&node.plan) { Kept { bound: Bound::Watermark, ..kept } } else { kept })
}

/// Whether the watermark bounds what an operator keeps.
fn is_freed(plan: &Plan) -> bool {
    match plan {
        Plan::Aggregate { closing, .. } | Plan::Distinct { closing, .. } => closing.is_some(),
        Plan::TopK(top) => top.closing.is_some(),
        Plan::Window(window) => window.closing.is_some(),
        Plan::Join(join) => join.closing.iter().all(Option::is_some),
        _ => false,
    }
}

fn kept_of(node: &Node, keeper: Keeper) -> Option<Kept> {
    let kept = |what: &str, bound| Some(Kept { what: what.to_owned(), bound });
    match &node.plan {
        Plan::Aggregate { input, aggregates, .. } if aggregates.iter().any(|a| a.function.keeps_rows()) => {
            kept("the rows of each group", of_rows(input, "the input"))
        }
        Plan::Aggregate { input, aggregates, .. } if aggregates.iter().any(|aggregate| aggregate.distinct) => {
            kept("one row per group and each different argument", of_rows(input, "the input"))
        }
        Plan::Aggregate { input, keys, .. } => {
            kept(if keys.is_empty() { "one row" } else { "one row per group" }, of_groups(input, keys))
        }
        Plan::Distinct { input, .. } => kept("one count per different row", of_rows(input, "the input")),
        Plan::Join(join) => Some(kept_by_join(join, keeper)),
        Plan::LookUp(join) => kept("the rows that are looked up in", of_rows(&join.right, "the right input")),
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

/// The rows of the inputs that nobody else keeps by the join's key, and for what is not an inner join how many pairs
/// each row is in.
fn kept_by_join(join: &Join, keeper: Keeper) -> Kept {
    let lent = borrowable(join, keeper);
    let sides = [(&join.left, "the left input"), (&join.right, "the right input")];
    let own: Vec<_> = sides.into_iter().zip(&lent).filter(|(_, lent)| lent.is_none()).map(|(side, _)| side).collect();
    let mut what = match own[..] {
        [_, _] if is_self_join(join) => "the rows of the one relation once".to_owned(),
        [] => "no rows".to_owned(),
        [(_, name)] => format!("the rows of {name}"),
        _ => "the rows of both inputs".to_owned(),
    };
    for lent in lent.iter().flatten() {
        what += &format!(", not those of {}, which are read where it keeps them", lent.name);
    }
    let counted = match join.kind {
        JoinKind::Inner => &sides[..0],
        JoinKind::Full => &sides[..],
        _ => &sides[..1],
    };
    for (_, name) in counted {
        what += &format!(", a count per row of {name}");
    }
    let growing = |(input, _): &(&Node, &str)| input.append_only;
    let bound = match (own.iter().find(|side| growing(side)), counted.iter().find(|side| growing(side))) {
        _ if own.iter().filter(|side| growing(side)).count() == 2 => {
            Bound::Nothing("since both inputs only ever grow".to_owned())
        }
        (Some((input, name)), _) | (None, Some((input, name))) => of_rows(input, name),
        (None, None) if own.is_empty() && counted.is_empty() => Bound::Constant,
        (None, None) => Bound::Rows,
    };
    Kept { what, bound }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::{DataType, Field, Schema};
    use millrace_ir::JoinKey;
    use millrace_types::RelationId;
    use std::sync::Arc;

    /// A join of two relations, or of one with itself, by their first columns.
    fn join(relations: [u32; 2]) -> Node {
        let schema = Arc::new(Schema::new(vec![Field::new("k", DataType::Int64, true)]));
        let node = |plan| Node {
            plan,
            schema: schema.clone(),
            append_only: false,
            partitioned_by: None,
            unique_key: None,
            event_time: None,
        };
        let [left, right] = relations.map(|id| {
            let name = format!("r{id}");
            let input = node(Plan::Input {
                relation: RelationId(id),
                name,
                columns: vec![0],
                watermarked: false,
                drops_late: false,
            });
            node(Plan::Exchange { input: Box::new(input), keys: vec![0] })
        });
        let keys = vec![JoinKey { left: 0, right: 0, nulls_match: false }];
        node(Plan::Join(Box::new(Join {
            kind: JoinKind::Inner,
            left,
            right,
            keys,
            residual: None,
            closing: [None, None],
        })))
    }

    #[test]
    fn a_join_keeps_what_nobody_keeps_for_it() {
        let keeps = |relations, kept_elsewhere: &[u32]| {
            let keeper = |id: RelationId, _: &[usize]| kept_elsewhere.contains(&id.0).then_some(id);
            describe(&join(relations), Shown { changelog: false, state: true }, &keeper)
                .lines()
                .filter_map(|line| line.trim().strip_prefix("- keeps ").map(str::to_owned))
                .nth(1)
                .unwrap()
        };
        let there = "as long as its rows are there";
        assert_eq!(keeps([1, 2], &[]), format!("the rows of both inputs: {there}"));
        let lent = "not those of r2, which are read where it keeps them";
        assert_eq!(keeps([1, 2], &[2]), format!("the rows of the left input, {lent}: {there}"));
        assert!(keeps([1, 2], &[1, 2]).starts_with("no rows, not those of r1"));
        assert_eq!(keeps([1, 1], &[]), format!("the rows of the one relation once: {there}"));
    }
}
