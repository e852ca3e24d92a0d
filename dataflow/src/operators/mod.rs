//! The operators, one file each. Their heads say: linear or stateful, what state they keep, what they emit on a
//! retraction, and when state may be dropped.

mod aggregate;
mod distinct;
mod expand;
mod expression;
mod filter;
mod join;
mod look_up;
mod on_close;
mod project;
mod reject;
mod temporal;
mod top_k;
mod union;
mod unnest;
mod window;

pub use aggregate::{Aggregate, AggregateOptions};
pub use distinct::Distinct;
pub use expand::Expand;
pub use filter::Filter;
pub use join::{Join, JoinOptions};
pub use look_up::{LookUp, LookUpOptions};
pub use on_close::{OnClose, OnCloseOptions};
pub use project::Project;
pub use reject::Reject;
pub use temporal::Temporal;
pub use top_k::{TopK, TopKOptions};
pub use union::Union;
pub use unnest::Unnest;
pub use window::{Window, WindowOptions};
