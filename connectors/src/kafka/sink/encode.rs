//! From changes of rows to records: keys and values, and what else a record has.

use super::super::envelope::Envelope;
use super::writer::{self, Changes, Part, Writer};
use crate::options::Options;
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, SchemaRef, TimestampMicrosecondType};
use millrace_types::{Delta, Result, SqlError, SqlState, SqlType, sql_type_of};
use std::collections::HashMap;
use std::sync::Arc;

/// The values of a key with their net weights, and the records that carry them.
type Net = HashMap<Vec<u8>, (i64, OutRecord)>;

/// A record to be sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct OutRecord {
    /// Where it goes, if not to the sink's own topic.
    pub topic: Option<String>,
    pub key: Option<Vec<u8>>,
    /// `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<String>)>,
    pub partition: Option<i32>,
    /// Milliseconds since 1970.
    pub timestamp: Option<i64>,
}

/// Which columns are what in a record.
#[derive(Debug)]
pub(super) struct Columns {
    envelope: Envelope,
    key: Vec<usize>,
    value: Vec<usize>,
    topic: Option<usize>,
    headers: Option<usize>,
    partition: Option<usize>,
    timestamp: Option<usize>,
}

impl Columns {
    /// # Errors
    /// `42703` for columns that are not there, `42804` for those of another type than needed.
    pub fn of(options: &Options, schema: &SchemaRef) -> Result<Columns> {
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
        let topic = special("topic.column", &[SqlType::Text, SqlType::Varchar(None)])?;
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
        if envelope != Envelope::Plain && topic.is_some() {
            return Err(SqlError::unsupported("topic.column with FORMAT UPSERT or DEBEZIUM"));
        }
        let bare = writer::is_bare(options);
        let beside = |column: &usize| {
            [topic, headers, partition].contains(&Some(*column))
                || bare && (key.contains(column) || timestamp == Some(*column))
        };
        let value = (0..schema.fields().len()).filter(|column| !beside(column)).collect();
        Ok(Columns { envelope, key, value, topic, headers, partition, timestamp })
    }

    /// Adds the schemas of keys and values to the registry, if there is one; answers the options that keep their ids.
    pub fn register(options: &Options, schema: &SchemaRef) -> Result<Vec<(String, String)>> {
        let columns = Columns::of(options, schema)?;
        let value = writer::register(options, &schema.project(&columns.value)?, Part::Value)?;
        let key = match columns.key.is_empty() {
            true => None,
            false => writer::register(options, &schema.project(&columns.key)?, Part::Key)?,
        };
        Ok(value.into_iter().chain(key).collect())
    }
}

/// Makes records of changes.
pub(super) struct Encoder {
    columns: Columns,
    key: Writer,
    value: Writer,
    /// How changes are written, if these are what values say.
    changes: Option<Changes>,
}

impl Encoder {
    pub fn new(options: &Options, schema: &SchemaRef) -> Result<Encoder> {
        let columns = Columns::of(options, schema)?;
        let writer = |columns: &[usize], part| Writer::new(options, &Arc::new(schema.project(columns)?), part);
        let (key, value) = (writer(&columns.key, Part::Key)?, writer(&columns.value, Part::Value)?);
        let changes = Changes::new(options, &Arc::new(schema.project(&columns.value)?))?;
        if columns.envelope == Envelope::Upsert && matches!(value, Writer::Bare(_)) {
            return Err(SqlError::unsupported("FORMAT UPSERT of a sink with ENCODE TEXT or BYTES"));
        }
        Ok(Encoder { columns, key, value, changes })
    }

    pub fn envelope(&self) -> Envelope {
        self.columns.envelope
    }

    /// The records that say what a tick has changed.
    pub fn records(&self, deltas: &[Delta]) -> Result<Vec<OutRecord>> {
        let mut records = vec![];
        match self.columns.envelope {
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
        let mut by_key: HashMap<Vec<u8>, Net> = HashMap::new();
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
        let value = match &self.changes {
            Some(changes) => Some(changes.value(before.as_deref(), after.as_deref())),
            None => after,
        };
        Some(OutRecord { value, ..record })
    }

    /// The row that a value leaves; `None` when it is gone.
    pub fn row_of(&self, value: Option<&[u8]>) -> Option<Vec<u8>> {
        match &self.changes {
            Some(changes) => changes.after(value?),
            None => value.map(<[u8]>::to_vec),
        }
    }

    /// The record by which a delivered row of a key becomes another one, or goes.
    pub fn correction(&self, key: Vec<u8>, before: Option<Vec<u8>>, after: Option<(Vec<u8>, OutRecord)>) -> OutRecord {
        let bare = OutRecord { key: Some(key), ..OutRecord::default() };
        self.change(before.map(|value| (value, bare.clone())), after).unwrap_or(bare)
    }

    fn parts<'a>(&self, rows: &'a RecordBatch) -> Result<Parts<'a>> {
        Ok(Parts { rows, keys: rows.project(&self.columns.key)?, values: rows.project(&self.columns.value)? })
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
        let Columns { key, topic, headers, partition, timestamp, .. } = &encoder.columns;
        let present = |column: &usize| !self.rows.column(*column).is_null(row);
        let column = |column: usize| self.rows.column(column);
        let topic = topic.filter(present).map(|topic| column(topic).as_string_view().value(row).to_owned());
        let headers = headers.filter(present).map(|headers| headers_of(column(headers).as_string_view().value(row)));
        let micros = |timestamp| column(timestamp).as_primitive::<TimestampMicrosecondType>().value(row);
        OutRecord {
            topic,
            key: if key.is_empty() { None } else { encoder.key.row(&self.keys, row) },
            value: encoder.value.row(&self.values, row),
            headers: headers.unwrap_or_default(),
            partition: partition.filter(present).map(|p| column(p).as_primitive::<Int32Type>().value(row)),
            timestamp: timestamp.filter(present).map(|timestamp| micros(timestamp).div_euclid(1000)),
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
