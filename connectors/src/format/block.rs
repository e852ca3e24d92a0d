//! Blocks: a stretch of input, and what can be said of all of it at once.

use crate::value::json::Scanner;
use arrow::buffer::Buffer;

/// Consecutive bytes of an input that ends with a stretch of zeros for readers of eight or sixteen bytes at once.
pub(crate) struct Block {
    buffer: Buffer,
    len: usize,
    /// Where in the input the block begins.
    pub offset: u64,
    /// Whether all of it is UTF-8. (A block may end inside a character; then the answer is no.)
    pub utf8: bool,
    /// Whether a control character other than a line feed is in it.
    pub controls: bool,
    /// Whether a backslash is in it.
    pub backslashes: bool,
}

impl Block {
    /// How many zeros follow the bytes.
    pub const PADDING: usize = 16;

    /// A block of `bytes`, which are at `offset` of the input.
    pub fn new(mut bytes: Vec<u8>, offset: u64) -> Block {
        let len = bytes.len();
        let utf8 = std::str::from_utf8(&bytes).is_ok();
        let controls = has_controls(&bytes);
        let backslashes = memchr::memchr(b'\\', &bytes).is_some();
        bytes.resize(len + Self::PADDING, 0);
        Block { buffer: Buffer::from_vec(bytes), len, offset, utf8, controls, backslashes }
    }

    /// The bytes of the input.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[..self.len]
    }

    /// The bytes of the input and the zeros after them.
    pub fn padded(&self) -> &[u8] {
        &self.buffer
    }

    /// The memory of the block, for arrays that point into it.
    pub fn buffer(&self) -> &Buffer {
        &self.buffer
    }

    /// The same block where records may have line feeds inside: the scanner then looks for control characters in strings.
    pub fn with_line_feeds(mut self, line_feeds: bool) -> Block {
        self.controls |= line_feeds;
        self
    }

    /// A scanner of the record that ends at `end`.
    #[inline(always)]
    pub fn scanner(&self, end: usize) -> Scanner<'_> {
        Scanner { text: self.padded(), end, escapes: self.backslashes, controls: self.controls }
    }

    /// How many bytes of input it holds.
    pub fn len(&self) -> usize {
        self.len
    }
}

/// Whether a byte below a blank occurs that is not a line feed. Without a branch per byte, so that it runs in SIMD.
fn has_controls(bytes: &[u8]) -> bool {
    bytes
        .chunks(4096)
        .any(|chunk| chunk.iter().fold(0u8, |any, byte| any | (u8::from(*byte < 0x20) & u8::from(*byte != b'\n'))) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_knows_what_is_in_it() {
        let block = Block::new("{\"ä\"}\n".into(), 7);
        assert_eq!((block.utf8, block.controls, block.backslashes, block.len()), (true, false, false, 7));
        assert_eq!(block.padded().len(), 7 + Block::PADDING);
        let block = Block::new(b"\xff\t\\".to_vec(), 0);
        assert_eq!((block.utf8, block.controls, block.backslashes), (false, true, true));
    }
}
