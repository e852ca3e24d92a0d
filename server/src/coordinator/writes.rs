//! Transactions: what they write, and whether they still may when their turn comes.
//!
//! Sessions compute changes against the state that they read. The coordinator takes transactions one after the other
//! and accepts one only if its changes still fit: each row that it retracts is there, and no key that it inserts is
//! taken. So an accepted transaction is as if it had run alone at that moment, and no locks are held meanwhile.

use super::published::Published;
use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use millrace_catalog::{Deferral, ForeignKey, Key, Relation};
use millrace_types::hash::{KEY_SEED, ROW_SEED, hash_rows};
use millrace_types::{Delta, RelationId, Result, SqlError, SqlState};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Changes with no more rows than this are small.
const SMALL_ROWS: usize = 64;

/// The uncommitted changes of a transaction, by table, in the order in which they were made.
#[derive(Clone, Debug, Default)]
pub struct Writes {
    tables: BTreeMap<RelationId, Vec<Delta>>,
}

impl Writes {
    /// Adds changes to a table.
    pub fn add(&mut self, table: RelationId, delta: Delta) {
        if !delta.is_empty() {
            self.tables.entry(table).or_default().push(delta);
        }
    }

    /// Adds all of another's changes after these.
    pub fn append(&mut self, other: Writes) {
        for (table, deltas) in other.tables {
            self.tables.entry(table).or_default().extend(deltas);
        }
    }

    /// Puts many small changes of a table together: what is done for each of them, from the command log to the read model,
    /// costs more than copying their rows.
    pub fn gather(&mut self) {
        for deltas in self.tables.values_mut() {
            let rows: usize = deltas.iter().map(Delta::len).sum();
            if deltas.len() > 1
                && rows <= deltas.len() * SMALL_ROWS
                // What cannot be put together stays apart.
                && let Ok(together) = Delta::concat(&deltas[0].schema(), &*deltas)
            {
                *deltas = vec![together];
            }
        }
    }

    /// Leaves the changes of a table out.
    pub fn forget(&mut self, table: RelationId) {
        self.tables.remove(&table);
    }

    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }

    /// The same changes of tables known by other ids.
    pub fn renamed(self, name: impl Fn(RelationId) -> RelationId) -> Writes {
        Writes { tables: self.tables.into_iter().map(|(table, deltas)| (name(table), deltas)).collect() }
    }

    /// The changes of one table.
    pub fn of(&self, table: RelationId) -> &[Delta] {
        self.tables.get(&table).map_or(&[], Vec::as_slice)
    }

    /// Every table's changes.
    pub fn iter(&self) -> impl Iterator<Item = (RelationId, &[Delta])> {
        self.tables.iter().map(|(table, deltas)| (*table, deltas.as_slice()))
    }

    /// Every table's changes, by value.
    pub fn into_deltas(self) -> impl Iterator<Item = (RelationId, Delta)> {
        self.tables.into_iter().flat_map(|(table, deltas)| deltas.into_iter().map(move |delta| (table, delta)))
    }
}

/// The identity of a row or key: two independent 64-bit hashes.
pub type Identity = (u64, u64);

/// Net changes that are accepted but not published: what the transactions of a tick that is not yet run did to rows and
/// keys, or the statements of a transaction that is not yet committed.
#[derive(Clone, Default)]
pub struct Accepted {
    tables: HashSet<RelationId>,
    rows: HashMap<(RelationId, Identity), i64>,
    keys: HashMap<(RelationId, Identity), i64>,
}

impl Accepted {
    /// Accepts a transaction on top of `published` and of those accepted before it, or says why it cannot be.
    ///
    /// # Errors
    /// `40001` when a row to be retracted is gone, `23505` when a key is taken, `23503` when what a row refers to is not
    /// there, `42P01` when a table was dropped. The
    /// accepted state is then unchanged.
    pub fn accept(&mut self, writes: &Writes, published: &Published) -> Result<()> {
        self.accept_deferring(writes, published, Deferring::None)
    }

    /// As [`Accepted::accept`], without the foreign keys that are to be checked later.
    ///
    /// # Errors
    /// As [`Accepted::accept`].
    pub fn accept_deferring(&mut self, writes: &Writes, published: &Published, deferring: Deferring) -> Result<()> {
        let mut trial = Trial { accepted: self, rows: HashMap::new(), keys: HashMap::new(), deferring };
        for (table, deltas) in writes.iter() {
            let relation = published.catalog.get(table).ok_or_else(|| {
                SqlError::new(SqlState::UNDEFINED_TABLE, "a table of the transaction was dropped meanwhile")
            })?;
            for delta in deltas {
                check_shape(relation, delta)?;
                trial.check_rows(table, delta, published)?;
                for direction in [Direction::Retract, Direction::Insert] {
                    let mut keys = relation.unique_keys();
                    keys.try_for_each(|key| trial.change_keys(key, delta, direction, relation, published))?;
                }
                trial.change_references(relation, delta, &published.catalog)?;
            }
        }
        for (table, deltas) in writes.iter() {
            let Some(relation) = published.catalog.get(table) else { continue };
            deltas.iter().try_for_each(|delta| trial.check_references(relation, delta, published))?;
        }
        let Trial { rows, keys, .. } = trial;
        self.rows.extend(rows);
        self.keys.extend(keys);
        self.tables.extend(writes.iter().map(|(table, _)| table));
        Ok(())
    }

    /// Whether some of it changes a table.
    pub fn changes(&self, table: RelationId) -> bool {
        self.tables.contains(&table)
    }

    /// Whether some of it changes a row that has this key of the constraint `index`.
    pub fn changes_key(&self, index: RelationId, key: Identity) -> bool {
        self.keys.contains_key(&(index, key))
    }
}

/// Which foreign keys are checked when a transaction commits, and not with each statement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Deferring {
    /// None.
    None,
    /// Those that say so.
    #[default]
    Declared,
    /// All that may be.
    All,
}

impl Deferring {
    /// Whether a foreign key is checked later.
    pub fn applies(self, foreign: &ForeignKey) -> bool {
        match foreign.deferral {
            Deferral::Never => false,
            Deferral::Immediate => self == Deferring::All,
            Deferral::Deferred => self != Deferring::None,
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Direction {
    Retract,
    Insert,
}

/// One transaction's changes on top of the accepted ones, kept apart until all of it has passed.
pub(super) struct Trial<'a> {
    accepted: &'a Accepted,
    rows: HashMap<(RelationId, Identity), i64>,
    keys: HashMap<(RelationId, Identity), i64>,
    pub(super) deferring: Deferring,
}

impl Trial<'_> {
    /// Every row that is retracted must be there as often as it is retracted.
    fn check_rows(&mut self, table: RelationId, delta: &Delta, published: &Published) -> Result<()> {
        let identities = row_identities(delta.rows())?;
        let retracts = (0..delta.len()).any(|row| delta.weight(row) < 0);
        let present = match retracts {
            true => published.models.get(&table).map(|model| model.net_weights(delta.rows())).transpose()?,
            false => None,
        };
        for (row, identity) in identities.into_iter().enumerate() {
            let slot = (table, identity);
            let before = self.accepted.rows.get(&slot).copied().unwrap_or(0);
            let net = self.rows.entry(slot).or_insert(before);
            *net += delta.weight(row);
            let stored = present.as_ref().map_or(0, |weights| weights[row]);
            if delta.weight(row) < 0 && stored + *net < 0 {
                return Err(conflict());
            }
        }
        Ok(())
    }

    /// Counts a key, and says by how much its count differs from the published one.
    pub(super) fn change_key(&mut self, slot: (RelationId, Identity), weight: i64) -> i64 {
        let before = self.accepted.keys.get(&slot).copied().unwrap_or(0);
        let net = self.keys.entry(slot).or_insert(before);
        *net += weight;
        *net
    }

    /// By how much the count of a key differs from the published one.
    pub(super) fn key_change(&self, slot: (RelationId, Identity)) -> i64 {
        self.keys.get(&slot).or_else(|| self.accepted.keys.get(&slot)).copied().unwrap_or(0)
    }

    fn change_keys(
        &mut self,
        key: &Key,
        delta: &Delta,
        direction: Direction,
        relation: &Relation,
        published: &Published,
    ) -> Result<()> {
        let wanted = |row: usize| (delta.weight(row) > 0) == (direction == Direction::Insert);
        if !(0..delta.len()).any(wanted) {
            return Ok(());
        }
        let columns: Vec<ArrayRef> = key.columns.iter().map(|column| delta.rows().column(*column).clone()).collect();
        let present = match direction {
            Direction::Retract => vec![],
            Direction::Insert => taken(relation, key, &columns, published)?,
        };
        for (row, identity) in key_identities(&columns, delta.len())?.into_iter().enumerate() {
            if !wanted(row) || columns.iter().any(|column| column.is_null(row)) {
                continue;
            }
            let net = self.change_key((key.index, identity), delta.weight(row));
            if direction == Direction::Insert && i64::from(present[row]) + net > 1 {
                return Err(duplicate_key(relation, key, delta.rows(), row));
            }
        }
        Ok(())
    }
}

/// A table may have got other columns since the changes were computed.
fn check_shape(relation: &Relation, delta: &Delta) -> Result<()> {
    let given = delta.rows().columns();
    let fits = given.iter().zip(&relation.columns).all(|(given, column)| *given.data_type() == column.sql_type.arrow());
    match given.len() == relation.columns.len() && fits {
        true => Ok(()),
        false => Err(conflict()),
    }
}

/// Which keys the published index of a constraint holds.
pub(super) fn taken(relation: &Relation, key: &Key, columns: &[ArrayRef], published: &Published) -> Result<Vec<bool>> {
    let primary = relation.keys().next().is_some_and(|first| first.index == key.index);
    let model = published.models.get(if primary { &relation.id } else { &key.index });
    match model {
        Some(model) => model.contains_keys(columns),
        None => Ok(vec![false; columns.first().map_or(0, |column| column.len())]),
    }
}

/// The identities of whole rows.
pub fn row_identities(rows: &RecordBatch) -> Result<Vec<Identity>> {
    key_identities(rows.columns(), rows.num_rows())
}

/// The identities of keys, given by their columns.
pub fn key_identities(columns: &[ArrayRef], rows: usize) -> Result<Vec<Identity>> {
    let (first, second) = (hash_rows(columns, rows, KEY_SEED)?, hash_rows(columns, rows, ROW_SEED)?);
    Ok(first.into_iter().zip(second).collect())
}

/// Another transaction changed a row that this one wants to change.
pub fn conflict() -> SqlError {
    SqlError::new(SqlState::SERIALIZATION_FAILURE, "could not serialize access due to concurrent update")
        .with_hint("The transaction might succeed if retried.")
}

/// The error of a key that is there already, worded as Postgres does.
pub fn duplicate_key(relation: &Relation, key: &Key, rows: &RecordBatch, row: usize) -> SqlError {
    let names: Vec<_> = key.columns.iter().map(|column| relation.columns[*column].name.as_str()).collect();
    let values: Vec<_> = key.columns.iter().map(|column| value_text(rows.column(*column), row)).collect();
    SqlError::new(
        SqlState::UNIQUE_VIOLATION,
        format!("duplicate key value violates unique constraint \"{}\"", key.name),
    )
    .with_detail(format!("Key ({})=({}) already exists.", names.join(", "), values.join(", ")))
}

/// A value as error details show it.
pub fn value_text(column: &ArrayRef, row: usize) -> String {
    let options = FormatOptions::default().with_null("null");
    let formatted = ArrayFormatter::try_new(column, &options).map(|formatter| formatter.value(row).to_string());
    formatted.unwrap_or_else(|_| "?".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::Int64Array;
    use std::sync::Arc;

    fn rows(name: &str, values: &[i64]) -> RecordBatch {
        RecordBatch::try_from_iter([(name, Arc::new(Int64Array::from(values.to_vec())) as ArrayRef)]).unwrap()
    }

    #[test]
    fn small_changes_are_put_together_in_order_and_large_ones_stay() {
        let (few, many) = (RelationId(1), RelationId(2));
        let mut writes = Writes::default();
        writes.add(few, Delta::inserts(rows("a", &[3])));
        writes.add(few, Delta::retractions(rows("other", &[3, 1])));
        writes.add(few, Delta::inserts(rows("a", &[2])));
        for _ in 0..2 {
            writes.add(many, Delta::inserts(rows("a", &[7; SMALL_ROWS + 1])));
        }
        writes.gather();
        let [together] = writes.of(few) else { panic!("{:?}", writes.of(few)) };
        assert_eq!(together.rows(), &rows("a", &[3, 3, 1, 2]));
        assert_eq!(together.weights_buffer().to_vec(), [1, -1, -1, 1]);
        assert_eq!(writes.of(many).len(), 2);
    }
}
