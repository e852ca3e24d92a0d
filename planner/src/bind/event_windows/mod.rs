//! Windows of time in FROM and in GROUP BY, as subqueries and functions that the planner knows.
//!
//! | written | planned as |
//! |---|---|
//! | `tumble(t, ts, size)` | `(SELECT *, tumble_start(ts, size) AS window_start, tumble_end(ts, size) AS window_end FROM t WHERE ts IS NOT NULL)` |
//! | `hop(t, ts, slide, size)` | `(SELECT *, hop_start(ts, slide, size) AS window_start, hop_end(..) AS window_end FROM t)`, with sets in the select list |
//! | `session(t PARTITION BY k, ts, gap)` | `(SELECT *, session_start(ts, gap) OVER (PARTITION BY k ORDER BY ts) AS window_start, ... FROM t WHERE ts IS NOT NULL)` |
//! | `TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), size))` | the same with `tumble_end(ts, size) - INTERVAL '1 millisecond' AS window_time` |
//! | `GROUP BY TUMBLE(ts, size)` | see `grouped.rs` |

mod arguments;
mod grouped;
mod session;

pub use session::sessions_of_groups;

use crate::parse::{fold, parse_expression, parse_query};
use arguments::WindowCall;
use millrace_functions::each_select;
use millrace_types::{Result, SqlError, SqlState};
use sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident, ObjectName,
    OrderByExpr, Query, SelectItem, SetExpr, TableAlias, TableFactor, TableWithJoins, WindowSpec, WindowType,
};

/// Rewrites every window of time in a query.
///
/// # Errors
/// `42883` and `42601` for calls without a meaning, `0A000` for those that have no form here.
pub fn spell_out(query: &mut Query) -> Result<()> {
    let mut outcome = Ok(());
    each_select(query, |select| {
        for table in &mut select.from {
            let done = tables(table);
            outcome = std::mem::replace(&mut outcome, Ok(())).and(done);
        }
    });
    outcome?;
    grouped::spell_out(query)
}

fn tables(table: &mut TableWithJoins) -> Result<()> {
    factor(&mut table.relation)?;
    table.joins.iter_mut().try_for_each(|join| factor(&mut join.relation))
}

fn factor(place: &mut TableFactor) -> Result<()> {
    if let TableFactor::NestedJoin { table_with_joins, .. } = place {
        return tables(table_with_joins);
    }
    let Some(called) = Called::of(place) else { return Ok(()) };
    let call = WindowCall::parse(&called)?;
    let mut subquery = windowed(call)?;
    // A window may be over another one.
    spell_out(&mut subquery)?;
    let name = Ident::with_quote('"', called.name);
    let alias = called.alias.unwrap_or(TableAlias { explicit: true, name, columns: vec![], at: None });
    *place = TableFactor::Derived { lateral: called.lateral, subquery, alias: Some(alias), sample: None };
    Ok(())
}

/// A call of a window in FROM.
struct Called {
    /// Its name, folded.
    name: String,
    arguments: Vec<FunctionArg>,
    alias: Option<TableAlias>,
    lateral: bool,
    /// Whether it stands in `TABLE(...)`.
    in_table: bool,
}

impl Called {
    fn of(factor: &TableFactor) -> Option<Called> {
        let (name, arguments, alias, lateral, in_table) = match factor {
            TableFactor::Table { name, args: Some(arguments), alias, .. } => {
                (name, &arguments.args, alias, false, false)
            }
            TableFactor::Function { name, args, alias, lateral, .. } => (name, args, alias, *lateral, false),
            TableFactor::TableFunction { expr: Expr::Function(function), alias } => match &function.args {
                FunctionArguments::List(list) => (&function.name, &list.args, alias, false, true),
                _ => return None,
            },
            _ => return None,
        };
        let [name] = name.0.as_slice() else { return None };
        let name = name.as_ident().map(fold)?;
        let is_window = ["tumble", "hop", "cumulate", "session"].contains(&name.as_str());
        is_window.then(|| Called { name, arguments: arguments.clone(), alias: alias.clone(), lateral, in_table })
    }
}

/// The subquery that a call stands for.
fn windowed(call: WindowCall) -> Result<Box<Query>> {
    let mut query = parse_query("SELECT * FROM x")?;
    let SetExpr::Select(select) = query.body.as_mut() else {
        return Err(SqlError::internal("a SELECT is parsed as one"));
    };
    let over = |name: &str| -> Result<Expr> {
        let call = &call;
        let Expr::Function(mut function) = function(&format!("{}_{name}", call.name), call.arguments()) else {
            return Err(SqlError::internal("a call is one"));
        };
        function.over = call.keys.as_ref().map(|keys| WindowType::WindowSpec(ordered(keys, &call.time)));
        Ok(Expr::Function(function))
    };
    let mut columns = vec![(over("start")?, "window_start"), (over("end")?, "window_end")];
    if call.standard {
        columns.push((rowtime(over("end")?)?, "window_time"));
    }
    let item = |(expr, name): (Expr, &str)| SelectItem::ExprWithAlias { expr, alias: Ident::new(name) };
    select.projection.extend(columns.into_iter().map(item));
    // Times that are NULL have no set, so that only the others are left out here.
    if matches!(call.name.as_str(), "tumble" | "session") {
        select.selection = Some(Expr::IsNotNull(Box::new(call.time.clone())));
    }
    select.from = vec![TableWithJoins { relation: call.data, joins: vec![] }];
    Ok(query)
}

/// `PARTITION BY keys ORDER BY time`
fn ordered(keys: &[Expr], time: &Expr) -> WindowSpec {
    let options = sqlparser::ast::OrderByOptions { asc: None, nulls_first: None };
    let order_by = vec![OrderByExpr { expr: time.clone(), options, with_fill: None }];
    WindowSpec { window_name: None, partition_by: keys.to_vec(), order_by, window_frame: None }
}

/// The time of a window's rows in windows over it: the last millisecond of the window.
fn rowtime(end: Expr) -> Result<Expr> {
    match parse_expression("x - INTERVAL '1 millisecond'")? {
        Expr::BinaryOp { op, right, .. } => {
            let difference = Expr::BinaryOp { left: Box::new(end), op, right };
            Ok(Expr::Nested(Box::new(difference)))
        }
        _ => Err(SqlError::internal("a difference is parsed as one")),
    }
}

/// A call of a function of windows.
fn function(name: &str, args: Vec<Expr>) -> Expr {
    let args = args.into_iter().map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg))).collect();
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::with_quote('"', name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList { duplicate_treatment: None, args, clauses: vec![] }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: vec![],
    })
}

/// `42883`: a call that names or leaves out what it should not.
fn no_such_call(message: String, usage: &str) -> SqlError {
    SqlError::new(SqlState::UNDEFINED_FUNCTION, message).with_hint(format!("Use {usage}."))
}
