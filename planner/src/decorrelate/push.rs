//! A subquery evaluated for all outer rows at once.
//!
//! An operator of the subquery is rewritten so that its rows stay apart by the outer rows that they are for. What keeps
//! them apart are [`Condition`]s, which move up through the operators to the join with the outer rows.
//!
//! Without a domain a condition of a filter, say `t.k = o.k`, simply moves up, and operators that see several rows
//! at once do so for each value of `t.k`. That is cheap, but not always possible: [`Stop::NeedsDomain`] says so. With a
//! [`Domain`], the different values of all outer columns that the subquery names, the subquery's rows are joined with
//! the domain where it first needs a value. Then every condition is that the domain's columns are the outer row's.

use super::Names;
use super::dependent::{Condition, Dependent, joined, over};
use super::domain::Domain;
use super::outer;
use crate::functions::FunctionSource;
use datafusion::common::{Column, DFSchema, DataFusionError};
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{
    BinaryExpr, Expr, ExprSchemable, Filter, JoinType, LogicalPlan, LogicalPlanBuilder, Operator, Projection,
    SubqueryAlias, Values,
};
use millrace_functions::sets::Unnest;
use millrace_types::SqlError;
use std::sync::Arc;

/// Why a subquery was not evaluated for all outer rows.
#[derive(Debug)]
pub enum Stop {
    /// The values of the outer columns are needed to do so.
    NeedsDomain,
    Failed(DataFusionError),
}

impl From<DataFusionError> for Stop {
    fn from(error: DataFusionError) -> Stop {
        Stop::Failed(error)
    }
}

impl Stop {
    /// A refusal of a construct in a correlated subquery.
    pub fn unsupported(what: &str) -> Stop {
        let error = SqlError::unsupported(format!("{what} in a correlated subquery"));
        Stop::Failed(DataFusionError::External(Box::new(error)))
    }
}

pub type Step<T> = std::result::Result<T, Stop>;

/// One evaluation of a subquery.
pub struct Push<'a> {
    pub names: &'a mut Names,
    pub functions: &'a FunctionSource,
    /// The rows of the outer query.
    pub outer: &'a DFSchema,
    pub domain: Option<&'a Domain>,
}

impl Push<'_> {
    /// The rows of a plan for all outer rows.
    pub fn plan(&mut self, plan: &LogicalPlan) -> Step<Dependent> {
        if !outer::depends(plan, self.outer)? {
            return Ok(Dependent::independent(plan.clone()));
        }
        if let Some(domain) = self.domain {
            // The later the domain comes, the fewer rows it multiplies.
            match self.without_domain().plan(plan) {
                Ok(rows) if rows.empty.is_none() => return self.introduced(domain, rows),
                Err(Stop::Failed(error)) => return Err(Stop::Failed(error)),
                _ => {}
            }
        }
        self.operator(plan)
    }

    /// The same evaluation without the domain.
    pub fn without_domain(&mut self) -> Push<'_> {
        Push { names: self.names, functions: self.functions, outer: self.outer, domain: None }
    }

    /// Rows that were evaluated without the domain, joined with it.
    fn introduced(&mut self, domain: &Domain, rows: Dependent) -> Step<Dependent> {
        if rows.conditions.is_empty() {
            let rows = domain.crossed(rows, self.names)?;
            return self.bound_outputs(rows);
        }
        let instance = domain.instance(self.names)?;
        let rows = rows.named(self.names)?;
        let (conditions, also) = self.of_domain(rows.conditions, &instance)?;
        let plan = joined(instance.plan.clone(), rows.plan, &conditions, also, JoinType::Inner)?;
        let outputs = rows.outputs.into_iter().map(|output| self.bound(output, &instance));
        let outputs = outputs.collect::<Step<_>>()?;
        Ok(Dependent { plan, outputs, conditions: instance.conditions, empty: None, single: rows.single, unique: None })
    }

    /// Conditions of rows that were evaluated without the domain, with the domain's columns for the outer ones: those
    /// that compare, and the others.
    pub fn of_domain(&self, conditions: Vec<Condition>, domain: &Dependent) -> Step<(Vec<Condition>, Vec<Expr>)> {
        let (mut compared, mut others) = (vec![], vec![]);
        for condition in conditions {
            match condition {
                Condition::Equal { inner, outer } => {
                    compared.push(Condition::Equal { inner, outer: self.bound(outer, domain)? });
                }
                Condition::Same { inner, outer } => {
                    compared.push(Condition::Same { inner, outer: self.bound(outer, domain)? });
                }
                Condition::Other(expr) => others.push(self.bound(expr, domain)?),
            }
        }
        Ok((compared, others))
    }

    fn operator(&mut self, plan: &LogicalPlan) -> Step<Dependent> {
        match plan {
            LogicalPlan::Projection(projection) => self.projection(projection),
            LogicalPlan::Filter(filter) => self.filter(filter),
            LogicalPlan::SubqueryAlias(alias) => self.alias(alias),
            LogicalPlan::Subquery(subquery) => self.plan(&subquery.subquery),
            // Rows that are joined with others have no order; where it matters, LIMIT looks for it.
            LogicalPlan::Sort(sort) if sort.fetch.is_none() => self.plan(&sort.input),
            LogicalPlan::Limit(limit) => self.limit(limit),
            LogicalPlan::Window(window) => self.window(window),
            LogicalPlan::Aggregate(aggregate) => self.aggregate(aggregate),
            LogicalPlan::Distinct(distinct) => self.distinct(distinct),
            LogicalPlan::Union(union) => self.union(union),
            LogicalPlan::Join(join) => self.join(join),
            LogicalPlan::Values(values) => self.values(values),
            LogicalPlan::RecursiveQuery(_) => Err(Stop::unsupported("WITH RECURSIVE")),
            plan => match Unnest::of(plan) {
                Some(unnest) => self.unnest(unnest),
                None => Err(Stop::unsupported("this construct")),
            },
        }
    }

    /// Set-returning functions: the rows that one row becomes are for the same outer rows.
    fn unnest(&mut self, unnest: &Unnest) -> Step<Dependent> {
        let rows = self.plan(unnest.input())?;
        let rows = self.settled(rows)?;
        let rows = self.within_domain(rows)?;
        let mut rows = self.bound_outputs(rows)?.computed(self.names)?;
        let relation = self.names.relation();
        let (mut lists, mut elements) = (vec![], vec![]);
        for (at, place) in unnest.places()?.into_iter().enumerate() {
            let element = Column::new(Some(relation.clone()), format!("e{at}"));
            let list = std::mem::replace(&mut rows.outputs[place], Expr::Column(element.clone()));
            if let Expr::Column(list) = list {
                lists.push(list);
                elements.push(element);
            }
        }
        let plan = Unnest::try_new(rows.plan, lists, elements, unnest.is_outer())?.into_plan();
        Ok(Dependent { plan, single: false, ..rows })
    }

    /// Rows for each row of the domain apart, if there is one, and with those of what is empty.
    pub fn within_domain(&mut self, rows: Dependent) -> Step<Dependent> {
        let rows = if self.domain.is_some() { self.settled(rows)? } else { rows };
        self.crossed(rows)
    }

    fn crossed(&mut self, rows: Dependent) -> Step<Dependent> {
        match self.domain {
            Some(domain) if rows.conditions.is_empty() => Ok(domain.crossed(rows, self.names)?),
            _ => Ok(rows),
        }
    }

    /// An expression over a plan's columns without outer columns: the plan has their values.
    pub fn bound(&self, expr: Expr, rows: &Dependent) -> Step<Expr> {
        let bound = outer::replace(expr, |column| {
            if outer::place(column, self.outer).is_none() {
                return Ok(None);
            }
            for condition in &rows.conditions {
                // Equal values may differ in their text, as 0 and -0; those of one type that are the same do not.
                let (inner, of) = match condition {
                    Condition::Same { inner, outer } => (inner, outer),
                    Condition::Equal { inner, outer } if is_exact(inner, rows)? => (inner, outer),
                    _ => continue,
                };
                if let Expr::OuterReferenceColumn(field, of) = of
                    && outer::place(of, self.outer) == outer::place(column, self.outer)
                    && inner.get_type(rows.plan.schema())? == *field.data_type()
                {
                    return Ok(Some(inner.clone()));
                }
            }
            Ok(None)
        })?;
        match outer::refers(&bound, self.outer)? {
            false => Ok(bound),
            true => Err(Stop::NeedsDomain),
        }
    }

    /// The rows with outputs that are free of outer columns.
    pub fn bound_outputs(&mut self, mut rows: Dependent) -> Step<Dependent> {
        let outputs = std::mem::take(&mut rows.outputs);
        rows.outputs = outputs.into_iter().map(|output| self.bound(output, &rows)).collect::<Step<_>>()?;
        Ok(rows)
    }

    /// The parts that keep rows apart by the outer rows that they are for.
    pub fn keys(&self, rows: &Dependent) -> Step<Vec<Expr>> {
        // Without any, all outer rows would share the rows of one.
        match rows.keys() {
            Some(keys) if rows.empty.is_none() => Ok(keys),
            _ => Err(Stop::NeedsDomain),
        }
    }

    fn projection(&mut self, projection: &Projection) -> Step<Dependent> {
        let mut rows = self.plan(&projection.input)?;
        if self.domain.is_some() {
            rows = self.crossed(rows)?;
        }
        let schema = projection.input.schema();
        let value = |expr: &Expr, values: &[Expr]| over(expr.clone().unalias(), schema, values);
        let outputs: Vec<Expr> =
            projection.expr.iter().map(|expr| value(expr, &rows.outputs)).collect::<Result<_, _>>()?;
        rows.empty = match &rows.empty {
            Some(values) => Some(projection.expr.iter().map(|expr| value(expr, values)).collect::<Result<_, _>>()?),
            None => None,
        };
        rows.outputs = outputs;
        if self.domain.is_some() { self.bound_outputs(rows) } else { Ok(rows) }
    }

    fn filter(&mut self, filter: &Filter) -> Step<Dependent> {
        let rows = self.plan(&filter.input)?;
        let rows = self.settled(rows)?;
        let predicate = rows.value(filter.predicate.clone(), filter.input.schema())?;
        self.filtered(rows, predicate)
    }

    /// The rows for which a condition over the plan's and outer columns holds.
    pub fn filtered(&mut self, mut rows: Dependent, predicate: Expr) -> Step<Dependent> {
        if self.domain.is_some() && outer::refers(&predicate, self.outer)? {
            rows = self.within_domain(rows)?;
        }
        let mut filters = vec![];
        for conjunct in split_conjunction_owned(predicate) {
            match self.condition(conjunct, &rows)? {
                Ok(filter) => filters.push(filter),
                Err(condition) => rows.conditions.push(condition),
            }
        }
        if let Some(unique) = &rows.unique {
            let equal = |key: &Expr| {
                rows.conditions.iter().any(|one| matches!(one, Condition::Equal { inner, .. } if inner == key))
            };
            rows.single |= unique.iter().all(equal);
        }
        if let Some(filter) = conjunction(filters) {
            rows.plan = LogicalPlan::Filter(Filter::try_new(filter, Arc::new(rows.plan))?);
        }
        Ok(rows)
    }

    /// A filter of the plan alone, or else a condition.
    fn condition(&self, conjunct: Expr, rows: &Dependent) -> Step<Result<Expr, Condition>> {
        if !outer::refers(&conjunct, self.outer)? {
            return Ok(Ok(conjunct));
        }
        if self.domain.is_some() {
            return self.bound(conjunct, rows).map(Ok);
        }
        if let Expr::BinaryExpr(BinaryExpr { left, op, right }) = &conjunct {
            let is_outer =
                |expr: &Expr| -> Step<bool> { Ok(outer::refers(expr, self.outer)? && !expr.any_column_refs()) };
            let is_inner =
                |expr: &Expr| -> Step<bool> { Ok(!outer::refers(expr, self.outer)? && expr.any_column_refs()) };
            let sides = match (is_inner(left)? && is_outer(right)?, is_outer(left)? && is_inner(right)?) {
                (true, _) => Some((left, right)),
                (_, true) => Some((right, left)),
                _ => None,
            };
            match (sides, op) {
                (Some((inner, outer)), Operator::Eq) => {
                    let (inner, outer) = (inner.as_ref().clone(), outer.as_ref().clone());
                    return Ok(Err(Condition::Equal { inner, outer }));
                }
                (Some((inner, outer)), Operator::IsNotDistinctFrom) => {
                    let (inner, outer) = (inner.as_ref().clone(), outer.as_ref().clone());
                    return Ok(Err(Condition::Same { inner, outer }));
                }
                _ => {}
            }
        }
        Ok(Err(Condition::Other(conjunct)))
    }

    /// Only names change, and the outputs of a [`Dependent`] have none.
    fn alias(&mut self, alias: &SubqueryAlias) -> Step<Dependent> {
        self.plan(&alias.input)
    }

    /// Rows of outer columns: a projection of no columns for each.
    fn values(&mut self, values: &Values) -> Step<Dependent> {
        let row = |exprs: &Vec<Expr>| {
            let names = values.schema.fields().iter();
            let exprs = exprs.iter().zip(names).map(|(expr, field)| expr.clone().alias(field.name()));
            let one = LogicalPlanBuilder::empty(true).build()?;
            Projection::try_new(exprs.collect(), Arc::new(one)).map(|row| Arc::new(LogicalPlan::Projection(row)))
        };
        let mut rows: Vec<Arc<LogicalPlan>> = values.values.iter().map(row).collect::<Result<_, _>>()?;
        match rows.len() {
            1 => self.plan(&rows.remove(0)),
            _ => {
                let union = datafusion::logical_expr::Union::try_new_with_loose_types(rows)?;
                self.plan(&LogicalPlan::Union(union))
            }
        }
    }
}

/// Whether equal values of an expression are the same value.
fn is_exact(expr: &Expr, rows: &Dependent) -> datafusion::common::Result<bool> {
    use datafusion::arrow::datatypes::DataType::*;
    let data_type = expr.get_type(rows.plan.schema())?;
    Ok(!matches!(data_type, Float16 | Float32 | Float64 | Interval(_)) && !data_type.is_nested())
}
