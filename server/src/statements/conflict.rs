//! ON CONFLICT: what an INSERT does about keys that are there already.

use super::returning::evaluate;
use super::update::replacement;
use crate::coordinator::{key_identities, nullable};
use crate::reading::Snapshot;
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::Schema;
use millrace_planner::RelationKey;
use millrace_planner::bind::{Conflict, Insert, RowExpressions};
use millrace_types::{Delta, Result, SqlError, SqlState};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// What an INSERT changes.
pub struct Resolved {
    /// Rows that come.
    pub fresh: RecordBatch,
    /// Rows that go, and the rows that come in their stead.
    pub replaced: Option<(RecordBatch, RecordBatch)>,
}

/// Looks at the keys of the rows that were to be inserted.
///
/// # Errors
/// `21000` when DO UPDATE would change a row twice.
pub fn resolve(
    insert: &Insert,
    conflict: &Conflict,
    rows: RecordBatch,
    snapshot: &Snapshot,
    parameters: &[ArrayRef],
) -> Result<Resolved> {
    match conflict {
        Conflict::DoNothing { keys } => {
            let fresh = keys.iter().try_fold(rows, |rows, key| {
                let found = Existing::of(insert, snapshot, &rows, key)?;
                take_record_batch(&rows, &found.fresh).map_err(SqlError::from)
            })?;
            Ok(Resolved { fresh, replaced: None })
        }
        Conflict::DoUpdate { key, columns, values, filter } => {
            let found = Existing::of(insert, snapshot, &rows, key)?;
            found.refuse_repeated()?;
            let fresh = take_record_batch(&rows, &found.fresh)?;
            let excluded = take_record_batch(&rows, &found.taken)?;
            let replaced = update(found.rows, excluded, columns, values, filter.as_ref(), parameters)?;
            Ok(Resolved { fresh, replaced: Some(replaced) })
        }
    }
}

impl Resolved {
    /// The changes, and the rows that were inserted or updated, each after `complete` has had them.
    pub fn changes(self, complete: impl Fn(RecordBatch) -> Result<RecordBatch>) -> Result<(Delta, RecordBatch)> {
        let fresh = complete(self.fresh)?;
        let Some((old, new)) = self.replaced else { return Ok((Delta::inserts(fresh.clone()), fresh)) };
        let schema = fresh.schema();
        let new = RecordBatch::try_new(schema.clone(), complete(new)?.columns().to_vec())?;
        let replaced = replacement(old, new.clone(), &vec![1; new.num_rows()])?;
        let delta = Delta::concat(&schema, [&Delta::inserts(fresh.clone()), &replaced])?;
        Ok((delta, concat_batches(&schema, [&fresh, &new])?))
    }
}

/// Rows of an INSERT by whether their key is there already.
struct Existing {
    /// Rows whose key is new, the first of each key. A key with a NULL is always new.
    fresh: UInt32Array,
    /// Rows whose key is there.
    taken: UInt32Array,
    /// The rows that are there, one for each of `taken`.
    rows: RecordBatch,
    /// Whether a key stands in the statement twice.
    repeated: bool,
}

impl Existing {
    fn of(insert: &Insert, snapshot: &Snapshot, rows: &RecordBatch, key: &RelationKey) -> Result<Existing> {
        let columns = |rows: &RecordBatch| key.columns.iter().map(|column| rows.column(*column).clone()).collect();
        let given: Vec<ArrayRef> = columns(rows);
        let stored = snapshot.lookup(insert.relation.id, key.model, &given)?;
        let there: Vec<ArrayRef> = columns(&stored);
        let places: HashMap<_, _> = key_identities(&there, stored.num_rows())?.into_iter().zip(0u32..).collect();
        let (mut seen, mut fresh, mut taken, mut found) = (HashSet::new(), vec![], vec![], vec![]);
        let mut repeated = false;
        for (row, identity) in key_identities(&given, rows.num_rows())?.into_iter().enumerate() {
            if given.iter().any(|column| column.is_null(row)) {
                fresh.push(row as u32);
            } else if !seen.insert(identity) {
                repeated = true;
            } else if let Some(place) = places.get(&identity) {
                taken.push(row as u32);
                found.push(*place);
            } else {
                fresh.push(row as u32);
            }
        }
        let rows = take_record_batch(&stored, &UInt32Array::from(found))?;
        Ok(Existing { fresh: fresh.into(), taken: taken.into(), rows, repeated })
    }

    fn refuse_repeated(&self) -> Result<()> {
        match self.repeated {
            false => Ok(()),
            true => Err(SqlError::new(
                SqlState::CARDINALITY_VIOLATION,
                "ON CONFLICT DO UPDATE command cannot affect row a second time",
            )
            .with_hint(
                "Ensure that no rows proposed for insertion within the same command have duplicate constrained values.",
            )),
        }
    }
}

/// The rows that are there before and after DO UPDATE, without those that its WHERE leaves alone.
fn update(
    old: RecordBatch,
    excluded: RecordBatch,
    columns: &[usize],
    values: &RowExpressions,
    filter: Option<&RowExpressions>,
    parameters: &[ArrayRef],
) -> Result<(RecordBatch, RecordBatch)> {
    let both = side_by_side(&old, &excluded)?;
    let (old, both) = match filter {
        None => (old, both),
        Some(filter) => {
            let keep = evaluate(filter, &both, parameters)?;
            let keep = keep.column(0).as_boolean().clone();
            (arrow::compute::filter_record_batch(&old, &keep)?, arrow::compute::filter_record_batch(&both, &keep)?)
        }
    };
    let changed = evaluate(values, &both, parameters)?;
    let mut new = old.columns().to_vec();
    for (place, column) in columns.iter().enumerate() {
        new[*column] = changed.column(place).clone();
    }
    let new = RecordBatch::try_new(nullable(&old.schema()), new)?;
    Ok((old, new))
}

fn side_by_side(left: &RecordBatch, right: &RecordBatch) -> Result<RecordBatch> {
    let (left_schema, right_schema) = (left.schema(), right.schema());
    let fields = left_schema.fields().iter().chain(right_schema.fields().iter()).cloned();
    let columns = left.columns().iter().chain(right.columns()).cloned().collect();
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields.collect::<Vec<_>>())), columns)?)
}
