//! A key-value store over [`Files`], so that a simulated disk holds all that is durable.
//!
//! ```text
//!   length (4 bytes) | CRC32C of the payload (4 bytes) | payload: the changes of one call, as JSON
//! ```
//!
//! Changes are appended and never compacted: it is for tests.

use crate::disk::{CATALOG, Disk};
use crate::faulty::FaultyFiles;
use crate::files::{File, Files};
use crate::kv::{Changes, KeyValue, MemoryStore, Pair};
use crate::verify::Finding;
use millrace_types::{Result, SqlError};
use parking_lot::Mutex;
use std::sync::Arc;

const NAME: &str = "changes";
/// Bytes before a payload.
const HEAD: usize = 8;

/// The store.
pub struct FileStore {
    kept: MemoryStore,
    log: Mutex<(Box<dyn File>, u64)>,
}

impl FileStore {
    /// Opens the store in a folder, or makes one. What a crash tore is cut off.
    pub fn open(files: &dyn Files) -> Result<FileStore> {
        if !files.list()?.iter().any(|(name, _)| name == NAME) {
            files.create(NAME)?;
            files.sync()?;
        }
        let (bytes, mut file) = (files.read(NAME, usize::MAX)?, files.open(NAME)?);
        let (kept, mut end) = (MemoryStore::default(), 0);
        while let Some(payload) = record(&bytes[end..]) {
            let changes = serde_json::from_slice(payload).map_err(|error| SqlError::internal(error.to_string()))?;
            kept.apply(Changes::from_pairs(changes))?;
            end += HEAD + payload.len();
        }
        if end < bytes.len() {
            file.set_len(end as u64)?;
            file.sync()?;
        }
        Ok(FileStore { kept, log: Mutex::new((file, end as u64)) })
    }
}

fn record(bytes: &[u8]) -> Option<&[u8]> {
    let (head, rest) = bytes.split_first_chunk::<HEAD>()?;
    let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let payload = rest.get(..word(0) as usize)?;
    // A hole that a lost write has left reads as an empty payload with the right checksum.
    (!payload.is_empty() && crc32c::crc32c(payload) == word(4)).then_some(payload)
}

impl KeyValue for FileStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.kept.get(key)
    }

    fn scan(&self, prefix: &[u8]) -> Result<Vec<Pair>> {
        self.kept.scan(prefix)
    }

    fn apply(&self, changes: Changes) -> Result<()> {
        let payload = serde_json::to_vec(changes.pairs()).map_err(|error| SqlError::internal(error.to_string()))?;
        let head = [(payload.len() as u32).to_le_bytes(), crc32c::crc32c(&payload).to_le_bytes()].concat();
        let mut log = self.log.lock();
        let (file, end) = &mut *log;
        file.write_at(&[&head[..], &payload].concat(), *end)?;
        *end += (HEAD + payload.len()) as u64;
        self.kept.apply(changes)
    }

    fn flush(&self) -> Result<()> {
        Ok(self.log.lock().0.sync()?)
    }
}

impl Disk for FaultyFiles {
    fn files(&self, name: &str) -> Result<Arc<dyn Files>> {
        Ok(Arc::new(self.folder(name)))
    }

    fn store(&self, _: &mut Vec<Finding>) -> Result<Arc<dyn KeyValue>> {
        Ok(Arc::new(FileStore::open(&self.folder(CATALOG))?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_flushed_is_there_after_a_crash_and_the_rest_in_order() {
        for seed in 0..64 {
            let files = FaultyFiles::new();
            let store = FileStore::open(&files).unwrap();
            for at in 0..6u8 {
                store.put(&[at], b"value").unwrap();
                if at == 2 {
                    store.flush().unwrap();
                }
            }
            let left = FileStore::open(&files.after_crash(seed)).unwrap().scan(&[]).unwrap();
            assert!((3..=6).contains(&left.len()));
            assert!(left.iter().enumerate().all(|(at, (key, _))| key[..] == [at as u8]));
        }
    }
}
