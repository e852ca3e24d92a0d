//! Chunks that memory has no room for: files that the system reads back where they are looked at.
//!
//! Memory is the process's, so this is too: [`limit_memory`] says how much the chunks of all runs may take. Once they take
//! more, whatever a merge makes goes to a file ([`mapped`]). Merges see every row again and again, so what is large and old
//! ends up there, and what is new stays. Everything above sees the same arrays as before.

use super::gather::batch_of;
use super::mapped::{mapped, not_read_back};
use super::run::Chunk;
use super::snapshot::section_of;
use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, SchemaRef, UInt64Type};
use millrace_types::Result;
use parking_lot::RwLock;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Bytes of the chunks that are in memory.
static HELD: AtomicUsize = AtomicUsize::new(0);
/// How many there may be.
static LIMIT: AtomicUsize = AtomicUsize::new(usize::MAX);
/// Where the others go.
static FOLDER: RwLock<Option<PathBuf>> = RwLock::new(None);
/// Whether anything ever went there.
static BEGUN: AtomicBool = AtomicBool::new(false);

/// Fewer rows than these stay in memory: a file for each would cost more than it saves.
const LEAST_ROWS: usize = 4_096;

/// From now on chunks of runs take at most `bytes` of memory, nearly; what is more goes to files in `folder`.
pub fn limit_memory(bytes: usize, folder: &Path) {
    *FOLDER.write() = Some(folder.to_owned());
    LIMIT.store(bytes, Ordering::Relaxed);
}

/// Bytes that count as held in memory for as long as this lives.
#[derive(Debug)]
pub struct Held(usize);

impl Held {
    pub fn new(bytes: usize) -> Held {
        HELD.fetch_add(bytes, Ordering::Relaxed);
        Held(bytes)
    }

    pub fn bytes(&self) -> usize {
        self.0
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        HELD.fetch_sub(self.0, Ordering::Relaxed);
    }
}

/// The chunk itself while there is room for it, else the same chunk in a file.
///
/// A disk that takes no more is no reason to fail: then the chunk stays in memory.
pub fn settle(chunk: Chunk) -> Chunk {
    if chunk.len() < LEAST_ROWS || HELD.load(Ordering::Relaxed) <= LIMIT.load(Ordering::Relaxed) {
        return chunk;
    }
    let Some(folder) = FOLDER.read().clone() else { return chunk };
    if !BEGUN.swap(true, Ordering::Relaxed) {
        tracing::info!(folder = %folder.display(), "the state of views outgrows its memory: what is older goes to disk");
    }
    spilled(&chunk, &folder).unwrap_or_else(|error| {
        tracing::warn!(%error, "state that memory has no room for could not be written to disk");
        chunk
    })
}

/// Batches of a schema as they are in a file beside those of chunks; `None` when nobody has said where that is.
///
/// # Errors
/// `53100` when the disk takes no more, and whatever else goes wrong with files.
pub fn on_disk(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<Option<Vec<RecordBatch>>> {
    let folder = FOLDER.read().clone();
    folder.map(|folder| mapped(schema, batches, &folder)).transpose()
}

fn spilled(chunk: &Chunk, folder: &Path) -> Result<Chunk> {
    let section = section_of(chunk)?;
    let batch = mapped(&section.schema(), &[section], folder)?.pop().ok_or_else(not_read_back)?;
    let id = |column: usize| batch.column(column).as_primitive::<UInt64Type>().values().clone();
    let weights = batch.column(2).as_primitive::<Int64Type>().values().clone();
    let rows = batch_of(&chunk.rows.schema(), batch.columns()[3..].to_vec(), batch.num_rows())?;
    Ok(Chunk { keys: id(0), hashes: id(1), weights, rows, held: Held::new(0) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Run;
    use arrow::array::{ArrayRef, Int32Array, StringViewArray};
    use arrow::datatypes::{DataType, Field, Schema};
    use millrace_types::Delta;
    use std::sync::Arc;

    #[test]
    fn a_chunk_in_a_file_is_the_same() {
        let fields = [("k", DataType::Int32), ("s", DataType::Utf8View), ("s", DataType::Utf8View)];
        let schema = Arc::new(Schema::new(fields.map(|(name, of)| Field::new(name, of, true)).to_vec()));
        let text = |n: i32| (n % 7 > 0).then(|| format!("a text that is longer than twelve bytes, with {n}"));
        let texts: ArrayRef = Arc::new((0..5_000).map(text).collect::<StringViewArray>());
        let numbers: ArrayRef = Arc::new(Int32Array::from_iter_values(0..5_000));
        let rows = batch_of(&schema, vec![numbers, texts.clone(), texts], 5_000).unwrap();
        let run = Run::of(&schema, &[0], &[Delta::inserts(rows)]).unwrap().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let chunk = &run.chunks()[0];
        let read = spilled(chunk, folder.path()).unwrap();
        assert_eq!((&read.keys, &read.hashes, &read.weights), (&chunk.keys, &chunk.hashes, &chunk.weights));
        assert_eq!(read.rows, chunk.rows);
        assert_eq!(read.held.bytes(), 0);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
