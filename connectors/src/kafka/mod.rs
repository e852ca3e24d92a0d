//! Apache Kafka: the partitions of a topic as the splits of a source.
//!
//! ```text
//!   options --> connection (client configuration)    start (the first offset of each partition)
//!                     |
//!   broker --> consumer (one for all partitions of a reading) --> batch --> decode --> Chunk
//! ```
//!
//! Offsets are Kafka's own. Only committed records are read. Where a start mode begins is settled when the source is
//! made, and written down with its options.

mod batch;
mod connection;
mod consumer;
mod decode;
mod envelope;
mod metadata;
mod queue;
mod reader;
mod schema;
pub(crate) mod sink;
mod source;
mod start;

pub use source::SOURCE_OPTIONS;
pub(crate) use source::{create_feed, create_source, settle};
