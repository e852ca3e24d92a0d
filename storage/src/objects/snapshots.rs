//! Snapshots in an object store.

use super::checkpoint_store::owner_of;
use super::folder::ObjectFolder;
use super::upload::{as_object, send, unread, unsent};
use crate::checkpoint::{self, Checkpoints};
use crate::folder::{FORMAT, format_text};
use crate::manifest;
use crate::recovery::{MANIFESTS, STATE};
use crate::snapshot::{SnapshotFacts, already_exists, check_name};
use millrace_types::{Result, SqlError, SqlState};

/// The snapshots below a URL.
pub struct ObjectSnapshots {
    folder: ObjectFolder,
}

impl ObjectSnapshots {
    /// Those in a folder.
    pub fn of(folder: ObjectFolder) -> ObjectSnapshots {
        ObjectSnapshots { folder }
    }

    /// Keeps the newest checkpoint of a data folder there, under a name. What was sent before an error is not sent again
    /// by another attempt under the same name.
    ///
    /// # Errors
    /// `42602` when the name cannot be that of a folder, `42710` when there is such a snapshot, `55000` when there is no
    /// checkpoint yet, `XX001` when a file of it is damaged, `58030` when the store cannot be reached.
    pub fn create(&self, name: &str, checkpoints: &Checkpoints) -> Result<SnapshotFacts> {
        self.check_new(name)?;
        let (folder, state) = (self.folder.folder(name), self.folder.folder(name).folder(STATE));
        let listed = state.objects().map_err(|error| unread(&state, error))?;
        let mut there = listed.into_iter().map(|object| (object.name, object.bytes)).collect();
        checkpoints.with_newest(|manifest| {
            send(checkpoints, manifest, &state, &mut there, &|| Ok(()))?;
            folder.put(FORMAT, format_text().into_bytes()).map_err(|error| unsent(&folder, FORMAT, error))?;
            let (manifests, file) = (folder.folder(MANIFESTS), manifest::file_name(1));
            let is_new = manifests.put_new(&file, as_object(manifest, 1).encode()?);
            match is_new.map_err(|error| unsent(&manifests, &file, error))? {
                true => Ok(()),
                false => Err(already_exists(name)),
            }
        })?;
        self.facts(name)
    }

    /// Whether a snapshot of this name can be made.
    ///
    /// # Errors
    /// Those of the name that [`ObjectSnapshots::create`] has.
    pub fn check_new(&self, name: &str) -> Result<()> {
        check_name(name)?;
        let manifests = self.folder.folder(name).folder(MANIFESTS);
        match manifests.objects().map_err(|error| unread(&manifests, error))?.is_empty() {
            true => Ok(()),
            false => Err(already_exists(name)),
        }
    }

    /// All of them, by name.
    ///
    /// # Errors
    /// `58030` when the store cannot be reached.
    pub fn list(&self) -> Result<Vec<SnapshotFacts>> {
        let mut names = self.folder.folders().map_err(|error| unread(&self.folder, error))?;
        names.sort();
        let facts = names.iter().map(|name| self.facts(name));
        let is_one = |facts: &Result<SnapshotFacts>| !facts.as_ref().is_ok_and(|facts| facts.created.is_none());
        facts.filter(is_one).collect()
    }

    /// What is known of one; nothing, when its manifest is not there.
    fn facts(&self, name: &str) -> Result<SnapshotFacts> {
        let manifests = self.folder.folder(name).folder(MANIFESTS);
        let objects = manifests.objects().map_err(|error| unread(&manifests, error))?;
        let newest = objects.iter().rev().find_map(|object| Some((object, manifest::number_of(&object.name)?)));
        let mut facts = SnapshotFacts { name: name.to_owned(), tick: None, created: None, bytes: 0 };
        let Some((object, number)) = newest else { return Ok(facts) };
        facts.created = Some(object.modified);
        match checkpoint::read(&manifests, number) {
            Ok(manifest) => {
                facts.tick = Some(manifest.tick);
                facts.bytes = manifest.state_files.iter().map(|file| file.bytes).sum();
            }
            Err(error) if error.state() == SqlState::DATA_CORRUPTED => {}
            Err(error) => return Err(error),
        }
        Ok(facts)
    }

    /// Removes a snapshot, and what an unfinished one has left; false when there is nothing of that name.
    ///
    /// # Errors
    /// `55000` when it is something else; `58030` when the store cannot be reached.
    pub fn remove(&self, name: &str) -> Result<bool> {
        check_name(name)?;
        let folder = self.folder.folder(name);
        if owner_of(&folder)?.is_some() {
            let message = format!("\"{}\" is a checkpoint store, not a snapshot", folder.url());
            return Err(SqlError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message));
        }
        let mut found = false;
        // Without its manifest it is no snapshot any more, however far the removal gets.
        for folder in [folder.folder(MANIFESTS), folder.folder(STATE)] {
            let objects = folder.objects().map_err(|error| unread(&folder, error))?;
            found |= !objects.is_empty();
            let names = objects.into_iter().map(|object| object.name);
            folder.remove_all(names).map_err(|error| unread(&folder, error))?;
        }
        folder.remove_all([FORMAT.to_owned()]).map_err(|error| unread(&folder, error))?;
        Ok(found)
    }
}
