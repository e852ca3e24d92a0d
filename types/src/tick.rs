//! The clock and the names of things: small copyable newtypes.

use serde::{Deserialize, Serialize};
use std::fmt;

/// One step of the logical clock. Everything that changes a relation happens in exactly one tick; a tick that is
/// published is visible in all relations at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Tick(pub u64);

impl Tick {
    /// The tick after this one.
    pub fn next(self) -> Tick {
        Tick(self.0 + 1)
    }
}

impl fmt::Display for Tick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Microseconds since 1970-01-01 00:00:00 UTC, negative before it: the unit of Postgres's timestamps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EventTime(pub i64);

/// The identity of a relation for its whole life, which a rename does not change. It is also the relation's Postgres
/// OID, so user relations start at [`RelationId::FIRST_USER`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RelationId(pub u32);

impl RelationId {
    /// The first id of a relation that a user defined; Postgres keeps the ones below for itself.
    pub const FIRST_USER: RelationId = RelationId(16_384);
}

impl fmt::Display for RelationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How far a split has been read: the position of the next record. What it counts is the connector's affair (bytes of a
/// file, events of a generator); it only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Offset(pub u64);
