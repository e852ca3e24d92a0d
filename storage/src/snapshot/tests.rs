use super::*;
use crate::{Manifest, Storage, StorageOptions, verify};
use arrow::array::{Int64Array, RecordBatch};
use millrace_types::{KEY_GROUPS, RelationId};

fn rows(n: i64) -> RecordBatch {
    RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from(vec![n])) as _)]).unwrap()
}

/// Takes a checkpoint with one file.
fn checkpoint(storage: &Storage, tick: u64) {
    let (owner, rows) = ((RelationId(1), 0, 0..KEY_GROUPS), rows(tick as i64));
    let name = format!("{tick}.arrow");
    let file = storage.checkpoints.put_file(owner, &name, &rows.schema(), std::slice::from_ref(&rows)).unwrap();
    let mut manifest = Manifest::new(Tick(tick), storage.log.position(), 3, b"catalog".to_vec());
    manifest.state_files.push(file);
    storage.checkpoints.commit(manifest).unwrap();
}

fn restore(from: &Path, to: &Path) -> Result<Manifest> {
    crate::restore(from.to_str().unwrap(), to)
}

fn open(path: &Path) -> (Storage, crate::Recovered) {
    Storage::open(path, StorageOptions::default()).unwrap()
}

/// A data folder with a snapshot `first` of tick 1, and its checkpoints since.
fn folder() -> (tempfile::TempDir, Storage, Snapshots) {
    let root = tempfile::tempdir().unwrap();
    let (storage, _) = open(root.path());
    let snapshots = Snapshots::new(root.path(), storage.checkpoints.clone());
    assert_eq!(snapshots.create("none").unwrap_err().state(), SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE);
    checkpoint(&storage, 1);
    assert_eq!(snapshots.create("first").unwrap().tick, Some(Tick(1)));
    (2..6).for_each(|tick| checkpoint(&storage, tick));
    (root, storage, snapshots)
}

#[test]
fn a_snapshot_outlives_the_checkpoint_that_it_was_and_is_restored() {
    let (root, _storage, snapshots) = folder();
    let elsewhere = tempfile::tempdir().unwrap();
    let to = elsewhere.path().join("data");
    assert_eq!(restore(&root.path().join("snapshots/first"), &to).unwrap().tick, Tick(1));
    let (restored, recovered) = open(&to);
    let manifest = recovered.manifest.unwrap();
    assert_eq!((manifest.tick, manifest.catalog.as_slice(), recovered.last_tick), (Tick(1), &b"catalog"[..], Tick(1)));
    assert_eq!(restored.checkpoints.load(&manifest.state_files[0]).unwrap(), [rows(1)]);
    checkpoint(&restored, 2);
    drop(restored);
    assert_eq!(verify(&to), []);
    assert_eq!(snapshots.list().unwrap().len(), 1);
    assert_eq!(restore(&root.path().join("snapshots/first"), &to).unwrap_err().state(), SqlState::DUPLICATE_TABLE);
    let server = restore(root.path(), &elsewhere.path().join("other")).unwrap_err();
    assert_eq!(server.state(), SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE);
    let nothing = restore(elsewhere.path(), &elsewhere.path().join("other")).unwrap_err();
    assert_eq!(nothing.state(), SqlState::UNDEFINED_FILE);
}

#[test]
fn names_are_those_of_folders_and_are_taken_once() {
    let (_root, _storage, snapshots) = folder();
    for name in ["", "..", "a/b", "a.partial", "a b"] {
        assert_eq!(snapshots.create(name).unwrap_err().state(), SqlState("42602"), "{name}");
    }
    assert_eq!(snapshots.create("first").unwrap_err().state(), SqlState::DUPLICATE_OBJECT);
    assert_eq!(snapshots.create("Zweiter-2").unwrap().tick, Some(Tick(5)));
    let names: Vec<_> = snapshots.list().unwrap().into_iter().map(|snapshot| snapshot.name).collect();
    assert_eq!(names, ["Zweiter-2", "first"]);
    assert!(snapshots.remove("first").unwrap());
    assert!(!snapshots.remove("first").unwrap());
    assert_eq!(snapshots.list().unwrap().len(), 1);
}

#[test]
fn a_damaged_file_makes_no_snapshot_and_is_not_restored() {
    let (root, _storage, snapshots) = folder();
    let damage = |path: PathBuf| {
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(path, bytes).unwrap();
    };
    damage(root.path().join("state/5.arrow"));
    let error = snapshots.create("second").unwrap_err();
    assert_eq!(error.state(), SqlState::DATA_CORRUPTED);
    assert!(error.message().contains("5.arrow"), "{error}");
    assert_eq!(snapshots.list().unwrap().len(), 1);
    damage(root.path().join("snapshots/first/state/1.arrow"));
    let to = root.path().join("restored");
    assert_eq!(restore(&root.path().join("snapshots/first"), &to).unwrap_err().state(), SqlState::DATA_CORRUPTED);
    assert_eq!(fs::read_dir(&to).unwrap().count(), 0, "nothing is left that could be taken for a data folder");
}
