//! Rows gathered from batches into a batch that shares no memory with them.

use arrow::array::{Array, ArrayRef, AsArray, ListArray, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::{interleave, take};
use arrow::datatypes::{DataType, SchemaRef};
use millrace_types::Result;
use std::sync::Arc;

/// A batch of `rows` rows, also when there are no columns to count them by.
pub fn batch_of(schema: &SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &options)?)
}

/// The rows at `indices`, as (batch, row), of the columns `projection` of `batches`; `schema` is that of the result.
pub fn interleave_rows(
    schema: &SchemaRef,
    batches: &[&RecordBatch],
    indices: &[(usize, usize)],
    projection: impl Iterator<Item = usize>,
) -> Result<RecordBatch> {
    let mut columns = Vec::with_capacity(schema.fields().len());
    let mut sources: Vec<&dyn Array> = Vec::with_capacity(batches.len());
    for column in projection {
        sources.clear();
        sources.extend(batches.iter().map(|batch| batch.column(column).as_ref()));
        columns.push(interleave(&sources, indices)?);
    }
    batch_of(schema, columns, indices.len())
}

/// The rows at `indices` of one batch.
pub fn take_rows(
    schema: &SchemaRef,
    rows: &RecordBatch,
    indices: impl ExactSizeIterator<Item = u32>,
) -> Result<RecordBatch> {
    let indices = UInt32Array::from_iter_values(indices);
    let columns = rows.columns().iter().map(|column| take(column, &indices, None)).collect::<Result<_, _>>()?;
    batch_of(schema, columns, indices.len())
}

/// The same values in memory of their own: strings leave the blocks that they were views into. Only for arrays that a
/// gathering kernel just made, whose other buffers are their own already.
pub fn compact(array: &ArrayRef) -> ArrayRef {
    match array.data_type() {
        DataType::Utf8View => Arc::new(array.as_string_view().gc()),
        DataType::BinaryView => Arc::new(array.as_binary_view().gc()),
        DataType::List(field) if field.data_type() == &DataType::Utf8View => {
            let list = array.as_list::<i32>();
            let values = compact(list.values());
            Arc::new(ListArray::new(field.clone(), list.offsets().clone(), values, list.nulls().cloned()))
        }
        _ => array.clone(),
    }
}

/// [`compact`] for every column.
pub fn compact_rows(rows: RecordBatch) -> Result<RecordBatch> {
    let holds_views = |t: &DataType| matches!(t, DataType::Utf8View | DataType::BinaryView | DataType::List(_));
    if !rows.columns().iter().any(|column| holds_views(column.data_type())) {
        return Ok(rows);
    }
    let columns = rows.columns().iter().map(compact).collect();
    batch_of(&rows.schema(), columns, rows.num_rows())
}

/// The most buffers of a column of strings that is left as it is.
const FEW_BUFFERS: usize = 256;

/// Whether all strings of a batch stand in few buffers.
pub fn has_few_buffers(rows: &RecordBatch) -> bool {
    rows.columns().iter().all(|column| match column.data_type() {
        DataType::Utf8View => column.as_string_view().data_buffers().len() <= FEW_BUFFERS,
        DataType::BinaryView => column.as_binary_view().data_buffers().len() <= FEW_BUFFERS,
        other => !other.is_nested(),
    })
}

/// Bytes of memory of the rows themselves, nearly: of strings those that they have, wherever these stand.
pub fn bytes_of(rows: &RecordBatch) -> usize {
    const INLINE: u32 = 12;
    let column = |column: &ArrayRef| match column.as_string_view_opt() {
        Some(texts) => {
            let long = texts.lengths().filter(|length| *length > INLINE).map(|length| length as usize);
            texts.views().len() * size_of::<u128>() + long.sum::<usize>()
        }
        None => column.get_array_memory_size(),
    };
    rows.columns().iter().map(column).sum()
}
