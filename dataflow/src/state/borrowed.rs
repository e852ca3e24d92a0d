//! The rows of a relation that its read model keeps by the key that somebody else needs them by.
//!
//! A join by the key of a table, or of a view by its groups, needs that relation arranged as its read model is: on the
//! same workers, in the same order. It borrows the runs instead of keeping its own. What it borrows is the relation as
//! of the tick before; what the open tick changes arrives as to any other reader, and is kept here until the relation
//! itself has it and lends its runs anew.
//!
//! If that never happens, since the relation was replaced by one with another key, the rows lent last and all that
//! arrived since are still the relation.

use super::arrangement::Arrangement;
use super::run::Run;
use crate::operator::StateSize;
use arrow::datatypes::SchemaRef;
use millrace_types::{Delta, Result};
use parking_lot::Mutex;
use std::sync::Arc;

/// A borrowed arrangement: whoever holds a clone of it, lender or borrower, sees the same rows.
#[derive(Clone)]
pub struct Borrowed(Arc<Mutex<Contents>>);

struct Contents {
    lent: Arc<[Arc<Run>]>,
    /// The columns of the lent rows that are their key.
    lent_key: Vec<usize>,
    /// The columns of the lent rows that the borrower reads, in its order.
    columns: Vec<usize>,
    /// What has arrived since, with the columns that the borrower reads.
    arrived: Arrangement,
    all: Vec<usize>,
}

/// Runs of one shape.
pub struct Source<'a> {
    pub runs: &'a [Arc<Run>],
    /// The columns whose hash orders the runs.
    pub key: &'a [usize],
    /// The columns to be read, in order.
    pub columns: &'a [usize],
}

impl Borrowed {
    /// Nothing yet. `columns`: those of the relation that are read; `schema` and `key`: how the borrower knows them.
    pub fn new(columns: Vec<usize>, schema: SchemaRef, key: Vec<usize>) -> Borrowed {
        Borrowed(Arc::new(Mutex::new(Contents {
            lent: Arc::default(),
            lent_key: key.iter().map(|&key| columns[key]).collect(),
            all: (0..columns.len()).collect(),
            columns,
            arrived: Arrangement::new(schema, key),
        })))
    }

    /// The columns of the relation that must be the key of its read model, in this order.
    pub fn relation_key(&self) -> Vec<usize> {
        self.0.lock().lent_key.clone()
    }

    /// Lends the rows of the relation as of now, with everything that has arrived.
    pub fn lend(&self, runs: Arc<[Arc<Run>]>) {
        let contents = &mut *self.0.lock();
        contents.lent = runs;
        let (schema, key) = (contents.arrived.schema().clone(), contents.arrived.key().to_vec());
        contents.arrived = Arrangement::new(schema, key);
    }

    /// Changes of the relation that the rows lent do not have yet.
    pub fn append(&self, delta: &Delta) -> Result<()> {
        self.0.lock().arrived.append(delta)
    }

    /// Calls `read` with the rows lent, then with those that arrived since.
    pub fn read(&self, mut read: impl FnMut(Source<'_>) -> Result<()>) -> Result<()> {
        let contents = self.0.lock();
        read(Source { runs: &contents.lent, key: &contents.lent_key, columns: &contents.columns })?;
        let arrived = contents.arrived.freeze();
        read(Source { runs: &arrived, key: contents.arrived.key(), columns: &contents.all })
    }

    /// How much it keeps itself.
    pub fn size(&self) -> StateSize {
        self.0.lock().arrived.size()
    }
}
