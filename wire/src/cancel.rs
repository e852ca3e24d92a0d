//! Ending a statement from outside: the token of each session and the keys that clients cancel by.

use millrace_types::{Result, SqlError, SqlState};
use parking_lot::Mutex;
use rand::TryRngCore;
use rand::rngs::OsRng;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use tokio::sync::Notify;

/// Tells the work of one session to end. A cancellation concerns the statement that runs at that moment and is
/// forgotten with it; one that comes between statements does nothing. Closing lasts.
#[derive(Clone, Default)]
pub struct CancelToken(Arc<Inner>);

#[derive(Default)]
struct Inner {
    /// Whether `state` holds a reason: so that asking costs one load.
    tripped: AtomicBool,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
enum State {
    #[default]
    Idle,
    Running,
    Cancelled(SqlError),
    Closed(SqlError),
}

impl CancelToken {
    /// Ends the statement that runs now, if any, with `reason`.
    pub fn cancel(&self, reason: SqlError) {
        let mut state = self.0.state.lock();
        if matches!(*state, State::Running) {
            *state = State::Cancelled(reason);
            self.trip();
        }
    }

    /// Ends the statement that runs now and then the session, with `reason`.
    pub fn close(&self, reason: SqlError) {
        let mut state = self.0.state.lock();
        if !matches!(*state, State::Closed(_)) {
            *state = State::Closed(reason);
            self.trip();
        }
    }

    fn trip(&self) {
        self.0.tripped.store(true, Ordering::Release);
        self.0.changed.notify_waiters();
    }

    /// The reason as an error, if the running statement is to end. Cheap enough to ask once per batch of rows.
    pub fn check(&self) -> Result<()> {
        if !self.0.tripped.load(Ordering::Acquire) {
            return Ok(());
        }
        match &*self.0.state.lock() {
            State::Cancelled(reason) | State::Closed(reason) => Err(reason.clone()),
            State::Idle | State::Running => Ok(()),
        }
    }

    /// Waits until the running statement is to end, and gives the reason.
    pub async fn cancelled(&self) -> SqlError {
        loop {
            let changed = self.0.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Err(reason) = self.check() {
                return reason;
            }
            changed.await;
        }
    }

    /// Whether the session is to end, and why.
    pub(crate) fn closed(&self) -> Option<SqlError> {
        match &*self.0.state.lock() {
            State::Closed(reason) => Some(reason.clone()),
            _ => None,
        }
    }

    /// A statement starts: from now on it can be cancelled.
    pub(crate) fn begin(&self) {
        self.enter(State::Running);
    }

    /// The statement is over: a cancellation that it did not see is forgotten.
    pub(crate) fn end(&self) {
        self.enter(State::Idle);
    }

    fn enter(&self, next: State) {
        let mut state = self.0.state.lock();
        if !matches!(*state, State::Closed(_)) {
            *state = next;
            self.0.tripped.store(false, Ordering::Release);
        }
    }
}

impl fmt::Debug for CancelToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CancelToken({})", if self.check().is_err() { "tripped" } else { "quiet" })
    }
}

/// The sessions that can be cancelled, by process id.
#[derive(Default)]
pub(crate) struct Cancellations {
    last_process_id: AtomicI32,
    sessions: Mutex<HashMap<i32, (i32, CancelToken)>>,
}

/// A session's place among the [`Cancellations`], given back when dropped.
pub(crate) struct Registration {
    all: Arc<Cancellations>,
    pub process_id: i32,
    pub secret: i32,
    pub token: CancelToken,
}

impl Cancellations {
    /// A new session with a process id of its own and a secret that cannot be guessed.
    pub fn register(self: &Arc<Self>) -> Result<Registration> {
        let secret = OsRng.try_next_u32().map_err(|e| SqlError::internal(format!("no random key: {e}")))? as i32;
        let token = CancelToken::default();
        let mut sessions = self.sessions.lock();
        let process_id = loop {
            let candidate = self.last_process_id.fetch_add(1, Ordering::Relaxed).wrapping_add(1) & i32::MAX;
            if candidate != 0 && !sessions.contains_key(&candidate) {
                break candidate;
            }
        };
        sessions.insert(process_id, (secret, token.clone()));
        Ok(Registration { all: self.clone(), process_id, secret, token })
    }

    /// Cancels what runs in a session, if the secret is its own. The comparison of two words takes the same time
    /// whatever they are, and nothing is answered either way.
    pub fn cancel(&self, process_id: i32, secret: i32) {
        let token = match self.sessions.lock().get(&process_id) {
            Some((expected, token)) if expected ^ secret == 0 => token.clone(),
            _ => return,
        };
        token.cancel(SqlError::new(SqlState::QUERY_CANCELED, "canceling statement due to user request"));
    }

    /// Ends every session.
    pub fn close_all(&self, reason: &SqlError) {
        for (_, token) in self.sessions.lock().values() {
            token.close(reason.clone());
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.all.sessions.lock().remove(&self.process_id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason() -> SqlError {
        SqlError::new(SqlState::QUERY_CANCELED, "stop")
    }

    #[test]
    fn a_cancellation_concerns_the_running_statement_only() {
        let token = CancelToken::default();
        token.cancel(reason());
        token.begin();
        assert!(token.check().is_ok(), "one that came before the statement is not kept");
        token.cancel(reason());
        assert_eq!(token.check(), Err(reason()));
        token.end();
        token.begin();
        assert!(token.check().is_ok(), "the next statement runs");
        token.close(reason());
        token.end();
        token.begin();
        assert!(token.check().is_err(), "closing lasts");
    }

    #[test]
    fn only_the_right_secret_cancels() {
        let all = Arc::new(Cancellations::default());
        let (a, b) = (all.register().unwrap(), all.register().unwrap());
        assert_ne!(a.process_id, b.process_id);
        a.token.begin();
        all.cancel(a.process_id, a.secret ^ 1);
        all.cancel(b.process_id, a.secret);
        assert!(a.token.check().is_ok());
        all.cancel(a.process_id, a.secret);
        assert!(a.token.check().is_err());
        let (process_id, secret) = (a.process_id, a.secret);
        drop(a);
        all.cancel(process_id, secret);
        assert_eq!(all.sessions.lock().len(), 1);
    }
}
