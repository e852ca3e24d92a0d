//! Windows of time in GROUP BY: `SELECT TUMBLE_START(ts, size), count(*) FROM t GROUP BY TUMBLE(ts, size)`.
//!
//! The start of the window is the key, and so is its end where it is asked for. Tumbling windows are values of each
//! row; hopping and cumulating ones are sets, of which each row is grouped with all; those of sessions are keys that
//! [`sessions_of_groups`](super::sessions_of_groups) computes when the other keys are known.

use super::{function, rowtime};
use crate::parse::name_parts;
use millrace_functions::event_windows::{SESSION_END_KEY, SESSION_START_KEY};
use millrace_functions::{Walk, each_expression, each_select};
use millrace_types::{Result, SqlError};
use sqlparser::ast::{
    BinaryOperator, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr, Ident, Query, Select,
    SelectItem, Visitor,
};
use std::ops::ControlFlow;

/// Rewrites every such window in a query.
///
/// # Errors
/// `0A000` for windows of processing time.
pub fn spell_out(query: &mut Query) -> Result<()> {
    each_select(query, |select| {
        select.projection.iter_mut().for_each(named_as_written);
        keys(select);
    });
    let mut outcome = Ok(());
    each_expression(query, |expr| match named(expr) {
        Ok(Some(changed)) => *expr = changed,
        Ok(None) => {}
        Err(error) => outcome = Err(error),
    });
    outcome
}

/// A column is called like the function that gives it, whatever stands for this from now on.
fn named_as_written(item: &mut SelectItem) {
    let SelectItem::UnnamedExpr(expr) = item else { return };
    if let Some((window, part, _)) = call(expr)
        && (window == "session" || part == "rowtime")
    {
        let name = if part.is_empty() { window } else { format!("{window}_{part}") };
        *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias: Ident::with_quote('"', name) };
    }
}

/// The name of a function of windows in two parts, and its arguments: `hop` and `end` of `HOP_END(ts, ..)`.
fn call(expr: &Expr) -> Option<(String, String, Vec<Expr>)> {
    let Expr::Function(call) = expr else { return None };
    let parts = name_parts(&call.name);
    let (None, [name]) = (&call.over, parts.as_slice()) else { return None };
    let (window, part) = name.split_once('_').unwrap_or((name, ""));
    let is_window = ["tumble", "hop", "cumulate", "session"].contains(&window);
    let is_part = ["", "start", "end", "rowtime", "proctime"].contains(&part);
    let FunctionArguments::List(list) = &call.args else { return None };
    let argument = |argument: &FunctionArg| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    };
    let arguments = list.args.iter().map(argument).collect::<Option<Vec<_>>>()?;
    (is_window && is_part).then(|| (window.to_owned(), part.to_owned(), arguments))
}

/// Adds the ends of windows to the keys where they are used, and leaves out rows without a time.
fn keys(select: &mut Select) {
    let GroupByExpr::Expressions(keys, _) = &select.group_by else { return };
    let windows: Vec<_> =
        keys.iter().filter_map(call).filter(|(_, part, _)| part.is_empty() || part == "start").collect();
    for (window, _, arguments) in windows {
        let end = function(&format!("{window}_end"), arguments.clone());
        // The end of a session says when it is final, whoever asks for it.
        let uses_end = window == "session" || uses_end(select, &window);
        let has_end = is_key(select, &window);
        if let (GroupByExpr::Expressions(keys, _), true, false) = (&mut select.group_by, uses_end, has_end) {
            keys.push(end);
        }
        if window == "tumble"
            && let Some(time) = arguments.into_iter().next()
        {
            let known = Expr::IsNotNull(Box::new(Expr::Nested(Box::new(time))));
            select.selection = Some(match select.selection.take() {
                None => known,
                Some(other) => Expr::BinaryOp {
                    left: Box::new(Expr::Nested(Box::new(other))),
                    op: BinaryOperator::And,
                    right: Box::new(known),
                },
            });
        }
    }
}

/// Whether the end of a window is a key already.
fn is_key(select: &Select, window: &str) -> bool {
    let GroupByExpr::Expressions(keys, _) = &select.group_by else { return false };
    keys.iter().filter_map(call).any(|(other, part, _)| other == window && part == "end")
}

fn uses_end(select: &Select, window: &str) -> bool {
    struct Finder<'a>(&'a str, bool);
    impl Visitor for Finder<'_> {
        type Break = SqlError;

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<SqlError> {
            self.1 |= call(expr)
                .is_some_and(|(window, part, _)| window == self.0 && ["end", "rowtime"].contains(&part.as_str()));
            ControlFlow::Continue(())
        }
    }
    let mut finder = Finder(window, false);
    // It never breaks off.
    let _ = select.walk(&mut finder);
    finder.1
}

/// What a function of windows is to the planner, where that is not its own name. The name alone means the start.
fn named(expr: &Expr) -> Result<Option<Expr>> {
    let Some((window, part, arguments)) = call(expr) else { return Ok(None) };
    let end = |arguments| match window.as_str() {
        "session" => function(SESSION_END_KEY, arguments),
        _ => function(&format!("{window}_end"), arguments),
    };
    match (window.as_str(), part.as_str()) {
        (_, "proctime") => Err(SqlError::unsupported(format!("{}_PROCTIME", window.to_uppercase()))),
        (_, "rowtime") => rowtime(end(arguments)).map(Some),
        ("session", "end") => Ok(Some(end(arguments))),
        ("session", _) => Ok(Some(function(SESSION_START_KEY, arguments))),
        (_, "") => Ok(Some(function(&format!("{window}_start"), arguments))),
        _ => Ok(None),
    }
}
