//! A data folder that goes back to what a backup holds.
//!
//! ```text
//!   restoring/manifests, state ...   written while the server runs         no marker: removed at the next start
//!   RESTORE                          the marker: from here on it is done   after a crash, too
//!   manifests, state, log, catalog   replaced/ takes the old, restoring/ gives the new
//! ```
//!
//! The log and the store of the catalog begin anew: all that they hold is in the manifest.

use crate::disk::CATALOG;
use crate::files::sync_folder;
use crate::folder::write_whole;
use crate::manifest::Manifest;
use crate::recovery::{LOG, MANIFESTS, STATE};
use crate::restore::Backup;
use millrace_types::{Result, SqlError};
use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

const PREPARED: &str = "restoring";
const REPLACED: &str = "replaced";
const MARKER: &str = "RESTORE";
/// What is replaced.
const PARTS: [&str; 4] = [LOG, CATALOG, MANIFESTS, STATE];

/// Writes what a backup holds beside what is there, which a server may use meanwhile.
///
/// # Errors
/// `XX001` naming a file of the backup that is damaged, `53100` when the disk is full: then nothing is left of it.
pub fn prepare(path: &Path, backup: &Backup) -> Result<Manifest> {
    let prepared = path.join(PREPARED);
    forget(path)?;
    let filled = (|| {
        fs::create_dir(&prepared)?;
        let manifest = backup.fill(&prepared)?;
        fs::create_dir(prepared.join(LOG))?;
        fs::create_dir(prepared.join(CATALOG))?;
        sync_folder(&prepared)?;
        sync_folder(path)?;
        Ok(manifest)
    })();
    filled.inspect_err(|_: &SqlError| _ = forget(path))
}

/// Removes what was prepared.
///
/// # Errors
/// What the disk says.
pub fn forget(path: &Path) -> Result<()> {
    remove(&path.join(PREPARED))?;
    Ok(remove(&path.join(REPLACED))?)
}

/// Decides for what was prepared: the next time that the folder is opened it holds that.
///
/// # Errors
/// What the disk says; then nothing is decided.
pub fn decide(path: &Path) -> Result<()> {
    Ok(write_whole(path, MARKER, "")?)
}

/// Puts what was prepared in its place, if that was decided; else removes what is left of it. Each step may be the last
/// one before a crash.
pub(crate) fn finish(path: &Path) -> io::Result<()> {
    finish_within(path, &mut || Ok(()))
}

/// As [`finish`]; `step` is asked before each change of the disk.
fn finish_within(path: &Path, step: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()> {
    let (prepared, replaced) = (path.join(PREPARED), path.join(REPLACED));
    if path.join(MARKER).exists() {
        fs::create_dir_all(&replaced)?;
        for part in PARTS.iter().filter(|part| prepared.join(part).exists()) {
            if path.join(part).exists() {
                step()?;
                fs::rename(path.join(part), replaced.join(part))?;
            }
            step()?;
            fs::rename(prepared.join(part), path.join(part))?;
        }
        step()?;
        sync_folder(path)?;
        fs::remove_file(path.join(MARKER))?;
        sync_folder(path)?;
    }
    for left in [prepared, replaced] {
        step()?;
        remove(&left)?;
    }
    Ok(())
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Record, RecordKind, Snapshots, Storage, StorageOptions};
    use millrace_types::Tick;

    /// A folder with a snapshot of tick 1 that is at tick 2, with a log.
    fn folder() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let (mut storage, _) = Storage::open(root.path(), StorageOptions::default()).unwrap();
        let checkpoint = |storage: &Storage, tick| {
            let manifest = Manifest::new(Tick(tick), storage.log.position(), tick, format!("catalog {tick}").into());
            storage.checkpoints.commit(manifest).unwrap();
        };
        checkpoint(&storage, 1);
        Snapshots::new(root.path(), storage.checkpoints.clone()).create("first").unwrap();
        let payload = crate::offsets::encode(&[]).unwrap();
        storage.log.append(&[Record { tick: Tick(2), kind: RecordKind::Offsets, payload: &payload }]).unwrap();
        storage.log.sync().unwrap();
        checkpoint(&storage, 2);
        root
    }

    fn backup(root: &Path) -> Backup {
        Backup::open(root.join("snapshots/first").to_str().unwrap()).unwrap()
    }

    /// The tick and the catalog of a folder.
    fn found(root: &Path) -> (u64, Vec<u8>) {
        let (_storage, recovered) = Storage::open(root, StorageOptions::default()).unwrap();
        (recovered.last_tick.0, recovered.catalog.snapshot.unwrap().1)
    }

    #[test]
    fn what_is_not_decided_is_forgotten() {
        let root = folder();
        prepare(root.path(), &backup(root.path())).unwrap();
        assert_eq!(found(root.path()), (2, b"catalog 2".to_vec()));
        assert!(!root.path().join(PREPARED).exists());
    }

    #[test]
    fn what_is_decided_is_done_after_a_crash_at_any_step() {
        for crash in 0.. {
            let root = folder();
            prepare(root.path(), &backup(root.path())).unwrap();
            decide(root.path()).unwrap();
            let mut left = crash;
            let outcome = finish_within(root.path(), &mut || match left {
                0 => Err(io::Error::other("the power goes")),
                _ => {
                    left -= 1;
                    Ok(())
                }
            });
            assert_eq!(found(root.path()), (1, b"catalog 1".to_vec()), "after {crash} steps");
            assert!(![PREPARED, REPLACED, MARKER].iter().any(|name| root.path().join(name).exists()));
            assert_eq!(crate::verify(root.path()), []);
            if outcome.is_ok() {
                return;
            }
        }
    }
}
