//! Files: JSON lines, CSV and Parquet as a source; JSON lines and CSV as a sink.
//!
//! Every file is a split. The offset of a text file is the byte (after decompression) at which a record starts, that of
//! a Parquet file is the number of a row.

mod input;
mod paths;
mod text_reader;
mod writer;

pub(crate) use input::open_file;
pub use writer::SINK_OPTIONS;
pub(crate) use writer::create_sink;

use crate::format::csv::{Csv, Dialect};
use crate::format::json::JsonLines;
use crate::format::{Rows, TextFormat, parquet};
use crate::options::{DELIMITER, NULL, OptionInfo, OptionKind, Options, QUOTE, TIMESTAMP_FORMAT};
use crate::source::{Source, Split, SplitReader};
use crate::value::{Epoch, Token};
use arrow::datatypes::{Schema, SchemaRef};
use input::{Compression, Input};
use millrace_types::{Offset, Result, SqlError, SqlState};
use paths::Paths;
use std::path::Path;
use std::sync::Arc;
use text_reader::TextReader;

/// The names of the formats, with their other spellings.
const FORMATS: &[&str] = &["json", "ndjson", "jsonl", "csv", "parquet"];

/// The options of a file source.
pub static SOURCE_OPTIONS: &[OptionInfo] = &[
    OptionInfo::new("path", OptionKind::Text, "The path of a file, or a pattern with *, ? and [...] for several.")
        .required(),
    OptionInfo::new("format", OptionKind::OneOf(FORMATS), "The format; by default what the extension says."),
    OptionInfo::new("follow", OptionKind::Boolean, "Whether to go on reading as the files grow and new ones appear.")
        .default("false"),
    OptionInfo::new("max.line.bytes", OptionKind::Integer(1), "Longer records are refused as bad.").default("16777216"),
    TIMESTAMP_FORMAT,
    DELIMITER,
    QUOTE,
    OptionInfo::new("header", OptionKind::Boolean, "CSV: whether the first line names the columns.").default("false"),
    NULL,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Json,
    Csv,
    Parquet,
}

impl Format {
    fn of_word(word: &str) -> Option<Format> {
        match word.to_ascii_lowercase().as_str() {
            "json" | "ndjson" | "jsonl" => Some(Format::Json),
            "csv" => Some(Format::Csv),
            "parquet" => Some(Format::Parquet),
            _ => None,
        }
    }

    /// The format that the options say, else the one that the path's extension says.
    fn of(options: &Options, path: &str) -> Result<Format> {
        let extension = || Compression::of(path).1.rsplit_once('.').map(|(_, extension)| extension.to_owned());
        options.text("format").or_else(extension).and_then(|word| Format::of_word(&word)).ok_or_else(|| {
            let message = format!("could not tell the format of \"{path}\" from its name");
            SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message)
                .with_hint("Give the option format = 'json', 'csv' or 'parquet'.")
        })
    }
}

/// How text files are to be read.
#[derive(Clone, Debug)]
struct Reading {
    follow: bool,
    max_line: usize,
    epoch: Epoch,
    csv: Dialect,
}

/// A file source.
#[derive(Debug)]
struct FileSource {
    schema: SchemaRef,
    paths: Paths,
    format: Format,
    reading: Reading,
}

/// Checks the options against the files there are. Only Parquet files bring a schema of their own.
pub(crate) fn create_source(options: &Options, schema: &SchemaRef) -> Result<(SchemaRef, Arc<dyn Source>)> {
    let path = options.text("path").unwrap_or_default();
    let format = Format::of(options, &path)?;
    let reading = reading(options)?;
    if format == Format::Parquet && reading.follow && !Paths::is_pattern(&path) {
        return Err(SqlError::unsupported("following a single Parquet file"));
    }
    let paths = Paths::new(&path, reading.follow)?;
    let schema = match format {
        Format::Parquet => parquet::schema_of(&paths.first()?, schema)?,
        _ if schema.fields().is_empty() => {
            return Err(SqlError::new(
                SqlState::INVALID_TABLE_DEFINITION,
                "a source of JSON or CSV files needs a list of columns",
            ));
        }
        _ => schema.clone(),
    };
    Ok((schema.clone(), Arc::new(FileSource { schema, paths, format, reading })))
}

fn reading(options: &Options) -> Result<Reading> {
    let epoch = match options.text("timestamp.format").as_deref() {
        Some("epoch_s") => Epoch::Seconds,
        Some("epoch_us") => Epoch::Microseconds,
        Some("epoch_ns") => Epoch::Nanoseconds,
        _ => Epoch::Milliseconds,
    };
    let csv = Dialect {
        delimiter: options.character("delimiter").unwrap_or(b','),
        quote: options.character("quote").unwrap_or(b'"'),
        header: options.boolean("header"),
        null: options.text("null").unwrap_or_default().into_bytes(),
    };
    if csv.delimiter == csv.quote || [csv.delimiter, csv.quote].iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
        return Err(options.invalid("delimiter", "Delimiter and quote must differ and not be line ends."));
    }
    let max_line = options.integer("max.line.bytes").map_or(16 << 20, |bytes| bytes as usize);
    Ok(Reading { follow: options.boolean("follow"), max_line: max_line.min(Token::MAX_LENGTH), epoch, csv })
}

/// Lets a CSV decoder that starts in the middle of a file see the header, which says where the columns are.
fn open_csv(path: &Path, from: Offset, mut csv: Csv) -> Result<Csv> {
    const STEP: usize = 64 * 1024;
    if from.0 == 0 || !csv.needs_header() {
        return Ok(csv);
    }
    let mut input = Input::open(path, 0)?;
    let mut bytes = Vec::new();
    loop {
        let end = input.read(&mut bytes, STEP, false)? == 0;
        if csv.read_header(&bytes, end) || end {
            return Ok(csv);
        }
    }
}

impl Source for FileSource {
    fn splits(&self) -> Result<Vec<Split>> {
        self.paths.splits()
    }

    fn open(&self, split: &Split, from: Offset, columns: &[usize]) -> Result<Box<dyn SplitReader>> {
        let path = Path::new(&split.name);
        let schema = Arc::new(self.schema.project(columns)?);
        if self.format == Format::Parquet {
            return parquet::open(path, from, schema);
        }
        let Reading { follow, max_line, epoch, csv } = &self.reading;
        let format = |schema: &SchemaRef, columns: &[usize]| -> Result<Box<dyn TextFormat>> {
            Ok(match self.format == Format::Csv {
                true => Box::new(open_csv(path, from, Csv::new(csv.clone(), &self.schema, columns, *max_line))?),
                false => Box::new(JsonLines::new(schema, *max_line)),
            })
        };
        let (decoder, rows) = (format(&schema, columns)?, Rows::new(schema, *epoch));
        let reader = TextReader::new(Input::open(path, from.0)?, from, decoder, rows, *follow, *max_line);
        if columns.len() == self.schema.fields().len() {
            return Ok(Box::new(reader));
        }
        let all: Vec<usize> = (0..self.schema.fields().len()).collect();
        let fields = self.schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let whole = format(&schema, &all)?;
        Ok(Box::new(reader.with_whole(whole, Rows::new(schema, *epoch))))
    }

    fn tells_whole(&self) -> bool {
        self.format != Format::Parquet
    }

    fn is_bounded(&self) -> bool {
        !self.reading.follow
    }
}
