//! Batches in files without a name: mapped into memory, so that the system reads them where they are looked at and forgets
//! them again, and gone when nothing refers to them any more.

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::datatypes::SchemaRef;
use arrow::ipc::convert::fb_to_schema;
use arrow::ipc::reader::{FileDecoder, read_footer_length};
use arrow::ipc::root_as_footer;
use arrow::ipc::writer::FileWriter;
use bytes::Bytes;
use memmap2::Mmap;
use millrace_types::{Result, SqlError, SqlState};
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::sync::Arc;

/// The last bytes of an Arrow IPC file: the length of its footer, and a mark.
const TRAILER: usize = 10;

/// The same batches, all of this schema, in a file (Arrow IPC) that is made for them in `folder`.
///
/// # Errors
/// `53100` when the disk takes no more, and whatever else goes wrong with files.
pub fn mapped(schema: &SchemaRef, batches: &[RecordBatch], folder: &Path) -> Result<Vec<RecordBatch>> {
    let mut writer = FileWriter::try_new(BufWriter::new(tempfile::tempfile_in(folder)?), schema)?;
    batches.iter().try_for_each(|batch| writer.write(batch))?;
    writer.finish()?;
    let file = writer.into_inner()?.into_inner().map_err(|error| SqlError::from(error.into_error()))?;
    read_back(&file)
}

fn read_back(file: &File) -> Result<Vec<RecordBatch>> {
    // SAFETY: mapped memory must not change while it is read. The file has no name, so nobody else can open it; this
    // process has written all of it and writes no more; and it is never made shorter.
    let map = unsafe { Mmap::map(file)? };
    let buffer = Buffer::from(Bytes::from_owner(map));
    let end = buffer.len().checked_sub(TRAILER).ok_or_else(not_read_back)?;
    let trailer = buffer[end..].try_into().map_err(|_| not_read_back())?;
    let footer = end.checked_sub(read_footer_length(trailer)?).ok_or_else(not_read_back)?;
    let footer = root_as_footer(&buffer[footer..end]).map_err(|_| not_read_back())?;
    let schema = fb_to_schema(footer.schema().ok_or_else(not_read_back)?);
    let decoder = FileDecoder::new(Arc::new(schema), footer.version());
    let batch = |block: &arrow::ipc::Block| {
        let length = block.metaDataLength() as usize + block.bodyLength() as usize;
        let data = buffer.slice_with_length(block.offset() as usize, length);
        decoder.read_record_batch(block, &data)?.ok_or_else(not_read_back)
    };
    footer.recordBatches().into_iter().flatten().map(batch).collect()
}

/// The file holds something else than was written.
pub(super) fn not_read_back() -> SqlError {
    SqlError::new(SqlState::DATA_CORRUPTED, "what was written to disk cannot be read back")
}
