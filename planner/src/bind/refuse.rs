//! What queries may not hold, told from their syntax.

use crate::error::undefined_function;
use crate::parse::name_parts;
use millrace_functions::Walk;
use millrace_types::{Result, SqlError, SqlState};
use sqlparser::ast::{
    DuplicateTreatment, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause, FunctionArguments, Query,
    SetExpr, TableFactor, Value, ValueWithSpan, Visitor,
};
use std::ops::ControlFlow;

/// Refuses constructs that DataFusion's planner would misread or word unlike Postgres.
///
/// # Errors
/// `0A000` naming the construct.
pub fn query(query: &Query) -> Result<()> {
    struct Refuser;
    impl Visitor for Refuser {
        type Break = SqlError;

        fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<SqlError> {
            if matches!(query.body.as_ref(), SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_)) {
                return ControlFlow::Break(SqlError::unsupported("a statement that changes rows in WITH"));
            }
            match query.locks.first() {
                Some(_) => ControlFlow::Break(SqlError::unsupported("FOR UPDATE").with_hint(
                    "Leave it out: a commit fails with 40001 when a row that it changes was changed meanwhile.",
                )),
                None => ControlFlow::Continue(()),
            }
        }

        fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<SqlError> {
            match table_factor(factor) {
                Some(what) => ControlFlow::Break(SqlError::unsupported(what)),
                None => ControlFlow::Continue(()),
            }
        }

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<SqlError> {
            match expr {
                Expr::Function(function) => call(function).map_or(ControlFlow::Continue(()), ControlFlow::Break),
                _ => ControlFlow::Continue(()),
            }
        }
    }
    query.walk(&mut Refuser)
}

/// What is wrong with a call, told from its form.
fn call(function: &Function) -> Option<SqlError> {
    let FunctionArguments::List(list) = &function.args else { return None };
    let name = name_parts(&function.name).pop()?;
    if function.null_treatment.is_some() {
        return Some(SqlError::new(SqlState::SYNTAX_ERROR, "syntax error at or near \"NULLS\""));
    }
    let star = |arg: &FunctionArg| matches!(arg, FunctionArg::Unnamed(FunctionArgExpr::Wildcard));
    if name == "count" && list.args.is_empty() && function.within_group.is_empty() {
        let words = "count(*) must be used to call a parameterless aggregate function";
        return Some(SqlError::new(SqlState::WRONG_OBJECT_TYPE, words));
    }
    let distinct = list.duplicate_treatment == Some(DuplicateTreatment::Distinct);
    if distinct && list.args.iter().any(star) {
        return Some(SqlError::new(SqlState::SYNTAX_ERROR, "syntax error at or near \"*\""));
    }
    if name == "count" && list.args.len() > 1 {
        return Some(undefined_function(&name, "..."));
    }
    if name != "count" && list.args.iter().any(star) {
        return Some(undefined_function(&name, ""));
    }
    let is_argument = |expr: &Expr| {
        list.args.iter().any(|arg| matches!(arg, FunctionArg::Unnamed(FunctionArgExpr::Expr(arg)) if arg == expr))
    };
    let order = list.clauses.iter().find_map(|clause| match clause {
        FunctionArgumentClause::OrderBy(order) => Some(order),
        _ => None,
    })?;
    (distinct && !order.iter().all(|sort| is_argument(&sort.expr))).then(|| {
        let words = "in an aggregate with DISTINCT, ORDER BY expressions must appear in argument list";
        SqlError::new(SqlState::INVALID_COLUMN_REFERENCE, words)
    })
}

fn table_factor(factor: &TableFactor) -> Option<String> {
    match factor {
        TableFactor::Table { sample: Some(_), .. } => Some("TABLESAMPLE".to_owned()),
        TableFactor::MatchRecognize { .. } => Some("MATCH_RECOGNIZE".to_owned()),
        TableFactor::Pivot { .. } | TableFactor::Unpivot { .. } => Some("PIVOT".to_owned()),
        TableFactor::TableFunction { .. } => Some("TABLE(...) in FROM".to_owned()),
        TableFactor::JsonTable { .. } => Some("JSON_TABLE".to_owned()),
        TableFactor::XmlTable { .. } => Some("XMLTABLE".to_owned()),
        _ => None,
    }
}

/// Refuses `$1` where there is nobody to give it a value.
///
/// # Errors
/// `42P02`
pub fn parameters(tree: &impl Walk) -> Result<()> {
    struct Finder;
    impl Visitor for Finder {
        type Break = SqlError;

        fn pre_visit_value(&mut self, value: &ValueWithSpan) -> ControlFlow<SqlError> {
            match &value.value {
                Value::Placeholder(name) => {
                    let error = SqlError::new(SqlState::UNDEFINED_PARAMETER, format!("there is no parameter {name}"));
                    ControlFlow::Break(error.at(value.span.start.column as usize))
                }
                _ => ControlFlow::Continue(()),
            }
        }
    }
    tree.walk(&mut Finder)
}
