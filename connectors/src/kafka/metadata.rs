//! What a message is beside its value: key, partition, offset, timestamp and headers, as columns (`INCLUDE`).

use super::batch::{Batch, Record, Wanted};
use super::envelope::Envelope;
use crate::format::Block;
use crate::options::{OptionInfo, OptionKind, Options};
use crate::value::write::write_hex;
use arrow::array::{ArrayRef, BinaryBuilder, Int32Array, Int64Array, StringViewBuilder, TimestampMicrosecondArray};
use arrow::datatypes::{Field, Schema, SchemaRef};
use millrace_types::{Result, SqlError, SqlState, SqlType, field_of, sql_type_of};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The options that INCLUDE becomes.
pub(super) const KEY: OptionInfo =
    OptionInfo::new("include.key", OptionKind::Text, "The column for the message's key (bytea or text).");
pub(super) const PARTITION: OptionInfo =
    OptionInfo::new("include.partition", OptionKind::Text, "The column for the message's partition (int).");
pub(super) const OFFSET: OptionInfo =
    OptionInfo::new("include.offset", OptionKind::Text, "The column for the message's offset (bigint).");
pub(super) const TIMESTAMP: OptionInfo =
    OptionInfo::new("include.timestamp", OptionKind::Text, "The column for the message's timestamp (timestamptz).");
pub(super) const HEADERS: OptionInfo =
    OptionInfo::new("include.headers", OptionKind::Text, "The column for the message's headers (jsonb).");

/// What a metadata column shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Metadata {
    Key,
    Partition,
    Offset,
    Timestamp,
    Headers,
}

const ALL: [(Metadata, &OptionInfo, SqlType); 5] = [
    (Metadata::Key, &KEY, SqlType::Bytea),
    (Metadata::Partition, &PARTITION, SqlType::Int4),
    (Metadata::Offset, &OFFSET, SqlType::Int8),
    (Metadata::Timestamp, &TIMESTAMP, SqlType::Timestamptz),
    (Metadata::Headers, &HEADERS, SqlType::Jsonb),
];

/// The columns of a source: which are metadata. Columns for metadata that were not declared are added at the end.
pub(super) fn columns(options: &Options, schema: &SchemaRef) -> Result<(SchemaRef, Vec<Option<Metadata>>)> {
    let mut fields: Vec<Arc<Field>> = schema.fields().iter().cloned().collect();
    let mut metadata = vec![None; fields.len()];
    for (what, info, default) in &ALL {
        let Some(name) = options.text(info.name) else { continue };
        match fields.iter().position(|field| *field.name() == name) {
            Some(index) => {
                let declared = sql_type_of(&fields[index]);
                if !fits(*what, &declared) {
                    let message =
                        format!("column \"{name}\" is of type {declared} but the metadata is of type {default}");
                    return Err(SqlError::new(SqlState::DATATYPE_MISMATCH, message));
                }
                metadata[index] = Some(*what);
            }
            None => {
                fields.push(Arc::new(field_of(&name, default, true)));
                metadata.push(Some(*what));
            }
        }
    }
    Ok((Arc::new(Schema::new(fields)), metadata))
}

fn fits(what: Metadata, declared: &SqlType) -> bool {
    match what {
        Metadata::Key => matches!(declared, SqlType::Bytea | SqlType::Text),
        Metadata::Partition => *declared == SqlType::Int4,
        Metadata::Offset => *declared == SqlType::Int8,
        Metadata::Timestamp => *declared == SqlType::Timestamptz,
        Metadata::Headers => *declared == SqlType::Jsonb,
    }
}

/// What must be copied of messages to show these columns, and to know the rows of tombstones.
pub(super) fn wanted(columns: &[Option<Metadata>], envelope: Envelope) -> Wanted {
    let has = |what| columns.contains(&Some(what));
    Wanted { key: has(Metadata::Key) || envelope == Envelope::Upsert, headers: has(Metadata::Headers) }
}

impl Metadata {
    /// The column for some records of a batch, of which `block` holds the bytes. A key of type text that is no UTF-8 has its other bytes replaced.
    pub fn array(self, field: &Field, partition: u32, (batch, block): (&Batch, &Block), records: &[usize]) -> ArrayRef {
        let chosen = records.iter().map(|record| &batch.records[*record]);
        let bytes = |range: &Option<std::ops::Range<usize>>| range.clone().map(|range| &block.bytes()[range]);
        let key = |record: &Record| bytes(&record.key);
        match self {
            Metadata::Key if sql_type_of(field) == SqlType::Bytea => {
                let mut keys = BinaryBuilder::new();
                chosen.for_each(|record| keys.append_option(key(record)));
                Arc::new(keys.finish())
            }
            Metadata::Key => {
                let mut keys = StringViewBuilder::new();
                chosen.for_each(|record| keys.append_option(key(record).map(String::from_utf8_lossy)));
                Arc::new(keys.finish())
            }
            Metadata::Partition => Arc::new(Int32Array::from_value(partition as i32, records.len())),
            Metadata::Offset => Arc::new(chosen.map(|record| record.offset).collect::<Int64Array>()),
            Metadata::Timestamp => {
                let micros = chosen.map(|record| record.timestamp.map(|millis| millis.saturating_mul(1000)));
                Arc::new(micros.collect::<TimestampMicrosecondArray>().with_data_type(field.data_type().clone()))
            }
            Metadata::Headers => {
                let mut headers = StringViewBuilder::new();
                chosen.for_each(|record| {
                    headers.append_option(bytes(&record.headers).map(String::from_utf8_lossy));
                });
                Arc::new(headers.finish())
            }
        }
    }
}

/// Headers as a JSON object. A value that is no text is written as hex.
pub(super) fn headers_text(headers: &BTreeMap<Cow<'_, str>, Option<&[u8]>>, out: &mut Vec<u8>) {
    out.push(b'{');
    for (index, (name, value)) in headers.iter().enumerate() {
        if index > 0 {
            out.extend_from_slice(b", ");
        }
        crate::format::json_writer::write_string(out, name.as_bytes());
        out.extend_from_slice(b": ");
        match value.map(|bytes| std::str::from_utf8(bytes).map_err(|_| bytes)) {
            None => out.extend_from_slice(b"null"),
            Some(Ok(text)) => crate::format::json_writer::write_string(out, text.as_bytes()),
            Some(Err(bytes)) => {
                let mut hex = vec![];
                let _ = write_hex(&mut hex, bytes);
                crate::format::json_writer::write_string(out, &hex);
            }
        }
    }
    out.push(b'}');
}
