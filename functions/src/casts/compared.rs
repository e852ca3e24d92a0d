//! Comparisons that stand in no operator: `IN`, `BETWEEN`, `CASE x WHEN`, `IS DISTINCT FROM`.
//!
//! They compare as `=` does: constants get the type of the other side, blanks behind a `char(n)` do not count, and
//! `numeric` beside a float is one. Comparing again changes nothing, as plans are analysed more than once.

use crate::operators::comparable;
use datafusion::common::{Column, DFSchema, Result};
use datafusion::logical_expr::expr::{Between, BinaryExpr, Case, InList, InSubquery, SetComparison};
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, Operator, Projection, Subquery, binary_expr};
use datafusion::sql::sqlparser::ast::BinaryOperator;
use std::sync::Arc;

/// A comparison with its operands as `=` compares them; `None` for other expressions, and where their types are open.
pub fn compared(expr: &Expr, schema: &DFSchema) -> Result<Option<Expr>> {
    match expr {
        Expr::InList(list) => in_list(list, schema).map(Some),
        Expr::Between(between) => within_bounds(between, schema),
        Expr::Case(case) => case_of(case, schema),
        Expr::InSubquery(InSubquery { expr, subquery, negated }) => {
            let compared = with_subquery("=", expr, subquery, schema)?;
            Ok(compared.map(|(expr, subquery)| {
                Expr::InSubquery(InSubquery { expr: Box::new(expr), subquery, negated: *negated })
            }))
        }
        Expr::SetComparison(comparison) => {
            let symbol = comparison.op.to_string();
            let compared = with_subquery(&symbol, &comparison.expr, &comparison.subquery, schema)?;
            Ok(compared.map(|(expr, subquery)| {
                Expr::SetComparison(SetComparison { expr: Box::new(expr), subquery, ..comparison.clone() })
            }))
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right })
            if matches!(op, Operator::IsDistinctFrom | Operator::IsNotDistinctFrom) =>
        {
            let (left, right) = equal(left, right, schema)?;
            Ok(Some(binary_expr(left, *op, right)))
        }
        _ => Ok(None),
    }
}

fn equal(left: &Expr, right: &Expr, schema: &DFSchema) -> Result<(Expr, Expr)> {
    comparable(&BinaryOperator::Eq, left.clone(), right.clone(), schema)
}

/// `x IN (a, b)`; where x is compared with a otherwise than with b, as `x = a OR x = b`.
fn in_list(list: &InList, schema: &DFSchema) -> Result<Expr> {
    let pairs = list.list.iter().map(|item| equal(&list.expr, item, schema)).collect::<Result<Vec<_>>>()?;
    let alike = pairs.windows(2).all(|two| two[0].0 == two[1].0);
    if alike && let Some((left, _)) = pairs.first().cloned() {
        let items = pairs.into_iter().map(|(_, item)| item).collect();
        return Ok(Expr::InList(InList::new(Box::new(left), items, list.negated)));
    }
    let equalities = pairs.into_iter().map(|(left, right)| left.eq(right));
    let any = equalities.reduce(Expr::or).unwrap_or_else(|| Expr::InList(list.clone()));
    Ok(if list.negated { Expr::Not(Box::new(any)) } else { any })
}

fn within_bounds(between: &Between, schema: &DFSchema) -> Result<Option<Expr>> {
    let (low_expr, low) = comparable(&BinaryOperator::GtEq, *between.expr.clone(), *between.low.clone(), schema)?;
    let (high_expr, high) = comparable(&BinaryOperator::LtEq, *between.expr.clone(), *between.high.clone(), schema)?;
    if low_expr == high_expr && low_expr == *between.expr {
        let (low, high) = (Box::new(low), Box::new(high));
        return Ok(Some(Expr::Between(Between { expr: between.expr.clone(), negated: between.negated, low, high })));
    }
    let within = low_expr.gt_eq(low).and(high_expr.lt_eq(high));
    Ok(Some(if between.negated { Expr::Not(Box::new(within)) } else { within }))
}

/// `CASE x WHEN a`; `None` where there is no x, or nothing to change.
fn case_of(case: &Case, schema: &DFSchema) -> Result<Option<Expr>> {
    let Some(operand) = &case.expr else { return Ok(None) };
    let pairs = case.when_then_expr.iter().map(|(when, _)| equal(operand, when, schema));
    let pairs = pairs.collect::<Result<Vec<_>>>()?;
    let same = pairs
        .iter()
        .zip(&case.when_then_expr)
        .all(|((left, right), (when, _))| left == operand.as_ref() && right == when.as_ref());
    if same {
        return Ok(None);
    }
    let arms = pairs.into_iter().zip(&case.when_then_expr);
    let arms = arms.map(|((left, right), (_, then))| (Box::new(left.eq(right)), then.clone()));
    Ok(Some(Expr::Case(Case::new(None, arms.collect(), case.else_expr.clone()))))
}

/// A value and the column of a subquery that it is compared with.
fn with_subquery(
    symbol: &str,
    expr: &Expr,
    subquery: &Subquery,
    schema: &DFSchema,
) -> Result<Option<(Expr, Subquery)>> {
    const COLUMN: &str = "compared\u{1}";
    let [field] = subquery.subquery.schema().fields().as_ref() else { return Ok(None) };
    if expr.to_field(schema).is_err() {
        return Ok(None);
    }
    let column = Expr::Column(Column::new_unqualified(COLUMN));
    let held = Arc::new(field.as_ref().clone().with_name(COLUMN));
    let held = DFSchema::from_unqualified_fields(vec![held].into(), Default::default())?;
    let both = schema.join(&held)?;
    let op = match symbol {
        "<" => BinaryOperator::Lt,
        "<=" => BinaryOperator::LtEq,
        ">" => BinaryOperator::Gt,
        ">=" => BinaryOperator::GtEq,
        "<>" | "!=" => BinaryOperator::NotEq,
        _ => BinaryOperator::Eq,
    };
    let (left, right) = comparable(&op, expr.clone(), column.clone(), &both)?;
    if right == column {
        return Ok(Some((left, subquery.clone())));
    }
    let plan = subquery.subquery.as_ref();
    let Some(own) = plan.schema().columns().pop() else { return Ok(None) };
    let Some(value) = in_terms_of(right, &column, &Expr::Column(own)) else { return Ok(None) };
    let projection = Projection::try_new(vec![value.alias(COLUMN)], subquery.subquery.clone())?;
    let plan = Arc::new(LogicalPlan::Projection(projection));
    Ok(Some((left, subquery.with_plan(plan))))
}

/// The expression with one column in the place of another.
fn in_terms_of(expr: Expr, column: &Expr, other: &Expr) -> Option<Expr> {
    use datafusion::common::tree_node::{Transformed, TreeNode};
    let replaced = expr.transform_up(|expr| match expr == *column {
        true => Ok(Transformed::yes(other.clone())),
        false => Ok(Transformed::no(expr)),
    });
    replaced.ok().map(|replaced| replaced.data)
}
