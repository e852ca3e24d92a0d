//! What queries may not hold, told from their syntax.

use crate::error::undefined_function;
use crate::parse::{changes_rows, name_parts};
use millrace_functions::Walk;
use millrace_types::{Result, SqlError, SqlState};
use sqlparser::ast::{
    BinaryOperator, DuplicateTreatment, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause,
    FunctionArguments, Ident, NonBlock, ObjectName, Query, SelectItem, SetExpr, TableFactor, Value, ValueWithSpan,
    Visitor,
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
            if changes_rows(query) {
                let words = "WITH clause containing a data-modifying statement must be at the top level";
                return ControlFlow::Break(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, words));
            }
            match query.locks.iter().any(|lock| lock.nonblock == Some(NonBlock::SkipLocked)) {
                true => ControlFlow::Break(SqlError::unsupported("SKIP LOCKED").with_hint(
                    "Nothing is locked: a commit fails with 40001 when what it read FOR UPDATE was changed meanwhile.",
                )),
                false => ControlFlow::Continue(()),
            }
        }

        fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<SqlError> {
            if let TableFactor::Table { name, .. } = factor
                && let Some(word) = reserved(name)
            {
                let error = SqlError::new(SqlState::SYNTAX_ERROR, format!("syntax error at or near \"{word}\""));
                return ControlFlow::Break(error.at(word.span.start.column as usize));
            }
            match table_factor(factor) {
                Some(what) => ControlFlow::Break(SqlError::unsupported(what)),
                None => ControlFlow::Continue(()),
            }
        }

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<SqlError> {
            match expr {
                Expr::Function(function) => call(function).map_or(ControlFlow::Continue(()), ControlFlow::Break),
                Expr::BinaryOp { left, op, right } if is_comparison(op) => match (left.as_ref(), right.as_ref()) {
                    (Expr::Tuple(left), Expr::Tuple(right)) if left.len() != right.len() => {
                        let words = "unequal number of entries in row expressions";
                        ControlFlow::Break(SqlError::new(SqlState::SYNTAX_ERROR, words))
                    }
                    _ => ControlFlow::Continue(()),
                },
                Expr::InSubquery { expr, subquery, .. } => {
                    width(expr, subquery).map_or(ControlFlow::Continue(()), ControlFlow::Break)
                }
                _ => ControlFlow::Continue(()),
            }
        }
    }
    query.walk(&mut Refuser)
}

fn is_comparison(op: &BinaryOperator) -> bool {
    use BinaryOperator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
    matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq)
}

/// What is wrong with the number of columns of `(a, b) IN (SELECT ...)`, where the select list tells it.
fn width(expr: &Expr, subquery: &Query) -> Option<SqlError> {
    let wanted = match expr {
        Expr::Tuple(columns) => columns.len(),
        _ => return None,
    };
    let SetExpr::Select(select) = subquery.body.as_ref() else { return None };
    let is_column = |item: &SelectItem| matches!(item, SelectItem::UnnamedExpr(_) | SelectItem::ExprWithAlias { .. });
    let given = select.projection.len();
    if given == wanted || !select.projection.iter().all(is_column) {
        return None;
    }
    let words = if given < wanted { "subquery has too few columns" } else { "subquery has too many columns" };
    Some(SqlError::new(SqlState::SYNTAX_ERROR, words))
}

/// Functions that are a part of the grammar, and how many arguments they take.
const GRAMMATICAL: &[(&str, std::ops::RangeInclusive<usize>)] =
    &[("coalesce", 1..=usize::MAX), ("greatest", 1..=usize::MAX), ("least", 1..=usize::MAX), ("nullif", 2..=2)];

/// What is wrong with a call, told from its form.
fn call(function: &Function) -> Option<SqlError> {
    let FunctionArguments::List(list) = &function.args else { return None };
    let name = name_parts(&function.name).pop()?;
    if function.null_treatment.is_some() {
        return Some(SqlError::new(SqlState::SYNTAX_ERROR, "syntax error at or near \"NULLS\""));
    }
    if GRAMMATICAL.iter().any(|(known, count)| *known == name && !count.contains(&list.args.len())) {
        return Some(SqlError::new(SqlState::SYNTAX_ERROR, "syntax error at or near \")\""));
    }
    let hypothetical = ["rank", "dense_rank", "percent_rank", "cume_dist"].contains(&name.as_str());
    if hypothetical && !function.within_group.is_empty() && function.within_group.len() != list.args.len() {
        return Some(undefined_function(&name, "..."));
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

/// A word at the place of a relation's name that only a clause can begin with.
fn reserved(name: &ObjectName) -> Option<&Ident> {
    const WORDS: &[&str] = &["where", "group", "order", "having", "limit", "offset", "union", "select", "from"];
    let ident = name.0.first()?.as_ident()?;
    (ident.quote_style.is_none() && WORDS.contains(&ident.value.to_lowercase().as_str())).then_some(ident)
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
