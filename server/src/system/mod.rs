//! What the server shows of itself: the facts behind `pg_catalog`, and the schema `millrace`.

mod facts;
mod jobs;
mod late;
mod relations;
mod watermarks;

pub use facts::{facts, functions};
pub use jobs::{Job, jobs, source_summary};
pub use late::{LateTable, SUFFIX as LATE_SUFFIX};
pub use relations::relation;
