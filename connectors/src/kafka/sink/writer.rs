//! How keys and values are written: as JSON objects, as records of a schema, or as they are.

use super::super::connection::Connection;
use super::super::envelope::{Change, Envelope, change};
use crate::format::avro::AvroSchema;
use crate::format::json_writer::JsonWriter;
use crate::format::{Block, avro, protobuf};
use crate::options::{OptionInfo, OptionKind, Options};
use crate::registry::{self, Registry};
use crate::value::write::{DateStyle, write_value};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use millrace_types::{Result, SqlError, SqlState, SqlType, sql_type_of};

/// The ids that the schemas of values and keys have in the registry.
pub(super) const VALUE_ID: OptionInfo = OptionInfo::new(
    "schema.id",
    OptionKind::Integer(0),
    "The id of the values' schema in the registry; found out when the sink is made.",
);
pub(super) const KEY_ID: OptionInfo = OptionInfo::new(
    "key.schema.id",
    OptionKind::Integer(0),
    "The id of the keys' schema in the registry; found out when the sink is made.",
);

/// The two parts of a record that are written by a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Key,
    Value,
}

impl Part {
    fn id(self) -> &'static OptionInfo {
        match self {
            Part::Key => &KEY_ID,
            Part::Value => &VALUE_ID,
        }
    }

    fn subject(self, topic: &str) -> String {
        format!("{topic}-{}", if self == Part::Key { "key" } else { "value" })
    }

    fn record(self) -> &'static str {
        if self == Part::Key { "Key" } else { "Row" }
    }
}

/// Writes the columns of a key or value.
pub(super) enum Writer {
    Json(JsonWriter),
    Avro(Vec<u8>, avro::AvroEncoder),
    Protobuf(Vec<u8>, protobuf::ProtobufEncoder),
    /// The only column, as its text, or its bytes.
    Bare(SqlType),
}

/// Whether records are a single column as it is.
pub(super) fn is_bare(options: &Options) -> bool {
    matches!(options.text("format").as_deref(), Some("text" | "bytes"))
}

/// Adds the schema of a key or value to the registry, if there is one; answers the option that keeps its id.
pub(super) fn register(options: &Options, schema: &Schema, part: Part) -> Result<Option<(String, String)>> {
    let (Some((kind, text)), Some(registry)) = (schema_of(options, schema, part)?, Registry::new(options)?) else {
        return Ok(None);
    };
    if options.is_given(part.id().name) {
        return Ok(None);
    }
    let id = registry.register(&part.subject(&Connection::new(options)?.topic), kind, &text)?;
    Ok(Some((part.id().name.to_owned(), id.to_string())))
}

fn schema_of(options: &Options, schema: &Schema, part: Part) -> Result<Option<(&'static str, String)>> {
    Ok(match options.text("format").as_deref() {
        Some("avro") if part == Part::Value && is_of_changes(options) => {
            Some(("AVRO", avro::schema_of_changes(schema, part.record())?))
        }
        Some("avro") => Some(("AVRO", avro::schema_of_columns(schema, part.record())?)),
        Some("protobuf") => Some(("PROTOBUF", protobuf::schema_of_columns(schema, part.record())?)),
        _ => None,
    })
}

fn is_of_changes(options: &Options) -> bool {
    Envelope::of_word(options.text("envelope").as_deref()) == Envelope::Debezium
}

/// What the registry's id of the schema puts before each record.
fn frame(options: &Options, part: Part) -> Vec<u8> {
    options.integer(part.id().name).map(|id| registry::frame(id as u32)).unwrap_or_default()
}

/// Puts the row before a change and the row after it into one value, Debezium's envelope.
pub(super) enum Changes {
    Json,
    Avro { frame: Vec<u8>, schema: Box<AvroSchema> },
}

impl Changes {
    /// How the changes of rows of a schema are written; `None` if rows are.
    ///
    /// # Errors
    /// `0A000` for encodings that have no envelope.
    pub fn new(options: &Options, schema: &SchemaRef) -> Result<Option<Changes>> {
        if !is_of_changes(options) {
            return Ok(None);
        }
        Ok(Some(match options.text("format").as_deref() {
            None | Some("json") => Changes::Json,
            Some("avro") => {
                let text = avro::schema_of_changes(schema, Part::Value.record())?;
                let schema = Box::new(AvroSchema::parse(&text, &[])?);
                Changes::Avro { frame: frame(options, Part::Value), schema }
            }
            Some(_) => {
                let what = "FORMAT DEBEZIUM of a sink with another encoding than JSON and AVRO";
                return Err(SqlError::unsupported(what));
            }
        }))
    }

    /// The value of a change, of rows as [`Writer::row`] wrote them.
    pub fn value(&self, before: Option<&[u8]>, after: Option<&[u8]>) -> Vec<u8> {
        let operation = match (before, after) {
            (None, _) => "c",
            (Some(_), Some(_)) => "u",
            (Some(_), None) => "d",
        };
        match self {
            Changes::Json => {
                let or_null = |row: Option<&[u8]>| row.unwrap_or(b"null").to_vec();
                let head = [b"{\"op\":\"", operation.as_bytes(), b"\",\"before\":"].concat();
                [head, or_null(before), b",\"after\":".to_vec(), or_null(after), b"}".to_vec()].concat()
            }
            Changes::Avro { frame, .. } => {
                let mut out = frame.clone();
                avro::write_change(&mut out, before, after, operation);
                out
            }
        }
    }

    /// The row after a change that [`Changes::value`] wrote.
    pub fn after(&self, value: &[u8]) -> Option<Vec<u8>> {
        match self {
            Changes::Json => {
                let block = Block::new(value.to_vec(), 0);
                match change(&block, 0..value.len()) {
                    Ok(Change::Put(range)) => Some(value[range].to_vec()),
                    _ => None,
                }
            }
            Changes::Avro { frame, schema } => avro::after_of(schema, value.get(frame.len()..)?).map(<[u8]>::to_vec),
        }
    }
}

impl Writer {
    /// # Errors
    /// `42P16` when columns do not fit the format.
    pub fn new(options: &Options, schema: &SchemaRef, part: Part) -> Result<Writer> {
        schema_of(options, schema, part)?;
        // That of a change stands before the envelope.
        let is_inside = part == Part::Value && is_of_changes(options);
        let frame = if is_inside { vec![] } else { frame(options, part) };
        Ok(match options.text("format").as_deref() {
            Some("avro") => Writer::Avro(frame, avro::AvroEncoder::new(schema)),
            Some("protobuf") => {
                // After the id of the schema: the first message of it.
                let path = &[0][..frame.len().min(1)];
                Writer::Protobuf([&frame, path].concat(), protobuf::ProtobufEncoder::new(schema))
            }
            Some("text" | "bytes") => match &schema.fields()[..] {
                [only] => Writer::Bare(sql_type_of(only)),
                [] => Writer::Bare(SqlType::Text),
                _ => {
                    let message = "ENCODE TEXT and BYTES need one column for the value, and at most one for the key";
                    return Err(SqlError::new(SqlState::INVALID_TABLE_DEFINITION, message));
                }
            },
            _ => Writer::Json(JsonWriter::new(schema, DateStyle::Iso)),
        })
    }

    /// A row; `None` if it is a bare null.
    pub fn row(&self, rows: &RecordBatch, row: usize) -> Option<Vec<u8>> {
        let mut out = vec![];
        match self {
            Writer::Json(writer) => writer.row(&mut out, rows, row),
            Writer::Avro(frame, encoder) => {
                out.extend_from_slice(frame);
                encoder.row(&mut out, rows, row);
            }
            Writer::Protobuf(frame, encoder) => {
                out.extend_from_slice(frame);
                encoder.row(&mut out, rows, row);
            }
            Writer::Bare(sql_type) => {
                let array = rows.columns().first().filter(|array| !array.is_null(row))?;
                match array.data_type() {
                    DataType::Binary => out.extend_from_slice(array.as_binary::<i32>().value(row)),
                    _ => write_value(&mut out, sql_type, array.as_ref(), row, DateStyle::Sql),
                }
            }
        }
        Some(out)
    }
}
