//! The limits of the protocol layer.

use std::time::Duration;

/// Limits that hold for every connection.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Sessions at the same time; one more is refused with `53300`.
    pub max_connections: usize,
    /// Sockets that have not finished their startup. One more closes the oldest of them, so that idle sockets never
    /// keep a login out.
    pub max_pending: usize,
    /// How long a client may take from connecting to its startup packet being complete.
    pub authentication_timeout: Duration,
    /// The longest message in bytes; a longer one ends the connection before its body is read.
    pub max_message_bytes: usize,
    /// Bytes that are collected before they are written to the socket. The buffer exceeds it by one row at most.
    pub send_buffer_bytes: usize,
    /// How long a statement may take to end after its client is gone or the server shuts down.
    pub grace: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            max_connections: 100,
            max_pending: 256,
            authentication_timeout: Duration::from_secs(60),
            max_message_bytes: 64 << 20,
            send_buffer_bytes: 64 << 10,
            grace: Duration::from_secs(5),
        }
    }
}
