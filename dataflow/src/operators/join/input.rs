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
    pub fn new(schema: SchemaRef, key: Vec<usize>, append_only: bool, borrowed: Option<Borrowed>) -> Input {
        let all = (0..schema.fields().len()).collect();
        let own = || Rows::Own(Arrangement::sharing(schema, key.clone(), append_only));
        let rows = borrowed.map_or_else(own, Rows::Borrowed);
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

/// The rows of two inputs that are the same relation by the same key: kept once, and lent to both as of the tick before.
pub struct Shared {
    rows: Arrangement,
    lent: [Borrowed; 2],
    /// What the open tick changes.
    open: Vec<Delta>,
}

impl Shared {
    /// No rows yet; the second value is what the inputs borrow.
    pub fn new(schema: &SchemaRef, key: &[usize], append_only: bool) -> (Shared, [Option<Borrowed>; 2]) {
        let all = || (0..schema.fields().len()).collect();
        let lent = [0, 1].map(|_| Borrowed::new(all(), schema.clone(), key.to_vec()));
        let borrowed = lent.clone().map(Some);
        let rows = Arrangement::sharing(schema.clone(), key.to_vec(), append_only);
        (Shared { rows, lent, open: Vec::new() }, borrowed)
    }

    /// Notes changes of one of the inputs, which are those of the other, too.
    pub fn note(&mut self, delta: &Delta) {
        self.open.push(delta.clone());
    }

    /// Ends the tick: lends both inputs what they have seen.
    pub fn end_tick(&mut self) -> Result<()> {
        if !self.open.is_empty() {
            self.rows.append_all(&std::mem::take(&mut self.open))?;
            self.lend();
        }
        Ok(())
    }

    fn lend(&self) {
        let runs = self.rows.freeze();
        self.lent.iter().for_each(|borrowed| borrowed.lend(runs.clone()));
    }

    pub fn snapshot(&self, section: &str, to: &mut dyn StateWriter) -> Result<()> {
        self.rows.snapshot(section, to)
    }

    pub fn restore(&mut self, section: &str, from: &mut dyn StateReader, groups: &KeyGroupRange) -> Result<()> {
        self.rows.restore(section, from, groups)?;
        self.lend();
        Ok(())
    }

    pub fn size(&self) -> StateSize {
        self.rows.size()
    }
}
