//! Snapshots: checkpoints with a name, kept until they are dropped.
//!
//! ```text
//! data/snapshots/NAME/     a data folder by itself, without a command log
//!   FORMAT
//!   manifests/00000000000000000001.manifest
//!   state/...
//! ```
//!
//! Such a folder can be copied anywhere, [restored](crate::restore) into a new data folder, or have a server started on a copy of
//! it. Every file is checked as it is copied.

use crate::blob::FileBlobs;
use crate::checkpoint::Checkpoints;
use crate::files::{LocalFiles, sync_folder};
use crate::folder::DataFolder;
use crate::kv::MemoryStore;
use crate::recovery::{MANIFESTS, STATE};
use millrace_types::{Result, SqlError, SqlState, Tick};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

const SNAPSHOTS: &str = "snapshots";
/// What a snapshot's folder is called until it is whole.
const PARTIAL: &str = ".partial";

/// The snapshots of a data folder.
pub struct Snapshots {
    folder: PathBuf,
    checkpoints: Arc<Checkpoints>,
}

/// What a snapshot is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotFacts {
    /// Its name.
    pub name: String,
    /// The tick as of which everything in it is; `None` when its manifest cannot be read.
    pub tick: Option<Tick>,
    /// When it was made.
    pub created: Option<SystemTime>,
    /// Bytes of its state files.
    pub bytes: u64,
}

impl Snapshots {
    /// The snapshots below the data folder at `data`, of its checkpoints.
    pub fn new(data: &Path, checkpoints: Arc<Checkpoints>) -> Snapshots {
        Snapshots { folder: data.join(SNAPSHOTS), checkpoints }
    }

    /// Keeps the newest checkpoint under a name.
    ///
    /// # Errors
    /// `42602` when the name cannot be that of a folder, `42710` when there is such a snapshot, `55000` when there is no
    /// checkpoint yet; `XX001` when a file of the checkpoint is damaged, `53100` when the disk is full: then nothing is
    /// left of the snapshot.
    pub fn create(&self, name: &str) -> Result<SnapshotFacts> {
        let target = self.check_new(name)?;
        let partial = self.folder.join(format!("{name}{PARTIAL}"));
        remove(&partial)?;
        let made = self.fill(&partial).and_then(|()| {
            fs::rename(&partial, &target)?;
            Ok(sync_folder(&self.folder)?)
        });
        if let Err(error) = made {
            let _ = remove(&partial);
            let message = format!("could not write snapshot \"{name}\": {}", error.message());
            return Err(SqlError::new(error.state(), message));
        }
        Ok(facts(name.to_owned(), &target))
    }

    /// Where a snapshot of this name would stand.
    ///
    /// # Errors
    /// Those of the name that [`Snapshots::create`] has.
    pub fn check_new(&self, name: &str) -> Result<PathBuf> {
        let path = self.path_of(name)?;
        match path.exists() {
            false => Ok(path),
            true => Err(already_exists(name)),
        }
    }

    fn fill(&self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder)?;
        let folder = DataFolder::open(folder)?;
        let (state, manifests) = (blobs(folder.path(), STATE)?, blobs(folder.path(), MANIFESTS)?);
        self.checkpoints.with_newest(|newest| self.checkpoints.copy(newest, &state, &manifests))
    }

    /// All of them, by name.
    pub fn list(&self) -> Result<Vec<SnapshotFacts>> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(vec![]),
            entries => entries?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.path().is_dir() && !name.ends_with(PARTIAL) {
                found.push(facts(name, &entry.path()));
            }
        }
        found.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(found)
    }

    /// Removes a snapshot; false when there is none of that name.
    pub fn remove(&self, name: &str) -> Result<bool> {
        let path = self.path_of(name)?;
        if !path.exists() {
            return Ok(false);
        }
        // From here on it is no snapshot any more, however far the removal gets.
        let partial = self.folder.join(format!("{name}{PARTIAL}"));
        remove(&partial)?;
        fs::rename(&path, &partial)?;
        remove(&partial)?;
        Ok(true)
    }

    /// Where a snapshot stands, or would.
    ///
    /// # Errors
    /// `42602` when the name cannot be that of a folder.
    pub fn path_of(&self, name: &str) -> Result<PathBuf> {
        check_name(name)?;
        Ok(self.folder.join(name))
    }
}

/// Whether a snapshot can be called this.
pub(crate) fn check_name(name: &str) -> Result<()> {
    let fits = |character: char| character.is_alphanumeric() || matches!(character, '_' | '-');
    match !name.is_empty() && name.chars().all(fits) {
        true => Ok(()),
        false => Err(SqlError::new(SqlState("42602"), format!("invalid name of a snapshot: \"{name}\""))
            .with_hint("It is the name of a folder: letters, digits, \"_\" and \"-\".")),
    }
}

pub(crate) fn already_exists(name: &str) -> SqlError {
    SqlError::new(SqlState::DUPLICATE_OBJECT, format!("snapshot \"{name}\" already exists"))
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

fn facts(name: String, folder: &Path) -> SnapshotFacts {
    let manifest = checkpoints_of(folder).ok().and_then(|checkpoints| checkpoints.latest());
    let created = fs::metadata(folder.join(MANIFESTS)).and_then(|manifests| manifests.modified()).ok();
    let bytes = manifest.iter().flat_map(|manifest| &manifest.state_files).map(|file| file.bytes).sum();
    SnapshotFacts { name, tick: manifest.map(|manifest| manifest.tick), created, bytes }
}

pub(crate) fn blobs(folder: &Path, name: &str) -> Result<FileBlobs> {
    Ok(FileBlobs::open(Arc::new(LocalFiles::open(&folder.join(name))?))?)
}

pub(crate) fn checkpoints_of(folder: &Path) -> Result<Checkpoints> {
    let (state, manifests) = (blobs(folder, STATE)?, blobs(folder, MANIFESTS)?);
    Ok(Checkpoints::open(Arc::new(state), Arc::new(manifests), Arc::new(MemoryStore::default()))?.0)
}

#[cfg(test)]
mod tests;
