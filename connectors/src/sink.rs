//! What a sink is: whole ticks, in order.

use millrace_types::{Delta, Result, SqlError, Tick};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A place outside to which the changes of a relation are delivered, tick after tick.
///
/// A checkpoint keeps where a sink stands, by [`Sink::position`], and what it was handed since. After a restart it begins
/// there, and is handed that again and then what came after it. What it had delivered beyond, it undoes or recognises;
/// [`Sink::recovered`] says when the rows are as far again as they were before. Without a position the job that feeds it
/// hands over everything again, from no rows to the present ones: a sink that keeps its progress outside compares that with
/// what it has delivered, and another one starts its output anew.
pub trait Sink: Send {
    /// Begins where it stood in an earlier life, or with nothing delivered. Called once, before anything is written.
    ///
    /// # Errors
    /// When it cannot go on there; made again, it can begin with nothing.
    fn begin(&mut self, _position: Option<&str>) -> Result<()> {
        Ok(())
    }

    /// Where it stands as of the last flush: what was written until then is there for good. `None`: not all of it is, or
    /// that cannot be told, and it is to be kept.
    fn position(&self) -> Option<String>;

    /// Whether what it delivers after a position is undone when it begins there. One that says no must come by the same
    /// rows again to recognise them, so that it can begin at a position only if rows are never taken back.
    fn undoes(&self) -> bool {
        false
    }

    /// Delivers the changes of one tick. Called at most once per tick, with growing ticks.
    fn write(&mut self, tick: Tick, deltas: &[Delta]) -> Result<()>;

    /// Hands everything that was written to the operating system or the peer.
    fn flush(&mut self) -> Result<()>;

    /// Whether rows may be taken back. A sink that says no must only be fed by append-only queries.
    fn accepts_retractions(&self) -> bool;

    /// Whether the changes of a tick are to be net: without rows that come and go again within it.
    fn wants_net(&self) -> bool {
        false
    }

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
