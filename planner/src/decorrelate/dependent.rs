//! The rows of a subquery for all outer rows at once.

use super::Names;
use super::outer;
use datafusion::common::metadata::FieldMetadata;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, NullEquality, Result, ScalarValue};
use datafusion::logical_expr::expr::Case;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, ExprSchemable, Join, JoinConstraint, JoinType, LogicalPlan, Projection, lit};
use millrace_functions::casts::settled;
use std::sync::Arc;

/// What relates a row of a subquery to the outer rows that it is for. `inner` is over the subquery's plan, `outer` over
/// outer columns alone.
#[derive(Clone, Debug)]
pub enum Condition {
    /// They are equal; NULL equals nothing.
    Equal { inner: Expr, outer: Expr },
    /// They are not distinct.
    Same { inner: Expr, outer: Expr },
    /// Any condition over columns of both.
    Other(Expr),
}

impl Condition {
    /// The condition with its parts over the subquery's plan changed.
    fn map(self, change: impl Fn(Expr) -> Result<Expr>) -> Result<Condition> {
        Ok(match self {
            Condition::Equal { inner, outer } => Condition::Equal { inner: change(inner)?, outer },
            Condition::Same { inner, outer } => Condition::Same { inner: change(inner)?, outer },
            Condition::Other(expr) => Condition::Other(change(expr)?),
        })
    }

    fn over_plan(&self) -> &Expr {
        match self {
            Condition::Equal { inner, .. } | Condition::Same { inner, .. } | Condition::Other(inner) => inner,
        }
    }

    /// The part that groups the subquery's rows by the outer rows that they are for, if it does.
    pub fn key(&self) -> Option<&Expr> {
        match self {
            Condition::Equal { inner, .. } | Condition::Same { inner, .. } => Some(inner),
            Condition::Other(_) => None,
        }
    }
}

/// A subquery freed of its outer columns: for an outer row, its rows are those of `plan` that meet all `conditions`.
#[derive(Clone, Debug)]
pub struct Dependent {
    pub plan: LogicalPlan,
    /// The values of the subquery's columns, over columns of `plan` and outer columns.
    pub outputs: Vec<Expr>,
    pub conditions: Vec<Condition>,
    /// The values of the only row for an outer row for which `plan` has none: a global aggregate of no rows.
    pub empty: Option<Vec<Expr>>,
    /// Whether there is at most one row for each outer row.
    pub single: bool,
    /// Values of which no two rows of `plan` agree, if some are known.
    pub unique: Option<Vec<Expr>>,
}

impl Dependent {
    /// A plan without outer columns.
    pub fn independent(plan: LogicalPlan) -> Dependent {
        Dependent {
            outputs: plan.schema().columns().into_iter().map(Expr::Column).collect(),
            single: plan.max_rows().is_some_and(|rows| rows <= 1),
            unique: super::unique::unique(&plan).map(|key| key.into_iter().map(Expr::Column).collect()),
            conditions: vec![],
            empty: None,
            plan,
        }
    }

    /// An expression over the subquery's columns, which are named by `schema`, as one over the plan.
    pub fn value(&self, expr: Expr, schema: &DFSchema) -> Result<Expr> {
        over(expr, schema, &self.outputs)
    }

    /// The parts of the conditions that group rows; `None` when one does not.
    pub fn keys(&self) -> Option<Vec<Expr>> {
        self.conditions.iter().map(|condition| condition.key().cloned()).collect()
    }

    /// The same with every value of the plan that is still needed as a column of a name of its own. The names of the
    /// plan's columns may be those of other parts of the query.
    pub fn named(self, names: &mut Names) -> Result<Dependent> {
        let mut needed: Vec<Column> = vec![];
        let unique = self.unique.iter().flatten();
        for expr in self.outputs.iter().chain(self.conditions.iter().map(Condition::over_plan)).chain(unique) {
            expr.apply(|expr| {
                if let Expr::Column(column) = expr
                    && !needed.contains(column)
                {
                    needed.push(column.clone());
                }
                Ok(TreeNodeRecursion::Continue)
            })?;
        }
        let relation = names.relation();
        let mut exprs: Vec<Expr> = needed
            .iter()
            .enumerate()
            .map(|(at, column)| Expr::Column(column.clone()).alias_qualified(Some(relation.clone()), format!("c{at}")))
            .collect();
        if exprs.is_empty() {
            exprs.push(lit(true).alias_qualified(Some(relation.clone()), "row"));
        }
        let change = |expr: Expr| {
            expr.transform_up(|expr| match &expr {
                Expr::Column(column) => match needed.iter().position(|known| known == column) {
                    Some(at) => {
                        Ok(Transformed::yes(Expr::Column(Column::new(Some(relation.clone()), format!("c{at}")))))
                    }
                    None => Ok(Transformed::no(expr)),
                },
                _ => Ok(Transformed::no(expr)),
            })
            .map(|changed| changed.data)
        };
        Ok(Dependent {
            outputs: self.outputs.into_iter().map(change).collect::<Result<_>>()?,
            conditions: self.conditions.into_iter().map(|one| one.map(change)).collect::<Result<_>>()?,
            unique: self.unique.map(|key| key.into_iter().map(change).collect::<Result<_>>()).transpose()?,
            empty: self.empty,
            single: self.single,
            plan: LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(self.plan))?),
        })
    }

    /// The same with each output as a column of the plan, which an operator above can name. Outputs must be free of
    /// outer columns.
    pub fn computed(self, names: &mut Names) -> Result<Dependent> {
        let relation = names.relation();
        let mut exprs: Vec<Expr> = vec![];
        let mut column = |value: Expr| {
            let name = format!("c{}", exprs.len());
            exprs.push(value.alias_qualified(Some(relation.clone()), &name));
            Expr::Column(Column::new(Some(relation.clone()), name))
        };
        let outputs: Vec<Expr> = self.outputs.into_iter().map(&mut column).collect();
        let mut conditions = vec![];
        for condition in self.conditions {
            conditions.push(match condition {
                Condition::Equal { inner, outer } => Condition::Equal { inner: column(inner), outer },
                Condition::Same { inner, outer } => Condition::Same { inner: column(inner), outer },
                Condition::Other(expr) => {
                    let columns = expr.transform_up(|expr| match expr {
                        Expr::Column(_) => Ok(Transformed::yes(column(expr))),
                        other => Ok(Transformed::no(other)),
                    })?;
                    Condition::Other(columns.data)
                }
            });
        }
        if exprs.is_empty() {
            exprs.push(lit(true).alias_qualified(Some(relation), "row"));
        }
        let plan = LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(self.plan))?);
        Ok(Dependent { plan, outputs, conditions, unique: None, ..self })
    }

    /// The same with a column that is true in every row, so that it is NULL where a left join finds none.
    pub fn marked(mut self, names: &mut Names) -> Result<(Dependent, Expr)> {
        let relation = names.relation();
        let mut exprs: Vec<Expr> = self.plan.schema().columns().into_iter().map(Expr::Column).collect();
        exprs.push(lit(true).alias_qualified(Some(relation.clone()), "there"));
        self.plan = LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(self.plan))?);
        Ok((self, Expr::Column(Column::new(Some(relation), "there"))))
    }
}

/// An expression over columns named by `schema` with each replaced by its value.
pub fn over(expr: Expr, schema: &DFSchema, values: &[Expr]) -> Result<Expr> {
    expr.transform_up(|expr| match &expr {
        Expr::Column(column) => match schema.maybe_index_of_column(column) {
            Some(at) => Ok(Transformed::yes(values[at].clone())),
            None => Ok(Transformed::no(expr)),
        },
        _ => Ok(Transformed::no(expr)),
    })
    .map(|changed| changed.data)
}

/// The join of outer rows with the rows of a subquery that are for them, and that meet `also`. The names of the
/// subquery's columns must be its own.
pub fn joined(
    rows: LogicalPlan,
    subquery: LogicalPlan,
    conditions: &[Condition],
    also: Vec<Expr>,
    kind: JoinType,
) -> Result<LogicalPlan> {
    let schema = rows.schema().clone();
    let mut filters = also;
    let mut keys = vec![];
    for condition in conditions {
        match condition {
            Condition::Other(expr) => filters.push(outer::within(expr.clone(), &schema)?),
            Condition::Equal { inner, outer } => keys.push((outer::within(outer.clone(), &schema)?, inner.clone())),
            Condition::Same { inner, outer } => {
                let outer = outer::within(outer.clone(), &schema)?;
                match outer.nullable(&schema)? && inner.nullable(subquery.schema())? {
                    true => keys.extend(not_distinct(outer, inner.clone(), &schema)?),
                    false => keys.push((outer, inner.clone())),
                }
            }
        }
    }
    // What an outer query is to resolve is no key of this join.
    let (on, constants): (Vec<_>, Vec<_>) =
        keys.into_iter().partition(|(outer, inner)| outer.any_column_refs() && inner.any_column_refs());
    filters.extend(constants.into_iter().map(|(outer, inner)| outer.eq(inner)));
    let (rows, subquery, filter) = (Arc::new(rows), Arc::new(subquery), conjunction(filters));
    let nulls = NullEquality::NullEqualsNothing;
    Ok(LogicalPlan::Join(Join::try_new(rows, subquery, on, filter, kind, JoinConstraint::On, nulls, false)?))
}

/// `a IS NOT DISTINCT FROM b` as two equalities, of whether they are NULL and of what they are otherwise. A join can
/// also be told that its NULLs are equal, but it would say so of every equality that a rule adds to its keys.
fn not_distinct(outer: Expr, inner: Expr, schema: &DFSchema) -> Result<[(Expr, Expr); 2]> {
    let (_, field) = outer.to_field(schema)?;
    let default = ScalarValue::new_default(field.data_type())?;
    // It says its type, lest it be taken for a constant that is still to be read as one.
    let metadata = match field.metadata().is_empty() {
        true => settled(&default),
        false => Some(FieldMetadata::from(field.as_ref())),
    };
    let known = |expr: Expr| {
        let arm = (Box::new(expr.clone().is_null()), Box::new(Expr::Literal(default.clone(), metadata.clone())));
        Expr::Case(Case::new(None, vec![arm], Some(Box::new(expr))))
    };
    let nulls = (outer.clone().is_null(), inner.clone().is_null());
    Ok([nulls, (known(outer), known(inner))])
}
