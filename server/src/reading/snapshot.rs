//! What one statement sees.

use crate::coordinator::{Published, Writes};
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
}

impl Snapshot {
    /// The snapshot of the statement that DataFusion plans or runs.
    pub fn of(session: &dyn Session) -> Result<Arc<Snapshot>> {
        let missing = || DataFusionError::Internal("a statement has a snapshot".to_owned());
        session.config().get_extension::<Snapshot>().ok_or_else(missing)
    }

    /// The rows of a stored relation in the order of one of its indexes, which may be the relation itself.
    pub fn index(&self, relation: RelationId, index: RelationId) -> Result<ReadModel, SqlError> {
        if relation == index {
            return self.model(relation);
        }
        self.published.model(relation)?;
        let model = self.published.model(index)?;
        match self.writes.of(relation) {
            [] => Ok(model.clone()),
            changes => model.with_changes(changes),
        }
    }

    /// The rows of a stored relation.
    pub fn model(&self, id: RelationId) -> Result<ReadModel, SqlError> {
        let model = self.published.model(id)?;
        match self.writes.of(id) {
            [] => Ok(model.clone()),
            changes => model.with_changes(changes),
        }
    }
}
