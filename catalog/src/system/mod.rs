//! The system relations and functions: what a client asks to find out what there is.
//!
//! [`system_tables`] gives `pg_catalog` and `information_schema` over a [`Snapshot`], [`system_functions`] the functions
//! that go with them, and [`rewrite()`] turns the constructs that only queries on them use into what DataFusion plans.
//!
//! To add a relation's rows: a `fill` function in `relations/` and a line in [`relations::FILLERS`]. To add a function:
//! an entry in one of the lists of `functions/`.

mod cell;
#[cfg(test)]
mod client_queries;
mod functions;
mod keywords;
mod pg_types;
mod relations;
mod rewrite;
mod rows;
#[cfg(test)]
pub(crate) mod sample;
mod shape;
mod snapshot;
mod table;

pub use functions::system_functions;
pub use rewrite::rewrite;
pub use snapshot::{RelationSize, Session, Setting, Snapshot, quote_identifier};
pub use table::{SystemSchema, system_tables};

/// Whether a name means a system relation: one in the schema given or, with none given, one of `pg_catalog`.
pub fn is_system_relation(schema: Option<&str>, name: &str) -> bool {
    shape::shape(schema, name).is_some()
}
