//! Parquet files: columns are read as they are and cast to the types declared. The offset is the number of a row.

use super::rows::batch;
use crate::source::{Chunk, Poll, SplitReader};
use arrow::array::{Array, ArrayRef, RecordBatch, new_null_array};
use arrow::compute::{CastOptions, can_cast_types, cast_with_options};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use millrace_types::{Offset, Result, SqlError, SqlState, SqlType, field_of, sql_type_of};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::errors::ParquetError;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

/// The schema of a source: what the file holds when nothing is declared, else what is declared, checked against the
/// file.
pub(crate) fn schema_of(path: &Path, declared: &SchemaRef) -> Result<SchemaRef> {
    let file = builder(path)?.schema().clone();
    if declared.fields().is_empty() {
        let own = |field: &Arc<Field>| {
            let sql_type = SqlType::from_arrow(field.data_type());
            match can_cast_types(field.data_type(), &sql_type.arrow()) {
                true => Ok(field_of(field.name(), &sql_type, field.is_nullable())),
                false => Err(SqlError::unsupported(format!(
                    "the type {} of column \"{}\" of a Parquet file",
                    field.data_type(),
                    field.name()
                ))),
            }
        };
        return Ok(Arc::new(Schema::new(file.fields().iter().map(own).collect::<Result<Vec<_>>>()?)));
    }
    places(path, &file, declared)?;
    Ok(declared.clone())
}

/// Where in the file each column is; `None` for one that the file lacks and that may be null.
fn places(path: &Path, file: &Schema, wanted: &SchemaRef) -> Result<Vec<Option<usize>>> {
    wanted
        .fields()
        .iter()
        .map(|field| {
            let name = field.name();
            let fields = file.fields();
            let place = fields.iter().position(|other| other.name() == name).or_else(|| {
                let folded = name.to_lowercase();
                fields.iter().position(|other| other.name().to_lowercase() == folded)
            });
            match place {
                None if field.is_nullable() => Ok(None),
                None => Err(SqlError::new(
                    SqlState::UNDEFINED_COLUMN,
                    format!("column \"{name}\" does not exist in file \"{}\"", path.display()),
                )),
                Some(place) if fits(fields[place].data_type(), field.data_type()) => Ok(Some(place)),
                Some(place) => Err(SqlError::new(
                    SqlState::DATATYPE_MISMATCH,
                    format!(
                        "column \"{name}\" is of type {} but file \"{}\" holds {}",
                        sql_type_of(field),
                        path.display(),
                        fields[place].data_type()
                    ),
                )),
            }
        })
        .collect()
}

/// Whether values of a file's type may stand in a column: those of the same kind, and numbers that fit or overflow with
/// an error.
fn fits(file: &DataType, column: &DataType) -> bool {
    let text = |data_type: &DataType| {
        matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
            || matches!(data_type, DataType::Dictionary(_, value) if value.is_string())
    };
    let same_kind = match column {
        DataType::Utf8View => text(file),
        DataType::Binary => {
            matches!(file, DataType::Binary | DataType::LargeBinary | DataType::BinaryView)
                || matches!(file, DataType::FixedSizeBinary(_))
        }
        DataType::Int16 | DataType::Int32 | DataType::Int64 | DataType::UInt32 => file.is_integer(),
        DataType::Float32 | DataType::Float64 => file.is_floating() || file.is_integer(),
        DataType::Decimal128(_, _) => file.is_integer() || matches!(file, DataType::Decimal128(_, _)),
        DataType::Timestamp(_, _) => matches!(file, DataType::Timestamp(_, _)),
        other => SqlType::from_arrow(file).arrow() == *other,
    };
    file == column || (same_kind && can_cast_types(file, column))
}

/// A reader of the columns of `schema` from row `from` on.
pub(crate) fn open(path: &Path, from: Offset, schema: SchemaRef) -> Result<Box<dyn SplitReader>> {
    let builder = builder(path)?;
    let places = places(path, builder.schema(), &schema)?;
    let total = builder.metadata().file_metadata().num_rows().max(0) as u64;
    let roots = places.iter().flatten().copied();
    let mask = ProjectionMask::roots(builder.parquet_schema(), roots);
    let start = usize::try_from(from.0.min(total)).map_err(|_| SqlError::internal("a row number exceeds memory"))?;
    let reader = builder.with_projection(mask).with_offset(start).with_batch_size(BATCH_ROWS);
    let reader = reader.build().map_err(|error| parquet_error(path, error))?;
    let name = path.display().to_string();
    Ok(Box::new(ParquetReader { name, reader, schema, places, pending: None, at: from.0.min(total), total }))
}

const BATCH_ROWS: usize = 8192;

fn builder(path: &Path) -> Result<ParquetRecordBatchReaderBuilder<File>> {
    let file = crate::file::open_file(path)?;
    ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| parquet_error(path, error))
}

fn parquet_error(path: &Path, error: ParquetError) -> SqlError {
    SqlError::new(SqlState::DATA_CORRUPTED, format!("could not read Parquet file \"{}\"", path.display()))
        .with_detail(format!("{error}."))
}

struct ParquetReader {
    name: String,
    reader: ParquetRecordBatchReader,
    schema: SchemaRef,
    places: Vec<Option<usize>>,
    /// Rows that were read and did not fit into the last chunk.
    pending: Option<RecordBatch>,
    at: u64,
    total: u64,
}

impl ParquetReader {
    /// The columns wanted, of the types wanted, from a batch that holds the wanted ones in the order of the file.
    fn convert(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let mut in_file: Vec<usize> = self.places.iter().flatten().copied().collect();
        in_file.sort_unstable();
        in_file.dedup();
        let column = |(field, place): (&Arc<Field>, &Option<usize>)| -> Result<ArrayRef> {
            let Some(place) = place else { return Ok(new_null_array(field.data_type(), rows.num_rows())) };
            let index = in_file.binary_search(place).map_err(|_| SqlError::internal("a column was not read"))?;
            let array = rows.column(index);
            let options = CastOptions { safe: false, ..CastOptions::default() };
            let array = cast_with_options(array, field.data_type(), &options).map_err(|error| {
                let message = format!("column \"{}\" of file \"{}\" does not fit its type", field.name(), self.name);
                SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, message).with_detail(format!("{error}."))
            })?;
            match array.null_count() > 0 && !field.is_nullable() {
                true => Err(SqlError::new(
                    SqlState::NOT_NULL_VIOLATION,
                    format!("null value in column \"{}\" of file \"{}\"", field.name(), self.name),
                )),
                false => Ok(array),
            }
        };
        let columns = self.schema.fields().iter().zip(&self.places).map(column).collect::<Result<Vec<_>>>()?;
        batch(&self.schema, columns, rows.num_rows())
    }
}

impl SplitReader for ParquetReader {
    fn poll(&mut self, max_rows: usize) -> Result<Poll> {
        let rows = match self.pending.take() {
            Some(rows) => rows,
            None => match self.reader.next() {
                Some(rows) => self.convert(&rows?)?,
                None => return Ok(Poll::Finished),
            },
        };
        let count = rows.num_rows().min(max_rows.max(1));
        if count < rows.num_rows() {
            self.pending = Some(rows.slice(count, rows.num_rows() - count));
        }
        self.at += count as u64;
        Ok(Poll::Chunk(Chunk { rows: rows.slice(0, count), deletes: None, bad: Vec::new(), end: Offset(self.at) }))
    }

    fn lag(&self) -> Option<u64> {
        Some(self.total - self.at)
    }
}
