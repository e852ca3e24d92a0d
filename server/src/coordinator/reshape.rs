//! ALTER TABLE and indexes: a stored relation gets another shape, between two ticks.
//!
//! Where rows change, the table is written anew: its rows go into the command log under a new id, which the changed
//! definition then names. A crash before that leaves rows that no definition names, and the old table as it was.

use super::clock::Clock;
use super::define::{Built, table_job};
use super::references::Reference;
use super::writes::{Writes, key_identities, value_text};
use arrow::array::{Array, ArrayRef, RecordBatch};
use millrace_catalog::{Change, Key, Relation, RelationKind};
use millrace_dataflow::engine::{RelationInput, TickInput};
use millrace_ir::Output;
use millrace_types::{Delta, RelationId, Result, SqlError, SqlState};
use std::collections::HashSet;
use std::sync::Arc;

/// What is done with the rows of a relation that gets another shape: they are checked, and made new ones.
pub type EachRow = Box<dyn Fn(&RecordBatch) -> Result<RecordBatch> + Send>;

/// A stored relation under a changed definition.
pub struct Reshape {
    /// The relation as it was when the change was planned.
    pub before: Arc<Relation>,
    /// The relation as it will be; its id stays.
    pub after: Relation,
    /// Sees every row. When the storage of the relation changes, its result is stored.
    pub rows: Option<EachRow>,
}

impl Clock {
    pub(super) fn reshape(&mut self, reshape: Reshape) -> Result<Built> {
        let Reshape { before, after, rows } = reshape;
        if self.state.catalog.get(after.id) != Some(&before) {
            let message = format!("could not alter \"{}\" due to a concurrent change of definitions", before.name);
            return Err(SqlError::new(SqlState::SERIALIZATION_FAILURE, message));
        }
        let change = Change::Replace(after);
        let next = self.state.catalog.apply(&change)?;
        let Change::Replace(after) = &change else { return Err(SqlError::internal("a replacement is a replacement")) };
        let stored_anew = before.storage() != after.storage();
        let of_each = self.new_rows(&before, rows)?;
        let rows = if stored_anew { of_each } else { self.rows_of(before.id)? };
        for key in after.unique_keys().filter(|key| !before.unique_keys().any(|known| known == *key)) {
            refuse_duplicates(after, key, &rows)?;
        }
        let new_references = after.foreign_keys().iter().filter(|foreign| !before.foreign_keys().contains(foreign));
        let new_references: Vec<&str> = new_references.map(|foreign| foreign.name.as_str()).collect();
        if !new_references.is_empty() {
            let (after, rows, published) =
                (Arc::new(after.clone()), self.rows_of(before.id)?, self.published.load_full());
            let references = Reference::from(&after, &next);
            let mut new = references.iter().filter(|known| new_references.contains(&known.foreign.name.as_str()));
            new.try_for_each(|reference| reference.check_rows(&rows, &published))?;
        }
        if stored_anew {
            let mut writes = Writes::default();
            rows.iter().for_each(|delta| writes.add(after.storage(), delta.clone()));
            self.journal.write(self.state.tick, writes, vec![], true).wait()?;
        }
        self.record(&change, &next)?;
        if before.columns != after.columns {
            self.subscriptions.end(after.id);
        }
        self.changing = true;
        // The rows stand in the order of the first key.
        let order = |relation: &Relation| relation.keys().next().map(|key| key.index);
        let changed = match stored_anew || order(&before) != order(after) {
            true => self.start_anew(&before, after, next, rows),
            false => self.keep_running(&before, after, next),
        };
        self.changing = false;
        self.show();
        changed?;
        Ok(Built { tick: self.state.tick, relation: after.id })
    }

    fn rows_of(&self, id: RelationId) -> Result<Vec<Delta>> {
        self.state.models.get(&id).into_iter().flat_map(|model| model.deltas()).collect()
    }

    fn new_rows(&self, relation: &Relation, each: Option<EachRow>) -> Result<Vec<Delta>> {
        let Some(each) = each else { return Ok(vec![]) };
        let rows = self.rows_of(relation.id)?.into_iter();
        rows.map(|delta| Ok(delta.with_rows(each(delta.rows())?))).collect()
    }

    /// The rows stay: only indexes come and go.
    fn keep_running(&mut self, before: &Relation, after: &Relation, next: millrace_catalog::Catalog) -> Result<()> {
        let has = |relation: &Relation, key: &Key| relation.index_keys().any(|known| known.index == key.index);
        for key in before.index_keys().filter(|key| !has(after, key)) {
            self.end(key.index);
        }
        self.state.catalog = Arc::new(next);
        let new: Vec<_> = after.index_keys().filter(|key| !has(before, key)).cloned().collect();
        new.iter().try_for_each(|key| self.start_index(after, key))
    }

    /// The table begins again with other rows. What reads it goes on: it reads columns that are still there.
    fn start_anew(
        &mut self,
        before: &Relation,
        after: &Relation,
        next: millrace_catalog::Catalog,
        rows: Vec<Delta>,
    ) -> Result<()> {
        for job in [before.id].into_iter().chain(before.index_keys().map(|key| key.index)) {
            if self.jobs.remove(&job).is_some() {
                self.engine.drop_job(job)?;
            }
            self.state.models.remove(job);
        }
        self.state.catalog = Arc::new(next);
        self.start_rows(after)?;
        if !rows.is_empty() {
            let columns = (0..after.columns.len()).collect();
            let input = RelationInput { relation: after.id, columns, deltas: rows, only: Some(after.id) };
            let (tick, now) = (self.state.tick.next(), self.now());
            let input = TickInput { tick, inputs: vec![input], now, watermarks: vec![] };
            let result = self.engine.tick(input)?;
            self.publish(result);
        }
        self.start_indexes(after)
    }

    /// Starts what keeps a table's rows, in the order of its first key.
    pub(super) fn start_rows(&mut self, relation: &Relation) -> Result<()> {
        let key = relation.keys().next().map(|key| key.columns.clone()).unwrap_or_default();
        self.start_job(table_job(relation, relation.id, relation.name.clone(), key))
    }

    /// Starts the indexes of a relation that runs: all but the one that is its own order.
    pub(super) fn start_indexes(&mut self, relation: &Relation) -> Result<()> {
        let own = usize::from(relation.keys().next().is_some());
        relation.index_keys().skip(own).try_for_each(|key| self.start_index(relation, key))
    }

    fn start_index(&mut self, relation: &Relation, key: &Key) -> Result<()> {
        if key.columns.is_empty() {
            return Ok(());
        }
        let mut job = table_job(relation, key.index, key.name.clone(), key.columns.clone());
        if relation.index_of(key).is_some_and(|index| index.ordered) {
            job.output = Output::Ordered { column: key.columns[0] };
        }
        self.start_job(job)
    }
}

/// The id under which an altered table's rows are to be stored, set in its definition.
pub fn store_anew(relation: &mut Relation, storage: RelationId) {
    if let RelationKind::Table(table) = &mut relation.kind {
        table.storage = Some(storage);
    }
}

fn refuse_duplicates(relation: &Relation, key: &Key, rows: &[Delta]) -> Result<()> {
    let mut seen = HashSet::new();
    for delta in rows {
        let columns: Vec<ArrayRef> = key.columns.iter().map(|column| delta.rows().column(*column).clone()).collect();
        for (row, identity) in key_identities(&columns, delta.len())?.into_iter().enumerate() {
            if columns.iter().any(|column| column.is_null(row)) {
                continue;
            }
            if delta.weight(row) > 1 || !seen.insert(identity) {
                let names: Vec<_> = key.columns.iter().map(|at| relation.columns[*at].name.as_str()).collect();
                let values: Vec<_> = columns.iter().map(|column| value_text(column, row)).collect();
                let message = format!("could not create unique index \"{}\"", key.name);
                let detail = format!("Key ({})=({}) is duplicated.", names.join(", "), values.join(", "));
                return Err(SqlError::new(SqlState::UNIQUE_VIOLATION, message).with_detail(detail));
            }
        }
    }
    Ok(())
}
