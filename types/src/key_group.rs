//! Key groups: the top ten bits of a key's hash. A worker owns a contiguous range of them.

use std::ops::Range;

/// How many key groups there are. Fixed for ever: state on disk is ordered by it.
pub const KEY_GROUPS: u32 = 1 << KEY_GROUP_BITS;
const KEY_GROUP_BITS: u32 = 10;

/// One of [`KEY_GROUPS`] equal ranges of the 64-bit key hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyGroup(pub u32);

impl KeyGroup {
    /// The group that a key hash falls into.
    #[inline]
    pub fn of(hash: u64) -> KeyGroup {
        KeyGroup((hash >> (64 - KEY_GROUP_BITS)) as u32)
    }

    /// The worker, of `workers`, that owns this group. Ranges are contiguous and differ in size by at most one.
    #[inline]
    pub fn worker(self, workers: usize) -> usize {
        (self.0 as usize * workers) / KEY_GROUPS as usize
    }
}

/// A contiguous range of key groups, the unit in which state is restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyGroupRange(pub Range<u32>);

impl KeyGroupRange {
    /// Every key group.
    pub fn all() -> KeyGroupRange {
        KeyGroupRange(0..KEY_GROUPS)
    }

    /// The groups that `worker` of `workers` owns: those for which [`KeyGroup::worker`] answers `worker`.
    pub fn of_worker(worker: usize, workers: usize) -> KeyGroupRange {
        let start = |w: usize| (w * KEY_GROUPS as usize).div_ceil(workers) as u32;
        KeyGroupRange(start(worker)..start(worker + 1))
    }

    /// Whether the key with this hash belongs to the range.
    #[inline]
    pub fn contains(&self, hash: u64) -> bool {
        self.0.contains(&KeyGroup::of(hash).0)
    }

    /// The smallest hash of the range and the first hash after it (`None`: the range ends with the last hash).
    pub fn hashes(&self) -> (u64, Option<u64>) {
        let first = |group: u32| u64::from(group) << (64 - KEY_GROUP_BITS);
        (first(self.0.start), (self.0.end < KEY_GROUPS).then(|| first(self.0.end)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_partition_the_groups_and_agree_with_ownership() {
        for workers in 1..=17 {
            let mut next = 0;
            for worker in 0..workers {
                let range = KeyGroupRange::of_worker(worker, workers);
                assert_eq!(range.0.start, next);
                next = range.0.end;
                assert!(range.0.clone().all(|g| KeyGroup(g).worker(workers) == worker));
            }
            assert_eq!(next, KEY_GROUPS);
        }
    }

    #[test]
    fn hash_bounds_agree_with_containment() {
        let range = KeyGroupRange(3..7);
        let (first, end) = range.hashes();
        let end = end.unwrap();
        assert!(range.contains(first) && range.contains(end - 1));
        assert!(!range.contains(first - 1) && !range.contains(end));
        assert_eq!(KeyGroupRange::all().hashes(), (0, None));
    }
}
