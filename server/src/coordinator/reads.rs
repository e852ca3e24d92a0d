//! What a serializable transaction has read, and whether it would read the same when its turn comes.
//!
//! Together with the check of what it writes (`writes`) this makes the transaction one that could have run alone at the
//! moment of its commit: optimistic concurrency control with validation, after Kung and Robinson (1981). Rows that were
//! looked up by a key are compared by that key; of everything else that was read nothing may have changed.

use super::published::Published;
use super::writes::{Accepted, key_identities};
use arrow::array::{ArrayRef, RecordBatch};
use millrace_types::{RelationId, Result, SqlError, SqlState, Tick};
use parking_lot::Mutex;
use std::collections::HashMap;

/// The most look-ups that a transaction is checked by; beyond, it is checked by the relation.
const MOST_KEYS: usize = 10_000;

/// What one transaction has read so far of tables and views.
#[derive(Default)]
pub struct Reads(Mutex<Noted>);

#[derive(Default)]
struct Noted {
    /// Relations read as a whole, with the tick as of which they were read first.
    relations: HashMap<RelationId, Tick>,
    keys: Vec<KeyRead>,
}

/// A look-up by the key of an index.
struct KeyRead {
    relation: RelationId,
    /// What has the rows in the order of the key: the relation, or an index of it.
    model: RelationId,
    values: Vec<ArrayRef>,
    found: RecordBatch,
    tick: Tick,
}

impl Reads {
    /// Notes that a relation was read.
    pub fn note(&self, relation: RelationId, published: &Published) {
        self.0.lock().relations.entry(relation).or_insert(published.tick);
    }

    /// Notes a look-up, and what it found without the transaction's own changes.
    pub fn note_key(
        &self,
        (relation, model): (RelationId, RelationId),
        values: &[ArrayRef],
        found: RecordBatch,
        published: &Published,
    ) {
        let mut noted = self.0.lock();
        if noted.keys.len() == MOST_KEYS {
            let tick = noted.keys.iter().filter(|key| key.relation == relation).map(|key| key.tick).min();
            noted.relations.entry(relation).or_insert(tick.unwrap_or(published.tick));
        } else {
            noted.keys.push(KeyRead { relation, model, values: values.to_vec(), found, tick: published.tick });
        }
    }

    /// Whether everything that was read is as it was in `published` and after what is `accepted` on top of it.
    ///
    /// # Errors
    /// `40001` when something is not.
    pub fn check(&self, published: &Published, accepted: &Accepted) -> Result<()> {
        let noted = self.0.lock();
        let whole = noted.relations.iter().all(|(relation, tick)| is_unchanged(*relation, *tick, published, accepted));
        let mut keys = noted.keys.iter().filter(|key| !noted.relations.contains_key(&key.relation));
        match whole
            && keys.try_fold(true, |so_far, key| Ok::<_, SqlError>(so_far && key.holds(published, accepted)?))?
        {
            true => Ok(()),
            false => Err(SqlError::new(
                SqlState::SERIALIZATION_FAILURE,
                "could not serialize access due to read/write dependencies among transactions",
            )
            .with_hint("The transaction might succeed if retried.")),
        }
    }
}

impl KeyRead {
    fn holds(&self, published: &Published, accepted: &Accepted) -> Result<bool> {
        if is_unchanged(self.relation, self.tick, published, accepted) {
            return Ok(true);
        }
        let Some(relation) = published.catalog.get(self.relation) else { return Ok(false) };
        let Some(model) = published.models.get(&self.model) else { return Ok(false) };
        let primary = relation.keys().next().map(|key| key.index).filter(|_| self.model == self.relation);
        let constraint = relation.unique_keys().find(|key| key.index == primary.unwrap_or(self.model));
        let untouched = match constraint {
            Some(key) => {
                let rows = self.values.first().map_or(0, |column| column.len());
                let identities = key_identities(&self.values, rows)?;
                !identities.into_iter().any(|identity| accepted.changes_key(key.index, identity))
            }
            None => !is_touched(self.relation, published, accepted),
        };
        Ok(untouched && model.lookup(&self.values)? == self.found)
    }
}

/// Whether a relation is as it was at `tick`.
fn is_unchanged(relation: RelationId, tick: Tick, published: &Published, accepted: &Accepted) -> bool {
    let changed = published.models.changed(relation).is_some_and(|changed| changed > tick);
    published.catalog.get(relation).is_some() && !changed && !is_touched(relation, published, accepted)
}

/// Whether accepted changes reach a relation.
fn is_touched(relation: RelationId, published: &Published, accepted: &Accepted) -> bool {
    let mut below = published.catalog.get(relation).into_iter().flat_map(|found| &found.depends_on);
    accepted.changes(relation) || below.any(|input| is_touched(*input, published, accepted))
}
