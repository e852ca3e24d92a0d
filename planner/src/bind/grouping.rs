//! Grouping sets of expressions.
//!
//! What stands above an aggregate knows its keys by their names, which are those of their expressions. Typing changes the
//! expressions, and the name of a key of grouping sets cannot be kept by an alias. So such keys are computed below:
//! `ROLLUP (a + 1)` becomes `ROLLUP ("a + 1")` over a projection of that column.

use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, Result};
use datafusion::logical_expr::{Aggregate, Expr, GroupingSet, LogicalPlan, Projection};
use std::sync::Arc;

/// The plan with grouping sets over columns alone.
pub fn over_columns(plan: LogicalPlan) -> Result<LogicalPlan> {
    plan.transform_up_with_subqueries(|plan| match plan {
        LogicalPlan::Aggregate(aggregate) => rewritten(aggregate),
        other => Ok(Transformed::no(other)),
    })
    .map(|transformed| transformed.data)
}

fn rewritten(mut aggregate: Aggregate) -> Result<Transformed<LogicalPlan>> {
    let mut computed: Vec<Expr> = vec![];
    for key in &mut aggregate.group_expr {
        let Expr::GroupingSet(set) = key else { continue };
        let keys: Vec<&mut Expr> = match set {
            GroupingSet::Rollup(keys) | GroupingSet::Cube(keys) => keys.iter_mut().collect(),
            GroupingSet::GroupingSets(sets) => sets.iter_mut().flatten().collect(),
        };
        for key in keys {
            if matches!(key, Expr::Column(_) | Expr::OuterReferenceColumn(..)) {
                continue;
            }
            let name = key.schema_name().to_string();
            let expr = std::mem::replace(key, Expr::Column(Column::new_unqualified(&name))).alias(name);
            if !computed.contains(&expr) {
                computed.push(expr);
            }
        }
    }
    if computed.is_empty() {
        return Ok(Transformed::no(LogicalPlan::Aggregate(aggregate)));
    }
    let mut columns: Vec<Expr> = aggregate.input.schema().columns().into_iter().map(Expr::Column).collect();
    columns.extend(computed);
    let input = LogicalPlan::Projection(Projection::try_new(columns, aggregate.input)?);
    let aggregate = Aggregate::try_new(Arc::new(input), aggregate.group_expr, aggregate.aggr_expr)?;
    Ok(Transformed::yes(LogicalPlan::Aggregate(aggregate)))
}
