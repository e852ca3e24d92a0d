//! Bytes that survive a crash; knows no plans.
//!
//! The walk reaches this crate twice. A transaction that commits becomes one [`Record`] of the [`CommandLog`] before it is
//! acknowledged: [`batch`] turns its deltas into the payload. And from time to time the tables and the state of the
//! operators are written out at a tick: a [`Manifest`] names the files, and the log before it is no longer needed.
//! After a crash, [`Storage::open`] finds the newest manifest, the catalog and the rest of the log.
//!
//! | word | meaning | where |
//! |---|---|---|
//! | data folder | everything one server keeps; one server at a time | [`DataFolder`] |
//! | record | a committed transaction or definition change, with its tick | [`Record`] |
//! | segment | one file of the command log | [`CommandLog`] |
//! | blob | an immutable file, there completely or not at all | [`Blob`] |
//! | manifest | what a checkpoint consists of; the newest one is where recovery starts | [`Manifest`] |
//! | snapshot | a checkpoint with a name, kept until it is dropped | [`Snapshots`] |
//! | checkpoint store | where checkpoints are copied to, away from the machine | [`CheckpointStore`] |
//! | catalog history | a whole catalog and the changes after it, opaque here | [`CatalogHistory`] |
//!
//! Invariants: everything read back is checked against a checksum; a file that fails it is named (`XX001`); a sync that
//! failed is never tried again; only the unsynced end of the newest segment is ever cut. File formats stand byte by byte
//! in `docs/formats.md`. All calls block: callers run them on threads of their own.

pub mod arrivals;
pub mod batch;
pub mod blob;
pub mod catalog_store;
pub mod checkpoint;
pub mod command_log;
pub mod compaction;
pub mod disk;
#[cfg(any(test, feature = "faults"))]
pub mod faulty;
#[cfg(any(test, feature = "faults"))]
pub mod file_store;
pub mod files;
pub mod folder;
pub mod kv;
pub mod manifest;
pub mod objects;
pub mod offsets;
pub mod recovery;
pub mod restore;
mod schema_bytes;
mod sections;
pub mod snapshot;
pub mod switch;
pub mod verify;

pub use arrivals::{Arrival, ArrivalNote};
pub use blob::{Blob, BlobWriter, FileBlobs};
pub use catalog_store::{CatalogHistory, CatalogStore};
pub use checkpoint::Checkpoints;
pub use command_log::{CommandLog, LogOptions, Position, Record, RecordKind};
pub use disk::{Disk, LocalDisk};
pub use files::{Files, LocalFiles};
pub use folder::DataFolder;
pub use kv::{KeyValue, MemoryStore, SledStore};
pub use manifest::{
    Manifest, ReadingState, SinkProgress, SourceOffset, SplitReading, SplitReadingTime, StateFile, StatePiece,
    ViewState,
};
pub use objects::{CheckpointStore, Copied, ObjectFolder, ObjectSnapshots};
pub use recovery::{Recovered, Storage, StorageOptions};
pub use restore::{Backup, restore};
pub use sections::{SectionFile, SectionPiece};
pub use snapshot::{SnapshotFacts, Snapshots};
pub use verify::{Finding, Severity, verify};
