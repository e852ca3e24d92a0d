//! Rows compared with subqueries of several columns, and arrays of subqueries: in words that DataFusion's planner knows.
//!
//! | written | planned as |
//! |---|---|
//! | `(a, b) IN (q)` | `CASE WHEN EXISTS (... WHERE a = "1" AND b = "2") THEN true WHEN EXISTS (... that may be so) THEN NULL ELSE false END` |
//! | `(a, b) > ALL (q)` | `NOT (a, b) <= ANY (q)`, and that as `IN` |
//! | `(a, b) = (q)` | `(SELECT a = "1" AND b = "2" FROM (q))` |
//! | `ARRAY(q)` | a function of `(q)` |

use crate::parse::parse_query;
use millrace_functions::{ARRAY_SUBQUERY, Walk, columns_of_row, each_expression};
use sqlparser::ast::{
    BinaryOperator, CaseWhen, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments,
    Ident, ObjectName, Query, SelectItem, SetExpr, TableAliasColumnDef, TableFactor, UnaryOperator, Value,
};

/// Rewrites every such expression in a tree.
pub fn rewrite(tree: &mut impl Walk) {
    each_expression(tree, |expr| {
        if let Some(changed) = rewritten(expr) {
            *expr = changed;
        }
    });
}

fn rewritten(expr: &Expr) -> Option<Expr> {
    match expr {
        Expr::InSubquery { expr, subquery, negated } => within(row(expr)?, subquery, *negated),
        Expr::AnyOp { left, compare_op: BinaryOperator::Eq, right, .. } => within(row(left)?, query(right)?, false),
        Expr::AllOp { left, compare_op: BinaryOperator::NotEq, right } => within(row(left)?, query(right)?, true),
        Expr::AnyOp { left, compare_op, right, .. } => quantified(&row(left)?, compare_op, query(right)?),
        Expr::AllOp { left, compare_op, right } => {
            let any_other = quantified(&row(left)?, &opposite(compare_op)?, query(right)?)?;
            Some(nested(Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(any_other) }))
        }
        Expr::BinaryOp { left, op, right } => compared(row(left)?, op, query(right)?),
        Expr::Like { any: true, negated, expr, pattern, escape_char } => {
            let pattern_of = |pattern| Expr::Like {
                any: false,
                negated: *negated,
                expr: expr.clone(),
                pattern,
                escape_char: escape_char.clone(),
            };
            matches_any(query(pattern)?, pattern_of(Box::new(column(0))))
        }
        Expr::ILike { any: true, negated, expr, pattern, escape_char } => {
            let pattern_of = |pattern| Expr::ILike {
                any: false,
                negated: *negated,
                expr: expr.clone(),
                pattern,
                escape_char: escape_char.clone(),
            };
            matches_any(query(pattern)?, pattern_of(Box::new(column(0))))
        }
        Expr::Function(function) => array(function),
        _ => None,
    }
}

/// The values of `(a, b)` or `ROW(a, b)`.
fn row(expr: &Expr) -> Option<Vec<Expr>> {
    match expr {
        Expr::Tuple(values) if values.len() > 1 => Some(values.clone()),
        _ => columns_of_row(expr),
    }
}

fn query(expr: &Expr) -> Option<&Query> {
    match expr {
        Expr::Subquery(query) => Some(query),
        Expr::Nested(inner) => query(inner),
        _ => None,
    }
}

fn within(row: Vec<Expr>, subquery: &Query, negated: bool) -> Option<Expr> {
    let equal = |(at, value): (usize, &Expr)| binary(value.clone(), BinaryOperator::Eq, column(at));
    let possible = |pair| Expr::IsNotFalse(Box::new(nested(equal(pair))));
    let is_equal = all(row.iter().enumerate().map(equal))?;
    let may_be_equal = all(row.iter().enumerate().map(possible))?;
    let any = any(subquery, row.len(), is_equal, may_be_equal)?;
    Some(match negated {
        true => nested(Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(any) }),
        false => any,
    })
}

/// `x LIKE ANY (q)`, where `condition` compares x with the column of q.
fn matches_any(subquery: &Query, condition: Expr) -> Option<Expr> {
    let unknown = Expr::IsNull(Box::new(nested(condition.clone())));
    any(subquery, 1, condition, unknown)
}

/// Whether a condition holds for any row of a subquery of `width` columns; NULL if for none, but another one for some.
fn any(subquery: &Query, width: usize, holds: Expr, may_hold: Expr) -> Option<Expr> {
    let exists = |filter| {
        let subquery = Box::new(over(subquery, width, None, Some(filter))?);
        Some(Expr::Exists { subquery, negated: false })
    };
    let value = |value: Value| Expr::Value(value.into());
    let conditions = vec![
        CaseWhen { condition: exists(holds)?, result: value(Value::Boolean(true)) },
        CaseWhen { condition: exists(may_hold)?, result: value(Value::Null) },
    ];
    let otherwise = Some(Box::new(value(Value::Boolean(false))));
    let template = parse_query("SELECT CASE WHEN true THEN true END").ok()?;
    let Expr::Case { case_token, end_token, .. } = first_item(&template)? else { return None };
    Some(nested(Expr::Case { case_token, end_token, operand: None, conditions, else_result: otherwise }))
}

/// `row op ANY (query)`
fn quantified(row: &[Expr], op: &BinaryOperator, subquery: &Query) -> Option<Expr> {
    let holds = condition(row, op)?;
    let unknown = Expr::IsNull(Box::new(nested(holds.clone())));
    any(subquery, row.len(), holds, unknown)
}

fn opposite(op: &BinaryOperator) -> Option<BinaryOperator> {
    Some(match op {
        BinaryOperator::Eq => BinaryOperator::NotEq,
        BinaryOperator::NotEq => BinaryOperator::Eq,
        BinaryOperator::Lt => BinaryOperator::GtEq,
        BinaryOperator::LtEq => BinaryOperator::Gt,
        BinaryOperator::Gt => BinaryOperator::LtEq,
        BinaryOperator::GtEq => BinaryOperator::Lt,
        _ => return None,
    })
}

/// `row op query`
fn compared(row: Vec<Expr>, op: &BinaryOperator, subquery: &Query) -> Option<Expr> {
    let result = condition(&row, op)?;
    Some(Expr::Subquery(Box::new(over(subquery, row.len(), Some(result), None)?)))
}

/// A row compared with a row of a subquery.
fn condition(row: &[Expr], op: &BinaryOperator) -> Option<Expr> {
    let pairs = row.iter().enumerate().map(|(at, value)| binary(value.clone(), op.clone(), column(at)));
    match op {
        BinaryOperator::Eq => all(pairs),
        BinaryOperator::NotEq => pairs.reduce(|left, right| binary(left, BinaryOperator::Or, right)),
        BinaryOperator::Lt | BinaryOperator::LtEq | BinaryOperator::Gt | BinaryOperator::GtEq => {
            let columns = (0..row.len()).map(column).collect();
            Some(binary(Expr::Tuple(row.to_vec()), op.clone(), Expr::Tuple(columns)))
        }
        _ => None,
    }
}

/// One column of a query of `width` columns, as a query of its own.
pub fn nth(subquery: &Query, width: usize, at: usize) -> Option<Expr> {
    Some(Expr::Subquery(Box::new(over(subquery, width, Some(column(at)), None)?)))
}

/// `SELECT item FROM (subquery) AS "row" ("1", "2") WHERE filter`
fn over(subquery: &Query, width: usize, item: Option<Expr>, filter: Option<Expr>) -> Option<Query> {
    let mut query = parse_query("SELECT 1 FROM (SELECT 1) AS \"row\"").ok()?;
    let SetExpr::Select(select) = query.body.as_mut() else { return None };
    if let Some(item) = item {
        select.projection = vec![SelectItem::UnnamedExpr(item)];
    }
    select.selection = filter;
    if let TableFactor::Derived { subquery: place, alias: Some(alias), .. } = &mut select.from.first_mut()?.relation {
        **place = subquery.clone();
        let names = (0..width).map(|at| TableAliasColumnDef { name: name(at), data_type: None });
        alias.columns = names.collect();
    }
    Some(*query)
}

fn first_item(query: &Query) -> Option<Expr> {
    let SetExpr::Select(select) = query.body.as_ref() else { return None };
    match select.projection.first()? {
        SelectItem::UnnamedExpr(expr) => Some(expr.clone()),
        _ => None,
    }
}

fn name(at: usize) -> Ident {
    Ident::with_quote('"', (at + 1).to_string())
}

fn column(at: usize) -> Expr {
    Expr::CompoundIdentifier(vec![Ident::with_quote('"', "row"), name(at)])
}

fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) }
}

fn nested(expr: Expr) -> Expr {
    Expr::Nested(Box::new(expr))
}

fn all(conditions: impl Iterator<Item = Expr>) -> Option<Expr> {
    conditions.reduce(|left, right| binary(left, BinaryOperator::And, right))
}

/// `ARRAY(q)`, which is parsed as a call of a function.
fn array(function: &Function) -> Option<Expr> {
    let FunctionArguments::Subquery(subquery) = &function.args else { return None };
    if !function.name.to_string().eq_ignore_ascii_case("array") {
        return None;
    }
    let argument = FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Subquery(subquery.clone())));
    let list = FunctionArgumentList { duplicate_treatment: None, args: vec![argument], clauses: vec![] };
    let name = ObjectName::from(vec![Ident::new(ARRAY_SUBQUERY)]);
    Some(Expr::Function(Function { name, args: FunctionArguments::List(list), ..function.clone() }))
}
