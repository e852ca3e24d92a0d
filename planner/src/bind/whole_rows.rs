//! Rows as values: `SELECT row_to_json(t) FROM t`, `SELECT g FROM generate_series(1, 3) AS g (n)`.
//!
//! The name of a relation where a value stands is its row, unless there is a column of that name. So a query is planned
//! without regard to rows first, and rewritten only where a column was not found.

use super::names::plain_name;
use super::provider::Provider;
use super::query::output_names;
use crate::catalog::Relation;
use crate::parse::{fold, name_parts};
use datafusion::common::{DataFusionError, SchemaError};
use millrace_functions::{ALL_COLUMNS, Walk, each_expression, each_select, syntax_call};
use millrace_types::SqlError;
use sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident, Join, JoinOperator,
    ObjectName, Query, Select, SelectItem, SetExpr, TableFactor, TableWithJoins, Value, Visitor, With,
};
use std::collections::HashMap;
use std::ops::ControlFlow;

/// Whether planning failed on a name that is no column.
pub fn may_be_meant(error: &DataFusionError) -> bool {
    match error.find_root() {
        DataFusionError::SchemaError(error, _) => matches!(error.as_ref(), SchemaError::FieldNotFound { .. }),
        _ => false,
    }
}

/// Makes `f(t.*)` what it means, `f(t)`; in `ROW(t.*)` all columns get a name that no user can type.
pub fn name_in_calls(query: &mut Query) {
    each_expression(query, |expr| {
        let Expr::Function(Function { name, args: FunctionArguments::List(list), .. }) = expr else { return };
        let is_row = is_row_constructor(name);
        for argument in &mut list.args {
            if let FunctionArg::Unnamed(FunctionArgExpr::QualifiedWildcard(name)) = argument
                && let Some(name) = name.0.last().and_then(|part| part.as_ident())
            {
                let all = || Ident::with_quote('"', ALL_COLUMNS);
                let meant = match is_row {
                    true => Expr::CompoundIdentifier(vec![name.clone(), all()]),
                    false => Expr::Identifier(name.clone()),
                };
                *argument = FunctionArg::Unnamed(FunctionArgExpr::Expr(meant));
            }
        }
    });
}

fn is_row_constructor(name: &ObjectName) -> bool {
    matches!(name.0.as_slice(), [part] if part.as_ident().is_some_and(|name| fold(name) == "row"))
}

/// The arguments of `ROW(t.*, a)` with the columns of relations in the place of their rows.
fn spread(list: &mut FunctionArgumentList, rows: &HashMap<String, Expr>) {
    let columns = |argument: &FunctionArg| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::CompoundIdentifier(names))) => match names.as_slice() {
            [relation, all] if all.value == ALL_COLUMNS => members(rows.get(&fold(relation))?),
            _ => None,
        },
        _ => None,
    };
    let arguments = std::mem::take(&mut list.args).into_iter();
    let each = arguments.flat_map(|argument| match columns(&argument) {
        Some(columns) => {
            columns.into_iter().map(|column| FunctionArg::Unnamed(FunctionArgExpr::Expr(column))).collect()
        }
        None => vec![argument],
    });
    list.args = each.collect();
}

/// Makes `ARRAY[a, b]` a call: DataFusion's planner does not know an outer query's columns within the brackets.
pub fn call_constructors(query: &mut Query) {
    each_expression(query, |expr| {
        if let Expr::Array(array) = &*expr {
            *expr = syntax_call("make_array", array.elem.clone());
        }
    });
}

/// Puts the rows of relations where their names stand as values. Functions in FROM are subqueries already.
pub fn spell_out(query: &mut Query, provider: &Provider) {
    let ctes = ctes(query, provider);
    each_select(query, |select| {
        let mut rows = HashMap::new();
        select.from.iter().for_each(|table| relations(table, provider, &ctes, false, &mut rows));
        if !rows.is_empty() {
            replace(select, &rows);
        }
    });
}

/// The columns of the queries of WITH by their names. One that cannot be planned by itself is left out.
fn ctes(query: &Query, provider: &Provider) -> HashMap<String, Vec<String>> {
    struct Finder<'a>(&'a Provider<'a>, HashMap<String, Vec<String>>);
    impl Visitor for Finder<'_> {
        type Break = SqlError;

        fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<SqlError> {
            let Some(with) = &query.with else { return ControlFlow::Continue(()) };
            for (at, cte) in with.cte_tables.iter().enumerate() {
                let given: Vec<String> = cte.alias.columns.iter().map(|column| fold(&column.name)).collect();
                let before = With { cte_tables: with.cte_tables[..at].to_vec(), ..with.clone() };
                let with = Some(before).filter(|before| !before.cte_tables.is_empty());
                let own = Query { with: cte.query.with.clone().or(with), ..Query::clone(&cte.query) };
                if let Ok(mut names) = output_names(&own, self.0) {
                    given.into_iter().zip(&mut names).for_each(|(given, name)| *name = given);
                    self.1.insert(fold(&cte.alias.name), names);
                }
            }
            ControlFlow::Continue(())
        }
    }
    let mut finder = Finder(provider, HashMap::new());
    // It never breaks off.
    let _ = query.walk(&mut finder);
    finder.1
}

/// The rows of relations by their names. `outer`: a join around them may have none of theirs.
fn relations(
    table: &TableWithJoins,
    provider: &Provider,
    ctes: &HashMap<String, Vec<String>>,
    outer: bool,
    rows: &mut HashMap<String, Expr>,
) {
    use JoinOperator::{FullOuter, Left, LeftOuter, Right, RightOuter};
    let keeps_right = |join: &Join| matches!(join.join_operator, Right(_) | RightOuter(_) | FullOuter(_));
    let keeps_left = |join: &Join| matches!(join.join_operator, Left(_) | LeftOuter(_) | FullOuter(_));
    let factors = std::iter::once((&table.relation, false));
    let joined = table.joins.iter().map(|join| (&join.relation, keeps_left(join)));
    for (at, (factor, may_miss)) in factors.chain(joined).enumerate() {
        // Joins behind it may keep rows of their own without one of these.
        let outer = outer || may_miss || table.joins[at..].iter().any(keeps_right);
        let row = |name: &str, columns| row(name, columns, outer);
        match factor {
            TableFactor::NestedJoin { table_with_joins, .. } => {
                relations(table_with_joins, provider, ctes, outer, rows)
            }
            TableFactor::Table { name, alias, args: None, .. } => {
                let parts = name_parts(name);
                let cte = ctes.get(&parts[0]).filter(|_| parts.len() == 1).cloned();
                let stored = || provider.relation(&parts).ok().map(|relation| names_of(&relation));
                let Some(columns) = cte.or_else(stored) else { continue };
                let qualifier = alias.as_ref().map(|alias| fold(&alias.name)).or_else(|| parts.last().cloned());
                rows.extend(qualifier.map(|name| (name.clone(), row(&name, columns))));
            }
            TableFactor::Derived { subquery, alias: Some(alias), .. } => {
                let name = fold(&alias.name);
                let planned = || {
                    let mut names = output_names(subquery, provider).ok()?;
                    let given = alias.columns.iter().map(|column| fold(&column.name));
                    given.zip(&mut names).for_each(|(given, name)| *name = given);
                    // Of columns of one name nobody could tell which is meant.
                    let is_told = names.iter().enumerate().all(|(at, name)| !names[..at].contains(name));
                    is_told.then(|| row(&name, names))
                };
                if let Some(value) = of_subquery(subquery, &name, outer).or_else(planned) {
                    rows.insert(name, value);
                }
            }
            _ => {}
        }
    }
}

fn names_of(relation: &Relation) -> Vec<String> {
    relation.schema.fields().iter().map(|field| field.name().clone()).collect()
}

/// The row of a subquery whose columns are all named; that of a function with one column is its value.
fn of_subquery(query: &Query, name: &str, outer: bool) -> Option<Expr> {
    let SetExpr::Select(select) = query.body.as_ref() else { return None };
    let names = select.projection.iter().map(|item| match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(fold(alias)),
        SelectItem::UnnamedExpr(Expr::Identifier(column)) => Some(fold(column)),
        SelectItem::UnnamedExpr(Expr::CompoundIdentifier(names)) => names.last().map(fold),
        _ => None,
    });
    let names: Vec<String> = names.collect::<Option<_>>()?;
    match (names.as_slice(), select.projection.as_slice()) {
        ([only], [SelectItem::ExprWithAlias { expr: Expr::Function(_), .. }]) if select.from.is_empty() => {
            Some(column(name, only))
        }
        _ => Some(row(name, names, outer)),
    }
}

fn column(relation: &str, name: &str) -> Expr {
    Expr::CompoundIdentifier([relation, plain_name(name)].map(|part| Ident::with_quote('"', part)).to_vec())
}

fn row(relation: &str, columns: Vec<String>, outer: bool) -> Expr {
    let members = columns.into_iter().flat_map(|name| {
        let value = column(relation, &name);
        [Expr::Value(Value::SingleQuotedString(name).with_empty_span()), value]
    });
    syntax_call(if outer { "outer_row" } else { "named_row" }, members)
}

/// What a column is named after: a name, or one that is cast.
fn naming(expr: &Expr) -> Option<&Ident> {
    match expr {
        Expr::Identifier(name) => Some(name),
        Expr::Cast { expr, .. } => naming(expr),
        _ => None,
    }
}

fn replace(select: &mut Select, rows: &HashMap<String, Expr>) {
    // The name of a relation stays the name of its row's column.
    for item in &mut select.projection {
        if let SelectItem::UnnamedExpr(expr) = item
            && let Some(name) = naming(expr)
            && rows.contains_key(&fold(name))
        {
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias: name.clone() };
        }
    }
    each_expression(select, |expr| {
        if let Expr::Function(Function { name, args: FunctionArguments::List(list), .. }) = expr
            && is_row_constructor(name)
        {
            spread(list, rows);
        }
        if let Expr::Identifier(name) = &*expr
            && let Some(row) = rows.get(&fold(name))
        {
            *expr = row.clone();
        }
        // A row is NULL, or is not, when all its columns are.
        if let Expr::IsNull(row) | Expr::IsNotNull(row) = expr
            && let Some(columns) = members(row)
        {
            **row = Expr::Tuple(columns);
        }
    });
}

/// The columns of a relation's row.
fn members(row: &Expr) -> Option<Vec<Expr>> {
    let Expr::Function(Function { name, args: FunctionArguments::List(list), .. }) = row else { return None };
    let is_row = ["named_row", "outer_row"].contains(&name.to_string().as_str());
    let column = |argument: &FunctionArg| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(column)) => Some(column.clone()),
        _ => None,
    };
    let columns = list.args.iter().skip(1).step_by(2).map(column);
    if is_row { columns.collect() } else { None }
}
