//! Small answers: a few rows of text and numbers that the server makes itself.

use super::running::once;
use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringViewArray};
use arrow::datatypes::{Schema, SchemaRef};
use millrace_types::{Result, SqlType, field_of};
use millrace_wire::{Response, Tag};
use std::sync::Arc;

/// A schema of columns that may be NULL.
pub fn columns(columns: &[(&str, SqlType)]) -> SchemaRef {
    Arc::new(Schema::new(columns.iter().map(|(name, sql_type)| field_of(*name, sql_type, true)).collect::<Vec<_>>()))
}

/// Text columns.
pub fn text_columns(names: &[&str]) -> SchemaRef {
    columns(&names.iter().map(|name| (*name, SqlType::Text)).collect::<Vec<_>>())
}

/// Rows that are there already.
pub fn rows(rows: RecordBatch, tag: Tag) -> Response {
    Response::Rows { schema: rows.schema(), rows: once(rows), tag }
}

/// Rows of text, all of the same width as `schema`.
pub fn text_rows(schema: &SchemaRef, rows: &[Vec<Option<String>>]) -> Result<RecordBatch> {
    let column = |index: usize| -> ArrayRef {
        let values = rows.iter().map(|row| row.get(index).and_then(Option::as_deref));
        match schema.field(index).data_type() {
            arrow::datatypes::DataType::Int64 => {
                Arc::new(values.map(|value| value.and_then(|text| text.parse::<i64>().ok())).collect::<Int64Array>())
            }
            _ => Arc::new(values.collect::<StringViewArray>()),
        }
    };
    let arrays = (0..schema.fields().len()).map(column).collect();
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows.len()));
    Ok(RecordBatch::try_new_with_options(schema.clone(), arrays, &options)?)
}

/// A command without rows is done.
pub fn done(tag: impl Into<String>) -> Result<Response> {
    Ok(Response::Complete(tag.into()))
}
