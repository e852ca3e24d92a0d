//! The receiving half of a connection: bytes to whole messages, with every length checked before it is believed.

use crate::report::Failure;
use bytes::{Buf, Bytes, BytesMut};
use millrace_types::{SqlError, SqlState};
use tokio::io::AsyncReadExt;
use tokio::net::tcp::OwnedReadHalf;

/// The longest packet before a session exists.
pub(crate) const MAX_STARTUP_BYTES: usize = 10_000;

/// The longest message of a kind that carries a name at most.
const MAX_SMALL_BYTES: usize = 10_000;

/// The most that is read from the socket at once, and ahead of a running statement.
const READ_BYTES: usize = 64 << 10;

/// A message: its type byte and its body.
#[derive(Debug)]
pub(crate) struct Frame {
    pub kind: u8,
    pub body: Bytes,
}

/// Messages as they come from the client. The buffer grows with the bytes that have arrived, never with the length
/// that a message claims.
pub(crate) struct Incoming {
    socket: OwnedReadHalf,
    buffer: BytesMut,
    max_message_bytes: usize,
}

impl Incoming {
    pub fn new(socket: OwnedReadHalf, max_message_bytes: usize) -> Incoming {
        Incoming { socket, buffer: BytesMut::new(), max_message_bytes }
    }

    /// The next packet of the startup phase, which has no type byte: what follows its length. `None` when its length
    /// is none that a startup packet has, or the client is gone.
    pub async fn startup_packet(&mut self) -> std::io::Result<Option<Bytes>> {
        if !self.fill(4).await? {
            return Ok(None);
        }
        let length = self.buffer.get_i32();
        let Ok(length) = usize::try_from(length) else { return Ok(None) };
        if !(8..=MAX_STARTUP_BYTES).contains(&length) || !self.fill(length - 4).await? {
            return Ok(None);
        }
        Ok(Some(self.buffer.split_to(length - 4).freeze()))
    }

    /// Whether bytes have arrived that nobody asked for yet.
    pub fn has_unread(&mut self) -> bool {
        if self.buffer.is_empty() {
            self.buffer.reserve(1);
            // An error or the end of the stream shows again at the next read.
            let _ = self.socket.try_read_buf(&mut self.buffer);
        }
        !self.buffer.is_empty()
    }

    /// The next message. May be dropped and called again without losing anything.
    pub async fn next(&mut self) -> Result<Frame, Failure> {
        if !self.fill(1).await? {
            return Err(Failure::Gone);
        }
        let kind = self.buffer[0];
        let limit = self.limit_of(kind)?;
        if !self.fill(5).await? {
            return Err(Failure::Gone);
        }
        let length = i32::from_be_bytes([self.buffer[1], self.buffer[2], self.buffer[3], self.buffer[4]]);
        let length = usize::try_from(length).ok().filter(|length| (4..=limit).contains(length));
        let Some(length) = length else {
            return Err(Failure::Fatal(SqlError::new(SqlState::PROTOCOL_VIOLATION, "invalid message length")));
        };
        if !self.fill(1 + length).await? {
            return Err(Failure::Gone);
        }
        let mut message = self.buffer.split_to(1 + length);
        message.advance(5);
        if self.buffer.is_empty() && length > 4 * READ_BYTES {
            // The allocation of a huge message goes with it instead of serving the small ones after it.
            self.buffer = BytesMut::new();
        }
        Ok(Frame { kind, body: message.freeze() })
    }

    /// The longest message of this kind; an error when there is no such kind.
    fn limit_of(&self, kind: u8) -> Result<usize, Failure> {
        match kind {
            b'Q' | b'P' | b'B' | b'F' | b'd' => Ok(self.max_message_bytes),
            b'C' | b'D' | b'E' | b'H' | b'S' | b'X' | b'c' | b'f' => Ok(MAX_SMALL_BYTES.min(self.max_message_bytes)),
            _ => Err(Failure::Fatal(SqlError::new(
                SqlState::PROTOCOL_VIOLATION,
                format!("invalid frontend message type {kind}"),
            ))),
        }
    }

    /// Resolves when the client is gone, reading ahead a bounded amount to find out. While that amount waits unread
    /// it does not resolve: a write will tell.
    pub async fn ended(&mut self) {
        while self.buffer.len() < READ_BYTES {
            match self.read().await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
        std::future::pending().await
    }

    /// Reads until `bytes` are in the buffer; false when the client ends before.
    async fn fill(&mut self, bytes: usize) -> std::io::Result<bool> {
        while self.buffer.len() < bytes {
            if self.read().await? == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn read(&mut self) -> std::io::Result<usize> {
        if self.buffer.capacity() - self.buffer.len() < READ_BYTES / 16 {
            self.buffer.reserve(if self.buffer.is_empty() { READ_BYTES / 8 } else { READ_BYTES });
        }
        self.socket.read_buf(&mut self.buffer).await
    }
}
