//! The sending half of a connection: a buffer of bounded size before the socket.

use bytes::BytesMut;
use millrace_types::{Result, SqlError};
use pgwire::messages::Message;
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::OwnedWriteHalf;

/// Messages on their way to the client. They are collected until [`Outgoing::flush`]; who produces many asks
/// [`Outgoing::is_full`] between them.
pub(crate) struct Outgoing {
    socket: OwnedWriteHalf,
    buffer: Vec<u8>,
    /// How much of `buffer` is already written to the socket.
    written: usize,
    limit: usize,
    scratch: BytesMut,
}

impl Outgoing {
    pub fn new(socket: OwnedWriteHalf, limit: usize) -> Outgoing {
        Outgoing { socket, buffer: Vec::new(), written: 0, limit, scratch: BytesMut::new() }
    }

    /// Appends a message. One that the protocol cannot express (too long) is not sent, in part or whole.
    pub fn put(&mut self, message: &impl Message) -> Result<()> {
        self.scratch.clear();
        message.encode(&mut self.scratch).map_err(|e| SqlError::internal(e.to_string()))?;
        self.buffer.extend_from_slice(&self.scratch);
        Ok(())
    }

    /// Where rows are written as whole messages.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Whether enough is collected to be worth a write.
    pub fn is_full(&self) -> bool {
        self.buffer.len() - self.written >= self.limit
    }

    /// Whether nothing waits to be written.
    pub fn is_empty(&self) -> bool {
        self.buffer.len() == self.written
    }

    /// Writes everything to the socket. May be dropped and called again: no byte is lost or sent twice.
    pub async fn flush(&mut self) -> std::io::Result<()> {
        while self.written < self.buffer.len() {
            match self.socket.write(&self.buffer[self.written..]).await? {
                0 => return Err(std::io::ErrorKind::WriteZero.into()),
                n => self.written += n,
            }
        }
        self.written = 0;
        self.buffer.clear();
        // One huge row must not keep its memory for the life of an idle connection.
        if self.buffer.capacity() > 4 * self.limit {
            self.buffer.shrink_to(self.limit);
        }
        Ok(())
    }
}
