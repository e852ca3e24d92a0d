//! The schemas of topics whose records do not say what they hold: given by the statement, or taken from a registry.
//!
//! What the registry has when a source is made is written down with its options: it is where columns, aliases and
//! defaults come from. Each record names the schema that it was written by.

use crate::format::avro::{AvroFormat, AvroSchema};
use crate::format::protobuf::{self, ProtobufFile, ProtobufFormat};
use crate::options::{OptionInfo, OptionKind, Options};
use crate::registry::Registry;
use arrow::datatypes::{Schema, SchemaRef};
use millrace_types::{Result, SqlError, SqlState, field_of};
use std::sync::Arc;

pub(super) const SCHEMA: OptionInfo = OptionInfo::new(
    "schema",
    OptionKind::Text,
    "For AVRO the schema as JSON, for PROTOBUF the text of the .proto file. With a registry, its latest one if not given.",
);
pub(super) const IMPORTS: OptionInfo = OptionInfo::new(
    "schema.imports",
    OptionKind::Text,
    "What the schema refers to, as a JSON array of pairs of name and text; found out in the registry.",
);
pub(super) const MESSAGE: OptionInfo = OptionInfo::new(
    "message",
    OptionKind::Text,
    "For PROTOBUF: which message of the schema; the first one if not given.",
);

/// By what the records of a topic are written.
pub(super) enum Written {
    Avro(AvroFormat),
    Protobuf(ProtobufFormat),
}

/// The latest schema that the registry has for a topic, as options.
pub(super) fn settle(options: &Options) -> Result<Vec<(String, String)>> {
    let format = options.text("format").unwrap_or_default();
    let registry = match Registry::new(options)? {
        Some(registry) if matches!(&format[..], "avro" | "protobuf") && !options.is_given(SCHEMA.name) => registry,
        _ => return Ok(vec![]),
    };
    let subject = format!("{}-value", options.text("topic").unwrap_or_default());
    let latest = registry.latest(&subject)?.ok_or_else(|| {
        let message = format!("the schema registry has no subject \"{subject}\"");
        SqlError::new(SqlState::UNDEFINED_OBJECT, message).with_hint("Give the schema by the option \"schema\".")
    })?;
    let mut found = vec![(SCHEMA.name.to_owned(), latest.text.clone())];
    if !latest.references().is_empty() {
        let imports = serde_json::to_string(latest.references());
        let imports = imports.map_err(|error| SqlError::internal(format!("schemas cannot be written: {error}")))?;
        found.push((IMPORTS.name.to_owned(), imports));
    }
    Ok(found)
}

impl Written {
    /// What the options say; `None` for formats without schemas.
    pub fn of(options: &Options) -> Result<Option<Written>> {
        let format = options.text("format").unwrap_or_default();
        let registry = Registry::new(options)?;
        let imports = match options.text(IMPORTS.name) {
            Some(text) => serde_json::from_str::<Vec<(String, String)>>(&text)
                .map_err(|_| options.invalid(IMPORTS.name, "It is a JSON array of pairs of texts."))?,
            None => vec![],
        };
        let text = options.text(SCHEMA.name);
        if text.is_none() && registry.is_none() {
            return Ok(None);
        }
        Ok(match &format[..] {
            "avro" => {
                let others: Vec<_> = imports.into_iter().map(|(_, text)| text).collect();
                let schema = text.map(|text| AvroSchema::parse(&text, &others).map(Arc::new)).transpose()?;
                Some(Written::Avro(AvroFormat { schema, registry }))
            }
            "protobuf" => {
                let file = text.map(|text| ProtobufFile::parse(&text, &imports).map(Arc::new)).transpose()?;
                Some(Written::Protobuf(ProtobufFormat { file, message: options.text(MESSAGE.name), registry }))
            }
            _ => None,
        })
    }

    /// The columns of the schema.
    pub fn columns(&self) -> Result<SchemaRef> {
        let columns = match self {
            Written::Avro(format) => format.schema.as_ref().map(|schema| schema.columns()),
            Written::Protobuf(format) => {
                let message = format.file.as_ref().map(|file| file.message(format.message.as_deref())).transpose()?;
                message.map(|message| protobuf::columns(&message))
            }
        };
        let fields = columns.into_iter().flatten().map(|(name, sql_type)| field_of(name, &sql_type, true));
        Ok(Arc::new(Schema::new(fields.collect::<Vec<_>>())))
    }
}
