//! What the server shows of itself: the facts behind `pg_catalog`, and the schema `millrace`.

mod facts;
mod jobs;
mod relations;

pub use facts::{facts, functions};
pub use jobs::{Job, jobs, source_summary};
pub use relations::relation;
