//! `ORDER BY` in a subquery in FROM or WITH.
//!
//! A subquery has no order in SQL, but queries count on Postgres passing it on. So it goes to what can tell the
//! difference, and is dropped elsewhere:
//!
//! - `SELECT string_agg(a, ',') FROM (SELECT a FROM t ORDER BY b) s` is `string_agg(a, ',' ORDER BY b)`;
//! - `SELECT * FROM (SELECT a FROM t ORDER BY b) s LIMIT 3` takes the first three by b, and without LIMIT gives the rows
//!   in that order;
//! - `row_number() OVER ()` over such a subquery numbers its rows in that order.

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, Result};
use datafusion::logical_expr::{
    Aggregate, Expr, Filter, Limit, LogicalPlan, Projection, Sort, SortExpr, SubqueryAlias, Window, WindowFrame,
    WindowFrameBound, WindowFrameUnits, WindowFunctionDefinition,
};
use std::sync::Arc;

/// Aggregates whose value depends on the order of rows.
const ORDERED: &[&str] = &["string_agg", "array_agg", "json_agg", "jsonb_agg", "json_object_agg", "jsonb_object_agg"];

/// Window functions that number rows without comparing them.
const NUMBERING: &[&str] = &["row_number", "ntile", "lag", "lead"];

/// The plan of a query with the orders of its subqueries where they count.
pub fn lift(plan: LogicalPlan) -> Result<LogicalPlan> {
    if !plan.exists(|plan| Ok(matches!(plan, LogicalPlan::Sort(_))))? && !has_subqueries(&plan)? {
        return Ok(plan);
    }
    query(plan)
}

fn has_subqueries(plan: &LogicalPlan) -> Result<bool> {
    let is_subquery = |expr: &Expr| {
        matches!(expr, Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_) | Expr::SetComparison(_))
    };
    plan.exists(|plan| {
        let mut found = false;
        plan.apply_expressions(|expr| {
            found |= expr.exists(|expr| Ok(is_subquery(expr)))?;
            Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
        })?;
        Ok(found)
    })
}

/// A whole query: its rows come in the order of the subquery that it passes on.
fn query(plan: LogicalPlan) -> Result<LogicalPlan> {
    if let LogicalPlan::Subquery(subquery) = &plan {
        let inner = query(subquery.subquery.as_ref().clone())?;
        return Ok(LogicalPlan::Subquery(subquery.with_plan(Arc::new(inner))));
    }
    let plan = within(plan, true)?;
    let Some((ordered, order)) = taken(&plan)? else { return Ok(plan) };
    match plan {
        // The query's own order stays where it is.
        LogicalPlan::Sort(_) => Ok(plan),
        LogicalPlan::Projection(ref projection) if matches!(projection.input.as_ref(), LogicalPlan::Sort(_)) => {
            Ok(plan)
        }
        plan => sorted(&plan, ordered, order),
    }
}

/// The node with orders given to what counts on them, itself and below. `kept`: an order at its top counts.
fn within(plan: LogicalPlan, kept: bool) -> Result<LogicalPlan> {
    let is_chain = matches!(
        plan,
        LogicalPlan::Projection(_) | LogicalPlan::SubqueryAlias(_) | LogicalPlan::Filter(_) | LogicalPlan::Sort(_)
    );
    let is_taker = matches!(plan, LogicalPlan::Aggregate(_) | LogicalPlan::Limit(_) | LogicalPlan::Window(_));
    let below = is_taker || (kept && is_chain);
    let plan = plan.map_children(|child| within(child, below).map(Transformed::yes))?.data;
    let plan = plan.map_subqueries(|subquery| query(subquery).map(Transformed::yes))?.data;
    let plan = match plan {
        LogicalPlan::Aggregate(aggregate) => aggregated(aggregate)?,
        LogicalPlan::Limit(limit) => limited(limit)?,
        LogicalPlan::Window(window) => numbered(window)?,
        other => other,
    };
    match plan {
        LogicalPlan::Sort(sort) if !kept && sort.fetch.is_none() => Ok(Arc::unwrap_or_clone(sort.input)),
        other => Ok(other),
    }
}

/// A plan without the order that it passes on from below, and that order in terms of its columns; it may have columns
/// for it behind its own. `None` where there is no such order.
fn taken(plan: &LogicalPlan) -> Result<Option<(LogicalPlan, Vec<SortExpr>)>> {
    match plan {
        LogicalPlan::Sort(sort) if sort.fetch.is_none() => Ok(Some((sort.input.as_ref().clone(), sort.expr.clone()))),
        LogicalPlan::Filter(filter) => Ok(match taken(&filter.input)? {
            Some((input, order)) => {
                let filter = Filter::try_new(filter.predicate.clone(), Arc::new(input))?;
                Some((LogicalPlan::Filter(filter), order))
            }
            None => None,
        }),
        LogicalPlan::SubqueryAlias(alias) => {
            let Some((input, order)) = taken(&alias.input)? else { return Ok(None) };
            let (input, order) = as_columns(input, order)?;
            let inner = input.schema().columns();
            let renamed = LogicalPlan::SubqueryAlias(SubqueryAlias::try_new(Arc::new(input), alias.alias.clone())?);
            let outer = renamed.schema().columns();
            let order = order.into_iter().map(|sort| {
                let place = inner.iter().position(|column| sort.expr == Expr::Column(column.clone()));
                place.map(|place| SortExpr { expr: Expr::Column(outer[place].clone()), ..sort })
            });
            Ok(order.collect::<Option<Vec<_>>>().map(|order| (renamed, order)))
        }
        LogicalPlan::Projection(projection) => {
            let Some((input, order)) = taken(&projection.input)? else { return Ok(None) };
            let mut exprs = projection.expr.clone();
            let own = projection.schema.columns();
            let mut outer = vec![];
            for sort in order {
                let place = exprs.iter().take(own.len()).position(|expr| expr.clone().unalias() == sort.expr);
                let column = match place {
                    Some(place) => own[place].clone(),
                    None => {
                        let name = hidden_name(exprs.len());
                        exprs.push(sort.expr.clone().alias(&name));
                        Column::new_unqualified(name)
                    }
                };
                outer.push(SortExpr { expr: Expr::Column(column), ..sort });
            }
            let projection = Projection::try_new(exprs, Arc::new(input))?;
            Ok(Some((LogicalPlan::Projection(projection), outer)))
        }
        _ => Ok(None),
    }
}

/// The name of a column that a plan has for its order alone. No identifier of a user holds the mark.
fn hidden_name(at: usize) -> String {
    format!("order {at}\u{1}")
}

/// The same rows with a column for each expression of an order that is none yet.
fn as_columns(plan: LogicalPlan, order: Vec<SortExpr>) -> Result<(LogicalPlan, Vec<SortExpr>)> {
    if order.iter().all(|sort| matches!(sort.expr, Expr::Column(_))) {
        return Ok((plan, order));
    }
    let mut exprs: Vec<Expr> = plan.schema().columns().into_iter().map(Expr::Column).collect();
    let mut named = vec![];
    for sort in order {
        let expr = match sort.expr {
            column @ Expr::Column(_) => column,
            other => {
                let name = hidden_name(exprs.len());
                exprs.push(other.alias(&name));
                Expr::Column(Column::new_unqualified(name))
            }
        };
        named.push(SortExpr { expr, ..sort });
    }
    Ok((LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(plan))?), named))
}

/// The rows of `ordered` sorted, with the columns of `plan`.
fn sorted(plan: &LogicalPlan, ordered: LogicalPlan, order: Vec<SortExpr>) -> Result<LogicalPlan> {
    let width = plan.schema().fields().len();
    let columns = ordered.schema().columns();
    let sort = LogicalPlan::Sort(Sort { expr: order, input: Arc::new(ordered), fetch: None });
    if columns.len() == width {
        return Ok(sort);
    }
    let own = columns.into_iter().take(width).map(Expr::Column).collect();
    Ok(LogicalPlan::Projection(Projection::try_new(own, Arc::new(sort))?))
}

/// Aggregates without an order of their own take that of the rows.
fn aggregated(aggregate: Aggregate) -> Result<LogicalPlan> {
    let takes = |expr: &Expr| match expr {
        Expr::AggregateFunction(call) => {
            ORDERED.contains(&call.func.name()) && call.params.order_by.is_empty() && !call.params.distinct
        }
        _ => false,
    };
    let Some((input, order)) = taken(&aggregate.input)? else { return Ok(LogicalPlan::Aggregate(aggregate)) };
    let mut calls = aggregate.aggr_expr.clone();
    let mut names = vec![];
    for call in &mut calls {
        names.push(call.schema_name().to_string());
        if takes(call)
            && let Expr::AggregateFunction(call) = call
        {
            call.params.order_by = order.clone();
        }
    }
    let renamed = calls.into_iter().zip(names).map(|(call, name)| {
        let is_same = call.schema_name().to_string() == name;
        if is_same { call } else { call.alias(name) }
    });
    let aggregate = Aggregate::try_new(Arc::new(input), aggregate.group_expr.clone(), renamed.collect())?;
    Ok(LogicalPlan::Aggregate(aggregate))
}

/// A limit takes the first rows of the order below it.
fn limited(limit: Limit) -> Result<LogicalPlan> {
    let is_own = match limit.input.as_ref() {
        LogicalPlan::Sort(_) => true,
        LogicalPlan::Projection(projection) => matches!(projection.input.as_ref(), LogicalPlan::Sort(_)),
        _ => false,
    };
    if is_own {
        return Ok(LogicalPlan::Limit(limit));
    }
    let input = match taken(&limit.input)? {
        Some((ordered, order)) => Arc::new(sorted(&limit.input, ordered, order)?),
        None => limit.input,
    };
    Ok(LogicalPlan::Limit(Limit { input, ..limit }))
}

/// Numbers of rows, and aggregates over all of them, take the order of the rows where the window has none.
fn numbered(window: Window) -> Result<LogicalPlan> {
    let Some((input, order)) = taken(&window.input)? else { return Ok(LogicalPlan::Window(window)) };
    let width = window.input.schema().fields().len();
    let exprs = window.window_expr.clone().into_iter().map(|expr| {
        let name = expr.schema_name().to_string();
        let Expr::WindowFunction(mut call) = expr else { return expr };
        let numbers = match &call.fun {
            WindowFunctionDefinition::WindowUDF(function) => NUMBERING.contains(&function.name()),
            WindowFunctionDefinition::AggregateUDF(function) => ORDERED.contains(&function.name()),
        };
        if !numbers || !call.params.order_by.is_empty() {
            return Expr::WindowFunction(call);
        }
        call.params.order_by = order.clone();
        call.params.window_frame = WindowFrame::new_bounds(
            WindowFrameUnits::Rows,
            WindowFrameBound::Preceding(datafusion::scalar::ScalarValue::UInt64(None)),
            WindowFrameBound::Following(datafusion::scalar::ScalarValue::UInt64(None)),
        );
        Expr::WindowFunction(call).alias(name)
    });
    let exprs: Vec<Expr> = exprs.collect();
    let names: Vec<Expr> = window.schema.columns().into_iter().map(Expr::Column).collect();
    let computed = LogicalPlan::Window(Window::try_new(exprs, Arc::new(input))?);
    // Columns for the order stand between those of the input and the results.
    let columns = computed.schema().columns();
    let extra = columns.len() - names.len();
    let own = columns.iter().take(width).chain(columns.iter().skip(width + extra)).cloned().map(Expr::Column);
    let projection = Projection::try_new(own.collect(), Arc::new(computed))?;
    Ok(LogicalPlan::Projection(projection))
}
