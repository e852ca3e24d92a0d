//! Opening a log: what a crash left is brought into order. Beginning a segment, so that opening can understand it.

use super::errors::{damaged, failed_for_good, failure, missing, newer};
use super::record;
use super::segment::{self, HEADER_BYTES, HeaderError, SegmentHeader};
use crate::files::{File, Files};
use millrace_types::{Result, SqlError, Tick};
use std::io;

/// The headers of all segments, oldest first. A last segment that a crash left without a header is removed.
pub fn read_headers(files: &dyn Files) -> Result<Vec<SegmentHeader>> {
    let found: Vec<(u64, u64)> =
        files.list()?.into_iter().filter_map(|(name, len)| Some((segment::number_of(&name)?, len))).collect();
    let mut segments: Vec<SegmentHeader> = Vec::with_capacity(found.len());
    for (index, &(number, _)) in found.iter().enumerate() {
        if segments.last().is_some_and(|previous| previous.number + 1 != number) {
            return Err(missing(files, number - 1));
        }
        let bytes =
            files.read(&segment::file_name(number), HEADER_BYTES).map_err(|e| failure(files, number, "read", e))?;
        match SegmentHeader::decode(&bytes, number) {
            Ok(header) => segments.push(header),
            Err(HeaderError::Newer(version)) => {
                return Err(newer(files, number).with_detail(format!("It has format version {version}.")));
            }
            Err(HeaderError::Unreadable) if index + 1 == found.len() => remove_unbegun(files, number)?,
            Err(HeaderError::Unreadable) => return Err(damaged(files, number, 0)),
        }
    }
    for (header, &(number, len)) in segments.iter().skip(1).zip(&found) {
        if len < header.previous_length {
            return Err(damaged(files, number, len as usize));
        }
    }
    Ok(segments)
}

/// Removes a newest segment whose beginning was interrupted: it cannot hold a record, for a header is durable first.
fn remove_unbegun(files: &dyn Files, number: u64) -> Result<()> {
    let name = segment::file_name(number);
    let failed = |error: io::Error| failure(files, number, "recover", error);
    if segment::was_durable(&files.read(&name, usize::MAX).map_err(failed)?, number, 0) {
        return Err(damaged(files, number, 0));
    }
    tracing::warn!(file = files.path_of(&name), "removed a log segment that was not begun completely");
    files.remove(&name).and_then(|()| files.sync()).map_err(failed)
}

/// Opens the newest segment for appending, behind its last whole record. Returns its length and the log's last tick.
pub fn recover_tail(files: &dyn Files, header: SegmentHeader) -> Result<(Box<dyn File>, u64, Tick)> {
    let name = segment::file_name(header.number);
    let failed = |error: io::Error| failure(files, header.number, "recover", error);
    let bytes = files.read(&name, usize::MAX).map_err(failed)?;
    let mut records = segment::records(&bytes, header.number);
    let last_tick = records.by_ref().last().map_or(header.previous_tick, |record| record.tick);
    // A cut into the padding of the last record is made good by extending the file again.
    let end = records.end.next_multiple_of(record::ALIGNMENT);
    let mut file = files.open(&name).map_err(failed)?;
    if end != bytes.len() {
        if segment::was_durable(&bytes, header.number, records.end) {
            return Err(damaged(files, header.number, records.end));
        }
        let cut = bytes.len().saturating_sub(end);
        tracing::warn!(file = files.path_of(&name), offset = end, bytes = cut, "cut the torn tail of the command log");
        file.set_len(end as u64).map_err(failed)?;
    }
    // Also when nothing was cut: what was read may stand in the page cache only.
    file.sync().map_err(failed)?;
    Ok((file, end as u64, last_tick))
}

/// Why a segment was not begun.
pub enum BeginError {
    /// Nothing was begun; it may be tried again.
    Harmless(SqlError),
    /// It is not known what is on the disk.
    Fatal(SqlError),
}

impl BeginError {
    pub fn into_inner(self) -> SqlError {
        match self {
            BeginError::Harmless(error) | BeginError::Fatal(error) => error,
        }
    }
}

/// Makes a segment with its header and its name durable.
pub fn begin_segment(files: &dyn Files, header: SegmentHeader) -> Result<Box<dyn File>, BeginError> {
    let name = segment::file_name(header.number);
    let created = files.create(&name).and_then(|mut file| file.write_at(&header.encode(), 0).map(|()| file));
    let fatal = |error: io::Error| {
        BeginError::Fatal(failed_for_good(format!("could not sync command log file \"{name}\": {error}")))
    };
    match created {
        Ok(mut file) => file.sync().and_then(|()| files.sync()).map(|()| file).map_err(fatal),
        Err(error) => {
            // A half segment must not come back once the log has gone on in the one before it.
            match files.remove(&name) {
                Err(gone) if gone.kind() == io::ErrorKind::NotFound => (),
                removed => removed.and_then(|()| files.sync()).map_err(fatal)?,
            }
            Err(BeginError::Harmless(failure(files, header.number, "create", error)))
        }
    }
}
