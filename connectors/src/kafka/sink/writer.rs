//! How keys and values are written: as JSON objects, as records of a schema, or as they are.

use super::super::connection::Connection;
use crate::format::json_writer::JsonWriter;
use crate::format::{avro, protobuf};
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
        Some("avro") => Some(("AVRO", avro::schema_of_columns(schema, part.record())?)),
        Some("protobuf") => Some(("PROTOBUF", protobuf::schema_of_columns(schema, part.record())?)),
        _ => None,
    })
}

impl Writer {
    /// # Errors
    /// `42P16` when columns do not fit the format.
    pub fn new(options: &Options, schema: &SchemaRef, part: Part) -> Result<Writer> {
        schema_of(options, schema, part)?;
        let frame = options.integer(part.id().name).map(|id| registry::frame(id as u32)).unwrap_or_default();
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
