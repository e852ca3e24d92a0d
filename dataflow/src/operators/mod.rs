//! The operators, one file each. Their heads say: linear or stateful, what state they keep, what they emit on a
//! retraction, and when state may be dropped.

mod aggregate;
mod distinct;
mod expression;
mod filter;
mod fused;
mod join;
mod materialize;
mod project;
mod union;
mod values;

pub use aggregate::{Aggregate, AggregateOptions};
pub use distinct::Distinct;
pub use filter::Filter;
pub use fused::Fused;
pub use join::{Join, JoinOptions};
pub use materialize::Materialize;
pub use project::Project;
pub use union::Union;
pub use values::Values;
