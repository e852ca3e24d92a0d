//! A scalar subquery on system relations that refers to the outer row becomes a LEFT JOIN.
//!
//! Clients look a name up this way, by what is a key: `(SELECT d.adbin FROM pg_attrdef d WHERE d.adrelid = a.attrelid
//! AND d.adnum = a.attnum)`. DataFusion plans such a subquery only when it aggregates. On a key there is at most one
//! row, so the join neither drops nor repeats an outer row.

use super::columns::{Joined, owner, system_relations};
use super::expressions::*;
use datafusion::sql::sqlparser::ast::*;
use millrace_functions::{each_expression, each_select};

/// Aggregates, whose subqueries DataFusion plans itself.
const AGGREGATES: &[&str] =
    &["array_agg", "string_agg", "count", "sum", "min", "max", "avg", "bool_and", "bool_or", "every", "json_agg"];

/// The rule.
pub fn join(query: &mut Query) {
    let mut made = 0;
    each_select(query, |select| {
        let grouped = !matches!(&select.group_by, GroupByExpr::Expressions(keys, _) if keys.is_empty());
        if grouped || select.from.is_empty() {
            return;
        }
        select.projection.iter_mut().filter_map(item_expression).for_each(|item| each_expression(item, count_rows));
        let mut joins = Vec::new();
        let items = select.projection.iter_mut().filter_map(item_expression);
        for expr in items.chain(&mut select.selection) {
            if aggregates(expr) {
                continue;
            }
            each_expression(expr, |expr| {
                if let Expr::Subquery(subquery) = expr
                    && let Some(looked_up) = look_up(subquery, &mut made)
                {
                    joins.push(looked_up.join);
                    *expr = looked_up.value;
                }
            });
        }
        if !joins.is_empty() {
            attach(&mut select.from, joins);
        }
    });
}

/// `EXISTS (SELECT ...)` in the select list, where DataFusion has no plan for it, becomes a count of the rows.
fn count_rows(expr: &mut Expr) {
    let Expr::Exists { subquery, negated } = expr else { return };
    let SetExpr::Select(select) = subquery.body.as_mut() else { return };
    if system_relations(&select.from).is_none() || subquery.limit_clause.is_some() {
        return;
    }
    let number = |text: &str| Expr::Value(Value::Number(text.to_owned(), false).with_empty_span());
    select.projection = vec![SelectItem::UnnamedExpr(call("count", vec![number("1")]))];
    let op = if *negated { BinaryOperator::Eq } else { BinaryOperator::Gt };
    let count = Expr::Subquery(subquery.clone());
    *expr = Expr::Nested(Box::new(Expr::BinaryOp { left: Box::new(count), op, right: Box::new(number("0")) }));
}

/// Whether an expression aggregates outside its subqueries.
pub fn aggregates(expr: &Expr) -> bool {
    called(expr).is_some_and(|name| AGGREGATES.contains(&name.as_str()))
}

/// Puts all of FROM into one chain of joins, so that the new joins' conditions see every relation.
fn attach(from: &mut Vec<TableWithJoins>, joins: Vec<Join>) {
    let mut items = std::mem::take(from).into_iter();
    let Some(mut first) = items.next() else { return };
    for item in items {
        let relation = match item.joins.is_empty() {
            true => item.relation,
            false => TableFactor::NestedJoin { table_with_joins: Box::new(item), alias: None },
        };
        let join_operator = JoinOperator::CrossJoin(JoinConstraint::None);
        first.joins.push(Join { relation, global: false, join_operator });
    }
    first.joins.extend(joins);
    from.push(first);
}

/// A subquery as a join, and the value that stands in its place.
struct LookedUp {
    join: Join,
    value: Expr,
}

fn look_up(query: &Query, made: &mut usize) -> Option<LookedUp> {
    let plain = query.with.is_none() && query.limit_clause.is_none() && query.fetch.is_none();
    let SetExpr::Select(select) = query.body.as_ref() else { return None };
    let mut select = Select::clone(select);
    let grouped = !matches!(&select.group_by, GroupByExpr::Expressions(keys, _) if keys.is_empty());
    if !plain || grouped || select.distinct.is_some() || select.having.is_some() || select.projection.len() != 1 {
        return None;
    }
    let joined = system_relations(&select.from)?;
    let mut value = item_expression(&mut select.projection[0])?.clone();
    let mut condition = select.selection.take()?;
    if aggregates(&value) || !is_correlated(&joined, &mut condition) {
        return None;
    }
    *made += 1;
    rename(&joined, *made, &mut value);
    rename(&joined, *made, &mut condition);
    let mut from = select.from;
    rename_relations(&joined, *made, &mut from);
    // The first column of every relation with rows is never NULL, so it tells a row found from none.
    let first = joined.first()?;
    let found = Expr::IsNotNull(Box::new(column(first, *made, first.shape.columns[0].0)));
    let relation = match <[TableWithJoins; 1]>::try_from(from) {
        Ok([one]) if one.joins.is_empty() => one.relation,
        Ok([one]) => TableFactor::NestedJoin { table_with_joins: Box::new(one), alias: None },
        Err(mut several) => {
            attach(&mut several, Vec::new());
            TableFactor::NestedJoin { table_with_joins: Box::new(several.pop()?), alias: None }
        }
    };
    let join_operator = JoinOperator::LeftOuter(JoinConstraint::On(condition));
    Some(LookedUp { join: Join { relation, global: false, join_operator }, value: when(found, value) })
}

/// Whether a condition refers to anything but the subquery's own relations.
fn is_correlated(joined: &[Joined], condition: &mut Expr) -> bool {
    let mut outer = false;
    each_expression(condition, |expr| {
        if matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_)) {
            outer |= owner(joined, expr).is_none();
        }
    });
    outer
}

/// The name of a subquery's relation in the outer query, where its own may be taken.
fn alias(joined: &Joined, made: usize) -> Ident {
    identifier(&format!("{}_{made}", joined.name))
}

fn column(joined: &Joined, made: usize, name: &str) -> Expr {
    Expr::CompoundIdentifier(vec![alias(joined, made), identifier(name)])
}

fn rename(joined: &[Joined], made: usize, expr: &mut Expr) {
    each_expression(expr, |expr| {
        if let Some((relation, name)) = owner(joined, expr) {
            *expr = column(relation, made, &name);
        }
    });
}

fn rename_relations(joined: &[Joined], made: usize, from: &mut [TableWithJoins]) {
    let mut names = joined.iter().map(|joined| alias(joined, made));
    let mut rename_factor = |factor: &mut TableFactor| {
        if let TableFactor::Table { alias, .. } = factor {
            *alias = names.next().map(|name| TableAlias { explicit: true, name, columns: Vec::new(), at: None });
        }
    };
    for item in from {
        rename_factor(&mut item.relation);
        for join in &mut item.joins {
            rename_factor(&mut join.relation);
            use JoinOperator::*;
            if let Join(c) | Inner(c) | Left(c) | LeftOuter(c) = &mut join.join_operator
                && let JoinConstraint::On(condition) = c
            {
                rename(joined, made, condition);
            }
        }
    }
}
