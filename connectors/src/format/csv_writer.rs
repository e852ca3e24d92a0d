//! Rows as CSV, as Postgres's COPY writes it: NULL is an empty field, an empty text is quoted.

use crate::value::write::{DateStyle, write_value};
use arrow::array::{Array, RecordBatch};
use arrow::datatypes::SchemaRef;
use millrace_types::{SqlType, sql_type_of};

/// Writes rows of one schema as CSV records.
pub(crate) struct CsvWriter {
    types: Vec<SqlType>,
    delimiter: u8,
}

impl CsvWriter {
    /// A writer for rows of this schema.
    pub fn new(schema: &SchemaRef, delimiter: u8) -> CsvWriter {
        CsvWriter { types: schema.fields().iter().map(|field| sql_type_of(field)).collect(), delimiter }
    }

    /// What separates fields.
    pub fn delimiter(&self) -> u8 {
        self.delimiter
    }

    /// Appends the record that names the columns.
    pub fn header(&self, out: &mut Vec<u8>, schema: &SchemaRef) {
        for (index, field) in schema.fields().iter().enumerate() {
            self.separate(out, index);
            self.field(out, field.name().as_bytes());
        }
    }

    /// Appends one row, without a line end.
    pub fn row(&self, out: &mut Vec<u8>, rows: &RecordBatch, row: usize) {
        let mut text = Vec::new();
        for (index, (sql_type, array)) in self.types.iter().zip(rows.columns()).enumerate() {
            self.separate(out, index);
            if !array.is_null(row) {
                text.clear();
                write_value(&mut text, sql_type, array.as_ref(), row, DateStyle::Sql);
                self.field(out, &text);
            }
        }
    }

    fn separate(&self, out: &mut Vec<u8>, index: usize) {
        if index > 0 {
            out.push(self.delimiter);
        }
    }

    fn field(&self, out: &mut Vec<u8>, text: &[u8]) {
        let special = |byte: &u8| *byte == self.delimiter || matches!(byte, b'"' | b'\n' | b'\r');
        if !text.is_empty() && !text.iter().any(special) {
            out.extend_from_slice(text);
            return;
        }
        out.push(b'"');
        for byte in text {
            if *byte == b'"' {
                out.push(b'"');
            }
            out.push(*byte);
        }
        out.push(b'"');
    }
}
