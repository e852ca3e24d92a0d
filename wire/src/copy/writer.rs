//! Rows to lines.

use super::{CopyFormat, CopyKind, Header, csv, text};
use crate::backend::CopyChunk;
use crate::encode::{ColumnEncoder, text_columns};
use crate::format::TextFormat;
use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use millrace_types::Result;

/// Writes rows in one of COPY's formats.
#[derive(Clone, Debug)]
pub struct RowWriter {
    format: CopyFormat,
    text_format: TextFormat,
}

impl RowWriter {
    /// A writer of this format, whose values are written with these settings.
    pub fn new(format: CopyFormat, text_format: TextFormat) -> RowWriter {
        RowWriter { format, text_format }
    }

    /// Appends the line of names, if the format has one.
    pub fn header(&self, schema: &Schema, to: &mut Vec<u8>) {
        if self.format.header == Header::None {
            return;
        }
        let single = schema.fields().len() == 1;
        for (index, field) in schema.fields().iter().enumerate() {
            self.delimit(index, to);
            let start = to.len();
            to.extend_from_slice(field.name().as_bytes());
            self.escape(start, single, false, to);
        }
        to.push(b'\n');
    }

    /// Appends the rows of a batch, a line each, and gives the lengths of the lines.
    pub fn write(&self, schema: &Schema, batch: &RecordBatch, to: &mut Vec<u8>) -> Result<Vec<usize>> {
        let columns = text_columns(schema, batch, &self.text_format)?;
        let line = |row| {
            let start = to.len();
            self.write_row(&columns, row, to);
            to.len() - start
        };
        Ok((0..batch.num_rows()).map(line).collect())
    }

    fn write_row(&self, columns: &[ColumnEncoder], row: usize, to: &mut Vec<u8>) {
        for (index, column) in columns.iter().enumerate() {
            self.delimit(index, to);
            if column.is_null(row) {
                to.extend_from_slice(self.format.null.as_bytes());
                continue;
            }
            let start = to.len();
            column.write(row, to);
            self.escape(start, columns.len() == 1, self.format.force_quote, to);
        }
        to.push(b'\n');
    }

    fn delimit(&self, index: usize, to: &mut Vec<u8>) {
        if index > 0 {
            to.push(self.format.delimiter);
        }
    }

    /// Makes a field of what follows `start`.
    fn escape(&self, start: usize, single: bool, force_quote: bool, to: &mut Vec<u8>) {
        match self.format.kind {
            CopyKind::Text => text::escape(&self.format, start, to),
            CopyKind::Csv => csv::escape(&self.format, start, single, force_quote, to),
        }
    }
}

/// A stream of rows as the stream of a [`crate::Response::CopyOut`]: the header first, then a chunk for each batch.
pub fn chunks(
    writer: RowWriter,
    schema: SchemaRef,
    rows: BoxStream<'static, Result<RecordBatch>>,
) -> BoxStream<'static, Result<CopyChunk>> {
    let mut header = Vec::new();
    writer.header(&schema, &mut header);
    let header = (!header.is_empty()).then(|| Ok(CopyChunk { bytes: header.into(), rows: vec![] }));
    let lines = rows.and_then(move |batch| {
        let mut bytes = Vec::new();
        let written = writer.write(&schema, &batch, &mut bytes);
        futures::future::ready(written.map(|rows| CopyChunk { bytes: bytes.into(), rows }))
    });
    stream::iter(header).chain(lines).boxed()
}
