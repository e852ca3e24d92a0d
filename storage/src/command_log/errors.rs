//! The errors of the log: each names the file.

use super::segment;
use crate::files::Files;
use millrace_types::{SqlError, SqlState};
use std::io;

pub fn path(files: &dyn Files, segment: u64) -> String {
    format!("\"{}\"", files.path_of(&segment::file_name(segment)))
}

pub fn failed_for_good(message: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::IO_ERROR, message)
        .with_hint("Nothing more can be committed. Check the disk, then restart the server.")
}

pub fn failure(files: &dyn Files, segment: u64, what: &str, error: io::Error) -> SqlError {
    let message = format!("could not {what} command log file {}: {error}", path(files, segment));
    let error = SqlError::new(SqlError::from(error).state(), message);
    match error.state() {
        SqlState::DISK_FULL => error.with_hint("Free space on the disk of the data folder, then try again."),
        _ => error,
    }
}

pub fn damaged(files: &dyn Files, segment: u64, offset: usize) -> SqlError {
    let message = format!("command log file {} is damaged at byte {offset}", path(files, segment));
    SqlError::new(SqlState::DATA_CORRUPTED, message)
        .with_detail("Transactions that were acknowledged stood there.")
        .with_hint("Restore the data folder from a backup.")
}

pub fn missing(files: &dyn Files, segment: u64) -> SqlError {
    SqlError::new(SqlState::DATA_CORRUPTED, format!("command log file {} is missing", path(files, segment)))
        .with_hint("Put the file back, or restore the data folder from a backup.")
}

pub fn newer(files: &dyn Files, segment: u64) -> SqlError {
    SqlError::unsupported(format!("command log file {} of a newer server", path(files, segment)))
        .with_hint("Start the newer server that wrote it.")
}
