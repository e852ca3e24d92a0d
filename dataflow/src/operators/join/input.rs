//! The rows of an input of a join, of its own or borrowed.

use crate::operator::{StateReader, StateSize, StateWriter};
use crate::state::{Arrangement, Borrowed, Source};
use arrow::datatypes::SchemaRef;
use millrace_types::{Delta, KeyGroupRange, Result};

/// All that has arrived at an input, by the join's key.
pub struct Input {
    rows: Rows,
    key: Vec<usize>,
    all: Vec<usize>,
}

enum Rows {
    Own(Arrangement),
    Borrowed(Borrowed),
}

impl Input {
    /// No rows yet; those of a relation that are `borrowed` are there as soon as they are lent.
    pub fn new(schema: SchemaRef, key: Vec<usize>, borrowed: Option<Borrowed>) -> Input {
        let all = (0..schema.fields().len()).collect();
        let rows = borrowed.map_or_else(|| Rows::Own(Arrangement::new(schema, key.clone())), Rows::Borrowed);
        Input { rows, key, all }
    }

    /// The columns of the input that are its key.
    pub fn key(&self) -> &[usize] {
        &self.key
    }

    pub fn append(&mut self, delta: &Delta) -> Result<()> {
        match &mut self.rows {
            Rows::Own(rows) => rows.append(delta),
            Rows::Borrowed(rows) => rows.append(delta),
        }
    }

    /// Calls `read` with all rows, in one or two parts.
    pub fn read(&self, mut read: impl FnMut(Source<'_>) -> Result<()>) -> Result<()> {
        match &self.rows {
            Rows::Own(rows) => read(Source { runs: &rows.freeze(), key: &self.key, columns: &self.all }),
            Rows::Borrowed(rows) => rows.read(read),
        }
    }

    /// Borrowed rows are in the snapshot of the relation.
    pub fn snapshot(&self, section: &str, to: &mut dyn StateWriter) -> Result<()> {
        match &self.rows {
            Rows::Own(rows) => rows.snapshot(section, to),
            Rows::Borrowed(_) => Ok(()),
        }
    }

    pub fn restore(&mut self, section: &str, from: &mut dyn StateReader, groups: &KeyGroupRange) -> Result<()> {
        match &mut self.rows {
            Rows::Own(rows) => rows.restore(section, from, groups),
            Rows::Borrowed(_) => Ok(()),
        }
    }

    /// How much it keeps itself.
    pub fn size(&self) -> StateSize {
        match &self.rows {
            Rows::Own(rows) => rows.size(),
            Rows::Borrowed(rows) => rows.size(),
        }
    }
}
