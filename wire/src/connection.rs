//! One client's messages in sequence, from the greeting to the last one.

use crate::CancelToken;
use crate::backend::{Deallocation, Session, Startup, TransactionStatus};
use crate::incoming::{Frame, Incoming};
use crate::outgoing::Outgoing;
use crate::portal::{Portal, Prepared};
use crate::report::{self, Failure};
use futures::FutureExt;
use millrace_types::{Result, SqlError, SqlState};
use pgwire::messages::response::{ReadyForQuery, TransactionStatus as ReadyStatus};
use pgwire::messages::startup::{Authentication, BackendKeyData, ParameterStatus, SecretKey};
use std::collections::HashMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;
use tokio::time::timeout;

/// What clients are told at the start unless the session says otherwise.
const GREETING: [(&str, &str); 9] = [
    ("server_version", "15.0"),
    ("server_encoding", "UTF8"),
    ("client_encoding", "UTF8"),
    ("DateStyle", "ISO, MDY"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "UTC"),
    ("integer_datetimes", "on"),
    ("standard_conforming_strings", "on"),
    ("in_hot_standby", "off"),
];

/// A client that is logged in.
pub(crate) struct Connection<S: Session> {
    pub incoming: Incoming,
    pub outgoing: Outgoing,
    pub session: S,
    pub cancel: CancelToken,
    /// Prepared statements by name; the unnamed one has the empty name.
    pub statements: HashMap<String, Prepared<S::Statement>>,
    /// Portals by name.
    pub portals: HashMap<String, Portal<S::Statement>>,
    /// Whether an implicit transaction is open.
    pub batch_open: bool,
    /// After an error in the extended protocol: messages are skipped up to the next Sync.
    skipping: bool,
    /// How long work may take to end after it was told to.
    pub grace: Duration,
}

impl<S: Session> Connection<S> {
    pub fn new(
        incoming: Incoming,
        outgoing: Outgoing,
        session: S,
        cancel: CancelToken,
        grace: Duration,
    ) -> Connection<S> {
        Connection {
            incoming,
            outgoing,
            session,
            cancel,
            statements: HashMap::new(),
            portals: HashMap::new(),
            batch_open: false,
            skipping: false,
            grace,
        }
    }

    /// Serves the client until it leaves. A failure comes with the half that can still tell it.
    pub async fn run(mut self, startup: &Startup, secret: i32) -> Result<(), (Outgoing, Failure)> {
        let failure = match self.greet(startup, secret).await {
            Ok(()) => self.serve().await,
            Err(failure) => Err(failure),
        };
        // Rolls back what the client left open; nobody is there to hear of an error.
        if self.batch_open {
            let _ = timeout(self.grace, self.session.end_batch(true)).await;
        }
        failure.map_err(|failure| (self.outgoing, failure))
    }

    async fn greet(&mut self, startup: &Startup, secret: i32) -> Result<(), Failure> {
        self.outgoing.put(&Authentication::Ok)?;
        let changed = self.session.take_parameter_changes();
        let named = |name: &str| startup.parameters.iter().rev().find(|(n, _)| n.eq_ignore_ascii_case(name));
        let from_client = ["application_name", "client_encoding"]
            .into_iter()
            .filter_map(|name| named(name).map(|(_, value)| (name.to_owned(), value.clone())));
        let mut parameters: Vec<(String, String)> = from_client.collect();
        parameters.push(("session_authorization".to_owned(), startup.user.clone()));
        parameters.extend([("is_superuser", "on"), ("default_transaction_read_only", "off")].map(owned));
        for (name, value) in GREETING.map(owned) {
            if !parameters.iter().any(|(known, _)| *known == name) {
                parameters.push((name, value));
            }
        }
        for (name, value) in changed {
            match parameters.iter_mut().find(|(known, _)| *known == name) {
                Some(known) => known.1 = value,
                None => parameters.push((name, value)),
            }
        }
        for (name, value) in parameters {
            self.outgoing.put(&ParameterStatus::new(name, value))?;
        }
        self.outgoing.put(&BackendKeyData::new(startup.process_id, SecretKey::I32(secret)))?;
        self.put_notices()?;
        self.ready().await
    }

    /// Takes messages until the client leaves or the connection fails.
    async fn serve(&mut self) -> Result<(), Failure> {
        loop {
            let frame = match self.next_frame().await {
                Ok(frame) => frame,
                Err(Failure::Gone) => return Ok(()),
                Err(failure) => return Err(failure),
            };
            if frame.kind == b'X' {
                return Ok(());
            }
            if self.skipping && frame.kind != b'S' {
                continue;
            }
            self.cancel.begin();
            let extended = is_extended(frame.kind);
            let outcome = self.handle(frame).await;
            let outcome = match outcome {
                Err(Failure::Statement(error)) => self.recover(error, extended).await,
                other => other,
            };
            self.cancel.end();
            outcome?;
        }
    }

    /// The next message. Between statements a session ends by its idle limit or by being closed from outside.
    async fn next_frame(&mut self) -> Result<Frame, Failure> {
        let limit = self.session.idle_limit();
        let idle_for_too_long = async {
            match limit {
                Some((limit, error)) => {
                    tokio::time::sleep(limit).await;
                    error
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            frame = self.incoming.next() => frame,
            reason = self.cancel.cancelled() => Err(Failure::Fatal(reason)),
            error = idle_for_too_long => Err(Failure::Fatal(error)),
        }
    }

    async fn handle(&mut self, frame: Frame) -> Result<(), Failure> {
        match frame.kind {
            b'Q' => self.simple_query(frame.body).await,
            b'P' => self.parse(frame.body).await,
            b'B' => self.bind(frame.body).await,
            b'D' => self.describe(frame.body).await,
            b'E' => self.execute(frame.body).await,
            b'C' => self.close(frame.body),
            b'H' => self.drain().await,
            b'S' => self.sync().await,
            b'F' => Err(SqlError::unsupported("the function call protocol message").into()),
            // What is left of a COPY that has failed.
            _ => Ok(()),
        }
    }

    /// A statement failed: reports it, rolls back, and finds the point from which the client goes on.
    async fn recover(&mut self, error: SqlError, extended: bool) -> Result<(), Failure> {
        if let Some(reason) = self.cancel.closed() {
            return Err(Failure::Fatal(reason));
        }
        self.end_batch(true).await?;
        self.put_notices()?;
        self.outgoing.put(&report::error(&error))?;
        self.portals.values_mut().for_each(Portal::fail);
        self.skipping = extended;
        match extended {
            // Some clients wait for the error before they send the Sync that it asks for.
            true => self.flush().await,
            false => self.ready().await,
        }
    }

    /// Ends a batch of extended messages.
    async fn sync(&mut self) -> Result<(), Failure> {
        self.skipping = false;
        if let Err(failure) = self.end_batch(false).await {
            let Failure::Statement(error) = failure else { return Err(failure) };
            self.put_notices()?;
            self.outgoing.put(&report::error(&error))?;
        }
        self.ready().await
    }

    /// Opens an implicit transaction unless one is open.
    pub async fn begin_batch(&mut self, several: bool) -> Result<(), Failure> {
        if !self.batch_open {
            self.batch_open = true;
            attended(&mut self.incoming, &self.cancel, self.grace, self.session.begin_batch(several)).await?;
        }
        Ok(())
    }

    /// Ends the implicit transaction, if one is open. The error of a rollback is only logged: what is reported is what
    /// led to it.
    pub async fn end_batch(&mut self, failed: bool) -> Result<(), Failure> {
        if !std::mem::take(&mut self.batch_open) {
            return Ok(());
        }
        let ended = attended(&mut self.incoming, &self.cancel, self.grace, self.session.end_batch(failed)).await?;
        match ended {
            Err(error) if failed => tracing::warn!(%error, "rollback failed"),
            other => other?,
        }
        Ok(())
    }

    /// Says that the next query can come, after everything that happened to the session's parameters.
    pub async fn ready(&mut self) -> Result<(), Failure> {
        for (name, value) in self.session.take_parameter_changes() {
            self.outgoing.put(&ParameterStatus::new(name, value))?;
        }
        let status = match self.session.transaction_status() {
            TransactionStatus::Idle => ReadyStatus::Idle,
            TransactionStatus::Active => ReadyStatus::Transaction,
            TransactionStatus::Failed => ReadyStatus::Error,
        };
        if status == ReadyStatus::Idle {
            self.portals.clear();
        }
        self.outgoing.put(&ReadyForQuery::new(status))?;
        self.flush().await
    }

    /// Writes what is collected. A cancellation does not keep it back: whoever waits for it would wait for ever.
    async fn flush(&mut self) -> Result<(), Failure> {
        let flushed = tokio::select! {
            biased;
            flushed = self.outgoing.flush() => flushed,
            () = self.incoming.ended() => return Err(Failure::Gone),
        };
        Ok(flushed?)
    }

    /// Notices of the statement, and what it dropped of what is held here.
    pub fn put_notices(&mut self) -> Result<()> {
        for notice in self.session.take_notices() {
            self.outgoing.put(&report::notice(&notice))?;
        }
        for dropped in self.session.take_deallocations() {
            match dropped {
                Deallocation::Statement(name) => _ = self.statements.remove(&name),
                Deallocation::AllStatements => self.statements.clear(),
                Deallocation::Portal(name) => _ = self.portals.remove(&name),
                Deallocation::AllPortals => self.portals.clear(),
            }
        }
        Ok(())
    }

    /// Writes what is collected, unless the statement is cancelled or the client goes meanwhile.
    pub async fn drain(&mut self) -> Result<(), Failure> {
        if self.outgoing.is_empty() {
            return Ok(());
        }
        tokio::select! {
            biased;
            flushed = self.outgoing.flush() => Ok(flushed?),
            reason = self.cancel.cancelled() => Err(Failure::Statement(reason)),
            () = self.incoming.ended() => Err(self.gone()),
        }
    }

    /// The client went away: tells the session.
    fn gone(&self) -> Failure {
        self.cancel.close(client_gone());
        Failure::Gone
    }
}

fn owned((name, value): (&str, &str)) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

/// Whether an error in a message of this kind makes the connection skip to the next Sync.
fn is_extended(kind: u8) -> bool {
    matches!(kind, b'P' | b'B' | b'D' | b'E' | b'C' | b'H')
}

fn client_gone() -> SqlError {
    SqlError::new(SqlState::CONNECTION_FAILURE, "connection to client lost")
}

/// Work of the session; a panic in it is a failure that ends this connection, and only this one.
pub(crate) async fn guarded<T>(work: impl Future<Output = T>) -> Result<T, Failure> {
    // The connection ends after a panic, so nothing sees what it left half done.
    AssertUnwindSafe(work)
        .catch_unwind()
        .await
        .map_err(|_| Failure::Fatal(SqlError::internal("the server failed while running the statement")))
}

/// Runs work of the session and watches the socket meanwhile: when the client goes, the work is told to end and gets
/// `grace` to do so.
pub(crate) async fn attended<T>(
    incoming: &mut Incoming,
    cancel: &CancelToken,
    grace: Duration,
    work: impl Future<Output = T>,
) -> Result<T, Failure> {
    let work = guarded(work);
    tokio::pin!(work);
    tokio::select! {
        biased;
        done = &mut work => return done,
        () = incoming.ended() => {}
    }
    cancel.close(client_gone());
    if timeout(grace, work).await.is_err() {
        tracing::warn!("a statement did not end with its client and is dropped");
    }
    Err(Failure::Gone)
}
