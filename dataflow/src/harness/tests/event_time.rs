//! Sessions and closing windows against doing it by hand over all rows.

use super::*;
use crate::operators::{OnClose, OnCloseOptions, Window, WindowOptions};
use arrow::compute::SortOptions;
use datafusion::logical_expr::{WindowFrame, WindowFunctionDefinition};
use datafusion::physical_expr::expressions::{Column, Literal};
use datafusion::physical_expr::{PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::windows::create_window_expr;
use datafusion::scalar::ScalarValue;
use millrace_functions::event_windows::{Sessions, Side};
use millrace_ir::{Closing, Reach, SortColumn};
use millrace_types::{EventTime, Weights};

/// A key, a time and a number that tells rows apart.
pub type Timed = (i64, i64, i64);

const GAP: i64 = 7;

pub fn moment() -> DataType {
    DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, None)
}

pub fn timed_schema(more: &[&str]) -> SchemaRef {
    let mut fields = vec![Field::new("k", DataType::Int64, true), Field::new("ts", moment(), true)];
    fields.push(Field::new("id", DataType::Int64, true));
    fields.extend(more.iter().map(|name| Field::new(*name, moment(), true)));
    Arc::new(Schema::new(fields))
}

fn times(values: impl Iterator<Item = i64>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from_iter_values(values))
}

pub fn timed_batch(rows: &[Timed]) -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|row| Some(row.0)).collect::<Int64Array>()),
        times(rows.iter().map(|row| row.1)),
        Arc::new(rows.iter().map(|row| Some(row.2)).collect::<Int64Array>()),
    ];
    RecordBatch::try_new(timed_schema(&[]), columns).unwrap()
}

/// Sessions by key of rows at most so many microseconds apart.
pub fn sessions(gap: i64, closing: Option<Closing>) -> Harness {
    let column = |name: &str, at| Arc::new(Column::new(name, at)) as Arc<dyn PhysicalExpr>;
    let length = arrow::datatypes::IntervalMonthDayNano::new(0, 0, gap * 1000);
    let length: Arc<dyn PhysicalExpr> = Arc::new(Literal::new(ScalarValue::IntervalMonthDayNano(Some(length))));
    let functions = [Side::Start, Side::End].map(|side| {
        let call = WindowFunctionDefinition::WindowUDF(Sessions::function(side));
        let order = [PhysicalSortExpr { expr: column("ts", 1), options: SortOptions::new(false, false) }];
        let (args, partition) = ([column("ts", 1), length.clone()], [column("k", 0)]);
        let frame = Arc::new(WindowFrame::new(Some(false)));
        create_window_expr(
            &call,
            "side".into(),
            &args,
            &partition,
            &order,
            frame,
            timed_schema(&[]),
            false,
            false,
            None,
        )
        .unwrap()
    });
    let options = WindowOptions {
        input: timed_schema(&[]),
        partition: vec![0],
        order: vec![SortColumn { column: 1, options: SortOptions::new(false, false) }],
        functions: functions.into(),
        reach: Reach::Session(gap),
        closing,
        schema: timed_schema(&["start", "end"]),
    };
    Harness::new(Window::new(options).unwrap())
}

/// The rows with their sessions, from scratch.
fn in_sessions(rows: &[Timed]) -> Bag {
    let mut rows = rows.to_vec();
    rows.sort_unstable();
    let (mut starts, mut ends) = (vec![0; rows.len()], vec![0; rows.len()]);
    let mut first = 0;
    for at in 0..rows.len() {
        let goes_on = rows.get(at + 1).is_some_and(|next| next.0 == rows[at].0 && next.1 - rows[at].1 <= GAP);
        if !goes_on {
            starts[first..=at].fill(rows[first].1);
            ends[first..=at].fill(rows[at].1 + GAP);
            first = at + 1;
        }
    }
    let mut columns = timed_batch(&rows).columns().to_vec();
    columns.extend([times(starts.into_iter()), times(ends.into_iter())]);
    bag(&timed_schema(&["start", "end"]), columns)
}

#[test]
fn sessions_merge_and_fall_apart() {
    for (span, keys) in [(40, 3), (400, 2), (4_000, 1)] {
        let mut random = Random(span);
        let (mut rows, mut workers): (Vec<Timed>, _) =
            (vec![], Workers::new(|_, _| sessions(GAP, None), vec![vec![0]]));
        for tick in 0..200 {
            for _ in 0..random.below(3) {
                let (mut changed, mut weights) = (vec![], vec![]);
                for _ in 0..1 + random.below(6) {
                    if !rows.is_empty() && random.below(5) < 2 {
                        changed.push(rows.swap_remove(random.below(rows.len() as u64) as usize));
                        weights.push(-1);
                    } else {
                        let time = random.below(span) as i64 - span as i64 / 2;
                        let row = (random.below(keys) as i64, time, random.below(3) as i64);
                        rows.push(row);
                        changed.push(row);
                        weights.push(1);
                    }
                }
                workers.batch(0, &Delta::new(timed_batch(&changed), Weights::Each(weights.into())));
            }
            workers.tick();
            assert_eq!(workers.total(), in_sessions(&rows), "tick {tick}");
            if random.below(10) == 0 {
                workers.restart(1 + random.below(4) as usize);
            }
        }
    }
}

fn on_close(idle: Option<i64>) -> Harness {
    let closing = Closing { column: 1, delay: 5 };
    let options = OnCloseOptions { schema: timed_schema(&[]), closing, idle, partitioned_by: vec![0] };
    Harness::new(OnClose::new(options))
}

#[test]
fn rows_leave_once_when_they_are_final() {
    for span in [50, 5_000_000] {
        let mut random = Random(span);
        let (mut there, mut left, mut watermark) = (vec![], vec![], 0i64);
        let mut workers = Workers::new(|_, _| on_close(None), vec![vec![0]]);
        workers.workers[0].watermark(0, EventTime(watermark)).unwrap();
        for tick in 0..200 {
            for _ in 0..random.below(3) {
                let (mut changed, mut weights) = (vec![], vec![]);
                for _ in 0..1 + random.below(8) {
                    if !there.is_empty() && random.below(5) < 2 {
                        changed.push(there.swap_remove(random.below(there.len() as u64) as usize));
                        weights.push(-1);
                    } else {
                        let time = watermark - span as i64 / 4 + random.below(span) as i64;
                        let row = (random.below(4) as i64, time, random.below(2) as i64);
                        // What closed already comes too late.
                        there.extend((row.1 + 5 > watermark).then_some(row));
                        changed.push(row);
                        weights.push(1);
                    }
                }
                workers.batch(0, &Delta::new(timed_batch(&changed), Weights::Each(weights.into())));
            }
            if random.below(3) == 0 {
                watermark += random.below(span) as i64 / 3;
                for worker in &mut workers.workers {
                    worker.watermark(0, EventTime(watermark)).unwrap();
                }
                let (closed, open) = there.into_iter().partition(|row: &Timed| row.1 + 5 <= watermark);
                there = open;
                left.extend::<Vec<Timed>>(closed);
            }
            workers.tick();
            assert_eq!(workers.total(), bag(&timed_schema(&[]), timed_batch(&left).columns().to_vec()), "tick {tick}");
            if random.below(10) == 0 {
                workers.restart(1 + random.below(4) as usize);
                for worker in &mut workers.workers {
                    worker.watermark(0, EventTime(watermark)).unwrap();
                }
            }
        }
        assert!(!left.is_empty());
    }
}

#[test]
fn rows_leave_in_the_order_of_their_times() {
    let mut harness = on_close(None);
    let rows: Vec<Timed> = [9_000_000, 3, 8, 1, 700_000, 5].into_iter().map(|time| (0, time, 0)).collect();
    harness.batch(0, Delta::inserts(timed_batch(&rows))).unwrap();
    harness.watermark(0, EventTime(1_000_000)).unwrap();
    let emitted = harness.tick().unwrap();
    let times: Vec<i64> = emitted
        .iter()
        .flat_map(|delta| delta.rows().column(1).as_primitive::<arrow::datatypes::TimestampMicrosecondType>().values())
        .copied()
        .collect();
    assert_eq!(times, [1, 3, 5, 8, 700_000]);
    assert_eq!(harness.state_size().rows, 1);
    // What comes after that changes nothing, and is counted.
    let late =
        Delta::new(timed_batch(&[(0, 5, 0), (0, 6, 0), (0, 9_000_000, 0)]), Weights::Each(vec![-2, 1, 1].into()));
    harness.batch(0, late).unwrap();
    assert!(harness.tick().unwrap().iter().all(Delta::is_empty));
    assert_eq!((harness.dropped(), harness.state_size().rows), (3, 2));
}

#[test]
fn groups_go_when_they_are_final() {
    let input = timed_schema(&[]);
    let output = Field::new("count", DataType::Int64, false);
    let count = millrace_ir::Aggregate {
        function: AggregateFunction::Count,
        argument: None,
        distinct: false,
        filter: None,
        output: Arc::new(output.clone()),
    };
    let fields = vec![input.field(0).clone(), input.field(1).clone(), output];
    let options = AggregateOptions {
        append_only: true,
        partitioned_by: vec![0],
        owns_empty_key: true,
        sessions: None,
        closing: Some(Closing { column: 1, delay: 0 }),
        once: false,
    };
    let operator = Aggregate::new(&input, Arc::new(Schema::new(fields)), vec![0, 1], &[count], options);
    let mut harness = Harness::new(operator.unwrap());
    for round in 0..50 {
        let rows: Vec<Timed> = (0..1_000).map(|row| (row % 10, round * 100 + row / 10, row)).collect();
        harness.batch(0, Delta::inserts(timed_batch(&rows))).unwrap();
        harness.watermark(0, EventTime(round * 100)).unwrap();
        harness.tick().unwrap();
        assert!(harness.state_size().rows <= 1_000, "{:?}", harness.state_size());
    }
    harness.watermark(0, EventTime(5_000)).unwrap();
    harness.tick().unwrap();
    assert_eq!(harness.state_size().rows, 0);
    assert_eq!(harness.accumulated().len(), 50_000);
}
