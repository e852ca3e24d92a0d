//! Rows as JSON lines.

use crate::value::write::{DateStyle, write_value};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};
use millrace_types::{SqlType, sql_type_of};

/// Writes rows of one schema as JSON objects.
pub(crate) struct JsonWriter {
    columns: Vec<(Vec<u8>, SqlType)>,
    style: DateStyle,
}

impl JsonWriter {
    /// A writer for rows of this schema.
    pub fn new(schema: &SchemaRef, style: DateStyle) -> JsonWriter {
        let label = |name: &str| {
            let mut label = Vec::new();
            write_string(&mut label, name.as_bytes());
            label.push(b':');
            label
        };
        let columns = schema.fields().iter().map(|field| (label(field.name()), sql_type_of(field))).collect();
        JsonWriter { columns, style }
    }

    /// Appends one row as an object, without a line end.
    pub fn row(&self, out: &mut Vec<u8>, rows: &RecordBatch, row: usize) {
        out.push(b'{');
        for (index, ((label, sql_type), array)) in self.columns.iter().zip(rows.columns()).enumerate() {
            if index > 0 {
                out.push(b',');
            }
            out.extend_from_slice(label);
            self.value(out, sql_type, array.as_ref(), row);
        }
        out.push(b'}');
    }

    fn value(&self, out: &mut Vec<u8>, sql_type: &SqlType, array: &dyn Array, row: usize) {
        if array.is_null(row) || *sql_type == SqlType::Unknown {
            out.extend_from_slice(b"null");
            return;
        }
        match (sql_type, array.data_type()) {
            (SqlType::Json | SqlType::Jsonb, _) => write_value(out, sql_type, array, row, self.style),
            (_, DataType::Utf8View) => write_string(out, array.as_string_view().value(row).as_bytes()),
            (SqlType::Array(element), DataType::List(_)) => {
                let elements = array.as_list::<i32>().value(row);
                out.push(b'[');
                for index in 0..elements.len() {
                    if index > 0 {
                        out.push(b',');
                    }
                    self.value(out, element, elements.as_ref(), index);
                }
                out.push(b']');
            }
            (_, data_type) => {
                let start = out.len();
                write_value(out, sql_type, array, row, self.style);
                // Neither NaN nor Infinity is a JSON number; both end in a letter.
                let bare = data_type.is_numeric() && out.last().is_some_and(u8::is_ascii_digit);
                if !bare && *data_type != DataType::Boolean {
                    let text = out.split_off(start);
                    write_string(out, &text);
                }
            }
        }
    }
}

/// Appends a text as a JSON string.
pub(crate) fn write_string(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    let mut rest = text;
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20)) {
        out.extend_from_slice(&rest[..at]);
        match rest[at] {
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            byte @ (b'"' | b'\\') => out.extend_from_slice(&[b'\\', byte]),
            byte => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
        }
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}
