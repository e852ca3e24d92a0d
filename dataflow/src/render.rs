//! From the plan to fragments: where operators are fused and where rows change workers.
//!
//! ```text
//!   Materialize             |  stage 1, fed by stage 0
//!     Aggregate             |
//!       Exchange          ==+==
//!         Filter            |  stage 0, fed by port 0
//!           Input         port 0
//! ```
//!
//! Everything between two exchanges becomes one fragment, and so does what several nodes read ([`shared`]).
//! With one worker an exchange does nothing and the whole plan is one fragment.

mod describe;
mod loan;
mod shared;

pub use describe::describe;
pub(crate) use describe::numbers;
pub use loan::{Keeper, Loan};
pub(crate) use loan::{borrowable, is_self_join};
pub(crate) use shared::Shared;

use crate::exchange::owner_of_no_key;
use crate::fragment::{Fragment, Target};
use crate::operator::Operator;
use crate::operators::{
    Aggregate, AggregateOptions, Distinct, Expand, Filter, Join, JoinOptions, LookUp, LookUpOptions, OnClose,
    OnCloseOptions, Project, Reject, Temporal, TopK, TopKOptions, Union, Unnest, Window, WindowOptions,
};
use crate::state::Borrowed;
use crate::timely::Feeder;
use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use millrace_ir::{Job, Node, Plan};
use millrace_types::{Delta, RelationId, Result, SqlError};
use std::collections::HashMap;

/// A job as it runs: fragments and what joins them.
pub struct Graph {
    /// Where changes enter.
    pub ports: Vec<Port>,
    /// The fragments; each stands after those that feed it, and the last ends the job.
    pub stages: Vec<Stage>,
    /// The relations that operators read where their read models keep them.
    pub loans: Vec<Loan>,
    /// Whether what time it is matters to the job.
    pub timed: bool,
}

/// A leaf of the plan.
#[derive(Clone, Debug)]
pub struct Port {
    pub leaf: Leaf,
    /// The columns that the plan reads, by their numbers in the relation.
    pub columns: Vec<usize>,
    /// The columns as the plan knows them.
    pub schema: SchemaRef,
    /// The key of the exchange that stands right above the leaf, if one does.
    pub exchanged_by: Option<Vec<usize>>,
    /// Whether its relation has a watermark.
    pub watermarked: bool,
}

/// Where a leaf's rows come from.
#[derive(Clone, Debug)]
pub enum Leaf {
    /// From a relation, as it changes.
    Relation(RelationId),
    /// From the plan, once.
    Values(Delta),
}

/// A fragment in its job.
pub struct Stage {
    pub name: String,
    pub fragment: Fragment,
    /// What feeds the inputs of the fragment.
    pub feeds: Vec<Feed>,
    /// The key of the exchange that the output goes through; `None` when the rows stay on their worker.
    pub exchanged_by: Option<Vec<usize>>,
    /// The ports below it whose relations have a watermark.
    leaves: Vec<usize>,
}

/// What feeds an input of a fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feed {
    Port(usize),
    Stage(usize),
}

/// Makes the fragments of a job for `worker` of `workers`. `keeper`: who keeps a relation by a key.
///
/// # Errors
/// `0A000` when an operator cannot do what the plan asks for.
pub fn render(job: &Job, worker: usize, workers: usize, keeper: Keeper) -> Result<Graph> {
    let graph = Graph { ports: vec![], stages: vec![], loans: vec![], timed: is_timed(&job.plan) };
    let (shared, once) = (Shared::of(&job.plan), HashMap::new());
    let mut rendering = Rendering { worker, workers, keeper, graph, shared, once, operators: 0 };
    rendering.stage(&job.plan, None)?;
    Ok(rendering.graph)
}

/// Whether something in a plan goes by watermarks or by the clock.
fn is_timed(node: &Node) -> bool {
    match &node.plan {
        Plan::Input { watermarked, .. } => *watermarked,
        Plan::Temporal { .. } => true,
        _ => node.inputs().into_iter().any(is_timed),
    }
}

struct Rendering<'a> {
    worker: usize,
    workers: usize,
    keeper: Keeper<'a>,
    graph: Graph,
    shared: Shared,
    /// The stages of shared subtrees, by the numbers of these.
    once: HashMap<usize, usize>,
    /// How many operators there are. Their numbers do not depend on how many workers there are.
    operators: u32,
}

/// A fragment being made.
#[derive(Default)]
struct Making {
    fragment: Fragment,
    feeds: Vec<Feed>,
    leaves: Vec<usize>,
}

impl Making {
    fn add_feed(&mut self, feed: Feed, target: Target, graph: &Graph) {
        let leaves = match feed {
            Feed::Port(port) if graph.ports[port].watermarked => vec![port],
            Feed::Port(_) => vec![],
            Feed::Stage(stage) => graph.stages[stage].leaves.clone(),
        };
        self.fragment.add_input(target, &leaves);
        self.feeds.push(feed);
        self.leaves.extend(leaves);
    }
}

impl Rendering<'_> {
    /// Makes a stage of a subtree, and answers its number.
    fn stage(&mut self, root: &Node, exchanged_by: Option<Vec<usize>>) -> Result<usize> {
        let mut making = Making::default();
        self.node(root, Target::Out, &mut making)?;
        Ok(self.made(root, exchanged_by, making))
    }

    fn made(&mut self, root: &Node, exchanged_by: Option<Vec<usize>>, making: Making) -> usize {
        let Making { fragment, feeds, leaves } = making;
        self.graph.stages.push(Stage { name: root.head().to_string(), fragment, feeds, exchanged_by, leaves });
        self.graph.stages.len() - 1
    }

    /// Makes a node and all below it, down to exchanges, leaves and what others read too.
    fn node(&mut self, node: &Node, target: Target, making: &mut Making) -> Result<()> {
        match self.shared.number(node) {
            Some(number) => {
                let stage = self.once(node, number)?;
                making.add_feed(Feed::Stage(stage), target, &self.graph);
                Ok(())
            }
            None => self.unshared(node, target, making),
        }
    }

    /// The stage of a subtree that several nodes read.
    fn once(&mut self, node: &Node, number: usize) -> Result<usize> {
        if let Some(stage) = self.once.get(&number) {
            return Ok(*stage);
        }
        let stage = match &node.plan {
            Plan::Exchange { input, keys } if self.workers > 1 => self.stage(input, Some(keys.clone()))?,
            _ => {
                let mut making = Making::default();
                self.unshared(node, Target::Out, &mut making)?;
                self.made(node, None, making)
            }
        };
        self.once.insert(number, stage);
        Ok(stage)
    }

    fn unshared(&mut self, node: &Node, target: Target, making: &mut Making) -> Result<()> {
        match &node.plan {
            Plan::Input { .. } | Plan::Values { .. } => {
                let port = self.port(node, None)?;
                making.add_feed(port, target, &self.graph);
                Ok(())
            }
            Plan::Exchange { input, .. } if self.workers == 1 => self.node(input, target, making),
            Plan::Exchange { input, keys } => {
                let feed = self.exchange(input, keys)?;
                making.add_feed(feed, target, &self.graph);
                Ok(())
            }
            _ => {
                let borrowed = self.loans(node);
                let operator = operator(node, self.worker, self.workers, borrowed)?;
                let at = making.fragment.add(node.head().to_string(), operator, target);
                making.fragment.number(at, self.operators);
                self.operators += 1;
                let inputs = node.inputs().into_iter().enumerate();
                inputs.into_iter().try_for_each(|(port, input)| self.node(input, Target::Operator { at, port }, making))
            }
        }
    }

    /// Makes what feeds an exchange: a leaf is fed to the right workers at once.
    fn exchange(&mut self, input: &Node, keys: &[usize]) -> Result<Feed> {
        match &input.plan {
            Plan::Input { .. } | Plan::Values { .. } => self.port(input, Some(keys.to_vec())),
            _ => self.stage(input, Some(keys.to_vec())).map(Feed::Stage),
        }
    }

    fn port(&mut self, node: &Node, exchanged_by: Option<Vec<usize>>) -> Result<Feed> {
        let (leaf, columns, watermarked) = match &node.plan {
            Plan::Input { relation, columns, watermarked, .. } => {
                (Leaf::Relation(*relation), columns.clone(), *watermarked)
            }
            Plan::Values { rows } => {
                let columns: Vec<_> = (0..rows.num_columns()).collect();
                let rows = placed(&Delta::inserts(rows.clone()), &columns, &node.schema)?;
                (Leaf::Values(rows), columns, false)
            }
            _ => return Err(SqlError::internal(format!("not a leaf of a plan: {}", node.head()))),
        };
        self.graph.ports.push(Port { leaf, columns, schema: node.schema.clone(), exchanged_by, watermarked });
        Ok(Feed::Port(self.graph.ports.len() - 1))
    }
}

impl Port {
    /// Feeds changes that have all columns of the relation.
    pub fn feed(&self, input: &mut Feeder, delta: &Delta) -> Result<()> {
        self.feed_columns(input, delta, &self.columns)
    }

    /// Feeds changes of which the plan reads the columns at `positions`.
    pub fn feed_columns(&self, input: &mut Feeder, delta: &Delta, positions: &[usize]) -> Result<()> {
        input.send(placed(delta, positions, &self.schema)?)
    }

    /// Where the columns that the plan reads stand among `held`.
    ///
    /// # Errors
    /// `XX000` when one is missing.
    pub fn among(&self, held: &[usize]) -> Result<Vec<usize>> {
        let missing = |column| SqlError::internal(format!("an input lacks column {column} of its relation"));
        let position = |column: &usize| held.iter().position(|held| held == column).ok_or_else(|| missing(*column));
        self.columns.iter().map(position).collect()
    }
}

/// The columns of `delta` at `positions` under the names that the plan knows them by.
fn placed(delta: &Delta, positions: &[usize], schema: &SchemaRef) -> Result<Delta> {
    let missing = || SqlError::internal("a change has fewer columns than its relation");
    let column = |position: &usize| delta.rows().columns().get(*position).cloned().ok_or_else(missing);
    let columns = positions.iter().map(column).collect::<Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(delta.len()));
    Ok(delta.with_rows(RecordBatch::try_new_with_options(schema.clone(), columns, &options)?))
}

/// The operator of a node, on `worker` of `workers`.
fn operator(node: &Node, worker: usize, workers: usize, borrowed: [Option<Borrowed>; 2]) -> Result<Box<dyn Operator>> {
    let schema = node.schema.clone();
    Ok(match &node.plan {
        Plan::Filter { predicate, .. } => Box::new(Filter::new(predicate.clone())),
        Plan::Reject { source, end, before, number, .. } => Box::new(Reject::new(*source, *end, *before, *number)),
        Plan::Temporal { value, comparison, moment, .. } => {
            Box::new(Temporal::new(schema, *value, *comparison, moment.clone()))
        }
        Plan::Expand { sets, .. } => Box::new(Expand::new(sets, &schema)),
        Plan::Project { exprs, .. } => Box::new(Project::new(exprs.clone(), schema)),
        Plan::Union { .. } => Box::new(Union::new(schema)),
        Plan::Unnest { lists, outer, .. } => Box::new(Unnest::new(lists.clone(), *outer, schema)),
        Plan::Aggregate { input, keys, sessions, aggregates, closing, once } => {
            let options = AggregateOptions {
                append_only: input.append_only,
                partitioned_by: input.partitioned_by.clone().unwrap_or_else(|| keys.clone()),
                owns_empty_key: owner_of_no_key(workers)? == worker,
                sessions: *sessions,
                closing: *closing,
                once: *once,
            };
            Box::new(Aggregate::new(&input.schema, schema, keys.clone(), aggregates, options)?)
        }
        Plan::Distinct { input, closing } => {
            let all = || (0..schema.fields().len()).collect();
            let partitioned_by = input.partitioned_by.clone().unwrap_or_else(all);
            Box::new(Distinct::new(schema, partitioned_by, *closing))
        }
        Plan::Join(join) => Box::new(Join::new(JoinOptions {
            kind: join.kind,
            left: join.left.schema.clone(),
            right: join.right.schema.clone(),
            keys: join.keys.clone(),
            residual: join.residual.clone(),
            closing: join.closing,
            schema,
            append_only: [join.left.append_only, join.right.append_only],
            is_self_join: borrowed.iter().all(Option::is_none) && is_self_join(join),
            borrowed,
        })),
        Plan::LookUp(join) => Box::new(LookUp::new(LookUpOptions {
            kind: join.kind,
            left: join.left.schema.clone(),
            right: join.right.schema.clone(),
            keys: join.keys.clone(),
            residual: join.residual.clone(),
            schema,
            append_only: [join.left.append_only, join.right.append_only],
        })),
        Plan::TopK(top) => Box::new(TopK::new(TopKOptions {
            input: top.input.schema.clone(),
            partition: top.partition.clone(),
            order: top.order.clone(),
            ranking: top.ranking,
            skip: top.skip,
            last: top.last,
            numbered: top.numbered,
            append_only: top.input.append_only,
            closing: top.closing,
            schema,
        })?),
        Plan::Window(window) => Box::new(Window::new(WindowOptions {
            input: window.input.schema.clone(),
            partition: window.partition.clone(),
            order: window.order.clone(),
            functions: window.functions.clone(),
            reach: window.reach,
            closing: window.closing,
            schema,
        })?),
        Plan::OnClose(close) => {
            let all = || (0..schema.fields().len()).collect();
            let partitioned_by = close.input.partitioned_by.clone().unwrap_or_else(all);
            let (closing, idle) = (close.closing, close.idle);
            Box::new(OnClose::new(OnCloseOptions { schema, closing, idle, partitioned_by }))
        }
        Plan::Input { .. } | Plan::Values { .. } | Plan::Exchange { .. } => {
            return Err(SqlError::internal(format!("not an operator: {}", node.head())));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Int64Array};
    use millrace_ir::Output;
    use std::sync::Arc;

    fn node(plan: Plan, schema: &SchemaRef) -> Node {
        Node {
            plan,
            schema: schema.clone(),
            append_only: true,
            partitioned_by: None,
            unique_key: None,
            event_time: None,
        }
    }

    /// `SELECT DISTINCT n FROM a UNION ALL VALUES (7)`, exchanged twice on the way.
    fn job() -> Job {
        let rows = RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from(vec![7])) as ArrayRef)]).unwrap();
        let schema = rows.schema();
        let exchange = |input: Node| node(Plan::Exchange { input: Box::new(input), keys: vec![0] }, &schema);
        let input = Plan::Input {
            relation: RelationId(1),
            name: "a".into(),
            columns: vec![4],
            watermarked: true,
            drops_late: false,
        };
        let distinct = node(Plan::Distinct { input: Box::new(exchange(node(input, &schema))), closing: None }, &schema);
        let values = node(Plan::Values { rows }, &schema);
        let plan = exchange(node(Plan::Union { inputs: vec![distinct, values] }, &schema));
        Job { id: RelationId(9), name: "v".into(), plan, output: Output::ReadModel { key: vec![0] } }
    }

    #[test]
    fn fragments_are_cut_at_exchanges_and_leaves_are_fed_to_the_right_worker() {
        let graph = render(&job(), 0, 2, &|_, _| None).unwrap();
        assert_eq!(graph.ports.iter().map(|port| port.exchanged_by.clone()).collect::<Vec<_>>(), [Some(vec![0]), None]);
        let stages: Vec<_> = graph.stages.iter().map(|stage| (&stage.feeds[..], stage.exchanged_by.clone())).collect();
        assert_eq!(stages[0], (&[Feed::Port(0), Feed::Port(1)][..], Some(vec![0])));
        assert_eq!(stages[1], (&[Feed::Stage(0)][..], None));
        assert_eq!(graph.stages[0].fragment.sizes().map(|(name, ..)| name).collect::<Vec<_>>(), ["Distinct", "Union"]);
    }

    #[test]
    fn one_worker_needs_one_fragment() {
        let graph = render(&job(), 0, 1, &|_, _| None).unwrap();
        assert_eq!(graph.stages.len(), 1);
        assert_eq!(graph.stages[0].feeds, [Feed::Port(0), Feed::Port(1)]);
        assert!(graph.ports.iter().all(|port| port.exchanged_by.is_none()));
    }

    #[test]
    fn what_two_nodes_read_runs_once() {
        let mut job = job();
        let Plan::Exchange { input: union, .. } = &mut job.plan.plan else { panic!("an exchange") };
        let Plan::Union { inputs } = &mut union.plan else { panic!("a union") };
        inputs[1] = inputs[0].clone();
        for (workers, last) in [(1, 1), (2, 2)] {
            let graph = render(&job, 0, workers, &|_, _| None).unwrap();
            let feeds: Vec<_> = graph.stages.iter().map(|stage| &stage.feeds[..]).collect();
            assert_eq!(feeds[..2], [&[Feed::Port(0)][..], &[Feed::Stage(0), Feed::Stage(0)]]);
            assert_eq!((graph.ports.len(), graph.stages.len()), (1, last + 1));
        }
        let wanted = "\
Fragment 1 to workers by (#0)
  Input a (n) [append-only]
Fragment 2 to its readers
  Distinct [append-only, keeps one count per different row]
    Fragment 1
Fragment 3 to workers by (#0)
  Union [append-only]
    Fragment 2
    Fragment 2
Fragment 4 to read model by (#0)
  Fragment 3
";
        assert_eq!(describe(&job), wanted);
    }

    #[test]
    fn a_description_shows_what_stands_in_each_fragment() {
        let wanted = "\
Fragment 1 to workers by (#0)
  Input a (n) [append-only]
Fragment 2 to workers by (#0)
  Union [append-only]
    Distinct [append-only, keeps one count per different row]
      Fragment 1
    Values (1 rows) [append-only]
Fragment 3 to read model by (#0)
  Fragment 2
";
        assert_eq!(describe(&job()), wanted);
    }
}
