//! What the coordinator publishes after each tick: the one thing that readers look at.

use super::event_time::RelationTime;
use super::models::Models;
use millrace_catalog::Catalog;
use millrace_dataflow::read_model::ReadModel;
use millrace_types::{EventTime, RelationId, Result, SqlError, SqlState, Tick};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// Every read model and the catalog, as of one tick. A statement takes it once and so reads one consistent state; it is
/// immutable, so readers never block ticks.
#[derive(Clone)]
pub struct Published {
    /// The last tick whose changes are in it.
    pub tick: Tick,
    /// The definitions as of that tick.
    pub catalog: Arc<Catalog>,
    /// The rows of each table, materialized view and index.
    pub models: Models,
    /// Views that still read the history of a source, so that their rows mean nothing yet.
    pub building: HashSet<RelationId>,
    /// Sources that are not read again yet as far as they were before the server ended, and views that are not made anew
    /// yet from the history of theirs.
    pub recovering: HashSet<RelationId>,
    /// Jobs that ended with an error, which every read of them returns.
    pub failed: HashMap<RelationId, SqlError>,
    /// How far the times of sources that are read, and of tables, have come.
    pub times: Arc<BTreeMap<RelationId, RelationTime>>,
}

impl Published {
    /// Nothing but a catalog.
    pub fn new(catalog: Catalog) -> Published {
        Published {
            tick: Tick::default(),
            catalog: Arc::new(catalog),
            models: Models::default(),
            building: HashSet::new(),
            recovering: HashSet::new(),
            failed: HashMap::new(),
            times: Arc::default(),
        }
    }

    /// The watermark of a relation, and the source or table that it comes from: of what is made from several, the least.
    pub fn watermark(&self, id: RelationId) -> (Option<EventTime>, Option<RelationId>) {
        let Some(relation) = self.catalog.get(id) else { return (None, None) };
        if relation.watermark.is_some() {
            return (self.times.get(&id).and_then(|time| time.watermark), Some(id));
        }
        let made_from = relation.kind.query().map_or(&[][..], |_| &relation.depends_on);
        let inputs = made_from.iter().filter(|input| self.catalog.is_watermarked(**input));
        let least = inputs.map(|input| self.watermark(*input)).min_by_key(|(watermark, _)| *watermark);
        let (watermark, from) = least.unwrap_or((None, None));
        (watermark.filter(|_| !self.building.contains(&id)), from)
    }

    /// The rows of a relation, to be read by a query.
    ///
    /// # Errors
    /// The error of a row whose expression fails in the relation or in one that it is made from; the error that ended
    /// its job; `55000` while it is being built; `57P03` while it shows less than before the server ended.
    pub fn model(&self, id: RelationId) -> Result<&ReadModel> {
        self.check_readable(id)?;
        self.models.get(&id).ok_or_else(|| SqlError::internal(format!("relation {id} has no read model")))
    }

    fn check_readable(&self, id: RelationId) -> Result<()> {
        if let Some(error) = self.failed.get(&id) {
            return Err(error.clone());
        }
        let Some(relation) = self.catalog.get(id) else { return Ok(()) };
        if [id].iter().chain(&relation.depends_on).any(|upstream| self.recovering.contains(upstream)) {
            let message = format!("materialized view \"{}\" is not recovered yet", relation.name);
            return Err(SqlError::new(SqlState::CANNOT_CONNECT_NOW, message)
                .with_hint("Its sources are being read again; millrace.splits shows how far."));
        }
        if self.building.contains(&id) {
            let message = format!("materialized view \"{}\" is still being built", relation.name);
            return Err(SqlError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
                .with_hint("Its progress stands in SHOW JOBS."));
        }
        if !relation.skips_errors()
            && let Some(error) = self.models.get(&id).and_then(ReadModel::row_error)
        {
            let detail = format!("A row of \"{}\" cannot be computed.", relation.name);
            return Err(error
                .with_detail(detail)
                .with_hint("The view heals when the row is deleted or corrected; millrace.view_errors shows it."));
        }
        relation.depends_on.iter().try_for_each(|upstream| self.check_readable(*upstream))
    }
}
