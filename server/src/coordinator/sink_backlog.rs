//! What waits for a sink that is slow, or whose peer is away, goes to disk where memory has no room for it.
//!
//! ```text
//!   handed over:   | written | next ... in memory | ... in files, 16 MiB each ... | newest, in memory |
//! ```
//!
//! What has come last goes, for what has come first is needed first. A file is gone when its last row is written.

use super::checkpoint::{weighted, with_weights, without_weights};
use super::sink_progress::{Handed, Progress};
use millrace_dataflow::state::{compact_rows, on_disk};
use millrace_types::{Delta, Result, SqlError};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// Bytes of rows that wait for a sink in memory before more go to disk.
const IN_MEMORY: usize = 64 << 20;
/// Bytes of rows that go to disk at once.
const FILE_BYTES: usize = 16 << 20;
/// How long after a disk has taken nothing it is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// Moves what waits for a sink to disk if it is much, on a thread of its own: the clock waits for no disk. `relieved`:
/// whether that is being done.
pub fn relieve(progress: &Arc<Mutex<Progress>>, relieved: &Arc<AtomicBool>) {
    let is_much = progress.lock().has_in_memory(IN_MEMORY, FILE_BYTES);
    if !is_much || relieved.swap(true, Ordering::AcqRel) {
        return;
    }
    let (progress, done) = (progress.clone(), relieved.clone());
    let work = move || {
        if let Err(error) = move_newest(&progress) {
            tracing::warn!(%error, "rows that wait for a sink could not be written to disk");
            thread::sleep(PAUSE);
        }
        done.store(false, Ordering::Release);
    };
    if let Err(error) = thread::Builder::new().name("sink-backlog".to_owned()).spawn(work) {
        tracing::warn!(%error, "rows that wait for a sink stay in memory");
        relieved.store(false, Ordering::Release);
    }
}

fn move_newest(progress: &Mutex<Progress>) -> Result<()> {
    // The lock is not held while the disk works.
    let newest = progress.lock().newest(FILE_BYTES);
    if let Some(moved) = newest.map(moved).transpose()?.flatten() {
        progress.lock().moved(moved);
    }
    Ok(())
}

/// The same in a file; `None` when there is no folder for it.
fn moved(handed: Vec<(u64, Handed)>) -> Result<Option<Vec<(u64, Handed)>>> {
    let deltas: Vec<&Delta> = handed.iter().flat_map(|(_, handed)| &handed.deltas).collect();
    let mut read = Vec::with_capacity(deltas.len());
    for alike in deltas.chunk_by(|one, next| one.rows().schema_ref() == next.rows().schema_ref()) {
        let schema = weighted(alike[0].rows().schema_ref());
        let batches = alike.iter().map(|delta| compact_rows(with_weights(delta, &schema)?));
        let Some(batches) = on_disk(&schema, &batches.collect::<Result<Vec<_>>>()?)? else { return Ok(None) };
        for batch in &batches {
            read.push(without_weights(batch)?.ok_or_else(|| SqlError::internal("rows that lost their weights"))?);
        }
    }
    let mut read = read.into_iter();
    let again = handed.into_iter().map(|(number, handed)| {
        let deltas = read.by_ref().take(handed.deltas.len()).collect();
        (number, Handed { deltas, is_on_disk: true, ..handed })
    });
    Ok(Some(again.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coordinator::sink_progress::Waiting;
    use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringViewArray};
    use millrace_dataflow::state::limit_memory;
    use millrace_types::{Tick, Weights};

    fn delta(tick: u64) -> Delta {
        let text = |n: u64| (!n.is_multiple_of(3)).then(|| format!("{tick}-{n}-{}", "x".repeat(1000)));
        let texts: ArrayRef = Arc::new((0..3_000).map(text).collect::<StringViewArray>());
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..3_000));
        let rows = RecordBatch::try_from_iter_with_nullable([("n", numbers, true), ("t", texts, true)]).unwrap();
        Delta::new(rows, Weights::Each((0..3_000).map(|n| n % 5 - 2).collect()))
    }

    #[test]
    fn what_goes_to_disk_is_the_same_and_is_written_in_order() {
        let folder = tempfile::tempdir().unwrap();
        limit_memory(usize::MAX, folder.path());
        let waiting = Arc::new(Waiting::default());
        let progress = Mutex::new(Progress::new(Tick(0), Some("0".to_owned()), waiting.clone()));
        let in_memory = || waiting.in_memory.load(Ordering::Relaxed);
        let on_disk = || waiting.on_disk.load(Ordering::Relaxed);
        let hand = |tick| progress.lock().hand(Handed::new(Tick(tick), vec![delta(tick), delta(tick + 100)]));
        (11..=20).for_each(hand);
        progress.lock().wrote();
        let all = in_memory();
        move_newest(&progress).unwrap();
        assert!(on_disk() >= FILE_BYTES && in_memory() + on_disk() == all);
        assert!(!progress.lock().has_in_memory(FILE_BYTES, FILE_BYTES), "what is behind the disk's is little");
        (21..=30).for_each(hand);
        assert!(progress.lock().has_in_memory(FILE_BYTES, FILE_BYTES));
        move_newest(&progress).unwrap();
        assert!(on_disk() >= 2 * FILE_BYTES);
        hand(31);
        for tick in 12..=31 {
            let next = progress.lock().next().cloned().unwrap();
            assert_eq!(next.tick, Tick(tick));
            for (found, expected) in next.deltas.iter().zip([delta(tick), delta(tick + 100)]) {
                assert_eq!(found.rows(), expected.rows());
                assert_eq!(found.weights_buffer(), expected.weights_buffer());
            }
            progress.lock().wrote();
        }
        assert!(progress.lock().next().is_none());
        assert_eq!((in_memory(), on_disk()), (0, 0));
    }
}
