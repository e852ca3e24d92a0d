//! Rows of a system relation while they are put together, by column name.

use super::cell::{Cell, to_array};
use super::shape::Shape;
use arrow::record_batch::RecordBatch;
use millrace_types::{Result, SqlError};

/// The rows of one relation, column by column.
pub struct Rows {
    shape: &'static Shape,
    columns: Vec<Vec<Cell>>,
    length: usize,
    unknown: Option<&'static str>,
}

impl Rows {
    /// No rows yet.
    pub fn new(shape: &'static Shape) -> Rows {
        Rows { shape, columns: vec![Vec::new(); shape.columns.len()], length: 0, unknown: None }
    }

    /// Adds a row; columns that it does not name hold [`Cell::Default`].
    pub fn push<const N: usize>(&mut self, row: [(&'static str, Cell); N]) {
        self.length += 1;
        for (name, cell) in row {
            match self.shape.columns.iter().position(|(column, _)| *column == name) {
                Some(index) => self.columns[index].push(cell),
                None => self.unknown = Some(name),
            }
        }
        for column in &mut self.columns {
            column.resize(self.length, Cell::Default);
        }
    }

    /// The rows as a batch. Fails with XX000 when a row named a column that is not there, or held a wrong type.
    pub fn finish(self) -> Result<RecordBatch> {
        if let Some(name) = self.unknown {
            return Err(SqlError::internal(format!("system relation {} has no column {name}", self.shape.name)));
        }
        let arrays = self
            .columns
            .iter()
            .zip(&self.shape.columns)
            .map(|(cells, (_, sql_type))| to_array(sql_type, cells))
            .collect::<Result<Vec<_>>>()?;
        Ok(RecordBatch::try_new(self.shape.fields.clone(), arrays)?)
    }
}
