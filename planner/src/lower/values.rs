//! Rows that stand in the query.

use super::expression::Lowering;
use crate::error::sql_error;
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::concat;
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::DFSchema;
use datafusion::logical_expr::{EmptyRelation, Values};
use millrace_ir::{Node, Plan};
use millrace_types::Result;
use std::sync::Arc;

impl Lowering {
    pub fn values(&self, values: &Values) -> Result<Node> {
        let schema: SchemaRef = Arc::new(values.schema.as_arrow().clone());
        let one_row = rows_without_columns(1)?;
        let mut columns = vec![];
        for index in 0..schema.fields().len() {
            let cells = values.values.iter().map(|row| {
                let cell = self.expression(&row[index], &DFSchema::empty())?;
                cell.evaluate(&one_row).and_then(|value| value.into_array(1)).map_err(sql_error)
            });
            let cells = cells.collect::<Result<Vec<ArrayRef>>>()?;
            let cells: Vec<_> = cells.iter().map(AsRef::as_ref).collect();
            columns.push(concat(&cells)?);
        }
        Ok(known(RecordBatch::try_new(schema, columns)?))
    }
}

/// No rows, or one without columns: `SELECT 1` is a projection of the latter.
pub fn empty(empty: &EmptyRelation) -> Result<Node> {
    match empty.produce_one_row {
        true => Ok(known(rows_without_columns(1)?)),
        false => Ok(known(RecordBatch::new_empty(Arc::new(empty.schema.as_arrow().clone())))),
    }
}

fn rows_without_columns(count: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(count));
    Ok(RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options)?)
}

fn known(rows: RecordBatch) -> Node {
    Node {
        schema: rows.schema(),
        append_only: true,
        partitioned_by: None,
        unique_key: None,
        event_time: None,
        plan: Plan::Values { rows },
    }
}
