//! Watermarks and late rows under many batchings of the same splits.

use super::*;
use arrow::array::TimestampMicrosecondArray;
use arrow::datatypes::{DataType, TimeUnit};
use millrace_planner::{Catalog, FunctionSource, Relation};
use millrace_types::hash::mix;

/// Numbers that are the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(1);
        mix(self.0) % n
    }
}

struct Nothing;

impl Catalog for Nothing {
    fn relation(&self, _: &[String]) -> Result<Option<Arc<Relation>>> {
        Ok(None)
    }
}

const NOW: EventTime = EventTime(1_000_000_000);

fn timed(late: Late, idle_timeout: Option<i64>, max_future_skew: Option<i64>) -> Arc<Timed> {
    let moment = DataType::Timestamp(TimeUnit::Microsecond, None);
    let columns = Arc::new(Schema::new(vec![Field::new("at", moment, true)]));
    let sql = "at - INTERVAL '10 microseconds'".to_owned();
    let functions = FunctionSource::postgres().unwrap();
    let expression = WatermarkExpression::bind(&sql, 0, "s", &columns, &Nothing, &functions).unwrap();
    let definition = Watermark { sql, idle_timeout, max_future_skew, late };
    Arc::new(Timed { expression, definition, column: 0, width: 1 })
}

fn rows(times: &[Option<i64>]) -> RecordBatch {
    let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from(times.to_vec()));
    RecordBatch::try_from_iter_with_nullable([("at", times, true)]).unwrap()
}

/// Splits with rows in disorder, NULLs among them.
fn splits(random: &mut Random) -> Vec<Vec<Option<i64>>> {
    let mut all = vec![];
    for _ in 0..3 {
        let mut time = random.below(50) as i64;
        let mut rows = vec![];
        for _ in 0..random.below(60) {
            time += random.below(45) as i64 - 20;
            rows.push((random.below(12) > 0).then_some(time));
        }
        all.push(rows);
    }
    all
}

/// What the hidden columns say of each row, by its number, and the watermark in the end.
fn replay(splits: &[Vec<Option<i64>>], late: Late, random: &mut Random) -> (Vec<(i64, i64, i64)>, Option<EventTime>) {
    let timed = timed(late, None, None);
    let held = timed.held([0, 1, 2].into(), false);
    let mut time = RelationTime::new(timed.clone(), false);
    (0..splits.len()).for_each(|split| time.know(split as u32, "s", NOW));
    let mut left: Vec<&[Option<i64>]> = splits.iter().map(Vec::as_slice).collect();
    let (mut seen, mut last) = (vec![], None);
    while left.iter().any(|rows| !rows.is_empty()) {
        let split = random.below(left.len() as u64) as usize;
        let count = random.below(left[split].len().min(9) as u64 + 1) as usize;
        let (now, later) = left[split].split_at(count);
        left[split] = later;
        let batch = rows(now);
        let marks = timed.expression.times(&batch);
        let stamped = time.stamp(split as u32, batch, &marks, &held, NOW).unwrap();
        let column = |at: usize| micros(stamped.rows.column(at)).unwrap();
        for row in 0..stamped.rows.num_rows() {
            let value = |at: usize| if column(at).is_null(row) { i64::MIN } else { column(at).value(row) };
            seen.push((value(2), value(0), value(1)));
        }
        if random.below(3) == 0 {
            time.advance(NOW);
            assert!(time.watermark >= last, "a watermark goes back");
            last = time.watermark;
        }
    }
    time.advance(NOW);
    seen.sort_unstable();
    (seen, time.watermark)
}

#[test]
fn what_is_late_follows_from_the_order_of_each_split_alone() {
    for seed in 0..60 {
        let splits = splits(&mut Random(seed * 7919));
        for late in [Late::Window, Late::Drop] {
            let first = replay(&splits, late, &mut Random(seed * 7919));
            for batching in 0..8 {
                let again = replay(&splits, late, &mut Random(104_729 * seed + batching));
                assert_eq!(first, again, "seed {seed}, batching {batching}");
            }
            let expected: Vec<Option<i64>> =
                splits.iter().map(|rows| rows.iter().flatten().max().map(|time| time - 10)).collect();
            let least = expected.into_iter().collect::<Option<Vec<_>>>().and_then(|all| all.into_iter().min());
            assert_eq!(first.1, least.map(EventTime), "seed {seed}");
        }
    }
}

#[test]
fn late_rows_are_told_from_the_others() {
    let timed = timed(Late::Drop, None, None);
    let held = timed.held([0].into(), false);
    let mut time = RelationTime::new(timed.clone(), false);
    time.know(0, "s", NOW);
    let batch = rows(&[Some(100), Some(95), Some(89), None, Some(90), Some(200), Some(189)]);
    let marks = timed.expression.times(&batch);
    let stamped = time.stamp(0, batch, &marks, &held, NOW).unwrap();
    assert_eq!(stamped.rows, rows(&[Some(100), Some(95), None, Some(90), Some(200)]));
    let late = stamped.late.unwrap();
    assert_eq!(late.rows, rows(&[Some(89), Some(189)]));
    assert_eq!((late.numbers, late.watermarks), (vec![2, 6], Int64Array::from(vec![90, 190])));
    assert_eq!((time.splits[&0].rows, time.splits[&0].late), (7, 2));
}

fn feed(time: &mut RelationTime, split: u32, times: &[i64], now: i64) {
    let batch = rows(&times.iter().copied().map(Some).collect::<Vec<_>>());
    let timed = time.timed.clone();
    let marks = timed.expression.times(&batch);
    if let Some(to) = time.wakes(split) {
        time.raise_split(split, to);
    }
    time.stamp(split, batch, &marks, &timed.held([0].into(), false), EventTime(now)).unwrap();
}

#[test]
fn idle_splits_hold_nothing_back_and_begin_again_at_the_watermark() {
    let mut time = RelationTime::new(timed(Late::Window, Some(1000), None), false);
    (0..2).for_each(|split| time.know(split, "s", EventTime(0)));
    feed(&mut time, 0, &[110], 500);
    assert_eq!(time.advance(EventTime(900)), (false, None));
    assert_eq!(time.next_idle(), Some(EventTime(1000)));
    assert_eq!(time.advance(EventTime(1000)), (true, Some(EventTime(100))));
    assert_eq!(time.splits[&1].state, SplitPhase::Idle);
    feed(&mut time, 1, &[50], 1200);
    assert_eq!((time.splits[&1].watermark, time.splits[&1].late), (Some(100), 1));
    // All are idle: the farthest counts.
    feed(&mut time, 0, &[310], 1300);
    assert_eq!(time.advance(EventTime(9000)), (true, Some(EventTime(300))));
    // One that comes later is as far as all were.
    time.know(2, "s", EventTime(9000));
    assert_eq!(time.splits[&2].watermark, Some(300));
}

#[test]
fn a_row_of_the_future_moves_nothing() {
    let mut time = RelationTime::new(timed(Late::Window, None, Some(1000)), false);
    time.know(0, "s", EventTime(0));
    feed(&mut time, 0, &[100, 5000, 120], 500);
    assert_eq!((time.splits[&0].watermark, time.splits[&0].ahead, time.splits[&0].late), (Some(110), 1, 0));
}

#[test]
fn what_is_read_to_its_end_waits_for_nothing() {
    let mut time = RelationTime::new(timed(Late::Window, None, None), true);
    (0..2).for_each(|split| time.know(split, "s", EventTime(0)));
    feed(&mut time, 0, &[100], 0);
    time.finish(1);
    assert_eq!(time.advance(NOW), (true, Some(EventTime(90))));
    time.finish(0);
    assert_eq!(time.advance(NOW), (true, Some(EventTime(i64::MAX))));
}
