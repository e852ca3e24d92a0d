//! Equivalent plans that are cheaper to keep up to date.
//!
//! Each rule maps a relational expression to an equal one over multisets, so that it holds for changes as well: the
//! changes of equal expressions are equal. Rules that only help a one-time run (limits, sorting, statistics) are left
//! out, and so are those whose result [`lower`](crate::lower) would have to take apart again.

mod equalities;
mod first_rows;

use crate::error::sql_error;
use crate::functions::FunctionSource;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::{Optimizer, OptimizerContext, OptimizerRule};
use equalities::{Equalities, NullSafeKeys};
use millrace_types::Result;
use std::sync::Arc;

type Rule = Arc<dyn OptimizerRule + Send + Sync>;

/// The rules, in the order in which they run.
pub fn rules() -> Vec<Rule> {
    use datafusion::optimizer::{
        common_subexpr_eliminate::CommonSubexprEliminate, eliminate_cross_join::EliminateCrossJoin,
        eliminate_duplicated_expr::EliminateDuplicatedExpr, eliminate_filter::EliminateFilter,
        eliminate_group_by_constant::EliminateGroupByConstant, eliminate_outer_join::EliminateOuterJoin,
        optimize_projections::OptimizeProjections, optimize_unions::OptimizeUnions,
        propagate_empty_relation::PropagateEmptyRelation, push_down_filter::PushDownFilter,
        simplify_expressions::SimplifyExpressions,
    };
    vec![
        Arc::new(OptimizeUnions::new()),
        Arc::new(SimplifyExpressions::new()),
        // `FROM a, b, c WHERE ...` becomes joins in an order in which each has a key, if there is one.
        Arc::new(Equalities),
        Arc::new(EliminateDuplicatedExpr::new()),
        Arc::new(EliminateFilter::new()),
        Arc::new(EliminateCrossJoin::new()),
        Arc::new(PropagateEmptyRelation::new()),
        Arc::new(EliminateOuterJoin::new()),
        Arc::new(PushDownFilter::new()),
        Arc::new(SimplifyExpressions::new()),
        Arc::new(EliminateGroupByConstant::new()),
        Arc::new(CommonSubexprEliminate::new()),
        // Last: what the others left over decides which columns are read.
        Arc::new(OptimizeProjections::new()),
    ]
}

/// The rules for queries that run once: DataFusion's `rules` with [`equalities`] in place of its own, and without the one
/// that makes sums of sums beside `count(DISTINCT x)`: in Postgres a sum has another type than what it sums.
pub fn rules_once(rules: &[Rule]) -> Vec<Rule> {
    let (replaced, dropped) = ("extract_equijoin_predicate", "single_distinct_aggregation_to_group_by");
    let ours = |rule: &Rule| if rule.name() == replaced { Arc::new(Equalities) } else { rule.clone() };
    let kept = rules.iter().filter(|rule| rule.name() != dropped);
    kept.map(ours).chain([Arc::new(NullSafeKeys) as Rule]).collect()
}

/// The plan with [`rules`] applied.
///
/// # Errors
/// Those of a rule that fails: a bound plan meets none.
pub fn rewrite(plan: LogicalPlan, functions: &FunctionSource) -> Result<LogicalPlan> {
    let mut options = ConfigOptions::clone(functions.analysis());
    // A rule that fails says why, instead of being left out silently.
    options.optimizer.skip_failed_rules = false;
    let options = Arc::new(options);
    let plan = unsorted(first_rows::first_rows(plan, functions)?)?;
    // Without a start time `now()` stays a call, which lowering refuses.
    let context = OptimizerContext::new_with_config_options(options).without_query_execution_start_time();
    Optimizer::with_rules(rules()).optimize(plan, &context, |_, _| {}).map_err(sql_error)
}

/// The plan without its ORDER BYs: a maintained relation has no order. Done first, so that columns that only an order
/// needs are not read. Where an order matters, under a LIMIT, it is in row numbers by now.
fn unsorted(plan: LogicalPlan) -> Result<LogicalPlan> {
    plan.transform_down_with_subqueries(|plan| match plan {
        LogicalPlan::Sort(sort) if sort.fetch.is_none() => Ok(Transformed::yes(sort.input.as_ref().clone())),
        other => Ok(Transformed::no(other)),
    })
    .map(|transformed| transformed.data)
    .map_err(sql_error)
}
