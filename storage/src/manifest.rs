//! What a checkpoint consists of.
//!
//! ```text
//! 0               8       12      16              24
//! +---------------+-------+-------+---------------+------------------+---------------+
//! | "MRMANIF\0"   |version| crc32c| JSON length   | JSON             | whole catalog |
//! +---------------+-------+-------+---------------+------------------+---------------+
//! ```
//!
//! The checksum covers the version and everything behind it. The file is a [`Blob`](crate::Blob), so it is there
//! completely or not at all, and that it is there is what commits the checkpoint.

pub mod invariants;

use crate::command_log::Position;
use millrace_types::{Offset, RelationId, Result, SqlError, SqlState, Tick};
use serde::{Deserialize, Serialize};
use std::ops::Range;

const MAGIC: &[u8; 8] = b"MRMANIF\0";
/// The version of the manifest's format.
pub const VERSION: u32 = 1;
const HEADER_BYTES: usize = 24;

/// A checkpoint: the state of everything after one tick.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Checkpoints are numbered from 1; the writer numbers them.
    pub number: u64,
    /// The last tick whose effects are in the state files.
    pub tick: Tick,
    /// The segment of the command log in which the next record goes: the log reaches at least that far.
    pub log_segment: u64,
    /// The version of `catalog`.
    pub catalog_version: u64,
    /// The whole catalog after the tick; opaque here.
    #[serde(skip)]
    pub catalog: Vec<u8>,
    /// The files that hold tables and the state of operators.
    pub state_files: Vec<StateFile>,
    /// How far each split of each source has been read.
    pub source_offsets: Vec<SourceOffset>,
    /// How far each sink has delivered that can go on from there.
    pub sinks: Vec<SinkProgress>,
    /// What the wall clock said, in microseconds since 1970-01-01 UTC.
    #[serde(default)]
    pub now: i64,
    /// How many workers the state of views is from.
    #[serde(default)]
    pub workers: u32,
    /// The views whose state is in state files.
    #[serde(default)]
    pub views: Vec<ViewState>,
    /// Where the readings stood that brought the views to their state, and the times of tables.
    #[serde(default)]
    pub readings: Vec<ReadingState>,
    /// The sources of which it is kept what the wall clock decided about their rows, with the part of their state files.
    #[serde(default)]
    pub arrivals: Vec<(RelationId, u32)>,
}

/// What is kept of a view besides its rows: the state of its operators.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewState {
    /// The view.
    pub relation: RelationId,
    /// What it was computed by, opaque here: a server that computes it otherwise cannot use the state.
    pub fingerprint: u64,
    /// How far the times of what it reads had come for it, in microseconds.
    pub told: Vec<(RelationId, Option<i64>)>,
    /// Where its state is.
    pub pieces: Vec<StatePiece>,
}

/// The state of one operator of a view, or its rows, on one worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatePiece {
    /// The worker.
    pub worker: u32,
    /// The operator's number in the view, opaque here.
    pub place: u32,
    /// The part of the view's state files that it is in.
    pub part: u32,
    /// The parts that hold the runs that it consists of besides, as it numbers them.
    pub runs: Vec<u32>,
}

/// Where the reading of a source stood, or how far the times of a table had come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadingState {
    /// The source or table.
    pub relation: RelationId,
    /// Its watermark, in microseconds.
    pub watermark: Option<i64>,
    /// Its splits.
    pub splits: Vec<SplitReading>,
    /// How many late rows each view has left out; with none, those that nobody was to see.
    pub late: Vec<(Option<RelationId>, u64)>,
    /// The part of its state files with its bad records and late rows.
    pub part: Option<u32>,
}

/// Where the reading of a split stood.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitReading {
    /// The connector's name of the split.
    pub name: String,
    /// The next record.
    pub offset: Offset,
    /// Records read, good and bad.
    pub records: u64,
    /// The bad ones of these.
    pub bad_records: u64,
    /// Rows taken into ticks.
    #[serde(default)]
    pub rows: u64,
    /// How far its times had come.
    pub time: Option<SplitReadingTime>,
}

/// How far the times of a split had come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitReadingTime {
    /// Its watermark, in microseconds.
    pub watermark: Option<i64>,
    /// Its rows.
    pub rows: u64,
    /// Those that came late.
    pub late: u64,
    /// Those too far ahead.
    pub ahead: u64,
    /// Whether it holds the watermark back: `active`, `idle` or `finished`.
    pub state: String,
}

/// One file of a checkpoint. Files are immutable; later checkpoints may name them again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateFile {
    /// The relation whose state it is.
    pub relation: RelationId,
    /// Which part of the relation's state: a table's rows may be in several, and all of them count together.
    pub part: u32,
    /// The key groups that it holds.
    pub key_groups: Range<u32>,
    /// The name of the file.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// The checksum of all of its bytes.
    pub crc32c: u32,
}

/// How far one split of a source has been read: the next record is at `offset`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceOffset {
    /// The source.
    pub relation: RelationId,
    /// The connector's name of the split.
    pub split: String,
    /// Where to go on.
    pub offset: Offset,
}

/// How far a sink has delivered, and what it was handed since.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinkProgress {
    /// The sink.
    pub relation: RelationId,
    /// The last tick that was delivered completely.
    pub tick: Tick,
    /// What the connector needs to go on from there, opaque here.
    pub position: String,
    /// The part of its state files with the rows that it was handed and had not delivered.
    #[serde(default)]
    pub rest: Option<u32>,
}

impl Manifest {
    /// A checkpoint after `tick`, when the log's next record goes to `log`, of this catalog and nothing else yet.
    pub fn new(tick: Tick, log: Position, catalog_version: u64, catalog: Vec<u8>) -> Manifest {
        Manifest {
            number: 0,
            tick,
            log_segment: log.segment,
            catalog_version,
            catalog,
            state_files: Vec::new(),
            source_offsets: Vec::new(),
            sinks: Vec::new(),
            now: 0,
            workers: 0,
            views: Vec::new(),
            readings: Vec::new(),
            arrivals: Vec::new(),
        }
    }

    /// The bytes of the file.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let json = serde_json::to_vec(self).map_err(|e| SqlError::internal(format!("manifest as JSON: {e}")))?;
        let mut bytes = Vec::with_capacity(HEADER_BYTES + json.len() + self.catalog.len());
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&(json.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&json);
        bytes.extend_from_slice(&self.catalog);
        let crc = checksum(&bytes);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        Ok(bytes)
    }

    /// The manifest in a file's bytes.
    ///
    /// # Errors
    /// `XX001` when they are damaged, `0A000` when a newer server wrote them; the messages go on after the file's name.
    pub fn decode(bytes: &[u8]) -> Result<Manifest> {
        let damaged = |why: &str| SqlError::new(SqlState::DATA_CORRUPTED, format!("is damaged: {why}"));
        let (header, rest) = bytes.split_first_chunk::<HEADER_BYTES>().ok_or_else(|| damaged("it is too short"))?;
        let u32_at = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        if !header.starts_with(MAGIC) || checksum(bytes) != u32_at(12) {
            return Err(damaged("its checksum is wrong"));
        }
        if u32_at(8) != VERSION {
            return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, "was written by a newer server"));
        }
        let json_len = (u64::from(u32_at(16)) | u64::from(u32_at(20)) << 32) as usize;
        let (json, catalog) = rest.split_at_checked(json_len).ok_or_else(|| damaged("it is too short"))?;
        let manifest: Manifest = serde_json::from_slice(json).map_err(|e| damaged(&e.to_string()))?;
        Ok(Manifest { catalog: catalog.to_vec(), ..manifest })
    }
}

/// The checksum of a file without its magic and checksum fields.
fn checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&bytes[8..12]), &bytes[16..])
}

/// The file of a manifest.
pub fn file_name(number: u64) -> String {
    format!("{number:020}.manifest")
}

/// The number of the manifest in a file of this name, if it is one.
pub fn number_of(file_name: &str) -> Option<u64> {
    let digits = file_name.strip_suffix(".manifest").filter(|digits| digits.len() == 20)?;
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_read_back_and_every_byte_counts() {
        let mut manifest = Manifest::new(Tick(7), Position { segment: 2, offset: 40 }, 3, b"\0catalog\xff".to_vec());
        manifest.sinks.push(SinkProgress { relation: RelationId(9), tick: Tick(7), position: "x".into(), rest: None });
        let bytes = manifest.encode().unwrap();
        assert_eq!(Manifest::decode(&bytes).unwrap(), manifest);
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert_eq!(Manifest::decode(&damaged).unwrap_err().state(), SqlState::DATA_CORRUPTED, "byte {at}");
        }
        assert!(Manifest::decode(&bytes[..bytes.len() - 1]).is_err());
        assert!(Manifest::decode(&bytes[..10]).is_err());
    }
}
