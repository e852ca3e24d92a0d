//! Chunks that memory has no room for: files that the system reads back where they are looked at.
//!
//! Memory is the process's, so this is too: [`limit_memory`] says how much the chunks of all runs may take. Once they take
//! more, whatever a merge makes goes to a file: an Arrow IPC file of one batch, which has no name, is mapped into memory
//! and gone when nothing refers to it any more. Merges see every row again and again, so what is large and old ends up
//! there, and what is new stays. Everything above sees the same arrays as before.

use super::gather::batch_of;
use super::run::Chunk;
use super::snapshot::section_of;
use arrow::array::AsArray;
use arrow::buffer::Buffer;
use arrow::datatypes::{Int64Type, SchemaRef, UInt64Type};
use arrow::ipc::convert::fb_to_schema;
use arrow::ipc::reader::{FileDecoder, read_footer_length};
use arrow::ipc::root_as_footer;
use arrow::ipc::writer::FileWriter;
use bytes::Bytes;
use memmap2::Mmap;
use millrace_types::{Result, SqlError, SqlState};
use parking_lot::RwLock;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::Arc;
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
/// The last bytes of an Arrow IPC file: the length of its footer, and a mark.
const TRAILER: usize = 10;

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

fn spilled(chunk: &Chunk, folder: &Path) -> Result<Chunk> {
    let batch = section_of(chunk)?;
    let mut writer = FileWriter::try_new(BufWriter::new(tempfile::tempfile_in(folder)?), &batch.schema())?;
    writer.write(&batch)?;
    let file = writer.into_inner()?.into_inner().map_err(|error| SqlError::from(error.into_error()))?;
    from_file(&file, chunk.rows.schema())
}

fn from_file(file: &File, schema: SchemaRef) -> Result<Chunk> {
    // SAFETY: mapped memory must not change while it is read. The file has no name, so nobody else can open it; this
    // process has written all of it and writes no more; and it is never made shorter.
    let map = unsafe { Mmap::map(file)? };
    let buffer = Buffer::from(Bytes::from_owner(map));
    let broken = || SqlError::new(SqlState::DATA_CORRUPTED, "state that was written to disk cannot be read back");
    let end = buffer.len().checked_sub(TRAILER).ok_or_else(broken)?;
    let trailer = buffer[end..].try_into().map_err(|_| broken())?;
    let footer = end.checked_sub(read_footer_length(trailer)?).ok_or_else(broken)?;
    let footer = root_as_footer(&buffer[footer..end]).map_err(|_| broken())?;
    let decoder = FileDecoder::new(Arc::new(fb_to_schema(footer.schema().ok_or_else(broken)?)), footer.version());
    let block = footer.recordBatches().and_then(|blocks| blocks.iter().next()).ok_or_else(broken)?;
    let length = block.metaDataLength() as usize + block.bodyLength() as usize;
    let data = buffer.slice_with_length(block.offset() as usize, length);
    let batch = decoder.read_record_batch(block, &data)?.ok_or_else(broken)?;
    let id = |column: usize| batch.column(column).as_primitive::<UInt64Type>().values().clone();
    let weights = batch.column(2).as_primitive::<Int64Type>().values().clone();
    let rows = batch_of(&schema, batch.columns()[3..].to_vec(), batch.num_rows())?;
    Ok(Chunk { keys: id(0), hashes: id(1), weights, rows, held: Held::new(0) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Run;
    use arrow::array::{ArrayRef, Int32Array, StringViewArray};
    use arrow::datatypes::{DataType, Field, Schema};
    use millrace_types::Delta;

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
