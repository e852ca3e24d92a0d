//! From changes of rows to records: keys and values as JSON, and what else a record has.

use super::super::envelope::Envelope;
use crate::format::json_writer::JsonWriter;
use crate::options::Options;
use crate::value::write::DateStyle;
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, SchemaRef, TimestampMicrosecondType};
use millrace_types::{Delta, Result, SqlError, SqlState, SqlType, sql_type_of};
use std::collections::HashMap;
use std::sync::Arc;

/// A record to be sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct OutRecord {
    pub key: Option<Vec<u8>>,
    /// `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<String>)>,
    pub partition: Option<i32>,
    /// Milliseconds since 1970.
    pub timestamp: Option<i64>,
}

/// Makes records of changes.
pub(super) struct Encoder {
    envelope: Envelope,
    /// The columns of the key, and how they are written.
    key: Vec<usize>,
    key_writer: JsonWriter,
    /// The columns of the value.
    value: Vec<usize>,
    writer: JsonWriter,
    headers: Option<usize>,
    partition: Option<usize>,
    timestamp: Option<usize>,
}

impl Encoder {
    /// # Errors
    /// `42703` for columns that are not there, `42804` for those of another type than needed.
    pub fn new(options: &Options, schema: &SchemaRef) -> Result<Encoder> {
        let envelope = Envelope::of_word(options.text("envelope").as_deref());
        let find = |name: &str| {
            schema
                .index_of(name)
                .map_err(|_| SqlError::new(SqlState::UNDEFINED_COLUMN, format!("column \"{name}\" does not exist")))
        };
        let special = |option: &str, types: &[SqlType]| -> Result<Option<usize>> {
            let Some(name) = options.text(option) else { return Ok(None) };
            let column = find(&name)?;
            let found = sql_type_of(schema.field(column));
            match types.contains(&found) {
                true => Ok(Some(column)),
                false => {
                    let message = format!("column \"{name}\" for the {option} is of type {found}");
                    let hint = format!("It must be of type {}.", types[0]);
                    Err(SqlError::new(SqlState::DATATYPE_MISMATCH, message).with_hint(hint))
                }
            }
        };
        let headers = special("headers", &[SqlType::Jsonb, SqlType::Json])?;
        let partition = special("partition", &[SqlType::Int4])?;
        let timestamp = special("timestamp", &[SqlType::Timestamptz, SqlType::Timestamp])?;
        let key = options.text("key").unwrap_or_default();
        let key =
            key.split(',').map(str::trim).filter(|name| !name.is_empty()).map(find).collect::<Result<Vec<_>>>()?;
        if envelope != Envelope::Plain && key.is_empty() {
            return Err(SqlError::new(
                SqlState::INVALID_PARAMETER_VALUE,
                "FORMAT UPSERT and DEBEZIUM need the option \"key\", the columns that no two rows agree on",
            ));
        }
        let beside = [headers, partition];
        let value: Vec<usize> = (0..schema.fields().len()).filter(|column| !beside.contains(&Some(*column))).collect();
        let writer =
            |columns: &[usize]| Ok::<_, SqlError>(JsonWriter::new(&Arc::new(schema.project(columns)?), DateStyle::Iso));
        let (key_writer, value_writer) = (writer(&key)?, writer(&value)?);
        Ok(Encoder { envelope, key, key_writer, value, writer: value_writer, headers, partition, timestamp })
    }

    pub fn envelope(&self) -> Envelope {
        self.envelope
    }

    /// The records that say what a tick has changed.
    pub fn records(&self, deltas: &[Delta]) -> Result<Vec<OutRecord>> {
        let mut records = vec![];
        match self.envelope {
            Envelope::Plain => {
                for delta in deltas {
                    let parts = self.parts(delta.rows())?;
                    for row in 0..delta.len() {
                        let copies = usize::try_from(delta.weight(row)).map_err(|_| {
                            SqlError::internal("a retraction reached a topic of rows that are only added")
                        })?;
                        let record = parts.record(self, row);
                        records.extend(std::iter::repeat_n(record, copies));
                    }
                }
            }
            _ => self.changes(deltas, &mut records)?,
        }
        Ok(records)
    }

    /// Changes by key: the row that goes and the row that comes are one change.
    fn changes(&self, deltas: &[Delta], records: &mut Vec<OutRecord>) -> Result<()> {
        let mut order: Vec<Vec<u8>> = vec![];
        let mut by_key: HashMap<Vec<u8>, HashMap<Vec<u8>, (i64, OutRecord)>> = HashMap::new();
        for delta in deltas {
            let parts = self.parts(delta.rows())?;
            for row in 0..delta.len() {
                let mut record = parts.record(self, row);
                let key = record.key.clone().unwrap_or_default();
                let value = record.value.take().unwrap_or_default();
                let rows = by_key.entry(key.clone()).or_insert_with(|| {
                    order.push(key);
                    HashMap::new()
                });
                rows.entry(value).or_insert((0, record)).0 += delta.weight(row);
            }
        }
        for key in order {
            let rows = by_key.remove(&key).unwrap_or_default();
            let (mut before, mut after) = (None, None);
            for (value, (weight, record)) in rows {
                match weight {
                    0 => {}
                    1.. => after = Some((value, record)),
                    _ => before = Some((value, record)),
                }
            }
            records.extend(self.change(before, after));
        }
        Ok(())
    }

    fn change(&self, before: Option<(Vec<u8>, OutRecord)>, after: Option<(Vec<u8>, OutRecord)>) -> Option<OutRecord> {
        let (before, gone) = before.unzip();
        let (after, came) = after.unzip();
        let record = came.or(gone)?;
        let value = match self.envelope {
            Envelope::Debezium => Some(debezium(before.as_deref(), after.as_deref())),
            _ => after,
        };
        Some(OutRecord { value, ..record })
    }

    /// The record by which a delivered row of a key becomes another one, or goes.
    pub fn correction(&self, key: Vec<u8>, before: Option<Vec<u8>>, after: Option<(Vec<u8>, OutRecord)>) -> OutRecord {
        let bare = OutRecord { key: Some(key), ..OutRecord::default() };
        self.change(before.map(|value| (value, bare.clone())), after).unwrap_or(bare)
    }

    fn parts<'a>(&self, rows: &'a RecordBatch) -> Result<Parts<'a>> {
        Ok(Parts { rows, keys: rows.project(&self.key)?, values: rows.project(&self.value)? })
    }
}

/// Rows, and their columns for keys and values.
struct Parts<'a> {
    rows: &'a RecordBatch,
    keys: RecordBatch,
    values: RecordBatch,
}

impl Parts<'_> {
    fn record(&self, encoder: &Encoder, row: usize) -> OutRecord {
        let key = (!encoder.key.is_empty()).then(|| {
            let mut key = vec![];
            encoder.key_writer.row(&mut key, &self.keys, row);
            key
        });
        let mut value = vec![];
        encoder.writer.row(&mut value, &self.values, row);
        let present = |column: &usize| !self.rows.column(*column).is_null(row);
        let partition = encoder
            .partition
            .filter(present)
            .map(|column| self.rows.column(column).as_primitive::<Int32Type>().value(row));
        let timestamp = encoder.timestamp.filter(present).map(|column| {
            self.rows.column(column).as_primitive::<TimestampMicrosecondType>().value(row).div_euclid(1000)
        });
        let headers =
            encoder.headers.filter(present).map(|column| self.rows.column(column).as_string_view().value(row));
        OutRecord {
            key,
            value: Some(value),
            headers: headers.map(headers_of).unwrap_or_default(),
            partition,
            timestamp,
        }
    }
}

/// The members of a JSON object as headers: texts as they are, other values as JSON.
fn headers_of(text: &str) -> Vec<(String, Option<String>)> {
    let Ok(serde_json::Value::Object(members)) = serde_json::from_str(text) else { return vec![] };
    let header = |(name, value)| match value {
        serde_json::Value::Null => (name, None),
        serde_json::Value::String(text) => (name, Some(text)),
        other => (name, Some(other.to_string())),
    };
    members.into_iter().map(header).collect()
}

fn debezium(before: Option<&[u8]>, after: Option<&[u8]>) -> Vec<u8> {
    let op: &[u8] = match (before, after) {
        (None, _) => b"c",
        (Some(_), Some(_)) => b"u",
        (Some(_), None) => b"d",
    };
    let or_null = |value: Option<&[u8]>| value.unwrap_or(b"null").to_vec();
    [b"{\"op\":\"", op, b"\",\"before\":", &or_null(before), b",\"after\":", &or_null(after), b"}"].concat()
}

/// The rows that a Debezium value, as written here, has before and after.
pub(super) fn after_of(value: &[u8]) -> Option<Vec<u8>> {
    use super::super::envelope::{Change, change};
    let block = crate::format::Block::new(value.to_vec(), 0);
    match change(&block, 0..value.len()) {
        Ok(Change::Put(range)) => Some(value[range].to_vec()),
        _ => None,
    }
}
