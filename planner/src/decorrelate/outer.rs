//! Columns of an outer query, as a subquery names them.
//!
//! They are named, not numbered: the nearest query around that has a column of the name is meant. So a reference that
//! the query at hand does not resolve is a constant to it, and is resolved further out.

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, Result};
use datafusion::logical_expr::{Expr, LogicalPlan};

/// The place of a column of an outer query in that query's rows, `None` if it is not there.
pub fn place(column: &Column, rows: &DFSchema) -> Option<usize> {
    let exact = rows
        .iter()
        .position(|(qualifier, field)| qualifier == column.relation.as_ref() && *field.name() == column.name);
    exact.or_else(|| rows.maybe_index_of_column(column))
}

/// The different columns of `rows` that an expression refers to as outer ones, added to `found`.
fn collect(expr: &Expr, rows: &DFSchema, found: &mut Vec<Column>) -> Result<()> {
    expr.apply(|expr| {
        if let Expr::OuterReferenceColumn(_, column) = expr
            && place(column, rows).is_some()
            && !found.contains(column)
        {
            found.push(column.clone());
        }
        Ok(TreeNodeRecursion::Continue)
    })
    .map(drop)
}

/// The different columns of `rows` that a plan refers to as outer ones.
pub fn references(plan: &LogicalPlan, rows: &DFSchema) -> Result<Vec<Column>> {
    let mut found = vec![];
    plan.apply(|node| {
        node.apply_expressions(|expr| {
            collect(expr, rows, &mut found)?;
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    Ok(found)
}

/// The different outer columns that the subqueries in some expressions refer to.
pub fn references_of_subqueries<'a>(exprs: impl Iterator<Item = &'a Expr>) -> Result<Vec<Column>> {
    let mut found = vec![];
    for expr in exprs {
        expr.apply(|expr| {
            let subquery = match expr {
                Expr::Exists(exists) => &exists.subquery,
                Expr::InSubquery(within) => &within.subquery,
                Expr::SetComparison(compared) => &compared.subquery,
                Expr::ScalarSubquery(subquery) => subquery,
                _ => return Ok(TreeNodeRecursion::Continue),
            };
            subquery.subquery.apply_with_subqueries(|node| {
                node.apply_expressions(|expr| {
                    expr.apply(|expr| {
                        if let Expr::OuterReferenceColumn(_, column) = expr
                            && !found.contains(column)
                        {
                            found.push(column.clone());
                        }
                        Ok(TreeNodeRecursion::Continue)
                    })
                })
            })
        })?;
    }
    Ok(found)
}

/// Whether an expression refers to columns of `rows` as outer ones.
pub fn refers(expr: &Expr, rows: &DFSchema) -> Result<bool> {
    expr.exists(|expr| Ok(matches!(expr, Expr::OuterReferenceColumn(_, column) if place(column, rows).is_some())))
}

/// Whether a plan refers to columns of `rows` as outer ones.
pub fn depends(plan: &LogicalPlan, rows: &DFSchema) -> Result<bool> {
    references(plan, rows).map(|found| !found.is_empty())
}

/// The expression over the rows themselves: what were outer columns are its own.
pub fn within(expr: Expr, rows: &DFSchema) -> Result<Expr> {
    replace(expr, |column| Ok(place(column, rows).map(|at| Expr::Column(Column::from(rows.qualified_field(at))))))
}

/// The expression with some outer columns replaced.
pub fn replace(expr: Expr, mut value: impl FnMut(&Column) -> Result<Option<Expr>>) -> Result<Expr> {
    expr.transform_up(|expr| match &expr {
        Expr::OuterReferenceColumn(_, column) => {
            Ok(value(column)?.map_or_else(|| Transformed::no(expr.clone()), Transformed::yes))
        }
        _ => Ok(Transformed::no(expr)),
    })
    .map(|transformed| transformed.data)
}

/// The first outer column that is left in a plan without subqueries.
pub fn unresolved(plan: &LogicalPlan) -> Result<Option<Column>> {
    let mut found = None;
    plan.apply(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                if let Expr::OuterReferenceColumn(_, column) = expr {
                    found.get_or_insert_with(|| column.clone());
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(found)
}
