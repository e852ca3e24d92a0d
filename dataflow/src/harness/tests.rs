//! Every operator against a from-scratch oracle: random changes with duplicates, NULLs and retractions in ticks of
//! random size, cut by snapshots and restores into several workers.

use super::*;
use crate::operator::{Operator, Output};
use crate::operators::{Aggregate, AggregateOptions, Distinct, Join, JoinOptions};
use arrow::array::*;
use arrow::datatypes::{DataType, Decimal128Type, DecimalType, Field, Schema, SchemaRef, i256};
use datafusion::logical_expr::Operator as DataFusionOperator;
use datafusion::physical_expr::expressions::{Column, binary};
use millrace_ir::{AggregateFunction, JoinKey, JoinKind};
use millrace_types::hash::{KEY_SEED, hash_rows, mix};
use millrace_types::{Weights, numeric};
use std::sync::Arc;

mod event_time;
mod freeing;
mod look_up;
mod ordered;
mod properties;
mod sessions;
mod temporal;

/// A row of the inputs: a key, a number, a text and a float, each possibly NULL.
type Row = (Option<i64>, Option<i64>, Option<String>, Option<f64>);

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(1);
        mix(self.0) % n
    }

    fn row(&mut self, keys: u64) -> Row {
        let texts = ["", "a", "b", "a text of more than twelve bytes", "another text that is not short"];
        let floats = [0.0, 0.5, 1.5, -2.25, f64::NAN, f64::INFINITY, 1e18];
        (
            (self.below(8) > 0).then(|| self.below(keys) as i64 - 1),
            (self.below(6) > 0).then(|| self.below(5) as i64 - 2),
            (self.below(6) > 0).then(|| texts[self.below(5) as usize].to_owned()),
            (self.below(6) > 0).then(|| floats[self.below(7) as usize]),
        )
    }
}

fn schema() -> SchemaRef {
    let field = |name, data_type| Field::new(name, data_type, true);
    Arc::new(Schema::new(vec![
        field("k", DataType::Int64),
        field("n", DataType::Int64),
        field("s", DataType::Utf8View),
        field("f", DataType::Float64),
    ]))
}

fn batch(rows: &[Row]) -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|row| row.0).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|row| row.1).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|row| row.2.as_deref()).collect::<StringViewArray>()),
        Arc::new(rows.iter().map(|row| row.3).collect::<Float64Array>()),
    ];
    RecordBatch::try_new(schema(), columns).unwrap()
}

/// A relation under random changes: its rows as of now, one entry per copy.
#[derive(Default)]
struct Relation {
    rows: Vec<Row>,
}

impl Relation {
    /// A batch of changes, some of which retract rows that are there, and some of which do so before they come.
    fn change(&mut self, random: &mut Random, keys: u64) -> Delta {
        let (mut rows, mut weights) = (Vec::new(), Vec::new());
        for _ in 0..1 + random.below(12) {
            if !self.rows.is_empty() && random.below(5) < 2 {
                let at = random.below(self.rows.len() as u64) as usize;
                rows.push(self.rows.swap_remove(at));
                weights.push(-1);
            } else {
                let (row, copies) = (random.row(keys), 1 + random.below(3) / 2);
                self.rows.extend(std::iter::repeat_n(row.clone(), copies as usize));
                rows.push(row);
                weights.push(copies as i64);
            }
        }
        if random.below(2) == 0 {
            rows.reverse();
            weights.reverse();
        }
        Delta::new(batch(&rows), Weights::Each(weights.into()))
    }
}

/// Several workers of one operator, fed by the hash of the columns `by` of each input.
struct Workers<F: Fn(usize, usize) -> Harness> {
    make: F,
    by: Vec<Vec<usize>>,
    workers: Vec<Harness>,
    /// What workers that were replaced by restored ones had emitted.
    past: Bag,
}

impl<F: Fn(usize, usize) -> Harness> Workers<F> {
    fn new(make: F, by: Vec<Vec<usize>>) -> Self {
        let workers = vec![make(0, 1)];
        Workers { make, by, workers, past: Bag::new() }
    }

    fn batch(&mut self, port: usize, delta: &Delta) {
        let key: Vec<ArrayRef> = self.by[port].iter().map(|&column| delta.rows().column(column).clone()).collect();
        let hashes = hash_rows(&key, delta.len(), KEY_SEED).unwrap();
        let count = self.workers.len();
        for (at, worker) in self.workers.iter_mut().enumerate() {
            let owned = KeyGroupRange::of_worker(at, count);
            let keep: BooleanArray = hashes.iter().map(|&hash| Some(owned.contains(hash))).collect();
            let part = delta.filter(&keep).unwrap();
            if !part.is_empty() {
                worker.batch(port, part).unwrap();
            }
        }
    }

    fn tick(&mut self) {
        self.workers.iter_mut().for_each(|worker| drop(worker.tick().unwrap()));
    }

    /// Replaces the workers by `count` new ones restored from the snapshots of the old.
    fn restart(&mut self, count: usize) {
        self.past = self.total();
        let mut snapshots: Vec<Snapshot> = self.workers.iter_mut().map(|worker| worker.snapshot().unwrap()).collect();
        self.workers = (0..count).map(|at| (self.make)(at, count)).collect();
        for (at, worker) in self.workers.iter_mut().enumerate() {
            for snapshot in &mut snapshots {
                worker.restore(snapshot, KeyGroupRange::of_worker(at, count)).unwrap();
            }
        }
    }

    /// The sum of all that was emitted, row errors among it.
    fn total(&self) -> Bag {
        let mut total = self.past.clone();
        for worker in &self.workers {
            for (row, weight) in worker.accumulated() {
                *total.entry(row.clone()).or_default() += weight;
            }
            for error in worker.errors() {
                *total.entry(vec![Some(format!("error: {}", error.error.message()))]).or_default() += error.weight;
            }
        }
        total.retain(|_, weight| *weight != 0);
        total
    }
}

/// Runs ticks of changes through the workers and compares after each one with the oracle over the inputs.
fn check<F: Fn(usize, usize) -> Harness>(workers: Workers<F>, keys: u64, oracle: impl Fn(&[Relation]) -> Bag) {
    check_for(150, workers, keys, oracle);
}

fn check_for<F>(ticks: usize, mut workers: Workers<F>, keys: u64, oracle: impl Fn(&[Relation]) -> Bag)
where
    F: Fn(usize, usize) -> Harness,
{
    let mut random = Random(keys);
    let mut inputs: Vec<Relation> = workers.by.iter().map(|_| Relation::default()).collect();
    for tick in 0..ticks {
        for _ in 0..random.below(4) {
            let port = random.below(inputs.len() as u64) as usize;
            let delta = inputs[port].change(&mut random, keys);
            workers.batch(port, &delta);
        }
        workers.tick();
        assert_eq!(workers.total(), oracle(&inputs), "tick {tick}");
        if random.below(10) == 0 {
            workers.restart(1 + random.below(4) as usize);
        }
    }
}

fn bag(schema: &SchemaRef, columns: Vec<ArrayRef>) -> Bag {
    let mut bag = Bag::new();
    add(&mut bag, &Delta::inserts(RecordBatch::try_new(schema.clone(), columns).unwrap())).unwrap();
    bag
}

#[test]
fn distinct_gives_each_row_once() {
    let make = |_, _| Harness::new(Distinct::new(schema(), vec![0], None));
    check(Workers::new(make, vec![vec![0]]), 6, |inputs| {
        let mut all = Bag::new();
        add(&mut all, &Delta::inserts(batch(&inputs[0].rows))).unwrap();
        all.into_keys().map(|row| (row, 1)).collect()
    });
}

fn joined_schema(kind: JoinKind) -> SchemaRef {
    let (mut fields, schema) = (schema().fields().to_vec(), schema());
    match kind {
        JoinKind::Semi | JoinKind::Anti => {}
        JoinKind::Mark => fields.push(Arc::new(Field::new("mark", DataType::Boolean, false))),
        JoinKind::Inner | JoinKind::Left | JoinKind::Full => fields.extend(schema.fields().iter().cloned()),
    }
    Arc::new(Schema::new(fields))
}

/// A join as the tests ask for it: its kind, its key columns with whether NULLs match, and whether `n` of the left
/// must be less than `n` of the right.
#[derive(Clone, Copy, Debug)]
struct JoinCase {
    kind: JoinKind,
    keys: &'static [(usize, bool)],
    less: bool,
    append_only: bool,
}

fn join(case: JoinCase) -> impl Fn(usize, usize) -> Harness {
    move |_, _| Harness::new(case.operator(false))
}

/// A join of a relation with itself: each change goes to both ports.
fn self_join(case: JoinCase) -> impl Fn(usize, usize) -> Harness {
    struct Both(Join);

    impl Operator for Both {
        fn on_batch(&mut self, _port: usize, delta: Delta, out: &mut Output) -> Result<()> {
            self.0.on_batch(0, delta.clone(), out)?;
            self.0.on_batch(1, delta, out)
        }

        fn on_tick(&mut self, tick: Tick, out: &mut Output) -> Result<()> {
            self.0.on_tick(tick, out)
        }

        fn snapshot(&mut self, kind: SnapshotKind, to: &mut dyn StateWriter) -> Result<()> {
            self.0.snapshot(kind, to)
        }

        fn restore(&mut self, from: &mut dyn StateReader, groups: KeyGroupRange) -> Result<()> {
            self.0.restore(from, groups)
        }
    }

    move |_, _| Harness::new(Both(case.operator(true)))
}

impl JoinCase {
    fn operator(&self, is_self_join: bool) -> Join {
        let (case, pair) = (self, joined_schema(JoinKind::Inner));
        let (left, right) = (Arc::new(Column::new("n", 1)), Arc::new(Column::new("n", 5)));
        let keys = case.keys.iter().map(|&(key, nulls_match)| JoinKey { left: key, right: key, nulls_match });
        Join::new(JoinOptions {
            kind: case.kind,
            left: schema(),
            right: schema(),
            keys: keys.collect(),
            residual: case.less.then(|| binary(left, DataFusionOperator::Lt, right, &pair).unwrap()),
            schema: joined_schema(case.kind),
            borrowed: [None, None],
            append_only: [self.append_only; 2],
            is_self_join,
            closing: [None, None],
        })
    }

    fn are_partners(&self, l: &Row, r: &Row) -> bool {
        let equal = |&(key, nulls_match): &(usize, bool)| match key {
            0 => l.0 == r.0 && (nulls_match || l.0.is_some()),
            _ => l.2 == r.2 && (nulls_match || l.2.is_some()),
        };
        self.keys.iter().all(equal) && (!self.less || matches!((l.1, r.1), (Some(l), Some(r)) if l < r))
    }

    fn oracle(&self, inputs: &[Relation]) -> Bag {
        let (mut left, mut right, mut marks) = (Vec::new(), Vec::new(), Vec::new());
        let nothing = (None, None, None, None);
        for l in &inputs[0].rows {
            let partners: Vec<_> = inputs[1].rows.iter().filter(|r| self.are_partners(l, r)).cloned().collect();
            let shown = match (self.kind, partners.is_empty()) {
                (JoinKind::Left | JoinKind::Full, true) | (JoinKind::Anti, true) | (JoinKind::Semi, false) => {
                    vec![nothing.clone()]
                }
                (JoinKind::Mark, _) => vec![nothing.clone()],
                (kind, _) if kind.gives_pairs() => partners.clone(),
                _ => vec![],
            };
            left.extend(std::iter::repeat_n(l.clone(), shown.len()));
            marks.extend(std::iter::repeat_n(Some(!partners.is_empty()), shown.len()));
            right.extend(shown);
        }
        if self.kind == JoinKind::Full {
            let has_partner = |r: &Row| inputs[0].rows.iter().any(|l| self.are_partners(l, r));
            let alone: Vec<_> = inputs[1].rows.iter().filter(|r| !has_partner(r)).cloned().collect();
            left.extend(std::iter::repeat_n(nothing.clone(), alone.len()));
            right.extend(alone);
        }
        let mut columns = batch(&left).columns().to_vec();
        match self.kind {
            JoinKind::Mark => columns.push(Arc::new(BooleanArray::from(marks))),
            kind if kind.gives_pairs() => columns.extend(batch(&right).columns().iter().cloned()),
            _ => {}
        }
        bag(&joined_schema(self.kind), columns)
    }
}

#[test]
fn joins_agree_with_the_query_over_all_rows() {
    use JoinKind::{Anti, Full, Inner, Left, Mark, Semi};
    for kind in [Inner, Left, Full, Semi, Anti, Mark] {
        for keys in [&[(0, false), (2, false)][..], &[(0, true), (2, true)], &[(0, false), (2, true)], &[]] {
            for less in [false, true] {
                let case = JoinCase { kind, keys, less, append_only: false };
                let by: Vec<usize> = keys.iter().map(|(key, _)| *key).collect();
                // Without keys everything meets everything.
                let ticks = if keys.is_empty() { 15 } else { 50 };
                check_for(ticks, Workers::new(join(case), vec![by.clone(), by]), 4, |inputs| case.oracle(inputs));
            }
        }
    }
}

#[test]
fn a_relation_joined_with_itself_is_kept_once() {
    use JoinKind::{Full, Inner, Left, Semi};
    for kind in [Inner, Left, Full, Semi] {
        let case = JoinCase { kind, keys: &[(0, false)], less: true, append_only: false };
        check_for(50, Workers::new(self_join(case), vec![vec![0]]), 4, |inputs| {
            case.oracle(&[0, 1].map(|_| Relation { rows: inputs[0].rows.clone() }))
        });
    }
    let case = JoinCase { kind: Inner, keys: &[(0, false)], less: true, append_only: false };
    let rows = Relation::default().change(&mut Random(1), 4);
    let [once, twice] = [true, false].map(|is_self_join| {
        let mut harness = Harness::new(case.operator(is_self_join));
        (0..2).for_each(|port| harness.batch(port, rows.clone()).unwrap());
        harness.tick().unwrap();
        harness.state_size().rows
    });
    assert_eq!(twice, 2 * once);
}

use AggregateFunction::*;

/// What an aggregate comes to over these rows, as text.
type Oracle = fn(&[&Row]) -> Option<String>;

fn aggregates() -> Vec<(millrace_ir::Aggregate, Oracle)> {
    let decimal = DataType::Decimal128(38, 0);
    let aggregate = |function, argument, data_type| millrace_ir::Aggregate {
        function,
        argument,
        distinct: false,
        filter: None,
        output: Arc::new(Field::new("a", data_type, true)),
    };
    fn numbers(rows: &[&Row]) -> Vec<i64> {
        rows.iter().filter_map(|row| row.1).collect()
    }
    fn floats(rows: &[&Row]) -> Vec<f64> {
        rows.iter().filter_map(|row| row.3.map(|f| f + 0.0)).collect()
    }
    fn float_text(value: f64) -> Option<String> {
        let array: ArrayRef = Arc::new(Float64Array::from(vec![value]));
        ArrayFormatter::try_new(&array, &FormatOptions::default()).ok().map(|f| f.value(0).to_string())
    }
    vec![
        (aggregate(Count, None, DataType::Int64), |rows| Some(rows.len().to_string())),
        (aggregate(Count, Some(1), DataType::Int64), |rows| Some(numbers(rows).len().to_string())),
        (aggregate(Sum, Some(1), decimal.clone()), |rows| {
            let numbers = numbers(rows);
            (!numbers.is_empty()).then(|| numbers.iter().sum::<i64>().to_string())
        }),
        (aggregate(Avg, Some(1), DataType::Decimal128(38, 20)), |rows| {
            let numbers = numbers(rows);
            let (sum, count) = (numbers.iter().sum::<i64>() as i128, numbers.len() as i128);
            let rounded = || numeric::quotient((i256::from_i128(sum), 0), (count, 0), 20).unwrap();
            (count > 0).then(|| Decimal128Type::format_decimal(rounded(), 38, 20))
        }),
        (aggregate(Min, Some(1), DataType::Int64), |rows| numbers(rows).iter().min().map(i64::to_string)),
        (aggregate(Max, Some(1), DataType::Int64), |rows| numbers(rows).iter().max().map(i64::to_string)),
        (aggregate(Min, Some(2), DataType::Utf8View), |rows| rows.iter().filter_map(|row| row.2.clone()).min()),
        (aggregate(Max, Some(2), DataType::Utf8View), |rows| rows.iter().filter_map(|row| row.2.clone()).max()),
        (aggregate(Max, Some(3), DataType::Float64), |rows| {
            let order = |f: &f64| if f.is_nan() { (1, 0.0) } else { (0, *f) };
            floats(rows).into_iter().max_by(|a, b| order(a).partial_cmp(&order(b)).unwrap()).and_then(float_text)
        }),
        (aggregate(Sum, Some(3), DataType::Float64), |rows| {
            let (floats, exact) = (floats(rows), |f: f64| (f * 4.0) as i128);
            if floats.iter().any(|f| f.is_nan()) {
                return Some("NaN".to_owned());
            }
            match floats.iter().any(|f| f.is_infinite()) {
                true => float_text(f64::INFINITY),
                false => (!floats.is_empty())
                    .then(|| floats.iter().map(|&f| exact(f)).sum::<i128>() as f64 / 4.0)
                    .and_then(float_text),
            }
        }),
    ]
}

/// Aggregates whose state is other than words: arguments of DISTINCT, accumulators, rows.
fn calls() -> Vec<(millrace_ir::Aggregate, Oracle)> {
    use datafusion::functions_aggregate::{
        bit_and_or_xor::bit_or_udaf, count::count_udaf, string_agg::string_agg_udaf,
    };
    use datafusion::physical_expr::PhysicalSortExpr;
    use datafusion::physical_expr::aggregate::AggregateExprBuilder;
    use datafusion::physical_expr::expressions::{Column, lit};
    let column = |at: usize| -> millrace_ir::Expr { Arc::new(Column::new(schema().field(at).name(), at)) };
    let call = |function, arguments, order: Vec<usize>| {
        let order = order.into_iter().map(|at| PhysicalSortExpr::new_default(column(at))).collect();
        let call = AggregateExprBuilder::new(function, arguments).schema(schema()).alias("a").order_by(order);
        Call(Arc::new(call.build().unwrap()))
    };
    let aggregate = |function, argument, distinct, data_type| {
        let output = Arc::new(Field::new("a", data_type, true));
        millrace_ir::Aggregate { function, argument, distinct, filter: None, output }
    };
    fn different(rows: &[&Row]) -> std::collections::BTreeSet<i64> {
        rows.iter().filter_map(|row| row.1).collect()
    }
    let texts = call(string_agg_udaf(), vec![column(2), lit(",")], vec![2]);
    vec![
        (aggregate(Count, Some(1), true, DataType::Int64), |rows| Some(different(rows).len().to_string())),
        (aggregate(Sum, Some(1), true, DataType::Decimal128(38, 0)), |rows| {
            let different = different(rows);
            (!different.is_empty()).then(|| different.iter().sum::<i64>().to_string())
        }),
        (aggregate(call(count_udaf(), vec![column(2)], vec![]), None, false, DataType::Int64), |rows| {
            Some(rows.iter().filter(|row| row.2.is_some()).count().to_string())
        }),
        (aggregate(call(count_udaf(), vec![column(1)], vec![]), None, true, DataType::Int64), |rows| {
            Some(different(rows).len().to_string())
        }),
        (aggregate(call(bit_or_udaf(), vec![column(1)], vec![]), None, false, DataType::Int64), |rows| {
            rows.iter().filter_map(|row| row.1).reduce(|a, b| a | b).map(|bits| bits.to_string())
        }),
        (aggregate(texts, None, false, DataType::LargeUtf8), |rows| {
            let mut texts: Vec<&str> = rows.iter().filter_map(|row| row.2.as_deref()).collect();
            texts.sort();
            (!texts.is_empty()).then(|| texts.join(","))
        }),
    ]
}

type Aggregates = fn() -> Vec<(millrace_ir::Aggregate, Oracle)>;

fn aggregate(of: Aggregates, keys: &'static [usize], by: &'static [usize]) -> impl Fn(usize, usize) -> Harness {
    aggregate_of(of, keys, by, false)
}

fn aggregate_of(
    of: Aggregates,
    keys: &'static [usize],
    by: &'static [usize],
    append_only: bool,
) -> impl Fn(usize, usize) -> Harness {
    move |at, count| {
        let owner = KeyGroupRange::of_worker(at, count).contains(mix(KEY_SEED));
        let aggregates: Vec<_> = of().into_iter().map(|(aggregate, _)| aggregate).collect();
        let mut fields: Vec<_> = keys.iter().map(|&key| schema().fields()[key].clone()).collect();
        fields.extend(aggregates.iter().map(|aggregate| aggregate.output.clone()));
        let output = Arc::new(Schema::new(fields));
        let options = AggregateOptions {
            append_only,
            partitioned_by: by.to_vec(),
            owns_empty_key: owner,
            sessions: None,
            closing: None,
            once: false,
        };
        Harness::new(Aggregate::new(&schema(), output, keys.to_vec(), &aggregates, options).unwrap())
    }
}

fn aggregated(of: Aggregates, rows: &[Row], keys: &[usize]) -> Bag {
    let mut groups: BTreeMap<Vec<Option<String>>, Vec<&Row>> = BTreeMap::new();
    if keys.is_empty() {
        groups.insert(vec![], vec![]);
    }
    for row in rows {
        let key = keys.iter().map(|key| if *key == 0 { row.0.map(|k| k.to_string()) } else { row.2.clone() });
        groups.entry(key.collect()).or_default().push(row);
    }
    let results = groups.into_iter().map(|(mut row, rows)| {
        row.extend(of().iter().map(|(_, oracle)| oracle(&rows)));
        (row, 1)
    });
    results.collect()
}

#[test]
fn aggregates_agree_with_the_query_over_all_rows() {
    for (keys, by) in [(&[0][..], &[0][..]), (&[0, 2], &[0]), (&[2], &[2]), (&[], &[])] {
        let workers = Workers::new(aggregate(aggregates, keys, by), vec![by.to_vec()]);
        check(workers, 7, |inputs| aggregated(aggregates, &inputs[0].rows, keys));
    }
}

#[test]
fn calls_agree_with_the_query_over_all_rows() {
    for (keys, by) in [(&[0][..], &[0][..]), (&[0, 2], &[0, 2]), (&[2], &[2]), (&[], &[])] {
        let workers = Workers::new(aggregate(calls, keys, by), vec![by.to_vec()]);
        check(workers, 9, |inputs| aggregated(calls, &inputs[0].rows, keys));
    }
}

#[test]
fn a_group_without_rows_leaves_no_state() {
    for of in [aggregates, calls] {
        let mut harness = aggregate(of, &[0, 2], &[0, 2])(0, 1);
        let mut relation = Relation::default();
        let delta = relation.change(&mut Random(1), 100);
        harness.batch(0, delta.clone()).unwrap();
        harness.tick().unwrap();
        assert!(harness.state_size().rows > 0);
        harness.batch(0, delta.negated()).unwrap();
        harness.tick().unwrap();
        assert_eq!((harness.state_size().rows, harness.accumulated().len()), (0, 0));
    }
}

#[test]
fn a_sum_out_of_range_is_a_row_error_until_it_fits() {
    let input = Schema::new(vec![Field::new("n", DataType::Int32, true)]);
    let output = Arc::new(Field::new("sum", DataType::Int64, true));
    let sum = millrace_ir::Aggregate {
        function: Sum,
        argument: Some(0),
        distinct: false,
        filter: None,
        output: output.clone(),
    };
    let options = AggregateOptions {
        append_only: false,
        partitioned_by: vec![],
        owns_empty_key: true,
        sessions: None,
        closing: None,
        once: false,
    };
    let schema = Arc::new(Schema::new(vec![output]));
    let mut harness = Harness::new(Aggregate::new(&input, schema, vec![], &[sum], options).unwrap());
    harness.tick().unwrap();
    assert_eq!(harness.accumulated(), &Bag::from([(vec![None], 1)]));
    let rows = RecordBatch::try_new(Arc::new(input), vec![Arc::new(Int32Array::from(vec![i32::MAX, 7]))]).unwrap();
    let delta = Delta::new(rows, Weights::Each(vec![1 << 40, 1].into()));
    harness.batch(0, delta.clone()).unwrap();
    harness.tick().unwrap();
    assert_eq!(harness.errors()[0].error.message(), "bigint out of range");
    assert!(harness.accumulated().is_empty());
    harness.batch(0, delta.slice(0, 1).negated()).unwrap();
    harness.tick().unwrap();
    assert_eq!(harness.accumulated(), &Bag::from([(vec![Some("7".to_owned())], 1)]));
    assert!(harness.errors().is_empty());
}

/// `bool_and`, `bool_or`, and `count` and `max` with a filter, over rows of a boolean and a text.
fn over_flags(append_only: bool) -> (SchemaRef, Harness) {
    let input = Arc::new(Schema::new(vec![
        Field::new("b", DataType::Boolean, true),
        Field::new("s", DataType::Utf8View, true),
    ]));
    let output = |data_type| Arc::new(Field::new("a", data_type, true));
    let aggregate = |function, argument, filter, data_type| millrace_ir::Aggregate {
        function,
        argument: Some(argument),
        distinct: false,
        filter,
        output: output(data_type),
    };
    let aggregates = [
        aggregate(BoolAnd, 0, None, DataType::Boolean),
        aggregate(BoolOr, 0, None, DataType::Boolean),
        aggregate(Count, 1, Some(0), DataType::Int64),
        aggregate(Max, 1, Some(0), DataType::Utf8View),
        aggregate(Min, 0, None, DataType::Boolean),
    ];
    let fields: Vec<_> = aggregates.iter().map(|aggregate| aggregate.output.clone()).collect();
    let options = AggregateOptions {
        append_only,
        partitioned_by: vec![],
        owns_empty_key: true,
        sessions: None,
        closing: None,
        once: false,
    };
    let schema = Arc::new(Schema::new(fields));
    (input.clone(), Harness::new(Aggregate::new(&input, schema, vec![], &aggregates, options).unwrap()))
}

#[test]
fn filters_and_booleans_count_only_what_is_true() {
    for append_only in [true, false] {
        let (input, mut harness) = over_flags(append_only);
        let row = |values: [&str; 5]| {
            let row = values.into_iter().map(|value| (value != "NULL").then(|| value.to_owned())).collect();
            Bag::from([(row, 1)])
        };
        let flags = BooleanArray::from(vec![None, Some(true), Some(true), Some(false)]);
        let texts = StringViewArray::from(vec!["z", "a", "b", "y"]);
        let rows = RecordBatch::try_new(input, vec![Arc::new(flags), Arc::new(texts)]).unwrap();
        harness.batch(0, Delta::inserts(rows.slice(0, 1))).unwrap();
        harness.tick().unwrap();
        assert_eq!(harness.accumulated(), &row(["NULL", "NULL", "0", "NULL", "NULL"]));
        harness.batch(0, Delta::inserts(rows.slice(1, 3))).unwrap();
        harness.tick().unwrap();
        assert_eq!(harness.accumulated(), &row(["false", "true", "2", "b", "false"]));
        if !append_only {
            harness.batch(0, Delta::retractions(rows.slice(2, 2))).unwrap();
            harness.tick().unwrap();
            assert_eq!(harness.accumulated(), &row(["true", "true", "1", "a", "true"]));
        }
    }
}

#[test]
fn a_change_that_changes_no_result_emits_nothing() {
    let (input, mut harness) = over_flags(false);
    let flags = BooleanArray::from(vec![Some(false), Some(false)]);
    let texts = StringViewArray::from(vec!["a", "b"]);
    let rows = RecordBatch::try_new(input, vec![Arc::new(flags), Arc::new(texts)]).unwrap();
    harness.batch(0, Delta::inserts(rows.slice(0, 1))).unwrap();
    assert_eq!(harness.tick().unwrap().len(), 1);
    harness.batch(0, Delta::inserts(rows.slice(1, 1))).unwrap();
    assert_eq!(harness.tick().unwrap().len(), 0);
}
