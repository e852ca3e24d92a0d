//! A run: immutable rows in hash order, in chunks.

use super::by_value::ids_by_value;
use super::expiry::{time_of, times_of};
use super::gather::{bytes_of, compact_rows, interleave_rows, take_rows};
use super::spill::Held;
use arrow::array::{ArrayRef, RecordBatch};
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::SchemaRef;
use millrace_types::hash::{KEY_SEED, ROW_SEED, hash_rows};
use millrace_types::{Delta, Result, Weights};
use std::ops::RangeInclusive;
use std::sync::Arc;

/// The most rows of a chunk: what one step of a merge makes, and what a scan hands out at once.
pub const CHUNK_ROWS: usize = 16_384;

/// The identity of a row, in the order of runs: the hash of its key columns, then that of all its columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowId {
    pub key: u64,
    pub row: u64,
}

/// The identities of all rows of a batch, with `key` as key columns.
pub fn ids_of(rows: &RecordBatch, key: &[usize]) -> Result<Vec<RowId>> {
    let columns: Vec<ArrayRef> = key.iter().map(|&column| rows.column(column).clone()).collect();
    let keys = hash_rows(&columns, rows.num_rows(), KEY_SEED)?;
    let hashes = hash_rows(rows.columns(), rows.num_rows(), ROW_SEED)?;
    Ok(keys.into_iter().zip(hashes).map(|(key, row)| RowId { key, row }).collect())
}

/// Consecutive rows of a run: ascending, different identities with a net weight each, never zero.
#[derive(Debug)]
pub struct Chunk {
    pub keys: ScalarBuffer<u64>,
    pub hashes: ScalarBuffer<u64>,
    pub weights: ScalarBuffer<i64>,
    pub rows: RecordBatch,
    /// The memory that it takes.
    pub(super) held: Held,
}

impl Chunk {
    /// A chunk in memory.
    pub fn new(keys: Vec<u64>, hashes: Vec<u64>, weights: Vec<i64>, rows: RecordBatch) -> Chunk {
        let held = Held::new(bytes_of(&rows) + keys.len() * 3 * size_of::<u64>());
        Chunk { keys: keys.into(), hashes: hashes.into(), weights: weights.into(), rows, held }
    }

    /// How many rows it has; at least one.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Never, inside a run.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The identity of one row.
    #[inline]
    pub fn id(&self, row: usize) -> RowId {
        RowId { key: self.keys[row], row: self.hashes[row] }
    }

    /// The first row whose key hash is not below `key`, looked for where it would be if hashes were spread evenly,
    /// which they are, and from there in doubling steps.
    pub fn seek(&self, key: u64) -> usize {
        let keys = &self.keys[..];
        let (first, last) = (keys[0], keys[keys.len() - 1]);
        if key <= first {
            return 0;
        }
        if key > last {
            return keys.len();
        }
        let guess = self.guess(key).min(keys.len() - 1);
        let (mut low, mut high, mut step) = (guess, guess, 4);
        // From here on: every key before `low` is below `key`, and none from `high` on is.
        while low > 0 && keys[low - 1] >= key {
            high = low - 1;
            low = low.saturating_sub(step);
            step *= 2;
        }
        while high < keys.len() && keys[high] < key {
            low = high + 1;
            high = (high + step).min(keys.len());
            step *= 2;
        }
        low + keys[low..high].partition_point(|&k| k < key)
    }

    /// Where a key hash would stand if hashes were spread evenly.
    #[inline]
    fn guess(&self, key: u64) -> usize {
        let (first, last) = (self.keys[0], self.keys[self.keys.len() - 1]);
        let (distance, span) = (key.clamp(first, last) - first, (last - first).max(1));
        // Both are shortened to 32 bits and more, which keeps the product and its quotient in 64.
        let shift = (u64::BITS - span.leading_zeros()).saturating_sub(32);
        ((distance >> shift) * (self.keys.len() as u64 - 1) / (span >> shift).max(1)) as usize
    }

    /// The key hash at the place where `key` would stand: read ahead of a search, to have it in the cache.
    #[inline]
    pub fn near(&self, key: u64) -> u64 {
        self.keys[self.guess(key).min(self.keys.len() - 1)]
    }

    /// The row with this identity.
    pub fn find(&self, id: RowId) -> Option<usize> {
        let start = self.seek(id.key);
        let end = self.end_of_key(start, id.key);
        self.hashes[start..end].binary_search(&id.row).ok().map(|at| start + at)
    }

    /// The end of the rows of this key hash, the first of which is `start`; `start` when there are none.
    #[inline]
    pub fn end_of_key(&self, start: usize, key: u64) -> usize {
        let keys = &self.keys[start..];
        let mut bound = 1;
        while bound < keys.len() && keys[bound] == key {
            bound *= 2;
        }
        start + keys[..bound.min(keys.len())].partition_point(|&k| k <= key)
    }

    /// Some of its rows, in memory of their own.
    fn part(&self, schema: &SchemaRef, places: &[usize]) -> Result<Chunk> {
        let rows = take_rows(schema, &self.rows, places.iter().map(|place| *place as u32))?;
        let ids = |ids: &[u64]| places.iter().map(|place| ids[*place]).collect();
        let weights = places.iter().map(|place| self.weights[*place]).collect();
        Ok(Chunk::new(ids(&self.keys), ids(&self.hashes), weights, compact_rows(rows)?))
    }
}

/// Immutable rows in the order of their identities, none twice, in chunks.
#[derive(Debug)]
pub struct Run {
    chunks: Vec<Arc<Chunk>>,
    /// The first identity of each chunk.
    firsts: Vec<RowId>,
    rows: usize,
    bytes: usize,
}

impl Run {
    /// A run of chunks that are in order already.
    pub fn from_chunks(chunks: Vec<Arc<Chunk>>) -> Run {
        let firsts = chunks.iter().map(|chunk| chunk.id(0)).collect();
        let (rows, bytes) = chunks.iter().fold((0, 0), |(r, b), chunk| (r + chunk.len(), b + chunk.held.bytes()));
        Run { chunks, firsts, rows, bytes }
    }

    /// The net rows of `deltas`, or `None` when nothing is left of them.
    pub fn of(schema: &SchemaRef, key: &[usize], deltas: &[Delta]) -> Result<Option<Run>> {
        Run::with_ids(schema, deltas, |rows| ids_of(rows, key))
    }

    /// The rows of `deltas`, each of them another: its number stands for the hash of its columns. `next`: the next number.
    pub fn numbered(schema: &SchemaRef, key: &[usize], deltas: &[Delta], next: &mut u64) -> Result<Option<Run>> {
        Run::with_ids(schema, deltas, |rows| {
            let columns: Vec<ArrayRef> = key.iter().map(|&column| rows.column(column).clone()).collect();
            let keys = hash_rows(&columns, rows.num_rows(), KEY_SEED)?;
            let first = *next;
            *next += keys.len() as u64;
            Ok(keys.into_iter().zip(first..).map(|(key, row)| RowId { key, row }).collect())
        })
    }

    /// The net rows of `deltas` in the order of the values of a column.
    pub fn by_value(schema: &SchemaRef, column: usize, deltas: &[Delta]) -> Result<Option<Run>> {
        Run::with_ids(schema, deltas, |rows| ids_by_value(rows, column))
    }

    fn with_ids(
        schema: &SchemaRef,
        deltas: &[Delta],
        mut ids_of: impl FnMut(&RecordBatch) -> Result<Vec<RowId>>,
    ) -> Result<Option<Run>> {
        let mut entries = Vec::with_capacity(deltas.iter().map(Delta::len).sum());
        for (batch, delta) in deltas.iter().enumerate() {
            let ids = ids_of(delta.rows())?;
            entries.extend(ids.into_iter().enumerate().map(|(row, id)| Entry {
                id,
                batch: batch as u32,
                row: row as u32,
                weight: delta.weight(row),
            }));
        }
        sort(&mut entries);
        consolidate(&mut entries);
        let chunks = entries.chunks(CHUNK_ROWS).map(|part| gather(schema, deltas, part).map(Arc::new));
        let chunks = chunks.collect::<Result<Vec<_>>>()?;
        Ok((!chunks.is_empty()).then(|| Run::from_chunks(chunks)))
    }

    /// The rows whose time in `column` is after `passed`, and those without one; `None` when there are none.
    pub fn after(&self, schema: &SchemaRef, column: usize, passed: i64) -> Result<Option<Run>> {
        let mut chunks = Vec::with_capacity(self.chunks.len());
        for chunk in &self.chunks {
            let times = times_of(&chunk.rows, column);
            let stays = |row: &usize| time_of(times, *row).is_none_or(|time| time > passed);
            let stay: Vec<usize> = (0..chunk.len()).filter(stays).collect();
            match stay.len() {
                0 => {}
                all if all == chunk.len() => chunks.push(chunk.clone()),
                _ => chunks.push(Arc::new(chunk.part(schema, &stay)?)),
            }
        }
        Ok((!chunks.is_empty()).then(|| Run::from_chunks(chunks)))
    }

    /// The chunks, in order.
    pub fn chunks(&self) -> &[Arc<Chunk>] {
        &self.chunks
    }

    /// How many rows have keys in a range.
    pub fn count_in_range(&self, range: &RangeInclusive<u64>) -> usize {
        let before = |chunk: &Chunk| chunk.keys.partition_point(|key| key < range.start());
        let until = |chunk: &Chunk| chunk.keys.partition_point(|key| key <= range.end());
        self.chunks.iter().map(|chunk| until(chunk).saturating_sub(before(chunk))).sum()
    }

    /// The rows whose keys are in a range.
    pub fn in_range(&self, range: &RangeInclusive<u64>) -> impl Iterator<Item = Delta> {
        let first = self.chunk_of_key(*range.start());
        let chunks = self.chunks[first..].iter().take_while(|chunk| chunk.id(0).key <= *range.end());
        let rows = chunks.map(|chunk| {
            let start = chunk.keys.partition_point(|key| key < range.start());
            let end = chunk.keys.partition_point(|key| key <= range.end()).max(start);
            let weights = chunk.weights[start..end].to_vec();
            Delta::new(chunk.rows.slice(start, end - start), Weights::Each(weights.into()))
        });
        rows.collect::<Vec<_>>().into_iter().filter(|delta| !delta.is_empty())
    }

    /// The least key that is not less than one.
    pub fn first_key_from(&self, key: u64) -> Option<u64> {
        self.chunks[self.chunk_of_key(key)..].iter().find_map(|chunk| {
            let at = chunk.keys.partition_point(|known| *known < key);
            chunk.keys.get(at).copied()
        })
    }

    /// How many rows it has.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Never, inside an arrangement.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Bytes of memory, nearly, without what is on disk.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The first chunk that can hold rows of this key hash.
    #[inline]
    pub fn chunk_of_key(&self, key: u64) -> usize {
        self.firsts.partition_point(|first| first.key < key).saturating_sub(1)
    }

    /// The chunk that holds this identity, if any does.
    pub fn chunk_of(&self, id: RowId) -> Option<&Arc<Chunk>> {
        let after = self.firsts.partition_point(|first| *first <= id);
        after.checked_sub(1).map(|at| &self.chunks[at])
    }

    /// The weight of the row with this identity; zero when it is not here.
    pub fn weight(&self, id: RowId) -> i64 {
        self.chunk_of(id).and_then(|chunk| chunk.find(id).map(|row| chunk.weights[row])).unwrap_or(0)
    }
}

/// A row of a delta on its way into a run.
#[derive(Clone, Copy)]
struct Entry {
    id: RowId,
    batch: u32,
    row: u32,
    weight: i64,
}

/// Sorts by identity. Hashes are spread evenly, so one pass over buckets of about sixteen entries does most of it.
fn sort(entries: &mut Vec<Entry>) {
    if entries.len() < 256 {
        return entries.sort_unstable_by_key(|entry| entry.id);
    }
    let (low, high) = entries.iter().fold((u64::MAX, 0), |(l, h), e| (l.min(e.id.key), h.max(e.id.key)));
    let bits = (entries.len() / 16).ilog2() + 1;
    let shift = (u64::BITS - (high - low).leading_zeros()).saturating_sub(bits);
    let bucket = |entry: &Entry| ((entry.id.key - low) >> shift) as usize;
    let mut starts = vec![0u32; (1 << bits) + 1];
    entries.iter().for_each(|entry| starts[bucket(entry) + 1] += 1);
    (1..starts.len()).for_each(|i| starts[i] += starts[i - 1]);
    let mut next = starts.clone();
    let mut sorted = entries.clone();
    for entry in entries.iter() {
        let at = &mut next[bucket(entry)];
        sorted[*at as usize] = *entry;
        *at += 1;
    }
    for bounds in starts.windows(2) {
        sorted[bounds[0] as usize..bounds[1] as usize].sort_unstable_by_key(|entry| entry.id);
    }
    *entries = sorted;
}

/// Sums the weights of equal identities and drops those that come to nothing.
fn consolidate(entries: &mut Vec<Entry>) {
    entries.dedup_by(|later, earlier| {
        let same = later.id == earlier.id;
        if same {
            earlier.weight += later.weight;
        }
        same
    });
    entries.retain(|entry| entry.weight != 0);
}

fn gather(schema: &SchemaRef, deltas: &[Delta], entries: &[Entry]) -> Result<Chunk> {
    let rows = match deltas {
        [delta] => take_rows(schema, delta.rows(), entries.iter().map(|entry| entry.row))?,
        _ => {
            let batches: Vec<_> = deltas.iter().map(Delta::rows).collect();
            let indices: Vec<_> = entries.iter().map(|e| (e.batch as usize, e.row as usize)).collect();
            interleave_rows(schema, &batches, &indices, 0..schema.fields().len())?
        }
    };
    let keys = entries.iter().map(|entry| entry.id.key).collect();
    let hashes = entries.iter().map(|entry| entry.id.row).collect();
    Ok(Chunk::new(keys, hashes, entries.iter().map(|entry| entry.weight).collect(), compact_rows(rows)?))
}
