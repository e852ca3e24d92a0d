//! The runs of one relation, kept few by merging.

use super::merge::Merge;
use super::run::Run;
use crate::operator::StateSize;
use arrow::datatypes::SchemaRef;
use millrace_types::{Delta, Result};
use std::slice::from_ref;
use std::sync::Arc;

/// A relation's net rows in hash order of the columns `key`: see the [module](super).
#[derive(Debug)]
pub struct Arrangement {
    schema: SchemaRef,
    key: Vec<usize>,
    /// Whether the values of the one key column order the rows, and not their hash.
    by_value: bool,
    /// Whether runs may share the memory of strings.
    shares: bool,
    /// The number of the next row, if rows are told apart by numbers.
    next_row: Option<u64>,
    /// Oldest and largest first.
    slots: Vec<Slot>,
}

/// A place in the geometric row of runs.
#[derive(Debug)]
enum Slot {
    One(Arc<Run>),
    /// Two neighbours on their way to be one; until then both are read.
    Merging(Box<Merge>),
}

/// Up to this many rows two runs are merged at once; it takes well under a millisecond.
const AT_ONCE: usize = 4_096;

/// Rows of merging work per appended row and merge. A merged run of n rows is needed when about n/3 rows more have
/// come, so at least 3 keeps the runs few; the rest is reserve.
const WORK_PER_ROW: usize = 8;

impl Arrangement {
    /// No rows yet. `key`: the columns whose hash orders the rows.
    pub fn new(schema: SchemaRef, key: Vec<usize>) -> Arrangement {
        Arrangement { schema, key, by_value: false, shares: false, next_row: None, slots: Vec::new() }
    }

    /// No rows yet; the values of a column order the rows.
    pub fn by_value(schema: SchemaRef, column: usize) -> Arrangement {
        Arrangement { by_value: true, ..Arrangement::new(schema, vec![column]) }
    }

    /// No rows yet, and nobody who looks at how much memory a batch refers to: merges leave strings where they are, and
    /// only copy them together when they stand in many places, or next to those of rows that are gone. With
    /// `append_only`, rows are numbered instead of hashed: none is ever to be found again to be taken back. (One that
    /// is taken back all the same stays beside its retraction.)
    pub fn sharing(schema: SchemaRef, key: Vec<usize>, append_only: bool) -> Arrangement {
        Arrangement { shares: true, next_row: append_only.then_some(0), ..Arrangement::new(schema, key) }
    }

    /// The columns of the rows.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The columns whose hash orders the rows.
    pub fn key(&self) -> &[usize] {
        &self.key
    }

    /// Adds the changes of `delta`.
    pub fn append(&mut self, delta: &Delta) -> Result<()> {
        self.append_all(from_ref(delta))
    }

    /// Adds the changes of all `deltas` as one run: what a tick with several batches does.
    pub fn append_all(&mut self, deltas: &[Delta]) -> Result<()> {
        let run = match (self.by_value, &self.key[..], &mut self.next_row) {
            (true, [column], _) => Run::by_value(&self.schema, *column, deltas)?,
            (_, key, Some(next)) => Run::numbered(&self.schema, key, deltas, next)?,
            (_, key, None) => Run::of(&self.schema, key, deltas)?,
        };
        match run {
            Some(run) => self.push(run),
            None => Ok(()),
        }
    }

    /// Adds a run that a snapshot had.
    pub(super) fn push_restored(&mut self, run: Run) -> Result<()> {
        if let Some(next) = &mut self.next_row {
            let numbers = run.chunks().iter().flat_map(|chunk| &chunk.hashes);
            *next = numbers.fold(*next, |next, number| next.max(number.saturating_add(1)));
        }
        self.push(run)
    }

    fn push(&mut self, run: Run) -> Result<()> {
        let work = run.len().saturating_mul(WORK_PER_ROW);
        self.slots.push(Slot::One(Arc::new(run)));
        self.maintain(work)?;
        self.restore_order()
    }

    /// Advances the merges under way by up to `rows` rows each: for idle moments. True when there is nothing to do.
    pub fn maintain(&mut self, rows: usize) -> Result<bool> {
        let mut idle = true;
        for at in (0..self.slots.len()).rev() {
            let Slot::Merging(merge) = &mut self.slots[at] else { continue };
            idle = false;
            if merge.work(&self.schema, rows)? {
                self.finish(at)?;
            }
        }
        Ok(idle)
    }

    /// Merges neighbours while the older one is less than twice as long as the newer. Where one of them is itself a
    /// merge under way it is left alone: appends pay for it before it can be in the way.
    fn restore_order(&mut self) -> Result<()> {
        while let Some(at) = (1..self.slots.len()).rev().map(|newer| newer - 1).find(|&at| self.is_due(at)) {
            let newer = self.slots.remove(at + 1);
            let (Slot::One(older), Slot::One(newer)) = (&self.slots[at], newer) else { break };
            let merge = Merge::new(older.clone(), newer, self.shares);
            let at_once = merge.len() <= AT_ONCE;
            self.slots[at] = Slot::Merging(Box::new(merge));
            if at_once {
                self.finish(at)?;
            }
        }
        Ok(())
    }

    /// Whether the run at `at` and the next one should be merged.
    fn is_due(&self, at: usize) -> bool {
        match (&self.slots[at], &self.slots[at + 1]) {
            (Slot::One(older), Slot::One(newer)) => older.len() < 2 * newer.len(),
            _ => false,
        }
    }

    /// Does what is left of the merge at `at`.
    fn finish(&mut self, at: usize) -> Result<()> {
        if let Slot::Merging(merge) = self.slots.remove(at)
            && let Some(run) = merge.finish(&self.schema)?
        {
            self.slots.insert(at, Slot::One(Arc::new(run)));
        }
        Ok(())
    }

    /// Drops all rows whose time in `column` is not after `passed`; those without a time stay. Every run is written anew.
    pub fn drop_until(&mut self, column: usize, passed: i64) -> Result<()> {
        let runs: Vec<Arc<Run>> = self.runs().cloned().collect();
        self.slots.clear();
        for run in runs {
            if let Some(run) = run.after(&self.schema, column, passed)? {
                self.slots.push(Slot::One(Arc::new(run)));
            }
        }
        self.restore_order()
    }

    /// The runs, largest first, nearly.
    pub fn runs(&self) -> impl Iterator<Item = &Arc<Run>> {
        self.slots.iter().flat_map(|slot| match slot {
            Slot::One(run) => [Some(run), None].into_iter().flatten(),
            Slot::Merging(merge) => merge.inputs().map(Some).into_iter().flatten(),
        })
    }

    /// The rows as of now, for readers; later appends do not change it.
    pub fn freeze(&self) -> Arc<[Arc<Run>]> {
        self.runs().cloned().collect()
    }

    /// How much it keeps; rows that a later run retracts count until the two merge.
    pub fn size(&self) -> StateSize {
        self.slots.iter().fold(StateSize::default(), |size, slot| StateSize {
            rows: size.rows + slot.len(),
            bytes: size.bytes + slot.bytes(),
        })
    }
}

impl Slot {
    fn len(&self) -> usize {
        match self {
            Slot::One(run) => run.len(),
            Slot::Merging(merge) => merge.len(),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Slot::One(run) => run.bytes(),
            Slot::Merging(merge) => merge.bytes(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read_model::{MaintainedPart, ReadModel};
    use crate::state::{contains_keys, lookup, net_weights};
    use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringViewArray};
    use arrow::datatypes::{DataType, Field, Int64Type, Schema};
    use millrace_types::Weights;
    use millrace_types::hash::mix;
    use std::collections::BTreeMap;

    fn schema() -> SchemaRef {
        let text = Field::new("s", DataType::Utf8View, true);
        Arc::new(Schema::new(vec![Field::new("k", DataType::Int64, true), text]))
    }

    fn text(key: i64) -> String {
        format!("the text of the key {key}, longer than a view")
    }

    fn rows(keys: &[i64]) -> RecordBatch {
        let texts = StringViewArray::from_iter_values(keys.iter().map(|&key| text(key)));
        RecordBatch::try_new(schema(), vec![Arc::new(Int64Array::from(keys.to_vec())), Arc::new(texts)]).unwrap()
    }

    /// Appends random changes, large and small, to the arrangement and to the model.
    fn churn(arrangement: &mut Arrangement, model: &mut BTreeMap<i64, i64>) {
        let mut seed = 0;
        for append in 0..400u64 {
            let size = [1, 3, 50, 4000][(mix(append) % 4) as usize];
            let (mut keys, mut weights) = (Vec::new(), Vec::new());
            for _ in 0..size {
                seed += 1;
                let key = (mix(seed) % 30_000) as i64;
                let known = model.entry(key).or_default();
                let change = if *known > 0 && mix(!seed).is_multiple_of(2) { -*known } else { 1 };
                *known += change;
                keys.push(key);
                weights.push(change);
            }
            arrangement.append(&Delta::new(rows(&keys), Weights::Each(weights.into()))).unwrap();
        }
        model.retain(|_, weight| *weight != 0);
    }

    #[test]
    fn an_arrangement_answers_as_a_map_does() {
        let (mut arrangement, mut model) = (Arrangement::new(schema(), vec![0]), BTreeMap::new());
        churn(&mut arrangement, &mut model);
        let runs = arrangement.freeze();
        assert!(runs.len() > 1, "there is something to net");
        let mut scanned = BTreeMap::new();
        for delta in crate::state::Scan::new(&runs, &schema(), None) {
            let delta = delta.unwrap();
            let (keys, texts) = (delta.rows().column(0).as_primitive::<Int64Type>(), delta.rows().column(1));
            for row in 0..delta.len() {
                assert_eq!(texts.as_string_view().value(row), text(keys.value(row)));
                assert!(scanned.insert(keys.value(row), delta.weight(row)).is_none(), "a row comes once");
            }
        }
        assert_eq!(scanned, model);
        let asked: Vec<i64> = (0..30_100).step_by(7).collect();
        let expected = asked.iter().map(|key| model.get(key).copied().unwrap_or(0));
        assert_eq!(net_weights(&runs, &[0], &rows(&asked)).unwrap(), expected.clone().collect::<Vec<_>>());
        let column: ArrayRef = Arc::new(Int64Array::from(asked.clone()));
        let there = contains_keys(&runs, &[0], std::slice::from_ref(&column)).unwrap();
        assert_eq!(there, expected.clone().map(|weight| weight > 0).collect::<Vec<_>>());
        let found = lookup(&runs, &schema(), &[0], &[column]).unwrap();
        assert_eq!(found.iter().map(Delta::len).sum::<usize>(), expected.filter(|&weight| weight > 0).count());
    }

    #[test]
    fn runs_stay_few_and_merges_finish_when_idle() {
        let mut arrangement = Arrangement::new(schema(), vec![0]);
        (0..2_000).for_each(|key| arrangement.append(&Delta::inserts(rows(&[key]))).unwrap());
        assert!(arrangement.runs().count() <= 12, "{} runs", arrangement.runs().count());
        for start in 0..30 {
            let keys: Vec<i64> = (0..3_000).map(|key| start * 3_000 + key).collect();
            arrangement.append(&Delta::inserts(rows(&keys))).unwrap();
            assert!(arrangement.runs().count() <= 24, "{} runs", arrangement.runs().count());
        }
        while !arrangement.maintain(100_000).unwrap() {}
        assert!(arrangement.slots.iter().all(|slot| matches!(slot, Slot::One(_))));
        assert!(crate::state::Scan::new(&arrangement.freeze(), &schema(), None).count() > 0);
    }

    #[test]
    fn a_small_run_does_not_keep_the_block_that_its_rows_came_in() {
        let block = rows(&(0..10_000).collect::<Vec<_>>());
        let mut arrangement = Arrangement::new(schema(), vec![0]);
        arrangement.append(&Delta::inserts(block.slice(5_000, 10))).unwrap();
        assert!(block.column(1).get_buffer_memory_size() > 300_000);
        assert!(arrangement.size().bytes < 10_000, "{} bytes", arrangement.size().bytes);
    }

    #[test]
    fn a_read_model_keeps_its_version_and_repeats_rows_by_weight() {
        let mut part = MaintainedPart::new(schema(), vec![0]);
        part.apply(&[Delta::new(rows(&[1, 2, 3]), Weights::Each(vec![1, 2, 1].into()))]).unwrap();
        let before = ReadModel::empty(schema(), vec![0], 1).with_parts(vec![part.publish()]);
        part.apply(&[Delta::retractions(rows(&[1, 2]))]).unwrap();
        let after = before.with_parts(vec![part.publish()]);
        let count = |model: &ReadModel| model.scan(Some(&[1])).map(|rows| rows.unwrap().num_rows()).sum::<usize>();
        assert_eq!((count(&before), count(&after)), (4, 2));
        let two: ArrayRef = Arc::new(Int64Array::from(vec![2, 1]));
        assert_eq!(before.lookup(std::slice::from_ref(&two)).unwrap().num_rows(), 3);
        assert_eq!(after.lookup(std::slice::from_ref(&two)).unwrap(), rows(&[2]));
        assert_eq!(after.contains_keys(&[two]).unwrap(), [true, false]);
        assert_eq!(after.net_weights(&rows(&[1, 2, 3])).unwrap(), [0, 1, 1]);
    }
}
