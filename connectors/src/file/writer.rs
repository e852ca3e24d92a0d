//! The file sink: rows as JSON lines or CSV, whole ticks at a time.
//!
//! The file is begun anew when the sink is created. A plain file can only be appended to, so it takes no retractions;
//! with `changes`, every row is written with what happens to it, and it does: `{"op":"+","row":{...}}`.

use super::input::access_error;
use crate::format::csv_writer::CsvWriter;
use crate::format::json_writer::JsonWriter;
use crate::options::{OptionInfo, OptionKind, Options};
use crate::sink::Sink;
use crate::value::write::DateStyle;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use millrace_types::{Delta, Result, SqlError, SqlState, Tick};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

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

enum Encoder {
    Json(JsonWriter),
    Csv(CsvWriter),
}

struct FileSink {
    path: PathBuf,
    file: File,
    encoder: Encoder,
    changes: bool,
    buffer: Vec<u8>,
}

/// Creates the file.
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
    Ok(Box::new(FileSink { path, file, encoder, changes, buffer }))
}

fn create_file(path: &Path) -> Result<File> {
    File::create(path).map_err(|error| access_error(path, "create", error))
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
            self.buffer.clear();
        }
        Ok(())
    }
}

impl Sink for FileSink {
    fn write(&mut self, _: Tick, deltas: &[Delta]) -> Result<()> {
        for delta in deltas {
            for row in 0..delta.len() {
                self.row(delta.rows(), row, delta.weight(row))?;
            }
        }
        self.flush()
    }

    fn flush(&mut self) -> Result<()> {
        self.write_when(1)
    }

    fn accepts_retractions(&self) -> bool {
        self.changes
    }
}
