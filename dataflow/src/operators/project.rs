//! Project: one expression per output column. Linear, without state; a retraction gives the retraction of the same row.

use super::expression::evaluate_where_possible;
use crate::operator::{Operator, Output};
use crate::state::batch_of;
use arrow::datatypes::SchemaRef;
use millrace_ir::Expr;
use millrace_types::{Delta, Result, Tick};

/// Computes its output columns from each row.
pub struct Project {
    exprs: Vec<Expr>,
    schema: SchemaRef,
}

impl Project {
    /// `exprs`: one for each column of the output's `schema`, over the input's columns.
    pub fn new(exprs: Vec<Expr>, schema: SchemaRef) -> Project {
        Project { exprs, schema }
    }
}

impl Operator for Project {
    fn on_batch(&mut self, _port: usize, delta: Delta, out: &mut Output) -> Result<()> {
        let (delta, columns) = evaluate_where_possible(&self.exprs, delta, out)?;
        out.push(delta.with_rows(batch_of(&self.schema, columns, delta.len())?));
        Ok(())
    }

    fn on_tick(&mut self, _tick: Tick, _out: &mut Output) -> Result<()> {
        Ok(())
    }
}
