mod faulty;

use super::*;
use crate::{Backup, Manifest, Storage, StorageOptions, verify};
use arrow::array::{Int64Array, RecordBatch};
use faulty::{Fault, FaultyStore};
use millrace_types::{KEY_GROUPS, RelationId, Result, SqlError, SqlState, Tick};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const FAULTS: [Fault; 3] = [Fault::Lost, Fault::Unanswered, Fault::Torn];

fn rows(n: i64) -> RecordBatch {
    RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from(vec![n])) as _)]).unwrap()
}

fn goes_on() -> Result<()> {
    Ok(())
}

/// A data folder whose checkpoint at tick `n` has the files 1 to `n`, each with its number as the only row.
struct Server {
    _root: tempfile::TempDir,
    storage: Storage,
    manifest: Manifest,
}

impl Server {
    fn new() -> Server {
        let root = tempfile::tempdir().unwrap();
        let (storage, _) = Storage::open(root.path(), StorageOptions::default()).unwrap();
        let manifest = Manifest::new(Tick(0), storage.log.position(), 3, b"catalog".to_vec());
        Server { _root: root, storage, manifest }
    }

    fn checkpoint(&mut self) {
        let tick = self.manifest.tick.next();
        let (owner, rows) = ((RelationId(1), tick.0 as u32, 0..KEY_GROUPS), rows(tick.0 as i64));
        let name = format!("{tick}.arrow");
        let file = self.storage.checkpoints.put_file(owner, &name, &rows.schema(), std::slice::from_ref(&rows));
        self.manifest.state_files.push(file.unwrap());
        self.manifest.tick = tick;
        self.storage.checkpoints.commit(self.manifest.clone()).unwrap();
    }

    /// Without the first `count` files from the next checkpoint on.
    fn drop_files(&mut self, count: usize) {
        self.manifest.state_files.drain(..count);
    }

    fn attach(&self, folder: &ObjectFolder) -> Result<CheckpointStore> {
        CheckpointStore::open(folder.clone(), &self.storage.folder.identity().unwrap())
    }

    fn copy(&self, store: &mut CheckpointStore) -> Result<Copied> {
        store.copy_newest(&self.storage.checkpoints, &goes_on)
    }
}

fn folder_of(store: &FaultyStore) -> ObjectFolder {
    ObjectFolder::of(Arc::new(store.clone()), "s3://bucket").folder("prefix")
}

/// Restores what is in a folder and checks every row of it: its tick.
fn restored(folder: &ObjectFolder) -> Result<u64> {
    let elsewhere = tempfile::tempdir().unwrap();
    let to = elsewhere.path().join("data");
    Backup::in_store(folder)?.restore(&to)?;
    let (storage, recovered) = Storage::open(&to, StorageOptions::default()).unwrap();
    let manifest = recovered.manifest.unwrap();
    for file in &manifest.state_files {
        assert_eq!(storage.checkpoints.load(file).unwrap(), [rows(i64::from(file.part))]);
    }
    drop(storage);
    assert_eq!(verify(&to).iter().filter(|finding| finding.severity == crate::Severity::Error).count(), 0);
    Ok(manifest.tick.0)
}

/// State files that no manifest names.
fn orphans(folder: &ObjectFolder) -> usize {
    let manifests = folder.folder("manifests");
    let numbers = manifests.objects().unwrap().into_iter().filter_map(|o| crate::manifest::number_of(&o.name));
    let named: BTreeSet<String> = numbers
        .flat_map(|number| crate::checkpoint::read(&manifests, number).unwrap().state_files)
        .map(|file| file.name)
        .collect();
    folder.folder("state").objects().unwrap().into_iter().filter(|object| !named.contains(&object.name)).count()
}

#[test]
fn what_is_there_is_not_sent_again_and_what_nobody_needs_goes() {
    let (objects, mut server) = (FaultyStore::default(), Server::new());
    let folder = folder_of(&objects);
    let mut store = server.attach(&folder).unwrap();
    let nothing = server.copy(&mut store).unwrap_err();
    assert_eq!(nothing.state(), SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE);
    server.checkpoint();
    let first = server.copy(&mut store).unwrap();
    assert_eq!((first.tick, first.sent), (Tick(1), first.total));
    server.checkpoint();
    let second = server.copy(&mut store).unwrap();
    assert_eq!((second.number, second.sent * 2), (2, second.total));
    server.drop_files(1);
    (0..3).for_each(|_| {
        server.checkpoint();
        server.copy(&mut store).unwrap();
    });
    assert_eq!(folder.folder("manifests").objects().unwrap().len(), 2);
    assert_eq!((folder.folder("state").objects().unwrap().len(), orphans(&folder)), (4, 0));
    assert_eq!(restored(&folder).unwrap(), 5);
    // The next start of the server sends what is new, and nothing else.
    let mut store = server.attach(&folder).unwrap();
    assert_eq!(server.copy(&mut store).unwrap().sent, 0);
}

#[test]
fn whatever_request_fails_the_last_checkpoint_is_whole_and_the_next_attempt_succeeds() {
    for fault in FAULTS {
        for at in 0.. {
            let (objects, mut server) = (FaultyStore::default(), Server::new());
            let folder = folder_of(&objects);
            let mut store = server.attach(&folder).unwrap();
            for _ in 0..2 {
                server.checkpoint();
                server.copy(&mut store).unwrap();
            }
            server.drop_files(1);
            server.checkpoint();
            objects.fail_after(Some((at, fault)));
            let begun = objects.changes();
            let copied = server.copy(&mut store);
            let is_through = objects.changes() - begun <= at;
            objects.fail_after(None);
            let found = restored(&folder).unwrap();
            assert!(found == 3 || (found == 2 && copied.is_err()), "{found} after {fault:?} at {at}: {copied:?}");
            // Half of the time the server is started anew.
            if at % 2 == 0 {
                store = server.attach(&folder).unwrap();
            }
            server.checkpoint();
            server.copy(&mut store).unwrap();
            assert_eq!((restored(&folder).unwrap(), orphans(&folder)), (4, 0), "{fault:?} at {at}");
            if is_through {
                break;
            }
        }
    }
}

#[test]
fn taking_over_may_fail_at_any_request() {
    for fault in [Fault::Lost, Fault::Unanswered] {
        for at in 0..4 {
            let (objects, mut server) = (FaultyStore::default(), Server::new());
            let folder = folder_of(&objects);
            server.checkpoint();
            objects.fail_after(Some((at, fault)));
            let _ = server.attach(&folder);
            objects.fail_after(None);
            server.copy(&mut server.attach(&folder).unwrap()).unwrap();
            assert_eq!(restored(&folder).unwrap(), 1);
        }
    }
}

#[test]
fn a_list_that_is_behind_loses_nothing() {
    let (objects, mut server) = (FaultyStore::default(), Server::new());
    let folder = folder_of(&objects);
    let mut store = server.attach(&folder).unwrap();
    server.checkpoint();
    server.copy(&mut store).unwrap();
    objects.set_stale(true);
    for _ in 0..2 {
        server.checkpoint();
        server.copy(&mut store).unwrap();
    }
    // A start that does not see the last ones, and finds their numbers taken.
    let mut store = server.attach(&folder).unwrap();
    server.checkpoint();
    objects.set_stale(false);
    server.copy(&mut store).unwrap();
    assert_eq!((restored(&folder).unwrap(), orphans(&folder)), (4, 0));
}

#[test]
fn a_server_that_was_replaced_writes_no_more() {
    let (objects, mut old) = (FaultyStore::default(), Server::new());
    let folder = folder_of(&objects);
    let mut of_old = old.attach(&folder).unwrap();
    old.checkpoint();
    old.copy(&mut of_old).unwrap();
    // Another machine goes on with what is there, while the first one does not know of it.
    let elsewhere = tempfile::tempdir().unwrap();
    Backup::in_store(&folder).unwrap().restore(&elsewhere.path().join("data")).unwrap();
    let (storage, recovered) = Storage::open(&elsewhere.path().join("data"), StorageOptions::default()).unwrap();
    let mut new = Server { _root: elsewhere, storage, manifest: recovered.manifest.unwrap() };
    let mut of_new = new.attach(&folder).unwrap();
    old.checkpoint();
    let refused = old.copy(&mut of_old).unwrap_err();
    assert_eq!(refused.state(), SqlState::OBJECT_IN_USE, "{refused}");
    new.checkpoint();
    new.checkpoint();
    let copied = new.copy(&mut of_new).unwrap();
    assert!(copied.sent < copied.total, "what was restored is there");
    assert_eq!(restored(&folder).unwrap(), 3);
    let other = Server::new().attach(&folder).err().unwrap();
    assert_eq!(other.state(), SqlState::OBJECT_IN_USE);
    assert!(other.message().contains("belongs to another data folder"), "{other}");
}

#[test]
fn a_damaged_object_is_named_and_the_checkpoint_before_it_is_used() {
    let (objects, mut server) = (FaultyStore::default(), Server::new());
    let folder = folder_of(&objects);
    let mut store = server.attach(&folder).unwrap();
    for _ in 0..2 {
        server.checkpoint();
        server.copy(&mut store).unwrap();
    }
    let state = folder.folder("state");
    let names: Vec<String> = state.objects().unwrap().into_iter().map(|object| object.name).collect();
    let damage = |name: &str| {
        let mut bytes = state.get(name).unwrap().unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        state.put(name, bytes).unwrap();
    };
    damage(&names[1]);
    assert_eq!(restored(&folder).unwrap(), 1);
    damage(&names[0]);
    let error = restored(&folder).unwrap_err();
    assert_eq!(error.state(), SqlState::DATA_CORRUPTED);
    assert!(error.message().contains("s3://bucket/prefix/state/1."), "{error}");
}

#[test]
fn a_snapshot_is_there_with_all_that_it_names_or_not_at_all() {
    let mut server = Server::new();
    (0..3).for_each(|_| server.checkpoint());
    for fault in FAULTS {
        for at in 0..5 {
            let objects = FaultyStore::default();
            let folder = folder_of(&objects);
            let snapshots = ObjectSnapshots::of(folder.clone());
            objects.fail_after(Some((at, fault)));
            let failed = snapshots.create("nightly", &server.storage.checkpoints).unwrap_err();
            assert_eq!(failed.state(), SqlState::IO_ERROR, "{failed}");
            objects.fail_after(None);
            match snapshots.list().unwrap().as_slice() {
                [] => assert_eq!(snapshots.create("nightly", &server.storage.checkpoints).unwrap().tick, Some(Tick(3))),
                // Its answer was lost.
                [whole] if whole.tick.is_some() => {}
                // Half of a manifest: it is listed as damaged, and can be dropped.
                [damaged] => {
                    assert_eq!((damaged.tick, fault), (None, Fault::Torn));
                    assert!(snapshots.remove("nightly").unwrap());
                    snapshots.create("nightly", &server.storage.checkpoints).unwrap();
                }
                more => panic!("{more:?}"),
            }
            assert_eq!(restored(&folder.folder("nightly")).unwrap(), 3, "{fault:?} at {at}");
            let taken = snapshots.create("nightly", &server.storage.checkpoints).unwrap_err();
            assert_eq!(taken.state(), SqlState::DUPLICATE_OBJECT);
            assert!(snapshots.remove("nightly").unwrap());
            assert!(!snapshots.remove("nightly").unwrap());
            assert_eq!(restored(&folder.folder("nightly")).unwrap_err().state(), SqlState::UNDEFINED_FILE);
        }
    }
}

#[test]
fn a_slow_store_is_given_up_when_the_server_ends() {
    let (objects, mut server) = (FaultyStore::default(), Server::new());
    let folder = folder_of(&objects);
    let mut store = server.attach(&folder).unwrap();
    server.checkpoint();
    objects.set_delay(Duration::from_millis(20));
    let ends = || Err(SqlError::new(SqlState::ADMIN_SHUTDOWN, "the server ends"));
    let given_up = store.copy_newest(&server.storage.checkpoints, &ends).unwrap_err();
    assert_eq!(given_up.state(), SqlState::ADMIN_SHUTDOWN);
    server.copy(&mut store).unwrap();
    assert_eq!(restored(&folder).unwrap(), 1);
}

#[test]
fn a_mounted_folder_is_a_store_too() {
    let (root, mut server) = (tempfile::tempdir().unwrap(), Server::new());
    let url = format!("file://{}/backups", root.path().display());
    let mut store = server.attach(&ObjectFolder::open(&url).unwrap()).unwrap();
    server.checkpoint();
    server.copy(&mut store).unwrap();
    server.checkpoint();
    server.copy(&mut store).unwrap();
    assert_eq!(restored(&ObjectFolder::open(&url).unwrap()).unwrap(), 2);
    let snapshots = ObjectSnapshots::of(ObjectFolder::open(&format!("{url}/snapshots/")).unwrap());
    assert_eq!(snapshots.list().unwrap(), []);
    snapshots.create("one", &server.storage.checkpoints).unwrap();
    assert_eq!(snapshots.list().unwrap().len(), 1);
    assert!(snapshots.remove("one").unwrap());
    assert_eq!(snapshots.list().unwrap(), []);
    // A copy of such a folder is a data folder.
    assert!(Storage::open(&root.path().join("backups"), StorageOptions::default()).is_ok());
    assert!(Path::new(&root.path().join("backups/OWNER")).exists());
}

#[test]
fn urls_say_where_and_nothing_else() {
    for url in ["gs://bucket/a", "file://relative", "s3://key:secret@bucket/a", "s3://bucket/a?x=1", "folder"] {
        let error = ObjectFolder::open(url).err().unwrap();
        assert_eq!(error.state(), SqlState::INVALID_PARAMETER_VALUE, "{url}");
        assert!(!error.message().contains("secret@"), "{error}");
    }
}
