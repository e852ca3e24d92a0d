//! The CHECKs of a table, compiled once for as long as its definition holds.

use super::expression::bind_check;
use crate::catalog::{Catalog, Relation};
use crate::error::sql_error;
use crate::functions::FunctionSource;
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::DataType;
use datafusion::physical_expr::PhysicalExpr;
use millrace_types::Result;
use std::sync::Arc;

/// The CHECKs of a table.
#[derive(Clone, Debug)]
pub struct Checks(Vec<(String, Arc<dyn PhysicalExpr>)>);

impl Checks {
    /// Binds and compiles the CHECKs of a relation.
    ///
    /// # Errors
    /// As [`bind_check`].
    pub fn of(relation: &Relation, catalog: &dyn Catalog, functions: &FunctionSource) -> Result<Checks> {
        // In the order of their names, as PostgreSQL has it.
        let mut sorted: Vec<_> = relation.checks.iter().collect();
        sorted.sort();
        let mut checks = vec![];
        for (name, text) in sorted {
            let check = bind_check(text, &relation.name, &relation.schema, catalog, functions)?;
            checks.extend(check.physical(&[])?.into_iter().map(|expression| (name.clone(), expression)));
        }
        Ok(Checks(checks))
    }

    /// The first CHECK that some row violates, and the first such row.
    ///
    /// # Errors
    /// Those of computing the expressions.
    pub fn violated(&self, rows: &RecordBatch) -> Result<Option<(&str, usize)>> {
        for (name, expression) in &self.0 {
            let outcome =
                expression.evaluate(rows).and_then(|value| value.into_array(rows.num_rows())).map_err(sql_error)?;
            let outcome = arrow::compute::cast(&outcome, &DataType::Boolean)?;
            let outcome = outcome.as_boolean();
            if let Some(row) = (0..rows.num_rows()).find(|row| outcome.is_valid(*row) && !outcome.value(*row)) {
                return Ok(Some((name, row)));
            }
        }
        Ok(None)
    }
}
