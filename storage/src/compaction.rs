//! Batches that refer to no more bytes than they show.
//!
//! A view into text keeps the whole buffer that the text came in: one row of a block of a million would be written with
//! the text of all of them.

use arrow::array::{Array, ArrayRef, AsArray, GenericByteViewArray, ListArray, RecordBatch, RecordBatchOptions};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{ByteViewType, DataType};
use arrow::error::ArrowError;
use std::sync::Arc;

/// The same rows, with the text of views copied where a good part of their buffers is not theirs.
pub fn compact(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let columns = batch.columns().iter().map(compact_array).collect::<Result<Vec<_>, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(batch.schema(), columns, &options)
}

fn compact_array(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    match array.data_type() {
        DataType::Utf8View => Ok(compact_views(array, array.as_string_view())),
        DataType::BinaryView => Ok(compact_views(array, array.as_binary_view())),
        DataType::List(_) => compact_list(array),
        _ => Ok(array.clone()),
    }
}

fn compact_views<T: ByteViewType>(array: &ArrayRef, views: &GenericByteViewArray<T>) -> ArrayRef {
    let held: usize = views.data_buffers().iter().map(|buffer| buffer.len()).sum();
    let used = views.total_buffer_bytes_used();
    // Copying costs as much as writing, so a little waste stays.
    match held > used + used / 4 {
        true => Arc::new(views.gc()),
        false => array.clone(),
    }
}

fn compact_list(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let list = array.as_list::<i32>();
    let (first, last) = (list.offsets()[0], list.offsets()[list.len()]);
    let shown = list.values().slice(first as usize, (last - first) as usize);
    let values = compact_array(&shown)?;
    if Arc::ptr_eq(&shown, &values) {
        return Ok(array.clone());
    }
    let offsets = OffsetBuffer::new(list.offsets().iter().map(|offset| offset - first).collect());
    let DataType::List(field) = list.data_type() else { return Ok(array.clone()) };
    Ok(Arc::new(ListArray::try_new(field.clone(), offsets, values, list.nulls().cloned())?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{StringViewArray, builder::ListBuilder, builder::StringViewBuilder};

    fn long(n: usize) -> String {
        format!("a text that is too long for a view, number {n}")
    }

    fn of(array: ArrayRef) -> RecordBatch {
        RecordBatch::try_from_iter([("c", array)]).unwrap()
    }

    #[test]
    fn one_row_of_many_takes_its_own_text_only() {
        let all = of(Arc::new(StringViewArray::from_iter_values((0..1000).map(long))));
        let one = compact(&all.slice(500, 1)).unwrap();
        assert_eq!(one, all.slice(500, 1));
        let held: usize = one.column(0).as_string_view().data_buffers().iter().map(|b| b.len()).sum();
        assert_eq!(held, long(500).len());
    }

    #[test]
    fn lists_are_compacted_too_and_full_buffers_are_shared() {
        let mut lists = ListBuilder::new(StringViewBuilder::new());
        for n in 0..100 {
            lists.values().append_value(long(n));
            lists.append(n % 7 != 0);
        }
        let all = of(Arc::new(lists.finish()));
        let some = compact(&all.slice(13, 2)).unwrap();
        assert_eq!(some, all.slice(13, 2));
        assert!(some.get_array_memory_size() < all.get_array_memory_size() / 4);
        assert!(Arc::ptr_eq(compact(&all).unwrap().column(0), all.column(0)));
    }
}
