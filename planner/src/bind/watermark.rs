//! The expression of `WATERMARK FOR column AS expression`, compiled once for as long as its definition holds.

use super::expression::bind_generated;
use crate::catalog::Catalog;
use crate::error::sql_error;
use crate::functions::FunctionSource;
use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, new_null_array};
use arrow::datatypes::{DataType, Int64Type, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::utils::collect_columns;
use millrace_types::{Result, SqlError, SqlState, SqlType, sql_type_of};
use std::sync::Arc;

/// Of each row of a relation, how far time has come with it.
#[derive(Clone, Debug)]
pub struct WatermarkExpression {
    expression: Arc<dyn PhysicalExpr>,
    columns: Vec<usize>,
}

impl WatermarkExpression {
    /// Binds and compiles the expression for the event time in the column at `time`.
    ///
    /// # Errors
    /// `42804` when the column is no timestamp or the expression is of another type; `42P17` for functions whose value
    /// changes by itself; as [`bind_check`](super::bind_check).
    pub fn bind(
        text: &str,
        time: usize,
        relation: &str,
        columns: &SchemaRef,
        catalog: &dyn Catalog,
        functions: &FunctionSource,
    ) -> Result<WatermarkExpression> {
        let field = columns.field(time);
        let sql_type = sql_type_of(field);
        if !matches!(sql_type, SqlType::Timestamp | SqlType::Timestamptz) {
            let message = format!("the time column \"{}\" of a watermark is of type {sql_type}", field.name());
            return Err(SqlError::new(SqlState::DATATYPE_MISMATCH, message)
                .with_hint("It must be a timestamp with or without time zone."));
        }
        let expressions = bind_generated(text, field, relation, columns, catalog, functions)?;
        if let Some(name) = expressions.changing_function() {
            let message = format!("the function {name}() is not allowed in the expression of a watermark");
            return Err(SqlError::new(SqlState::INVALID_OBJECT_DEFINITION, message)
                .with_hint("How far time has come must follow from the row alone."));
        }
        let expression = expressions.physical(&[])?.pop();
        let expression = expression.ok_or_else(|| SqlError::internal("an expression was bound"))?;
        let mut columns: Vec<usize> = collect_columns(&expression).iter().map(Column::index).collect();
        columns.sort_unstable();
        Ok(WatermarkExpression { expression, columns })
    }

    /// The columns of the relation that it reads.
    pub fn columns(&self) -> &[usize] {
        &self.columns
    }

    /// The expression over batches that hold only some columns of the relation.
    ///
    /// # Errors
    /// `XX000` when one that it reads is not among them.
    pub fn over(&self, held: &[usize]) -> Result<WatermarkExpression> {
        let expression = self.expression.clone().transform_up(|expr| {
            let Some(column) = expr.downcast_ref::<Column>() else { return Ok(Transformed::no(expr)) };
            let place = held.iter().position(|held| *held == column.index());
            let place = place.ok_or_else(|| {
                datafusion::common::DataFusionError::Internal("a watermark lacks a column".to_owned())
            })?;
            Ok(Transformed::yes(Arc::new(Column::new(column.name(), place)) as Arc<dyn PhysicalExpr>))
        });
        let expression = expression.map_err(sql_error)?.data;
        Ok(WatermarkExpression { expression, columns: self.columns.clone() })
    }

    /// How far time has come with each row, in microseconds. A row on which the expression fails says nothing.
    pub fn times(&self, rows: &RecordBatch) -> Int64Array {
        self.evaluate(rows).unwrap_or_else(|_| {
            let each = (0..rows.num_rows()).map(|row| {
                let time = self.evaluate(&rows.slice(row, 1)).ok()?;
                time.iter().next().flatten()
            });
            each.collect()
        })
    }

    fn evaluate(&self, rows: &RecordBatch) -> Result<Int64Array> {
        let value = self.expression.evaluate(rows).and_then(|value| value.into_array(rows.num_rows()));
        micros(&value.map_err(sql_error)?)
    }
}

/// Timestamps as microseconds.
pub fn micros(times: &ArrayRef) -> Result<Int64Array> {
    if *times.data_type() == DataType::Null {
        return Ok(new_null_array(&DataType::Int64, times.len()).as_primitive::<Int64Type>().clone());
    }
    Ok(arrow::compute::cast(times, &DataType::Int64)?.as_primitive::<Int64Type>().clone())
}
