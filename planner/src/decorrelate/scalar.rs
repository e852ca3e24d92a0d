//! Subqueries as values: `(SELECT ...)` and `ARRAY(SELECT ...)`.

use super::Decorrelation;
use super::attach::Rows;
use super::condition::{column, conditions_within, grouped, is_one_row, is_ordered};
use super::dependent::{Dependent, joined};
use super::outer;
use super::push::{Step, Stop};
use datafusion::arrow::datatypes::FieldRef;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::expr::{AggregateFunction, Case, ScalarFunction};
use datafusion::logical_expr::{Aggregate, Expr, ExprSchemable, JoinType, LogicalPlan, SortExpr, Subquery, lit};
use millrace_functions::{ARRAY_SUBQUERY, casts::marked, single_value};
use std::sync::Arc;

/// Whether a call is `ARRAY(SELECT ...)`.
pub fn is_array(call: &ScalarFunction) -> bool {
    call.func.name() == ARRAY_SUBQUERY && matches!(call.args.as_slice(), [Expr::ScalarSubquery(_)])
}

impl Decorrelation<'_> {
    /// The value of a subquery: NULL for no row, an error for several.
    pub fn scalar(&mut self, subquery: &Subquery, rows: &mut Rows) -> Result<Expr> {
        let plan = self.inner(subquery)?;
        self.value(&plan, rows)
    }

    /// The values of a subquery in its order, as an array: an empty one for no row.
    pub fn array(&mut self, call: &ScalarFunction, rows: &mut Rows) -> Result<Expr> {
        let [Expr::ScalarSubquery(subquery)] = call.args.as_slice() else {
            return Err(super::attach::unsupported("ARRAY of this"));
        };
        let plan = self.inner(subquery)?;
        let (input, element, order) = ordered(&plan);
        let functions = self.functions.state().aggregate_functions();
        let Some(array_agg) = functions.get("array_agg").cloned() else {
            return Err(super::attach::unsupported("ARRAY(SELECT ...)"));
        };
        let data_type = element.get_type(input.schema())?;
        let call =
            Expr::AggregateFunction(AggregateFunction::new_udf(array_agg, vec![element], false, None, order, None));
        let plan = LogicalPlan::Aggregate(Aggregate::try_new(Arc::new(input), vec![], vec![call])?);
        let array = self.value(&plan, rows)?;
        let none = ScalarValue::List(ScalarValue::new_list_nullable(&[], &data_type));
        let arm = (Box::new(array.clone().is_null()), Box::new(Expr::Literal(none, None)));
        Ok(Expr::Case(Case::new(None, vec![arm], Some(Box::new(array)))))
    }

    fn value(&mut self, plan: &LogicalPlan, rows: &mut Rows) -> Result<Expr> {
        let field = plan.schema().field(0).clone();
        let outer_rows = rows.input.clone();
        let before = rows.plan.clone();
        let (after, value) = self.evaluate(plan, &outer_rows, |this, found| {
            if is_one_row(&found.plan) {
                let value = outer::within(found.outputs[0].clone(), outer_rows.schema())?;
                let value = match conditions_within(&found, &outer_rows)? {
                    Some(holds) => when(holds, value),
                    None => value,
                };
                return Ok((before.clone(), value));
            }
            match found.single {
                true => this.only_row(found, before.clone(), &outer_rows),
                false => this.checked_row(found, &field, before.clone(), &outer_rows),
            }
        })?;
        rows.plan = after;
        Ok(self::told(value, &field))
    }

    /// A subquery that has at most one row for each outer row.
    fn only_row(&mut self, found: Dependent, rows: LogicalPlan, outer_rows: &LogicalPlan) -> Step<(LogicalPlan, Expr)> {
        let always = found.conditions.is_empty() && has_one_row(&found.plan);
        let found = Dependent { outputs: found.outputs[..1].to_vec(), ..found }.named(&mut self.names)?;
        let value = outer::within(found.outputs[0].clone(), outer_rows.schema())?;
        // A column is NULL where there is no row; anything else is told to be so.
        let is_column = matches!(value, Expr::Column(_));
        let (found, there) = match (always || is_column) && found.empty.is_none() {
            true => (found, None),
            false => {
                let (found, there) = found.marked(&mut self.names)?;
                (found, Some(there))
            }
        };
        let kind = if always { JoinType::Inner } else { JoinType::Left };
        let after = joined(rows, found.plan, &found.conditions, vec![], kind)?;
        let value = match (there, &found.empty) {
            (None, _) => value,
            (Some(there), None) => when(there.is_not_null(), value),
            (Some(there), Some(empty)) => {
                let empty = outer::within(empty[0].clone(), outer_rows.schema())?;
                let arm = (Box::new(there.is_null()), Box::new(empty));
                Expr::Case(Case::new(None, vec![arm], Some(Box::new(value))))
            }
        };
        Ok((after, value))
    }

    /// A subquery that may have several rows: the error is that of the outer row whose value is asked for.
    fn checked_row(
        &mut self,
        found: Dependent,
        field: &FieldRef,
        rows: LogicalPlan,
        outer_rows: &LogicalPlan,
    ) -> Step<(LogicalPlan, Expr)> {
        let keys = found.keys().ok_or(Stop::NeedsDomain)?;
        let value = found.outputs[0].clone();
        if outer::refers(&value, outer_rows.schema())? {
            return Err(Stop::NeedsDomain);
        }
        let any = if is_ordered(&value.get_type(found.plan.schema())?) { "min" } else { "first_value" };
        let calls = vec![self.aggregate(any, value)?, self.aggregate("count", lit(1i64))?];
        let (found, values) = grouped(found, keys, calls)?;
        let found = Dependent { outputs: values, ..found }.named(&mut self.names)?;
        let kind = if found.conditions.is_empty() { JoinType::Inner } else { JoinType::Left };
        let after = joined(rows, found.plan, &found.conditions, vec![], kind)?;
        Ok((after, single_value(field.clone()).call(found.outputs)))
    }
}

/// A value that is said to be of its type, where that is more than how it is held.
fn told(value: Expr, field: &FieldRef) -> Expr {
    match value {
        Expr::Case(_) if !field.metadata().is_empty() => marked(value, field),
        value => value,
    }
}

fn when(condition: Expr, value: Expr) -> Expr {
    Expr::Case(Case::new(None, vec![(Box::new(condition), Box::new(value))], None))
}

/// Whether a plan has one row, never none.
fn has_one_row(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(projection) => has_one_row(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => has_one_row(&alias.input),
        LogicalPlan::Sort(sort) => has_one_row(&sort.input),
        LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.is_empty(),
        LogicalPlan::EmptyRelation(empty) => empty.produce_one_row,
        _ => false,
    }
}

/// A subquery taken apart into its rows, its value and its order.
fn ordered(plan: &LogicalPlan) -> (LogicalPlan, Expr, Vec<SortExpr>) {
    let order = |plan: &LogicalPlan| match plan {
        LogicalPlan::Sort(sort) => Some(sort.expr.clone()),
        LogicalPlan::Limit(limit) => match limit.input.as_ref() {
            LogicalPlan::Sort(sort) => Some(sort.expr.clone()),
            _ => None,
        },
        _ => None,
    };
    if let Some(order) = order(plan) {
        return (plan.clone(), column(plan, 0), order);
    }
    if let LogicalPlan::Projection(projection) = plan
        && let Some(order) = order(&projection.input)
    {
        return (projection.input.as_ref().clone(), projection.expr[0].clone().unalias(), order);
    }
    (plan.clone(), column(plan, 0), vec![])
}
