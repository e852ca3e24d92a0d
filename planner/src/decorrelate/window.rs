//! Operators of a subquery that see its rows in an order: they do so for each outer row.

use super::dependent::Dependent;
use super::push::{Push, Step, Stop};
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::logical_expr::expr::{Sort as SortExpr, WindowFunction};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{
    Expr, Limit, LogicalPlan, LogicalPlanBuilder, Operator, Projection, Window, WindowFrame, WindowFunctionDefinition,
    binary_expr, lit,
};
use std::sync::Arc;

impl Push<'_> {
    /// LIMIT: a rank within the rows for each outer row, and a filter of it.
    pub fn limit(&mut self, limit: &Limit) -> Step<Dependent> {
        // A projection above the order takes away columns that only the order needed.
        if let LogicalPlan::Projection(projection) = limit.input.as_ref()
            && matches!(projection.input.as_ref(), LogicalPlan::Sort(_))
        {
            let below = Limit { input: projection.input.clone(), ..limit.clone() };
            let above = Projection::try_new(projection.expr.clone(), Arc::new(LogicalPlan::Limit(below)))?;
            return self.plan(&LogicalPlan::Projection(above));
        }
        let (input, order) = match limit.input.as_ref() {
            LogicalPlan::Sort(sort) if sort.fetch.is_none() => (&sort.input, sort.expr.clone()),
            _ => (&limit.input, vec![]),
        };
        let rows = self.plan(input)?;
        let rows = self.within_domain(rows)?;
        let keys = self.keys(&rows)?;
        let order = self.order(order, input.schema(), &rows)?;
        let (mut rows, rank) = self.ranked(rows, keys, order)?;
        rows.single |= matches!(constant(&limit.fetch), Some(..=1));
        match conjunction(bounds(limit, &rank)) {
            Some(bounds) => self.filtered(rows, bounds),
            None => Ok(rows),
        }
    }

    /// Window functions: what the conditions compare joins PARTITION BY.
    pub fn window(&mut self, window: &Window) -> Step<Dependent> {
        let rows = self.plan(&window.input)?;
        let rows = self.within_domain(rows)?;
        let keys = self.keys(&rows)?;
        let mut calls = vec![];
        for expr in &window.window_expr {
            let call = self.bound(rows.value(expr.clone().unalias(), window.input.schema())?, &rows)?;
            calls.push(match call {
                Expr::WindowFunction(mut call) => {
                    let known = call.params.partition_by.clone();
                    call.params.partition_by.extend(keys.iter().filter(|key| !known.contains(key)).cloned());
                    Expr::WindowFunction(call)
                }
                other => other,
            });
        }
        let (mut rows, values) = self.with_windows(rows, calls)?;
        rows.outputs.extend(values);
        Ok(rows)
    }

    /// The rows with window functions as further columns of the plan.
    fn with_windows(&mut self, mut rows: Dependent, calls: Vec<Expr>) -> Step<(Dependent, Vec<Expr>)> {
        let mut different: Vec<Expr> = vec![];
        calls.iter().for_each(|call| {
            if !different.contains(call) {
                different.push(call.clone())
            }
        });
        let width = rows.plan.schema().fields().len();
        // Named by its expression, a call would be taken for another of the same text further out.
        let relation = self.names.relation();
        let plan = LogicalPlanBuilder::from(rows.plan).window(different.clone())?.build()?;
        let exprs = plan.schema().columns().into_iter().enumerate().map(|(at, column)| match at < width {
            true => Expr::Column(column),
            false => Expr::Column(column).alias_qualified(Some(relation.clone()), format!("w{}", at - width)),
        });
        let exprs: Vec<Expr> = exprs.collect();
        rows.plan = LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(plan))?);
        let place = |call: &Expr| different.iter().position(|known| known == call).unwrap_or_default();
        let value = |call| Expr::Column(Column::new(Some(relation.clone()), format!("w{}", place(call))));
        let values = calls.iter().map(value).collect();
        Ok((rows, values))
    }

    /// The rows with their number within groups.
    pub fn ranked(&mut self, rows: Dependent, groups: Vec<Expr>, order: Vec<SortExpr>) -> Step<(Dependent, Expr)> {
        let functions = self.functions.state().window_functions();
        let Some(row_number) = functions.get("row_number").cloned() else {
            return Err(Stop::unsupported("LIMIT"));
        };
        let mut call = WindowFunction::new(WindowFunctionDefinition::WindowUDF(row_number), vec![]);
        call.params.window_frame = WindowFrame::new(if order.is_empty() { None } else { Some(false) });
        call.params.partition_by = groups;
        call.params.order_by = order;
        let (rows, mut values) = self.with_windows(rows, vec![Expr::from(call)])?;
        Ok((rows, values.remove(0)))
    }

    /// An order over the plan's columns.
    pub fn order(&self, order: Vec<SortExpr>, schema: &DFSchema, rows: &Dependent) -> Step<Vec<SortExpr>> {
        order
            .into_iter()
            .map(|sort| Ok(SortExpr { expr: self.bound(rows.value(sort.expr, schema)?, rows)?, ..sort }))
            .collect()
    }
}

/// The constant that LIMIT or OFFSET gives.
fn constant(count: &Option<Box<Expr>>) -> Option<i64> {
    match count.as_deref() {
        Some(Expr::Literal(ScalarValue::Int64(count), _)) => *count,
        _ => None,
    }
}

/// What LIMIT and OFFSET say of a row's number. NULL is as good as neither.
fn bounds(limit: &Limit, rank: &Expr) -> Vec<Expr> {
    let given = |count: &Option<Box<Expr>>| count.as_deref().filter(|count| !is_null(count)).cloned();
    let (skip, fetch) = (given(&limit.skip), given(&limit.fetch));
    let or_null = |bound: Expr, count: &Expr| match count {
        Expr::Literal(..) => bound,
        count => count.clone().is_null().or(bound),
    };
    let mut bounds = vec![];
    if let Some(skip) = &skip {
        bounds.push(or_null(rank.clone().gt(skip.clone()), skip));
    }
    if let Some(fetch) = &fetch {
        let last = match (constant(&limit.skip), constant(&limit.fetch)) {
            (Some(skip), Some(fetch)) => lit(skip.saturating_add(fetch)),
            _ => match skip {
                Some(skip) => binary_expr(skip, Operator::Plus, fetch.clone()),
                None => fetch.clone(),
            },
        };
        bounds.push(or_null(rank.clone().lt_eq(last), fetch));
    }
    bounds
}

fn is_null(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(value, _) if value.is_null())
}

/// Whether a limit leaves a row where there is one.
pub fn leaves_one(limit: &Limit) -> bool {
    limit.fetch.is_none() || matches!(constant(&limit.fetch), Some(1..))
}
