//! The catalog as it is stored: a whole one with its version, and the changes after it. What they say is opaque here.
//!
//! A definition change is committed when its record is in the command log; the key-value store is where it is found
//! quickly. Every checkpoint manifest carries the whole catalog. So the store may be lost, or fall behind, and
//! [`CatalogHistory::merge`] brings the three together.

use crate::kv::{Changes, KeyValue};
use millrace_types::{Result, SqlError, SqlState};
use std::collections::BTreeMap;
use std::sync::Arc;

const SNAPSHOT: &[u8] = b"catalog/snapshot";
const CHANGE: &[u8] = b"catalog/change/";

/// A whole catalog, if there is one, and the changes that lead on from it, without gaps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CatalogHistory {
    /// The version and bytes of a whole catalog; without one the changes start from the empty catalog, version 0.
    pub snapshot: Option<(u64, Vec<u8>)>,
    /// The versions and bytes of the changes, each version one more than the one before.
    pub changes: Vec<(u64, Vec<u8>)>,
}

impl CatalogHistory {
    /// The version after the last change.
    pub fn version(&self) -> u64 {
        match (self.changes.last(), &self.snapshot) {
            (Some((version, _)), _) | (None, Some((version, _))) => *version,
            (None, None) => 0,
        }
    }

    /// The newest whole catalog of `histories` with every change after it that any of them has. Where two have the same
    /// version, the later history is right.
    ///
    /// # Errors
    /// `XX001` when a change is in none of them, though a later one is.
    pub fn merge(histories: impl IntoIterator<Item = CatalogHistory>) -> Result<CatalogHistory> {
        let mut snapshot: Option<(u64, Vec<u8>)> = None;
        let mut changes = BTreeMap::new();
        for history in histories {
            snapshot = snapshot.into_iter().chain(history.snapshot).max_by_key(|(version, _)| *version);
            changes.extend(history.changes);
        }
        let base = snapshot.as_ref().map_or(0, |(version, _)| *version);
        let changes: Vec<_> = changes.into_iter().filter(|(version, _)| *version > base).collect();
        let gap = changes.iter().zip(base + 1..).find(|((version, _), expected)| version != expected);
        match gap {
            None => Ok(CatalogHistory { snapshot, changes }),
            Some((_, missing)) => {
                let message = format!("catalog change {missing} is missing from the data folder");
                Err(SqlError::new(SqlState::DATA_CORRUPTED, message)
                    .with_hint("Restore the data folder from a backup."))
            }
        }
    }
}

/// The catalog's place in the key-value store.
#[derive(Clone)]
pub struct CatalogStore {
    store: Arc<dyn KeyValue>,
}

impl CatalogStore {
    /// The catalog in `store`.
    pub fn new(store: Arc<dyn KeyValue>) -> CatalogStore {
        CatalogStore { store }
    }

    /// Stores one change durably. Call it when the change's record in the command log is durable: an error here then
    /// does not undo the change, for it is found in the log again.
    pub fn append(&self, version: u64, change: &[u8]) -> Result<()> {
        self.store.put(&change_key(version), change)?;
        self.store.flush()
    }

    /// Stores a whole catalog durably, in place of everything up to its version.
    pub fn put_snapshot(&self, version: u64, catalog: &[u8]) -> Result<()> {
        let older = self.changes()?.into_iter().map(|(version, _)| version).filter(|v| *v <= version);
        let changes = older.fold(Changes::new(), |changes, v| changes.delete(change_key(v)));
        self.store.apply(changes.put(SNAPSHOT, [&version.to_be_bytes(), catalog].concat()))?;
        self.store.flush()
    }

    /// What is stored. It may be behind what was committed: see [`CatalogHistory::merge`].
    ///
    /// # Errors
    /// `XX001` when an entry cannot be read.
    pub fn load(&self) -> Result<CatalogHistory> {
        let snapshot = self.store.get(SNAPSHOT)?.map(|bytes| match bytes.split_first_chunk::<8>() {
            Some((version, catalog)) => Ok((u64::from_be_bytes(*version), catalog.to_vec())),
            None => Err(damaged()),
        });
        Ok(CatalogHistory { snapshot: snapshot.transpose()?, changes: self.changes()? })
    }

    fn changes(&self) -> Result<Vec<(u64, Vec<u8>)>> {
        let version = |key: &[u8]| key[CHANGE.len()..].try_into().map(u64::from_be_bytes).map_err(|_| damaged());
        self.store.scan(CHANGE)?.into_iter().map(|(key, change)| Ok((version(&key)?, change))).collect()
    }
}

fn change_key(version: u64) -> Vec<u8> {
    // Big-endian, so that the order of the keys is that of the versions.
    [CHANGE, &version.to_be_bytes()].concat()
}

fn damaged() -> SqlError {
    SqlError::new(SqlState::DATA_CORRUPTED, "catalog store holds an entry that cannot be read")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::MemoryStore;

    fn history(snapshot: Option<u64>, changes: &[u64]) -> CatalogHistory {
        let snapshot = snapshot.map(|v| (v, format!("catalog {v}").into_bytes()));
        CatalogHistory { snapshot, changes: changes.iter().map(|&v| (v, vec![v as u8])).collect() }
    }

    #[test]
    fn changes_and_snapshots_are_stored_and_a_snapshot_replaces_what_it_holds() {
        let store = CatalogStore::new(Arc::new(MemoryStore::default()));
        assert_eq!(store.load().unwrap(), CatalogHistory::default());
        (1..=300).for_each(|v| store.append(v, &[v as u8]).unwrap());
        store.put_snapshot(298, b"catalog 298").unwrap();
        assert_eq!(store.load().unwrap(), history(Some(298), &[299, 300]));
        assert_eq!(store.load().unwrap().version(), 300);
    }

    #[test]
    fn whatever_one_place_has_lost_another_one_gives() {
        let merged = |parts: Vec<CatalogHistory>| CatalogHistory::merge(parts);
        let behind = history(Some(2), &[3, 4]);
        assert_eq!(merged(vec![behind.clone(), history(Some(3), &[4, 5])]), Ok(history(Some(3), &[4, 5])));
        assert_eq!(merged(vec![CatalogHistory::default(), history(None, &[1, 2])]), Ok(history(None, &[1, 2])));
        assert_eq!(merged(vec![behind, history(None, &[4, 5])]), Ok(history(Some(2), &[3, 4, 5])));
    }

    #[test]
    fn a_change_that_nobody_has_is_an_error() {
        let error = CatalogHistory::merge([history(Some(2), &[]), history(None, &[4])]).unwrap_err();
        assert_eq!(error.message(), "catalog change 3 is missing from the data folder");
    }
}
