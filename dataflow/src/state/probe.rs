//! The rows of many keys at once.

use super::gather::interleave_rows;
use super::key::{hash_is_exact, rows_without_null, same_keys};
use super::run::{Chunk, RowId, Run};
use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::{interleave, take};
use arrow::datatypes::SchemaRef;
use millrace_types::hash::{KEY_SEED, hash_rows};
use millrace_types::{Delta, Result, Weights};
use std::sync::Arc;

/// Where the rows of the probed keys stand; [`next`](Probe::next_matches) hands them out in bounded pieces.
pub struct Probe {
    keys: Vec<ArrayRef>,
    stored_key: Vec<usize>,
    chunks: Vec<Arc<Chunk>>,
    /// In the order of runs, then of probed rows.
    ranges: Vec<Stretch>,
    /// The next stretch to hand out, and how many of its rows already were.
    next: (usize, u32),
    /// Whether equal hashes prove equal keys here.
    exact: bool,
}

/// How many rows are looked up together.
const AHEAD: usize = 256;

/// Rows `start..end` of a chunk, which have the key hash of the probed row.
struct Stretch {
    probe: u32,
    chunk: u32,
    start: u32,
    end: u32,
}

impl Probe {
    /// Looks up `rows` keys, given by column. `stored_key`: the key columns of the runs, whose hash orders them.
    /// A key with a NULL in a column for which `nulls_match` is false has no rows.
    pub fn new<'a>(
        runs: impl Iterator<Item = &'a Arc<Run>>,
        stored_key: &[usize],
        keys: Vec<ArrayRef>,
        rows: usize,
        nulls_match: &[bool],
    ) -> Result<Probe> {
        let hashes = hash_rows(&keys, rows, KEY_SEED)?;
        let strict = keys.iter().zip(nulls_match).filter(|(_, nulls_match)| !**nulls_match);
        let valid = rows_without_null(strict.map(|(key, _)| key));
        let stored_key = stored_key.to_vec();
        let mut probe = Probe { keys, stored_key, chunks: vec![], ranges: vec![], next: (0, 0), exact: false };
        for run in runs {
            let mut places = vec![u32::MAX; run.chunks().len()];
            for (block, hashes) in hashes.chunks(AHEAD).enumerate() {
                let chunk = |hash: u64| &run.chunks()[run.chunk_of_key(hash)];
                // One read per row in a loop of nothing else: the cache misses of a block overlap.
                std::hint::black_box(hashes.iter().fold(0, |read, &hash| read ^ chunk(hash).near(hash)));
                for (row, &hash) in hashes.iter().enumerate() {
                    let row = block * AHEAD + row;
                    if valid.as_ref().is_none_or(|valid| valid.is_valid(row)) {
                        probe.find(run, row as u32, hash, &mut places);
                    }
                }
            }
        }
        let stored = |chunk: &Chunk| -> Vec<ArrayRef> {
            probe.stored_key.iter().map(|&column| chunk.rows.column(column).clone()).collect()
        };
        probe.exact = hash_is_exact(&probe.keys) && probe.chunks.iter().all(|chunk| hash_is_exact(&stored(chunk)));
        Ok(probe)
    }

    /// Notes the rows of one key in one run; `places` remembers where in `self.chunks` each chunk of the run stands.
    #[inline]
    fn find(&mut self, run: &Run, probe: u32, hash: u64, places: &mut [u32]) {
        let first = run.chunk_of_key(hash);
        for (chunk, place) in run.chunks()[first..].iter().zip(&mut places[first..]) {
            let start = chunk.seek(hash);
            let end = chunk.end_of_key(start, hash);
            if start < end {
                if *place == u32::MAX {
                    *place = self.chunks.len() as u32;
                    self.chunks.push(chunk.clone());
                }
                self.ranges.push(Stretch { probe, chunk: *place, start: start as u32, end: end as u32 });
            }
            // The key's rows go on in the next chunk only if they reach the end of this one.
            if end < chunk.len() {
                break;
            }
        }
    }

    /// The next matches, about `most` of them; `None` when there are no more.
    pub fn next_matches(&mut self, most: usize) -> Result<Option<Matches<'_>>> {
        let mut matches = Matches { probe: Vec::new(), at: Vec::new(), chunks: &self.chunks };
        while let Some(stretch) = self.ranges.get(self.next.0) {
            let start = stretch.start + self.next.1;
            let end = stretch.end.min(start.saturating_add((most - matches.at.len()) as u32));
            matches.probe.extend((start..end).map(|_| stretch.probe));
            matches.at.extend((start..end).map(|row| (stretch.chunk as usize, row as usize)));
            self.next = if end == stretch.end { (self.next.0 + 1, 0) } else { (self.next.0, end - stretch.start) };
            if matches.at.len() >= most {
                break;
            }
        }
        if matches.at.is_empty() {
            return Ok(None);
        }
        if !self.exact {
            matches.keep_same_keys(&self.keys, &self.stored_key)?;
        }
        Ok(Some(matches))
    }
}

/// Pairs of a probed row and a stored one.
pub struct Matches<'a> {
    /// The probed rows.
    pub probe: Vec<u32>,
    at: Vec<(usize, usize)>,
    chunks: &'a [Arc<Chunk>],
}

impl Matches<'_> {
    /// How many pairs.
    pub fn len(&self) -> usize {
        self.probe.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.probe.is_empty()
    }

    /// The weight of the stored row of a pair.
    #[inline]
    pub fn weight(&self, pair: usize) -> i64 {
        let (chunk, row) = self.at[pair];
        self.chunks[chunk].weights[row]
    }

    /// The identity of the stored row of a pair.
    #[inline]
    pub fn id(&self, pair: usize) -> RowId {
        let (chunk, row) = self.at[pair];
        self.chunks[chunk].id(row)
    }

    /// The stored row of a pair, where it stands.
    pub fn row(&self, pair: usize) -> Delta {
        let (chunk, row) = self.at[pair];
        Delta::new(self.chunks[chunk].rows.slice(row, 1), Weights::Each(vec![self.weight(pair)].into()))
    }

    /// A column of the stored rows.
    pub fn column(&self, column: usize) -> Result<ArrayRef> {
        let sources: Vec<_> = self.chunks.iter().map(|chunk| chunk.rows.column(column).as_ref()).collect();
        Ok(interleave(&sources, &self.at)?)
    }

    /// The stored rows, whole.
    pub fn rows(&self, schema: &SchemaRef) -> Result<RecordBatch> {
        let sources: Vec<_> = self.chunks.iter().map(|chunk| &chunk.rows).collect();
        interleave_rows(schema, &sources, &self.at, 0..schema.fields().len())
    }

    /// The stored rows with their net weights, and the probed row of each, ascending: of the rows that stand in several
    /// runs one is left, and none of those that come to nothing. All rows of the probed keys must be here.
    pub fn net(mut self, schema: &SchemaRef) -> Result<(Vec<u32>, Vec<i64>, RecordBatch)> {
        let mut pairs: Vec<_> = (0..self.len()).map(|at| (self.probe[at], self.id(at), self.weight(at), at)).collect();
        pairs.sort_unstable_by_key(|(probe, id, ..)| (*probe, *id));
        pairs.dedup_by(|later, earlier| {
            let same = (later.0, later.1) == (earlier.0, earlier.1);
            if same {
                earlier.2 += later.2;
            }
            same
        });
        pairs.retain(|(_, _, weight, _)| *weight != 0);
        self.at = pairs.iter().map(|(.., at)| self.at[*at]).collect();
        self.probe = pairs.iter().map(|(probe, ..)| *probe).collect();
        let rows = self.rows(schema)?;
        Ok((self.probe, pairs.into_iter().map(|(_, _, weight, _)| weight).collect(), rows))
    }

    fn keep_same_keys(&mut self, keys: &[ArrayRef], stored_key: &[usize]) -> Result<()> {
        let indices = UInt32Array::from(self.probe.clone());
        let probed: Vec<_> = keys.iter().map(|key| take(key, &indices, None)).collect::<Result<_, _>>()?;
        let stored: Vec<_> = stored_key.iter().map(|&column| self.column(column)).collect::<Result<_>>()?;
        let same = same_keys(&probed, &stored, self.len())?;
        if same.true_count() < self.len() {
            let mut keep = same.values().iter();
            self.probe.retain(|_| keep.next().unwrap_or(false));
            let mut keep = same.values().iter();
            self.at.retain(|_| keep.next().unwrap_or(false));
        }
        Ok(())
    }
}
