//! Scalar expressions over deltas, and the rows on which they fail.

use crate::operator::Output;
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
        out.row_error(error, delta.weight(0));
        good[start] = false;
        return;
    }
    let half = delta.len() / 2;
    find_failing(exprs, &delta.slice(0, half), start, good, out);
    find_failing(exprs, &delta.slice(half, delta.len() - half), start + half, good, out);
}

/// What a failed evaluation says to a client.
fn sql_error(error: DataFusionError) -> SqlError {
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
