//! Object stores: checkpoints and snapshots away from the machine, in S3 and what speaks like it.
//!
//! ```text
//! s3://bucket/prefix/          the checkpoints of one database       s3://bucket/prefix/NAME/    a snapshot
//!   OWNER                      whose they are, and who writes them     FORMAT
//!   FORMAT                                                             manifests/...1.manifest
//!   manifests/...              the last two                            state/...
//!   state/...
//! ```
//!
//! Either is laid out as a data folder without a log, so that a copy of it is one. Objects are immutable but `OWNER`; the
//! manifest comes last and only where there is none, so that it is there with all that it names, or not at all. State
//! files have their checksum in their names: what has the name of another has its contents, so that nothing is sent twice
//! and two servers cannot change each other's.
//!
//! | file | what it knows |
//! |---|---|
//! | `folder` | objects by name, requests that block |
//! | `waiting` | threads and errors of requests |
//! | `upload` | the files of a checkpoint on their way |
//! | `checkpoint_store` | whose a store is, the checkpoints in it, what can go |
//! | `snapshots` | checkpoints with names |

mod checkpoint_store;
mod folder;
mod snapshots;
#[cfg(test)]
mod tests;
mod upload;
mod waiting;

pub use checkpoint_store::{CheckpointStore, Copied, owner_of};
pub use folder::{ObjectFacts, ObjectFolder, is_url};
pub use snapshots::ObjectSnapshots;
