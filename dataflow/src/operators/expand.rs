//! Expand: each row once for each of several projections, as grouping sets need it. Linear and stateless: a retraction
//! retracts all of them.

use super::Project;
use crate::operator::{Operator, Output};
use arrow::datatypes::SchemaRef;
use millrace_ir::Expr;
use millrace_types::{Delta, Result, Tick};

/// Several projections of the same rows.
pub struct Expand(Vec<Project>);

impl Expand {
    /// One row for each of `sets`, all of which give the columns of `schema`.
    pub fn new(sets: &[Vec<Expr>], schema: &SchemaRef) -> Expand {
        Expand(sets.iter().map(|exprs| Project::new(exprs.clone(), schema.clone())).collect())
    }
}

impl Operator for Expand {
    fn on_batch(&mut self, port: usize, delta: Delta, out: &mut Output) -> Result<()> {
        self.0.iter_mut().try_for_each(|project| project.on_batch(port, delta.clone(), out))
    }

    fn on_tick(&mut self, tick: Tick, out: &mut Output) -> Result<()> {
        self.0.iter_mut().try_for_each(|project| project.on_tick(tick, out))
    }
}
