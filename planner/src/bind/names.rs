//! The names of output columns.
//!
//! Postgres names `count(*)` `count` and `a + 1` `?column?`; DataFusion names columns after the whole expression. So
//! each unnamed expression of a select list is given Postgres's name as an alias before planning. DataFusion wants the
//! columns of a select list to have different names, Postgres does not: equal names are kept apart by a mark behind
//! them, which [`plain_name`] takes off again.

use crate::parse::{fold, name_parts};
use millrace_functions::Walk;
use millrace_types::{SqlError, SqlType};
use sqlparser::ast::{
    AccessExpr, BinaryOperator, Expr, Ident, OrderByKind, Query, Select, SelectItem, SetExpr, TableFactor,
    TableWithJoins, TrimWhereField, VisitorMut,
};
use std::collections::HashMap;
use std::ops::ControlFlow;

/// Stands between a name and the number that keeps it apart. No identifier of a user holds it: it cannot be typed.
const MARK: char = '\u{1}';

/// A column's name without the mark that keeps it apart from others of the same name.
pub fn plain_name(name: &str) -> &str {
    name.split(MARK).next().unwrap_or(name)
}

/// Gives every unnamed expression in the select lists of a query Postgres's name: for who changes the expressions before
/// they are bound.
pub fn name_outputs(query: &mut Query) {
    name_columns(query, Wildcards::Distinct);
}

/// How the columns of a select list with a wildcard are named.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Wildcards {
    /// Columns beside a wildcard are taken to be others than those that it stands for.
    Distinct,
    /// Columns beside a wildcard may repeat its columns: all are marked.
    Repeated,
    /// As `Distinct`; outputs may hide the columns by which the rows are sorted: these are marked.
    Hiding,
    /// As `Distinct`; of outputs of one name all are marked, and not only those after the first.
    Alike,
}

/// Gives every unnamed expression in the select lists of a query, also of its subqueries, Postgres's name.
pub fn name_columns(query: &mut Query, wildcards: Wildcards) {
    // It never breaks off.
    let _ = query.walk_mut(&mut Namer(wildcards));
}

struct Namer(Wildcards);

impl VisitorMut for Namer {
    type Break = SqlError;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<SqlError> {
        expand_table(&mut query.body);
        if self.0 == Wildcards::Hiding {
            mark_hidden(query);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<SqlError> {
        let mut seen: HashMap<String, usize> = HashMap::new();
        let wildcard = select
            .projection
            .iter()
            .any(|item| matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..)));
        let mark_all = wildcard && self.0 == Wildcards::Repeated;
        let own: Vec<String> = select.from.iter().flat_map(relations).collect();
        let names: Vec<String> = select.projection.iter().filter_map(output_name).collect();
        let is_alike = |item: &SelectItem| {
            let name = output_name(item);
            self.0 == Wildcards::Alike && names.iter().filter(|other| Some(*other) == name.as_ref()).count() > 1
        };
        for item in &mut select.projection {
            let mark = mark_all || is_alike(item);
            name_item(item, &own, &mut seen, mark);
        }
        ControlFlow::Continue(())
    }
}

/// The name of an output, unless it is a wildcard's.
fn output_name(item: &SelectItem) -> Option<String> {
    match item {
        SelectItem::UnnamedExpr(expr) => Some(expression_name(expr)),
        SelectItem::ExprWithAlias { alias, .. } => Some(fold(alias)),
        _ => None,
    }
}

/// Marks outputs that have the name of an input column by which `ORDER BY t.a` sorts: both would be there by that name.
fn mark_hidden(query: &mut Query) {
    let Some(OrderByKind::Expressions(order)) = query.order_by.as_ref().map(|order| &order.kind) else { return };
    let inputs: Vec<&Vec<Ident>> = order
        .iter()
        .filter_map(|item| match &item.expr {
            Expr::CompoundIdentifier(names) => Some(names),
            _ => None,
        })
        .collect();
    let outputs: Vec<String> = order
        .iter()
        .filter_map(|item| match &item.expr {
            Expr::Identifier(name) => Some(fold(name)),
            _ => None,
        })
        .collect();
    let SetExpr::Select(select) = query.body.as_mut() else { return };
    for item in &mut select.projection {
        let (SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }) = &*item else { continue };
        let name = match &*item {
            SelectItem::ExprWithAlias { alias, .. } => fold(alias),
            _ => expression_name(expr),
        };
        let hides = inputs.iter().any(|names| names.last().is_some_and(|last| fold(last) == name));
        if hides && !is_column(expr) && !outputs.contains(&name) {
            let alias = Ident::with_quote('"', format!("{name}{MARK}0"));
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
        }
    }
}

/// `TABLE t` is `SELECT * FROM t`.
fn expand_table(body: &mut SetExpr) {
    let SetExpr::Table(table) = body else { return };
    let quoted = |name: &Option<String>| name.as_ref().map(|name| format!("\"{}\"", name.to_lowercase()));
    let name: Vec<_> = [quoted(&table.schema_name), quoted(&table.table_name)].into_iter().flatten().collect();
    if let Ok(query) = crate::parse::parse_query(&format!("SELECT * FROM {}", name.join("."))) {
        *body = *query.body;
    }
}

/// The names of the relations in a FROM item.
pub fn relations(table: &TableWithJoins) -> Vec<String> {
    let factors = std::iter::once(&table.relation).chain(table.joins.iter().map(|join| &join.relation));
    factors
        .flat_map(|factor| match factor {
            TableFactor::NestedJoin { table_with_joins, alias: None } => relations(table_with_joins),
            TableFactor::Table { name, alias: None, .. } => name_parts(name).pop().into_iter().collect(),
            TableFactor::Table { alias: Some(alias), .. }
            | TableFactor::NestedJoin { alias: Some(alias), .. }
            | TableFactor::Derived { alias: Some(alias), .. }
            | TableFactor::Function { alias: Some(alias), .. }
            | TableFactor::UNNEST { alias: Some(alias), .. } => vec![fold(&alias.name)],
            _ => vec![],
        })
        .collect()
}

/// `own`: the relations of the item's FROM.
fn name_item(item: &mut SelectItem, own: &[String], seen: &mut HashMap<String, usize>, mark_all: bool) {
    let (name, written) = match &*item {
        SelectItem::UnnamedExpr(expr) => (expression_name(expr), is_column(expr) && !is_outer(expr, own)),
        SelectItem::ExprWithAlias { alias, .. } => (fold(alias), true),
        _ => return,
    };
    let count = seen.entry(name.clone()).or_insert(0);
    *count += 1;
    let repeated = *count > 1 || mark_all;
    if written && !repeated {
        return;
    }
    let alias = if repeated { format!("{name}{MARK}{count}") } else { name };
    let expr = match std::mem::replace(item, SelectItem::Wildcard(Default::default())) {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => expr,
        other => {
            *item = other;
            return;
        }
    };
    *item = SelectItem::ExprWithAlias { expr, alias: Ident::with_quote('"', alias) };
}

/// A column alone: DataFusion names it as Postgres does.
fn is_column(expr: &Expr) -> bool {
    matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_))
}

/// Whether a column is one of an outer query, which DataFusion gives a name of another kind.
fn is_outer(expr: &Expr, own: &[String]) -> bool {
    match expr {
        Expr::CompoundIdentifier(names) => {
            names.iter().rev().nth(1).is_some_and(|relation| !own.contains(&fold(relation)))
        }
        _ => own.is_empty(),
    }
}

pub fn expression_name(expr: &Expr) -> String {
    strong_name(expr).or_else(|| weak_name(expr)).unwrap_or_else(|| "?column?".to_owned())
}

/// The name of a column or function, which a cast or CASE around it keeps.
fn strong_name(expr: &Expr) -> Option<String> {
    let fixed = match expr {
        Expr::Identifier(ident) => return Some(fold(ident)),
        Expr::CompoundIdentifier(idents) => return idents.last().map(fold),
        Expr::Function(function) => return function.name.0.last().and_then(|part| part.as_ident()).map(fold),
        Expr::Nested(inner) | Expr::Collate { expr: inner, .. } => return strong_name(inner),
        Expr::Cast { expr: inner, .. } => return strong_name(inner),
        Expr::CompoundFieldAccess { root, access_chain } => {
            let field = access_chain.iter().rev().find_map(|access| match access {
                AccessExpr::Dot(field) => strong_name(field),
                AccessExpr::Subscript(_) => None,
            });
            return field.or_else(|| strong_name(root));
        }
        Expr::Case { else_result: Some(result), .. } => return strong_name(result),
        Expr::Subquery(query) => return subquery_name(query),
        Expr::Exists { negated: false, .. } => "exists",
        Expr::Array(_) => "array",
        Expr::Extract { .. } => "extract",
        Expr::Substring { shorthand: true, .. } => "substr",
        Expr::Substring { .. } => "substring",
        Expr::Position { .. } => "position",
        Expr::Overlay { .. } => "overlay",
        Expr::Ceil { .. } => "ceil",
        Expr::Floor { .. } => "floor",
        Expr::AtTimeZone { .. } => "timezone",
        Expr::BinaryOp { op: BinaryOperator::Overlaps, .. } => "overlaps",
        Expr::Tuple(_) => "row",
        Expr::Trim { trim_where, .. } => match trim_where {
            Some(TrimWhereField::Leading) => "ltrim",
            Some(TrimWhereField::Trailing) => "rtrim",
            _ => "btrim",
        },
        _ => return None,
    };
    Some(fixed.to_owned())
}

/// The name of what has none inside: a type that is cast to, or `case`.
fn weak_name(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Cast { data_type, .. } => type_name(data_type),
        Expr::TypedString(typed) => type_name(&typed.data_type),
        Expr::Interval(_) => Some("interval".to_owned()),
        Expr::Case { .. } => Some("case".to_owned()),
        Expr::Nested(inner) => weak_name(inner),
        _ => None,
    }
}

fn type_name(data_type: &sqlparser::ast::DataType) -> Option<String> {
    crate::parse::sql_type(data_type).ok().map(|sql_type| named(&sql_type))
}

/// An array is called by its elements' type.
fn named(sql_type: &SqlType) -> String {
    match sql_type {
        SqlType::Array(element) => named(element),
        other => other.name(),
    }
}

fn subquery_name(query: &Query) -> Option<String> {
    match query.body.as_ref() {
        SetExpr::Select(select) => match select.projection.first()? {
            SelectItem::UnnamedExpr(expr) => Some(expression_name(expr)),
            SelectItem::ExprWithAlias { alias, .. } => Some(plain_name(&fold(alias)).to_owned()),
            _ => None,
        },
        _ => None,
    }
}
