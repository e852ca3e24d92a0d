//! Opening a data folder: what stands in it, after whatever happened last.
//!
//! 1. The folder is locked and its format checked ([`DataFolder`]).
//! 2. The key-value store is opened; if its files are damaged, they are moved aside and a new one takes their place.
//! 3. The newest checkpoint is found, and the command log, which must lead on from it.
//! 4. The catalog is put together from the store, the manifest and the log; the store is given what it lacks.
//!
//! The caller then loads the state files of the manifest and reads the log from the tick after it.

use crate::blob::FileBlobs;
use crate::catalog_store::{CatalogHistory, CatalogStore};
use crate::checkpoint::Checkpoints;
use crate::command_log::{CommandLog, LogOptions, RecordKind};
use crate::disk::{Disk, LocalDisk};
use crate::folder::DataFolder;
use crate::kv::KeyValue;
use crate::manifest::Manifest;
use crate::verify::Finding;
use millrace_types::{Result, SqlError, SqlState, Tick};
use std::path::Path;
use std::sync::Arc;

/// The folders inside a data folder.
pub(crate) const LOG: &str = "log";
pub(crate) const MANIFESTS: &str = "manifests";
pub(crate) const STATE: &str = "state";

/// The number of a segment that the log has reached.
const LOG_SEGMENT: &[u8] = b"log/segment";

/// How a folder is opened.
#[derive(Clone, Copy, Debug)]
pub struct StorageOptions {
    /// Bytes after which the command log begins a new segment.
    pub segment_bytes: u64,
}

impl Default for StorageOptions {
    fn default() -> StorageOptions {
        StorageOptions { segment_bytes: LogOptions::default().segment_bytes }
    }
}

/// A data folder, open.
pub struct Storage {
    /// Holds the lock: it must live as long as anything here is used.
    pub folder: DataFolder,
    /// Where definition changes go, after the log.
    pub catalog: CatalogStore,
    /// The command log.
    pub log: CommandLog,
    /// The checkpoints.
    pub checkpoints: Arc<Checkpoints>,
}

/// What was found when the folder was opened.
#[derive(Debug)]
pub struct Recovered {
    /// The newest checkpoint; a folder may be without.
    pub manifest: Option<Manifest>,
    /// The catalog with every committed change.
    pub catalog: CatalogHistory,
    /// The newest tick that anything durable belongs to: the clock goes on behind it.
    pub last_tick: Tick,
    /// What was wrong and could be made good.
    pub findings: Vec<Finding>,
}

impl Recovered {
    /// The first tick whose records in the log are not in the checkpoint yet.
    pub fn replay_from(&self) -> Tick {
        self.manifest.as_ref().map_or(Tick(0), |manifest| manifest.tick.next())
    }
}

impl Storage {
    /// Opens the data folder at `path`, or makes one.
    ///
    /// # Errors
    /// Those of [`DataFolder::open`]; `XX001` naming the file when something durable cannot be read.
    pub fn open(path: &Path, options: StorageOptions) -> Result<(Storage, Recovered)> {
        Storage::open_on(&LocalDisk::new(path), DataFolder::open(path)?, options)
    }

    /// As [`Storage::open`], of a folder that is locked already.
    pub fn open_folder(folder: DataFolder, options: StorageOptions) -> Result<(Storage, Recovered)> {
        Storage::open_on(&LocalDisk::new(folder.path()), folder, options)
    }

    /// As [`Storage::open_folder`], with the contents on another disk than the folder's own.
    pub fn open_on(disk: &dyn Disk, folder: DataFolder, options: StorageOptions) -> Result<(Storage, Recovered)> {
        let mut findings = Vec::new();
        let store = disk.store(&mut findings)?;
        let blobs = |name: &str| Ok::<_, SqlError>(Arc::new(FileBlobs::open(disk.files(name)?)?));
        let (checkpoints, more) = Checkpoints::open(blobs(STATE)?, blobs(MANIFESTS)?, store.clone())?;
        findings.extend(more);
        let manifest = checkpoints.latest();
        let log = open_log(disk, &folder, &*store, manifest.as_ref(), options)?;
        let stored = CatalogStore::new(store);
        let catalog = recover_catalog(&stored, manifest.as_ref(), &log)?;
        for finding in &findings {
            tracing::warn!(file = finding.file, "{}", finding.message);
        }
        let last_tick = manifest.as_ref().map_or(Tick(0), |manifest| manifest.tick).max(log.last_tick());
        let storage = Storage { folder, catalog: stored, log, checkpoints: Arc::new(checkpoints) };
        Ok((storage, Recovered { manifest, catalog, last_tick, findings }))
    }
}

fn open_log(
    disk: &dyn Disk,
    folder: &DataFolder,
    store: &dyn KeyValue,
    manifest: Option<&Manifest>,
    options: StorageOptions,
) -> Result<CommandLog> {
    let stored = store.get(LOG_SEGMENT)?.and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_be_bytes);
    let expected_segment = stored.max(manifest.map_or(0, |manifest| manifest.log_segment));
    let log =
        CommandLog::open(disk.files(LOG)?, LogOptions { segment_bytes: options.segment_bytes, expected_segment })?;
    let needed = manifest.map_or(Tick(0), |manifest| manifest.tick);
    if log.reaches_back_to() > needed {
        let message = format!("command log in \"{}\" does not reach back to tick {needed}", folder.path().display());
        return Err(SqlError::new(SqlState::DATA_CORRUPTED, message)
            .with_detail(format!("It begins after tick {}.", log.reaches_back_to()))
            .with_hint("Restore the data folder from a backup."));
    }
    store.put(LOG_SEGMENT, &log.position().segment.to_be_bytes())?;
    store.flush()?;
    Ok(log)
}

/// The catalog with every committed change, which is written to the store where the store lacks it.
fn recover_catalog(store: &CatalogStore, manifest: Option<&Manifest>, log: &CommandLog) -> Result<CatalogHistory> {
    let stored = store.load()?;
    let snapshot = manifest.map(|manifest| (manifest.catalog_version, manifest.catalog.clone()));
    let in_manifest = CatalogHistory { snapshot, changes: Vec::new() };
    let in_log = CatalogHistory { snapshot: None, changes: logged_changes(log)? };
    let catalog = CatalogHistory::merge([stored.clone(), in_manifest, in_log])?;
    if catalog != stored {
        if let Some((version, bytes)) = &catalog.snapshot {
            store.put_snapshot(*version, bytes)?;
        }
        for (version, change) in &catalog.changes {
            store.append(*version, change)?;
        }
    }
    Ok(catalog)
}

fn logged_changes(log: &CommandLog) -> Result<Vec<(u64, Vec<u8>)>> {
    let mut changes = Vec::new();
    log.read_all(Tick(0), |record| {
        if record.kind == RecordKind::CatalogChange {
            changes.push(decode_change(record.payload)?);
        }
        Ok(())
    })?;
    Ok(changes)
}

/// The payload of a record that changes the catalog to `version`.
pub fn encode_change(version: u64, change: &[u8]) -> Vec<u8> {
    [&version.to_le_bytes(), change].concat()
}

/// The version and the change of such a payload.
pub fn decode_change(payload: &[u8]) -> Result<(u64, Vec<u8>)> {
    match payload.split_first_chunk::<8>() {
        Some((version, change)) => Ok((u64::from_le_bytes(*version), change.to_vec())),
        None => Err(SqlError::new(SqlState::DATA_CORRUPTED, "logged catalog change cannot be read")),
    }
}

#[cfg(test)]
mod tests;
