//! The generated columns of a table, compiled once for as long as its definition holds.

use super::expression::bind_generated;
use crate::catalog::{Catalog, Generated, Relation};
use crate::error::sql_error;
use crate::functions::FunctionSource;
use arrow::array::RecordBatch;
use datafusion::physical_expr::PhysicalExpr;
use millrace_types::Result;
use std::sync::Arc;

/// The columns whose values are expressions over the others.
#[derive(Clone, Debug)]
pub struct GeneratedColumns(Vec<(usize, Arc<dyn PhysicalExpr>)>);

impl GeneratedColumns {
    /// Binds and compiles the expressions of a relation.
    ///
    /// # Errors
    /// As [`bind_generated`].
    pub fn of(relation: &Relation, catalog: &dyn Catalog, functions: &FunctionSource) -> Result<GeneratedColumns> {
        let mut columns = vec![];
        for (index, generated) in relation.generated.iter().enumerate() {
            let Some(Generated::Stored(text)) = generated else { continue };
            let field = relation.schema.field(index);
            let value = bind_generated(text, field, &relation.name, &relation.schema, catalog, functions)?;
            columns.extend(value.physical(&[])?.into_iter().map(|expression| (index, expression)));
        }
        Ok(GeneratedColumns(columns))
    }

    /// Rows with the values of the generated columns.
    ///
    /// # Errors
    /// Those of computing the expressions.
    pub fn fill(&self, rows: RecordBatch) -> Result<RecordBatch> {
        if self.0.is_empty() {
            return Ok(rows);
        }
        let mut columns = rows.columns().to_vec();
        for (index, expression) in &self.0 {
            let value = expression.evaluate(&rows).and_then(|value| value.into_array(rows.num_rows()));
            columns[*index] = arrow::compute::cast(&value.map_err(sql_error)?, columns[*index].data_type())?;
        }
        Ok(RecordBatch::try_new(rows.schema(), columns)?)
    }
}
