//! Rows that come too late for their windows.
//!
//! A source with a watermark has two hidden columns: the watermark of the row's split as of the row before it, and the
//! row's number. Where windows of its event time are assigned, this pass lets the plan read them, carries them up to
//! there, and puts a [`Rejecting`] beside the windows:
//!
//! ```text
//!   Projection *, tumble_start(ts, ..), tumble_end(ts, ..)
//!     Reject tumble_end(ts, ..) <= before
//!       Filter ...
//!         TableScan bids (auction, ts, before, number)
//! ```
//!
//! It does so in every bound query, so that one run once leaves out the same rows as a view. Projections, filters and
//! aliases carry the columns; above a join or an aggregate rows are not those of a source any more, and none is late.
//! A join that bounds how far the times of two sources lie apart is a window, too: see [`joins`].

mod calls;
mod joins;
mod node;

pub use calls::later;
pub use node::Rejecting;

use crate::bind::RelationSource;
use crate::error::sql_error;
use calls::{Windows, current_watermark};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DataFusionError, Result as Planned};
use datafusion::logical_expr::{
    Aggregate, Expr, Filter, LogicalPlan, Projection, SubqueryAlias, TableScan, TableScanBuilder, Window,
};
use millrace_functions::sets::Unnest;
use millrace_types::{RelationId, Result, SqlError};
use std::sync::Arc;

/// The plan with late rows left out where windows are assigned.
///
/// # Errors
/// `0A000` for CURRENT_WATERMARK of what is not the event time of a source.
pub fn reject_late(plan: LogicalPlan) -> Result<LogicalPlan> {
    match calls::concerns(&plan).map_err(sql_error)? {
        true => track(plan, false).map(|tracked| tracked.plan).map_err(sql_error),
        false => Ok(plan),
    }
}

/// A plan, and what its last two columns are if they are the hidden ones.
struct Tracked {
    plan: LogicalPlan,
    carried: Option<Carried>,
}

/// The hidden columns reach a plan's output.
#[derive(Clone)]
struct Carried {
    /// The event time that they are about.
    time: Column,
    /// The source that they are of.
    source: RelationId,
    /// Whether windows reject what is late.
    rejects: bool,
}

impl Tracked {
    fn without(plan: LogicalPlan) -> Tracked {
        Tracked { plan, carried: None }
    }

    /// The plan without the rows that come too late for windows, if there are any such rows and windows.
    fn rejecting(self, windows: &Windows) -> Tracked {
        let carried = self.carried.as_ref().filter(|carried| carried.rejects);
        match carried.and_then(|carried| Some((windows.end(&carried.time)?, carried.source))) {
            Some((end, source)) => Tracked { plan: Rejecting::over(self.plan, end, source).into_plan(), ..self },
            None => self,
        }
    }

    /// The columns that are not hidden.
    fn shown(self) -> Planned<LogicalPlan> {
        if self.carried.is_none() {
            return Ok(self.plan);
        }
        let mut columns = self.plan.schema().columns();
        columns.truncate(columns.len() - 2);
        let exprs = columns.into_iter().map(Expr::Column).collect();
        Projection::try_new(exprs, Arc::new(self.plan)).map(LogicalPlan::Projection)
    }

    /// The hidden columns.
    fn hidden(&self) -> Vec<Expr> {
        let columns = self.plan.schema().columns();
        let first = if self.carried.is_some() { columns.len() - 2 } else { columns.len() };
        columns[first..].iter().cloned().map(Expr::Column).collect()
    }
}

/// Rewrites a plan; `wanted`: somebody above needs the hidden columns, if they can be had.
fn track(plan: LogicalPlan, wanted: bool) -> Planned<Tracked> {
    match subqueries_tracked(plan)? {
        LogicalPlan::TableScan(scan) if wanted => of_scan(scan),
        LogicalPlan::SubqueryAlias(alias) => of_alias(alias, wanted),
        LogicalPlan::Filter(filter) => match filter.input.as_ref() {
            LogicalPlan::Join(join) => joins::of_filtered(join.clone(), filter.predicate),
            _ => of_filter(filter, wanted),
        },
        LogicalPlan::Join(join) => joins::of_join(join, &[]),
        LogicalPlan::Projection(projection) => of_projection(projection, wanted),
        LogicalPlan::Window(window) => of_window(window),
        LogicalPlan::Aggregate(aggregate) => of_aggregate(aggregate),
        other => match Unnest::of(&other) {
            Some(unnest) => of_unnest(unnest, wanted),
            None => {
                let each = |child: LogicalPlan| Ok(Transformed::yes(track(child, false)?.plan));
                Ok(Tracked::without(other.map_children(each)?.data))
            }
        },
    }
}

fn subqueries_tracked(plan: LogicalPlan) -> Planned<LogicalPlan> {
    Ok(plan.map_subqueries(|subquery| Ok(Transformed::yes(track(subquery, false)?.plan)))?.data)
}

fn of_scan(scan: TableScan) -> Planned<Tracked> {
    let relation = scan.source.downcast_ref::<RelationSource>().map(RelationSource::relation);
    let hidden = relation.and_then(|relation| Some((relation, relation.hidden.as_ref()?, relation.event_time?)));
    let Some((relation, hidden, time)) = hidden.filter(|_| scan.filters.is_empty() && scan.fetch.is_none()) else {
        return Ok(Tracked::without(LogicalPlan::TableScan(scan)));
    };
    let width = relation.schema.fields().len();
    let mut columns = scan.projection.clone().unwrap_or_else(|| (0..width).collect());
    if !columns.contains(&time) {
        return Ok(Tracked::without(LogicalPlan::TableScan(scan)));
    }
    columns.extend([width, width + 1]);
    let time = Column::new(Some(scan.table_name.clone()), relation.schema.field(time).name());
    let carried = Carried { time, source: relation.id, rejects: hidden.rejects };
    let source = Arc::new(RelationSource::with_hidden(relation.clone()));
    let scan = TableScanBuilder::new(scan.table_name.clone(), source).with_projection(Some(columns)).build()?;
    Ok(Tracked { plan: LogicalPlan::TableScan(scan), carried: Some(carried) })
}

fn of_alias(alias: SubqueryAlias, wanted: bool) -> Planned<Tracked> {
    let Tracked { plan, carried } = track(Arc::unwrap_or_clone(alias.input), wanted)?;
    let renamed =
        |carried: Carried| Carried { time: Column::new(Some(alias.alias.clone()), carried.time.name), ..carried };
    let carried = carried.map(renamed);
    let plan = SubqueryAlias::try_new(Arc::new(plan), alias.alias.clone()).map(LogicalPlan::SubqueryAlias)?;
    Ok(Tracked { plan, carried })
}

fn of_filter(filter: Filter, wanted: bool) -> Planned<Tracked> {
    let asks = current_watermark::is_in(&filter.predicate);
    let input = track(Arc::unwrap_or_clone(filter.input), wanted || asks)?;
    let predicate = current_watermark::replaced(filter.predicate, &input)?;
    let carried = input.carried.clone();
    let plan = LogicalPlan::Filter(Filter::try_new(predicate, Arc::new(input.plan))?);
    match wanted {
        true => Ok(Tracked { plan, carried }),
        false => Ok(Tracked::without(Tracked { plan, carried }.shown()?)),
    }
}

fn of_projection(projection: Projection, wanted: bool) -> Planned<Tracked> {
    let windows = Windows::among(&projection.expr);
    let asks = projection.expr.iter().any(current_watermark::is_in);
    let input = track(Arc::unwrap_or_clone(projection.input), wanted || asks || windows.is_any())?;
    let input = input.rejecting(&windows);
    let exprs = projection.expr.into_iter().map(|expr| current_watermark::replaced(expr, &input));
    let mut exprs = exprs.collect::<Planned<Vec<_>>>()?;
    let place = |carried: &Carried| {
        let is_time = |expr: &Expr| matches!(expr.clone().unalias(), Expr::Column(column) if column == carried.time);
        exprs.iter().position(is_time)
    };
    let place = input.carried.as_ref().filter(|_| wanted).and_then(place);
    if place.is_some() {
        exprs.extend(input.hidden());
    }
    let projection = Projection::try_new(exprs, Arc::new(input.plan))?;
    let carried = place
        .zip(input.carried)
        .map(|(place, carried)| Carried { time: Column::from(projection.schema.qualified_field(place)), ..carried });
    Ok(Tracked { plan: LogicalPlan::Projection(projection), carried })
}

/// Sets in a select list: the windows of a row that has several.
fn of_unnest(unnest: &Unnest, wanted: bool) -> Planned<Tracked> {
    let windows = match unnest.input() {
        LogicalPlan::Projection(projection) => Windows::among_sets(projection, unnest),
        _ => Windows::default(),
    };
    let Tracked { plan, carried } = track(unnest.input().clone(), wanted || windows.is_any())?;
    let (lists, elements) = (unnest.lists().to_vec(), unnest.elements().to_vec());
    let plan = Unnest::try_new(plan, lists, elements, unnest.is_outer())?.into_plan();
    let unnested = Tracked { plan, carried }.rejecting(&windows);
    match wanted {
        true => Ok(unnested),
        false => unnested.shown().map(Tracked::without),
    }
}

/// Sessions: that of a row alone ends a gap after it. One that it continues ends no earlier.
fn of_window(window: Window) -> Planned<Tracked> {
    let windows = Windows::among(&window.window_expr);
    let mut input = track(Arc::unwrap_or_clone(window.input), windows.is_any())?.rejecting(&windows);
    if let Some(rejecting) = Rejecting::of(&input.plan).filter(|_| windows.is_any()).cloned() {
        input.plan = rejecting.of_sessions().into_plan();
    }
    let input = input.shown()?;
    Window::try_new(window.window_expr, Arc::new(input)).map(LogicalPlan::Window).map(Tracked::without)
}

fn of_aggregate(aggregate: Aggregate) -> Planned<Tracked> {
    let windows = Windows::among(&aggregate.group_expr);
    let input = track(Arc::unwrap_or_clone(aggregate.input), windows.is_any())?.rejecting(&windows).shown()?;
    let aggregate = Aggregate::try_new(Arc::new(input), aggregate.group_expr, aggregate.aggr_expr)?;
    Ok(Tracked::without(LogicalPlan::Aggregate(aggregate)))
}

/// `0A000`: there is no watermark to be told.
fn no_watermark() -> DataFusionError {
    let error = SqlError::unsupported("CURRENT_WATERMARK of what is not the event time of a source")
        .with_hint("It tells the watermark before a row of a source; millrace.watermarks shows those of now.");
    DataFusionError::External(Box::new(error))
}
