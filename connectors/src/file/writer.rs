//! The file sink: rows as JSON lines or CSV, whole ticks at a time.
//!
//! The file is begun anew when the sink is created. A sink that goes on after a restart cuts it back to the length that it
//! had at the checkpoint. A plain file can only be appended to, so it takes no retractions; with `changes`, every row is
//! written with what happens to it, and it does: `{"op":"+","row":{...}}`.

use super::input::access_error;
use crate::format::csv_writer::CsvWriter;
use crate::format::json_writer::JsonWriter;
use crate::options::{OptionInfo, OptionKind, Options};
use crate::sink::Sink;
use crate::value::write::DateStyle;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use millrace_types::{Delta, Result, SqlError, SqlState, Tick};
use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The options of a file sink.
pub static SINK_OPTIONS: &[OptionInfo] = &[
    OptionInfo::new("path", OptionKind::Text, "The file to write; what it held before is lost.").required(),
    OptionInfo::new(
        "format",
        OptionKind::OneOf(&["json", "ndjson", "jsonl", "csv"]),
        "The format; by default what the extension says, else JSON lines.",
    ),
    OptionInfo::new("changes", OptionKind::Boolean, "Whether to write insertions and retractions instead of rows.")
        .default("false"),
    OptionInfo::new("delimiter", OptionKind::Character, "CSV: what separates fields.").default(","),
    OptionInfo::new("header", OptionKind::Boolean, "CSV: whether the first line names the columns.").default("false"),
];

/// How much is collected before it is written in the middle of a tick.
const BUFFER_BYTES: usize = 256 * 1024;
/// How long what is written may wait until it is synced. Whoever reads the file sees it before.
const LINGER: Duration = Duration::from_millis(100);

enum Encoder {
    Json(JsonWriter),
    Csv(CsvWriter),
}

struct FileSink {
    path: PathBuf,
    file: File,
    /// Whether it is a file that has a length, and no pipe or device.
    is_regular: bool,
    encoder: Encoder,
    changes: bool,
    buffer: Vec<u8>,
    /// The bytes that are written, and those of them that are synced.
    written: u64,
    synced: u64,
}

/// Opens the file, or creates it; what it holds stays until the sink begins.
pub(crate) fn create_sink(options: &Options, schema: &SchemaRef) -> Result<Box<dyn Sink>> {
    let path = PathBuf::from(options.text("path").unwrap_or_default());
    if path.is_dir() {
        let message = format!("\"{}\" is a directory", path.display());
        return Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, message));
    }
    let changes = options.boolean("changes");
    let csv = match options.text("format") {
        Some(format) => format == "csv",
        None => path.extension().is_some_and(|extension| extension == "csv"),
    };
    let mut buffer = Vec::new();
    let encoder = match csv {
        false => Encoder::Json(JsonWriter::new(schema, DateStyle::Iso)),
        true => {
            let writer = CsvWriter::new(schema, options.character("delimiter").unwrap_or(b','));
            if options.boolean("header") {
                if changes {
                    buffer.extend_from_slice(b"op");
                    buffer.push(options.character("delimiter").unwrap_or(b','));
                }
                writer.header(&mut buffer, schema);
                buffer.push(b'\n');
            }
            Encoder::Csv(writer)
        }
    };
    let file = create_file(&path)?;
    let is_regular = file.metadata().map_err(|error| access_error(&path, "create", error))?.is_file();
    Ok(Box::new(FileSink { path, file, is_regular, encoder, changes, buffer, written: 0, synced: 0 }))
}

fn create_file(path: &Path) -> Result<File> {
    let options = OpenOptions::new().write(true).create(true).truncate(false).open(path);
    options.map_err(|error| access_error(path, "create", error))
}

impl FileSink {
    /// Appends `weight` copies of a row, or retractions of it.
    fn row(&mut self, rows: &RecordBatch, row: usize, weight: i64) -> Result<()> {
        if weight < 0 && !self.changes {
            return Err(SqlError::internal(format!("a retraction reached the file \"{}\"", self.path.display())));
        }
        let start = self.buffer.len();
        let op = if weight < 0 { b'-' } else { b'+' };
        match &self.encoder {
            Encoder::Json(writer) if self.changes => {
                self.buffer.extend_from_slice(b"{\"op\":\"");
                self.buffer.push(op);
                self.buffer.extend_from_slice(b"\",\"row\":");
                writer.row(&mut self.buffer, rows, row);
                self.buffer.push(b'}');
            }
            Encoder::Json(writer) => writer.row(&mut self.buffer, rows, row),
            Encoder::Csv(writer) => {
                if self.changes {
                    self.buffer.extend_from_slice(&[op, writer.delimiter()]);
                }
                writer.row(&mut self.buffer, rows, row);
            }
        }
        self.buffer.push(b'\n');
        self.repeat_last(start, weight.unsigned_abs().saturating_sub(1))?;
        self.write_when(BUFFER_BYTES)
    }

    /// Appends the line from `start` so many times more.
    fn repeat_last(&mut self, start: usize, times: u64) -> Result<()> {
        if times == 0 {
            return Ok(());
        }
        let line = self.buffer[start..].to_vec();
        for _ in 0..times {
            self.write_when(BUFFER_BYTES)?;
            self.buffer.extend_from_slice(&line);
        }
        Ok(())
    }

    /// Writes the buffer if it holds at least `least` bytes.
    fn write_when(&mut self, least: usize) -> Result<()> {
        if self.buffer.len() >= least {
            self.file.write_all(&self.buffer).map_err(|error| access_error(&self.path, "write", error))?;
            self.written += self.buffer.len() as u64;
            self.buffer.clear();
        }
        Ok(())
    }

    /// Cuts the file to a length, and goes on behind it.
    fn cut(&mut self, length: u64) -> std::io::Result<()> {
        self.file.set_len(length)?;
        self.file.seek(SeekFrom::Start(length))?;
        (self.written, self.synced) = (length, length);
        Ok(())
    }

    /// The length that a position says, if the file is as long.
    fn length_at(&self, position: &str) -> Result<u64> {
        let there = self.file.metadata().map_err(|error| access_error(&self.path, "read", error))?.len();
        position.parse().ok().filter(|length| self.is_regular && *length <= there).ok_or_else(|| {
            let message = format!("file \"{}\" is shorter than what was written to it", self.path.display());
            SqlError::new(SqlState::DATA_CORRUPTED, message)
        })
    }
}

impl Sink for FileSink {
    fn begin(&mut self, position: Option<&str>) -> Result<()> {
        let length = position.map(|position| self.length_at(position)).transpose()?;
        if self.is_regular {
            self.cut(length.unwrap_or(0)).map_err(|error| access_error(&self.path, "write", error))?;
        }
        if length.is_some() {
            // The header is there.
            self.buffer.clear();
        }
        self.flush()
    }

    fn position(&self) -> Option<String> {
        (self.is_regular && self.synced == self.written).then(|| self.written.to_string())
    }

    fn undoes(&self) -> bool {
        true
    }

    fn write(&mut self, _: Tick, deltas: &[Delta]) -> Result<()> {
        for delta in deltas {
            for row in 0..delta.len() {
                self.row(delta.rows(), row, delta.weight(row))?;
            }
        }
        self.write_when(1)
    }

    fn flush(&mut self) -> Result<()> {
        self.write_when(1)?;
        if self.is_regular && self.synced < self.written {
            self.file.sync_data().map_err(|error| access_error(&self.path, "sync", error))?;
            self.synced = self.written;
        }
        Ok(())
    }

    fn linger(&self) -> Duration {
        LINGER
    }

    fn accepts_retractions(&self) -> bool {
        self.changes
    }

    fn wants_net(&self) -> bool {
        self.changes
    }
}
