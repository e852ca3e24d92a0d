//! Lateral subqueries that only compute on the row before them.
//!
//! A subquery of projections, filters and [`Unnest`]s over no relation gives, for each row before it, what the same
//! nodes give over that row. So they are put over the rows themselves:
//!
//! ```text
//!   Join                          Project t.*, x
//!     Scan t                 ->     Unnest x
//!     Subquery                        Project t.*, t.a as x
//!       Unnest x                        Scan t
//!         Project outer(t.a) as x
//!           one row
//! ```

use super::{Unnest, ordinals};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, JoinType, Result, TableReference};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{
    EmptyRelation, Expr, Join, JoinConstraint, LogicalPlan, LogicalPlanBuilder, Projection, SubqueryAlias, when,
};
use datafusion::scalar::ScalarValue;

/// The qualifier of the carried columns of the rows before.
const CARRIED: &str = "\u{1}before";
/// The carried column that numbers the elements of a set, NULL where it has none.
const PRESENT: &str = "present";
/// The arrays of these numbers.
const NUMBERS: &str = "numbers";

/// A join with a subquery that can be put over the other side; any other node as it is.
pub fn flatten(plan: LogicalPlan) -> Result<LogicalPlan> {
    let LogicalPlan::Join(join) = plan else { return Ok(plan) };
    if !is_lateral(&join.right) || join.join_constraint != JoinConstraint::On || holds_subquery(&join.right)? {
        return Ok(LogicalPlan::Join(join));
    }
    let flat = match join.join_type {
        JoinType::Inner => inner(&join)?,
        JoinType::Left if join.on.is_empty() && join.filter.as_ref().is_none_or(is_true) => outer(&join)?,
        _ => None,
    };
    Ok(flat.unwrap_or(LogicalPlan::Join(join)))
}

/// Whether a plan refers to what stands before it.
fn is_lateral(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Subquery(_) => true,
        LogicalPlan::SubqueryAlias(alias) => is_lateral(&alias.input),
        LogicalPlan::Projection(projection) => is_lateral(&projection.input),
        _ => false,
    }
}

/// Whether a plan's expressions hold subqueries, which may refer to the rows before, too.
fn holds_subquery(plan: &LogicalPlan) -> Result<bool> {
    plan.exists(|node| {
        let mut held = false;
        node.apply_expressions(|expr| {
            held |= expr.exists(|expr| {
                Ok(matches!(
                    expr,
                    Expr::Exists(_) | Expr::InSubquery(_) | Expr::SetComparison(_) | Expr::ScalarSubquery(_)
                ))
            })?;
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(held)
    })
}

fn is_true(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(ScalarValue::Boolean(Some(true)), _))
}

fn inner(join: &Join) -> Result<Option<LogicalPlan>> {
    let before = Before::of(&join.left)?;
    let Some(rows) = before.inner(&join.right, &before.rows)? else { return Ok(None) };
    let equal = join.on.iter().map(|(left, right)| left.clone().eq(right.clone()));
    let condition = conjunction(equal.chain(join.filter.clone().filter(|filter| !is_true(filter))));
    filtered(before.restored(rows, &join.right)?, condition).map(Some)
}

/// A row before without any of the subquery stays, with NULLs.
fn outer(join: &Join) -> Result<Option<LogicalPlan>> {
    let before = Before::of(&join.left)?;
    match before.outer(&join.right)? {
        Some(rows) => before.restored(rows, &join.right).map(Some),
        None => Ok(None),
    }
}

fn filtered(plan: LogicalPlan, condition: Option<Expr>) -> Result<LogicalPlan> {
    match condition {
        Some(condition) => LogicalPlanBuilder::from(plan).filter(condition)?.build(),
        None => Ok(plan),
    }
}

/// The rows before a subquery, under names that none of its own columns has.
struct Before {
    rows: LogicalPlan,
    schema: DFSchema,
}

impl Before {
    fn of(plan: &LogicalPlan) -> Result<Before> {
        let schema = plan.schema().as_ref().clone();
        let columns = schema.columns().into_iter().enumerate();
        let carried = columns.map(|(at, column)| Expr::Column(column).alias_qualified(Some(CARRIED), at.to_string()));
        let rows = LogicalPlanBuilder::from(plan.clone()).project(carried.collect::<Vec<_>>())?.build()?;
        Ok(Before { rows, schema })
    }

    /// The rows with what they carry under its own names, then the columns of the subquery.
    fn restored(&self, rows: LogicalPlan, subquery: &LogicalPlan) -> Result<LogicalPlan> {
        let columns = self.schema.columns().into_iter().enumerate();
        let own = columns.map(|(at, column)| carried(at).alias_qualified(column.relation, column.name));
        let all = own.chain(subquery.schema().columns().into_iter().map(Expr::Column));
        LogicalPlanBuilder::from(rows).project(all.collect::<Vec<_>>())?.build()
    }

    /// An expression of the subquery, which refers to the rows before by what they carry.
    fn referring(&self, expr: Expr) -> Result<Expr> {
        expr.transform_up(|expr| match &expr {
            Expr::OuterReferenceColumn(_, column) => Ok(match self.schema.maybe_index_of_column(column) {
                Some(at) => Transformed::yes(carried(at)),
                None => Transformed::no(expr),
            }),
            _ => Ok(Transformed::no(expr)),
        })
        .data()
    }

    /// The nodes of a subquery over `rows`, whose columns stay; `None` where it does more than computing on a row.
    fn inner(&self, plan: &LogicalPlan, rows: &LogicalPlan) -> Result<Option<LogicalPlan>> {
        match plan {
            LogicalPlan::EmptyRelation(EmptyRelation { produce_one_row: true, .. }) => Ok(Some(rows.clone())),
            LogicalPlan::Subquery(subquery) => self.inner(&subquery.subquery, rows),
            LogicalPlan::SubqueryAlias(alias) => {
                let Some(input) = self.inner(&alias.input, rows)? else { return Ok(None) };
                over(input, rows, renamed(alias)).map(Some)
            }
            LogicalPlan::Projection(projection) => {
                let Some(input) = self.inner(&projection.input, rows)? else { return Ok(None) };
                over(input, rows, self.projected(projection)?).map(Some)
            }
            LogicalPlan::Filter(filter) => {
                let Some(input) = self.inner(&filter.input, rows)? else { return Ok(None) };
                filtered(input, Some(self.referring(filter.predicate.clone())?)).map(Some)
            }
            LogicalPlan::Join(join) if join.join_type == JoinType::Inner => {
                let Some(left) = self.inner(&join.left, rows)? else { return Ok(None) };
                let Some(both) = self.inner(&join.right, &left)? else { return Ok(None) };
                let equal = join.on.iter().map(|(left, right)| left.clone().eq(right.clone()));
                let condition = conjunction(equal.chain(join.filter.clone()));
                filtered(both, condition.map(|condition| self.referring(condition)).transpose()?).map(Some)
            }
            plan => {
                let Some(unnest) = Unnest::of(plan) else { return Ok(None) };
                let Some(input) = self.inner(unnest.input(), rows)? else { return Ok(None) };
                let (lists, elements) = (unnest.lists().to_vec(), unnest.elements().to_vec());
                Ok(Some(Unnest::try_new(input, lists, elements, unnest.is_outer())?.into_plan()))
            }
        }
    }

    /// As [`Before::inner`], for projections over one [`Unnest`]: with a row of NULLs where it is empty. What is
    /// computed from those NULLs need not be NULL, so the elements are numbered, and a row without a number has none.
    fn outer(&self, plan: &LogicalPlan) -> Result<Option<LogicalPlan>> {
        match plan {
            LogicalPlan::Subquery(subquery) => self.outer(&subquery.subquery),
            LogicalPlan::SubqueryAlias(alias) => {
                let Some(input) = self.outer(&alias.input)? else { return Ok(None) };
                over(input, &self.rows, renamed(alias)).map(Some)
            }
            LogicalPlan::Projection(projection) => {
                let Some(input) = self.outer(&projection.input)? else { return Ok(None) };
                let exprs = self.projected(projection)?.into_iter().zip(projection.schema.columns());
                let exprs = exprs.map(|(expr, column)| match expr.clone().unalias() {
                    Expr::Column(_) => Ok(expr),
                    computed => {
                        let present = Expr::Column(carried_column(PRESENT)).is_not_null();
                        Ok(when(present, computed).end()?.alias_qualified(column.relation, column.name))
                    }
                });
                over(input, &self.rows, exprs.collect::<Result<_>>()?).map(Some)
            }
            plan => {
                let Some(unnest) = Unnest::of(plan) else { return Ok(None) };
                // Of sets over sets the outer one may be empty where the inner one is not.
                let (false, Some(input)) = (holds_unnest(unnest.input())?, self.inner(unnest.input(), &self.rows)?)
                else {
                    return Ok(None);
                };
                let lists: Vec<Expr> = unnest.lists().iter().cloned().map(Expr::Column).collect();
                let number = Expr::ScalarFunction(ScalarFunction::new_udf(ordinals(), lists.clone()));
                let columns = input.schema().columns().into_iter().map(Expr::Column);
                let columns = columns.chain([number.alias_qualified(Some(CARRIED), NUMBERS)]);
                let input = LogicalPlanBuilder::from(input).project(columns.collect::<Vec<_>>())?.build()?;
                let lists = unnest.lists().iter().cloned().chain([carried_column(NUMBERS)]).collect();
                let elements = unnest.elements().iter().cloned().chain([carried_column(PRESENT)]).collect();
                Ok(Some(Unnest::try_new(input, lists, elements, true)?.into_plan()))
            }
        }
    }

    /// The expressions of a projection in a subquery.
    fn projected(&self, projection: &Projection) -> Result<Vec<Expr>> {
        let exprs = projection.expr.iter().zip(projection.schema.columns());
        let exprs = exprs.map(|(expr, column)| {
            Ok(self.referring(expr.clone().unalias())?.alias_qualified(column.relation, column.name))
        });
        exprs.collect()
    }
}

fn holds_unnest(plan: &LogicalPlan) -> Result<bool> {
    plan.exists(|plan| Ok(Unnest::of(plan).is_some()))
}

fn carried_column(name: &str) -> Column {
    Column::new(Some(TableReference::bare(CARRIED)), name)
}

fn carried(at: usize) -> Expr {
    Expr::Column(carried_column(&at.to_string()))
}

/// The columns of an alias's input under its name.
fn renamed(alias: &SubqueryAlias) -> Vec<Expr> {
    let columns = alias.input.schema().columns().into_iter().zip(alias.schema.columns());
    columns.map(|(inner, outer)| Expr::Column(inner).alias_qualified(outer.relation, outer.name)).collect()
}

/// Expressions over an input beside what it carries: the columns of `rows`, and the numbers of elements.
fn over(input: LogicalPlan, rows: &LogicalPlan, exprs: Vec<Expr>) -> Result<LogicalPlan> {
    let carries = |column: &Column| {
        column.relation.as_ref().is_some_and(|relation| relation.table() == CARRIED) || rows.schema().has_column(column)
    };
    let columns = input.schema().columns().into_iter().filter(carries).map(Expr::Column);
    let columns: Vec<Expr> = columns.chain(exprs).collect();
    LogicalPlanBuilder::from(input).project(columns)?.build()
}
