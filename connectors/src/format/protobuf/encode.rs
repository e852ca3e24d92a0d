//! Rows as Protobuf messages, by a schema made of their columns.

use crate::value::write::{DateStyle, write_value};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::*;
use millrace_types::{Result, SqlError, SqlState, SqlType, sql_type_of};
use std::fmt::Write;

/// The schema of messages with these columns, numbered in their order.
///
/// # Errors
/// `42602` when a column has a name that no field can have, `0A000` for arrays, whose nulls a message cannot hold.
pub(crate) fn schema_of_columns(schema: &Schema, message: &str) -> Result<String> {
    let (mut fields, mut imports) = (String::new(), "");
    for (index, field) in schema.fields().iter().enumerate() {
        let name = field.name();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if !name.bytes().all(plain) || name.bytes().next().is_none_or(|byte| byte.is_ascii_digit()) {
            let message = format!("column \"{name}\" has a name that a Protobuf field cannot have");
            return Err(SqlError::new(SqlState::INVALID_NAME, message)
                .with_hint("Such names have letters, digits and underscores, and begin with no digit."));
        }
        if let SqlType::Array(_) = sql_type_of(field) {
            return Err(SqlError::unsupported(format!("column \"{name}\" of an array type in Protobuf")));
        }
        let of = type_of(field.data_type());
        if of.starts_with("google") {
            imports = "import \"google/protobuf/timestamp.proto\";\n";
        }
        // Writing to a String cannot fail.
        let _ = writeln!(fields, "  optional {of} {name} = {};", index + 1);
    }
    Ok(format!("syntax = \"proto3\";\npackage millrace;\n{imports}message {message} {{\n{fields}}}\n"))
}

fn type_of(data_type: &DataType) -> &'static str {
    match data_type {
        DataType::Boolean => "bool",
        DataType::Int16 | DataType::Int32 => "int32",
        DataType::Int64 | DataType::UInt32 => "int64",
        DataType::Float32 => "float",
        DataType::Float64 => "double",
        DataType::Binary => "bytes",
        DataType::Timestamp(_, Some(_)) => "google.protobuf.Timestamp",
        _ => "string",
    }
}

const VARINT: u64 = 0;
const EIGHT_BYTES: u64 = 1;
const DELIMITED: u64 = 2;
const FOUR_BYTES: u64 = 5;

/// Writes rows of one schema.
pub(crate) struct ProtobufEncoder {
    columns: Vec<SqlType>,
}

impl ProtobufEncoder {
    pub fn new(schema: &Schema) -> ProtobufEncoder {
        ProtobufEncoder { columns: schema.fields().iter().map(|field| sql_type_of(field)).collect() }
    }

    /// Appends one row.
    pub fn row(&self, out: &mut Vec<u8>, rows: &RecordBatch, row: usize) {
        for (number, (sql_type, array)) in (1..).zip(self.columns.iter().zip(rows.columns())) {
            if !array.is_null(row) && *sql_type != SqlType::Unknown {
                write(out, number, sql_type, array.as_ref(), row);
            }
        }
    }
}

fn write(out: &mut Vec<u8>, number: u64, sql_type: &SqlType, array: &dyn Array, row: usize) {
    let varint = |out: &mut Vec<u8>, value: i64| {
        write_varint(out, number << 3 | VARINT);
        write_varint(out, value as u64);
    };
    let bytes = |out: &mut Vec<u8>, bytes: &[u8]| {
        write_varint(out, number << 3 | DELIMITED);
        write_varint(out, bytes.len() as u64);
        out.extend_from_slice(bytes);
    };
    match array.data_type() {
        DataType::Boolean => varint(out, array.as_boolean().value(row).into()),
        DataType::Int16 => varint(out, array.as_primitive::<Int16Type>().value(row).into()),
        DataType::Int32 => varint(out, array.as_primitive::<Int32Type>().value(row).into()),
        DataType::Int64 => varint(out, array.as_primitive::<Int64Type>().value(row)),
        DataType::UInt32 => varint(out, array.as_primitive::<UInt32Type>().value(row).into()),
        DataType::Float32 => {
            write_varint(out, number << 3 | FOUR_BYTES);
            out.extend(array.as_primitive::<Float32Type>().value(row).to_le_bytes());
        }
        DataType::Float64 => {
            write_varint(out, number << 3 | EIGHT_BYTES);
            out.extend(array.as_primitive::<Float64Type>().value(row).to_le_bytes());
        }
        DataType::Binary => bytes(out, array.as_binary::<i32>().value(row)),
        DataType::Utf8View => bytes(out, array.as_string_view().value(row).as_bytes()),
        DataType::Timestamp(_, Some(_)) => {
            let micros = array.as_primitive::<TimestampMicrosecondType>().value(row);
            let mut moment = vec![];
            write_varint(&mut moment, 1 << 3 | VARINT);
            write_varint(&mut moment, micros.div_euclid(1_000_000) as u64);
            write_varint(&mut moment, 2 << 3 | VARINT);
            write_varint(&mut moment, micros.rem_euclid(1_000_000) as u64 * 1000);
            bytes(out, &moment);
        }
        _ => {
            let mut text = vec![];
            write_value(&mut text, sql_type, array, row, DateStyle::Iso);
            bytes(out, &text);
        }
    }
}

/// Seven bits a byte, the lowest first.
fn write_varint(out: &mut Vec<u8>, mut rest: u64) {
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}
