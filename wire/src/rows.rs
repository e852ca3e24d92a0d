//! Rows on their way to the client: as messages, in the formats that it asked for, as fast as it reads.

use crate::backend::{CopyChunk, Session, Tag};
use crate::connection::{Connection, attended, guarded};
use crate::encode::RowEncoder;
use crate::portal::Format;
use crate::report::Failure;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use millrace_types::{Result, SqlError};
use pgwire::messages::copy::{CopyData, CopyDone, CopyOutResponse};
use std::time::Duration;

/// How long the head of an answer may wait for its first row before it is written by itself.
const HEAD_DELAY: Duration = Duration::from_millis(2);

/// The rows of an executed statement: a stream of batches and a place in it.
pub(crate) struct RowSource {
    schema: SchemaRef,
    stream: Option<BoxStream<'static, Result<RecordBatch>>>,
    tag: Tag,
    formats: Vec<Format>,
    /// The batch being sent and the first row of it that is not sent yet.
    batch: Option<(RecordBatch, usize)>,
}

/// What one execution sent.
pub(crate) struct Sent {
    pub rows: u64,
    /// Whether there are no more; false when the limit was reached, even if nothing follows.
    pub at_end: bool,
}

/// COPY data on its way to the client.
pub(crate) struct CopyOut {
    pub columns: usize,
    pub binary: bool,
    pub rows: BoxStream<'static, Result<CopyChunk>>,
}

impl RowSource {
    pub fn new(
        schema: SchemaRef,
        stream: BoxStream<'static, Result<RecordBatch>>,
        tag: Tag,
        formats: Vec<Format>,
    ) -> RowSource {
        RowSource { schema, stream: Some(stream), tag, formats, batch: None }
    }

    /// The command tag after `rows` rows.
    pub fn tag(&self, rows: u64) -> String {
        self.tag.after(rows)
    }
}

impl<S: Session> Connection<S> {
    /// Sends rows until there are no more or `limit` are sent.
    pub(crate) async fn send_rows(&mut self, source: &mut RowSource, limit: Option<u64>) -> Result<Sent, Failure> {
        let mut rows = 0;
        loop {
            let Some((batch, from)) = source.batch.take() else {
                match &mut source.stream {
                    Some(stream) => match self.next_item(stream).await? {
                        Some(batch) => source.batch = Some((batch, 0)),
                        None => source.stream = None,
                    },
                    None => return Ok(Sent { rows, at_end: true }),
                }
                continue;
            };
            if batch.num_columns() != source.schema.fields().len() {
                return Err(SqlError::internal("a batch of rows does not have the columns that were announced").into());
            }
            let wanted = limit.map_or(usize::MAX, |limit| usize::try_from(limit - rows).unwrap_or(usize::MAX));
            let to = batch.num_rows().min(from.saturating_add(wanted));
            self.send_batch(&source.schema, &source.formats, &batch, from, to).await?;
            rows += (to - from) as u64;
            if to < batch.num_rows() {
                source.batch = Some((batch, to));
            }
            if limit == Some(rows) {
                return Ok(Sent { rows, at_end: false });
            }
        }
    }

    async fn send_batch(
        &mut self,
        schema: &SchemaRef,
        formats: &[Format],
        batch: &RecordBatch,
        from: usize,
        to: usize,
    ) -> Result<(), Failure> {
        let text_format = self.session.text_format();
        let encoder = RowEncoder::new(schema, batch, formats, &text_format)?;
        let mut row = from;
        while row < to {
            while row < to && !self.outgoing.is_full() {
                encoder.write(row, self.outgoing.buffer())?;
                row += 1;
            }
            if self.outgoing.is_full() {
                self.drain().await?;
            }
        }
        Ok(())
    }

    /// The next item of a stream. What is collected is written before waiting long: a subscription's rows must reach
    /// the client when they come, not when there are many; but an ordinary answer goes out in one piece.
    async fn next_item<T>(&mut self, stream: &mut BoxStream<'static, Result<T>>) -> Result<Option<T>, Failure> {
        self.cancel.check()?;
        // Most rows are there already.
        if let Some(item) = guarded(stream.next()).now_or_never() {
            return Ok(item?.transpose()?);
        }
        let cancel = self.cancel.clone();
        let next = async {
            tokio::select! {
                biased;
                reason = cancel.cancelled() => Some(Err(reason)),
                item = stream.next() => item,
            }
        };
        tokio::pin!(next);
        if !self.outgoing.is_empty() {
            let soon = tokio::time::timeout(HEAD_DELAY, &mut next);
            match attended(&mut self.incoming, &self.cancel, self.grace, soon).await? {
                Ok(item) => return Ok(item.transpose()?),
                Err(_) => self.drain().await?,
            }
        }
        Ok(attended(&mut self.incoming, &self.cancel, self.grace, next).await?.transpose()?)
    }

    /// Sends a whole COPY, a message for each row as clients expect, and gives its command tag.
    pub(crate) async fn send_copy(&mut self, mut copy: CopyOut) -> Result<String, Failure> {
        let (format, column_formats) = copy_formats(copy.columns, copy.binary);
        self.outgoing.put(&CopyOutResponse::new(format, copy.columns as i16, column_formats))?;
        let mut rows = 0;
        while let Some(chunk) = self.next_item(&mut copy.rows).await? {
            rows += chunk.rows.len();
            let mut bytes = chunk.bytes;
            for length in chunk.rows.into_iter().chain([usize::MAX]) {
                let message = bytes.split_to(bytes.len().min(length));
                if message.is_empty() {
                    break;
                }
                self.outgoing.put(&CopyData::new(message))?;
                if self.outgoing.is_full() {
                    self.drain().await?;
                }
            }
        }
        self.outgoing.put(&CopyDone::new())?;
        Ok(format!("COPY {rows}"))
    }
}

/// The overall format of a COPY and that of each column, as its announcement has them.
pub(crate) fn copy_formats(columns: usize, binary: bool) -> (i8, Vec<i16>) {
    (i8::from(binary), vec![i16::from(binary); columns])
}
