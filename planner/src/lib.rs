//! From SQL text to dataflow plans. Pure: no I/O, no clock of its own, no state.
//!
//! 1. [`parse`](parse::parse): text into a [`Statement`](parse::Statement), with the place of every word.
//! 2. [`bind`]: names and types, on DataFusion's SQL planner, into a logical plan that means what Postgres means. Its
//!    last step is `decorrelate`: subqueries become joins, so that nobody below knows of them.
//! 3. [`rewrite`]: an equivalent plan that is cheaper to keep up to date.
//! 4. [`lower`](lower::lower): the dataflow plan of `millrace-ir`, with exchanges, keys and what is append-only.
//!
//! Ad-hoc queries leave after step 2: [`executable`](bind::executable) makes their plan one that DataFusion runs.

pub mod bind;
mod catalog;
mod decorrelate;
mod error;
mod functions;
mod lateness;
pub mod lower;
mod numbering;
pub mod parse;
pub mod rewrite;
#[cfg(test)]
mod testing;

pub use catalog::{Catalog, Generated, HiddenColumns, Relation, RelationKey, RelationKind};
pub use error::sql_error;
pub use functions::FunctionSource;
