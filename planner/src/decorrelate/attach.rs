//! Subqueries in the expressions of a node: joined with the node's input, whose columns then stand in their place.

use super::{Decorrelation, outer};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, DataFusionError, Result};
use datafusion::logical_expr::expr::{Exists, InSubquery, SetComparison, SetQuantifier};
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{
    Aggregate, BinaryExpr, Distinct, DistinctOn, Expr, Filter, LogicalPlan, LogicalPlanBuilder, Operator, Projection,
    Sort, SortExpr, Union, Values, Window,
};
use millrace_types::SqlError;
use std::sync::Arc;

/// Whether an expression holds a subquery.
pub fn has_subquery(expr: &Expr) -> Result<bool> {
    expr.exists(|expr| {
        Ok(matches!(expr, Expr::Exists(_) | Expr::InSubquery(_) | Expr::SetComparison(_) | Expr::ScalarSubquery(_)))
    })
}

/// The input of a node while subqueries are joined with it.
pub struct Rows {
    /// The input as it was: the outer rows of the subqueries.
    pub input: LogicalPlan,
    /// The input with what the subqueries gave.
    pub plan: LogicalPlan,
    /// Subqueries that were joined, and what stands for them.
    known: Vec<(Expr, Expr)>,
}

impl Rows {
    pub fn new(input: LogicalPlan) -> Rows {
        Rows { plan: input.clone(), input, known: vec![] }
    }
}

/// What becomes of a truth value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Truth {
    /// It is true, false or NULL.
    Full,
    /// NULL is as good as false.
    Known,
}

impl Decorrelation<'_> {
    /// A node with the subqueries in its expressions joined.
    pub fn attach(&mut self, node: LogicalPlan) -> Result<LogicalPlan> {
        let mut found = false;
        node.apply_expressions(|expr| {
            found |= has_subquery(expr)?;
            Ok(datafusion::common::tree_node::TreeNodeRecursion::Continue)
        })?;
        if !found {
            return Ok(node);
        }
        let schema = node.schema().clone();
        let attached = match node {
            LogicalPlan::Filter(filter) => self.filter(filter)?,
            LogicalPlan::Projection(projection) => self.projection(projection)?,
            LogicalPlan::Aggregate(aggregate) => self.aggregated(aggregate)?,
            LogicalPlan::Window(window) => self.windowed(window)?,
            LogicalPlan::Sort(sort) => self.sorted(sort)?,
            LogicalPlan::Distinct(Distinct::On(distinct)) => self.first_of_each(distinct)?,
            LogicalPlan::Values(values) => self.values(values)?,
            LogicalPlan::Limit(_) => return Err(unsupported("a subquery in LIMIT or OFFSET")),
            _ => return Err(unsupported("a subquery in this place")),
        };
        restored(attached, &schema)
    }

    /// An expression over `rows` with columns in place of its subqueries.
    pub fn expression(&mut self, expr: Expr, rows: &mut Rows, truth: Truth) -> Result<Expr> {
        match expr {
            Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::And | Operator::Or), right })
                if truth == Truth::Known =>
            {
                let left = Box::new(self.expression(*left, rows, truth)?);
                let right = Box::new(self.expression(*right, rows, truth)?);
                Ok(Expr::BinaryExpr(BinaryExpr { left, op, right }))
            }
            // What stands under the test of a subquery is joined before it.
            Expr::InSubquery(within) => {
                let tested = self.expression(*within.expr, rows, Truth::Full)?;
                self.subquery(Expr::InSubquery(InSubquery { expr: Box::new(tested), ..within }), rows, truth)
            }
            Expr::SetComparison(compared) => {
                let tested = self.expression(*compared.expr, rows, Truth::Full)?;
                self.subquery(Expr::SetComparison(SetComparison { expr: Box::new(tested), ..compared }), rows, truth)
            }
            Expr::Exists(_) | Expr::ScalarSubquery(_) => self.subquery(expr, rows, truth),
            Expr::ScalarFunction(call) if super::scalar::is_array(&call) => {
                self.subquery(Expr::ScalarFunction(call), rows, truth)
            }
            other => {
                let mapped =
                    other.map_children(|child| self.expression(child, rows, Truth::Full).map(Transformed::yes))?;
                Ok(mapped.data)
            }
        }
    }

    fn subquery(&mut self, expr: Expr, rows: &mut Rows, truth: Truth) -> Result<Expr> {
        if let Some((_, value)) = rows.known.iter().find(|(known, _)| *known == expr) {
            return Ok(value.clone());
        }
        let value = match expr.clone() {
            Expr::Exists(Exists { subquery, negated }) => self.exists(&subquery, negated, rows)?,
            Expr::InSubquery(InSubquery { expr, subquery, negated }) => {
                self.within(*expr, &subquery, negated, rows, truth)?
            }
            Expr::SetComparison(SetComparison { expr, subquery, op, quantifier }) => {
                let all = quantifier == SetQuantifier::All;
                self.quantified(*expr, &subquery, op, all, rows, truth)?
            }
            Expr::ScalarSubquery(subquery) => self.scalar(&subquery, rows)?,
            Expr::ScalarFunction(call) => self.array(&call, rows)?,
            other => other,
        };
        // In a filter less is kept of a truth value than elsewhere.
        if truth == Truth::Full {
            rows.known.push((expr, value.clone()));
        }
        Ok(value)
    }

    /// Conditions without subqueries first: they are cheap. Then those that keep or drop rows by a subquery's rows.
    fn filter(&mut self, filter: Filter) -> Result<LogicalPlan> {
        let mut plain = vec![];
        let mut others = vec![];
        for conjunct in split_conjunction_owned(filter.predicate) {
            if has_subquery(&conjunct)? { others.push(conjunct) } else { plain.push(conjunct) }
        }
        let mut rows = Rows::new(filter.input.as_ref().clone());
        rows.plan = filtered(rows.plan, plain)?;
        let mut rest = vec![];
        for conjunct in others {
            rest.extend(self.conjunct(conjunct, &mut rows)?);
        }
        filtered(rows.plan, rest)
    }

    /// A condition of a filter as a semi join or an anti join, and what else is to hold.
    fn conjunct(&mut self, conjunct: Expr, rows: &mut Rows) -> Result<Option<Expr>> {
        let (inner, not) = match known(conjunct) {
            Expr::Not(inner) if matches!(*inner, Expr::Exists(_) | Expr::InSubquery(_)) => (*inner, true),
            other => (other, false),
        };
        match inner {
            Expr::Exists(Exists { subquery, negated }) => self.keep_existing(&subquery, negated != not, rows),
            Expr::InSubquery(InSubquery { expr, subquery, negated }) => {
                let tested = self.expression(*expr, rows, Truth::Full)?;
                self.keep_within(tested, &subquery, negated != not, rows)
            }
            Expr::SetComparison(SetComparison { expr, subquery, op: Operator::Eq, quantifier: SetQuantifier::Any }) => {
                let tested = self.expression(*expr, rows, Truth::Full)?;
                self.keep_within(tested, &subquery, false, rows)
            }
            Expr::SetComparison(SetComparison {
                expr,
                subquery,
                op: Operator::NotEq,
                quantifier: SetQuantifier::All,
            }) => {
                let tested = self.expression(*expr, rows, Truth::Full)?;
                self.keep_within(tested, &subquery, true, rows)
            }
            other => self.expression(other, rows, Truth::Known).map(Some),
        }
    }

    fn projection(&mut self, projection: Projection) -> Result<LogicalPlan> {
        let mut rows = Rows::new(projection.input.as_ref().clone());
        let exprs = self.expressions(projection.expr, &mut rows)?;
        let named = exprs.into_iter().zip(projection.schema.iter()).map(|(expr, (qualifier, field))| match expr {
            expr @ Expr::Column(_) if expr.qualified_name() == (qualifier.cloned(), field.name().clone()) => expr,
            expr => expr.unalias().alias_qualified(qualifier.cloned(), field.name()),
        });
        Ok(LogicalPlan::Projection(Projection::try_new(named.collect(), Arc::new(rows.plan))?))
    }

    fn aggregated(&mut self, aggregate: Aggregate) -> Result<LogicalPlan> {
        let mut rows = Rows::new(aggregate.input.as_ref().clone());
        let groups = self.expressions(aggregate.group_expr, &mut rows)?;
        let calls = self.expressions(aggregate.aggr_expr, &mut rows)?;
        Ok(LogicalPlan::Aggregate(Aggregate::try_new(Arc::new(rows.plan), groups, calls)?))
    }

    fn windowed(&mut self, window: Window) -> Result<LogicalPlan> {
        let width = window.input.schema().fields().len();
        let mut rows = Rows::new(window.input.as_ref().clone());
        let calls = self.expressions(window.window_expr, &mut rows)?;
        let added = rows.plan.schema().fields().len() - width;
        let plan = LogicalPlan::Window(Window::try_new(calls, Arc::new(rows.plan))?);
        // The input's columns, then the calls: without those that the subqueries added between.
        let columns = plan.schema().columns().into_iter().enumerate();
        let kept =
            columns.filter(|(at, _)| *at < width || *at >= width + added).map(|(_, column)| Expr::Column(column));
        LogicalPlanBuilder::from(plan.clone()).project(kept.collect::<Vec<_>>())?.build()
    }

    fn sorted(&mut self, sort: Sort) -> Result<LogicalPlan> {
        let mut rows = Rows::new(with_hidden(&sort)?);
        let order = self.order(sort.expr, &mut rows)?;
        Ok(LogicalPlan::Sort(Sort { expr: order, input: Arc::new(rows.plan), fetch: sort.fetch }))
    }

    fn first_of_each(&mut self, distinct: DistinctOn) -> Result<LogicalPlan> {
        let mut rows = Rows::new(distinct.input.as_ref().clone());
        let on = self.expressions(distinct.on_expr, &mut rows)?;
        let names: Vec<_> =
            distinct.schema.iter().map(|(qualifier, field)| (qualifier.cloned(), field.name().clone())).collect();
        let select = self.expressions(distinct.select_expr, &mut rows)?;
        let select = select
            .into_iter()
            .zip(names)
            .map(|(expr, (qualifier, name))| expr.unalias().alias_qualified(qualifier, name));
        let order = self.order(distinct.sort_expr.unwrap_or_default(), &mut rows)?;
        let order = if order.is_empty() { None } else { Some(order) };
        let distinct = DistinctOn::try_new(on, select.collect(), order, Arc::new(rows.plan))?;
        Ok(LogicalPlan::Distinct(Distinct::On(distinct)))
    }

    /// Each row of a VALUES is a projection of no columns.
    fn values(&mut self, values: Values) -> Result<LogicalPlan> {
        let mut branches = vec![];
        for row in values.values {
            let mut rows = Rows::new(LogicalPlanBuilder::empty(true).build()?);
            let exprs = self.expressions(row, &mut rows)?;
            let exprs = exprs.into_iter().zip(values.schema.fields()).map(|(expr, field)| {
                use datafusion::logical_expr::ExprSchemable;
                Ok(expr.cast_to(field.data_type(), rows.plan.schema())?.alias(field.name()))
            });
            let exprs = exprs.collect::<Result<Vec<_>>>()?;
            branches.push(Arc::new(LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(rows.plan))?)));
        }
        match branches.len() {
            1 => Ok(branches.remove(0).as_ref().clone()),
            _ => Ok(LogicalPlan::Union(Union::try_new_with_loose_types(branches)?)),
        }
    }

    fn order(&mut self, keys: Vec<SortExpr>, rows: &mut Rows) -> Result<Vec<SortExpr>> {
        let key = |key: SortExpr| Ok(SortExpr { expr: self.expression(key.expr, rows, Truth::Full)?, ..key });
        keys.into_iter().map(key).collect()
    }

    fn expressions(&mut self, exprs: Vec<Expr>, rows: &mut Rows) -> Result<Vec<Expr>> {
        exprs.into_iter().map(|expr| self.expression(expr, rows, Truth::Full)).collect()
    }
}

/// What is sorted, with the columns that only a subquery in the order names: the select list does not have them.
fn with_hidden(sort: &Sort) -> Result<LogicalPlan> {
    let LogicalPlan::Projection(projection) = sort.input.as_ref() else { return Ok(sort.input.as_ref().clone()) };
    let mut exprs = projection.expr.clone();
    let below = projection.input.schema();
    for column in outer::references_of_subqueries(sort.expr.iter().map(|key| &key.expr))? {
        if outer::place(&column, &projection.schema).is_none()
            && let Some(at) = outer::place(&column, below)
        {
            exprs.push(Expr::Column(Column::from(below.qualified_field(at))));
        }
    }
    Ok(LogicalPlan::Projection(Projection::try_new(exprs, projection.input.clone())?))
}

pub fn unsupported(what: &str) -> DataFusionError {
    DataFusionError::External(Box::new(SqlError::unsupported(what)))
}

pub fn filtered(plan: LogicalPlan, conditions: Vec<Expr>) -> Result<LogicalPlan> {
    match conjunction(conditions) {
        Some(condition) => Ok(LogicalPlan::Filter(Filter::try_new(condition, Arc::new(plan))?)),
        None => Ok(plan),
    }
}

/// A condition of a filter, where `CASE WHEN a THEN true WHEN b THEN NULL ELSE false END` is as good as `a`.
fn known(condition: Expr) -> Expr {
    let Expr::Case(case) = &condition else { return condition };
    let is = |expr: &Expr, value: Option<bool>| match expr {
        Expr::Literal(literal, _) => match value {
            Some(_) => *literal == datafusion::common::ScalarValue::Boolean(value),
            None => literal.is_null(),
        },
        _ => false,
    };
    match (case.expr.as_ref(), case.when_then_expr.as_slice(), case.else_expr.as_deref()) {
        (None, [(first, yes), (_, unknown)], Some(otherwise))
            if is(yes, Some(true)) && is(unknown, None) && is(otherwise, Some(false)) =>
        {
            first.as_ref().clone()
        }
        _ => condition,
    }
}

/// The first columns of a plan under the names that they had.
pub fn restored(plan: LogicalPlan, schema: &DFSchema) -> Result<LogicalPlan> {
    let columns = plan.schema().columns();
    let same = |at: usize| {
        let (qualifier, field) = schema.qualified_field(at);
        columns[at].relation.as_ref() == qualifier && columns[at].name == *field.name()
    };
    let width = schema.fields().len();
    if columns.len() == width && (0..width).all(same) {
        return Ok(plan);
    }
    let exprs = (0..width).map(|at| {
        let (qualifier, field) = schema.qualified_field(at);
        let column: Column = columns[at].clone();
        match same(at) {
            true => Expr::Column(column),
            false => Expr::Column(column).alias_qualified(qualifier.cloned(), field.name()),
        }
    });
    Ok(LogicalPlan::Projection(Projection::try_new(exprs.collect(), Arc::new(plan))?))
}
