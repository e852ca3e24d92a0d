//! Whole folders, opened again after this or that was lost.

use super::*;
use crate::command_log::Record;
use crate::disk::CATALOG;
use std::fs;

fn open(path: &Path) -> Result<(Storage, Recovered)> {
    Storage::open(path, StorageOptions { segment_bytes: 256 })
}

/// Commits the definition change that leads to `version`, at the tick of the same number.
fn change(storage: &mut Storage, version: u64) {
    let change = vec![version as u8; 50];
    let payload = encode_change(version, &change);
    storage.log.append(&[Record { tick: Tick(version), kind: RecordKind::CatalogChange, payload: &payload }]).unwrap();
    storage.log.sync().unwrap();
    storage.catalog.append(version, &change).unwrap();
}

fn checkpoint(storage: &mut Storage, version: u64) {
    let manifest = Manifest::new(Tick(version), storage.log.position(), version, b"whole".to_vec());
    let needed = storage.checkpoints.commit(manifest).unwrap();
    storage.log.truncate_before(needed).unwrap();
}

/// A folder with 20 definition changes and checkpoints after the sixth and the twelfth.
fn folder() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let (mut storage, recovered) = open(root.path()).unwrap();
    assert_eq!((recovered.replay_from(), recovered.catalog.version()), (Tick(0), 0));
    for version in 1..=20 {
        change(&mut storage, version);
        if version % 6 == 0 && version < 18 {
            checkpoint(&mut storage, version);
        }
    }
    root
}

fn assert_whole(recovered: &Recovered) {
    assert_eq!(recovered.catalog.snapshot, Some((12, b"whole".to_vec())));
    assert_eq!(recovered.catalog.changes, (13..=20).map(|v| (v, vec![v as u8; 50])).collect::<Vec<_>>());
}

#[test]
fn everything_committed_is_found_again() {
    let root = folder();
    let (_storage, recovered) = open(root.path()).unwrap();
    assert_whole(&recovered);
    assert_eq!((recovered.replay_from(), recovered.last_tick), (Tick(13), Tick(20)));
    assert_eq!(recovered.findings, []);
}

#[test]
fn a_catalog_store_that_does_not_open_is_moved_aside_and_rebuilt() {
    let root = folder();
    fs::write(root.path().join(CATALOG).join("conf"), "nothing that sled wrote").unwrap();
    let (storage, recovered) = open(root.path()).unwrap();
    assert_whole(&recovered);
    assert!(recovered.findings[0].message.contains("catalog.broken-1"));
    assert!(root.path().join("catalog.broken-1/conf").exists());
    drop(storage);
    let (storage, recovered) = open(root.path()).unwrap();
    assert_eq!((recovered.findings, storage.catalog.load().unwrap()), (vec![], recovered.catalog));
}

#[test]
fn a_catalog_store_that_opens_empty_is_filled_again() {
    for damage in [&b""[..], &[0; 1 << 20], &[0xa5; 1 << 20]] {
        let root = folder();
        fs::write(root.path().join(CATALOG).join("db"), damage).unwrap();
        let (_storage, recovered) = open(root.path()).unwrap();
        assert_whole(&recovered);
    }
}

#[test]
fn the_checkpoint_before_the_newest_one_serves_as_well() {
    let root = folder();
    let newest = root.path().join(MANIFESTS).join(crate::manifest::file_name(2));
    fs::write(newest, "damage").unwrap();
    let (_storage, recovered) = open(root.path()).unwrap();
    assert_eq!(recovered.replay_from(), Tick(7));
    assert_eq!(recovered.catalog.version(), 20);
    assert_eq!(recovered.findings.len(), 1);
}

#[test]
fn lost_parts_are_not_taken_for_a_new_folder() {
    for part in [LOG, MANIFESTS] {
        let root = folder();
        fs::remove_dir_all(root.path().join(part)).unwrap();
        assert_eq!(open(root.path()).err().unwrap().state(), SqlState::DATA_CORRUPTED, "{part}");
    }
}
