//! State that goes behind the watermark: who drops it gives what one gives that keeps everything, and stays small.

use super::event_time::{Timed, sessions, timed_batch, timed_schema};
use super::*;
use crate::operators::{TopK, TopKOptions, Window, WindowOptions};
use arrow::compute::SortOptions;
use datafusion::functions_aggregate::array_agg::array_agg_udaf;
use datafusion::functions_window::lead_lag::lag_udwf;
use datafusion::logical_expr::{WindowFrame, WindowFunctionDefinition};
use datafusion::physical_expr::aggregate::AggregateExprBuilder;
use datafusion::physical_expr::expressions::{BinaryExpr, Literal};
use datafusion::physical_expr::{PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::windows::create_window_expr;
use datafusion::scalar::ScalarValue;
use millrace_ir::{Closing, Ranking, Reach, SortColumn};
use millrace_types::EventTime;

const SECOND: i64 = 1_000_000;

/// No row comes whose time and so much more is not after the watermark.
const SEALED: i64 = 3 * SECOND;

/// Runs an operator that drops and one that does not over the same changes of so many inputs, distributed by these columns,
/// none of them of sealed rows.
/// `retracts`: rows are taken back, too. `span`: how far ahead of the watermark rows come. The dropping one keeps
/// less than half.
fn check_freeing<F>(name: &str, make: F, (ports, by): (usize, &[usize]), retracts: bool)
where
    F: Fn(bool) -> Harness + Copy,
{
    let by = vec![by.to_vec(); ports];
    let mut freeing = Workers::new(move |_, _| make(true), by.clone());
    let mut keeping = Workers::new(move |_, _| make(false), by);
    let mut random = Random(ports as u64);
    let (mut there, mut watermark) = (vec![Vec::<Timed>::new(); ports], 0i64);
    for tick in 0..250 {
        for (port, there) in there.iter_mut().enumerate() {
            let (mut changed, mut weights) = (vec![], vec![]);
            // Rows whose time is sealed neither come nor go.
            there.retain(|row| row.1 + SEALED > watermark);
            for number in 0..random.below(60) {
                if retracts && !there.is_empty() && random.below(5) < 2 {
                    let at = random.below(there.len() as u64) as usize;
                    changed.push(there.swap_remove(at));
                    weights.push(-1);
                } else {
                    let second = watermark / SECOND * SECOND - SEALED + (1 + random.below(8) as i64) * SECOND;
                    let time = second + random.below(2) as i64 * SECOND / 5;
                    let row = (random.below(3) as i64, time, tick * 60 + number as i64);
                    if row.1 + SEALED > watermark {
                        there.push(row);
                        changed.push(row);
                        weights.push(1);
                    }
                }
            }
            if changed.is_empty() {
                continue;
            }
            let delta = Delta::new(timed_batch(&changed), Weights::Each(weights.into()));
            freeing.batch(port, &delta);
            keeping.batch(port, &delta);
        }
        watermark += random.below(2 * SECOND as u64) as i64;
        for worker in &mut freeing.workers {
            (0..ports).for_each(|port| worker.watermark(port, EventTime(watermark)).unwrap());
        }
        freeing.tick();
        keeping.tick();
        if tick % 10 == 0 {
            assert_eq!(freeing.total(), keeping.total(), "{name}, tick {tick}");
        }
        if random.below(20) == 0 {
            freeing.restart(1 + random.below(3) as usize);
        }
    }
    let (kept, all) = (rows_of(&freeing.workers), rows_of(&keeping.workers));
    assert!(2 * kept < all, "{name}: {kept} of {all} rows");
    // Nothing comes any more.
    for worker in &mut freeing.workers {
        (0..ports).for_each(|port| worker.watermark(port, EventTime(i64::MAX)).unwrap());
    }
    freeing.tick();
    assert_eq!(freeing.total(), keeping.total(), "{name}, at the end");
    // Some rows are not worth to be looked for, on each of three workers.
    let kept = rows_of(&freeing.workers);
    assert!(kept <= 3 * 300 * ports, "{name}: {kept} rows at the end");
}

fn rows_of(workers: &[Harness]) -> usize {
    workers.iter().map(|worker| worker.state_size().rows).sum()
}

fn closing(drops: bool) -> Option<Closing> {
    drops.then_some(Closing { column: 1, delay: SEALED })
}

fn by_time() -> Vec<SortColumn> {
    vec![SortColumn { column: 1, options: SortOptions::new(false, false) }]
}

fn by_number() -> Vec<SortColumn> {
    vec![SortColumn { column: 2, options: SortOptions::new(true, false) }]
}

fn column(name: &str, index: usize) -> Arc<dyn PhysicalExpr> {
    Arc::new(Column::new(name, index))
}

#[test]
fn distinct_rows_go() {
    let make = |drops| Harness::new(Distinct::new(timed_schema(&[]), vec![0], closing(drops)));
    check_freeing("distinct", make, (1, &[0]), true);
    check_freeing("distinct", make, (1, &[0]), false);
}

#[test]
fn first_rows_of_partitions_go() {
    for (append_only, last) in [(true, Some(2)), (false, Some(2)), (false, None)] {
        let make = |drops| {
            Harness::new(
                TopK::new(TopKOptions {
                    input: timed_schema(&[]),
                    partition: vec![0, 1],
                    order: by_number(),
                    ranking: Ranking::RowNumber,
                    skip: 0,
                    last,
                    numbered: last.is_some(),
                    append_only,
                    closing: closing(drops),
                    schema: if last.is_some() { numbered() } else { timed_schema(&[]) },
                })
                .unwrap(),
            )
        };
        check_freeing(&format!("top-k {append_only} {last:?}"), make, (1, &[0, 1]), !append_only);
    }
}

fn numbered() -> SchemaRef {
    with(Field::new("number", DataType::Int64, true))
}

fn with(field: Field) -> SchemaRef {
    let schema = timed_schema(&[]);
    Arc::new(Schema::new(schema.fields().iter().cloned().chain([Arc::new(field)]).collect::<Vec<_>>()))
}

/// `lag(id)`.
fn lag(partition: &'static [usize], order: Vec<SortColumn>, reach: Reach, closing: Option<Closing>) -> Harness {
    let call = WindowFunctionDefinition::WindowUDF(lag_udwf());
    let names = ["k", "ts", "id"];
    let by: Vec<_> = partition.iter().map(|at| column(names[*at], *at)).collect();
    let sorted: Vec<_> = order
        .iter()
        .map(|by| PhysicalSortExpr { expr: column(names[by.column], by.column), options: by.options })
        .collect();
    let frame = Arc::new(WindowFrame::new(Some(false)));
    let args = [column("id", 2)];
    let function =
        create_window_expr(&call, "lag".into(), &args, &by, &sorted, frame, timed_schema(&[]), false, false, None);
    let options = WindowOptions {
        input: timed_schema(&[]),
        partition: partition.to_vec(),
        order,
        functions: vec![function.unwrap()],
        reach,
        closing,
        schema: numbered(),
    };
    Harness::new(Window::new(options).unwrap())
}

#[test]
fn rows_that_nobody_looks_at_go() {
    for reach in [Reach::Partition, Reach::Rows(1)] {
        let make = |drops| lag(&[0, 1], by_number(), reach, closing(drops));
        check_freeing("lag in a window", make, (1, &[0, 1]), true);
    }
    let make = |drops| lag(&[0], by_time(), Reach::Rows(1), closing(drops));
    check_freeing("lag by time", make, (1, &[0]), true);
}

#[test]
fn sessions_that_are_over_go() {
    let gap = SECOND / 2;
    let make = |drops: bool| sessions(gap, drops.then_some(Closing { column: 1, delay: SEALED + gap }));
    check_freeing("sessions", make, (1, &[0]), true);
}

#[test]
fn groups_go_with_all_that_is_kept_of_them() {
    let field = |name, data_type| Arc::new(Field::new(name, data_type, true));
    let list = DataType::List(Arc::new(Field::new_list_field(DataType::Int64, true)));
    for append_only in [true, false] {
        let make = |drops| {
            let input = timed_schema(&[]);
            let call = AggregateExprBuilder::new(array_agg_udaf(), vec![column("id", 2)])
                .schema(input.clone())
                .order_by(vec![PhysicalSortExpr::new(column("id", 2), SortOptions::default())])
                .alias("all")
                .build()
                .unwrap();
            let one = |function, argument, distinct, output| millrace_ir::Aggregate {
                function,
                argument,
                distinct,
                filter: None,
                output,
            };
            let aggregates = [
                one(AggregateFunction::Count, Some(2), true, field("different", DataType::Int64)),
                one(AggregateFunction::Max, Some(2), false, field("max", DataType::Int64)),
                one(AggregateFunction::Call(Arc::new(call)), None, false, field("all", list.clone())),
            ];
            let keys = [0, 1].map(|key| input.fields()[key].clone());
            let fields: Vec<_> = keys.into_iter().chain(aggregates.iter().map(|one| one.output.clone())).collect();
            let options = AggregateOptions {
                append_only,
                partitioned_by: vec![0, 1],
                owns_empty_key: true,
                sessions: None,
                closing: closing(drops),
                once: false,
            };
            Harness::new(
                Aggregate::new(&input, Arc::new(Schema::new(fields)), vec![0, 1], &aggregates, options).unwrap(),
            )
        };
        check_freeing("groups", make, (1, &[0, 1]), !append_only);
    }
}

#[test]
fn partners_go() {
    use JoinKind::{Anti, Full, Inner, Left, Mark, Semi};
    let both = ["k", "ts", "id", "k2", "ts2", "id2"].into_iter().enumerate();
    let both = both.map(|(at, name)| timed_schema(&[]).field(at % 3).clone().with_name(name));
    let both = Arc::new(Schema::new(both.collect::<Vec<_>>()));
    for kind in [Inner, Left, Full, Semi, Anti, Mark] {
        let schema = match kind {
            Semi | Anti => timed_schema(&[]),
            Mark => with(Field::new("mark", DataType::Boolean, false)),
            _ => both.clone(),
        };
        let key = |column| JoinKey { left: column, right: column, nulls_match: false };
        let options = |keys: Vec<JoinKey>, residual, closing| JoinOptions {
            kind,
            left: timed_schema(&[]),
            right: timed_schema(&[]),
            keys,
            residual,
            schema: schema.clone(),
            borrowed: [None, None],
            append_only: [false; 2],
            is_self_join: false,
            closing,
        };
        let by_window = |drops| {
            let closings = [closing(drops), closing(drops)];
            Harness::new(Join::new(options(vec![key(0), key(1)], None, closings)))
        };
        check_freeing(&format!("{kind:?} join by window"), by_window, (2, &[0, 1]), true);
        // The left is at most a second before the right, and at most two after it.
        let in_span = |drops: bool| {
            let delays = [SEALED + SECOND, SEALED + 2 * SECOND];
            let closings = delays.map(|delay| drops.then_some(Closing { column: 1, delay }));
            Harness::new(Join::new(options(vec![key(0)], Some(between(-SECOND, 2 * SECOND)), closings)))
        };
        check_freeing(&format!("{kind:?} join by time"), in_span, (2, &[0]), true);
    }
}

/// `ts BETWEEN ts2 + least AND ts2 + most`.
fn between(least: i64, most: i64) -> Arc<dyn PhysicalExpr> {
    let bound = |micros: i64| -> Arc<dyn PhysicalExpr> {
        let span = arrow::datatypes::IntervalMonthDayNano::new(0, 0, micros * 1_000);
        let span = Arc::new(Literal::new(ScalarValue::IntervalMonthDayNano(Some(span))));
        Arc::new(BinaryExpr::new(column("ts2", 4), DataFusionOperator::Plus, span))
    };
    let compared = |operator, micros| -> Arc<dyn PhysicalExpr> {
        Arc::new(BinaryExpr::new(column("ts", 1), operator, bound(micros)))
    };
    let (from, to) = (compared(DataFusionOperator::GtEq, least), compared(DataFusionOperator::LtEq, most));
    Arc::new(BinaryExpr::new(from, DataFusionOperator::And, to))
}
