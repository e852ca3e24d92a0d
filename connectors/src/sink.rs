//! What a sink is: whole ticks, in order.

use millrace_types::{Delta, Result, SqlError, Tick};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A place outside to which the changes of a relation are delivered, tick after tick.
///
/// After a restart the job that feeds a sink hands over everything again, from no rows to the present ones. A sink that
/// keeps its progress outside compares what comes with what it has delivered; [`Sink::recovered`] says when the rows are
/// as far again as they were before. Another one starts its output anew.
pub trait Sink: Send {
    /// Delivers the changes of one tick. Called at most once per tick, with growing ticks.
    fn write(&mut self, tick: Tick, deltas: &[Delta]) -> Result<()>;

    /// Hands everything that was written to the operating system or the peer.
    fn flush(&mut self) -> Result<()>;

    /// Whether rows may be taken back. A sink that says no must only be fed by append-only queries.
    fn accepts_retractions(&self) -> bool;

    /// What was written shows all that had been there before the server ended, and maybe more.
    fn recovered(&mut self) -> Result<()> {
        Ok(())
    }

    /// How long ticks may be collected before they are flushed together.
    fn linger(&self) -> Duration {
        Duration::ZERO
    }

    /// Gives the sink what it shares with the server. Called once, before anything else.
    fn share(&mut self, _state: Arc<SinkState>) {}
}

/// What a sink and the server tell each other while the sink may be waiting for its peer.
#[derive(Debug, Default)]
pub struct SinkState {
    stopping: AtomicBool,
    trouble: Mutex<Option<SqlError>>,
}

impl SinkState {
    /// The sink shall end soon, delivered or not.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Whether the sink shall end.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Why nothing can be delivered at the moment.
    pub fn trouble(&self) -> Option<SqlError> {
        self.trouble.lock().clone()
    }

    /// Says why nothing can be delivered at the moment; `None`: it can.
    pub fn set_trouble(&self, trouble: Option<SqlError>) {
        *self.trouble.lock() = trouble;
    }
}
