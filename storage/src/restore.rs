//! Data folders from what was kept of others: a snapshot, or the checkpoints in an object store.

use crate::checkpoint::Checkpoints;
use crate::folder::DataFolder;
use crate::kv::MemoryStore;
use crate::manifest::Manifest;
use crate::objects::{ObjectFolder, is_url, owner_of};
use crate::recovery::{LOG, MANIFESTS, STATE};
use crate::snapshot::{blobs, checkpoints_of};
use millrace_types::{Result, SqlError, SqlState};
use std::path::Path;
use std::sync::Arc;

/// What a data folder can be made from.
pub struct Backup {
    checkpoints: Checkpoints,
    /// Whose it is, if a server goes on with it: then the new folder is the same database.
    identity: Option<String>,
    name: String,
}

impl Backup {
    /// What stands in a folder, or at the URL of an object store.
    ///
    /// # Errors
    /// `58P01` when there is no checkpoint, `55000` when it is the folder of a server; `58030` when it cannot be read.
    pub fn open(from: &str) -> Result<Backup> {
        match is_url(from) {
            true => Backup::in_store(&ObjectFolder::open(from)?),
            false => Backup::in_folder(Path::new(from)),
        }
    }

    /// What stands in a folder of an object store.
    ///
    /// # Errors
    /// As [`Backup::open`].
    pub fn in_store(folder: &ObjectFolder) -> Result<Backup> {
        let (state, manifests) = (folder.folder(STATE), folder.folder(MANIFESTS));
        let store = Arc::new(MemoryStore::default());
        let (checkpoints, findings) = Checkpoints::open(Arc::new(state), Arc::new(manifests), store)?;
        findings.iter().for_each(|finding| tracing::warn!("{}", finding.message));
        if checkpoints.latest().is_none() {
            let message = format!("there is no checkpoint at \"{}\"", folder.url());
            return Err(SqlError::new(SqlState::UNDEFINED_FILE, message)
                .with_hint("Give the URL of a checkpoint store, or of a snapshot: that of its folder, and its name."));
        }
        Ok(Backup { checkpoints, identity: owner_of(folder)?, name: folder.url().to_owned() })
    }

    fn in_folder(from: &Path) -> Result<Backup> {
        let missing = || {
            let message = format!("there is no snapshot in folder \"{}\"", from.display());
            SqlError::new(SqlState::UNDEFINED_FILE, message)
                .with_hint("Snapshots are in the folder \"snapshots\" of a data folder.")
        };
        if !from.join(MANIFESTS).is_dir() {
            return Err(missing());
        }
        if from.join(LOG).exists() {
            let message = format!("folder \"{}\" is a data folder with a command log, not a snapshot", from.display());
            return Err(SqlError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
                .with_hint("Copy the whole folder while no server uses it, or restore one of its snapshots."));
        }
        let checkpoints = checkpoints_of(from)?;
        checkpoints.latest().ok_or_else(missing)?;
        Ok(Backup { checkpoints, identity: None, name: from.display().to_string() })
    }

    /// Makes a data folder at `to`, where nothing may be yet. What is interrupted is not taken for one.
    ///
    /// # Errors
    /// `42P07` when there is something in `to`; `XX001` naming a file that is damaged, `53100` when the disk is full.
    pub fn restore(&self, to: &Path) -> Result<Manifest> {
        DataFolder::make(to, |folder| {
            let manifest = self.fill(folder)?;
            self.identity.iter().try_for_each(|identity| crate::folder::write_identity(folder, identity))?;
            Ok(manifest)
        })
    }

    /// Writes the newest checkpoint of which every file is whole into the folders of a data folder.
    ///
    /// # Errors
    /// As [`Backup::restore`].
    pub fn fill(&self, folder: &Path) -> Result<Manifest> {
        let (state, manifests) = (blobs(folder, STATE)?, blobs(folder, MANIFESTS)?);
        let mut damage = None;
        for manifest in self.checkpoints.newest_first() {
            match self.checkpoints.copy(&manifest, &state, &manifests) {
                Err(error) if error.state() == SqlState::DATA_CORRUPTED => {
                    tracing::warn!(tick = %manifest.tick, %error, "this checkpoint cannot be used");
                    damage.get_or_insert(error);
                }
                copied => return copied.map(|()| manifest),
            }
        }
        Err(damage.unwrap_or_else(|| SqlError::internal(format!("there is no checkpoint at \"{}\"", self.name))))
    }
}

/// Makes a data folder at `to`, where nothing may be yet, from a snapshot's folder or the URL of an object store.
///
/// # Errors
/// Those of [`Backup::open`] and [`Backup::restore`].
pub fn restore(from: &str, to: &Path) -> Result<Manifest> {
    Backup::open(from)?.restore(to)
}
