//! Aggregates in a subquery over an outer query's columns alone, which are the outer query's.
//!
//! ```text
//! SELECT k, (SELECT max(u.x) + sum(t.x) FROM u) FROM t GROUP BY k
//! SELECT g.k, (SELECT max(u.x) + g.a FROM u) FROM (SELECT k, sum(t.x) AS a FROM t GROUP BY k) AS g
//! ```
//!
//! Only columns named with their relation are taken to be the outer query's. What asks for more than keys and aggregates
//! is left as it is, to be refused when subqueries are joined.

use super::names::{expression_name, name_outputs, relations};
use crate::functions::FunctionSource;
use crate::parse::{fold, name_parts, parse_query};
use datafusion::execution::FunctionRegistry;
use millrace_functions::Walk;
use millrace_types::SqlError;
use sqlparser::ast::{
    Expr, Function, GroupByExpr, Ident, OrderByKind, Query, Select, SelectItem, SetExpr, TableAlias, TableFactor,
    TableWithJoins, Visitor, VisitorMut,
};
use std::ops::ControlFlow;

/// The relation of the groups: no user can type its name.
const GROUPS: &str = "\u{1}groups";

/// Computes such aggregates where they belong, in a query and its subqueries.
pub fn hoist(query: &mut Query, functions: &FunctionSource) {
    struct Each<'a>(&'a FunctionSource);
    impl VisitorMut for Each<'_> {
        type Break = SqlError;

        fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<SqlError> {
            if sorts_by_outputs(query)
                && let SetExpr::Select(select) = query.body.as_ref()
                && let Some(hoisted) = hoisted(select, self.0)
            {
                *query.body = SetExpr::Select(Box::new(hoisted));
            }
            ControlFlow::Continue(())
        }
    }
    // It never breaks off.
    let _ = query.walk_mut(&mut Each(functions));
}

/// Whether a query is sorted, if at all, by names or numbers alone.
fn sorts_by_outputs(query: &Query) -> bool {
    match query.order_by.as_ref().map(|order| &order.kind) {
        None => true,
        Some(OrderByKind::Expressions(keys)) => {
            keys.iter().all(|key| matches!(key.expr, Expr::Identifier(_) | Expr::Value(_)))
        }
        Some(_) => false,
    }
}

/// The SELECT over its groups; `None` where it has no such aggregate, or asks for more than the groups hold.
fn hoisted(select: &Select, functions: &FunctionSource) -> Option<Select> {
    let own: Vec<String> = select.from.iter().flat_map(relations).collect();
    let GroupByExpr::Expressions(keys, modifiers) = &select.group_by else { return None };
    let is_plain = |key: &Expr| matches!(key, Expr::Identifier(_) | Expr::CompoundIdentifier(_));
    if own.is_empty() || !modifiers.is_empty() || !keys.iter().all(is_plain) {
        return None;
    }
    let mut outer = named(select)?;
    outer.from = vec![];
    outer.selection = None;
    outer.group_by = GroupByExpr::Expressions(vec![], vec![]);
    let mut finder = Finder { functions, own: &own, within: vec![], found: vec![], hoists: false };
    let _ = outer.walk(&mut finder);
    if !finder.hoists {
        return None;
    }
    let mut replacer = Replacer { own: &own, within: vec![], keys, aggregates: &finder.found, left: false };
    let _ = outer.walk_mut(&mut replacer);
    if replacer.left {
        return None;
    }
    let values = keys.iter().enumerate().map(|(at, key)| (key.clone(), key_name(at)));
    let calls = finder.found.iter().enumerate().map(|(at, call)| (call.clone(), aggregate_name(at)));
    let item = |(expr, alias)| SelectItem::ExprWithAlias { expr, alias };
    let mut inner = Select { distinct: None, having: None, named_window: vec![], qualify: None, ..select.clone() };
    inner.projection = values.chain(calls).map(item).collect();
    outer.selection = outer.having.take();
    outer.from = vec![TableWithJoins { relation: derived(inner)?, joins: vec![] }];
    Some(outer)
}

/// The SELECT with names for its outputs as they are written.
fn named(select: &Select) -> Option<Select> {
    let mut query = *parse_query("SELECT 1").ok()?;
    *query.body = SetExpr::Select(Box::new(select.clone()));
    name_outputs(&mut query);
    let SetExpr::Select(mut named) = *query.body else { return None };
    for item in &mut named.projection {
        if let SelectItem::UnnamedExpr(expr) = item {
            let alias = Ident::with_quote('"', expression_name(expr));
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
        }
    }
    Some(*named)
}

/// `(SELECT ...) AS groups`
fn derived(select: Select) -> Option<TableFactor> {
    let mut subquery = parse_query("SELECT 1").ok()?;
    *subquery.body = SetExpr::Select(Box::new(select));
    let name = Ident::with_quote('"', GROUPS);
    let alias = TableAlias { explicit: true, name, columns: vec![], at: None };
    Some(TableFactor::Derived { lateral: false, subquery, alias: Some(alias), sample: None })
}

fn key_name(at: usize) -> Ident {
    Ident::with_quote('"', format!("key {at}"))
}

fn aggregate_name(at: usize) -> Ident {
    Ident::with_quote('"', format!("aggregate {at}"))
}

/// Finds the aggregates of a SELECT: its own, and those in subqueries that are over its columns.
struct Finder<'a> {
    functions: &'a FunctionSource,
    own: &'a [String],
    /// The relations of the SELECTs around the present place, the first of which is this one.
    within: Vec<Vec<String>>,
    found: Vec<Expr>,
    hoists: bool,
}

impl Visitor for Finder<'_> {
    type Break = SqlError;

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<SqlError> {
        self.within.push(select.from.iter().flat_map(relations).collect());
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, _: &Select) -> ControlFlow<SqlError> {
        self.within.pop();
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<SqlError> {
        let Expr::Function(call) = expr else { return ControlFlow::Continue(()) };
        let belongs = match self.within.len() {
            0 | 1 => true,
            _ => is_over(expr, &self.visible()),
        };
        if belongs && is_aggregate(call, self.functions) {
            self.hoists |= self.within.len() > 1;
            if !self.found.contains(expr) {
                self.found.push(expr.clone());
            }
        }
        ControlFlow::Continue(())
    }
}

impl Finder<'_> {
    /// The relations of this SELECT that no subquery around the present place hides.
    fn visible(&self) -> Vec<String> {
        let hidden = |name: &&String| self.within.iter().skip(1).flatten().any(|other| other == *name);
        self.own.iter().filter(|name| !hidden(name)).cloned().collect()
    }
}

fn is_aggregate(call: &Function, functions: &FunctionSource) -> bool {
    call.over.is_none() && name_parts(&call.name).pop().is_some_and(|name| functions.state().udaf(&name).is_ok())
}

/// Whether an expression names columns, and only such of these relations.
fn is_over(expr: &Expr, relations: &[String]) -> bool {
    struct Columns<'a> {
        relations: &'a [String],
        any: bool,
    }
    impl Visitor for Columns<'_> {
        type Break = SqlError;

        fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<SqlError> {
            ControlFlow::Break(SqlError::internal("a subquery"))
        }

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<SqlError> {
            let is_other = match expr {
                Expr::Identifier(_) => true,
                Expr::CompoundIdentifier(names) => {
                    self.any = true;
                    !is_of(names, self.relations)
                }
                _ => false,
            };
            if is_other { ControlFlow::Break(SqlError::internal("another column")) } else { ControlFlow::Continue(()) }
        }
    }
    let mut columns = Columns { relations, any: false };
    expr.walk(&mut columns).is_ok() && columns.any
}

/// Whether the name of a column is that of one of these relations.
fn is_of(names: &[Ident], relations: &[String]) -> bool {
    names.iter().rev().nth(1).is_some_and(|relation| relations.contains(&fold(relation)))
}

/// Puts the columns of the groups where keys and aggregates stand.
struct Replacer<'a> {
    own: &'a [String],
    within: Vec<Vec<String>>,
    keys: &'a [Expr],
    aggregates: &'a [Expr],
    /// Whether something is asked for that the groups do not hold.
    left: bool,
}

impl VisitorMut for Replacer<'_> {
    type Break = SqlError;

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<SqlError> {
        self.within.push(select.from.iter().flat_map(relations).collect());
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, _: &mut Select) -> ControlFlow<SqlError> {
        self.within.pop();
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<SqlError> {
        let here = self.within.len() <= 1;
        let hidden = |name: &&String| self.within.iter().skip(1).flatten().any(|other| other == *name);
        let visible: Vec<String> = self.own.iter().filter(|name| !hidden(name)).cloned().collect();
        let column = match &*expr {
            Expr::Function(_) if here || is_over(expr, &visible) => {
                self.aggregates.iter().position(|call| call == expr).map(aggregate_name)
            }
            Expr::Identifier(_) if here => self.key(expr),
            Expr::CompoundIdentifier(names) if is_of(names, &visible) => self.key(expr),
            _ => return ControlFlow::Continue(()),
        };
        match column {
            Some(column) => *expr = Expr::CompoundIdentifier(vec![Ident::with_quote('"', GROUPS), column]),
            // A function of keys and aggregates.
            None if matches!(expr, Expr::Function(_)) => {}
            None => self.left |= !is_groups(expr),
        }
        ControlFlow::Continue(())
    }
}

impl Replacer<'_> {
    /// The key that a column is; one of the two may be named without its relation.
    fn key(&self, column: &Expr) -> Option<Ident> {
        let last = |expr: &Expr| match expr {
            Expr::Identifier(name) => Some((fold(name), true)),
            Expr::CompoundIdentifier(names) => names.last().map(|name| (fold(name), false)),
            _ => None,
        };
        let (name, bare) = last(column)?;
        let is_key = |key: &Expr| match last(key) {
            Some((other, other_bare)) if bare || other_bare => name == other && self.own.len() == 1,
            _ => false,
        };
        self.keys.iter().position(|key| key == column || is_key(key)).map(key_name)
    }
}

/// Whether a column is one of the groups already.
fn is_groups(expr: &Expr) -> bool {
    matches!(expr, Expr::CompoundIdentifier(names) if names.first().is_some_and(|name| name.value == GROUPS))
}
