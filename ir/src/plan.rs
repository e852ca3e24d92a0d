//! Plan nodes. One `Display` serves EXPLAIN and tests.

use crate::{Aggregate, Closing, OnClose, Sessions, TopK, Window};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::physical_expr::PhysicalExpr;
use millrace_types::RelationId;
use std::fmt;
use std::sync::Arc;

/// A scalar expression over the columns of a node's input.
pub type Expr = Arc<dyn PhysicalExpr>;

/// A node with what is known of its output.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// What the node does.
    pub plan: Plan,
    /// The columns of its output.
    pub schema: SchemaRef,
    /// Whether it never retracts: every weight it emits is positive.
    pub append_only: bool,
    /// Columns by which equal rows are on the same worker; `None` when nothing is known. An empty list: all rows are
    /// on one worker.
    pub partitioned_by: Option<Vec<usize>>,
    /// Columns of which no two rows of the maintained output agree, if such are known.
    pub unique_key: Option<Vec<usize>>,
    /// The column that watermarks bound: rows that come later have later times there, but for late ones.
    pub event_time: Option<usize>,
}

/// The operators of a dataflow. Between two `Exchange`s they run fused on one worker.
///
/// ```text
///            Aggregate            state: one row per group
///               |
///            Exchange             rows of one group meet on one worker
///               |
///            Project              stateless
///               |
///            Filter               stateless
///               |
///            Input bids
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum Plan {
    /// The changes of a relation. `columns` are those of the relation that the plan reads, in the order of the schema.
    /// `watermarked`: the relation has a watermark, whether or not its event time is read. `drops_late`: rows that are
    /// older than the watermark are never among them.
    Input { relation: RelationId, name: String, columns: Vec<usize>, watermarked: bool, drops_late: bool },
    /// Rows known at planning time; inserted once, when the job starts.
    Values { rows: RecordBatch },
    /// The rows for which `predicate` is true.
    Filter { input: Box<Node>, predicate: Expr },
    /// The rows but those that come too late for their windows: where `end`, the end of the window, is not after
    /// `before`, the watermark that the row came behind. Of each that is left out, the `number` in its `source` is
    /// reported.
    Reject { input: Box<Node>, source: RelationId, end: usize, before: usize, number: usize },
    /// The rows whose column `value` compares so with `moment`, an expression over a row of one column that is the wall
    /// clock: rows come and go as it goes on.
    Temporal { input: Box<Node>, value: usize, comparison: Comparison, moment: Expr },
    /// One expression for each column of the schema.
    Project { input: Box<Node>, exprs: Vec<Expr> },
    /// A row for each of `sets`, each of which has one expression for each column of the schema.
    Expand { input: Box<Node>, sets: Vec<Vec<Expr>> },
    /// Rows move to the worker that owns the hash of `keys`; none: all to the owner of the empty key's hash.
    Exchange { input: Box<Node>, keys: Vec<usize> },
    /// Groups by the columns `keys` of the input, which must be partitioned by (a subset of) them. The schema is the
    /// keys, in this order, then the aggregates. Without keys there is always exactly one row, also over no input.
    /// `sessions`: the rows of a key are several groups, and start and end of each stand behind the keys. `closing`: what
    /// is kept of a group is dropped, without a retraction, when this says so. `once`: only then is its row given.
    Aggregate {
        input: Box<Node>,
        keys: Vec<usize>,
        sessions: Option<Sessions>,
        aggregates: Vec<Aggregate>,
        closing: Option<Closing>,
        once: bool,
    },
    /// Each different row once. The input must be partitioned by (a subset of) its columns. `closing`: what is kept of a
    /// row is dropped when this says that no change of it can come.
    Distinct { input: Box<Node>, closing: Option<Closing> },
    /// The rows that come first in the order of their partition.
    TopK(Box<TopK>),
    /// Each row with what functions over its partition give for it.
    Window(Box<Window>),
    /// Rows and their partners; both inputs must be partitioned by the join's keys, in the same order of keys.
    Join(Box<Join>),
    /// Each row of the left input with what it finds on the right as of when it comes; what becomes of the right input later
    /// changes nothing. The kind is `Inner` or `Left`.
    LookUp(Box<Join>),
    /// Each row as often as the longest of its arrays in the columns `lists` has elements, with the elements in place
    /// of the arrays, NULL where one is shorter. `outer`: a row whose arrays are all empty or NULL stays, with NULLs.
    Unnest { input: Box<Node>, lists: Vec<usize>, outer: bool },
    /// Rows that wait until they are final. Nothing is ever retracted.
    OnClose(Box<OnClose>),
    /// All rows of all inputs, which share the schema.
    Union { inputs: Vec<Node> },
}

/// How a value compares with a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Comparison {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Comparison::Less => "<",
            Comparison::LessOrEqual => "<=",
            Comparison::Greater => ">",
            Comparison::GreaterOrEqual => ">=",
        })
    }
}

/// What a join gives. A row's partners are the rows of the other input that it makes a pair with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinKind {
    /// Pairs.
    Inner,
    /// Pairs, and rows of the left input without a partner, with NULLs for the right columns.
    Left,
    /// Pairs, and rows of either input without a partner, with NULLs for the columns of the other.
    Full,
    /// Rows of the left input that have a partner, each as often as it is there.
    Semi,
    /// Rows of the left input that have none.
    Anti,
    /// All rows of the left input, each with whether it has a partner.
    Mark,
}

/// The two inputs of a join and its condition. The schema of the node is the left columns, then the right ones; of
/// `Semi` and `Anti` the left columns alone, of `Mark` the left columns and a boolean.
#[derive(Clone, Debug, PartialEq)]
pub struct Join {
    pub kind: JoinKind,
    pub left: Node,
    pub right: Node,
    /// Columns that must be equal; without any, all rows of one worker meet.
    pub keys: Vec<JoinKey>,
    /// A further condition over the left columns followed by the right ones.
    pub residual: Option<Expr>,
    /// For each input, in its own columns: a row is dropped when this says that neither it nor any partner of it can come
    /// or go, by the lesser of the watermarks of both inputs.
    pub closing: [Option<Closing>; 2],
}

/// A column of each input, of the same type, that are equal in a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JoinKey {
    pub left: usize,
    pub right: usize,
    /// Whether NULL matches NULL (`IS NOT DISTINCT FROM`); usually it matches nothing.
    pub nulls_match: bool,
}

impl JoinKind {
    /// Whether pairs stand in the output.
    pub fn gives_pairs(self) -> bool {
        matches!(self, JoinKind::Inner | JoinKind::Left | JoinKind::Full)
    }
}

impl fmt::Display for JoinKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.nulls_match { "is" } else { "=" };
        write!(f, "#{} {sign} #{}", self.left, self.right)
    }
}

impl Node {
    /// The nodes whose output this one reads, left to right.
    pub fn inputs(&self) -> Vec<&Node> {
        match &self.plan {
            Plan::Input { .. } | Plan::Values { .. } => vec![],
            Plan::Filter { input, .. }
            | Plan::Reject { input, .. }
            | Plan::Temporal { input, .. }
            | Plan::Project { input, .. }
            | Plan::Expand { input, .. }
            | Plan::Exchange { input, .. }
            | Plan::Aggregate { input, .. }
            | Plan::Unnest { input, .. }
            | Plan::Distinct { input, .. } => vec![input],
            Plan::TopK(top) => vec![&top.input],
            Plan::Window(window) => vec![&window.input],
            Plan::OnClose(close) => vec![&close.input],
            Plan::Join(join) | Plan::LookUp(join) => vec![&join.left, &join.right],
            Plan::Union { inputs } => inputs.iter().collect(),
        }
    }

    /// As [`Node::inputs`], to be changed.
    pub fn inputs_mut(&mut self) -> Vec<&mut Node> {
        match &mut self.plan {
            Plan::Input { .. } | Plan::Values { .. } => vec![],
            Plan::Filter { input, .. }
            | Plan::Reject { input, .. }
            | Plan::Temporal { input, .. }
            | Plan::Project { input, .. }
            | Plan::Expand { input, .. }
            | Plan::Exchange { input, .. }
            | Plan::Aggregate { input, .. }
            | Plan::Unnest { input, .. }
            | Plan::Distinct { input, .. } => vec![input],
            Plan::TopK(top) => vec![&mut top.input],
            Plan::Window(window) => vec![&mut window.input],
            Plan::OnClose(close) => vec![&mut close.input],
            Plan::Join(join) | Plan::LookUp(join) => vec![&mut join.left, &mut join.right],
            Plan::Union { inputs } => inputs.iter_mut().collect(),
        }
    }

    /// Every relation that the plan reads, with the columns read, in the order of the plan; a relation read twice
    /// stands twice.
    pub fn relations(&self) -> Vec<(RelationId, &[usize])> {
        match &self.plan {
            Plan::Input { relation, columns, .. } => vec![(*relation, columns)],
            _ => self.inputs().into_iter().flat_map(Node::relations).collect(),
        }
    }

    /// The node's line in the plan's tree, without what is known of its output.
    pub fn head(&self) -> impl fmt::Display + '_ {
        fmt::from_fn(|f| self.write_head(f))
    }

    fn write_head(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.plan {
            Plan::Input { name, .. } => {
                let columns: Vec<_> = self.schema.fields().iter().map(|field| field.name().as_str()).collect();
                write!(f, "Input {name} ({})", columns.join(", "))
            }
            Plan::Values { rows } => write!(f, "Values ({} rows)", rows.num_rows()),
            Plan::Filter { predicate, .. } => write!(f, "Filter {predicate}"),
            Plan::Reject { end, before, .. } => write!(f, "Reject #{end} <= #{before}"),
            Plan::Temporal { value, comparison, moment, .. } => write!(f, "Temporal #{value} {comparison} {moment}"),
            Plan::Project { exprs, .. } => write!(f, "Project {}", list(exprs)),
            Plan::Expand { sets, .. } => write!(f, "Expand to {} rows", sets.len()),
            Plan::Exchange { keys, .. } if keys.is_empty() => write!(f, "Exchange to one worker"),
            Plan::Exchange { keys, .. } => write!(f, "Exchange by {}", columns(keys)),
            Plan::Aggregate { keys, sessions, aggregates, closing, once, .. } => {
                write!(f, "Aggregate by {}", columns(keys))?;
                sessions.map_or(Ok(()), |sessions| write!(f, "{sessions}"))?;
                write!(f, " compute {}", list(aggregates))?;
                until(f, *closing)?;
                if *once { write!(f, ", once") } else { Ok(()) }
            }
            Plan::Distinct { closing, .. } => {
                write!(f, "Distinct")?;
                until(f, *closing)
            }
            Plan::TopK(top) => write!(f, "{top}"),
            Plan::Window(window) => write!(f, "{window}"),
            Plan::OnClose(close) => write!(f, "{close}"),
            Plan::Join(join) | Plan::LookUp(join) => {
                let what = if matches!(self.plan, Plan::Join(_)) { "Join" } else { "LookUp" };
                write!(f, "{:?}{what} ({})", join.kind, list(&join.keys))?;
                join.residual.as_ref().map_or(Ok(()), |residual| write!(f, " and {residual}"))?;
                join.closing.into_iter().try_for_each(|closing| until(f, closing))
            }
            Plan::Unnest { lists, outer, .. } => {
                write!(f, "{} {}", if *outer { "OuterUnnest" } else { "Unnest" }, columns(lists))
            }
            Plan::Union { .. } => write!(f, "Union"),
        }
    }

    fn tree(&self, f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
        write!(f, "{:width$}", "", width = depth * 2)?;
        self.write_head(f)?;
        f.write_str(if self.append_only { " [append-only" } else { " [retracting" })?;
        if let Some(key) = &self.unique_key {
            write!(f, ", key {}", columns(key))?;
        }
        if let Some(time) = self.event_time {
            write!(f, ", time #{time}")?;
        }
        f.write_str("]\n")?;
        self.inputs().into_iter().try_for_each(|input| input.tree(f, depth + 1))
    }
}

impl fmt::Display for Node {
    /// An indented tree, root first, a line per node.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tree(f, 0)
    }
}

/// Until when state is kept.
pub(crate) fn until(f: &mut fmt::Formatter<'_>, closing: Option<Closing>) -> fmt::Result {
    closing.map_or(Ok(()), |closing| write!(f, " until {closing}"))
}

pub(crate) fn columns(columns: &[usize]) -> String {
    let names: Vec<_> = columns.iter().map(|column| format!("#{column}")).collect();
    format!("({})", names.join(", "))
}

fn list(items: &[impl fmt::Display]) -> String {
    items.iter().map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
}
