//! Foreign keys: what rows refer to is there when a transaction has been accepted.
//!
//! A transaction is accepted when all its rows are counted. Then each value by which a new row refers, and each key that
//! went, is looked at: if the key is not there, no row may refer to it.

use super::published::Published;
use super::writes::{Identity, Trial, key_identities, taken, value_text};
use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::{cast, take};
use millrace_catalog::{Catalog, ForeignKey, Key, Relation};
use millrace_types::{Delta, Result, SqlError, SqlState};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// A foreign key with both its tables.
pub struct Reference {
    pub child: Arc<Relation>,
    pub foreign: ForeignKey,
    /// The columns of the child, in the order of those of the key.
    pub columns: Vec<usize>,
    pub parent: Arc<Relation>,
    pub key: Key,
}

impl Reference {
    fn of(child: &Arc<Relation>, foreign: &ForeignKey, catalog: &Catalog) -> Option<Reference> {
        let parent = if foreign.table == child.id { child } else { catalog.get(foreign.table)? };
        let columns = child.index_keys().find(|key| key.index == foreign.index)?.columns.clone();
        let key = parent.unique_keys().find(|key| key.index == foreign.key)?.clone();
        Some(Reference { child: child.clone(), foreign: foreign.clone(), columns, parent: parent.clone(), key })
    }

    /// The foreign keys of a table. One whose table or key was dropped is none.
    pub fn from(table: &Arc<Relation>, catalog: &Catalog) -> Vec<Reference> {
        table.foreign_keys().iter().filter_map(|foreign| Reference::of(table, foreign, catalog)).collect()
    }

    /// The foreign keys that refer to a table.
    pub fn to(table: &Relation, catalog: &Catalog) -> Vec<Reference> {
        let children = catalog.relations().filter(|child| child.foreign_keys().iter().any(|f| f.table == table.id));
        let references = children.flat_map(|child| Reference::from(child, catalog));
        references.filter(|reference| reference.parent.id == table.id).collect()
    }

    /// What rows of the child say, in the types of the key.
    pub fn referring(&self, rows: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let columns = self.columns.iter().zip(&self.key.columns);
        let columns =
            columns.map(|(own, key)| Ok(cast(rows.column(*own), &self.parent.columns[*key].sql_type.arrow())?));
        columns.collect()
    }

    /// The keys of rows of the parent.
    pub fn referred(&self, rows: &RecordBatch) -> Vec<ArrayRef> {
        self.key.columns.iter().map(|column| rows.column(*column).clone()).collect()
    }

    /// Keys in the types of the child's columns.
    pub fn as_referring(&self, key: &[ArrayRef]) -> Result<Vec<ArrayRef>> {
        let columns = self.columns.iter().zip(key);
        columns.map(|(own, key)| Ok(cast(key, &self.child.columns[*own].sql_type.arrow())?)).collect()
    }

    fn violation(&self, key: &[ArrayRef], row: usize, by_child: bool) -> SqlError {
        let (child, parent, name) = (&self.child.name, &self.parent.name, &self.foreign.name);
        let named = |relation: &Relation, columns: &[usize]| {
            columns.iter().map(|column| relation.columns[*column].name.clone()).collect::<Vec<_>>().join(", ")
        };
        let values = key.iter().map(|column| value_text(column, row)).collect::<Vec<_>>().join(", ");
        let (message, detail) = match by_child {
            true => (
                format!("insert or update on table \"{child}\" violates foreign key constraint \"{name}\""),
                format!("Key ({})=({values}) is not present in table \"{parent}\".", named(&self.child, &self.columns)),
            ),
            false => (
                format!(
                    "update or delete on table \"{parent}\" violates foreign key constraint \"{name}\" on table \"{child}\""
                ),
                format!(
                    "Key ({})=({values}) is still referenced from table \"{child}\".",
                    named(&self.parent, &self.key.columns)
                ),
            ),
        };
        SqlError::new(SqlState::FOREIGN_KEY_VIOLATION, message).with_detail(detail)
    }

    /// Checks rows that are there already.
    ///
    /// # Errors
    /// `23503` for the first that refers to nothing.
    pub(super) fn check_rows(&self, rows: &[Delta], published: &Published) -> Result<()> {
        for delta in rows {
            let columns = self.referring(delta.rows())?;
            let there = taken(&self.parent, &self.key, &columns, published)?;
            let lost = (0..delta.len()).find(|row| !there[*row] && is_known(&columns, *row));
            if let Some(row) = lost {
                return Err(self.violation(&columns, row, true));
            }
        }
        Ok(())
    }
}

fn is_known(columns: &[ArrayRef], row: usize) -> bool {
    columns.iter().all(|column| column.is_valid(row))
}

impl Trial<'_> {
    /// Counts the rows that refer to keys.
    pub(super) fn change_references(&mut self, table: &Arc<Relation>, delta: &Delta, catalog: &Catalog) -> Result<()> {
        for reference in Reference::from(table, catalog) {
            let columns = reference.referring(delta.rows())?;
            for (row, identity) in key_identities(&columns, delta.len())?.into_iter().enumerate() {
                if is_known(&columns, row) {
                    self.change_key((reference.foreign.index, identity), delta.weight(row));
                }
            }
        }
        Ok(())
    }

    /// Checks what the changes of a table mean for its references, and for those to it.
    pub(super) fn check_references(&self, table: &Arc<Relation>, delta: &Delta, published: &Published) -> Result<()> {
        let catalog = &published.catalog;
        let now = |reference: &Reference| !self.deferring.applies(&reference.foreign);
        for reference in Reference::from(table, catalog).into_iter().filter(now) {
            let columns = reference.referring(delta.rows())?;
            self.check_keys(&reference, &columns, |row| delta.weight(row) > 0, published, true)?;
        }
        if (0..delta.len()).all(|row| delta.weight(row) > 0) {
            return Ok(());
        }
        for reference in Reference::to(table, catalog).into_iter().filter(now) {
            let columns = reference.referred(delta.rows());
            self.check_keys(&reference, &columns, |row| delta.weight(row) < 0, published, false)?;
        }
        Ok(())
    }

    fn check_keys(
        &self,
        reference: &Reference,
        columns: &[ArrayRef],
        concerns: impl Fn(usize) -> bool,
        published: &Published,
        by_child: bool,
    ) -> Result<()> {
        let rows = columns.first().map_or(0, |column| column.len());
        let wanted: UInt32Array =
            (0..rows).filter(|row| concerns(*row) && is_known(columns, *row)).map(|row| row as u32).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let columns = columns.iter().map(|column| Ok(take(column, &wanted, None)?)).collect::<Result<Vec<_>>>()?;
        let there = taken(&reference.parent, &reference.key, &columns, published)?;
        let mut seen = HashSet::new();
        let mut lost: Vec<(u32, Identity)> = vec![];
        for (row, identity) in key_identities(&columns, wanted.len())?.into_iter().enumerate() {
            let count = i64::from(there[row]) + self.key_change((reference.key.index, identity));
            if count <= 0 && seen.insert(identity) {
                lost.push((row as u32, identity));
            }
        }
        if lost.is_empty() {
            return Ok(());
        }
        let places: UInt32Array = lost.iter().map(|(row, _)| *row).collect();
        let keys = columns.iter().map(|column| Ok(take(column, &places, None)?)).collect::<Result<Vec<_>>>()?;
        let counts = referring_rows(reference, &keys, published)?;
        for (row, (_, identity)) in lost.iter().enumerate() {
            let stored = counts.get(identity).copied().unwrap_or(0);
            if stored + self.key_change((reference.foreign.index, *identity)) > 0 {
                return Err(reference.violation(&keys, row, by_child));
            }
        }
        Ok(())
    }
}

/// How many published rows of the child refer to each of some keys.
fn referring_rows(reference: &Reference, keys: &[ArrayRef], published: &Published) -> Result<HashMap<Identity, i64>> {
    let mut counts = HashMap::new();
    let Some(model) = published.models.get(&reference.foreign.index) else { return Ok(counts) };
    let rows = model.lookup(&reference.as_referring(keys)?)?;
    let columns = reference.referring(&rows)?;
    for (row, identity) in key_identities(&columns, rows.num_rows())?.into_iter().enumerate() {
        if is_known(&columns, row) {
            *counts.entry(identity).or_default() += 1;
        }
    }
    Ok(counts)
}
