//! What a sink is: whole ticks, in order.

use millrace_types::{Delta, Result, Tick};

/// A place outside to which the changes of a relation are delivered, tick after tick.
///
/// A sink starts its output anew when it is created: after a restart the job that feeds it writes everything again.
pub trait Sink: Send {
    /// Delivers the changes of one tick. Called at most once per tick, with growing ticks.
    fn write(&mut self, tick: Tick, deltas: &[Delta]) -> Result<()>;

    /// Hands everything that was written to the operating system or the peer.
    fn flush(&mut self) -> Result<()>;

    /// Whether rows may be taken back. A sink that says no must only be fed by append-only queries.
    fn accepts_retractions(&self) -> bool;
}
