//! What one statement sees.

use crate::coordinator::{Published, Reads, Writes};
use arrow::array::{ArrayRef, RecordBatch};
use datafusion::catalog::Session;
use datafusion::error::{DataFusionError, Result};
use millrace_dataflow::read_model::ReadModel;
use millrace_types::{RelationId, SqlError};
use std::sync::Arc;

/// One published tick, and on top of it the uncommitted changes of the statement's own transaction. It travels in the
/// statement's DataFusion configuration, so that a plan can be kept and run again on a later snapshot.
pub struct Snapshot {
    pub published: Arc<Published>,
    pub writes: Arc<Writes>,
    /// Where it is noted what is read, when the commit has to know.
    pub reads: Option<Arc<Reads>>,
}

impl Snapshot {
    /// The snapshot of the statement that DataFusion plans or runs.
    pub fn of(session: &dyn Session) -> Result<Arc<Snapshot>> {
        let missing = || DataFusionError::Internal("a statement has a snapshot".to_owned());
        session.config().get_extension::<Snapshot>().ok_or_else(missing)
    }

    /// The rows of a stored relation that have one of some keys; a column of values per column of the key of `index`, which
    /// is an index of the relation or the relation itself.
    pub fn lookup(&self, relation: RelationId, index: RelationId, key: &[ArrayRef]) -> Result<RecordBatch, SqlError> {
        if let Some(reads) = &self.reads {
            let found = self.published.model(index)?.lookup(key)?;
            reads.note_key((relation, index), key, found, &self.published);
        }
        self.ordered(relation, index)?.lookup(key)
    }

    /// The rows of a stored relation in the order of one of its indexes.
    pub fn index(&self, relation: RelationId, index: RelationId) -> Result<ReadModel, SqlError> {
        self.note(relation);
        self.ordered(relation, index)
    }

    /// The rows of a stored relation.
    pub fn model(&self, id: RelationId) -> Result<ReadModel, SqlError> {
        self.note(id);
        self.unnoted(id)
    }

    /// As [`Snapshot::model`], of rows that the statement changes: the commit checks these by themselves.
    pub fn unnoted(&self, id: RelationId) -> Result<ReadModel, SqlError> {
        self.ordered(id, id)
    }

    fn note(&self, relation: RelationId) {
        if let Some(reads) = &self.reads {
            reads.note(relation, &self.published);
        }
    }

    /// The rows in the order of an index, which may be the relation itself.
    fn ordered(&self, relation: RelationId, index: RelationId) -> Result<ReadModel, SqlError> {
        if relation != index {
            self.published.model(relation)?;
        }
        let model = self.published.model(index)?;
        match self.writes.of(relation) {
            [] => Ok(model.clone()),
            changes => model.with_changes(changes),
        }
    }
}
