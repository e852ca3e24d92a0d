//! What exists: the definitions that users made, and the system relations that show them.
//!
//! The walk reaches this crate after a statement is parsed and before its names are bound. A [`Catalog`] is an immutable
//! value: a session that reads takes the current one and keeps it for the length of its statement; a definition
//! statement makes the next one out of it with a [`Change`], which the server writes down before it shows the new
//! value to anyone.
//!
//! | word | meaning | where |
//! |---|---|---|
//! | relation | a table, source, view, materialized view, sink or job with its columns | [`Relation`] |
//! | change | one step from a catalog to the next, as it is written durably | [`Change`] |
//! | search path | the schemas in which a bare name is looked up, in order | [`Catalog::resolve`] |
//! | snapshot | a catalog beside what a session knows of itself: what the system relations show | [`system::Snapshot`] |
//!
//! Invariants: the crate does no I/O, and the system relations are computed from a snapshot alone, never stored.

mod catalog;
mod change;
mod definition;
mod dependency;
pub mod system;
mod type_spelling;

pub use catalog::{Catalog, DEFAULT_SCHEMA, SYSTEM_SCHEMAS, Schema, TEMPORARY_PREFIX, is_temporary_schema};
pub use change::Change;
pub use definition::{
    Check, Column, Deferral, ForeignKey, Generated, Index, Key, Late, Options, ReferentialAction, Relation,
    RelationKind, Seen, Sequence, TableDefinition, Watermark, parse_bytes,
};
pub use dependency::DropBehavior;
