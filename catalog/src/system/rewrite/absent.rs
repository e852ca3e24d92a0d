//! What cannot be there is not asked for.
//!
//! A SELECT that needs a row of a relation that never has one gives no rows, so the subqueries in it are never
//! evaluated; and no type is a domain, so neither is what a client wants to know of one. DataFusion could not plan
//! some of these, and need not.

use super::columns::is_empty;
use super::expressions::*;
use super::subqueries::aggregates;
use datafusion::sql::sqlparser::ast::*;
use millrace_functions::{each_expression, each_select};

/// The rule.
pub fn leave_out(query: &mut Query) {
    each_expression(query, |expr| {
        if let Expr::Case { operand: None, conditions, .. } = expr {
            for arm in conditions.iter_mut().filter(|arm| asks_for_domain(&arm.condition)) {
                if matches!(inside(&arm.result), Expr::Subquery(_)) {
                    arm.result = cast(null(), oid());
                }
            }
        }
    });
    // A subquery that finds no row is NULL, unless it counts that.
    each_expression(query, |expr| {
        if let Expr::Subquery(subquery) = expr
            && let SetExpr::Select(select) = subquery.body.as_ref()
            && let [SelectItem::UnnamedExpr(item) | SelectItem::ExprWithAlias { expr: item, .. }] = &*select.projection
            && !aggregates(item)
            && is_empty(&select.from)
        {
            *expr = cast(null(), DataType::Text);
        }
    });
    each_select(query, |select| {
        if is_empty(&select.from) {
            for item in &mut select.projection {
                if let Some(expr) = item_expression(item) {
                    each_expression(expr, without_subquery);
                }
            }
        }
    });
}

fn without_subquery(expr: &mut Expr) {
    let is_array = called(expr).as_deref() == Some("array");
    if is_array {
        *expr = cast(null(), DataType::Array(ArrayElemTypeDef::SquareBracket(Box::new(DataType::Text), None)));
    } else if matches!(expr, Expr::Subquery(_)) {
        *expr = cast(null(), DataType::Text);
    }
}

/// `t.typtype = 'd'`.
fn asks_for_domain(condition: &Expr) -> bool {
    match inside(condition) {
        Expr::BinaryOp { left, op: BinaryOperator::Eq, right } => match inside(left) {
            Expr::CompoundIdentifier(names) => {
                names.last().is_some_and(|name| name.value == "typtype") && literal(right) == Some("d")
            }
            _ => false,
        },
        _ => false,
    }
}
