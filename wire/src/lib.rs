//! The Postgres protocol: bytes of a socket to statements, rows back to bytes.
//!
//! This crate knows no SQL. Text and parameters go out to a [`Session`], a stream of Arrow rows comes back. The walk
//! of one connection:
//!
//! 1. [`serve`] accepts a socket and bounds how many there are;
//! 2. `startup` reads the startup packet, refuses what it must, and asks the [`Backend`] for a session;
//! 3. `incoming` frames messages, checking each length before a byte of the body is kept, and `frontend` decodes them;
//! 4. `connection` sequences them: `simple` for query strings, `extended` for parse, bind, describe and execute over
//!    [portals](https://www.postgresql.org/docs/15/protocol-flow.html), `copy_in` for data that the client streams;
//! 5. parameters become Arrow values in [`decode`], rows become messages in [`encode`];
//! 6. `outgoing` holds a bounded buffer: a client that does not read stops its own statement and nothing else.
//!
//! Messages to the client are encoded by the `pgwire` crate, except rows, which are written straight from Arrow.
//! Messages from the client are framed and decoded here: a malformed one must neither panic nor allocate, and text
//! that is not UTF-8 must be refused, not repaired.
//!
//! [`copy`] formats and parses COPY's text and CSV, for the statements and sinks that the server builds on it.

mod backend;
mod cancel;
mod connection;
mod copy_in;
mod encoding;
mod extended;
mod frontend;
mod incoming;
mod listener;
mod outgoing;
mod pending;
mod portal;
mod report;
mod row_description;
mod rows;
mod settings;
mod simple;
mod startup;

pub mod copy;
pub mod decode;
pub mod encode;
pub mod format;

pub use backend::{
    Backend, CopyChunk, CopyData, Deallocation, Notice, Response, Session, Severity, Startup, Tag, TransactionStatus,
};
pub use cancel::CancelToken;
pub use encoding::client_encoding;
pub use format::{TextFormat, TimeZone};
pub use listener::serve;
pub use row_description::{ATTRIBUTE_NUMBER_KEY, TABLE_OID_KEY};
pub use settings::Settings;
