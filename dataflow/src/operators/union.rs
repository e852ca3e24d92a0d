//! Union: all rows of all inputs. Linear, without state; a retraction passes.

use crate::operator::{Operator, Output};
use crate::state::batch_of;
use arrow::datatypes::SchemaRef;
use millrace_types::{Delta, Result, Tick};

/// Passes the rows of every port, under one schema.
pub struct Union {
    schema: SchemaRef,
}

impl Union {
    /// `schema`: that of the output; the inputs' columns may have other names.
    pub fn new(schema: SchemaRef) -> Union {
        Union { schema }
    }
}

impl Operator for Union {
    fn on_batch(&mut self, _port: usize, delta: Delta, out: &mut Output) -> Result<()> {
        let delta = match delta.schema() == self.schema {
            true => delta,
            false => delta.with_rows(batch_of(&self.schema, delta.rows().columns().to_vec(), delta.len())?),
        };
        out.push(delta);
        Ok(())
    }

    fn on_tick(&mut self, _tick: Tick, _out: &mut Output) -> Result<()> {
        Ok(())
    }
}
