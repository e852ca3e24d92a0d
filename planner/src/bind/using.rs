//! `JOIN ... USING` and `NATURAL JOIN` spelled out.
//!
//! Postgres merges the columns that such a join names: outside of the join the bare name means the left column, in a
//! right join the right one, in a full join whichever is not NULL, and `*` shows it once and first. DataFusion knows
//! only the first of these. So before planning
//!
//! ```text
//! SELECT * FROM a FULL JOIN b USING (k)
//! SELECT coalesce(a.k, b.k) AS k, a.x AS x, b.y AS y FROM a FULL JOIN b ON a.k = b.k
//! ```
//!
//! The columns of tables and subqueries are asked for by planning `SELECT * FROM` each of them alone. Where that fails
//! the query is left as it is: planning it says what is wrong.

mod scope;

use super::names::expression_name;
use crate::parse::{fold, name_parts, parse_query};
use millrace_functions::Walk;
use millrace_types::{Result, SqlError};
use scope::{Column, Scope, Tables};
use sqlparser::ast::helpers::attached_token::AttachedToken;
use sqlparser::ast::{
    Cte, Expr, Ident, JoinConstraint, JoinOperator, OrderByKind, Query, Select, SelectItem,
    SelectItemQualifiedWildcardKind, SetExpr, TableAliasColumnDef, TableFactor, TableWithJoins, Visitor, VisitorMut,
    With,
};
use std::ops::ControlFlow;

/// Spells out the joins of a query and its subqueries. `columns`: the columns that a query gives.
///
/// # Errors
/// `42703` and `42702` for a name in USING that a side has not, or has twice.
pub fn spell_out(query: &mut Query, columns: &dyn Fn(&Query) -> Result<Vec<String>>) -> Result<()> {
    query.walk_mut(&mut Speller { columns, frames: vec![], task: Task::SpellJoins })
}

/// Gives tables whose alias names fewer columns than they have the names of the others.
///
/// # Errors
/// None of its own.
pub fn complete_aliases(query: &mut Query, columns: &dyn Fn(&Query) -> Result<Vec<String>>) -> Result<()> {
    query.walk_mut(&mut Speller { columns, frames: vec![], task: Task::CompleteAliases })
}

/// Whether a query or one of its subqueries has a join to be spelled out.
pub fn merges_columns(query: &Query) -> bool {
    struct Finder;
    impl Visitor for Finder {
        type Break = SqlError;

        fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<SqlError> {
            match merges(select) {
                true => ControlFlow::Break(SqlError::internal("found")),
                false => ControlFlow::Continue(()),
            }
        }
    }
    query.walk(&mut Finder).is_err()
}

struct Speller<'a> {
    columns: &'a dyn Fn(&Query) -> Result<Vec<String>>,
    /// The queries around the present one, outermost first.
    frames: Vec<Frame>,
    task: Task,
}

/// What is done to each query.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Task {
    SpellJoins,
    CompleteAliases,
}

/// A query that is being walked through, whose WITH comes before all else in it.
#[derive(Default)]
struct Frame {
    with: Option<With>,
    /// How many of its WITH queries are behind.
    passed: usize,
}

impl VisitorMut for Speller<'_> {
    type Break = SqlError;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<SqlError> {
        self.frames.push(Frame { with: query.with.clone(), passed: 0 });
        let own = query.with.as_ref().map_or(0, |with| with.cte_tables.len());
        // What stands behind the WITH sees all of it.
        self.frames.last_mut().into_iter().for_each(|frame| frame.passed = own);
        let spelled = match self.task {
            Task::SpellJoins => self.query(query),
            Task::CompleteAliases => {
                self.complete(query);
                Ok(())
            }
        };
        self.frames.last_mut().into_iter().for_each(|frame| frame.passed = 0);
        match spelled {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<SqlError> {
        self.frames.pop();
        if let Some(Frame { with: Some(with), passed }) = self.frames.last_mut() {
            *passed = (*passed + 1).min(with.cte_tables.len());
        }
        ControlFlow::Continue(())
    }
}

impl Speller<'_> {
    fn query(&self, query: &mut Query) -> Result<()> {
        if !selects(&query.body).iter().any(|select| merges(select)) {
            return Ok(());
        }
        let ctes = self.ctes();
        let names = |table: &TableFactor| select_all(table, ctes.clone()).and_then(|query| (self.columns)(&query)).ok();
        let tables = Tables { columns: &names };
        if let SetExpr::Select(select) = query.body.as_mut() {
            let scope = self::select(select, &tables)?;
            if let (Some(scope), Some(order)) = (scope, &mut query.order_by)
                && let OrderByKind::Expressions(exprs) = &mut order.kind
            {
                let outputs: Vec<_> = select.projection.iter().filter_map(output_name).collect();
                let sorted = exprs.iter_mut().map(|order| &mut order.expr);
                let inputs = sorted.filter(|expr| bare_name(expr).is_none_or(|name| !outputs.contains(&name)));
                return inputs.into_iter().try_for_each(|expr| scope.replace(expr));
            }
            return Ok(());
        }
        branches(&mut query.body).into_iter().try_for_each(|select| self::select(select, &tables).map(drop))
    }

    fn complete(&self, query: &mut Query) {
        let ctes = self.ctes();
        for select in branches(&mut query.body) {
            for table in select.from.iter_mut().flat_map(factors) {
                let Some(named) = alias_columns(table).filter(|columns| !columns.is_empty()) else { continue };
                let named = named.len();
                let mut bare = table.clone();
                alias_columns(&mut bare).into_iter().for_each(Vec::clear);
                let all = select_all(&bare, ctes.clone()).and_then(|query| (self.columns)(&query)).unwrap_or_default();
                let rest = all
                    .iter()
                    .skip(named)
                    .map(|name| TableAliasColumnDef { name: Ident::with_quote('"', name), data_type: None });
                alias_columns(table).into_iter().for_each(|columns| columns.extend(rest.clone()));
            }
        }
    }

    /// The WITH queries that can be named here: of equal names the innermost.
    fn ctes(&self) -> Vec<Cte> {
        let mut ctes: Vec<Cte> = vec![];
        for frame in &self.frames {
            let passed = frame.with.iter().flat_map(|with| &with.cte_tables).take(frame.passed);
            for cte in passed {
                ctes.retain(|known| fold(&known.alias.name) != fold(&cte.alias.name));
                ctes.push(cte.clone());
            }
        }
        ctes
    }
}

/// Spells out the joins of one SELECT; its scope, if there was something to do.
fn select(select: &mut Select, tables: &Tables) -> Result<Option<Scope>> {
    if !merges(select) {
        return Ok(None);
    }
    let mut from = select.from.clone();
    let mut scope = Scope::default();
    for table in &mut from {
        let Some(columns) = tables.joined(table)? else { return Ok(None) };
        scope.extend(columns);
    }
    select.from = vec![];
    select.projection =
        std::mem::take(&mut select.projection).into_iter().flat_map(|item| expanded(item, &scope)).collect();
    scope.replace_in(select)?;
    select.from = from;
    Ok(Some(scope))
}

/// An item of a select list with `*` expanded and with the name that it would have had.
fn expanded(item: SelectItem, scope: &Scope) -> Vec<SelectItem> {
    let named = |expr: Expr, name: &str| SelectItem::ExprWithAlias { expr, alias: Ident::with_quote('"', name) };
    let all = |columns: &[Column]| columns.iter().map(|Column { name, expr, .. }| named(expr.clone(), name)).collect();
    if let SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), _) = &item
        && let [table] = name_parts(name).as_slice()
        && let Some(columns) = scope.table(table)
    {
        return all(columns);
    }
    match item {
        SelectItem::Wildcard(_) => all(scope.columns()),
        SelectItem::UnnamedExpr(expr)
            if named_by_join(&expr, scope) || !matches!(expr, Expr::CompoundIdentifier(_)) =>
        {
            let name = expression_name(&expr);
            vec![named(expr, &name)]
        }
        other => vec![other],
    }
}

/// Whether an expression is a column by the name of a join, in whose place another stands.
fn named_by_join(expr: &Expr, scope: &Scope) -> bool {
    matches!(expr, Expr::CompoundIdentifier(idents) if idents.first().is_some_and(|table| scope.table(&fold(table)).is_some()))
}

fn output_name(item: &SelectItem) -> Option<String> {
    match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(fold(alias)),
        SelectItem::UnnamedExpr(Expr::CompoundIdentifier(idents)) => idents.last().map(fold),
        _ => None,
    }
}

fn bare_name(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Identifier(ident) => Some(fold(ident)),
        _ => None,
    }
}

/// Whether a SELECT has a join that merges columns.
fn merges(select: &Select) -> bool {
    select.from.iter().any(table_merges)
}

fn table_merges(table: &TableWithJoins) -> bool {
    let factor_merges = |factor: &TableFactor| match factor {
        TableFactor::NestedJoin { table_with_joins, .. } => table_merges(table_with_joins),
        _ => false,
    };
    factor_merges(&table.relation)
        || table.joins.iter().any(|join| {
            let constraint = constraint(&join.join_operator);
            matches!(constraint, Some(JoinConstraint::Using(_) | JoinConstraint::Natural))
                || factor_merges(&join.relation)
        })
}

fn constraint(operator: &JoinOperator) -> Option<&JoinConstraint> {
    use JoinOperator::*;
    match operator {
        Join(c) | Inner(c) | Left(c) | LeftOuter(c) | Right(c) | RightOuter(c) | FullOuter(c) | CrossJoin(c) => Some(c),
        _ => None,
    }
}

/// The tables and subqueries of a FROM item.
fn factors(table: &mut TableWithJoins) -> Vec<&mut TableFactor> {
    let joined = table.joins.iter_mut().map(|join| &mut join.relation);
    let all = std::iter::once(&mut table.relation).chain(joined);
    let within = all.flat_map(|factor| match factor {
        TableFactor::NestedJoin { table_with_joins, alias: None } => factors(table_with_joins),
        other => vec![other],
    });
    within.collect()
}

/// The columns that the alias of a table or subquery names.
fn alias_columns(factor: &mut TableFactor) -> Option<&mut Vec<TableAliasColumnDef>> {
    match factor {
        TableFactor::Table { alias, args: None, .. }
        | TableFactor::Derived { alias, .. }
        | TableFactor::NestedJoin { alias, .. } => alias.as_mut().map(|alias| &mut alias.columns),
        _ => None,
    }
}

/// The SELECTs that a query is made of, without those in its subqueries.
fn selects(body: &SetExpr) -> Vec<&Select> {
    match body {
        SetExpr::Select(select) => vec![select],
        SetExpr::SetOperation { left, right, .. } => [selects(left), selects(right)].concat(),
        _ => vec![],
    }
}

fn branches(body: &mut SetExpr) -> Vec<&mut Select> {
    match body {
        SetExpr::Select(select) => vec![select],
        SetExpr::SetOperation { left, right, .. } => branches(left).into_iter().chain(branches(right)).collect(),
        _ => vec![],
    }
}

/// `WITH ctes SELECT * FROM table`.
fn select_all(table: &TableFactor, ctes: Vec<Cte>) -> Result<Query> {
    let mut query = *parse_query("SELECT * FROM one")?;
    if let SetExpr::Select(select) = query.body.as_mut() {
        select.from = vec![TableWithJoins { relation: table.clone(), joins: vec![] }];
    }
    let with = With { with_token: AttachedToken::empty(), recursive: true, cte_tables: ctes };
    query.with = Some(with).filter(|with| !with.cte_tables.is_empty());
    Ok(query)
}
