//! Equalities in the conditions of joins become keys.
//!
//! In place of DataFusion's `ExtractEquijoinPredicate`, which marks a whole join when one of its keys is compared by
//! `IS NOT DISTINCT FROM`; keys that it finds there later, or in a join that is merged with this one, would then take
//! NULL for equal to NULL as well. Such comparisons stay conditions here. Lowering makes keys of them, each by itself;
//! for a query that runs once [`NullSafeKeys`] does when nothing else is left to be done.

use datafusion::common::tree_node::Transformed;
use datafusion::common::{NullEquality, Result};
use datafusion::logical_expr::utils::{can_hash, conjunction, find_valid_equijoin_key_pair, split_conjunction_owned};
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Join, JoinType, LogicalPlan, Operator};
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

/// Makes keys of equalities.
#[derive(Debug)]
pub struct Equalities;

/// Makes keys of comparisons by `IS NOT DISTINCT FROM`, in joins without other keys.
#[derive(Debug)]
pub struct NullSafeKeys;

impl OptimizerRule for Equalities {
    fn name(&self) -> &str {
        "equalities"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        match plan {
            LogicalPlan::Join(join) if join.null_equality == NullEquality::NullEqualsNothing => {
                keys(join, Operator::Eq)
            }
            LogicalPlan::Join(join) if join.join_type == JoinType::Inner => Ok(Transformed::yes(conditions(join))),
            other => Ok(Transformed::no(other)),
        }
    }
}

impl OptimizerRule for NullSafeKeys {
    fn name(&self) -> &str {
        "null_safe_keys"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        match plan {
            LogicalPlan::Join(join) if join.on.is_empty() && !join.null_aware => {
                let mut found = keys(join, Operator::IsNotDistinctFrom)?;
                if let (true, LogicalPlan::Join(join)) = (found.transformed, &mut found.data) {
                    join.null_equality = NullEquality::NullEqualsNull;
                }
                Ok(found)
            }
            other => Ok(Transformed::no(other)),
        }
    }
}

/// Moves comparisons between both sides from the condition to the keys.
fn keys(mut join: Join, comparison: Operator) -> Result<Transformed<LogicalPlan>> {
    let Some(filter) = join.filter.take() else { return Ok(Transformed::no(LogicalPlan::Join(join))) };
    let (before, mut rest) = (join.on.len(), vec![]);
    for term in split_conjunction_owned(filter) {
        match key(&term, &join, comparison)? {
            Some(key) => join.on.push(key),
            None => rest.push(term),
        }
    }
    join.filter = conjunction(rest);
    let changed = join.on.len() > before;
    Ok(Transformed::new_transformed(LogicalPlan::Join(join), changed))
}

fn key(term: &Expr, join: &Join, comparison: Operator) -> Result<Option<(Expr, Expr)>> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = term else { return Ok(None) };
    if *op != comparison {
        return Ok(None);
    }
    let (left_schema, right_schema) = (join.left.schema(), join.right.schema());
    let pair = find_valid_equijoin_key_pair(left, right, left_schema, right_schema)?;
    let Some((left, right)) = pair else { return Ok(None) };
    let hashable = can_hash(&left.get_type(left_schema)?) && can_hash(&right.get_type(right_schema)?);
    Ok(hashable.then_some((left, right)))
}

/// Makes conditions of keys that take NULL for equal to NULL, so that the join can be merged with others.
fn conditions(mut join: Join) -> LogicalPlan {
    let comparisons = std::mem::take(&mut join.on).into_iter().map(|(left, right)| {
        Expr::BinaryExpr(BinaryExpr::new(Box::new(left), Operator::IsNotDistinctFrom, Box::new(right)))
    });
    join.filter = conjunction(comparisons.chain(join.filter.take()));
    join.null_equality = NullEquality::NullEqualsNothing;
    LogicalPlan::Join(join)
}
