//! Joins whose condition bounds how far the times of two rows lie apart: `a.ts BETWEEN b.ts - span AND b.ts + span`.

use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::BinaryExpr;
use datafusion::physical_expr::split_conjunction;
use millrace_functions::event_windows::MovedTime;
use millrace_ir::Expr;

/// How far a column of the left input of a join is after one of the right input, at least and at most, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    pub left: usize,
    pub right: usize,
    pub least: Option<i64>,
    pub most: Option<i64>,
}

/// The bounds that a condition over the columns of both inputs sets; the first `width` columns are those of the left.
pub fn bounds_of(condition: &Expr, width: usize) -> Vec<Bounds> {
    let mut all: Vec<Bounds> = vec![];
    for bound in split_conjunction(condition).into_iter().flat_map(|part| bound(part, width)) {
        match all.iter_mut().find(|known| (known.left, known.right) == (bound.left, bound.right)) {
            Some(known) => {
                known.least = known.least.into_iter().chain(bound.least).max();
                known.most = known.most.into_iter().chain(bound.most).min();
            }
            None => all.push(bound),
        }
    }
    all
}

/// What a comparison of times of both inputs says. Whether they may be equal does not matter here.
fn bound(part: &Expr, width: usize) -> Option<Bounds> {
    let comparison = part.downcast_ref::<BinaryExpr>()?;
    let (one, other) = (MovedTime::of(comparison.left())?, MovedTime::of(comparison.right())?);
    let (earlier, later, is_equal) = match comparison.op() {
        Operator::Lt | Operator::LtEq => (one, other, false),
        Operator::Gt | Operator::GtEq => (other, one, false),
        Operator::Eq => (one, other, true),
        _ => return None,
    };
    // earlier.column + earlier.span <= later.column + later.span, so the one column is at most so much after the other.
    let most = later.most.checked_sub(earlier.least)?;
    let least = later.least.checked_sub(earlier.most)?;
    match (earlier.column < width, later.column < width) {
        (true, false) => Some(Bounds {
            left: earlier.column,
            right: later.column - width,
            least: is_equal.then_some(least),
            most: Some(most),
        }),
        (false, true) => Some(Bounds {
            left: later.column,
            right: earlier.column - width,
            least: most.checked_neg(),
            most: if is_equal { Some(least.checked_neg()?) } else { None },
        }),
        _ => None,
    }
}
