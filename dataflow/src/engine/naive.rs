//! Plans evaluated from scratch over whole relations, row by row: what the engine must agree with.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Decimal128Type, Int64Type};
use datafusion::physical_expr::PhysicalExpr;
use millrace_ir::{AggregateFunction, Expr, Join, JoinKey, JoinKind, Node, Plan};
use millrace_types::{Delta, RelationId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Integers, NULL as `None`.
pub type Row = Vec<Option<i128>>;
/// Rows with how often each is there; never 0.
pub type Rows = BTreeMap<Row, i64>;

/// The net rows of deltas.
pub fn rows_of(deltas: impl IntoIterator<Item = Delta>) -> Rows {
    let mut rows = Rows::new();
    for delta in deltas {
        for at in 0..delta.len() {
            *rows.entry(row(delta.rows(), at)).or_default() += delta.weight(at);
        }
    }
    rows.retain(|_, count| *count != 0);
    rows
}

fn row(rows: &RecordBatch, at: usize) -> Row {
    let value = |column: &dyn Array| match column.data_type() {
        DataType::Int64 => i128::from(column.as_primitive::<Int64Type>().value(at)),
        DataType::Boolean => i128::from(column.as_boolean().value(at)),
        _ => column.as_primitive::<Decimal128Type>().value(at),
    };
    rows.columns().iter().map(|column| column.is_valid(at).then(|| value(column))).collect()
}

/// The rows of a plan over the contents of relations.
pub fn evaluate(node: &Node, contents: &dyn Fn(RelationId) -> Rows) -> Rows {
    let sum = |rows: Vec<(Row, i64)>| {
        let mut total = Rows::new();
        rows.into_iter().for_each(|(row, count)| *total.entry(row).or_default() += count);
        total
    };
    match &node.plan {
        Plan::Input { relation, columns, .. } => {
            let rows = contents(*relation).into_iter();
            sum(rows.map(|(row, count)| (columns.iter().map(|at| row[*at]).collect(), count)).collect())
        }
        Plan::Values { rows } => rows_of([Delta::inserts(rows.clone())]),
        Plan::Filter { input, predicate } => {
            let mut rows = evaluate(input, contents);
            rows.retain(|row, _| value(predicate, row, input) == Some(1));
            rows
        }
        Plan::Project { input, exprs } => {
            let rows = evaluate(input, contents).into_iter();
            let projected = |row: &Row| exprs.iter().map(|expr| value(expr, row, input)).collect();
            sum(rows.map(|(row, count)| (projected(&row), count)).collect())
        }
        Plan::Expand { input, sets } => {
            let rows = evaluate(input, contents).into_iter();
            let projected = |row: &Row, exprs: &[Expr]| exprs.iter().map(|expr| value(expr, row, input)).collect();
            sum(rows.flat_map(|(row, count)| sets.iter().map(move |set| (projected(&row, set), count))).collect())
        }
        Plan::Exchange { input, .. } => evaluate(input, contents),
        Plan::Aggregate { input, keys, aggregates, .. } => {
            let mut groups = BTreeMap::<Row, Vec<(Row, i64)>>::new();
            if keys.is_empty() {
                groups.insert(vec![], vec![]);
            }
            for (row, count) in evaluate(input, contents) {
                groups.entry(keys.iter().map(|at| row[*at]).collect()).or_default().push((row, count));
            }
            let rows = groups.into_iter().map(|(mut key, rows)| {
                key.extend(aggregates.iter().map(|a| aggregate(&a.function, a.argument, &rows)));
                (key, 1)
            });
            rows.collect()
        }
        Plan::Distinct { input, .. } => evaluate(input, contents).into_keys().map(|row| (row, 1)).collect(),
        Plan::Join(join) => sum(joined(join, evaluate(&join.left, contents), evaluate(&join.right, contents))),
        Plan::TopK(_)
        | Plan::Window(_)
        | Plan::OnClose(_)
        | Plan::LookUp(_)
        | Plan::Unnest { .. }
        | Plan::Reject { .. }
        | Plan::Temporal { .. } => {
            panic!("the tests do not use it: {node}")
        }
        Plan::Union { inputs } => sum(inputs.iter().flat_map(|input| evaluate(input, contents)).collect()),
    }
}

fn value(expr: &Expr, row: &Row, input: &Node) -> Option<i128> {
    let columns = row.iter().zip(input.schema.fields()).map(|(value, field)| {
        let text = arrow::array::Int64Array::from(vec![value.map(|value| i64::try_from(value).unwrap())]);
        arrow::compute::cast(&text, field.data_type()).unwrap()
    });
    let rows = RecordBatch::try_new(input.schema.clone(), columns.collect()).unwrap();
    let value = PhysicalExpr::evaluate(expr.as_ref(), &rows).unwrap().into_array(1).unwrap();
    self::row(&RecordBatch::try_from_iter([("value", Arc::clone(&value))]).unwrap(), 0)[0]
}

fn aggregate(function: &AggregateFunction, argument: Option<usize>, rows: &[(Row, i64)]) -> Option<i128> {
    let values = || rows.iter().filter_map(|(row, count)| Some((row[argument?]?, i128::from(*count))));
    match function {
        AggregateFunction::Count if argument.is_none() => Some(rows.iter().map(|(_, count)| i128::from(*count)).sum()),
        AggregateFunction::Sum => values().map(|(value, count)| value * count).reduce(|a, b| a + b),
        AggregateFunction::Max => values().map(|(value, _)| value).max(),
        other => panic!("the tests use no {other:?}"),
    }
}

fn joined(join: &Join, left: Rows, right: Rows) -> Vec<(Row, i64)> {
    let equal = |key: &JoinKey, a: &Row, b: &Row| {
        let (a, b) = (a[key.left], b[key.right]);
        a == b && (a.is_some() || key.nulls_match)
    };
    let are_partners = |a: &Row, b: &Row| join.keys.iter().all(|key| equal(key, a, b));
    let nulls = |node: &Node| vec![None; node.schema.fields().len()];
    let mut found = vec![];
    for (row, count) in &left {
        let pairs = right.iter().filter(|(other, _)| are_partners(row, other));
        let pairs: Vec<_> =
            pairs.map(|(other, others)| ([row.clone(), other.clone()].concat(), count * others)).collect();
        match (join.kind, pairs.is_empty()) {
            (JoinKind::Left | JoinKind::Full, true) => found.push(([row.clone(), nulls(&join.right)].concat(), *count)),
            (JoinKind::Semi, false) | (JoinKind::Anti, true) => found.push((row.clone(), *count)),
            (JoinKind::Mark, alone) => found.push(([row.clone(), vec![Some(i128::from(!alone))]].concat(), *count)),
            (kind, _) if kind.gives_pairs() => found.extend(pairs),
            _ => {}
        }
    }
    if join.kind == JoinKind::Full {
        let alone = right.iter().filter(|(other, _)| !left.keys().any(|row| are_partners(row, other)));
        found.extend(alone.map(|(other, count)| ([nulls(&join.left), other.clone()].concat(), *count)));
    }
    found
}
