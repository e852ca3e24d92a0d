//! Exchange: rows move to the worker that owns their key, and how a delta looks as bytes on the way.
//!
//! The producer of an exchanged stream splits its deltas with a [`Router`]. Threads of one process hand the parts over
//! as they are; between processes they travel in the wire form below, and the receiver decodes.
//!
//! ```text
//!  rows u64 | kind u64: 0 all weights are 1, 1 weights follow | weights i64 * rows | Arrow IPC stream of one batch
//! ```
//! All integers are little-endian. The IPC stream carries its schema, so that a receiver needs to know nothing.

use arrow::array::{Array, ArrayRef, AsArray, ListArray, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::DataType;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use millrace_types::hash::{KEY_SEED, hash_rows};
use millrace_types::{Delta, KeyGroup, Result, SqlError, Weights};
use std::sync::Arc;

/// Splits deltas by the owner of their rows.
pub enum Router {
    /// Everything stays on the worker that it is on.
    Local,
    /// Every row goes to the owner of the hash of these columns.
    ByHash { keys: Vec<usize>, rows_of: Vec<Vec<u32>> },
}

impl Router {
    /// A router for an exchange by `keys` among `workers`.
    pub fn by_hash(keys: Vec<usize>, workers: usize) -> Router {
        Router::ByHash { keys, rows_of: vec![Vec::new(); workers] }
    }

    /// Hands each part of `delta` to `send`, with the worker that it goes to: `here` if it stays. The parts together
    /// are the delta; none is empty.
    ///
    /// # Errors
    /// `0A000` when a column cannot be hashed; nothing was sent then.
    pub fn split(&mut self, here: usize, delta: Delta, mut send: impl FnMut(usize, Delta)) -> Result<()> {
        let Router::ByHash { keys, rows_of } = self else {
            send(here, delta);
            return Ok(());
        };
        let workers = rows_of.len();
        let columns: Vec<ArrayRef> = keys.iter().map(|&key| delta.rows().column(key).clone()).collect();
        if columns.is_empty() {
            send(owner_of_no_key(workers)?, delta);
            return Ok(());
        }
        let hashes = hash_rows(&columns, delta.len(), KEY_SEED)?;
        rows_of.iter_mut().for_each(Vec::clear);
        (0..).zip(hashes).for_each(|(row, hash)| rows_of[KeyGroup::of(hash).worker(workers)].push(row));
        for (worker, rows) in rows_of.iter_mut().enumerate() {
            match rows.len() {
                0 => {}
                all if all == delta.len() => send(worker, delta.clone()),
                some => {
                    let rows = std::mem::replace(rows, Vec::with_capacity(some + some / 8));
                    send(worker, delta.take(&UInt32Array::from(rows))?);
                }
            }
        }
        Ok(())
    }
}

/// The worker, of `workers`, to which an exchange without keys sends everything.
pub fn owner_of_no_key(workers: usize) -> Result<usize> {
    Ok(KeyGroup::of(hash_rows(&[], 1, KEY_SEED)?[0]).worker(workers))
}

/// The wire form of a delta.
pub fn encode(delta: &Delta) -> Result<Vec<u8>> {
    let rows = delta.rows();
    let columns = rows.columns().iter().map(compact).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    let compacted = RecordBatch::try_new_with_options(rows.schema(), columns, &options)?;
    let mut bytes = Vec::with_capacity(1024 + rows.num_rows() * 8 * (1 + rows.num_columns()));
    let weights: &[i64] = match delta.weights() {
        Weights::Ones => &[],
        Weights::Each(each) => each,
    };
    bytes.extend((delta.len() as u64).to_le_bytes());
    bytes.extend(u64::from(!weights.is_empty()).to_le_bytes());
    weights.iter().for_each(|weight| bytes.extend(weight.to_le_bytes()));
    let mut writer = StreamWriter::try_new(bytes, &rows.schema())?;
    writer.write(&compacted)?;
    Ok(writer.into_inner()?)
}

/// The delta of a wire form, in memory of its own.
///
/// # Errors
/// `XX000` when the bytes are not what [`encode`] wrote.
pub fn decode(bytes: &[u8]) -> Result<Delta> {
    let broken = || SqlError::internal("a delta from another worker is malformed");
    let mut rest = bytes;
    let mut word = || {
        let (head, tail) = rest.split_first_chunk::<8>().ok_or_else(broken)?;
        rest = tail;
        Ok::<_, SqlError>(u64::from_le_bytes(*head))
    };
    let (rows, kind) = (word()? as usize, word()?);
    let weights = match kind {
        0 => Weights::Ones,
        1 if rows <= bytes.len() / 8 => {
            let weights = (0..rows).map(|_| word().map(|weight| weight as i64)).collect::<Result<Vec<_>>>()?;
            Weights::Each(weights.into())
        }
        _ => return Err(broken()),
    };
    let batch = StreamReader::try_new(rest, None)?.next().ok_or_else(broken)??;
    match batch.num_rows() == rows {
        true => Ok(Delta::new(batch, weights)),
        false => Err(broken()),
    }
}

/// The same values without what a slice or a view leaves out: IPC would send the whole blocks behind views.
fn compact(column: &ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Utf8View => Arc::new(column.as_string_view().gc()),
        DataType::BinaryView => Arc::new(column.as_binary_view().gc()),
        DataType::List(field) => {
            let lists = column.as_list::<i32>();
            let offsets = lists.offsets();
            let (first, last) = (offsets[0], offsets[offsets.len() - 1]);
            let values = compact(&lists.values().slice(first as usize, (last - first) as usize));
            let lengths = OffsetBuffer::from_lengths(offsets.lengths());
            Arc::new(ListArray::new(field.clone(), lengths, values, lists.nulls().cloned()))
        }
        _ => column.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::*;
    use arrow::datatypes::{Int32Type, Int64Type, Schema};
    use millrace_types::{SqlType, field_of};

    const ROWS: usize = 40;

    /// A column of each SQL type, with NULLs at every third row.
    fn every_type() -> Delta {
        let text: ArrayRef = Arc::new(StringViewArray::from_iter((0..ROWS).map(|i| {
            (i % 3 != 0).then(|| if i % 2 == 0 { "short".to_owned() } else { format!("longer than a view holds {i}") })
        })));
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter((0..ROWS as i64).map(|i| (i % 3 != 0).then_some(i))));
        let (mut fields, mut columns) = (vec![], vec![]);
        for sql_type in SqlType::ALL.iter().chain([&SqlType::Unknown]) {
            let column = match sql_type.arrow() {
                DataType::Utf8View => text.clone(),
                DataType::Null => new_null_array(&DataType::Null, ROWS),
                DataType::FixedSizeBinary(width) => {
                    let values = (0..ROWS).map(|i| (i % 3 != 0).then(|| vec![i as u8; width as usize]));
                    Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(values, width).unwrap()) as ArrayRef
                }
                DataType::Binary => {
                    Arc::new(BinaryArray::from_iter((0..ROWS).map(|i| (i % 3 != 0).then(|| vec![7; i]))))
                }
                DataType::Interval(_) => Arc::new(IntervalMonthDayNanoArray::from_iter(
                    (0..ROWS)
                        .map(|i| (i % 3 != 0).then(|| arrow::datatypes::IntervalMonthDayNano::new(i as i32, -1, 5))),
                )),
                other => arrow::compute::cast(&numbers, &other).unwrap_or_else(|_| {
                    arrow::compute::cast(&arrow::compute::cast(&numbers, &DataType::Int32).unwrap(), &other).unwrap()
                }),
            };
            fields.push(field_of(sql_type.name(), sql_type, true));
            columns.push(column);
        }
        let words = [Some(vec![Some("one"), None]), None, Some(vec![]), Some(vec![Some("a word of more than twelve")])];
        let mut lists = ListBuilder::new(StringViewBuilder::new());
        (0..ROWS).for_each(|row| lists.append_option(words[row % 4].clone()));
        fields.push(field_of("texts", &SqlType::Array(Box::new(SqlType::Text)), true));
        columns.push(Arc::new(lists.finish()));
        let integers = (0..ROWS).map(|i| (i % 5 != 0).then(|| vec![Some(i as i32); i % 4]));
        fields.push(field_of("integers", &SqlType::Array(Box::new(SqlType::Int4)), true));
        columns.push(Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(integers)));
        let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
        Delta::new(rows, Weights::Each((0..ROWS as i64).map(|i| if i % 2 == 0 { 1 } else { -i }).collect()))
    }

    #[test]
    fn every_type_survives_the_wire_whole_and_sliced() {
        let delta = every_type();
        for (offset, len) in [(0, ROWS), (3, 17), (ROWS - 1, 1), (5, 0)] {
            let part = delta.slice(offset, len);
            let back = decode(&encode(&part).unwrap()).unwrap();
            assert_eq!(back.rows(), part.rows());
            assert_eq!(back.weights_buffer(), part.weights_buffer());
        }
        let ones = Delta::inserts(delta.rows().clone());
        assert_eq!(decode(&encode(&ones).unwrap()).unwrap().weights(), &Weights::Ones);
    }

    #[test]
    fn rows_without_columns_keep_their_number() {
        let options = RecordBatchOptions::new().with_row_count(Some(3));
        let rows = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options).unwrap();
        assert_eq!(decode(&encode(&Delta::retractions(rows)).unwrap()).unwrap().len(), 3);
    }

    #[test]
    fn a_slice_does_not_send_the_blocks_behind_it() {
        let text = StringViewArray::from_iter_values((0..10_000).map(|i| format!("a row of thirty bytes or so {i}")));
        let rows = RecordBatch::try_from_iter([("t", Arc::new(text) as ArrayRef)]).unwrap();
        assert!(encode(&Delta::inserts(rows).slice(5_000, 3)).unwrap().len() < 2_000);
    }

    #[test]
    fn malformed_bytes_are_an_error() {
        let whole = encode(&every_type()).unwrap();
        for length in [0, 7, 16, 30, whole.len() / 2] {
            assert!(decode(&whole[..length]).is_err(), "{length}");
        }
        let mut lies = whole;
        lies[0] ^= 1;
        assert!(decode(&lies).is_err());
    }

    #[test]
    fn a_split_is_a_partition_by_owner() {
        let keys = Int64Array::from_iter((0..1000).map(|i| (i % 7 != 0).then_some(i)));
        let rows = RecordBatch::try_from_iter([("k", Arc::new(keys) as ArrayRef)]).unwrap();
        let delta = Delta::new(rows, Weights::Each((1..=1000).collect()));
        for workers in [1, 2, 3, 8] {
            let mut router = Router::by_hash(vec![0], workers);
            let mut seen = vec![];
            for part in [delta.clone(), delta.slice(10, 1)] {
                seen.clear();
                router
                    .split(0, part.clone(), |worker, rows| {
                        let hashes = hash_rows(rows.rows().columns(), rows.len(), KEY_SEED).unwrap();
                        assert!(hashes.into_iter().all(|hash| KeyGroup::of(hash).worker(workers) == worker));
                        let keys = rows.rows().column(0).as_primitive::<Int64Type>().iter().collect::<Vec<_>>();
                        seen.extend(keys.into_iter().zip(rows.weights_buffer().iter().copied()));
                    })
                    .unwrap();
                let mut wanted: Vec<_> = part.rows().column(0).as_primitive::<Int64Type>().iter().collect::<Vec<_>>();
                wanted.sort();
                seen.sort();
                assert_eq!(seen.iter().map(|(key, _)| *key).collect::<Vec<_>>(), wanted);
                assert_eq!(
                    seen.iter().map(|(_, weight)| *weight).sum::<i64>(),
                    part.weights_buffer().iter().sum::<i64>()
                );
            }
        }
    }

    #[test]
    fn without_keys_all_rows_go_to_one_worker() {
        let mut owners = vec![];
        Router::by_hash(vec![], 3).split(2, every_type(), |worker, part| owners.push((worker, part.len()))).unwrap();
        assert_eq!(owners, [(owner_of_no_key(3).unwrap(), ROWS)]);
    }

    #[test]
    fn a_column_that_cannot_be_a_key_is_refused() {
        let seconds = Arc::new(Time32SecondArray::from(vec![1, 2])) as ArrayRef;
        let rows = RecordBatch::try_from_iter([("s", seconds)]).unwrap();
        let refused = Router::by_hash(vec![0], 2).split(0, Delta::inserts(rows), |_, _| panic!("nothing to send"));
        assert!(refused.is_err());
    }
}
