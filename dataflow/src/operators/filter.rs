//! Filter: the rows for which a predicate is true. Linear, without state; a retraction passes if its row did.

use super::expression::evaluate_where_possible;
use crate::operator::{Operator, Output};
use arrow::array::AsArray;
use millrace_ir::Expr;
use millrace_types::{Delta, Result, SqlError, Tick};

/// Passes the rows for which its predicate is true, neither false nor NULL.
pub struct Filter {
    predicate: [Expr; 1],
}

impl Filter {
    /// `predicate`: a boolean expression over the input's columns.
    pub fn new(predicate: Expr) -> Filter {
        Filter { predicate: [predicate] }
    }
}

impl Operator for Filter {
    fn on_batch(&mut self, _port: usize, delta: Delta, out: &mut Output) -> Result<()> {
        let (delta, values) = evaluate_where_possible(&self.predicate, delta, out)?;
        let keep = values[0].as_boolean_opt().ok_or_else(|| SqlError::internal("a filter that is not boolean"))?;
        if keep.true_count() > 0 {
            out.push(delta.filter(keep)?);
        }
        Ok(())
    }

    fn on_tick(&mut self, _tick: Tick, _out: &mut Output) -> Result<()> {
        Ok(())
    }
}
