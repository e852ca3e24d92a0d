//! A small ordered key-value store for the catalog and a few pointers: sled on disk, a map in memory for tests.

use millrace_types::{Result, SqlError, SqlState};
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// Bytes of pages that sled keeps in memory. The catalog is small.
const CACHE_BYTES: u64 = 8 << 20;

/// A key and its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// Changes that happen together or not at all.
#[derive(Clone, Debug, Default)]
pub struct Changes(Vec<(Vec<u8>, Option<Vec<u8>>)>);

impl Changes {
    /// No change.
    pub fn new() -> Changes {
        Changes::default()
    }

    /// The keys with their new values; `None` removes one.
    pub fn pairs(&self) -> &[(Vec<u8>, Option<Vec<u8>>)] {
        &self.0
    }

    /// Changes of these keys, in this order.
    pub fn from_pairs(pairs: Vec<(Vec<u8>, Option<Vec<u8>>)>) -> Changes {
        Changes(pairs)
    }

    /// Sets a key.
    pub fn put(mut self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Changes {
        self.0.push((key.into(), Some(value.into())));
        self
    }

    /// Removes a key, if it is there.
    pub fn delete(mut self, key: impl Into<Vec<u8>>) -> Changes {
        self.0.push((key.into(), None));
        self
    }
}

/// An ordered map from bytes to bytes. Changes are durable after [`KeyValue::flush`], in the order they were made.
pub trait KeyValue: Send + Sync {
    /// The value of a key.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>>;
    /// All pairs whose key starts with `prefix`, in the order of the keys.
    fn scan(&self, prefix: &[u8]) -> Result<Vec<Pair>>;
    /// Makes all of `changes`, or none.
    fn apply(&self, changes: Changes) -> Result<()>;
    /// Makes every change so far durable.
    fn flush(&self) -> Result<()>;

    /// Sets one key.
    fn put(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.apply(Changes::new().put(key, value))
    }

    /// Removes one key, if it is there.
    fn delete(&self, key: &[u8]) -> Result<()> {
        self.apply(Changes::new().delete(key))
    }
}

/// A sled database in a folder of its own.
pub struct SledStore {
    database: sled::Db,
    /// sled's file, for syncing it: sled itself only has its pages written out (`sync_file_range`), which leaves them in
    /// the cache of the disk.
    file: File,
}

impl SledStore {
    /// Opens the database in `folder`, creating it if there is none.
    ///
    /// # Errors
    /// `XX001` when the files are damaged, which sled tells by an error or by a panic.
    pub fn open(folder: &Path) -> Result<SledStore> {
        // No background flush: every change that matters is flushed by whoever makes it.
        let config = sled::Config::new().path(folder).cache_capacity(CACHE_BYTES).flush_every_ms(None);
        let opened = catch_unwind(AssertUnwindSafe(|| {
            let database = config.open()?;
            // Reads every page, so that damage shows now and not in the middle of a statement.
            database.iter().try_for_each(|pair| pair.map(drop))?;
            Ok(database)
        }));
        let database = match opened {
            Ok(database) => database.map_err(|e| sled_error(folder, e))?,
            Err(_) => return Err(damaged(folder, "its files cannot be read")),
        };
        Ok(SledStore { database, file: File::open(folder.join("db"))? })
    }
}

fn damaged(folder: &Path, why: &str) -> SqlError {
    SqlError::new(SqlState::DATA_CORRUPTED, format!("catalog store \"{}\" is damaged: {why}", folder.display()))
}

fn sled_error(folder: &Path, error: sled::Error) -> SqlError {
    match error {
        // A checksum or a length that does not fit reaches us as one of these kinds.
        sled::Error::Io(error) if is_damage(&error) => damaged(folder, &error.to_string()),
        sled::Error::Io(error) => SqlError::from(error),
        other => damaged(folder, &other.to_string()),
    }
}

fn is_damage(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{InvalidData, Other, UnexpectedEof};
    // Locks and full disks come with a number from the operating system, sled's own findings do not.
    error.raw_os_error().is_none() && matches!(error.kind(), InvalidData | Other | UnexpectedEof)
}

fn broken(error: sled::Error) -> SqlError {
    match error {
        sled::Error::Io(error) => error.into(),
        other => SqlError::new(SqlState::DATA_CORRUPTED, format!("catalog store is damaged: {other}")),
    }
}

impl KeyValue for SledStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.database.get(key).map_err(broken)?.map(|value| value.to_vec()))
    }

    fn scan(&self, prefix: &[u8]) -> Result<Vec<Pair>> {
        let pairs = self.database.scan_prefix(prefix);
        pairs.map(|pair| pair.map(|(k, v)| (k.to_vec(), v.to_vec())).map_err(broken)).collect()
    }

    fn apply(&self, changes: Changes) -> Result<()> {
        let mut batch = sled::Batch::default();
        for (key, value) in changes.0 {
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        self.database.apply_batch(batch).map_err(broken)
    }

    fn flush(&self) -> Result<()> {
        self.database.flush().map_err(broken)?;
        Ok(self.file.sync_all()?)
    }
}

/// The same in memory, for tests: nothing survives the value.
#[derive(Default)]
pub struct MemoryStore {
    pairs: RwLock<BTreeMap<Vec<u8>, Vec<u8>>>,
}

impl KeyValue for MemoryStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.pairs.read().get(key).cloned())
    }

    fn scan(&self, prefix: &[u8]) -> Result<Vec<Pair>> {
        let pairs = self.pairs.read();
        let from = pairs.range::<[u8], _>((Bound::Included(prefix), Bound::Unbounded));
        Ok(from.take_while(|(k, _)| k.starts_with(prefix)).map(|(k, v)| (k.clone(), v.clone())).collect())
    }

    fn apply(&self, changes: Changes) -> Result<()> {
        let mut pairs = self.pairs.write();
        for (key, value) in changes.0 {
            match value {
                Some(value) => drop(pairs.insert(key, value)),
                None => drop(pairs.remove(&key)),
            }
        }
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn behaves(store: &dyn KeyValue) {
        store.apply(Changes::new().put("a/2", "two").put("a/1", "one").put("b", "other")).unwrap();
        store.apply(Changes::new().put("a/3", "three").delete("a/2")).unwrap();
        store.delete(b"absent").unwrap();
        store.flush().unwrap();
        let pair = |k: &str, v: &str| (k.as_bytes().to_vec(), v.as_bytes().to_vec());
        assert_eq!(store.scan(b"a/").unwrap(), [pair("a/1", "one"), pair("a/3", "three")]);
        assert_eq!(store.get(b"b").unwrap().as_deref(), Some(&b"other"[..]));
        assert_eq!(store.get(b"a/2").unwrap(), None);
    }

    #[test]
    fn both_stores_behave_alike() {
        let root = tempfile::tempdir().unwrap();
        behaves(&MemoryStore::default());
        behaves(&SledStore::open(&root.path().join("kv")).unwrap());
    }

    #[test]
    fn what_was_flushed_is_there_after_opening_again() {
        let root = tempfile::tempdir().unwrap();
        let store = SledStore::open(root.path()).unwrap();
        store.put(b"k", b"v").unwrap();
        store.flush().unwrap();
        drop(store);
        assert_eq!(SledStore::open(root.path()).unwrap().get(b"k").unwrap().as_deref(), Some(&b"v"[..]));
    }

    #[test]
    fn a_damaged_database_is_reported_and_not_emptied() {
        let root = tempfile::tempdir().unwrap();
        drop(SledStore::open(root.path()).unwrap());
        std::fs::write(root.path().join("conf"), "nothing that sled wrote").unwrap();
        let error = SledStore::open(root.path()).err().expect("damage must be seen");
        assert_eq!(error.state(), SqlState::DATA_CORRUPTED);
    }
}
