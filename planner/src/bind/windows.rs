//! Window clauses as Postgres has them, in the statement: `OVER (w ORDER BY ...)` and windows made from windows are
//! written out, frames are checked, and what is no window function is refused with Postgres's words.

use super::window_calls::{check_call, has_window_call};
use crate::error::sql_error;
use crate::functions::FunctionSource;
use crate::parse::fold;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::logical_expr::{
    Expr as LogicalExpr, ExprSchemable, LogicalPlan, WindowFrame as PlannedFrame, WindowFrameBound as PlannedBound,
    WindowFrameUnits as PlannedUnits,
};
use millrace_functions::windows::Exclusion;
use millrace_types::{Result, SqlError, SqlState, SqlType, sql_type_of};
use sqlparser::ast::{
    CastKind, DataType, Expr, Function, GroupByExpr, Ident, Interval, JoinConstraint, JoinOperator, NamedWindowExpr,
    Query, Select, SetExpr, UnaryOperator, Value, VisitMut, VisitorMut, WindowFrame, WindowFrameBound,
    WindowFrameUnits, WindowSpec, WindowType, visit_expressions_mut,
};
use std::ops::ControlFlow;

/// Writes out the windows of a query and of its subqueries.
///
/// # Errors
/// `42P20` for windows and frames that make no sense and for window functions where they are not allowed, `42704` for
/// a window that is not defined, `42809` for what is no window function, `0A000` for what has no form here.
pub fn prepare(query: &mut Query, functions: &FunctionSource) -> Result<()> {
    match VisitMut::visit(query, &mut Preparer { functions }) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

struct Preparer<'a> {
    functions: &'a FunctionSource,
}

impl VisitorMut for Preparer<'_> {
    type Break = SqlError;

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<SqlError> {
        flow(write_out_select(select))
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<SqlError> {
        flow(self.query(query))
    }
}

fn flow(result: Result<()>) -> ControlFlow<SqlError> {
    result.map_or_else(ControlFlow::Break, ControlFlow::Continue)
}

impl Preparer<'_> {
    /// The order of a query sees the windows of its SELECT; all calls are complete then.
    fn query(&self, query: &mut Query) -> Result<()> {
        if let (SetExpr::Select(select), Some(order)) = (query.body.as_ref(), &mut query.order_by) {
            let windows = definitions(select)?;
            each_call(order, &mut |call| write_out(call, &windows))?;
        }
        let functions = self.functions;
        each_expression(query, &mut |expr| check_call(expr, functions))
    }
}

fn write_out_select(select: &mut Select) -> Result<()> {
    check_places(select)?;
    let windows = definitions(select)?;
    each_call(&mut select.projection, &mut |call| write_out(call, &windows))?;
    each_call(&mut select.qualify, &mut |call| write_out(call, &windows))?;
    // Nothing refers to them any more.
    select.named_window.clear();
    let named = |(name, spec): (String, WindowSpec)| {
        let name = Ident::with_quote('"', name);
        sqlparser::ast::NamedWindowDefinition(name, NamedWindowExpr::WindowSpec(spec))
    };
    select.named_window = windows.into_iter().map(named).collect();
    Ok(())
}

fn each_expression(node: &mut impl VisitMut, change: &mut impl FnMut(&mut Expr) -> Result<()>) -> Result<()> {
    match visit_expressions_mut(node, |expr| flow(change(expr))) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

fn each_call(node: &mut impl VisitMut, change: &mut impl FnMut(&mut Function) -> Result<()>) -> Result<()> {
    each_expression(node, &mut |expr| match expr {
        Expr::Function(call) => change(call),
        _ => Ok(()),
    })
}

/// Window functions are computed after everything but the select list, ORDER BY and QUALIFY.
fn check_places(select: &Select) -> Result<()> {
    let refuse = |found: bool, place: &str| match found {
        true => Err(windowing(format!("window functions are not allowed in {place}"))),
        false => Ok(()),
    };
    refuse(has_window_call(&select.selection), "WHERE")?;
    refuse(has_window_call(&select.having), "HAVING")?;
    if let GroupByExpr::Expressions(keys, _) = &select.group_by {
        refuse(has_window_call(keys), "GROUP BY")?;
    }
    for join in select.from.iter().flat_map(|from| &from.joins) {
        if let Some(JoinConstraint::On(condition)) = constraint(&join.join_operator) {
            refuse(has_window_call(condition), "JOIN conditions")?;
        }
    }
    Ok(())
}

fn constraint(operator: &JoinOperator) -> Option<&JoinConstraint> {
    match operator {
        JoinOperator::Join(constraint)
        | JoinOperator::Inner(constraint)
        | JoinOperator::Left(constraint)
        | JoinOperator::LeftOuter(constraint)
        | JoinOperator::Right(constraint)
        | JoinOperator::RightOuter(constraint)
        | JoinOperator::FullOuter(constraint) => Some(constraint),
        _ => None,
    }
}

pub fn windowing(message: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::WINDOWING_ERROR, message.into())
}

/// The windows of a SELECT by name, each written out: it may build on those before it.
fn definitions(select: &Select) -> Result<Vec<(String, WindowSpec)>> {
    let mut windows: Vec<(String, WindowSpec)> = Vec::new();
    for definition in &select.named_window {
        let name = fold(&definition.0);
        if windows.iter().any(|(known, _)| *known == name) {
            return Err(windowing(format!("window \"{name}\" is already defined")));
        }
        let spec = match &definition.1 {
            NamedWindowExpr::NamedWindow(base) => named(base, &windows)?.clone(),
            NamedWindowExpr::WindowSpec(spec) => complete(spec.clone(), &windows)?,
        };
        windows.push((name, spec));
    }
    Ok(windows)
}

fn named<'a>(name: &Ident, windows: &'a [(String, WindowSpec)]) -> Result<&'a WindowSpec> {
    let name = fold(name);
    windows
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, spec)| spec)
        .ok_or_else(|| SqlError::new(SqlState::UNDEFINED_OBJECT, format!("window \"{name}\" does not exist")))
}

fn write_out(call: &mut Function, windows: &[(String, WindowSpec)]) -> Result<()> {
    let Some(over) = &mut call.over else { return Ok(()) };
    let spec = match over {
        WindowType::NamedWindow(name) => named(name, windows)?.clone(),
        WindowType::WindowSpec(spec) => complete(spec.clone(), windows)?,
    };
    *over = WindowType::WindowSpec(spec);
    Ok(())
}

/// A window with what the one that it names adds to it, and a frame that makes sense.
fn complete(mut spec: WindowSpec, windows: &[(String, WindowSpec)]) -> Result<WindowSpec> {
    let exclusion = match spec.partition_by.first() {
        Some(Expr::Function(key)) if is_exclusion(key) => Some(spec.partition_by.remove(0)),
        _ => None,
    };
    if exclusion.is_some() && spec.window_frame.is_none() {
        return Err(SqlError::new(SqlState::SYNTAX_ERROR, "syntax error at or near \"EXCLUDE\""));
    }
    if let Some(base) = spec.window_name.take() {
        let (name, base) = (fold(&base), named(&base, windows)?);
        if !spec.partition_by.is_empty() {
            return Err(windowing(format!("cannot override PARTITION BY clause of window \"{name}\"")));
        }
        if !spec.order_by.is_empty() && !base.order_by.is_empty() {
            return Err(windowing(format!("cannot override ORDER BY clause of window \"{name}\"")));
        }
        if base.window_frame.is_some() {
            return Err(windowing(format!("cannot copy window \"{name}\" because it has a frame clause")));
        }
        spec.partition_by = base.partition_by.clone();
        if spec.order_by.is_empty() {
            spec.order_by = base.order_by.clone();
        }
    }
    let order = spec.order_by.len();
    spec.window_frame.as_mut().map_or(Ok(()), |frame| check_frame(frame, order))?;
    spec.partition_by.splice(0..0, exclusion);
    Ok(spec)
}

/// Whether a key of a partition says what its frames exclude, as `parse/respell.rs` writes it.
fn is_exclusion(key: &Function) -> bool {
    let name = key.name.0.last().and_then(|part| part.as_ident());
    name.is_some_and(|name| Exclusion::of_key(&name.value).is_some())
}

/// Checks a frame over an order of so many columns.
fn check_frame(frame: &mut WindowFrame, order: usize) -> Result<()> {
    use WindowFrameBound::{CurrentRow, Following, Preceding};
    let end = frame.end_bound.as_ref().unwrap_or(&CurrentRow);
    let problem = match (&frame.start_bound, end) {
        (Following(None), _) => Some("frame start cannot be UNBOUNDED FOLLOWING"),
        (_, Preceding(None)) => Some("frame end cannot be UNBOUNDED PRECEDING"),
        (CurrentRow, Preceding(_)) => Some("frame starting from current row cannot have preceding rows"),
        (Following(_), Preceding(_) | CurrentRow) => {
            Some("frame starting from following row cannot have preceding rows")
        }
        _ => None,
    };
    let has_offset =
        [&frame.start_bound, end].into_iter().any(|bound| matches!(bound, Preceding(Some(_)) | Following(Some(_))));
    let problem = problem.or(match frame.units {
        WindowFrameUnits::Groups if order == 0 => Some("GROUPS mode requires an ORDER BY clause"),
        WindowFrameUnits::Range if has_offset && order != 1 => {
            Some("RANGE with offset PRECEDING/FOLLOWING requires exactly one ORDER BY column")
        }
        _ => None,
    });
    if let Some(problem) = problem {
        return Err(windowing(problem));
    }
    let bounds = [(Some(&mut frame.start_bound), "starting"), (frame.end_bound.as_mut(), "ending")];
    for (bound, name) in bounds {
        if let Some(Preceding(Some(offset)) | Following(Some(offset))) = bound {
            check_offset(offset, name)?;
        }
    }
    Ok(())
}

/// Offsets are constants: numbers, or texts and intervals in the one form that the planner takes.
fn check_offset(offset: &mut Expr, bound: &str) -> Result<()> {
    if let Expr::Cast { expr, .. } = &*offset
        && let Expr::Value(value) = expr.as_ref()
        && let Value::Number(..) = value.value
    {
        *offset = expr.as_ref().clone();
    }
    let text = match &*offset {
        Expr::UnaryOp { op: UnaryOperator::Minus, .. } => {
            let message = format!("frame {bound} offset must not be negative");
            return Err(SqlError::new(SqlState::INVALID_PRECEDING_OR_FOLLOWING_SIZE, message));
        }
        Expr::Cast {
            kind: CastKind::Cast | CastKind::DoubleColon, expr, data_type: DataType::Interval { .. }, ..
        } => text_of(expr),
        other => text_of(other),
    };
    if let Some(text) = text {
        let value = Box::new(Expr::Value(Value::SingleQuotedString(text).into()));
        *offset = Expr::Interval(Interval {
            value,
            leading_field: None,
            leading_precision: None,
            last_field: None,
            fractional_seconds_precision: None,
        });
    }
    match offset {
        Expr::Interval(_) | Expr::Value(_) => Ok(()),
        _ => Err(SqlError::unsupported("a frame offset that is not a constant")),
    }
}

/// Refuses frames by distance over columns that have none.
///
/// # Errors
/// `0A000` naming the type.
pub fn check_ranges(plan: &LogicalPlan) -> Result<()> {
    let mut refusal = None;
    let checked = plan.apply_with_subqueries(|node| {
        let LogicalPlan::Window(window) = node else { return Ok(TreeNodeRecursion::Continue) };
        for call in &window.window_expr {
            if let LogicalExpr::WindowFunction(call) = call.clone().unalias()
                && let [order] = call.params.order_by.as_slice()
                && has_distance(&call.params.window_frame)
            {
                let (_, field) = order.expr.to_field(window.input.schema())?;
                let sql_type = sql_type_of(&field);
                if !takes_distances(&sql_type) {
                    refusal = Some(sql_type);
                }
            }
        }
        Ok(TreeNodeRecursion::Continue)
    });
    checked.map_err(sql_error)?;
    refusal.map_or(Ok(()), |sql_type| {
        let message = format!("RANGE with offset PRECEDING/FOLLOWING is not supported for column type {sql_type}");
        Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message))
    })
}

fn has_distance(frame: &PlannedFrame) -> bool {
    let is_distance = |bound: &PlannedBound| match bound {
        PlannedBound::Preceding(offset) | PlannedBound::Following(offset) => !offset.is_null(),
        PlannedBound::CurrentRow => false,
    };
    frame.units == PlannedUnits::Range && (is_distance(&frame.start_bound) || is_distance(&frame.end_bound))
}

fn takes_distances(sql_type: &SqlType) -> bool {
    use SqlType::*;
    matches!(
        sql_type,
        Int2 | Int4 | Int8 | Float4 | Float8 | Numeric(_) | Date | Time | Timestamp | Timestamptz | Interval
    )
}

fn text_of(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => Some(text.clone()),
            _ => None,
        },
        _ => None,
    }
}
