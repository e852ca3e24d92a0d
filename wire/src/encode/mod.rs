//! Arrow values as Postgres writes them, as text and in its binary format.
//!
//! Arrays are brought to one Arrow type for each Postgres type ([`canonical`]), then one writer is chosen for each
//! column of a batch; writing a value is one indirect call and no allocation.

mod array;
mod binary;
mod canonical;
mod datetime;
mod float;
mod interval;
mod numeric;
mod text;

use crate::format::TextFormat;
use crate::portal::Format;
use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::buffer::NullBuffer;
use arrow::datatypes::Schema;
use millrace_types::{Result, SqlError, SqlState, SqlType, sql_type_of};

pub(crate) use binary::JSONB_VERSION;
pub(crate) use datetime::{DAY_MICROS, POSTGRES_EPOCH_DAYS, POSTGRES_EPOCH_MICROS};

/// Writes the value of a row, which is not null.
type Writer = Box<dyn Fn(usize, &mut Vec<u8>) + Send + Sync>;

/// The values of an array, ready to be written.
pub struct ColumnEncoder {
    writer: Writer,
    nulls: Option<NullBuffer>,
}

impl ColumnEncoder {
    /// Writes values as text, exactly as PostgreSQL does.
    pub fn text(sql_type: &SqlType, array: &ArrayRef, format: &TextFormat) -> Result<ColumnEncoder> {
        let array = canonical::canonical(sql_type, array)?;
        Ok(ColumnEncoder { writer: text::writer(sql_type, &array, format)?, nulls: array.logical_nulls() })
    }

    /// Writes values in the binary format of their type.
    pub fn binary(sql_type: &SqlType, array: &ArrayRef, format: &TextFormat) -> Result<ColumnEncoder> {
        let array = canonical::canonical(sql_type, array)?;
        Ok(ColumnEncoder { writer: binary::writer(sql_type, &array, format)?, nulls: array.logical_nulls() })
    }

    /// Whether the value of `row` is null; then it must not be written.
    #[inline]
    pub fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }

    /// Appends the value of `row`.
    #[inline]
    pub fn write(&self, row: usize, to: &mut Vec<u8>) {
        (self.writer)(row, to);
    }
}

/// One encoder for each column of `batch`, as text.
pub fn text_columns(schema: &Schema, batch: &RecordBatch, format: &TextFormat) -> Result<Vec<ColumnEncoder>> {
    let columns = schema.fields().iter().zip(batch.columns());
    columns.map(|(field, array)| ColumnEncoder::text(&sql_type_of(field), array, format)).collect()
}

/// Writes rows of a batch as DataRow messages.
pub(crate) struct RowEncoder {
    columns: Vec<ColumnEncoder>,
}

impl RowEncoder {
    pub fn new(
        schema: &Schema,
        batch: &RecordBatch,
        formats: &[Format],
        text_format: &TextFormat,
    ) -> Result<RowEncoder> {
        let columns = schema.fields().iter().zip(batch.columns()).zip(formats);
        let columns = columns.map(|((field, array), format)| match format {
            Format::Text => ColumnEncoder::text(&sql_type_of(field), array, text_format),
            Format::Binary => ColumnEncoder::binary(&sql_type_of(field), array, text_format),
        });
        Ok(RowEncoder { columns: columns.collect::<Result<_>>()? })
    }

    /// Appends one row as a whole message.
    pub fn write(&self, row: usize, to: &mut Vec<u8>) -> Result<()> {
        let start = to.len();
        to.extend_from_slice(&[b'D', 0, 0, 0, 0]);
        to.extend_from_slice(&(self.columns.len() as u16).to_be_bytes());
        for column in &self.columns {
            if column.is_null(row) {
                to.extend_from_slice(&(-1i32).to_be_bytes());
            } else {
                with_length(to, |to| column.write(row, to));
            }
        }
        let Ok(length) = i32::try_from(to.len() - start - 1) else {
            to.truncate(start);
            return Err(SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, "a row does not fit into a message"));
        };
        to[start + 1..start + 5].copy_from_slice(&length.to_be_bytes());
        Ok(())
    }
}

/// Appends what `write` appends, with its length in four bytes before it. A length that does not fit is caught by the
/// length of the whole message.
fn with_length(to: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = to.len();
    to.extend_from_slice(&[0; 4]);
    write(to);
    let length = (to.len() - start - 4) as u32;
    to[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

#[cfg(test)]
mod tests;
