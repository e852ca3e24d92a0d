//! Subqueries become joins.
//!
//! After Neumann and Kemper, "Unnesting Arbitrary Queries" (BTW 2015). A subquery that names columns of an outer query
//! would have to be run again for each outer row. Instead it is run for all outer rows at once, with what tells apart
//! for which of them a row is, and joined with them:
//!
//! | module | what it does |
//! |---|---|
//! | [`attach`] | subqueries in a node's expressions: joins them with the node's input, and puts columns in their place |
//! | [`lateral`] | subqueries in FROM that name columns of what stands before them |
//! | [`push`], [`group`], [`window`], [`join`] | runs a subquery for all outer rows, operator by operator |
//! | [`domain`] | the different values of the outer columns, where these are needed |
//! | [`dependent`] | a subquery's rows, and what relates them to the outer ones |
//! | [`outer`] | outer columns in plans and expressions |
//!
//! Works from the inside out: a subquery has none itself when it is joined. What is left of outer columns belongs to
//! queries further out.

mod attach;
mod condition;
mod dependent;
mod domain;
mod group;
mod join;
mod lateral;
mod outer;
mod push;
mod scalar;
#[cfg(test)]
mod tests;
mod unique;
mod window;

use crate::error::sql_error;
use crate::functions::FunctionSource;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, TableReference};
use datafusion::logical_expr::{Distinct, Expr, LogicalPlan, Subquery};
use dependent::Dependent;
use domain::Domain;
use millrace_types::{Result, SqlError, SqlState};
use push::{Push, Stop};

/// The plan without subqueries in expressions and without lateral joins. Its columns stay.
///
/// # Errors
/// `0A000` for what cannot be run for several outer rows at once, `42803` for a column of an outer query that its
/// grouping took away.
pub fn decorrelate(plan: LogicalPlan, functions: &FunctionSource) -> Result<LogicalPlan> {
    if !has_subqueries(&plan).map_err(sql_error)? {
        return Ok(plan);
    }
    let mut walk = Decorrelation { functions, names: Names::default() };
    let plan = walk.plan(plan).map_err(sql_error)?;
    match outer::unresolved(&plan).map_err(sql_error)? {
        None => Ok(plan),
        Some(column) => {
            let column = column.flat_name();
            let message = format!("subquery uses ungrouped column \"{column}\" from outer query");
            Err(SqlError::new(SqlState::GROUPING_ERROR, message))
        }
    }
}

fn has_subqueries(plan: &LogicalPlan) -> datafusion::common::Result<bool> {
    plan.exists(|node| {
        let mut found = matches!(node, LogicalPlan::Subquery(_));
        node.apply_expressions(|expr| {
            found |= attach::has_subquery(expr)?;
            Ok(datafusion::common::tree_node::TreeNodeRecursion::Continue)
        })?;
        Ok(found)
    })
}

/// Relation names that no text gives.
#[derive(Default)]
struct Names {
    given: usize,
}

impl Names {
    fn relation(&mut self) -> TableReference {
        self.given += 1;
        TableReference::bare(format!("subquery {}", self.given))
    }
}

struct Decorrelation<'a> {
    functions: &'a FunctionSource,
    names: Names,
}

impl Decorrelation<'_> {
    /// A plan with its own subqueries joined, from the leaves up.
    fn plan(&mut self, plan: LogicalPlan) -> datafusion::common::Result<LogicalPlan> {
        // The name of a node that is not one of these does not change with its inputs.
        let plan = plan.map_children(|child| self.plan(child).map(Transformed::yes))?.data;
        match plan {
            LogicalPlan::Join(join) => self.join(join),
            LogicalPlan::Subquery(subquery) => Ok(LogicalPlan::Subquery(subquery)),
            LogicalPlan::Aggregate(aggregate)
                if aggregate.aggr_expr.iter().any(|call| group::is_of_outer_query(call, aggregate.input.schema())) =>
            {
                Err(attach::unsupported("an aggregate of an outer query's columns in a subquery"))
            }
            plan => self.attach(plan),
        }
    }

    /// A subquery for all rows of `rows` at once: without a domain if that is possible and serves `then`, else with one.
    fn evaluate<T>(
        &mut self,
        subquery: &LogicalPlan,
        rows: &LogicalPlan,
        mut then: impl FnMut(&mut Self, Dependent) -> push::Step<T>,
    ) -> datafusion::common::Result<T> {
        match self.attempt(subquery, rows.schema(), None).and_then(|found| then(self, found)) {
            Err(Stop::NeedsDomain) => {}
            Err(Stop::Failed(error)) => return Err(error),
            Ok(done) => return Ok(done),
        }
        let domain = Domain::of(subquery, rows, &mut self.names)?;
        let found =
            self.attempt(subquery, rows.schema(), Some(&domain)).and_then(|found| match then(self, found.clone()) {
                Err(Stop::NeedsDomain) if found.empty.is_some() => {
                    let outer = rows.schema();
                    let names = &mut self.names;
                    let mut push = Push { names, functions: self.functions, outer, domain: Some(&domain) };
                    let found = push.settled(found)?;
                    then(self, found)
                }
                done => done,
            });
        match found {
            Ok(done) => Ok(done),
            Err(Stop::Failed(error)) => Err(error),
            Err(Stop::NeedsDomain) => {
                let error = SqlError::unsupported("a correlated subquery of this form");
                Err(datafusion::common::DataFusionError::External(Box::new(error)))
            }
        }
    }

    fn attempt(&mut self, subquery: &LogicalPlan, outer: &DFSchema, domain: Option<&Domain>) -> push::Step<Dependent> {
        Push { names: &mut self.names, functions: self.functions, outer, domain }.plan(subquery)
    }

    /// The plan of a subquery in an expression, with its own subqueries joined.
    fn inner(&mut self, subquery: &Subquery) -> datafusion::common::Result<LogicalPlan> {
        self.plan(subquery.subquery.as_ref().clone())
    }

    /// A call of an aggregate function.
    fn aggregate(&self, name: &str, argument: Expr) -> push::Step<Expr> {
        match self.functions.state().aggregate_functions().get(name) {
            Some(function) => Ok(function.call(vec![argument])),
            None => Err(Stop::Failed(datafusion::common::DataFusionError::Internal(format!("no aggregate {name}")))),
        }
    }
}

/// Whether a row-less part of a subquery can be left out where only the existence of rows counts: what is selected,
/// their order, their duplicates, a limit that leaves one.
fn existing(plan: &LogicalPlan) -> &LogicalPlan {
    match plan {
        LogicalPlan::Projection(projection) => existing(&projection.input),
        LogicalPlan::Sort(sort) => existing(&sort.input),
        LogicalPlan::SubqueryAlias(alias) => existing(&alias.input),
        LogicalPlan::Distinct(Distinct::All(input)) => existing(input),
        LogicalPlan::Distinct(Distinct::On(distinct)) => existing(&distinct.input),
        LogicalPlan::Limit(limit) if limit.skip.is_none() && window::leaves_one(limit) => existing(&limit.input),
        plan => plan,
    }
}
