//! What holds for every manifest, and from each one to the next. All of it is checked on every commit.

use super::Manifest;
use crate::blob::Blob;
use millrace_types::{KEY_GROUPS, Result, SqlError};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Something that must hold for a manifest.
type Shape = fn(&Manifest) -> bool;
/// Something that must hold between a manifest and the one after it.
type Step = fn(&Manifest, &Manifest) -> bool;

const SHAPES: &[(&str, Shape)] = &[
    ("each state file is named once", each_file_is_named_once),
    ("key group ranges exist and do not overlap", key_groups_do_not_overlap),
    ("each split has one offset", each_split_has_one_offset),
    ("no sink is ahead of the checkpoint", no_sink_is_ahead),
];

const STEPS: &[(&str, Step)] = &[
    ("numbers grow", |before, after| before.number < after.number),
    ("ticks never decrease", |before, after| before.tick <= after.tick),
    ("the log never goes back", |before, after| before.log_segment <= after.log_segment),
    ("catalog versions never decrease", |before, after| before.catalog_version <= after.catalog_version),
    ("offsets never decrease", offsets_never_decrease),
    ("sinks never go back", sinks_never_go_back),
];

/// Checks a manifest, and that it may follow `before`.
///
/// # Errors
/// `XX000` naming the invariant.
pub fn check(before: Option<&Manifest>, manifest: &Manifest) -> Result<()> {
    let shape = SHAPES.iter().find(|(_, holds)| !holds(manifest)).map(|(name, _)| name);
    let step = || before.and_then(|before| STEPS.iter().find(|(_, holds)| !holds(before, manifest)).map(|(n, _)| n));
    match shape.or_else(step) {
        None => Ok(()),
        Some(name) => Err(SqlError::internal(format!("checkpoint at tick {} breaks: {name}", manifest.tick))),
    }
}

/// The state files of a manifest that are not in `state` with their right length.
pub fn missing_files(manifest: &Manifest, state: &dyn Blob) -> std::io::Result<Vec<String>> {
    let found: HashMap<String, u64> = state.list()?.into_iter().collect();
    let missing = manifest.state_files.iter().filter(|file| found.get(&file.name) != Some(&file.bytes));
    Ok(missing.map(|file| file.name.clone()).collect())
}

/// A file belongs to one part of one relation's state.
fn each_file_is_named_once(manifest: &Manifest) -> bool {
    let mut names = HashSet::new();
    manifest.state_files.iter().all(|file| names.insert(&file.name))
}

/// A key's state is in one file: otherwise a restore would find it twice.
fn key_groups_do_not_overlap(manifest: &Manifest) -> bool {
    let mut ranges: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for file in &manifest.state_files {
        ranges.entry((file.relation, file.part)).or_default().push((file.key_groups.start, file.key_groups.end));
    }
    ranges.values_mut().all(|ranges| {
        ranges.sort_unstable();
        ranges.iter().all(|(start, end)| start < end && *end <= KEY_GROUPS)
            && ranges.windows(2).all(|pair| pair[0].1 <= pair[1].0)
    })
}

/// A split goes on from one place.
fn each_split_has_one_offset(manifest: &Manifest) -> bool {
    let mut splits = HashSet::new();
    manifest.source_offsets.iter().all(|at| splits.insert((at.relation, &at.split)))
}

/// A sink delivers what a tick produced; what was delivered beyond the checkpoint would be produced again.
fn no_sink_is_ahead(manifest: &Manifest) -> bool {
    manifest.sinks.iter().all(|sink| sink.tick <= manifest.tick)
}

/// What was read once is in the state; it is not read again.
fn offsets_never_decrease(before: &Manifest, after: &Manifest) -> bool {
    let read: HashMap<_, _> = before.source_offsets.iter().map(|at| ((at.relation, &at.split), at.offset)).collect();
    after.source_offsets.iter().all(|at| read.get(&(at.relation, &at.split)).is_none_or(|read| *read <= at.offset))
}

/// What was delivered once is not delivered again.
fn sinks_never_go_back(before: &Manifest, after: &Manifest) -> bool {
    let delivered: HashMap<_, _> = before.sinks.iter().map(|sink| (sink.relation, sink.tick)).collect();
    after.sinks.iter().all(|sink| delivered.get(&sink.relation).is_none_or(|tick| *tick <= sink.tick))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command_log::Position;
    use crate::manifest::{SinkProgress, SourceOffset, StateFile};
    use millrace_types::{Offset, RelationId, Tick};

    fn manifest() -> Manifest {
        let mut manifest = Manifest::new(Tick(5), Position { segment: 2, offset: 40 }, 3, Vec::new());
        manifest.number = 1;
        for (name, key_groups) in [("a", 0..512), ("b", 512..1024)] {
            let (relation, name) = (RelationId(1), name.to_owned());
            manifest.state_files.push(StateFile { relation, part: 0, key_groups, name, bytes: 1, crc32c: 0 });
        }
        manifest.source_offsets.push(SourceOffset {
            relation: RelationId(2),
            split: "0".to_owned(),
            offset: Offset(10),
        });
        let (relation, position) = (RelationId(3), String::new());
        manifest.sinks.push(SinkProgress { relation, tick: Tick(4), position, rest: None });
        manifest
    }

    fn next() -> Manifest {
        Manifest { number: 2, ..manifest() }
    }

    /// Checks that `change` makes the second manifest break the invariant `name`.
    fn breaks(name: &str, change: impl FnOnce(&mut Manifest)) {
        let mut changed = next();
        change(&mut changed);
        let error = check(Some(&manifest()), &changed).expect_err(name);
        assert!(error.message().ends_with(name), "{} instead of {name}", error.message());
    }

    #[test]
    fn a_manifest_may_follow_one_like_it() {
        check(None, &manifest()).unwrap();
        check(Some(&manifest()), &next()).unwrap();
    }

    #[test]
    fn each_invariant_can_be_broken() {
        breaks("each state file is named once", |m| m.state_files[1].name = "a".to_owned());
        breaks("key group ranges exist and do not overlap", |m| m.state_files[1].key_groups.start = 511);
        breaks("key group ranges exist and do not overlap", |m| m.state_files[1].key_groups.end = 1025);
        breaks("each split has one offset", |m| m.source_offsets.push(m.source_offsets[0].clone()));
        breaks("no sink is ahead of the checkpoint", |m| m.sinks[0].tick = Tick(6));
        breaks("numbers grow", |m| m.number = 1);
        breaks("ticks never decrease", |m| m.tick = Tick(4));
        breaks("the log never goes back", |m| m.log_segment = 1);
        breaks("catalog versions never decrease", |m| m.catalog_version = 2);
        breaks("offsets never decrease", |m| m.source_offsets[0].offset = Offset(9));
        breaks("sinks never go back", |m| m.sinks[0].tick = Tick(3));
    }
}
