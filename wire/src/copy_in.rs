//! `COPY ... FROM STDIN`: data from the client to the session, no faster than the session takes it.

use crate::CancelToken;
use crate::backend::{CopyData, Session};
use crate::connection::{Connection, guarded};
use crate::frontend;
use crate::incoming::Incoming;
use crate::report::Failure;
use crate::rows::copy_formats;
use bytes::Bytes;
use millrace_types::{Result, SqlError, SqlState};
use pgwire::messages::copy::CopyInResponse;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// How many messages of data may wait for the session.
const WAITING_MESSAGES: usize = 4;

impl<S: Session> Connection<S> {
    /// Asks the client for data, hands it to the session, and gives the command tag.
    pub(crate) async fn copy_in(
        &mut self,
        statement: &S::Statement,
        columns: usize,
        binary: bool,
    ) -> Result<String, Failure> {
        let (format, column_formats) = copy_formats(columns, binary);
        self.outgoing.put(&CopyInResponse::new(format, columns as i16, column_formats))?;
        self.drain().await?;
        let grace = self.grace;
        let (sender, receiver) = mpsc::channel(WAITING_MESSAGES);
        let work = guarded(self.session.copy_in(statement, CopyData(receiver)));
        let pump = pump(&mut self.incoming, &self.cancel, sender);
        tokio::pin!(work, pump);
        let pumped = tokio::select! {
            biased;
            done = &mut work => {
                // A failed statement is reported at once. One that saw its end in the data is complete when the
                // client says so too.
                let tag = done??;
                return pump.await.map(|()| tag);
            }
            pumped = &mut pump => pumped,
        };
        match pumped {
            Ok(()) => Ok(work.await??),
            Err(failure) => {
                // The session has been told through its data and rolls back.
                let _ = timeout(grace, work).await;
                Err(failure)
            }
        }
    }
}

/// Passes data on until the client ends it, or cancels, or leaves; after the session stopped taking it, drops it.
async fn pump(
    incoming: &mut Incoming,
    cancel: &CancelToken,
    sender: mpsc::Sender<Result<Bytes>>,
) -> Result<(), Failure> {
    loop {
        let frame = tokio::select! {
            biased;
            reason = cancel.cancelled() => return fail(&sender, reason).await,
            frame = incoming.next() => frame,
        };
        match frame {
            Ok(frame) => match frame.kind {
                b'd' => {
                    // Nobody takes it any more: the statement is over, and only the end of the data is awaited.
                    let _ = sender.send(Ok(frame.body)).await;
                }
                b'c' => return Ok(()),
                b'f' => return fail(&sender, given_up(frame.body)).await,
                // Some client libraries send these whether data is expected or not.
                b'H' | b'S' => {}
                b'X' => {
                    fail(&sender, lost()).await?;
                    return Err(Failure::Gone);
                }
                kind => {
                    let message = format!("unexpected message type 0x{kind:02X} during COPY from stdin");
                    return fail(&sender, SqlError::new(SqlState::PROTOCOL_VIOLATION, message)).await;
                }
            },
            Err(failure) => {
                fail(&sender, lost()).await?;
                return Err(failure);
            }
        }
    }
}

/// Ends the data with an error, which the session reports.
async fn fail(sender: &mpsc::Sender<Result<Bytes>>, error: SqlError) -> Result<(), Failure> {
    // The statement may be over already, with a result of its own.
    let _ = sender.send(Err(error)).await;
    Ok(())
}

fn given_up(body: Bytes) -> SqlError {
    match frontend::copy_fail(body) {
        Ok(reason) => SqlError::new(SqlState::QUERY_CANCELED, format!("COPY from stdin failed: {reason}")),
        Err(error) => error,
    }
}

fn lost() -> SqlError {
    SqlError::new(SqlState::CONNECTION_FAILURE, "unexpected EOF on client connection with an open transaction")
}
