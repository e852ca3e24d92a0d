//! Conditions on the clock against looking at every row, and rows that come too late.

use super::*;
use crate::operators::{Reject, Temporal};
use arrow::datatypes::TimeUnit;
use datafusion::physical_expr::expressions::{BinaryExpr, lit};
use datafusion::scalar::ScalarValue;
use millrace_ir::Comparison;
use millrace_types::RelationId;

type Timed = (i64, Option<i64>);

fn timed_schema() -> SchemaRef {
    let moment = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, true), Field::new("at", moment, true)]))
}

fn timed(rows: &[(Timed, i64)]) -> Delta {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|((id, _), _)| Some(*id)).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|((_, at), _)| *at).collect::<TimestampMicrosecondArray>().with_timezone("UTC")),
    ];
    let weights: Vec<i64> = rows.iter().map(|(_, weight)| *weight).collect();
    Delta::new(RecordBatch::try_new(timed_schema(), columns).unwrap(), Weights::Each(weights.into()))
}

/// `at <comparison> now - 100 us`
fn condition(comparison: Comparison) -> Harness {
    let span = lit(ScalarValue::new_interval_mdn(0, 0, 100_000));
    let moment = BinaryExpr::new(Arc::new(Column::new("now", 0)), datafusion::logical_expr::Operator::Minus, span);
    Harness::new(Temporal::new(timed_schema(), 1, comparison, Arc::new(moment)))
}

fn holds(comparison: Comparison, at: i64, now: i64) -> bool {
    match comparison {
        Comparison::Less => at < now - 100,
        Comparison::LessOrEqual => at <= now - 100,
        Comparison::Greater => at > now - 100,
        Comparison::GreaterOrEqual => at >= now - 100,
    }
}

#[test]
fn rows_are_there_while_their_condition_holds() {
    let comparisons = [Comparison::Less, Comparison::LessOrEqual, Comparison::Greater, Comparison::GreaterOrEqual];
    for (seed, comparison) in (0..40).flat_map(|seed| comparisons.map(|comparison| (seed, comparison))) {
        let (mut random, mut now) = (Random(seed), 1000);
        let mut workers = Workers::new(|_, _| condition(comparison), vec![vec![0]]);
        let mut rows: Vec<Timed> = vec![];
        for _ in 0..30 {
            for _ in 0..random.below(4) {
                let mut changes = vec![];
                for _ in 0..1 + random.below(6) {
                    if !rows.is_empty() && random.below(3) == 0 {
                        changes.push((rows.swap_remove(random.below(rows.len() as u64) as usize), -1));
                    } else {
                        let at = (random.below(9) > 0).then(|| now - 150 + random.below(200) as i64);
                        rows.push((random.below(5) as i64, at));
                        changes.push((rows[rows.len() - 1], 1));
                    }
                }
                workers.batch(0, &timed(&changes));
            }
            now += random.below(40) as i64;
            workers.workers.iter_mut().for_each(|worker| worker.clock(EventTime(now)).unwrap());
            workers.tick();
            let mut expected = Bag::new();
            let there = rows.iter().filter(|(_, at)| at.is_some_and(|at| holds(comparison, at, now)));
            there.for_each(|row| add(&mut expected, &timed(&[(*row, 1)])).unwrap());
            assert_eq!(workers.total(), expected, "{comparison} with seed {seed} at {now}");
            // Nothing happens before the alarm, and something may at it.
            let alarm = workers.workers.iter().filter_map(|worker| worker.next_alarm()).min();
            if let Some(EventTime(alarm)) = alarm {
                let turns =
                    |at: i64| (now + 1..alarm).any(|then| holds(comparison, at, then) != holds(comparison, at, now));
                assert!(alarm > now && !rows.iter().any(|(_, at)| at.is_some_and(turns)), "alarm {alarm} at {now}");
            }
            if random.below(8) == 0 {
                workers.restart(1 + random.below(3) as usize);
                workers.workers.iter_mut().for_each(|worker| worker.clock(EventTime(now)).unwrap());
            }
        }
    }
}

#[test]
fn what_the_clock_has_passed_is_not_kept() {
    let mut harness = condition(Comparison::Greater);
    harness.batch(0, timed(&[((1, Some(1000)), 1), ((2, Some(2000)), 1), ((3, None), 1)])).unwrap();
    harness.clock(EventTime(500)).unwrap();
    harness.tick().unwrap();
    assert_eq!((harness.state_size().rows, harness.next_alarm()), (2, Some(EventTime(1100))));
    harness.clock(EventTime(1100)).unwrap();
    harness.tick().unwrap();
    assert_eq!((harness.accumulated().len(), harness.next_alarm()), (1, Some(EventTime(2100))));
    harness.clock(EventTime(5000)).unwrap();
    harness.tick().unwrap();
    assert_eq!((harness.accumulated().len(), harness.state_size().rows, harness.next_alarm()), (0, 0, None));
}

#[test]
fn rows_of_final_windows_are_rejected_by_their_numbers() {
    let moments = |times: [Option<i64>; 4]| Arc::new(TimestampMicrosecondArray::from(times.to_vec())) as ArrayRef;
    let rows = RecordBatch::try_from_iter_with_nullable([
        ("end", moments([Some(10), Some(20), Some(20), None]), true),
        ("before", moments([None, Some(20), Some(19), Some(99)]), true),
        ("number", Arc::new(Int64Array::from(vec![5, 6, 7, 8])) as ArrayRef, true),
    ]);
    let mut operator = Reject::new(RelationId(3), 0, 1, 2);
    let mut out = Output::default();
    operator.on_batch(0, Delta::inserts(rows.unwrap()), &mut out).unwrap();
    assert_eq!(out.take_rejected(), [(RelationId(3), 6)]);
    let passed: usize = out.take_deltas().iter().map(Delta::len).sum();
    assert_eq!(passed, 3);
}
