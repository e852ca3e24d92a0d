//! Checkpoints on a faulty disk.

use super::*;
use crate::blob::FileBlobs;
use crate::command_log::Position;
use crate::faulty::FaultyFiles;
use crate::files::Files;
use crate::kv::MemoryStore;
use arrow::array::{Int64Array, StringViewArray};
use millrace_types::KEY_GROUPS;

/// Two folders and a store, which outlive a crash.
#[derive(Clone, Default)]
struct Disk {
    state: FaultyFiles,
    manifests: FaultyFiles,
    store: Arc<MemoryStore>,
}

impl Disk {
    fn open(&self) -> Result<(Checkpoints, Vec<Finding>)> {
        let blobs =
            |files: &FaultyFiles| FileBlobs::open(Arc::new(files.clone())).map(|b| Arc::new(b) as Arc<dyn Blob>);
        Checkpoints::open(blobs(&self.state)?, blobs(&self.manifests)?, self.store.clone())
    }

    fn checkpoints(&self) -> Checkpoints {
        self.open().unwrap().0
    }
}

fn rows(n: u64) -> RecordBatch {
    let text = StringViewArray::from_iter_values((0..n).map(|i| format!("row number {i} of a batch")));
    let numbers = Int64Array::from_iter_values(0..n as i64);
    RecordBatch::try_from_iter([("n", Arc::new(numbers) as _), ("t", Arc::new(text) as _)]).unwrap()
}

/// Writes a checkpoint at `tick` with one file of `tick` rows.
fn checkpoint(checkpoints: &Checkpoints, tick: u64) -> Result<Tick> {
    let batch = rows(tick);
    let owner = (RelationId(1), 0, 0..KEY_GROUPS);
    let file = checkpoints.put_file(owner, &format!("{tick}.arrow"), &batch.schema(), std::slice::from_ref(&batch))?;
    let mut manifest = Manifest::new(Tick(tick), Position { segment: 1, offset: 40 }, tick, vec![tick as u8]);
    manifest.state_files.push(file);
    checkpoints.commit(manifest)
}

/// The tick of the newest checkpoint, whose file is checked.
fn latest(checkpoints: &Checkpoints) -> Option<u64> {
    let manifest = checkpoints.latest()?;
    assert_eq!(checkpoints.load(&manifest.state_files[0]).unwrap(), [rows(manifest.tick.0)]);
    Some(manifest.tick.0)
}

#[test]
fn the_last_two_are_kept_and_the_log_from_the_older_one_on() {
    let disk = Disk::default();
    let checkpoints = disk.checkpoints();
    assert_eq!(latest(&checkpoints), None);
    assert_eq!(checkpoint(&checkpoints, 1).unwrap(), Tick(2));
    assert_eq!(checkpoint(&checkpoints, 5).unwrap(), Tick(2));
    assert_eq!(checkpoint(&checkpoints, 9).unwrap(), Tick(6));
    let names = |files: &FaultyFiles| files.list().unwrap().into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    assert_eq!(names(&disk.state), ["5.arrow", "9.arrow"]);
    assert_eq!(names(&disk.manifests), [manifest::file_name(2), manifest::file_name(3)]);
    assert_eq!(latest(&disk.checkpoints()), Some(9));
}

#[test]
fn after_a_crash_at_any_step_the_newest_checkpoint_is_whole() {
    let whole = Disk::default();
    let (before, total) = {
        let checkpoints = whole.checkpoints();
        checkpoint(&checkpoints, 1).unwrap();
        let before = (whole.state.steps(), whole.manifests.steps());
        checkpoint(&checkpoints, 2).unwrap();
        (before, (whole.state.steps(), whole.manifests.steps()))
    };
    let state_steps = (0..=total.0 - before.0).step_by(97).map(|step| (Some(step), None));
    let manifest_steps = (0..=total.1 - before.1).map(|step| (None, Some(step)));
    for (state_step, manifest_step) in state_steps.chain(manifest_steps) {
        let disk = Disk::default();
        let checkpoints = disk.checkpoints();
        checkpoint(&checkpoints, 1).unwrap();
        state_step.into_iter().for_each(|step| disk.state.crash_after(step));
        manifest_step.into_iter().for_each(|step| disk.manifests.crash_after(step));
        let done = checkpoint(&checkpoints, 2).is_ok();
        for seed in 0..4 {
            let (state, manifests) = (disk.state.after_crash(seed), disk.manifests.after_crash(seed));
            let after = Disk { state, manifests, store: disk.store.clone() }.checkpoints();
            let found = latest(&after).unwrap();
            assert!(found == 2 || found == 1 && !done, "{found} after {state_step:?} {manifest_step:?}");
            checkpoint(&after, 3).unwrap();
            assert_eq!(latest(&after), Some(3));
        }
    }
}

#[test]
fn a_damaged_manifest_is_named_and_the_one_before_it_is_used() {
    let disk = Disk::default();
    let checkpoints = disk.checkpoints();
    checkpoint(&checkpoints, 1).unwrap();
    checkpoint(&checkpoints, 2).unwrap();
    disk.manifests.damage(&manifest::file_name(2), |bytes| bytes[30] ^= 1);
    let (checkpoints, findings) = disk.open().unwrap();
    assert_eq!(latest(&checkpoints), Some(1));
    assert!(findings[0].message.contains(&manifest::file_name(2)));
    checkpoint(&checkpoints, 3).unwrap();
    assert_eq!(disk.checkpoints().latest().unwrap().number, 3);
}

#[test]
fn lost_manifests_are_not_taken_for_a_new_folder() {
    let disk = Disk::default();
    checkpoint(&disk.checkpoints(), 1).unwrap();
    disk.manifests.remove(&manifest::file_name(1)).unwrap();
    assert_eq!(disk.open().err().unwrap().state(), SqlState::DATA_CORRUPTED);
}

#[test]
fn a_damaged_or_missing_state_file_is_named() {
    let disk = Disk::default();
    let checkpoints = disk.checkpoints();
    checkpoint(&checkpoints, 3).unwrap();
    let file = checkpoints.latest().unwrap().state_files[0].clone();
    disk.state.damage("3.arrow", |bytes| bytes[100] ^= 1);
    let error = checkpoints.load(&file).unwrap_err();
    assert_eq!((error.state(), error.message().contains("3.arrow")), (SqlState::DATA_CORRUPTED, true));
    disk.state.remove("3.arrow").unwrap();
    assert!(checkpoints.load(&file).unwrap_err().message().ends_with("it is missing"));
}

#[test]
fn a_full_disk_leaves_the_newest_checkpoint_as_it_was() {
    let disk = Disk::default();
    let checkpoints = disk.checkpoints();
    checkpoint(&checkpoints, 1).unwrap();
    disk.state.set_free_bytes(Some(100));
    assert_eq!(checkpoint(&checkpoints, 2).unwrap_err().state(), SqlState::DISK_FULL);
    disk.state.set_free_bytes(None);
    disk.manifests.set_free_bytes(Some(100));
    assert_eq!(checkpoint(&checkpoints, 2).unwrap_err().state(), SqlState::DISK_FULL);
    assert_eq!(latest(&checkpoints), Some(1));
    disk.manifests.set_free_bytes(None);
    checkpoint(&checkpoints, 2).unwrap();
    assert_eq!(latest(&disk.checkpoints()), Some(2));
}

#[test]
fn a_manifest_that_breaks_an_invariant_is_not_committed() {
    let disk = Disk::default();
    let checkpoints = disk.checkpoints();
    checkpoint(&checkpoints, 5).unwrap();
    assert!(checkpoint(&checkpoints, 4).unwrap_err().message().ends_with("ticks never decrease"));
    let mut manifest = checkpoints.latest().unwrap();
    manifest.state_files[0].name = "absent".to_owned();
    assert!(checkpoints.commit(manifest).unwrap_err().message().contains("which was not written"));
    let error = checkpoints.put_file((RelationId(1), 0, 0..1), "5.arrow", &rows(1).schema(), &[]).unwrap_err();
    assert!(error.message().contains("belongs to an earlier checkpoint"));
    assert_eq!(latest(&disk.checkpoints()), Some(5));
}
