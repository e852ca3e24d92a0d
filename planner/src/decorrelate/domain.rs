//! The different values of the outer columns that a subquery names.

use super::Names;
use super::dependent::{Condition, Dependent};
use super::outer;
use datafusion::common::{Column, Result};
use datafusion::logical_expr::{Distinct, Expr, LogicalPlan, LogicalPlanBuilder, Projection};
use std::sync::Arc;

/// Values of outer columns, once each.
pub struct Domain {
    rows: Arc<LogicalPlan>,
    /// The outer columns, in the order of the plan's.
    columns: Vec<Expr>,
}

impl Domain {
    /// The values of the outer columns that a subquery names, in the outer rows.
    pub fn of(subquery: &LogicalPlan, rows: &LogicalPlan, names: &mut Names) -> Result<Domain> {
        let columns = outer::references(subquery, rows.schema())?;
        let relation = names.relation();
        let mut exprs = vec![];
        let mut outer_columns = vec![];
        for (at, column) in columns.iter().enumerate() {
            let Some(place) = outer::place(column, rows.schema()) else { continue };
            let (qualifier, field) = rows.schema().qualified_field(place);
            let value = Expr::Column(Column::from((qualifier, field)));
            exprs.push(value.alias_qualified(Some(relation.clone()), format!("d{at}")));
            outer_columns.push(Expr::OuterReferenceColumn(field.clone(), column.clone()));
        }
        let values = LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(rows.clone()))?);
        let rows = Arc::new(LogicalPlan::Distinct(Distinct::All(Arc::new(values))));
        Ok(Domain { rows, columns: outer_columns })
    }

    /// The outer rows themselves.
    pub fn rows(rows: LogicalPlan) -> Domain {
        let columns = rows
            .schema()
            .iter()
            .map(|(qualifier, field)| Expr::OuterReferenceColumn(field.clone(), Column::from((qualifier, field))));
        Domain { columns: columns.collect(), rows: Arc::new(rows) }
    }

    /// The domain's rows under a name of their own, with what they are the values of.
    pub fn instance(&self, names: &mut Names) -> Result<Dependent> {
        let relation = names.relation();
        let columns = self.rows.schema().columns();
        let name = |at: usize| format!("d{at}");
        let exprs = columns.iter().enumerate();
        let exprs =
            exprs.map(|(at, column)| Expr::Column(column.clone()).alias_qualified(Some(relation.clone()), name(at)));
        let plan = LogicalPlan::Projection(Projection::try_new(exprs.collect(), self.rows.clone())?);
        let same = self.columns.iter().enumerate().map(|(at, outer)| Condition::Same {
            inner: Expr::Column(Column::new(Some(relation.clone()), name(at))),
            outer: outer.clone(),
        });
        Ok(Dependent { outputs: vec![], conditions: same.collect(), empty: None, single: true, unique: None, plan })
    }

    /// Rows that are the same for all outer rows, for each row of the domain.
    pub fn crossed(&self, rows: Dependent, names: &mut Names) -> Result<Dependent> {
        let single = rows.single;
        let instance = self.instance(names)?;
        let is_one_row = matches!(&rows.plan, LogicalPlan::EmptyRelation(empty) if empty.produce_one_row);
        let (plan, outputs) = match is_one_row {
            true => (instance.plan, rows.outputs),
            // The domain's columns have names of their own, so that what is over those of the rows stays.
            false => (LogicalPlanBuilder::from(instance.plan).cross_join(rows.plan)?.build()?, rows.outputs),
        };
        Ok(Dependent { plan, outputs, conditions: instance.conditions, empty: None, single, unique: None })
    }
}
