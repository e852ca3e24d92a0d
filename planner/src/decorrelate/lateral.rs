//! Joins whose right side names columns of the left one, and joins with subqueries in ON.

use super::Decorrelation;
use super::attach::{Rows, Truth, filtered, has_subquery, restored, unsupported};
use super::dependent::{Dependent, joined, over};
use super::domain::Domain;
use super::outer;
use super::push::{Step, Stop};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr::Case;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{Expr, Filter, Join, JoinType, LogicalPlan, Projection};
use millrace_functions::sets::Unnest;
use std::sync::Arc;

impl Decorrelation<'_> {
    /// A join whose inputs have no subqueries left.
    pub fn join(&mut self, join: Join) -> Result<LogicalPlan> {
        let (plain, nested): (Vec<Expr>, Vec<Expr>) = match join.filter.clone() {
            Some(filter) => {
                let conjuncts = split_conjunction_owned(filter).into_iter();
                let marked = conjuncts.map(|one| Ok((has_subquery(&one)?, one))).collect::<Result<Vec<_>>>()?;
                let (nested, plain): (Vec<_>, Vec<_>) = marked.into_iter().partition(|(nested, _)| *nested);
                (plain.into_iter().map(|(_, one)| one).collect(), nested.into_iter().map(|(_, one)| one).collect())
            }
            None => (vec![], vec![]),
        };
        if !nested.is_empty() {
            return self.join_on_subqueries(join, plain, nested);
        }
        match outer::depends(&join.right, join.left.schema())? {
            true => self.lateral(join),
            false => Ok(LogicalPlan::Join(join)),
        }
    }

    /// ON with subqueries. Of an inner join they are filters; of a left join they are filters of a right side that names
    /// the left one's columns.
    fn join_on_subqueries(&mut self, join: Join, plain: Vec<Expr>, nested: Vec<Expr>) -> Result<LogicalPlan> {
        let schema = join.schema.clone();
        let filter = conjunction(plain);
        let Some(condition) = conjunction(nested) else { return Ok(LogicalPlan::Join(join)) };
        match join.join_type {
            JoinType::Inner => {
                let rows = self.join(Join { filter, ..join })?;
                self.attach(LogicalPlan::Filter(Filter::try_new(condition, Arc::new(rows))?))
            }
            JoinType::Left => {
                let left = join.left.schema();
                let condition = condition.transform_up(|expr| match &expr {
                    Expr::Column(column) => match outer::place(column, left) {
                        Some(at) => Ok(Transformed::yes(Expr::OuterReferenceColumn(
                            left.qualified_field(at).1.clone(),
                            column.clone(),
                        ))),
                        None => Ok(Transformed::no(expr)),
                    },
                    _ => Ok(Transformed::no(expr)),
                })?;
                let mut rows = Rows::new(join.right.as_ref().clone());
                let condition = self.expression(condition.data, &mut rows, Truth::Known)?;
                let right = restored(filtered(rows.plan, vec![condition])?, join.right.schema())?;
                self.lateral(Join { right: Arc::new(right), filter, ..join })
            }
            JoinType::Right => {
                let on = join.on.into_iter().map(|(left, right)| (right, left)).collect();
                let filter = filter.into_iter().chain([condition]).reduce(Expr::and);
                let (constraint, nulls) = (join.join_constraint, join.null_equality);
                let width = join.left.schema().fields().len();
                let swapped =
                    Join::try_new(join.right, join.left, on, filter, JoinType::Left, constraint, nulls, false)?;
                let plan = self.join(swapped)?;
                let mut columns: Vec<Expr> = plan.schema().columns().into_iter().map(Expr::Column).collect();
                columns.rotate_right(width);
                let plan = LogicalPlan::Projection(Projection::try_new(columns, Arc::new(plan))?);
                restored(plan, &schema)
            }
            _ => Err(unsupported("a subquery in the condition of this kind of join")),
        }
    }

    /// A join with a subquery that is run for each row of the left side.
    fn lateral(&mut self, join: Join) -> Result<LogicalPlan> {
        let left = join.left.as_ref().clone();
        if !matches!(join.join_type, JoinType::Inner | JoinType::Left) {
            return Err(unsupported("LATERAL on the right of this kind of join"));
        }
        if join.join_type == JoinType::Inner && is_row_by_row(&join.right, left.schema())? {
            match self.attempt(&join.right, left.schema(), None).and_then(|found| self.pairs(&join, found)) {
                Ok(plan) => return Ok(plan),
                Err(Stop::Failed(error)) => return Err(error),
                Err(Stop::NeedsDomain) => {}
            }
            let domain = Domain::rows(left.clone());
            return match self.attempt(&join.right, left.schema(), Some(&domain)) {
                Ok(found) => extended(&join, found),
                Err(Stop::Failed(error)) => Err(error),
                Err(Stop::NeedsDomain) => Err(unsupported("LATERAL of this form")),
            };
        }
        let right = join.right.clone();
        self.evaluate(&right, &left, |this, found| this.pairs(&join, found))
    }

    /// The left side's rows with those that the right side has for them.
    fn pairs(&mut self, join: &Join, found: Dependent) -> Step<LogicalPlan> {
        let left = join.left.as_ref().clone();
        let has_empty = found.empty.is_some();
        let found = found.named(&mut self.names)?;
        let keeps_left = join.join_type == JoinType::Left;
        let (found, there) = match keeps_left || has_empty {
            true => {
                let (found, there) = found.marked(&mut self.names)?;
                (found, Some(there))
            }
            false => (found, None),
        };
        let within = |expr: &Expr| outer::within(expr.clone(), left.schema());
        let outputs: Vec<Expr> = found.outputs.iter().map(within).collect::<Result<_>>()?;
        let on = conditions(join, &outputs)?;
        let mut values: Vec<Expr> = left.schema().columns().into_iter().map(Expr::Column).collect();
        // The only row of an aggregate is there for each row of the left side, so the condition is a filter.
        if let (Some(empty), Some(there)) = (&found.empty, &there) {
            if keeps_left && !on.is_empty() {
                return Err(Stop::NeedsDomain);
            }
            let empty = empty.iter().map(within).collect::<Result<Vec<_>>>()?;
            let outputs = outputs.into_iter().zip(empty).map(|(output, empty)| {
                let arm = (Box::new(there.clone().is_null()), Box::new(empty));
                Expr::Case(Case::new(None, vec![arm], Some(Box::new(output))))
            });
            let outputs: Vec<Expr> = outputs.collect();
            let on = conditions(join, &outputs)?;
            values.extend(outputs);
            let plan = joined(left, found.plan, &found.conditions, vec![], JoinType::Left)?;
            return Ok(named(filtered(plan, on)?, values, &join.schema)?);
        }
        values.extend(outputs.into_iter().map(|output| match (&there, &output) {
            (Some(there), output) if !matches!(output, Expr::Column(_)) => {
                let arm = (Box::new(there.clone().is_not_null()), Box::new(output.clone()));
                Expr::Case(Case::new(None, vec![arm], None))
            }
            _ => output,
        }));
        // A column of the left side is no output of a right side that has no row.
        let is_of_left = |value: &Expr| matches!(value, Expr::Column(column) if left.schema().has_column(column));
        if let Some(there) = &there {
            for value in values.iter_mut().skip(left.schema().fields().len()) {
                if is_of_left(value) {
                    let arm = (Box::new(there.clone().is_not_null()), Box::new(value.clone()));
                    *value = Expr::Case(Case::new(None, vec![arm], None));
                }
            }
        }
        let plan = joined(left.clone(), found.plan, &found.conditions, on, join.join_type)?;
        Ok(named(plan, values, &join.schema)?)
    }
}

/// A join's result that was computed row by row: the left side's columns came along.
fn extended(join: &Join, found: Dependent) -> Result<LogicalPlan> {
    let of_left = found.conditions.iter().filter_map(|condition| condition.key().cloned());
    let values: Vec<Expr> = of_left.chain(found.outputs).collect();
    let plan = named(found.plan, values, &join.schema)?;
    let columns: Vec<Expr> = join.right.schema().columns().into_iter().map(Expr::Column).collect();
    filtered(plan, conditions(join, &columns)?)
}

/// The conditions of a join, with values for the right side's columns.
fn conditions(join: &Join, right: &[Expr]) -> Result<Vec<Expr>> {
    let (left_schema, right_schema) = (join.left.schema(), join.right.schema());
    let mut conditions = vec![];
    for (of_left, of_right) in &join.on {
        conditions.push(of_left.clone().eq(over(of_right.clone(), right_schema, right)?));
    }
    if let Some(filter) = &join.filter {
        let names = left_schema.join(right_schema)?;
        let values: Vec<Expr> =
            left_schema.columns().into_iter().map(Expr::Column).chain(right.iter().cloned()).collect();
        conditions.extend(split_conjunction_owned(over(filter.clone(), &names, &values)?));
    }
    conditions.retain(|condition| !matches!(condition, Expr::Literal(value, _) if *value == true.into()));
    Ok(conditions)
}

/// A projection under the names of a schema.
fn named(plan: LogicalPlan, values: Vec<Expr>, schema: &DFSchema) -> Result<LogicalPlan> {
    let values = values.into_iter().zip(schema.iter());
    let exprs = values.map(|(value, (qualifier, field))| match value {
        value @ Expr::Column(_) if value.qualified_name() == (qualifier.cloned(), field.name().clone()) => value,
        value => value.alias_qualified(qualifier.cloned(), field.name()),
    });
    Ok(LogicalPlan::Projection(Projection::try_new(exprs.collect(), Arc::new(plan))?))
}

/// Whether each row of a plan comes of one outer row, without regard to others: then the outer rows themselves can go
/// through the plan, whatever it does with their columns.
fn is_row_by_row(plan: &LogicalPlan, outer: &DFSchema) -> Result<bool> {
    if !outer::depends(plan, outer)? {
        return Ok(true);
    }
    match plan {
        LogicalPlan::Projection(projection) => is_row_by_row(&projection.input, outer),
        LogicalPlan::Filter(filter) => is_row_by_row(&filter.input, outer),
        LogicalPlan::SubqueryAlias(alias) => is_row_by_row(&alias.input, outer),
        LogicalPlan::Subquery(subquery) => is_row_by_row(&subquery.subquery, outer),
        LogicalPlan::Values(values) => Ok(values.values.len() == 1),
        LogicalPlan::Join(join) if join.join_type == JoinType::Inner => {
            let (left, right) = (outer::depends(&join.left, outer)?, outer::depends(&join.right, outer)?);
            Ok(!(left && right) && is_row_by_row(&join.left, outer)? && is_row_by_row(&join.right, outer)?)
        }
        plan => match Unnest::of(plan) {
            Some(unnest) => is_row_by_row(unnest.input(), outer),
            None => Ok(false),
        },
    }
}
