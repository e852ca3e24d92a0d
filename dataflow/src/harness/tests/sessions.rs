//! Aggregates in sessions, and groups that are given once, against doing it by hand over all rows.

use super::event_time::{Timed, moment, timed_batch, timed_schema};
use super::*;
use millrace_ir::{Closing, Sessions};
use millrace_types::EventTime;

const GAP: i64 = 7;

fn calls() -> Vec<millrace_ir::Aggregate> {
    let call = |function, argument: Option<usize>, data_type| millrace_ir::Aggregate {
        function,
        argument,
        distinct: false,
        filter: None,
        output: Arc::new(Field::new("value", data_type, true)),
    };
    vec![
        call(AggregateFunction::Count, None, DataType::Int64),
        call(AggregateFunction::Sum, Some(2), DataType::Decimal128(38, 0)),
        call(AggregateFunction::Min, Some(2), DataType::Int64),
        call(AggregateFunction::Max, Some(2), DataType::Int64),
    ]
}

fn schema_of(sides: &[&str]) -> SchemaRef {
    let mut fields = vec![Field::new("k", DataType::Int64, true)];
    fields.extend(sides.iter().map(|name| Field::new(*name, moment(), true)));
    fields.extend(calls().iter().map(|call| call.output.as_ref().clone()));
    Arc::new(Schema::new(fields))
}

/// By key in sessions, or by key and time.
fn aggregate(sessions: bool, append_only: bool, closing: Option<Closing>, once: bool) -> Harness {
    let options = AggregateOptions {
        append_only,
        partitioned_by: vec![0],
        owns_empty_key: true,
        sessions: sessions.then_some(Sessions { time: 1, gap: GAP }),
        closing,
        once,
    };
    let (schema, keys) = match sessions {
        true => (schema_of(&["start", "end"]), vec![0]),
        false => (schema_of(&["ts"]), vec![0, 1]),
    };
    Harness::new(Aggregate::new(&timed_schema(&[]), schema, keys, &calls(), options).unwrap())
}

/// The groups of rows; `gap`: in sessions.
fn by_hand(rows: &[Timed], gap: Option<i64>) -> Bag {
    let mut rows = rows.to_vec();
    rows.sort_unstable();
    let together = |a: &Timed, b: &Timed| a.0 == b.0 && b.1 - a.1 <= gap.unwrap_or(0);
    let mut bag = Bag::new();
    for group in rows.chunk_by(together) {
        let ids = || group.iter().map(|row| row.2);
        let time = |micros| {
            let times = TimestampMicrosecondArray::from_iter_values([micros]);
            let batch = RecordBatch::try_from_iter([("time", Arc::new(times) as ArrayRef)]).unwrap();
            crate::harness::texts(&batch).unwrap().swap_remove(0).swap_remove(0)
        };
        let mut row = vec![Some(group[0].0.to_string()), time(group[0].1)];
        row.extend(gap.map(|gap| time(group[group.len() - 1].1 + gap)));
        let values = [group.len() as i64, ids().sum(), ids().min().unwrap(), ids().max().unwrap()];
        row.extend(values.map(|value| Some(value.to_string())));
        bag.insert(row, 1);
    }
    bag
}

fn changes(random: &mut Random, rows: &mut Vec<Timed>, retracts: bool, row: impl Fn(&mut Random) -> Timed) -> Delta {
    let (mut changed, mut weights) = (vec![], vec![]);
    for _ in 0..1 + random.below(40) {
        if retracts && !rows.is_empty() && random.below(5) < 2 {
            changed.push(rows.swap_remove(random.below(rows.len() as u64) as usize));
            weights.push(-1);
        } else {
            changed.push(row(random));
            rows.extend(changed.last());
            weights.push(1);
        }
    }
    let weights = if retracts { Weights::Each(weights.into()) } else { Weights::Ones };
    Delta::new(timed_batch(&changed), weights)
}

#[test]
fn sessions_come_to_what_their_rows_do() {
    // Dense times make sessions that merge, sparse ones many of a key.
    for (span, keys) in [(200, 3), (3_000, 2), (100_000, 1), (100_000, 40)] {
        let mut random = Random(span);
        let make = |_, _| aggregate(true, true, None, false);
        let (mut rows, mut workers): (Vec<Timed>, _) = (vec![], Workers::new(make, vec![vec![0]]));
        for tick in 0..150 {
            for _ in 0..random.below(3) {
                let row = |random: &mut Random| {
                    let time = random.below(span) as i64 - span as i64 / 2;
                    (random.below(keys) as i64, time, random.below(9) as i64)
                };
                workers.batch(0, &changes(&mut random, &mut rows, false, row));
            }
            workers.tick();
            assert_eq!(workers.total(), by_hand(&rows, Some(GAP)), "{span}, tick {tick}");
            if random.below(10) == 0 {
                workers.restart(1 + random.below(4) as usize);
            }
        }
    }
}

#[test]
fn groups_are_given_once() {
    for (sessions, retracts, span) in [(true, false, 60), (true, false, 2_000), (false, false, 60), (false, true, 60)] {
        let mut random = Random(span);
        let closing = Closing { column: if sessions { 2 } else { 1 }, delay: 1 };
        let make = |_, _| aggregate(sessions, !retracts, Some(closing), true);
        let mut workers = Workers::new(make, vec![vec![0]]);
        workers.workers[0].watermark(0, EventTime(0)).unwrap();
        workers.tick();
        let (mut open, mut watermark, mut given) = (Vec::<Timed>::new(), 0i64, Bag::new());
        let gap = sessions.then_some(GAP);
        for tick in 0..200 {
            for _ in 0..random.below(3) {
                let row = |random: &mut Random| {
                    let time = watermark + random.below(span) as i64;
                    (random.below(5) as i64, time, random.below(9) as i64)
                };
                workers.batch(0, &changes(&mut random, &mut open, retracts, row));
            }
            if !sessions {
                // What comes after its group was given changes nothing.
                workers.batch(0, &Delta::inserts(timed_batch(&[(1, watermark - 5, 1), (2, watermark - 1, 100)])));
            }
            watermark += random.below(span) as i64 / 4;
            for worker in &mut workers.workers {
                worker.watermark(0, EventTime(watermark)).unwrap();
            }
            let mut all = open.clone();
            all.sort_unstable();
            let together = |a: &Timed, b: &Timed| a.0 == b.0 && b.1 - a.1 <= gap.unwrap_or(0);
            let groups: Vec<Vec<Timed>> = all.chunk_by(together).map(<[Timed]>::to_vec).collect();
            let (closed, rest): (Vec<_>, Vec<_>) =
                groups.into_iter().partition(|group| group[group.len() - 1].1 + gap.unwrap_or(0) < watermark);
            given.append(&mut by_hand(&closed.concat(), gap));
            open = rest.concat();
            workers.tick();
            assert_eq!(workers.total(), given, "{sessions} {retracts} {span}, tick {tick}");
            if random.below(10) == 0 {
                workers.restart(1 + random.below(4) as usize);
                for worker in &mut workers.workers {
                    worker.watermark(0, EventTime(watermark)).unwrap();
                }
                workers.tick();
            }
        }
        assert!(given.len() > 100);
    }
}

#[test]
fn infinite_times_are_errors() {
    let mut harness = aggregate(true, true, None, false);
    harness.batch(0, Delta::inserts(timed_batch(&[(1, i64::MAX, 1), (1, 5, 1), (1, i64::MIN, 1)]))).unwrap();
    harness.tick().unwrap();
    assert_eq!(harness.accumulated().len(), 1);
    assert_eq!(harness.errors().iter().map(|error| error.weight).sum::<i64>(), 2);
}
