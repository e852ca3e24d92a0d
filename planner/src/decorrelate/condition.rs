//! EXISTS, IN, ANY and ALL.
//!
//! As conditions of a filter the first two are semi joins and anti joins. Elsewhere a mark join tells of each row whether
//! the subquery has one for it. What IN, ANY and ALL give besides true and false depends on NULLs, which are counted.

use super::attach::{Rows, Truth};
use super::dependent::{Condition, Dependent, joined};
use super::push::{Step, Stop};
use super::{Decorrelation, existing, outer};
use datafusion::common::{Column, Result, ScalarValue};
use datafusion::logical_expr::expr::Case;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{
    Aggregate, Expr, ExprSchemable, JoinType, LogicalPlan, Operator, Subquery, binary_expr, lit, not,
};
use std::sync::Arc;

/// What is known of a subquery's rows for an outer row: columns that are NULL where it has none.
struct Counted {
    /// The number of rows.
    rows: Expr,
    /// The number of those whose value is not NULL.
    values: Expr,
    /// The least and the greatest value, if asked for.
    extremes: Option<(Expr, Expr)>,
}

impl Decorrelation<'_> {
    /// EXISTS as a condition of a filter.
    pub fn keep_existing(&mut self, subquery: &Subquery, negated: bool, rows: &mut Rows) -> Result<Option<Expr>> {
        let kind = if negated { JoinType::LeftAnti } else { JoinType::LeftSemi };
        self.existence(subquery, negated, kind, rows)
    }

    /// EXISTS as a value.
    pub fn exists(&mut self, subquery: &Subquery, negated: bool, rows: &mut Rows) -> Result<Expr> {
        let mark = self.existence(subquery, negated, JoinType::LeftMark, rows)?;
        Ok(mark.unwrap_or_else(|| lit(true)))
    }

    /// Joins the rows with a subquery in one of three ways, and gives what else is to hold.
    fn existence(
        &mut self,
        subquery: &Subquery,
        negated: bool,
        kind: JoinType,
        rows: &mut Rows,
    ) -> Result<Option<Expr>> {
        let plan = self.inner(subquery)?;
        let signed = |value: Expr| if negated { not(value) } else { value };
        let outer_rows = rows.input.clone();
        let before = rows.plan.clone();
        let (after, value) = self.evaluate(existing(&plan), &outer_rows, |this, found| {
            if found.empty.is_some() {
                return Ok((before.clone(), Some(lit(!negated))));
            }
            if is_one_row(&found.plan) {
                let holds = conditions_within(&found, &outer_rows)?;
                return Ok((before.clone(), Some(signed(holds.map_or(lit(true), |holds| holds.is_true())))));
            }
            if found.conditions.is_empty() {
                let (after, counted) = this.counted(found, before.clone(), &outer_rows, false)?;
                return Ok((after, Some(signed(counted.rows.gt(lit(0i64))))));
            }
            let found = Dependent { outputs: vec![], ..found }.named(&mut this.names)?;
            let width = before.schema().fields().len();
            let after = joined(before.clone(), found.plan, &found.conditions, vec![], kind)?;
            let value = (kind == JoinType::LeftMark).then(|| signed(column(&after, width)));
            Ok((after, value))
        })?;
        rows.plan = after;
        Ok(value)
    }

    /// IN as a condition of a filter: NULL is as good as false.
    pub fn keep_within(
        &mut self,
        tested: Expr,
        subquery: &Subquery,
        negated: bool,
        rows: &mut Rows,
    ) -> Result<Option<Expr>> {
        let plan = self.inner(subquery)?;
        let kind = if negated { JoinType::LeftAnti } else { JoinType::LeftSemi };
        let outer_rows = rows.input.clone();
        let before = rows.plan.clone();
        let (after, value) = self.evaluate(&plan, &outer_rows, |this, found| {
            let found = one_value(found)?;
            let (after, _) = this.matched(&tested, Operator::Eq, found.clone(), before.clone(), &outer_rows, kind)?;
            if !negated {
                return Ok((after, None));
            }
            let (tested_null, value_null) = nullable(&tested, &found, &before)?;
            if !tested_null && !value_null {
                return Ok((after, None));
            }
            let (after, counted) = this.counted(found, after, &outer_rows, false)?;
            let known = counted.values.eq(counted.rows.clone()).and(tested.clone().is_not_null());
            let none = counted.rows.clone().is_null().or(counted.rows.eq(lit(0i64)));
            Ok((after, Some(none.or(known))))
        })?;
        rows.plan = after;
        Ok(value)
    }

    /// IN as a value.
    pub fn within(
        &mut self,
        tested: Expr,
        subquery: &Subquery,
        negated: bool,
        rows: &mut Rows,
        truth: Truth,
    ) -> Result<Expr> {
        let any = self.any(tested, subquery, Operator::Eq, rows, if negated { Truth::Full } else { truth })?;
        Ok(if negated { not(any) } else { any })
    }

    /// ANY and ALL as values: all are so unless any is not so.
    pub fn quantified(
        &mut self,
        tested: Expr,
        subquery: &Subquery,
        op: Operator,
        all: bool,
        rows: &mut Rows,
        truth: Truth,
    ) -> Result<Expr> {
        match (all, op.negate()) {
            (false, _) => self.any(tested, subquery, op, rows, truth),
            (true, Some(negation)) => Ok(not(self.any(tested, subquery, negation, rows, Truth::Full)?)),
            (true, None) => Err(super::attach::unsupported(&format!("{op} ALL (subquery)"))),
        }
    }

    fn any(&mut self, tested: Expr, subquery: &Subquery, op: Operator, rows: &mut Rows, truth: Truth) -> Result<Expr> {
        let plan = self.inner(subquery)?;
        let outer_rows = rows.input.clone();
        let before = rows.plan.clone();
        let (after, value) = self.evaluate(&plan, &outer_rows, |this, found| {
            let found = one_value(found)?;
            let data_type = found.outputs[0].get_type(found.plan.schema())?;
            let by_extremes = op != Operator::Eq && is_ordered(&data_type);
            if by_extremes {
                let (after, counted) = this.counted(found, before.clone(), &outer_rows, true)?;
                let value = unknown_or(extreme(&tested, op, &counted)?, &tested, &counted, (true, true));
                return Ok((after, value));
            }
            let nulls = nullable(&tested, &found, &before)?;
            let (after, mark) =
                this.matched(&tested, op, found.clone(), before.clone(), &outer_rows, JoinType::LeftMark)?;
            if truth == Truth::Known || nulls == (false, false) {
                return Ok((after, mark));
            }
            let (after, counted) = this.counted(found, after, &outer_rows, false)?;
            Ok((after, unknown_or(mark, &tested, &counted, nulls)))
        })?;
        rows.plan = after;
        Ok(value)
    }

    /// The rows joined with a subquery where a comparison with its value holds; the mark of a mark join.
    fn matched(
        &mut self,
        tested: &Expr,
        op: Operator,
        found: Dependent,
        rows: LogicalPlan,
        outer_rows: &LogicalPlan,
        kind: JoinType,
    ) -> Step<(LogicalPlan, Expr)> {
        let mut found = found.named(&mut self.names)?;
        let value = outer::within(found.outputs[0].clone(), outer_rows.schema())?;
        let is_inner = value == found.outputs[0];
        let mut also = vec![];
        match op {
            Operator::Eq if is_inner => {
                found.conditions.push(Condition::Equal { inner: value, outer: tested.clone() });
            }
            op => also.push(binary_expr(tested.clone(), op, value)),
        }
        let width = rows.schema().fields().len();
        let joined = joined(rows, found.plan, &found.conditions, also, kind)?;
        let mark = if kind == JoinType::LeftMark { column(&joined, width) } else { lit(true) };
        Ok((joined, mark))
    }

    /// The rows with what is counted of a subquery's rows.
    fn counted(
        &mut self,
        found: Dependent,
        rows: LogicalPlan,
        outer_rows: &LogicalPlan,
        extremes: bool,
    ) -> Step<(LogicalPlan, Counted)> {
        let keys = found.keys().ok_or(Stop::NeedsDomain)?;
        let value = match found.outputs.first() {
            Some(value) if outer::refers(value, outer_rows.schema())? => return Err(Stop::NeedsDomain),
            Some(value) => value.clone(),
            None => lit(1i64),
        };
        let mut calls = vec![self.aggregate("count", lit(1i64))?, self.aggregate("count", value.clone())?];
        if extremes {
            calls.extend([self.aggregate("min", value.clone())?, self.aggregate("max", value)?]);
        }
        let (found, values) = grouped(found, keys, calls)?;
        let found = Dependent { outputs: values, ..found }.named(&mut self.names)?;
        let kind = if found.conditions.is_empty() { JoinType::Inner } else { JoinType::Left };
        let after = joined(rows, found.plan, &found.conditions, vec![], kind)?;
        let mut values = found.outputs.into_iter();
        let mut next = || values.next().ok_or_else(|| Stop::unsupported("a count"));
        let (rows, known) = (next()?, next()?);
        let extremes = if extremes { Some((next()?, next()?)) } else { None };
        Ok((after, Counted { rows, values: known, extremes }))
    }
}

/// A subquery's rows grouped by what its conditions compare, and what aggregates give for each group.
pub fn grouped(found: Dependent, keys: Vec<Expr>, calls: Vec<Expr>) -> Step<(Dependent, Vec<Expr>)> {
    let mut groups: Vec<Expr> = vec![];
    keys.iter().for_each(|key| {
        if !groups.contains(key) {
            groups.push(key.clone())
        }
    });
    let mut different: Vec<Expr> = vec![];
    calls.iter().for_each(|call| {
        if !different.contains(call) {
            different.push(call.clone())
        }
    });
    let width = groups.len();
    let plan = LogicalPlan::Aggregate(Aggregate::try_new(Arc::new(found.plan), groups.clone(), different.clone())?);
    let place = |among: &[Expr], expr: &Expr| among.iter().position(|one| one == expr).unwrap_or_default();
    let conditions = found.conditions.into_iter().zip(&keys).map(|(condition, key)| {
        let inner = column(&plan, place(&groups, key));
        match condition {
            Condition::Equal { outer, .. } => Condition::Equal { inner, outer },
            Condition::Same { outer, .. } => Condition::Same { inner, outer },
            other => other,
        }
    });
    let conditions = conditions.collect();
    let values = calls.iter().map(|call| column(&plan, width + place(&different, call))).collect();
    Ok((Dependent { plan, outputs: vec![], conditions, empty: None, single: true, unique: None }, values))
}

/// The subquery of a comparison: what it gives for no rows is not looked at.
fn one_value(found: Dependent) -> Step<Dependent> {
    match found.empty {
        None => Ok(found),
        Some(_) => Err(Stop::NeedsDomain),
    }
}

pub fn column(plan: &LogicalPlan, place: usize) -> Expr {
    Expr::Column(Column::from(plan.schema().qualified_field(place)))
}

pub fn is_one_row(plan: &LogicalPlan) -> bool {
    matches!(plan, LogicalPlan::EmptyRelation(empty) if empty.produce_one_row)
}

/// All conditions of a subquery as one over the outer rows: its own plan has no columns.
pub fn conditions_within(found: &Dependent, outer_rows: &LogicalPlan) -> Result<Option<Expr>> {
    let conditions = found.conditions.iter().map(|condition| match condition {
        Condition::Other(expr) => outer::within(expr.clone(), outer_rows.schema()),
        Condition::Equal { inner, outer } => outer::within(inner.clone().eq(outer.clone()), outer_rows.schema()),
        Condition::Same { inner, outer } => {
            let same = binary_expr(inner.clone(), Operator::IsNotDistinctFrom, outer.clone());
            outer::within(same, outer_rows.schema())
        }
    });
    Ok(conjunction(conditions.collect::<Result<Vec<_>>>()?))
}

/// Whether the tested value, and whether that of a subquery may be NULL.
fn nullable(tested: &Expr, found: &Dependent, rows: &LogicalPlan) -> Step<(bool, bool)> {
    Ok((tested.nullable(rows.schema())?, found.outputs[0].nullable(found.plan.schema())?))
}

/// True where `matched`; else NULL if a NULL might have been a match.
fn unknown_or(matched: Expr, tested: &Expr, counted: &Counted, (tested_null, value_null): (bool, bool)) -> Expr {
    let mut unknown = vec![];
    if value_null {
        unknown.push(counted.values.clone().lt(counted.rows.clone()));
    }
    if tested_null {
        unknown.push(tested.clone().is_null().and(counted.rows.clone().gt(lit(0i64))));
    }
    let mut arms = vec![(Box::new(matched), Box::new(lit(true)))];
    if let Some(unknown) = unknown.into_iter().reduce(Expr::or) {
        arms.push((Box::new(unknown), Box::new(Expr::Literal(ScalarValue::Boolean(None), None))));
    }
    Expr::Case(Case::new(None, arms, Some(Box::new(lit(false)))))
}

/// Whether a comparison holds with any value: it does if it does with the least or with the greatest.
fn extreme(tested: &Expr, op: Operator, counted: &Counted) -> Step<Expr> {
    let Some((least, greatest)) = counted.extremes.clone() else { return Err(Stop::unsupported("a comparison")) };
    let with = |value: Expr| binary_expr(tested.clone(), op, value);
    Ok(match op {
        Operator::Lt | Operator::LtEq => with(greatest),
        Operator::Gt | Operator::GtEq => with(least),
        _ => with(least).or(with(greatest)),
    })
}

/// Whether values of a type have a least and a greatest, which aggregates give.
pub fn is_ordered(data_type: &datafusion::arrow::datatypes::DataType) -> bool {
    use datafusion::arrow::datatypes::DataType::*;
    data_type.is_numeric() || matches!(data_type, Utf8 | Utf8View | LargeUtf8 | Date32 | Time64(_) | Timestamp(..))
}
