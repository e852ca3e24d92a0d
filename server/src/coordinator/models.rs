//! The read models of all relations, as of one tick.
//!
//! A tick publishes a copy of them, and counts up a reference for each entry that it copies; readers on other cores count
//! it down again. So relations that no tick touches must not be among what is copied: those that changed lately stand
//! beside the others, which all copies share.

use millrace_dataflow::read_model::ReadModel;
use millrace_types::{RelationId, Tick};
use std::collections::HashMap;
use std::sync::Arc;

/// How many stand beside the others at most.
const RECENT: usize = 32;

/// A read model, and the tick in which it changed last.
#[derive(Clone)]
struct Version {
    model: ReadModel,
    changed: Tick,
}

/// The rows of each table, materialized view and index. Cheap to clone.
#[derive(Clone, Default)]
pub struct Models {
    /// What changed lately; it hides what `others` has of the same relation.
    recent: Vec<(RelationId, Version)>,
    others: Arc<HashMap<RelationId, Version>>,
}

impl Models {
    fn version(&self, id: RelationId) -> Option<&Version> {
        let recent = self.recent.iter().find(|(known, _)| *known == id).map(|(_, version)| version);
        recent.or_else(|| self.others.get(&id))
    }

    /// The rows of a relation.
    pub fn get(&self, id: &RelationId) -> Option<&ReadModel> {
        self.version(*id).map(|version| &version.model)
    }

    /// The tick in which a relation changed last.
    pub fn changed(&self, id: RelationId) -> Option<Tick> {
        self.version(id).map(|version| version.changed)
    }

    /// All of them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (RelationId, &ReadModel)> {
        let hidden = |id: &RelationId| self.recent.iter().any(|(known, _)| known == id);
        let others = self.others.iter().filter(move |(id, _)| !hidden(id)).map(|(id, version)| (*id, version));
        self.recent.iter().map(|(id, version)| (*id, version)).chain(others).map(|(id, version)| (id, &version.model))
    }

    /// Takes in a new version that a tick has made.
    pub fn put(&mut self, id: RelationId, model: ReadModel, changed: Tick) {
        let version = Version { model, changed };
        match self.recent.iter_mut().find(|(known, _)| *known == id) {
            Some((_, known)) => *known = version,
            None => self.recent.push((id, version)),
        }
        if self.recent.len() > RECENT {
            Arc::make_mut(&mut self.others).extend(self.recent.drain(..));
        }
    }

    /// Forgets a relation.
    pub fn remove(&mut self, id: RelationId) {
        self.recent.retain(|(known, _)| *known != id);
        if self.others.contains_key(&id) {
            Arc::make_mut(&mut self.others).remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::Schema;

    #[test]
    fn the_last_version_of_each_is_found_and_copies_keep_theirs() {
        let mut models = Models::default();
        let model = || ReadModel::empty(Arc::new(Schema::empty()), vec![], 1);
        for id in 0..100 {
            models.put(RelationId(id), model(), Tick(1));
        }
        let before = models.clone();
        for id in [3, 99, 3] {
            models.put(RelationId(id), model(), Tick(2 + u64::from(id)));
        }
        models.remove(RelationId(4));
        models.remove(RelationId(99));
        let changed = |models: &Models, id| models.changed(RelationId(id));
        assert_eq!([3, 4, 99, 5].map(|id| changed(&models, id)), [Some(Tick(5)), None, None, Some(Tick(1))]);
        assert_eq!([3, 4, 99].map(|id| changed(&before, id)), [Some(Tick(1)); 3]);
        let mut all: Vec<_> = models.iter().map(|(id, _)| id.0).collect();
        all.sort_unstable();
        assert_eq!(all, (0..99).filter(|id| *id != 4).collect::<Vec<_>>());
    }
}
