//! ORDER BY as Postgres has it, in the statement: what it may name, and what DISTINCT ON may.

use super::names::plain_name;
use crate::parse::fold;
use millrace_types::{Result, SqlError, SqlState};
use sqlparser::ast::{
    Distinct, Expr, OrderByKind, Query, Select, SelectItem, SetExpr, TableFactor, Value, VisitMut, VisitorMut,
};
use std::ops::ControlFlow;

/// Checks the orders of a query and of its subqueries; positions in DISTINCT ON become the columns that they mean.
///
/// # Errors
/// `42601` for an order by a constant; behind a set operation `0A000` for one by an expression and `42703` for one by
/// another column than it gives; `42P10` for a position that is not in the select list. The select lists are named.
pub fn prepare(query: &mut Query) -> Result<()> {
    match VisitMut::visit(query, &mut Preparer) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

struct Preparer;

impl VisitorMut for Preparer {
    type Break = SqlError;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<SqlError> {
        check_order(query).map_or_else(ControlFlow::Break, ControlFlow::Continue)
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<SqlError> {
        name_positions(select).map_or_else(ControlFlow::Break, ControlFlow::Continue)
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<SqlError> {
        // Text is compared by its bytes, which is what these collations say.
        if let Expr::Collate { expr: inner, collation } = expr
            && collation
                .0
                .last()
                .and_then(|part| part.as_ident())
                .is_some_and(|name| ["C", "POSIX", "default", "ucs_basic"].contains(&name.value.as_str()))
        {
            *expr = std::mem::replace(inner.as_mut(), Expr::Value(Value::Null.into()));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<SqlError> {
        name_values(factor);
        ControlFlow::Continue(())
    }
}

fn check_order(query: &Query) -> Result<()> {
    let Some(OrderByKind::Expressions(order)) = query.order_by.as_ref().map(|order| &order.kind) else {
        return Ok(());
    };
    let is_set_operation = matches!(query.body.as_ref(), SetExpr::SetOperation { .. });
    let names = if is_set_operation { output_names(&query.body) } else { None };
    for item in order {
        match &item.expr {
            Expr::Value(value) if !matches!(value.value, Value::Number(..) | Value::Placeholder(_)) => {
                return Err(SqlError::new(SqlState::SYNTAX_ERROR, "non-integer constant in ORDER BY"));
            }
            Expr::Identifier(name) if names.as_ref().is_some_and(|names| !names.contains(&fold(name))) => {
                let message = format!("column \"{}\" does not exist", fold(name));
                return Err(SqlError::new(SqlState::UNDEFINED_COLUMN, message));
            }
            Expr::Value(_) | Expr::Identifier(_) => {}
            _ if is_set_operation => {
                let message = "invalid UNION/INTERSECT/EXCEPT ORDER BY clause";
                return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message)
                    .with_detail("Only result column names can be used, not expressions or functions."));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The names of the columns that a set operation gives: those of its first SELECT; `None` when only planning tells.
fn output_names(body: &SetExpr) -> Option<Vec<String>> {
    match body {
        SetExpr::SetOperation { left, .. } => output_names(left),
        SetExpr::Query(query) => output_names(&query.body),
        SetExpr::Select(select) => {
            let name = |item: &SelectItem| match item {
                SelectItem::ExprWithAlias { alias, .. } => Some(plain_name(&fold(alias)).to_owned()),
                SelectItem::UnnamedExpr(Expr::Identifier(name)) => Some(fold(name)),
                SelectItem::UnnamedExpr(Expr::CompoundIdentifier(names)) => names.last().map(fold),
                _ => None,
            };
            select.projection.iter().map(name).collect()
        }
        _ => None,
    }
}

/// `DISTINCT ON (1)` is by the first column of the select list.
fn name_positions(select: &mut Select) -> Result<()> {
    let Some(Distinct::On(exprs)) = &mut select.distinct else { return Ok(()) };
    for expr in exprs {
        let Expr::Value(value) = &*expr else { continue };
        let Value::Number(text, _) = &value.value else { continue };
        let place = text.parse::<usize>().ok().and_then(|place| place.checked_sub(1));
        *expr = match place.and_then(|place| select.projection.get(place)) {
            Some(SelectItem::UnnamedExpr(column) | SelectItem::ExprWithAlias { expr: column, .. }) => column.clone(),
            _ => {
                let message = format!("SELECT DISTINCT ON position {text} is not in select list");
                return Err(SqlError::new(SqlState::INVALID_COLUMN_REFERENCE, message));
            }
        };
    }
    Ok(())
}

/// `(VALUES (1, 2)) AS t (a)` names the first column alone.
fn name_values(factor: &mut TableFactor) {
    let TableFactor::Derived { subquery, alias: Some(alias), .. } = factor else { return };
    let SetExpr::Values(values) = subquery.body.as_ref() else { return };
    let width = values.rows.first().map_or(0, |row| row.len());
    if let Some(last) = alias.columns.last().cloned() {
        for column in alias.columns.len()..width {
            let mut named = last.clone();
            named.name = format!("column{}", column + 1).as_str().into();
            alias.columns.push(named);
        }
    }
}
