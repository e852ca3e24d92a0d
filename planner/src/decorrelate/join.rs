//! Joins within a subquery.

use super::dependent::{Condition, Dependent, joined, over};
use super::outer;
use super::push::{Push, Step, Stop};
use datafusion::common::{Column, DFSchema, NullEquality};
use datafusion::logical_expr::expr::Case;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{Expr, Join, JoinType, LogicalPlan, Operator, Projection, binary_expr};
use std::sync::Arc;

impl Push<'_> {
    pub fn join(&mut self, join: &Join) -> Step<Dependent> {
        match join.join_type {
            JoinType::Inner => self.inner(join),
            JoinType::Right => self.mirrored(join),
            JoinType::Full => self.full(join),
            JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => self.one_sided(join),
            JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => Err(Stop::unsupported("this join")),
        }
    }

    /// Pairs: conditions of both sides move up, but what both know of the domain is compared here.
    fn inner(&mut self, join: &Join) -> Step<Dependent> {
        let (left, right) = self.sides(join)?;
        let predicate = conjunction(conditions(join, &left, &right)?);
        let same = both(&left, &right, self.domain.is_some());
        let mut conditions = left.conditions;
        if same.is_empty() {
            conditions.extend(right.conditions);
        }
        let rows = Dependent {
            plan: joined(left.plan, right.plan, &same, vec![], JoinType::Inner)?,
            outputs: left.outputs.into_iter().chain(right.outputs).collect(),
            conditions,
            empty: None,
            single: left.single && right.single,
            unique: None,
        };
        match predicate {
            Some(predicate) => self.filtered(rows, predicate),
            None => Ok(rows),
        }
    }

    /// Joins that keep the rows of the left side: the right side's conditions cannot move up, so the left side must have
    /// the domain's columns when the right side needs them.
    fn one_sided(&mut self, join: &Join) -> Step<Dependent> {
        let (mut left, right) = self.sides_of_left_domain(join)?;
        let needs_domain = !right.conditions.is_empty() || self.refers_in_condition(join, &left, &right)?;
        if needs_domain {
            if self.domain.is_none() {
                return Err(Stop::NeedsDomain);
            }
            left = self.within_domain(left)?;
        }
        let right = self.bound_outputs(right)?;
        let keeps_right = join.join_type == JoinType::Left;
        // What is computed of rows that are not there is NULL, so it is computed below.
        let right = if keeps_right { right.computed(self.names)? } else { right };
        let (same, mut also) = self.of_domain(right.conditions.clone(), &left)?;
        for condition in conditions(join, &left, &right)? {
            also.push(self.bound(condition, &left)?);
        }
        let width = left.plan.schema().fields().len();
        let plan = joined(left.plan, right.plan, &same, also, join.join_type)?;
        let mut outputs = left.outputs;
        match join.join_type {
            JoinType::Left => outputs.extend(right.outputs),
            JoinType::LeftMark => outputs.push(Expr::Column(Column::from(plan.schema().qualified_field(width)))),
            _ => {}
        }
        let single = left.single && (!keeps_right || right.single);
        let unique = if keeps_right { None } else { left.unique };
        Ok(Dependent { plan, outputs, conditions: left.conditions, empty: None, single, unique })
    }

    /// A right join is a left join of the sides exchanged.
    fn mirrored(&mut self, join: &Join) -> Step<Dependent> {
        let on = join.on.iter().map(|(left, right)| (right.clone(), left.clone())).collect();
        let (left, right) = (join.right.clone(), join.left.clone());
        let (constraint, nulls) = (join.join_constraint, join.null_equality);
        let swapped = Join::try_new(left, right, on, join.filter.clone(), JoinType::Left, constraint, nulls, false)?;
        let mut rows = self.one_sided(&swapped)?;
        let right = join.right.schema().fields().len();
        rows.outputs.rotate_left(right);
        Ok(rows)
    }

    /// A full join: both sides for the whole domain.
    fn full(&mut self, join: &Join) -> Step<Dependent> {
        if self.domain.is_none() {
            return Err(Stop::NeedsDomain);
        }
        let (left, right) = self.sides(join)?;
        let left = self.within_domain(left)?;
        let left = self.bound_outputs(left)?.computed(self.names)?;
        let right = self.within_domain(right)?;
        let right = self.bound_outputs(right)?.computed(self.names)?;
        let (left, there) = left.marked(self.names)?;
        let same = both(&left, &right, true);
        let also = conditions(join, &left, &right)?.into_iter().map(|expr| self.bound(expr, &left));
        let also = also.collect::<Step<Vec<_>>>()?;
        let plan = joined(left.plan, right.plan, &same, also, JoinType::Full)?;
        // A pair has the domain's columns of either side, a row alone those of its own.
        let relation = self.names.relation();
        let mut exprs: Vec<Expr> = plan.schema().columns().into_iter().map(Expr::Column).collect();
        let mut conditions = vec![];
        for (at, (one, other)) in left.conditions.iter().zip(&right.conditions).enumerate() {
            let (Condition::Same { inner: of_left, outer }, Some(of_right)) = (one, other.key()) else { continue };
            let arm = (Box::new(there.clone().is_not_null()), Box::new(of_left.clone()));
            let either = Expr::Case(Case::new(None, vec![arm], Some(Box::new(of_right.clone()))));
            exprs.push(either.alias_qualified(Some(relation.clone()), format!("d{at}")));
            let inner = Expr::Column(Column::new(Some(relation.clone()), format!("d{at}")));
            conditions.push(Condition::Same { inner, outer: outer.clone() });
        }
        let plan = LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(plan))?);
        let outputs = left.outputs.into_iter().chain(right.outputs).collect();
        Ok(Dependent { plan, outputs, conditions, empty: None, single: false, unique: None })
    }

    /// Both sides, with columns of different names.
    fn sides(&mut self, join: &Join) -> Step<(Dependent, Dependent)> {
        let left = self.plan(&join.left)?;
        let left = self.settled(left)?;
        let right = self.plan(&join.right)?;
        let right = self.settled(right)?;
        self.apart(left, right)
    }

    /// Both sides, the right one without the domain if that is possible: what it compares with outer columns can be
    /// compared with the domain's columns of the left side.
    fn sides_of_left_domain(&mut self, join: &Join) -> Step<(Dependent, Dependent)> {
        let alone = match self.domain {
            Some(_) => self.without_domain().plan(&join.right),
            None => Err(Stop::NeedsDomain),
        };
        match alone {
            Ok(right) if right.empty.is_none() && !self.any_refers(&right.outputs)? => {
                let left = self.plan(&join.left)?;
                let left = self.settled(left)?;
                self.apart(left, right)
            }
            Err(Stop::Failed(error)) => Err(Stop::Failed(error)),
            _ => self.sides(join),
        }
    }

    fn any_refers(&self, exprs: &[Expr]) -> Step<bool> {
        let refer = exprs.iter().map(|expr| outer::refers(expr, self.outer)).collect::<Result<Vec<_>, _>>()?;
        Ok(refer.contains(&true))
    }

    fn apart(&mut self, left: Dependent, right: Dependent) -> Step<(Dependent, Dependent)> {
        match share_names(left.plan.schema(), right.plan.schema()) {
            true => Ok((left.named(self.names)?, right.named(self.names)?)),
            false => Ok((left, right)),
        }
    }

    fn refers_in_condition(&self, join: &Join, left: &Dependent, right: &Dependent) -> Step<bool> {
        let conditions = conditions(join, left, right)?;
        Ok(conditions
            .iter()
            .map(|expr| outer::refers(expr, self.outer))
            .collect::<Result<Vec<_>, _>>()?
            .contains(&true))
    }
}

fn share_names(left: &DFSchema, right: &DFSchema) -> bool {
    left.iter().any(|(qualifier, field)| {
        right.iter().any(|(other, of_other)| {
            field.name() == of_other.name() && (qualifier == other || qualifier.is_none() || other.is_none())
        })
    })
}

/// The conditions of a join over the plans of its sides, and outer columns.
fn conditions(join: &Join, left: &Dependent, right: &Dependent) -> Step<Vec<Expr>> {
    let operator = match join.null_equality {
        NullEquality::NullEqualsNothing => Operator::Eq,
        NullEquality::NullEqualsNull => Operator::IsNotDistinctFrom,
    };
    let (left_schema, right_schema) = (join.left.schema(), join.right.schema());
    let mut conditions = vec![];
    for (of_left, of_right) in &join.on {
        let of_left = over(of_left.clone(), left_schema, &left.outputs)?;
        let of_right = over(of_right.clone(), right_schema, &right.outputs)?;
        conditions.push(binary_expr(of_left, operator, of_right));
    }
    if let Some(filter) = &join.filter {
        let names = left_schema.join(right_schema)?;
        let values: Vec<Expr> = left.outputs.iter().chain(&right.outputs).cloned().collect();
        conditions.extend(split_conjunction_owned(over(filter.clone(), &names, &values)?));
    }
    Ok(conditions)
}

/// That the columns of the domain which both sides have are the same.
fn both(left: &Dependent, right: &Dependent, within_domain: bool) -> Vec<Condition> {
    if !within_domain || left.conditions.is_empty() || right.conditions.is_empty() {
        return vec![];
    }
    let pairs = left.conditions.iter().zip(&right.conditions);
    pairs
        .filter_map(|(one, other)| Some(Condition::Same { outer: one.key()?.clone(), inner: other.key()?.clone() }))
        .collect()
}
