//! Calls of window functions in the statement: checked, and written in the forms that DataFusion computes.

use super::windows::windowing;
use crate::functions::FunctionSource;
use crate::parse::fold;
use millrace_functions::windows::COUNTED;
use millrace_types::{Result, SqlError, SqlState};
use sqlparser::ast::{
    CaseWhen, DuplicateTreatment, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause,
    FunctionArgumentList, FunctionArguments, Ident, ObjectName, Query, UnaryOperator, Value, Visit, Visitor,
};
use std::ops::ControlFlow;

/// The functions that are nothing without OVER.
const WINDOW_FUNCTIONS: &[&str] = &[
    "row_number",
    "rank",
    "dense_rank",
    "percent_rank",
    "cume_dist",
    "ntile",
    "lag",
    "lead",
    "first_value",
    "last_value",
    "nth_value",
    "session_start",
    "session_end",
];

/// Whether a window function is called in this, subqueries left out.
pub fn has_window_call(node: &impl Visit) -> bool {
    struct Finder {
        subqueries: usize,
    }
    impl Visitor for Finder {
        type Break = ();

        fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
            self.subqueries += 1;
            ControlFlow::Continue(())
        }

        fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
            self.subqueries -= 1;
            ControlFlow::Continue(())
        }

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            match expr {
                Expr::Function(Function { over: Some(_), .. }) if self.subqueries == 0 => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        }
    }
    node.visit(&mut Finder { subqueries: 0 }).is_break()
}

/// Checks a call, if the expression is one, and writes it so that it can be planned.
///
/// # Errors
/// As [`prepare`](super::windows::prepare).
pub fn check_call(expr: &mut Expr, functions: &FunctionSource) -> Result<()> {
    let Expr::Function(call) = expr else { return Ok(()) };
    let Some(name) = call.name.0.last().and_then(|part| part.as_ident()).map(fold) else { return Ok(()) };
    let is_window = WINDOW_FUNCTIONS.contains(&name.as_str());
    let is_aggregate = !is_window && functions.state().aggregate_functions().contains_key(&name);
    if call.over.is_none() {
        return check_without_over(call, &name, is_window, is_aggregate);
    }
    check_over(call, &name, is_window, is_aggregate, functions)?;
    let arguments = arguments(call);
    match (name.as_str(), arguments.as_slice()) {
        ("ntile", [Some(count), ..]) if *count <= 0 => {
            let message = "argument of ntile must be greater than zero";
            Err(SqlError::new(SqlState::INVALID_ARGUMENT_FOR_NTILE, message))
        }
        ("nth_value", [_, Some(place), ..]) if *place <= 0 => {
            let message = "argument of nth_value must be greater than zero";
            Err(SqlError::new(SqlState::INVALID_ARGUMENT_FOR_NTH_VALUE, message))
        }
        ("ntile", [None]) | ("nth_value", [_, None]) => {
            count_by_row(call, &name);
            Ok(())
        }
        ("lag" | "lead", [_, offset, ..]) => {
            let is_null = expression_at(call, 1).is_some_and(is_null);
            if offset.is_none() && !is_null {
                count_by_row(call, &name);
            }
            if let Some(written) = shifted(call) {
                *expr = written;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn check_without_over(call: &Function, name: &str, is_window: bool, is_aggregate: bool) -> Result<()> {
    if is_window && call.within_group.is_empty() {
        let message = format!("window function {name} requires an OVER clause");
        return Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, message));
    }
    if is_aggregate && has_window_call(&call.args) {
        let message = "aggregate function calls cannot contain window function calls";
        return Err(SqlError::new(SqlState::GROUPING_ERROR, message));
    }
    Ok(())
}

fn check_over(
    call: &Function,
    name: &str,
    is_window: bool,
    is_aggregate: bool,
    functions: &FunctionSource,
) -> Result<()> {
    if !is_window && !is_aggregate && functions.state().scalar_functions().contains_key(name) {
        let message = format!("OVER specified, but {name} is not a window function nor an aggregate function");
        return Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, message));
    }
    if has_window_call(&call.args) || has_window_call(&call.over) {
        return Err(windowing("window function calls cannot be nested"));
    }
    if is_window && call.filter.is_some() {
        return Err(refused("FILTER is not implemented for non-aggregate window functions"));
    }
    let FunctionArguments::List(list) = &call.args else { return Ok(()) };
    if list.duplicate_treatment == Some(DuplicateTreatment::Distinct) {
        return Err(refused("DISTINCT is not implemented for window functions"));
    }
    if list.clauses.iter().any(|clause| matches!(clause, FunctionArgumentClause::OrderBy(_))) {
        return Err(refused("aggregate ORDER BY is not implemented for window functions"));
    }
    Ok(())
}

fn refused(message: &str) -> SqlError {
    SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message)
}

/// The arguments that are whole numbers, by place.
fn arguments(call: &Function) -> Vec<Option<i64>> {
    let FunctionArguments::List(list) = &call.args else { return vec![] };
    list.args.iter().map(|argument| expression(argument).and_then(whole_number)).collect()
}

fn expression(argument: &FunctionArg) -> Option<&Expr> {
    match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
        _ => None,
    }
}

fn whole_number(expr: &Expr) -> Option<i64> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Number(text, _) => text.parse().ok(),
            _ => None,
        },
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => whole_number(expr).map(|number| -number),
        _ => None,
    }
}

fn expression_at(call: &Function, place: usize) -> Option<&Expr> {
    let FunctionArguments::List(list) = &call.args else { return None };
    list.args.get(place).and_then(expression)
}

/// Makes a call one of the function that takes its count from each row.
fn count_by_row(call: &mut Function, name: &str) {
    if let Some((_, counted)) = COUNTED.iter().find(|(known, _)| *known == name) {
        call.name = ObjectName::from(vec![Ident::with_quote('"', *counted)]);
    }
}

fn counts_by_row(call: &Function) -> bool {
    let name = call.name.0.last().and_then(|part| part.as_ident());
    name.is_some_and(|name| COUNTED.iter().any(|(_, counted)| name.value == *counted))
}

fn is_null(expr: &Expr) -> bool {
    matches!(expr, Expr::Value(value) if value.value == Value::Null)
}

/// `lag(x, n, d)` where `d` is not a plain constant of any type: `CASE WHEN lag(true, n) THEN lag(x, n) ELSE d END`,
/// which also finds the type that both have in common. An offset of NULL gives NULL.
fn shifted(call: &Function) -> Option<Expr> {
    let FunctionArguments::List(list) = &call.args else { return None };
    let arguments: Vec<&Expr> = list.args.iter().filter_map(expression).collect();
    let with = |arguments: &[Expr]| {
        let args = arguments.iter().cloned().map(|expr| FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))).collect();
        let list = FunctionArgumentList { args, ..list.clone() };
        Expr::Function(Function { args: FunctionArguments::List(list), ..call.clone() })
    };
    let constant = |value: Value| Expr::Value(value.into());
    let by_row = counts_by_row(call);
    let is_plain = |default: &Expr| whole_number(default).is_some() || is_null(default) || is_text(default);
    let (conditions, default) = match arguments.as_slice() {
        [value, offset, ..] if is_null(offset) => {
            let nothing = CaseWhen { condition: constant(Value::Boolean(false)), result: with(&[(*value).clone()]) };
            (vec![nothing], constant(Value::Null))
        }
        [value, offset, default] if by_row || !is_plain(default) => {
            let offset = (*offset).clone();
            let unknown = by_row
                .then(|| CaseWhen { condition: Expr::IsNull(Box::new(offset.clone())), result: constant(Value::Null) });
            let condition = with(&[constant(Value::Boolean(true)), offset.clone()]);
            let there = CaseWhen { condition, result: with(&[(*value).clone(), offset]) };
            (unknown.into_iter().chain([there]).collect(), (*default).clone())
        }
        _ => return None,
    };
    let token = || sqlparser::ast::helpers::attached_token::AttachedToken::empty();
    Some(Expr::Case {
        case_token: token(),
        end_token: token(),
        operand: None,
        conditions,
        else_result: Some(Box::new(default)),
    })
}

fn is_text(expr: &Expr) -> bool {
    matches!(expr, Expr::Value(value) if matches!(value.value, Value::SingleQuotedString(_)))
}
