//! The vocabulary of Millrace: what a tick, a delta, a key group, a SQL type and a SQL error are.
//!
//! Every other crate imports this one, and it imports none of ours; it knows Arrow and nothing else. It does no I/O
//! and holds no state.
//!
//! | word | meaning | where |
//! |---|---|---|
//! | tick | one step of the logical clock that orders every change | [`Tick`] |
//! | event time | microseconds since 1970-01-01 UTC, as a row says it | [`EventTime`] |
//! | delta | rows with weights: what changed | [`Delta`] |
//! | key group | one of 1,024 ranges of the key hash: the unit of ownership | [`KeyGroup`] |
//! | relation | anything with rows and a name: table, source, view, sink | [`RelationId`] |
//! | split | a part of a source with an order and offsets of its own | [`Offset`] |

mod delta;
mod error;
pub mod hash;
mod key_group;
pub mod numeric;
mod sql_type;
mod tick;

pub use delta::{Delta, Weights};
pub use error::{Result, SqlError, SqlState};
pub use key_group::{KEY_GROUPS, KeyGroup, KeyGroupRange};
pub use sql_type::{SqlType, TYPE_KEY, field_of, sql_type_of};
pub use tick::{EventTime, Offset, RelationId, Tick};
