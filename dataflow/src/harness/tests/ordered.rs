//! Top-k and window functions against numbering sorted rows by hand.

use super::*;
use crate::operators::{TopK, TopKOptions, Window, WindowOptions};
use arrow::compute::SortOptions;
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::functions_window::lead_lag::lag_udwf;
use datafusion::logical_expr::{WindowFrame, WindowFrameBound, WindowFrameUnits, WindowFunctionDefinition};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::window::WindowExpr;
use datafusion::physical_expr::{PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::windows::create_window_expr;
use datafusion::scalar::ScalarValue;
use millrace_ir::{Ranking, Reach, SortColumn};
use std::cmp::{Ordering, Reverse};

/// By `k`, in the order of `n` descending, which has NULLs first.
const DESCENDING: SortOptions = SortOptions { descending: true, nulls_first: true };

fn order() -> Vec<SortColumn> {
    vec![SortColumn { column: 1, options: DESCENDING }]
}

/// The order of rows of one partition: that of `n`, and of the other columns where it leaves them equal.
fn compare(a: &Row, b: &Row) -> Ordering {
    let float = |row: &Row| row.3.map(|f| if f.is_nan() { (1, 0.0) } else { (0, f) });
    let floats = float(a).partial_cmp(&float(b)).unwrap();
    let number = |row: &Row| (row.1.is_some(), Reverse(row.1));
    number(a).cmp(&number(b)).then_with(|| a.2.cmp(&b.2)).then(floats)
}

/// The rows of each partition, sorted.
fn partitions(rows: &[Row]) -> Vec<Vec<Row>> {
    let mut partitions: BTreeMap<Option<i64>, Vec<Row>> = BTreeMap::new();
    rows.iter().for_each(|row| partitions.entry(row.0).or_default().push(row.clone()));
    partitions.values_mut().for_each(|rows| rows.sort_by(compare));
    partitions.into_values().collect()
}

/// The numbers of sorted rows.
fn numbers(rows: &[Row], ranking: Ranking) -> Vec<i64> {
    let (mut numbers, mut dense) = (Vec::new(), 0);
    for (at, row) in rows.iter().enumerate() {
        let is_peer = at > 0 && rows[at - 1].1 == row.1;
        dense += i64::from(!is_peer);
        numbers.push(match ranking {
            Ranking::RowNumber => at as i64 + 1,
            Ranking::Rank if is_peer => numbers[at - 1],
            Ranking::Rank => at as i64 + 1,
            Ranking::DenseRank => dense,
        });
    }
    numbers
}

fn numbered_schema() -> SchemaRef {
    let fields: Vec<_> = schema().fields().iter().cloned().chain([Arc::new(number_field())]).collect();
    Arc::new(Schema::new(fields))
}

fn number_field() -> Field {
    Field::new("number", DataType::Int64, true)
}

#[derive(Clone, Copy)]
pub struct Case {
    pub ranking: Ranking,
    pub skip: u64,
    pub last: Option<u64>,
    pub numbered: bool,
    pub append_only: bool,
}

pub fn top_k(case: Case) -> Harness {
    let operator = TopK::new(TopKOptions {
        input: schema(),
        partition: vec![0],
        order: order(),
        ranking: case.ranking,
        skip: case.skip,
        last: case.last,
        numbered: case.numbered,
        append_only: case.append_only,
        closing: None,
        schema: if case.numbered { numbered_schema() } else { schema() },
    });
    Harness::new(operator.unwrap())
}

fn top_k_of(rows: &[Row], case: Case) -> Bag {
    let mut all = Bag::new();
    for rows in partitions(rows) {
        let numbers = numbers(&rows, case.ranking);
        let passes = |at: &usize| *at as u64 >= case.skip && case.last.is_none_or(|last| numbers[*at] as u64 <= last);
        let (rows, numbers): (Vec<Row>, Vec<i64>) =
            (0..rows.len()).filter(passes).map(|at| (rows[at].clone(), numbers[at])).unzip();
        let mut columns = batch(&rows).columns().to_vec();
        if case.numbered {
            columns.push(Arc::new(Int64Array::from(numbers)));
        }
        let schema = if case.numbered { numbered_schema() } else { schema() };
        add(&mut all, &Delta::inserts(RecordBatch::try_new(schema, columns).unwrap())).unwrap();
    }
    all
}

#[test]
fn top_k_gives_the_rows_in_its_range() {
    for ranking in [Ranking::RowNumber, Ranking::Rank, Ranking::DenseRank] {
        for (skip, last) in [(0, Some(1)), (0, Some(3)), (2, Some(5)), (1, None), (0, Some(0))] {
            for numbered in [false, true] {
                let case = Case { ranking, skip, last, numbered, append_only: false };
                let workers = Workers::new(move |_, _| top_k(case), vec![vec![0]]);
                check(workers, 4, |inputs| top_k_of(&inputs[0].rows, case));
            }
        }
    }
}

#[test]
fn many_rows_of_one_partition_are_a_tree() {
    let case = Case { ranking: Ranking::Rank, skip: 0, last: Some(40), numbered: true, append_only: false };
    let mut random = Random(7);
    let (mut relation, mut harness) = (Relation::default(), top_k(case));
    for _ in 0..300 {
        harness.batch(0, relation.change(&mut random, 1)).unwrap();
        harness.tick().unwrap();
    }
    assert!(relation.rows.len() > 200);
    assert_eq!(*harness.accumulated(), top_k_of(&relation.rows, case));
}

#[test]
fn append_only_input_is_kept_as_far_as_it_matters() {
    for ranking in [Ranking::RowNumber, Ranking::Rank, Ranking::DenseRank] {
        let case = Case { ranking, skip: 1, last: Some(2), numbered: true, append_only: true };
        let mut random = Random(3);
        let (mut rows, mut harness) = (Vec::new(), top_k(case));
        for _ in 0..100 {
            let new: Vec<Row> = (0..random.below(20)).map(|_| random.row(5)).collect();
            harness.batch(0, Delta::inserts(batch(&new))).unwrap();
            harness.tick().unwrap();
            rows.extend(new);
            assert_eq!(*harness.accumulated(), top_k_of(&rows, case));
        }
        let limit = if ranking == Ranking::RowNumber { 10 } else { rows.len() / 2 };
        assert!(harness.state_size().rows <= limit, "{} rows", harness.state_size().rows);
    }
}

#[test]
fn values_that_are_equal_keep_their_looks() {
    let case = Case { ranking: Ranking::RowNumber, skip: 0, last: Some(1), numbered: false, append_only: false };
    let mut harness = top_k(case);
    let row = |f: f64| vec![(Some(1), Some(1), None, Some(f))];
    harness.batch(0, Delta::inserts(batch(&row(-0.0)))).unwrap();
    let emitted = harness.tick().unwrap();
    assert!(emitted[0].rows().column(3).as_primitive::<arrow::datatypes::Float64Type>().value(0).is_sign_negative());
    harness.batch(0, Delta::retractions(batch(&row(0.0)))).unwrap();
    harness.tick().unwrap();
    assert_eq!(harness.state_size().rows, 0);
}

fn column(name: &str, index: usize) -> Arc<dyn PhysicalExpr> {
    Arc::new(Column::new(name, index))
}

fn function(call: WindowFunctionDefinition, args: &[Arc<dyn PhysicalExpr>], frame: WindowFrame) -> Arc<dyn WindowExpr> {
    let (partition, order) = ([column("k", 0)], [PhysicalSortExpr { expr: column("n", 1), options: DESCENDING }]);
    let name = call.name().to_owned();
    create_window_expr(&call, name, args, &partition, &order, Arc::new(frame), schema(), false, false, None).unwrap()
}

/// `lag(n)`, and the sum of `n` over the row and its two neighbours.
pub fn window(reach: Reach) -> Harness {
    let around = WindowFrame::new_bounds(
        WindowFrameUnits::Rows,
        WindowFrameBound::Preceding(ScalarValue::UInt64(Some(1))),
        WindowFrameBound::Following(ScalarValue::UInt64(Some(1))),
    );
    let functions = vec![
        function(WindowFunctionDefinition::WindowUDF(lag_udwf()), &[column("n", 1)], WindowFrame::new(Some(false))),
        function(WindowFunctionDefinition::AggregateUDF(sum_udaf()), &[column("n", 1)], around),
    ];
    let schema_out = windowed_schema();
    let (input, partition, order) = (schema(), vec![0], order());
    let operator =
        Window::new(WindowOptions { input, partition, order, functions, reach, closing: None, schema: schema_out });
    Harness::new(operator.unwrap())
}

fn windowed_schema() -> SchemaRef {
    let added = ["lag", "sum"].map(|name| Arc::new(Field::new(name, DataType::Int64, true)));
    Arc::new(Schema::new(schema().fields().iter().cloned().chain(added).collect::<Vec<_>>()))
}

fn windowed(rows: &[Row]) -> Bag {
    let mut all = Bag::new();
    for rows in partitions(rows) {
        let value = |at: Option<usize>| at.and_then(|at| rows.get(at)).and_then(|row| row.1);
        let lag: Int64Array = (0..rows.len()).map(|at| value(at.checked_sub(1))).collect();
        let sum: Int64Array = (0..rows.len())
            .map(|at| [at.checked_sub(1), Some(at), Some(at + 1)].into_iter().filter_map(value).reduce(|a, b| a + b))
            .collect();
        let mut columns = batch(&rows).columns().to_vec();
        columns.extend([Arc::new(lag) as ArrayRef, Arc::new(sum)]);
        add(&mut all, &Delta::inserts(RecordBatch::try_new(windowed_schema(), columns).unwrap())).unwrap();
    }
    all
}

#[test]
fn window_functions_see_the_rows_of_their_partition() {
    for (reach, keys) in [(Reach::Partition, 4), (Reach::Rows(1), 4), (Reach::Rows(1), 1), (Reach::Rows(2), 2)] {
        check(Workers::new(move |_, _| window(reach), vec![vec![0]]), keys, |inputs| windowed(&inputs[0].rows));
    }
}
