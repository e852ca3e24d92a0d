//! The condition of a join: what must be equal, and the rest.

use crate::error::sql_error;
use datafusion::common::NullEquality;
use datafusion::logical_expr::utils::{can_hash, conjunction, find_valid_equijoin_key_pair, split_conjunction};
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Join, Operator};
use millrace_functions::is_as_of_now;
use millrace_types::Result;

/// A join's condition, taken apart.
pub struct Condition {
    pub keys: Vec<Key>,
    /// What else a pair must satisfy, over the columns of both inputs.
    pub residual: Option<Expr>,
    /// Whether partners are those as of when a row comes.
    pub as_of_now: bool,
}

/// An expression over each input that are equal in a pair.
pub struct Key {
    pub left: Expr,
    pub right: Expr,
    /// Whether NULL equals NULL.
    pub nulls_match: bool,
}

impl Condition {
    pub fn of(join: &Join) -> Result<Condition> {
        let nulls_match = join.null_equality == NullEquality::NullEqualsNull;
        let on = join.on.iter().cloned();
        let mut keys: Vec<Key> = on.map(|(left, right)| Key { left, right, nulls_match }).collect();
        let (mut residual, mut as_of_now) = (vec![], false);
        for term in join.filter.iter().flat_map(split_conjunction) {
            match key(term, join)? {
                Some(key) => keys.push(key),
                None if is_true(term) => {}
                None if is_as_of_now(term) => as_of_now = true,
                None => residual.push(term.clone()),
            }
        }
        Ok(Condition { keys, residual: conjunction(residual), as_of_now })
    }
}

/// The key that a term of the condition is, if it compares the two inputs.
fn key(term: &Expr, join: &Join) -> Result<Option<Key>> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = term else { return Ok(None) };
    let nulls_match = match op {
        Operator::Eq => false,
        Operator::IsNotDistinctFrom => true,
        _ => return Ok(None),
    };
    let (left_schema, right_schema) = (join.left.schema(), join.right.schema());
    let pair = find_valid_equijoin_key_pair(left, right, left_schema, right_schema).map_err(sql_error)?;
    let Some((left, right)) = pair else { return Ok(None) };
    let left_type = left.get_type(left_schema).map_err(sql_error)?;
    let right_type = right.get_type(right_schema).map_err(sql_error)?;
    Ok((left_type == right_type && can_hash(&left_type)).then_some(Key { left, right, nulls_match }))
}

fn is_true(term: &Expr) -> bool {
    matches!(term, Expr::Literal(datafusion::common::ScalarValue::Boolean(Some(true)), _))
}
