//! A job: a plan that runs until it is dropped, and where its output goes.

use crate::Node;
use millrace_types::RelationId;

/// A plan kept up to date under the name of the relation that it gives.
#[derive(Clone, Debug)]
pub struct Job {
    /// The relation that the job maintains or feeds.
    pub id: RelationId,
    /// Its name, for logs and system relations.
    pub name: String,
    /// How its rows come about.
    pub plan: Node,
    /// Where they go.
    pub output: Output,
}

/// Where the changes of a job go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Into a read model that queries read and other jobs build on. `key`: the columns by which rows are looked up,
    /// empty for none. The plan's root is partitioned by the key, or by any columns when there is none, unless it is
    /// append-only without a key: a row and its retraction must meet on one worker.
    ReadModel { key: Vec<usize> },
    /// Into a read model whose rows stand in the order of a column's values: an index for ranges.
    Ordered { column: usize },
    /// To whoever drains the engine's tick results: a sink.
    Stream,
}
