//! Scalar expressions over deltas, and the rows on which they fail.

use crate::operator::{Output, RowError};
use crate::row_errors::row_text;
use arrow::array::{ArrayRef, BooleanArray};
use datafusion::error::DataFusionError;
use millrace_ir::Expr;
use millrace_types::{Delta, Result, SqlError, SqlState};

/// The values of `expr` for each row.
///
/// # Errors
/// What the expression says of some row.
pub fn evaluate(expr: &Expr, delta: &Delta) -> Result<ArrayRef> {
    let value = expr.evaluate(delta.rows()).map_err(sql_error)?;
    value.into_array(delta.len()).map_err(sql_error)
}

/// Evaluates all of `exprs`. The rows on which one fails are reported to `out` and left out: the delta returned has the
/// others, and the arrays are as long as it.
pub fn evaluate_where_possible(exprs: &[Expr], delta: Delta, out: &mut Output) -> Result<(Delta, Vec<ArrayRef>)> {
    match evaluate_all(exprs, &delta) {
        Ok(values) => return Ok((delta, values)),
        Err(error) if delta.is_empty() => return Err(error),
        Err(_) => {}
    }
    let mut good = vec![true; delta.len()];
    find_failing(exprs, &delta, 0, &mut good, out);
    let delta = delta.filter(&BooleanArray::from(good))?;
    let values = evaluate_all(exprs, &delta)?;
    Ok((delta, values))
}

fn evaluate_all(exprs: &[Expr], delta: &Delta) -> Result<Vec<ArrayRef>> {
    exprs.iter().map(|expr| evaluate(expr, delta)).collect()
}

/// Halves a delta that fails until single rows are left: few failing rows cost a few evaluations each. `start` is the
/// place of its first row in `good`.
fn find_failing(exprs: &[Expr], delta: &Delta, start: usize, good: &mut [bool], out: &mut Output) {
    let Err(error) = evaluate_all(exprs, delta) else { return };
    if delta.len() <= 1 {
        let row = Some(row_text(delta.rows(), 0).into());
        out.report(RowError { error, weight: delta.weight(0), row });
        good[start] = false;
        return;
    }
    let half = delta.len() / 2;
    find_failing(exprs, &delta.slice(0, half), start, good, out);
    find_failing(exprs, &delta.slice(half, delta.len() - half), start + half, good, out);
}

/// What a failed evaluation says to a client.
pub fn sql_error(error: DataFusionError) -> SqlError {
    match error {
        DataFusionError::ArrowError(error, _) => (*error).into(),
        DataFusionError::External(inner) => match inner.downcast::<SqlError>() {
            Ok(ours) => *ours,
            Err(other) => SqlError::internal(other.to_string()),
        },
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => sql_error(*inner),
        DataFusionError::NotImplemented(what) => SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, what),
        DataFusionError::Execution(what) => SqlError::new(SqlState::INVALID_PARAMETER_VALUE, what),
        other => SqlError::internal(other.strip_backtrace()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Filter, Join, JoinOptions, Project};
    use super::*;
    use crate::harness::{Bag, Harness};
    use crate::operator::Operator;
    use arrow::array::{Int64Array, RecordBatch};
    use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
    use datafusion::logical_expr::Operator as Sign;
    use datafusion::physical_expr::expressions::{binary, col, lit};
    use millrace_ir::{JoinKey, JoinKind};
    use millrace_types::Weights;
    use std::sync::Arc;

    fn schema(columns: &[&str]) -> SchemaRef {
        let fields: Vec<_> = columns.iter().map(|name| Field::new(*name, DataType::Int64, true)).collect();
        Arc::new(Schema::new(fields))
    }

    fn delta(columns: &[&str], rows: &[(&[i64], i64)]) -> Delta {
        let column = |at: usize| Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.0[at]))) as ArrayRef;
        let arrays = (0..columns.len()).map(column).collect();
        let weights: Vec<i64> = rows.iter().map(|row| row.1).collect();
        Delta::new(RecordBatch::try_new(schema(columns), arrays).unwrap(), Weights::Each(weights.into()))
    }

    fn bag(rows: &[(&[Option<i64>], i64)]) -> Bag {
        let text = |row: &[Option<i64>]| row.iter().map(|value| value.map(|v| v.to_string())).collect();
        rows.iter().map(|(row, weight)| (text(row), *weight)).collect()
    }

    #[test]
    fn a_row_that_fails_is_reported_and_the_others_pass() {
        let columns = schema(&["a", "b"]);
        let (a, b) = (col("a", &columns).unwrap(), col("b", &columns).unwrap());
        let quotient = binary(a.clone(), Sign::Divide, b, &columns).unwrap();
        let positive = binary(a, Sign::Gt, lit(0i64), &columns).unwrap();
        let mut filter = Filter::new(positive);
        let mut kept = crate::operator::Output::default();
        let rows: [(&[i64], i64); 5] = [(&[6, 3], 1), (&[1, 0], 2), (&[8, 2], -1), (&[-1, 0], 1), (&[9, 3], 1)];
        filter.on_batch(0, delta(&["a", "b"], &rows), &mut kept).unwrap();
        let mut harness = Harness::new(Project::new(vec![quotient], schema(&["q"])));
        kept.take_deltas().into_iter().for_each(|delta| harness.batch(0, delta).unwrap());
        harness.tick().unwrap();
        assert_eq!(harness.accumulated(), &bag(&[(&[Some(2)], 1), (&[Some(4)], -1), (&[Some(3)], 1)]));
        let error = &harness.errors()[0];
        assert_eq!((error.error.state(), error.error.message()), (SqlState::DIVISION_BY_ZERO, "division by zero"));
        assert_eq!(error.weight, 2);
        harness.batch(0, delta(&["a", "b"], &[(&[1, 0], -2)])).unwrap();
        assert!(harness.errors().is_empty());
    }

    #[test]
    fn a_left_join_with_a_condition_shows_each_row_that_has_no_partner() {
        let both = schema(&["k", "a", "k2", "b"]);
        let less = binary(col("a", &both).unwrap(), Sign::Lt, col("b", &both).unwrap(), &both).unwrap();
        let mut harness = Harness::new(Join::new(JoinOptions {
            kind: JoinKind::Left,
            left: schema(&["k", "a"]),
            right: schema(&["k2", "b"]),
            keys: vec![JoinKey { left: 0, right: 0, nulls_match: false }],
            residual: Some(less),
            schema: both,
            borrowed: [None, None],
            append_only: [false, false],
            is_self_join: false,
            closing: [None, None],
        }));
        let alone = (&[Some(1), Some(5), None, None][..], 2);
        harness.batch(0, delta(&["k", "a"], &[(&[1, 5], 2), (&[1, 1], 1)])).unwrap();
        harness.batch(1, delta(&["k2", "b"], &[(&[1, 3], 1), (&[2, 9], 1)])).unwrap();
        harness.tick().unwrap();
        let pair = (&[Some(1), Some(1), Some(1), Some(3)][..], 1);
        assert_eq!(harness.accumulated(), &bag(&[alone, pair]));
        // A partner comes and one goes; in the same tick the partner of nobody goes too.
        harness.batch(1, delta(&["k2", "b"], &[(&[1, 3], -1), (&[1, 6], 1), (&[2, 9], -1)])).unwrap();
        harness.tick().unwrap();
        let five = (&[Some(1), Some(5), Some(1), Some(6)][..], 2);
        let one = (&[Some(1), Some(1), Some(1), Some(6)][..], 1);
        assert_eq!(harness.accumulated(), &bag(&[five, one]));
        harness.batch(1, delta(&["k2", "b"], &[(&[1, 6], -1)])).unwrap();
        harness.tick().unwrap();
        assert_eq!(harness.accumulated(), &bag(&[alone, (&[Some(1), Some(1), None, None], 1)]));
    }
}
