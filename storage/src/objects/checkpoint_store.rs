//! The checkpoints of one database in an object store: the newest ones of its data folder, copied there.
//!
//! `OWNER` says whose a store is: which database, and which start of a server writes to it. A server that finds its own
//! database there takes over; the one that wrote before finds another name in `OWNER` before it commits, and stops. What
//! it has sent by then does no harm: nothing that is there is ever changed, and its manifest, if it comes in between, is
//! one that the next one stands before.

use super::folder::ObjectFolder;
use super::upload::{There, as_object, send, unread, unsent};
use crate::checkpoint::{self, Checkpoints, KEPT};
use crate::folder::{FORMAT, check_format, format_text};
use crate::manifest::{self, Manifest, StateFile};
use crate::recovery::{MANIFESTS, STATE};
use millrace_types::{Result, SqlError, SqlState, Tick};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashSet};
use uuid::Uuid;

const OWNER: &str = "OWNER";
/// Numbers that are tried one after the other, where the list of those that are taken is behind.
const ATTEMPTS: usize = 1000;

/// A store that this server writes to.
pub struct CheckpointStore {
    folder: ObjectFolder,
    manifests: ObjectFolder,
    state: ObjectFolder,
    owner: Owner,
    /// The checkpoints that are there, by their numbers; none for what cannot be read.
    kept: BTreeMap<u64, Option<Vec<StateFile>>>,
    there: There,
    /// Whether `there` has all that is there, also what was on its way when a server ended.
    knows_all: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Owner {
    /// The identity of the data folder.
    database: String,
    /// The start of a server.
    writer: String,
}

/// A checkpoint that was copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copied {
    /// Its number in the data folder.
    pub checkpoint: u64,
    /// Its number in the store.
    pub number: u64,
    /// What it shows.
    pub tick: Tick,
    /// Bytes that were sent, and that it consists of.
    pub sent: u64,
    pub total: u64,
}

impl CheckpointStore {
    /// Takes a store over for the database of this identity.
    ///
    /// # Errors
    /// `55006` when it is another's; `F0000` when a newer server wrote it; `58030` when it cannot be reached.
    pub fn open(folder: ObjectFolder, database: &str) -> Result<CheckpointStore> {
        let owner = Owner { database: database.to_owned(), writer: Uuid::new_v4().to_string() };
        if let Some(format) = folder.get(FORMAT).map_err(|error| unread(&folder, error))? {
            check_format(folder.url(), &String::from_utf8_lossy(&format))?;
        }
        claim(&folder, &owner)?;
        folder.put(FORMAT, format_text().into_bytes()).map_err(|error| unsent(&folder, FORMAT, error))?;
        let (manifests, state) = (folder.folder(MANIFESTS), folder.folder(STATE));
        let (kept, there) = (BTreeMap::new(), There::new());
        let mut store = CheckpointStore { folder, manifests, state, owner, kept, there, knows_all: false };
        let listed = store.manifests.objects().map_err(|error| unread(&store.manifests, error))?;
        listed.iter().filter_map(|object| manifest::number_of(&object.name)).try_for_each(|n| store.learn(n))?;
        let named = store.kept.values().flatten().flatten().map(|file| (file.name.clone(), file.bytes));
        let listed = store.list_state()?;
        store.there = named.filter(|(name, bytes)| listed.get(name) == Some(bytes)).collect();
        Ok(store)
    }

    /// Reads the manifest of this number.
    fn learn(&mut self, number: u64) -> Result<()> {
        let files = match checkpoint::read(&self.manifests, number) {
            Ok(manifest) => Some(manifest.state_files),
            // One that has gone is listed for a while by stores whose lists are behind.
            Err(error) if [SqlState::DATA_CORRUPTED, SqlState::UNDEFINED_FILE].contains(&error.state()) => None,
            Err(error) => return Err(error),
        };
        self.kept.insert(number, files);
        Ok(())
    }

    fn list_state(&self) -> Result<There> {
        let listed = self.state.objects().map_err(|error| unread(&self.state, error))?;
        Ok(listed.into_iter().map(|object| (object.name, object.bytes)).collect())
    }

    /// Copies the newest checkpoint of a data folder, then removes what the last two do not need. `goes_on` is asked
    /// from time to time, and ends it with an error. What was sent before an error is not sent again.
    ///
    /// # Errors
    /// `55000` when there is no checkpoint; `55006` when another server has taken over; `XX001` when a file is damaged;
    /// `58030` when the store cannot be reached.
    pub fn copy_newest(
        &mut self,
        checkpoints: &Checkpoints,
        goes_on: &(dyn Fn() -> Result<()> + Sync),
    ) -> Result<Copied> {
        let (manifest, sent, number) = checkpoints.with_newest(|manifest| {
            let sent = send(checkpoints, manifest, &self.state, &mut self.there, goes_on)?;
            goes_on()?;
            Ok((manifest.clone(), sent, self.commit(manifest)?))
        })?;
        self.collect_garbage();
        let total = manifest.state_files.iter().map(|file| file.bytes).sum();
        Ok(Copied { checkpoint: manifest.number, number, tick: manifest.tick, sent, total })
    }

    /// Writes a manifest under the next number that is free.
    fn commit(&mut self, manifest: &Manifest) -> Result<u64> {
        for _ in 0..ATTEMPTS {
            self.check_owner()?;
            let number = self.kept.last_key_value().map_or(0, |(number, _)| *number) + 1;
            let object = as_object(manifest, number);
            let name = manifest::file_name(number);
            let is_new = self.manifests.put_new(&name, object.encode()?);
            if is_new.map_err(|error| unsent(&self.manifests, &name, error))? {
                self.kept.insert(number, Some(object.state_files));
                return Ok(number);
            }
            // An earlier attempt, whose answer was lost, or a server that has been replaced since.
            self.learn(number)?;
        }
        let message = format!("could not find a number for a checkpoint in \"{}\"", self.folder.url());
        Err(SqlError::new(SqlState::IO_ERROR, message))
    }

    fn check_owner(&self) -> Result<()> {
        match read_owner(&self.folder)? {
            Some(owner) if owner == self.owner => Ok(()),
            _ => Err(replaced(&self.folder)),
        }
    }

    /// Removes the manifests before the last two, then the files that neither of these names. It comes after a commit:
    /// all numbers up to that one are known then, so that nothing goes that a checkpoint needs. What stays is tried again
    /// after the next one.
    fn collect_garbage(&mut self) {
        if let Err(error) = self.try_collect() {
            let store = self.folder.url();
            tracing::warn!(%error, store, "objects that no checkpoint needs could not be removed");
        }
    }

    fn try_collect(&mut self) -> Result<()> {
        if !self.knows_all {
            let listed = self.list_state()?;
            listed.into_keys().for_each(|name| _ = self.there.entry(name).or_insert(0));
            self.knows_all = true;
        }
        let readable = self.kept.iter().filter(|(_, files)| files.is_some()).map(|(number, _)| *number);
        let newest: HashSet<u64> = readable.rev().take(KEPT).collect();
        let old: Vec<u64> = self.kept.keys().filter(|number| !newest.contains(number)).copied().collect();
        self.manifests.remove_all(old.iter().map(|number| manifest::file_name(*number)))?;
        self.kept.retain(|number, _| newest.contains(number));
        let named: HashSet<&str> = self.kept.values().flatten().flatten().map(|file| file.name.as_str()).collect();
        let garbage: Vec<_> = self.there.keys().filter(|name| !named.contains(name.as_str())).cloned().collect();
        // However many of them go: none of them is to be counted on.
        garbage.iter().for_each(|name| _ = self.there.insert(name.clone(), 0));
        self.state.remove_all(garbage.iter().cloned())?;
        garbage.iter().for_each(|name| _ = self.there.remove(name));
        Ok(())
    }
}

fn claim(folder: &ObjectFolder, owner: &Owner) -> Result<()> {
    let bytes = serde_json::to_vec(owner).map_err(|error| SqlError::internal(error.to_string()))?;
    let is_new = folder.put_new(OWNER, bytes.clone()).map_err(|error| unsent(folder, OWNER, error))?;
    if is_new {
        return Ok(());
    }
    match read_owner(folder)? {
        Some(other) if other.database != owner.database => Err(SqlError::new(
            SqlState::OBJECT_IN_USE,
            format!("checkpoint store \"{}\" belongs to another data folder", folder.url()),
        )
        .with_hint(format!(
            "Choose another prefix, or go on with what is there: millrace restore --from {} --data-dir NEW.",
            folder.url()
        ))),
        _ => folder.put(OWNER, bytes).map_err(|error| unsent(folder, OWNER, error)),
    }
}

fn read_owner(folder: &ObjectFolder) -> Result<Option<Owner>> {
    let Some(bytes) = folder.get(OWNER).map_err(|error| unread(folder, error))? else { return Ok(None) };
    serde_json::from_slice(&bytes).map(Some).map_err(|error| {
        SqlError::new(SqlState::DATA_CORRUPTED, format!("object \"{}/{OWNER}\" is damaged: {error}", folder.url()))
    })
}

fn replaced(folder: &ObjectFolder) -> SqlError {
    let message = format!("another server has taken over checkpoint store \"{}\"", folder.url());
    SqlError::new(SqlState::OBJECT_IN_USE, message)
        .with_hint("One server at a time writes there; the one that was started last goes on.")
}

/// The identity of the database whose checkpoints are in a folder; `None` for a snapshot.
///
/// # Errors
/// `58030` when the store cannot be reached.
pub fn owner_of(folder: &ObjectFolder) -> Result<Option<String>> {
    Ok(read_owner(folder)?.map(|owner| owner.database))
}
