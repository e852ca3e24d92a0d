//! The dataflow plan: the contract between the planner, which writes it, and the engine, which reads it.
//!
//! A [`Plan`] is a tree of [`Node`]s that maps deltas to deltas. Scalar expressions are DataFusion `PhysicalExpr`s over
//! the columns of a node's input, so that ad-hoc and maintained queries evaluate with the same code. A [`Job`] is a
//! plan with a name and a place for its output.

mod aggregate;
mod closing;
mod job;
mod ordered;
mod plan;

pub use aggregate::{Aggregate, AggregateFunction};
pub use closing::{Closing, OnClose, Sessions};
pub use job::{Job, Output};
pub use ordered::{Ranking, Reach, SortColumn, TopK, Window};
pub use plan::{Comparison, Expr, Join, JoinKey, JoinKind, Node, Plan};
