//! Sequences: numbers handed out at once and outside of transactions, as in Postgres.
//!
//! Where a sequence stands is a row of its own, like that of a table. Whoever takes numbers does so under a lock and
//! sends the changed row to the clock without waiting: the row is in the log before anything that the same session
//! commits with the numbers, so that no number that was stored is ever given again.

use super::clock::{Committing, Request};
use super::writes::Writes;
use super::{Coordinator, nullable, schema_of};
use arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::Int64Type;
use millrace_catalog::{Column, Relation, RelationKind, Sequence};
use millrace_types::{Delta, RelationId, Result, SqlError, SqlState, SqlType, Weights};
use std::sync::Arc;
use tokio::sync::oneshot;

/// Where a sequence stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The last number that was given, or the first that will be.
    pub last: i64,
    /// Whether `last` was given already.
    pub called: bool,
}

/// The columns of a sequence's row, which are Postgres's.
pub fn sequence_columns() -> Vec<Column> {
    let column = |name, sql_type| Column::new(name, sql_type).not_null();
    vec![column("last_value", SqlType::Int8), column("log_cnt", SqlType::Int8), column("is_called", SqlType::Bool)]
}

impl Coordinator {
    /// The next `count` numbers of a sequence.
    ///
    /// # Errors
    /// `42P01` and `42809` for what is no sequence, `2200H` at its end.
    pub fn take_numbers(&self, id: RelationId, count: usize) -> Result<Vec<i64>> {
        let (relation, sequence) = self.sequence(id)?;
        let mut positions = self.positions.lock();
        let before = positions.get(&id).copied().map_or_else(|| self.stored_position(&relation), |at| Ok(Some(at)))?;
        let mut position = before.unwrap_or(Position { last: sequence.start, called: false });
        let mut numbers = Vec::with_capacity(count);
        for _ in 0..count {
            position = next(position, &sequence, &relation.name)?;
            numbers.push(position.last);
        }
        self.move_to(&relation, before, position)?;
        positions.insert(id, position);
        Ok(numbers)
    }

    /// Puts a sequence somewhere.
    ///
    /// # Errors
    /// As [`Coordinator::take_numbers`]; `22003` for a number outside of its bounds.
    pub fn set_position(&self, id: RelationId, position: Position) -> Result<()> {
        let (relation, sequence) = self.sequence(id)?;
        if !(sequence.min..=sequence.max).contains(&position.last) {
            let (name, min, max) = (&relation.name, sequence.min, sequence.max);
            let message =
                format!("setval: value {} is out of bounds for sequence \"{name}\" ({min}..{max})", position.last);
            return Err(SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, message));
        }
        let mut positions = self.positions.lock();
        let before = positions.get(&id).copied().map_or_else(|| self.stored_position(&relation), |at| Ok(Some(at)))?;
        self.move_to(&relation, before, position)?;
        positions.insert(id, position);
        Ok(())
    }

    fn sequence(&self, id: RelationId) -> Result<(Arc<Relation>, Sequence)> {
        let catalog = self.published().catalog.clone();
        let relation = catalog.get(id).cloned().ok_or_else(|| {
            SqlError::new(SqlState::UNDEFINED_TABLE, format!("could not open relation with OID {id}"))
        })?;
        match &relation.kind {
            RelationKind::Sequence(sequence) => Ok((relation.clone(), sequence.clone())),
            _ => {
                let message = format!("\"{}\" is not a sequence", relation.name);
                Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, message))
            }
        }
    }

    /// What the sequence's row says; nothing before it was first written.
    fn stored_position(&self, relation: &Relation) -> Result<Option<Position>> {
        let published = self.published();
        let Some(model) = published.models.get(&relation.id) else { return Ok(None) };
        for rows in model.scan(None) {
            let rows = rows?;
            if rows.num_rows() > 0 {
                let last = rows.column(0).as_primitive::<Int64Type>().value(0);
                return Ok(Some(Position { last, called: rows.column(2).as_boolean().value(0) }));
            }
        }
        Ok(None)
    }

    fn move_to(&self, relation: &Relation, before: Option<Position>, after: Position) -> Result<()> {
        let mut writes = Writes::default();
        writes.add(relation.id, change(relation, before, after)?);
        // Nobody waits for it, so that nobody takes the answer.
        let (reply, _) = oneshot::channel();
        let request = Request::Commit(Committing { writes, reads: None, durable: false, reply });
        self.requests.send(request).map_err(|_| super::clock::shutting_down())
    }
}

fn next(at: Position, sequence: &Sequence, name: &str) -> Result<Position> {
    if !at.called {
        return Ok(Position { called: true, ..at });
    }
    let following = at.last.checked_add(sequence.increment);
    let last = match following.filter(|next| (sequence.min..=sequence.max).contains(next)) {
        Some(next) => next,
        None if sequence.cycle && sequence.increment > 0 => sequence.min,
        None if sequence.cycle => sequence.max,
        None => {
            let (which, bound) =
                if sequence.increment > 0 { ("maximum", sequence.max) } else { ("minimum", sequence.min) };
            let message = format!("nextval: reached {which} value of sequence \"{name}\" ({bound})");
            return Err(SqlError::new(SqlState::SEQUENCE_GENERATOR_LIMIT_EXCEEDED, message));
        }
    };
    Ok(Position { last, called: true })
}

/// The row as it was goes, and as it is comes.
fn change(relation: &Relation, before: Option<Position>, after: Position) -> Result<Delta> {
    let schema = nullable(&schema_of(relation));
    let row = |position: Position| {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(vec![position.last])),
            Arc::new(Int64Array::from(vec![0])),
            Arc::new(BooleanArray::from(vec![position.called])),
        ];
        RecordBatch::try_new(schema.clone(), columns)
    };
    let rows = before.into_iter().chain([after]).map(row).collect::<Result<Vec<_>, _>>()?;
    let weights: Vec<i64> = if rows.len() == 2 { vec![-1, 1] } else { vec![1] };
    Ok(Delta::new(concat_batches(&schema, &rows)?, Weights::Each(weights.into())))
}
