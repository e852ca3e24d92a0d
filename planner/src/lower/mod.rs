//! Logical plans into dataflow plans.
//!
//! Each logical node becomes one or a few nodes of [`millrace_ir`], with what is known of its output: whether rows are
//! ever taken back, which columns identify a row, which columns decide the worker. An exchange stands only where the
//! rows that an operator must see together would not already be on one worker.

mod aggregate;
mod closing;
mod expression;
mod finality;
mod freeing;
mod grouping;
mod interval;
mod job;
mod join;
mod node;
mod project;
mod refuse;
mod reject;
mod sessions;
mod slices;
mod temporal;
#[cfg(test)]
mod tests;
mod unnest;
mod values;
mod window;

pub use closing::Emission;
pub use job::{explain, job, readable};

use crate::bind::{Bound, RelationSource};
use crate::functions::FunctionSource;
use crate::lateness::Rejecting;
use crate::rewrite;
use datafusion::logical_expr::{Distinct, LogicalPlan, TableScan};
use expression::Lowering;
use millrace_functions::sets::Unnest;
use millrace_ir::{Node, Plan};
use millrace_types::{Result, SqlError};
use std::sync::Arc;
use temporal::TemporalFilter;

/// The dataflow plan of a bound query, with the columns of its schema.
///
/// # Errors
/// `0A000` naming a construct that cannot be kept up to date, and the errors of [`rewrite::rewrite`].
pub fn lower(bound: &Bound, functions: &FunctionSource) -> Result<Node> {
    lower_to_emit(bound, functions, Emission::Changes)
}

/// As [`lower`], of rows that appear when `emission` says.
///
/// # Errors
/// As [`lower`], and `0A000` with the reason where rows are never final.
pub fn lower_to_emit(bound: &Bound, functions: &FunctionSource, emission: Emission) -> Result<Node> {
    // Before rewriting, which would move conditions on the clock to where nothing knows them.
    let plan = temporal::temporal_filters(bound.plan.clone())?;
    refuse::changing_functions(&plan)?;
    let plan = rewrite::rewrite(plan, functions)?;
    let mut node = Lowering::new(emission, functions).plan(&plan)?;
    if let Emission::OnClose { idle } = emission {
        node = closing::on_close(node, idle)?;
    }
    if closing::is_watermarked(&node) {
        freeing::free(&mut node);
    }
    Ok(node::with_schema(node, bound.schema.clone()))
}

impl Lowering {
    /// The node of a rewritten logical plan; its schema is that of the plan.
    fn plan(&self, plan: &LogicalPlan) -> Result<Node> {
        match plan {
            LogicalPlan::TableScan(scan) => self.scan(scan),
            LogicalPlan::SubqueryAlias(alias) => self.plan(&alias.input),
            LogicalPlan::Projection(projection) => self.projection(projection),
            LogicalPlan::Filter(filter) => self.filter(filter),
            LogicalPlan::Aggregate(aggregate) => self.aggregate(aggregate),
            LogicalPlan::Distinct(Distinct::All(input)) => Ok(node::distinct(self.plan(input)?)),
            LogicalPlan::Join(join) => self.join(join),
            LogicalPlan::Window(window) => self.window(window),
            LogicalPlan::Union(union) => self.union(union),
            LogicalPlan::Values(values) => self.values(values),
            LogicalPlan::Extension(_) => self.extension(plan),
            LogicalPlan::EmptyRelation(empty) => values::empty(empty),
            // A relation has no order: as in Postgres, that of a view's query does not matter to who reads it.
            LogicalPlan::Sort(sort) if sort.fetch.is_none() => self.plan(&sort.input),
            other => Err(refuse::node(other)),
        }
    }

    /// A node that is not DataFusion's own.
    fn extension(&self, plan: &LogicalPlan) -> Result<Node> {
        if let Some(unnest) = Unnest::of(plan) {
            return self.unnest(unnest);
        }
        match (Rejecting::of(plan), TemporalFilter::of(plan)) {
            (Some(rejecting), _) => self.rejecting(rejecting),
            (_, Some(filter)) => self.temporal(filter),
            _ => Err(refuse::node(plan)),
        }
    }

    fn scan(&self, scan: &TableScan) -> Result<Node> {
        let Some(source) = scan.source.downcast_ref::<RelationSource>() else {
            return Err(refuse::in_view(format!("the table function {}", scan.table_name.table())));
        };
        if !scan.filters.is_empty() || scan.fetch.is_some() {
            return Err(SqlError::internal("a maintained scan was given filters or a limit"));
        }
        let relation = source.relation();
        refuse::relation(relation)?;
        let columns = scan.projection.clone().unwrap_or_else(|| (0..relation.schema.fields().len()).collect());
        let place = |column: &usize| columns.iter().position(|read| read == column);
        let unique_key = relation.unique_key.as_ref().and_then(|key| key.iter().map(place).collect());
        Ok(Node {
            event_time: relation.event_time.and_then(|column| place(&column)),
            plan: Plan::Input {
                relation: relation.id,
                name: relation.name.clone(),
                columns,
                watermarked: relation.watermarked,
                drops_late: relation.hidden.as_ref().is_some_and(|hidden| hidden.drops),
            },
            schema: Arc::new(scan.projected_schema.as_arrow().clone()),
            append_only: relation.append_only,
            partitioned_by: None,
            unique_key,
        })
    }
}
