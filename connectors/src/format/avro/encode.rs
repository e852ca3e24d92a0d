//! Rows as Avro records, by a schema made of their columns.

use crate::value::write::{DateStyle, write_value};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::*;
use millrace_types::{Result, SqlError, SqlState, SqlType, sql_type_of};
use serde_json::{Value, json};

/// The schema of records with these columns, as JSON.
///
/// # Errors
/// `42602` when a column has a name that no field can have.
pub(crate) fn schema_of_columns(schema: &Schema, record: &str) -> Result<String> {
    Ok(record_of_columns(schema, record)?.to_string())
}

/// The schema of changes of rows with these columns, as JSON: Debezium's envelope.
///
/// # Errors
/// As [`schema_of_columns`].
pub(crate) fn schema_of_changes(schema: &Schema, record: &str) -> Result<String> {
    let row = record_of_columns(schema, record)?;
    let fields = json!([
        { "name": "before", "type": ["null", row], "default": null },
        { "name": "after", "type": ["null", record], "default": null },
        { "name": "op", "type": "string" },
    ]);
    Ok(json!({ "type": "record", "name": "Envelope", "namespace": "millrace", "fields": fields }).to_string())
}

fn record_of_columns(schema: &Schema, record: &str) -> Result<Value> {
    let field = |field: &FieldRef| {
        let name = field.name();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if !name.bytes().all(plain) || name.bytes().next().is_none_or(|byte| byte.is_ascii_digit()) {
            let message = format!("column \"{name}\" has a name that an Avro field cannot have");
            return Err(SqlError::new(SqlState::INVALID_NAME, message)
                .with_hint("Such names have letters, digits and underscores, and begin with no digit."));
        }
        let of = type_of(&sql_type_of(field), field.data_type());
        Ok(match field.is_nullable() {
            true => json!({ "name": name, "type": ["null", of], "default": null }),
            false => json!({ "name": name, "type": of }),
        })
    };
    let fields = schema.fields().iter().map(field).collect::<Result<Vec<_>>>()?;
    Ok(json!({ "type": "record", "name": record, "namespace": "millrace", "fields": fields }))
}

/// Appends a change: the rows before and after it, as [`AvroEncoder::row`] wrote them.
pub(crate) fn write_change(out: &mut Vec<u8>, before: Option<&[u8]>, after: Option<&[u8]>, operation: &str) {
    for row in [before, after] {
        write_long(out, i64::from(row.is_some()));
        out.extend_from_slice(row.unwrap_or_default());
    }
    write_bytes(out, operation.as_bytes());
}

fn type_of(sql_type: &SqlType, data_type: &DataType) -> Value {
    let logical = |of: &str, what: &str| json!({ "type": of, "logicalType": what });
    match (sql_type, data_type) {
        (SqlType::Array(element), DataType::List(field)) => {
            json!({ "type": "array", "items": ["null", type_of(element, field.data_type())] })
        }
        (SqlType::Uuid, _) => logical("string", "uuid"),
        (_, DataType::Boolean) => "boolean".into(),
        (_, DataType::Int16 | DataType::Int32) => "int".into(),
        (_, DataType::Int64 | DataType::UInt32) => "long".into(),
        (_, DataType::Float32) => "float".into(),
        (_, DataType::Float64) => "double".into(),
        (_, DataType::Binary) => "bytes".into(),
        (_, DataType::Date32) => logical("int", "date"),
        (_, DataType::Time64(_)) => logical("long", "time-micros"),
        (_, DataType::Timestamp(_, Some(_))) => logical("long", "timestamp-micros"),
        (_, DataType::Timestamp(_, None)) => logical("long", "local-timestamp-micros"),
        (_, DataType::Decimal128(precision, scale)) if *scale >= 0 => {
            json!({ "type": "bytes", "logicalType": "decimal", "precision": precision, "scale": scale })
        }
        _ => "string".into(),
    }
}

/// Writes rows of one schema.
pub(crate) struct AvroEncoder {
    columns: Vec<(SqlType, bool)>,
}

impl AvroEncoder {
    pub fn new(schema: &Schema) -> AvroEncoder {
        AvroEncoder { columns: schema.fields().iter().map(|field| (sql_type_of(field), field.is_nullable())).collect() }
    }

    /// Appends one row.
    pub fn row(&self, out: &mut Vec<u8>, rows: &RecordBatch, row: usize) {
        for ((sql_type, nullable), array) in self.columns.iter().zip(rows.columns()) {
            write(out, sql_type, *nullable, array.as_ref(), row);
        }
    }
}

fn write(out: &mut Vec<u8>, sql_type: &SqlType, nullable: bool, array: &dyn Array, row: usize) {
    let null = array.is_null(row) || *sql_type == SqlType::Unknown;
    if nullable {
        write_long(out, i64::from(!null));
        if null {
            return;
        }
    }
    match (sql_type, array.data_type()) {
        (SqlType::Array(element), DataType::List(_)) => {
            let elements = array.as_list::<i32>().value(row);
            if !elements.is_empty() {
                write_long(out, elements.len() as i64);
                (0..elements.len()).for_each(|row| write(out, element, true, elements.as_ref(), row));
            }
            write_long(out, 0);
        }
        (_, DataType::Boolean) => out.push(array.as_boolean().value(row).into()),
        (_, DataType::Int16) => write_long(out, array.as_primitive::<Int16Type>().value(row).into()),
        (_, DataType::Int32) => write_long(out, array.as_primitive::<Int32Type>().value(row).into()),
        (_, DataType::Int64) => write_long(out, array.as_primitive::<Int64Type>().value(row)),
        (_, DataType::UInt32) => write_long(out, array.as_primitive::<UInt32Type>().value(row).into()),
        (_, DataType::Float32) => out.extend(array.as_primitive::<Float32Type>().value(row).to_le_bytes()),
        (_, DataType::Float64) => out.extend(array.as_primitive::<Float64Type>().value(row).to_le_bytes()),
        (_, DataType::Date32) => write_long(out, array.as_primitive::<Date32Type>().value(row).into()),
        (_, DataType::Time64(_)) => write_long(out, array.as_primitive::<Time64MicrosecondType>().value(row)),
        (_, DataType::Timestamp(..)) => write_long(out, array.as_primitive::<TimestampMicrosecondType>().value(row)),
        (_, DataType::Binary) => write_bytes(out, array.as_binary::<i32>().value(row)),
        (_, DataType::Utf8View) => write_bytes(out, array.as_string_view().value(row).as_bytes()),
        (_, DataType::Decimal128(_, scale)) if *scale >= 0 => {
            let bytes = array.as_primitive::<Decimal128Type>().value(row).to_be_bytes();
            write_bytes(out, significant(&bytes));
        }
        _ => {
            let mut text = vec![];
            write_value(&mut text, sql_type, array, row, DateStyle::Iso);
            write_bytes(out, &text);
        }
    }
}

/// The last bytes of a number in two's complement that say all of it.
fn significant(bytes: &[u8; 16]) -> &[u8] {
    let filler = if bytes[0] & 0x80 == 0 { 0 } else { 0xff };
    let redundant = (0..15).take_while(|at| bytes[*at] == filler && (bytes[at + 1] ^ filler) & 0x80 == 0);
    &bytes[redundant.count()..]
}

fn write_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    write_long(out, bytes.len() as i64);
    out.extend_from_slice(bytes);
}

/// Seven bits a byte, the lowest first, with the sign in the last bit.
fn write_long(out: &mut Vec<u8>, number: i64) {
    let mut rest = ((number << 1) ^ (number >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}
