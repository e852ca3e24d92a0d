//! Cursors: DECLARE, FETCH, CLOSE.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use futures::StreamExt;
use futures::stream::BoxStream;
use millrace_types::Result;
use parking_lot::Mutex;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// An open cursor: a stream of rows, read forwards.
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
}

impl Cursor {
    /// A cursor over rows.
    pub fn new(schema: SchemaRef, rows: BoxStream<'static, Result<RecordBatch>>, hold: bool, endless: bool) -> Cursor {
        // Fused: FETCH may ask again after the end.
        Cursor { hold, schema, rows: Mutex::new(rows.fuse().boxed()), left: None, endless }
    }

    /// The next rows, at most `count`. A subscription waits for the first one until `wait` has passed, for ever
    /// without it.
    pub async fn fetch(&mut self, count: usize, wait: Option<Duration>) -> Result<Vec<RecordBatch>> {
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
