//! Formats: bytes to rows. A format knows nothing of files; it is handed blocks of bytes and says how many of them it
//! has used.
//!
//! ```text
//!   bytes -- Block --> TextFormat::decode -- tokens --> Rows -- columns --> RecordBatch + bad records
//! ```

#[cfg(feature = "kafka")]
pub(crate) mod avro;
pub(crate) mod block;
#[cfg(feature = "kafka")]
pub(crate) mod cell;
pub(crate) mod csv;
pub(crate) mod csv_writer;
pub mod json;
pub(crate) mod json_writer;
pub(crate) mod parquet;
#[cfg(feature = "kafka")]
pub(crate) mod protobuf;
pub(crate) mod rows;

pub(crate) use block::Block;
pub(crate) use rows::Rows;

use crate::value::Token;
use millrace_types::Result;
use std::ops::Range;

/// A format of records that are text.
pub(crate) trait TextFormat: Send {
    /// Decodes records of `block` from byte `from` on until `rows` is full or there is no further whole record. Returns
    /// where the first record begins that was not decoded. With `last`, nothing follows the block: a record that ends
    /// with it is whole.
    fn decode(&mut self, block: &Block, from: usize, last: bool, rows: &mut Rows) -> Result<usize>;
}

/// A format whose records are handed over one by one, as a message broker does.
pub(crate) trait RecordFormat: Send {
    /// Finds out what must be known before these records can be decoded, as the schemas that they are written by.
    ///
    /// # Errors
    /// Those of a connection: then nothing is known of the records, and it is worth to try again.
    fn prepare(&mut self, _record: &[u8]) -> Result<()> {
        Ok(())
    }

    /// Whether the record at `span` of the block is a change that takes a row away.
    fn is_deletion(&mut self, _block: &Block, _span: Range<usize>) -> std::result::Result<bool, String> {
        Ok(false)
    }

    /// Sets the tokens of the columns from the record at `span` of the block, or says why it is bad.
    fn fill(
        &mut self,
        block: &Block,
        span: Range<usize>,
        row: &mut [Token],
        extra: &mut Vec<u8>,
    ) -> std::result::Result<(), String>;
}
