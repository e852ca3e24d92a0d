//! Cursors: DECLARE, FETCH, CLOSE.

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::SchemaRef;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use millrace_planner::parse::FetchDirection;
use millrace_types::{Result, SqlError, SqlState};
use parking_lot::Mutex;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// An open cursor: a stream of rows that is read forwards, or with SCROLL all rows at once.
pub struct Cursor {
    /// Whether it outlives its transaction.
    pub hold: bool,
    /// Its columns.
    pub schema: SchemaRef,
    /// Behind a lock that is never waited for: a stream alone cannot be shared between threads, as sessions are.
    rows: Mutex<BoxStream<'static, Result<RecordBatch>>>,
    /// Rows that the stream gave and nobody fetched yet.
    left: Option<RecordBatch>,
    /// Whether the stream never ends by itself (a subscription): a FETCH then takes what comes within its time.
    endless: bool,
    /// All rows, and where the cursor stands among them.
    scrolled: Option<Scrolled>,
}

/// Rows that are read in any direction.
struct Scrolled {
    rows: RecordBatch,
    /// The row that was fetched last, counted from 1; 0 before the first, and one more than there are after the last.
    position: usize,
}

impl Cursor {
    /// A cursor over rows.
    pub fn new(schema: SchemaRef, rows: BoxStream<'static, Result<RecordBatch>>, hold: bool, endless: bool) -> Cursor {
        // Fused: FETCH may ask again after the end.
        Cursor { hold, schema, rows: Mutex::new(rows.fuse().boxed()), left: None, endless, scrolled: None }
    }

    /// A cursor that goes in any direction over rows, which are all computed now.
    pub async fn scrolling(
        schema: SchemaRef,
        rows: BoxStream<'static, Result<RecordBatch>>,
        hold: bool,
    ) -> Result<Cursor> {
        let batches: Vec<_> = rows.try_collect().await?;
        let batch_schema = batches.first().map_or_else(|| schema.clone(), RecordBatch::schema);
        let rows = concat_batches(&batch_schema, &batches)?;
        let scrolled = Some(Scrolled { rows, position: 0 });
        Ok(Cursor { scrolled, ..Cursor::new(schema, futures::stream::empty().boxed(), hold, false) })
    }

    /// The rows of a FETCH. A subscription waits for the first one until `wait` has passed, for ever without it.
    ///
    /// # Errors
    /// `55000` for going backwards without SCROLL.
    pub async fn fetch(&mut self, direction: FetchDirection, wait: Option<Duration>) -> Result<Vec<RecordBatch>> {
        if let Some(scrolled) = &mut self.scrolled {
            return Ok(vec![scrolled.fetch(direction)?]);
        }
        match direction {
            FetchDirection::Forward(count) if count >= 0 => self.forward(count as usize, wait).await,
            FetchDirection::All => self.forward(usize::MAX, wait).await,
            FetchDirection::Relative(count) if count > 0 => {
                self.forward(count as usize - 1, wait).await?;
                self.forward(1, wait).await
            }
            _ => {
                let message = "cursor can only scan forward";
                Err(SqlError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
                    .with_hint("Declare it with SCROLL option to enable backward scan."))
            }
        }
    }

    /// The next rows, at most `count`.
    async fn forward(&mut self, count: usize, wait: Option<Duration>) -> Result<Vec<RecordBatch>> {
        let deadline = wait.map(|wait| Instant::now() + wait);
        let (mut batches, mut missing) = (vec![], count);
        while missing > 0 {
            let Some(batch) = self.next(batches.is_empty(), deadline).await? else { break };
            let taken = batch.num_rows().min(missing);
            if taken < batch.num_rows() {
                self.left = Some(batch.slice(taken, batch.num_rows() - taken));
            }
            missing -= taken;
            batches.push(batch.slice(0, taken));
        }
        Ok(batches)
    }

    async fn next(&mut self, first: bool, deadline: Option<Instant>) -> Result<Option<RecordBatch>> {
        if let Some(left) = self.left.take() {
            return Ok(Some(left));
        }
        if !self.endless {
            return self.rows.get_mut().next().await.transpose();
        }
        let now = Instant::now();
        match (first, deadline) {
            (true, None) => self.rows.get_mut().next().await.transpose(),
            (true, Some(deadline)) => {
                timeout_at(deadline, self.rows.get_mut().next()).await.unwrap_or(None).transpose()
            }
            // Rows that are there already come along; nothing is waited for.
            (false, _) => timeout_at(now, self.rows.get_mut().next()).await.unwrap_or(None).transpose(),
        }
    }
}

impl Scrolled {
    fn fetch(&mut self, direction: FetchDirection) -> Result<RecordBatch> {
        let count = |count: i64| usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
        match direction {
            FetchDirection::Forward(0) | FetchDirection::Relative(0) => self.to(self.position),
            FetchDirection::Forward(n) if n > 0 => Ok(self.forward(count(n))),
            FetchDirection::Forward(n) => self.backward(count(n)),
            FetchDirection::All => Ok(self.forward(usize::MAX)),
            FetchDirection::BackwardAll => self.backward(usize::MAX),
            FetchDirection::Prior => self.backward(1),
            FetchDirection::First => self.to(1),
            FetchDirection::Last => self.to(self.rows.num_rows()),
            FetchDirection::Absolute(n) if n >= 0 => self.to(count(n)),
            FetchDirection::Absolute(n) => self.to((self.rows.num_rows() + 1).saturating_sub(count(n))),
            FetchDirection::Relative(n) if n > 0 => self.to(self.position.saturating_add(count(n))),
            FetchDirection::Relative(n) => self.to(self.position.saturating_sub(count(n))),
        }
    }

    fn forward(&mut self, count: usize) -> RecordBatch {
        let (start, rows) = (self.position.min(self.rows.num_rows()), self.rows.num_rows());
        let taken = count.min(rows - start);
        self.position = if taken < count { rows + 1 } else { start + taken };
        self.rows.slice(start, taken)
    }

    fn backward(&mut self, count: usize) -> Result<RecordBatch> {
        let before = self.position.saturating_sub(1);
        let taken = count.min(before);
        self.position = if taken < count { 0 } else { before - taken + 1 };
        let indices: UInt32Array = (before - taken..before).rev().map(|row| row as u32).collect();
        Ok(take_record_batch(&self.rows, &indices)?)
    }

    /// The one row at a place, if there is one.
    fn to(&mut self, position: usize) -> Result<RecordBatch> {
        let rows = self.rows.num_rows();
        self.position = position.min(rows + 1);
        Ok(match (1..=rows).contains(&position) {
            true => self.rows.slice(position - 1, 1),
            false => self.rows.slice(0, 0),
        })
    }
}
