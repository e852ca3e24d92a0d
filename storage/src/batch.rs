//! A committed transaction as bytes: the payload of a [`RecordKind::Transaction`](crate::RecordKind) record.
//!
//! ```text
//! count u32, 0 u32, then for each delta, every part padded to 8 bytes:
//! +-----------+--------+--------+---------+--------+--------+---------+--------+
//! |relation   |flags   |schema  |message  |body    | schema | message | body   |
//! |u32        |u32     |len u32 |len u32  |len u64 |        |         |        |
//! +-----------+--------+--------+---------+--------+--------+---------+--------+
//! ```
//!
//! Message and body are an Arrow IPC record batch; the weights are its last column, [`WEIGHT`], unless every row is
//! inserted once. A record can be read without any other: the schema stands in it, in few bytes.

use crate::compaction::compact;
use crate::schema_bytes;
use arrow::array::{AsArray, Int64Array, RecordBatch, RecordBatchOptions};
use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::reader::read_record_batch;
use arrow::ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteContext, IpcWriteOptions};
use arrow::ipc::{self, MetadataVersion};
use millrace_types::{Delta, RelationId, Result, SqlError, SqlState, Weights};
use std::collections::HashMap;
use std::sync::Arc;

/// The name of the column of weights.
pub const WEIGHT: &str = "millrace.weight";

const ALIGNMENT: usize = 8;
const HEADER_BYTES: usize = 24;
/// Flag: the last column holds weights.
const WEIGHTED: u32 = 1;
/// Flag: the schema is an Arrow IPC message.
const ARROW_SCHEMA: u32 = 2;

/// The payload of a transaction.
///
/// # Errors
/// `54000` when a part of it is larger than a record may be.
pub fn encode(deltas: &[(RelationId, Delta)]) -> Result<Vec<u8>> {
    let options = IpcWriteOptions::try_new(ALIGNMENT, false, MetadataVersion::V5)?;
    let mut context = IpcWriteContext::default();
    let mut bytes = Vec::with_capacity(1024);
    bytes.extend_from_slice(&(deltas.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    for (relation, delta) in deltas {
        encode_delta(&mut bytes, *relation, delta, &options, &mut context)?;
    }
    Ok(bytes)
}

fn encode_delta(
    bytes: &mut Vec<u8>,
    relation: RelationId,
    delta: &Delta,
    options: &IpcWriteOptions,
    context: &mut IpcWriteContext,
) -> Result<()> {
    let mut dictionaries = DictionaryTracker::new(false);
    let (schema, schema_flag) = match schema_bytes::encode(&delta.schema()) {
        Some(schema) => (schema, 0),
        None => {
            let arrow = IpcDataGenerator {}.schema_to_bytes_with_dictionary_tracker(
                &delta.schema(),
                &mut dictionaries,
                options,
            );
            (arrow.ipc_message, ARROW_SCHEMA)
        }
    };
    let rows = compact(delta.rows())?;
    let (batch, weight_flag) = match delta.weights() {
        Weights::Ones => (rows, 0),
        Weights::Each(each) => (with_weights(&rows, Int64Array::new(each.clone(), None))?, WEIGHTED),
    };
    let (more, encoded) = IpcDataGenerator {}.encode(&batch, &mut dictionaries, options, context)?;
    if !more.is_empty() {
        return Err(SqlError::unsupported("a dictionary-encoded column of a table"));
    }
    let (message, body) = (encoded.ipc_message, encoded.arrow_data);
    bytes.extend_from_slice(&relation.0.to_le_bytes());
    bytes.extend_from_slice(&(schema_flag | weight_flag).to_le_bytes());
    bytes.extend_from_slice(&short(schema.len())?.to_le_bytes());
    bytes.extend_from_slice(&short(message.len())?.to_le_bytes());
    bytes.extend_from_slice(&(body.len() as u64).to_le_bytes());
    for part in [schema, message, body] {
        bytes.extend_from_slice(&part);
        bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
    }
    Ok(())
}

fn short(len: usize) -> Result<u32> {
    let too_large = |_| SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, format!("part of {len} bytes is too large"));
    u32::try_from(len).map_err(too_large)
}

fn weighted_schema(schema: &Schema) -> SchemaRef {
    let weight = Arc::new(Field::new(WEIGHT, DataType::Int64, false));
    Arc::new(Schema::new(schema.fields().iter().cloned().chain([weight]).collect::<Vec<_>>()))
}

fn with_weights(rows: &RecordBatch, weights: Int64Array) -> Result<RecordBatch, ArrowError> {
    let mut columns = rows.columns().to_vec();
    columns.push(Arc::new(weights));
    RecordBatch::try_new(weighted_schema(&rows.schema()), columns)
}

/// The transaction of a payload. Its rows refer to one copy of the payload and to nothing else.
///
/// # Errors
/// `XX001` when it is no such payload; the checksum of its record makes that unlikely.
pub fn decode(payload: &[u8]) -> Result<Vec<(RelationId, Delta)>> {
    let mut rest = Buffer::from(payload);
    let count = take(&mut rest, ALIGNMENT)?;
    let count = u32::from_le_bytes([count[0], count[1], count[2], count[3]]);
    let deltas = (0..count).map(|_| decode_delta(&mut rest)).collect::<Result<_>>()?;
    match rest.is_empty() {
        true => Ok(deltas),
        false => Err(damaged("it goes on after its last part")),
    }
}

fn decode_delta(rest: &mut Buffer) -> Result<(RelationId, Delta)> {
    let header = take(rest, HEADER_BYTES)?;
    let u32_at = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let (relation, flags) = (RelationId(u32_at(0)), u32_at(4));
    let schema = take(rest, u32_at(8) as usize)?;
    let message = take(rest, u32_at(12) as usize)?;
    let body = take(rest, (u64::from(u32_at(16)) | u64::from(u32_at(20)) << 32) as usize)?;
    let schema = Arc::new(match flags & ARROW_SCHEMA {
        0 => schema_bytes::decode(&schema).ok_or_else(|| damaged("its schema cannot be read"))?,
        _ => arrow_schema(&schema)?,
    });
    let written = match flags & WEIGHTED {
        0 => schema.clone(),
        _ => weighted_schema(&schema),
    };
    let message = ipc::root_as_message(&message).map_err(|e| damaged(&e.to_string()))?;
    let batch = message.header_as_record_batch().ok_or_else(|| damaged("it holds no rows"))?;
    let batch = read_record_batch(&body, batch, written, &HashMap::new(), None, &message.version())
        .map_err(|e| damaged(&e.to_string()))?;
    Ok((relation, if flags & WEIGHTED == 0 { Delta::inserts(batch) } else { split_weights(batch, schema)? }))
}

fn split_weights(batch: RecordBatch, schema: SchemaRef) -> Result<Delta> {
    let mut columns = batch.columns().to_vec();
    let weights = columns.pop().ok_or_else(|| damaged("it holds no weights"))?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let rows = RecordBatch::try_new_with_options(schema, columns, &options)?;
    Ok(Delta::new(rows, Weights::Each(weights.as_primitive::<Int64Type>().values().clone())))
}

fn arrow_schema(bytes: &[u8]) -> Result<Schema> {
    let message = ipc::root_as_message(bytes).map_err(|e| damaged(&e.to_string()))?;
    let schema = message.header_as_schema().ok_or_else(|| damaged("it holds no schema"))?;
    Ok(ipc::convert::fb_to_schema(schema))
}

/// The next `len` bytes, and the padding behind them.
fn take(rest: &mut Buffer, len: usize) -> Result<Buffer> {
    let padded = len.checked_next_multiple_of(ALIGNMENT).filter(|&padded| padded <= rest.len());
    let padded = padded.ok_or_else(|| damaged("it ends too early"))?;
    let part = rest.slice_with_length(0, len);
    *rest = rest.slice(padded);
    Ok(part)
}

fn damaged(why: &str) -> SqlError {
    SqlError::new(SqlState::DATA_CORRUPTED, format!("logged transaction cannot be read: {why}"))
}

#[cfg(test)]
mod tests;
