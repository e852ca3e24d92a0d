//! Tables that a connector feeds: what is read becomes changes of the table, stored like those of a transaction.
//!
//! ```text
//!   rows, keys that are gone --> the rows that are there under these keys --> changes --> the tick's transactions
//! ```
//!
//! With a primary key the last record of a key counts; without one, rows are added. How far the connector is read is
//! written with the changes, so that reading goes on there after a restart, and no record counts twice or not at all.

use super::arrivals::moments;
use super::clock::{Clock, DefinedSource};
use super::define::nullable;
use super::ingest::{Bounds, Fed, Reading};
use super::writes::{Identity, Writes, key_identities, row_identities};
use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use millrace_catalog::{Column, Generated, Relation};
use millrace_connectors::Source;
use millrace_dataflow::read_model::ReadModel;
use millrace_types::{Delta, EventTime, RelationId, Result, SqlError, Weights};
use std::collections::HashMap;
use std::sync::Arc;

impl Clock {
    /// Begins to feed a table, or goes on where it was when the server ended.
    pub(super) fn start_feed(&mut self, table: &Relation, source: Arc<dyn Source>) -> Result<()> {
        let (status, late) = (Arc::default(), Arc::default());
        let defined = Arc::new(DefinedSource { source, status, timed: None, late, arrivals: None, feeds: true });
        self.sources.lock().insert(table.id, defined);
        self.read_feed(table.id)
    }

    /// Reads what feeds a table from where its stored rows end.
    fn read_feed(&mut self, table: RelationId) -> Result<()> {
        self.readings.retain(|reading| reading.relation != table);
        let Some(defined) = self.sources.lock().get(&table).cloned() else { return Ok(()) };
        let columns = (0..self.state.catalog.get(table).map_or(0, |table| table.columns.len())).collect();
        let bounds = Bounds { from: self.remembered.of(table), ..Bounds::default() };
        let mut reading = Reading::start(table, &defined, columns, None, bounds, None, self.waker.clone())?;
        reading.feeds = true;
        self.readings.push(reading);
        Ok(())
    }

    /// Adds what the readings of fed tables have to the transactions of a tick; answers whether there may be more.
    pub(super) fn take_feeds(&mut self, limit: usize, writes: &mut Writes) -> bool {
        let (mut more, now) = (false, self.now());
        let tables: Vec<_> = self.readings.iter().filter(|r| r.feeds).map(|reading| reading.relation).collect();
        for table in tables {
            let Some(reading) = self.readings.iter_mut().find(|reading| reading.relation == table) else { continue };
            let (fed, unread) = reading.take_fed(limit, now);
            more |= unread;
            match self.fed_changes(table, &fed, now) {
                Ok(delta) => writes.add(table, delta),
                Err(error) => {
                    tracing::error!(%table, %error, "a table cannot be fed");
                    if let Some(source) = self.sources.lock().get(&table) {
                        source.status.fail(None, error);
                    }
                    self.readings.retain(|reading| reading.relation != table);
                }
            }
        }
        more
    }

    /// The changes that what was read makes in a table.
    fn fed_changes(&self, table: RelationId, fed: &[Fed], now: EventTime) -> Result<Delta> {
        let gone = || SqlError::internal(format!("table {table} that is fed is not there"));
        let relation = self.state.catalog.get(table).ok_or_else(gone)?;
        let model = self.state.models.get(&table).ok_or_else(gone)?;
        let schema = nullable(model.schema());
        let loose = |fed: &Fed| Ok(RecordBatch::try_new(schema.clone(), fed.rows.columns().to_vec())?);
        let batches = fed.iter().map(loose).collect::<Result<Vec<_>>>()?;
        let rows = arrived(relation, concat_batches(&schema, &batches)?, now)?;
        let Some(key) = relation.keys().next().filter(|_| rows.num_rows() > 0) else { return Ok(Delta::inserts(rows)) };
        let mut deletes = Vec::with_capacity(rows.num_rows());
        for fed in fed {
            match &fed.deletes {
                Some(gone) => deletes.extend(gone.iter()),
                None => deletes.resize(deletes.len() + fed.rows.num_rows(), false),
            }
        }
        overwriting(model, &key.columns, &rows, &deletes)
    }

    /// Reads again what a tick had taken that could not be written down.
    pub(super) fn read_feeds_again(&mut self) {
        let tables: Vec<_> = self.readings.iter().filter(|r| r.feeds).map(|reading| reading.relation).collect();
        for table in tables {
            if let Err(error) = self.read_feed(table) {
                tracing::error!(%table, %error, "a table is no longer fed");
            }
        }
    }
}

/// The rows with the moment at which they came in, in the columns that tell it.
fn arrived(table: &Relation, rows: RecordBatch, now: EventTime) -> Result<RecordBatch> {
    let tells = |column: &Column| column.generated == Some(Generated::Arrival);
    if !table.columns.iter().any(tells) {
        return Ok(rows);
    }
    let column = |(column, values): (&Column, &ArrayRef)| match tells(column) {
        true => moments(now, rows.num_rows(), values.data_type()),
        false => Ok(values.clone()),
    };
    let columns = table.columns.iter().zip(rows.columns()).map(column).collect::<Result<_>>()?;
    Ok(RecordBatch::try_new(rows.schema(), columns)?)
}

/// The changes by which the last row of each key takes the place of the one that is there.
fn overwriting(model: &ReadModel, key: &[usize], rows: &RecordBatch, deletes: &[bool]) -> Result<Delta> {
    let of = |rows: &RecordBatch| key.iter().map(|column| rows.column(*column).clone()).collect::<Vec<ArrayRef>>();
    let mut last: HashMap<Identity, u32> = HashMap::with_capacity(rows.num_rows());
    last.extend(key_identities(&of(rows), rows.num_rows())?.into_iter().zip(0u32..));
    let mut places: Vec<u32> = last.into_values().collect();
    places.sort_unstable();
    let touched = take_record_batch(rows, &UInt32Array::from(places.clone()))?;
    let old = model.lookup(&of(&touched))?;
    let old = RecordBatch::try_new(rows.schema(), old.columns().to_vec())?;
    places.retain(|place| !deletes[*place as usize]);
    let new = take_record_batch(rows, &UInt32Array::from(places))?;
    // A row that is there already, as after reading a record again, is no change.
    let (came, went) = (row_identities(&new)?, row_identities(&old)?);
    let (is_new, was_old): (std::collections::HashSet<_>, std::collections::HashSet<_>) =
        (came.iter().copied().collect(), went.iter().copied().collect());
    let changed = |identities: &[Identity], others: &std::collections::HashSet<Identity>| {
        let places =
            (0u32..).zip(identities).filter(|(_, identity)| !others.contains(*identity)).map(|(place, _)| place);
        UInt32Array::from(places.collect::<Vec<_>>())
    };
    let new = take_record_batch(&new, &changed(&came, &was_old))?;
    let old = take_record_batch(&old, &changed(&went, &is_new))?;
    let weights: Vec<i64> =
        std::iter::repeat_n(-1, old.num_rows()).chain(std::iter::repeat_n(1, new.num_rows())).collect();
    Ok(Delta::new(concat_batches(&rows.schema(), [&old, &new])?, Weights::Each(weights.into())))
}
