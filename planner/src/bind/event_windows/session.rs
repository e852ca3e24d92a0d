//! Sessions as keys of a GROUP BY: a window function below, whose partition are the other keys.
//!
//! ```text
//!   Aggregate session_start(ts, gap), k      Aggregate #start, k
//!     input                              ->    Window session_start(ts, gap) OVER (PARTITION BY k ORDER BY ts) as #start
//!                                                Filter ts IS NOT NULL
//!                                                  input
//! ```

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DataFusionError, Result};
use datafusion::logical_expr::expr::WindowFunction;
use datafusion::logical_expr::{
    Aggregate, Expr, ExprFunctionExt, LogicalPlan, LogicalPlanBuilder, WindowFunctionDefinition,
};
use millrace_functions::event_windows::Sessions;
use millrace_types::SqlError;
use std::sync::Arc;

/// The plan with every session that is a key of a group computed below it.
///
/// # Errors
/// `0A000` for sessions in grouping sets and for several in one GROUP BY.
pub fn sessions_of_groups(plan: LogicalPlan) -> Result<LogicalPlan> {
    let plan = plan.transform_up_with_subqueries(|plan| match plan {
        LogicalPlan::Aggregate(aggregate) if holds_session(&aggregate.group_expr)? => {
            grouped(aggregate).map(Transformed::yes)
        }
        plan => Ok(Transformed::no(plan)),
    })?;
    Ok(plan.data)
}

fn holds_session(keys: &[Expr]) -> Result<bool> {
    for key in keys {
        if key.exists(|expr| Ok(Sessions::key(expr).is_some()))? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn grouped(aggregate: Aggregate) -> Result<LogicalPlan> {
    let names: Vec<Column> = aggregate.schema.columns();
    let keys = aggregate.group_expr.clone();
    if matches!(keys.as_slice(), [Expr::GroupingSet(_)]) {
        return Err(refused("SESSION in grouping sets"));
    }
    let is_session = |key: &&Expr| Sessions::key(bare(key)).is_some();
    let (sessions, others): (Vec<&Expr>, Vec<&Expr>) = keys.iter().partition(is_session);
    let arguments: Vec<&[Expr]> = sessions.iter().filter_map(|key| Some(Sessions::key(bare(key))?.1)).collect();
    let Some(first) = arguments.first() else { return Err(refused("SESSION inside of another key")) };
    if arguments.iter().any(|other| other != first) {
        return Err(refused("several SESSIONs in one GROUP BY"));
    }
    let [time, _] = first else { return Err(refused("SESSION of other arguments than a time and a gap")) };
    let partition: Vec<Expr> = others.into_iter().map(|key| bare(key).clone()).collect();
    let over = |key: &Expr| -> Result<Option<Expr>> {
        let Some((side, arguments)) = Sessions::key(bare(key)) else { return Ok(None) };
        let function = WindowFunctionDefinition::WindowUDF(Sessions::function(side));
        let call = Expr::from(WindowFunction::new(function, arguments.to_vec()));
        let order = vec![time.clone().sort(true, false)];
        call.partition_by(partition.clone()).order_by(order).build().map(Some)
    };
    let calls = keys.iter().map(over).collect::<Result<Vec<_>>>()?;
    let mut different: Vec<Expr> = vec![];
    for call in calls.iter().flatten() {
        different.extend((!different.contains(call)).then(|| call.clone()));
    }
    let rows = LogicalPlanBuilder::from(Arc::unwrap_or_clone(aggregate.input));
    let rows = rows.filter(time.clone().is_not_null())?.window(different)?.build()?;
    let keys = keys.into_iter().zip(calls).zip(names).map(|((key, call), name)| match call {
        Some(call) => {
            Expr::Column(Column::from_name(call.schema_name().to_string())).alias_qualified(name.relation, name.name)
        }
        None => key,
    });
    Aggregate::try_new(Arc::new(rows), keys.collect(), aggregate.aggr_expr).map(LogicalPlan::Aggregate)
}

fn bare(key: &Expr) -> &Expr {
    match key {
        Expr::Alias(alias) => bare(&alias.expr),
        other => other,
    }
}

fn refused(what: &str) -> DataFusionError {
    DataFusionError::External(Box::new(SqlError::unsupported(what)))
}
