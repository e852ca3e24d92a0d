//! Sets where values stand: the plan node that evaluates them gets its rows from an [`Unnest`] of their arrays.
//!
//! ```text
//!                                     Project id, s0 + 1, s1
//!   Project id, f(a) + 1, g(f(b))  ->   Unnest s1
//!                                         Project id, ..., s0, g(s2) as s1
//!                                           Unnest s0, s2
//!                                             Project id, ..., f(a) as s0, f(b) as s2
//! ```
//!
//! As in Postgres, sets of one node advance together, the shorter ones padded with NULL; a set inside of another's
//! arguments is made first.

use super::{ORDINALITY, SetReturning, Unnest, ordinals};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DataFusionError, Result};
use datafusion::functions_nested::make_array::make_array_udf;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan, LogicalPlanBuilder, Projection};
use datafusion::scalar::ScalarValue;
use millrace_types::{SqlError, SqlState};
use std::sync::Arc;

/// Stands before the number of a set's column. No identifier of a user holds it.
const MARK: char = '\u{1}';

/// One node with its sets made into rows.
///
/// # Errors
/// `0A000` where Postgres takes no set.
pub fn expand(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    match plan {
        LogicalPlan::Projection(projection) if holds_set(&projection.expr)? => {
            projected(projection).map(Transformed::yes)
        }
        LogicalPlan::Aggregate(aggregate) => {
            match (holds_set(&aggregate.group_expr)?, holds_set(&aggregate.aggr_expr)?) {
                (_, true) => Err(refusal("aggregate function calls cannot contain set-returning function calls", true)),
                (true, false) => grouped(aggregate).map(Transformed::yes),
                (false, false) => Ok(Transformed::no(LogicalPlan::Aggregate(aggregate))),
            }
        }
        other => match place(&other) {
            Some(place) if holds_set(&other.expressions())? => Err(refusal(&place, false)),
            _ => Ok(Transformed::no(other)),
        },
    }
}

/// Where a node's expressions stand in a query, for the refusal of sets there.
fn place(plan: &LogicalPlan) -> Option<String> {
    let clause = match plan {
        LogicalPlan::Filter(filter) if matches!(filter.input.as_ref(), LogicalPlan::Aggregate(_)) => "HAVING",
        LogicalPlan::Filter(_) => "WHERE",
        LogicalPlan::Join(_) => "JOIN conditions",
        LogicalPlan::Values(_) => "VALUES",
        LogicalPlan::Limit(_) => "LIMIT",
        LogicalPlan::Sort(_) => "ORDER BY beside a select list without them",
        LogicalPlan::Window(_) => {
            return Some("window function calls cannot contain set-returning function calls".into());
        }
        _ => return None,
    };
    Some(format!("set-returning functions are not allowed in {clause}"))
}

fn refusal(message: &str, hint: bool) -> DataFusionError {
    let error = SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message);
    let error = match hint {
        true => error.with_hint("You might be able to move the set-returning function into a LATERAL FROM item."),
        false => error,
    };
    DataFusionError::External(Box::new(error))
}

fn holds_set(exprs: &[Expr]) -> Result<bool> {
    for expr in exprs {
        if expr.exists(|expr| Ok(SetReturning::is_call(expr)))? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn projected(projection: Projection) -> Result<LogicalPlan> {
    let names: Vec<Column> = projection.schema.columns();
    let (input, exprs) = over_rows(Arc::unwrap_or_clone(projection.input), projection.expr)?;
    let named = exprs.into_iter().zip(names).map(|(expr, column)| named(expr, column));
    LogicalPlanBuilder::from(input).project(named.collect::<Vec<_>>())?.build()
}

/// An expression under the name that the node's column has above it.
fn named(expr: Expr, column: Column) -> Expr {
    let same = expr.schema_name().to_string() == column.flat_name();
    match same {
        true => expr,
        false => expr.unalias().alias_qualified(column.relation, column.name),
    }
}

/// Keys of a GROUP BY are columns before rows are grouped.
fn grouped(aggregate: Aggregate) -> Result<LogicalPlan> {
    let names: Vec<Column> = aggregate.schema.columns();
    let (input, keys) = over_rows(Arc::unwrap_or_clone(aggregate.input), aggregate.group_expr)?;
    let named = keys.into_iter().zip(names).map(|(key, column)| named(key, column));
    let (keys, aggregates) = (named.collect(), aggregate.aggr_expr);
    Aggregate::try_new(Arc::new(input), keys, aggregates).map(LogicalPlan::Aggregate)
}

/// The rows of an input with the sets of expressions, and the expressions over them.
fn over_rows(mut input: LogicalPlan, mut exprs: Vec<Expr>) -> Result<(LogicalPlan, Vec<Expr>)> {
    let mut count = 0;
    loop {
        let mut calls = vec![];
        for expr in &exprs {
            innermost(expr, &mut calls)?;
        }
        if calls.is_empty() {
            return Ok((input, exprs));
        }
        let lists = arrays(&calls);
        let column = |what: &str| {
            let numbered = |at| Column::from_name(format!("{MARK}{what}{at}"));
            (count..count + lists.len()).map(numbered).collect::<Vec<Column>>()
        };
        let (arrays, elements) = (column("array"), column("element"));
        count += lists.len();
        let columns = input.schema().columns().into_iter().map(Expr::Column);
        let lists = lists.into_iter().zip(&arrays).map(|(list, column)| list.alias(&column.name));
        let columns: Vec<Expr> = columns.chain(lists).collect();
        let rows = LogicalPlanBuilder::from(input).project(columns)?.build()?;
        input = Unnest::try_new(rows, arrays, elements.clone(), false)?.into_plan();
        let column_of = |expr: Expr| match calls.iter().position(|call| *call == expr) {
            Some(at) => Ok(Transformed::new(Expr::Column(elements[at].clone()), true, TreeNodeRecursion::Jump)),
            None => Ok(Transformed::no(expr)),
        };
        exprs = exprs.into_iter().map(|expr| expr.transform_down(column_of).data()).collect::<Result<_>>()?;
    }
}

/// Adds the calls of sets in an expression that have no other set in their arguments, each once.
fn innermost(expr: &Expr, calls: &mut Vec<Expr>) -> Result<()> {
    expr.apply(|expr| {
        match expr {
            Expr::ScalarFunction(function) if SetReturning::is_call(expr) && !holds_set(&function.args)? => {
                calls.extend((!calls.contains(expr)).then(|| expr.clone()));
            }
            Expr::Case(_) if holds_set(std::slice::from_ref(expr))? => {
                return Err(refusal("set-returning functions are not allowed in CASE", true));
            }
            Expr::ScalarFunction(function) if function.name() == "coalesce" && holds_set(&function.args)? => {
                return Err(refusal("set-returning functions are not allowed in COALESCE", true));
            }
            _ => {}
        }
        Ok(TreeNodeRecursion::Continue)
    })
    .map(drop)
}

/// The arrays of calls; that of WITH ORDINALITY counts the rows of the others.
fn arrays(calls: &[Expr]) -> Vec<Expr> {
    let counts = |call: &Expr| matches!(call, Expr::ScalarFunction(function) if function.name() == ORDINALITY);
    let others: Vec<Expr> = calls.iter().filter(|call| !counts(call)).filter_map(SetReturning::list).collect();
    let arrays = calls.iter().filter_map(|call| match counts(call) {
        false => SetReturning::list(call),
        true if others.is_empty() => {
            let one = Expr::Literal(ScalarValue::Int64(Some(1)), None);
            let one = vec![one];
            Some(Expr::ScalarFunction(ScalarFunction::new_udf(make_array_udf(), one)))
        }
        true => Some(Expr::ScalarFunction(ScalarFunction::new_udf(ordinals(), others.clone()))),
    });
    arrays.collect()
}
