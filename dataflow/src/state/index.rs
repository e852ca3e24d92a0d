//! A hash index from 64-bit hashes to entry numbers, for entries that keep their own keys.
//!
//! Open addressing with linear probing over words of 32 hash bits and 32 bits of entry number: a look-up touches one
//! cache line and a mismatch is told without touching the entry. `hashbrown` keeps its control bytes and its entries
//! apart, which is a second cache miss per row in tables that outgrow the cache; and growth here needs no entry. That
//! counts at millions of keys, where cache misses are the whole cost.

/// Maps hashes to entry numbers.
#[derive(Debug)]
pub struct HashIndex {
    /// The tag in the upper half, the entry number plus one in the lower half; zero is a free slot.
    slots: Vec<u64>,
    /// log2 of the number of slots.
    bits: u32,
    len: usize,
}

const FEWEST_BITS: u32 = 6;

/// The 32 bits of a hash that the index keeps. Remixed, since the upper bits of a key hash are nearly constant on a
/// worker that owns a range of them.
#[inline]
fn tag(hash: u64) -> u64 {
    (hash.wrapping_mul(0x9E37_79B9_7F4A_7C15)) >> 32
}

impl Default for HashIndex {
    fn default() -> HashIndex {
        HashIndex { slots: vec![0; 1 << FEWEST_BITS], bits: FEWEST_BITS, len: 0 }
    }
}

impl HashIndex {
    /// How many entries it knows.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it knows none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        self.slots.len() * size_of::<u64>()
    }

    #[inline]
    fn home(&self, tag: u64) -> usize {
        (tag >> (32 - self.bits)) as usize
    }

    /// For each hash the entry near its home slot that has the same hash bits, else `u32::MAX`; callers verify the entry
    /// and fall back to [`find`](HashIndex::find). The slots are read beforehand in a loop of nothing else, so that the
    /// cache misses of many rows overlap, which they do not once branches depend on what was read.
    pub fn guess(&self, hashes: &[u64], entries: &mut Vec<u32>) {
        const NEAR: usize = 4;
        let mask = self.slots.len() - 1;
        let slot = |hash: u64, step: usize| self.slots[(self.home(tag(hash)) + step) & mask];
        std::hint::black_box(hashes.iter().fold(0, |read, &hash| read ^ slot(hash, 0) ^ slot(hash, NEAR - 1)));
        entries.clear();
        entries.extend(hashes.iter().map(|&hash| {
            let near = (0..NEAR).map(|step| slot(hash, step)).find(|slot| slot >> 32 == tag(hash));
            // A free slot with tag zero gives zero minus one: also none.
            near.map_or(u32::MAX, |slot| (slot as u32).wrapping_sub(1))
        }));
    }

    /// The entry with this hash that `is` accepts.
    #[inline]
    pub fn find(&self, hash: u64, mut is: impl FnMut(u32) -> bool) -> Option<u32> {
        let tag = tag(hash);
        let mut at = self.home(tag);
        loop {
            let slot = self.slots[at];
            if slot == 0 {
                return None;
            }
            if slot >> 32 == tag && is(slot as u32 - 1) {
                return Some(slot as u32 - 1);
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
    }

    /// Adds an entry, which must not be known.
    ///
    /// # Panics
    /// When there are more than 2^31 entries.
    pub fn insert(&mut self, hash: u64, entry: u32) {
        if self.len * 2 >= self.slots.len() {
            self.grow();
        }
        self.place(tag(hash) << 32 | (u64::from(entry) + 1));
        self.len += 1;
    }

    fn place(&mut self, slot: u64) {
        let mut at = self.home(slot >> 32);
        while self.slots[at] != 0 {
            at = (at + 1) & (self.slots.len() - 1);
        }
        self.slots[at] = slot;
    }

    fn grow(&mut self) {
        assert!(self.bits < 32, "a hash index has at most 2^31 entries");
        self.bits += 1;
        let old = std::mem::replace(&mut self.slots, vec![0; 1 << self.bits]);
        old.into_iter().filter(|&slot| slot != 0).for_each(|slot| self.place(slot));
    }

    /// Removes a known entry, and closes the gap: later slots of the same cluster move up where they may.
    pub fn remove(&mut self, hash: u64, entry: u32) {
        let wanted = tag(hash) << 32 | (u64::from(entry) + 1);
        let mask = self.slots.len() - 1;
        let mut gap = self.home(wanted >> 32);
        while self.slots[gap] != wanted {
            if self.slots[gap] == 0 {
                return;
            }
            gap = (gap + 1) & mask;
        }
        let mut at = gap;
        loop {
            at = (at + 1) & mask;
            let slot = self.slots[at];
            if slot == 0 {
                break;
            }
            // A slot may move to the gap unless its home lies between the two.
            let from_home = at.wrapping_sub(self.home(slot >> 32)) & mask;
            if from_home >= (at.wrapping_sub(gap) & mask) {
                self.slots[gap] = slot;
                gap = at;
            }
        }
        self.slots[gap] = 0;
        self.len -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_types::hash::mix;
    use std::collections::HashMap;

    #[test]
    fn an_index_under_insertions_and_removals_agrees_with_a_map() {
        let (mut index, mut model) = (HashIndex::default(), HashMap::new());
        let mut seed = 1;
        for step in 0..20_000u32 {
            seed = mix(seed + u64::from(step));
            // Few different upper bits, and entries of equal hash: clusters.
            let (hash, entry) = (mix(seed % 300) & 0x3F, (seed >> 32) as u32 % 3000);
            let entry = entry * 64 + hash as u32;
            match model.remove(&entry) {
                Some(hash) => index.remove(hash, entry),
                None => {
                    model.insert(entry, hash);
                    index.insert(hash, entry);
                }
            }
        }
        assert_eq!(index.len(), model.len());
        assert!(!index.is_empty());
        for (&entry, &hash) in &model {
            assert_eq!(index.find(hash, |e| e == entry), Some(entry));
        }
        assert_eq!(index.find(7, |e| e == u32::MAX), None);
    }
}
