//! One segment file: its name, its header, and the walk over its records.
//!
//! ```text
//! 0               8       12      16              24              32              40
//! +---------------+-------+-------+---------------+---------------+---------------+---------
//! | "MRLOGSEG"    |version| crc32c| number        | previous tick | previous len  | records
//! +---------------+-------+-------+---------------+---------------+---------------+---------
//! ```
//!
//! The previous tick is that of the last record before this segment, and the previous length that of the segment before
//! it, 0 in the first one. A new segment is only begun when the one before it is durable, so both are final.

use super::record::{self, ALIGNMENT, Found};
use millrace_types::Tick;

/// Bytes before the first record.
pub const HEADER_BYTES: usize = 40;
const MAGIC: &[u8; 8] = b"MRLOGSEG";
/// The version of the format of segments and records.
pub const VERSION: u32 = 1;

/// What stands in front of a segment's records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Segments are numbered from 1 without gaps.
    pub number: u64,
    /// The tick of the last record before this segment, 0 if there never was one.
    pub previous_tick: Tick,
    /// The length of the segment before this one.
    pub previous_length: u64,
}

/// Why a header could not be read.
#[derive(Debug, PartialEq, Eq)]
pub enum HeaderError {
    /// It is incomplete or its checksum is wrong.
    Unreadable,
    /// A newer program wrote it.
    Newer(u32),
}

impl SegmentHeader {
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.number.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.previous_tick.0.to_le_bytes());
        bytes[32..].copy_from_slice(&self.previous_length.to_le_bytes());
        let crc = checksum(&bytes);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// The header in front of `bytes`, of the file that its name calls `number`.
    pub fn decode(bytes: &[u8], number: u64) -> Result<SegmentHeader, HeaderError> {
        let header = bytes.first_chunk::<HEADER_BYTES>().ok_or(HeaderError::Unreadable)?;
        let u32_at = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
        let valid = header.starts_with(MAGIC) && u32_at(12) == checksum(header);
        match u32_at(8) {
            VERSION if valid && u64_at(16) == number => {
                Ok(SegmentHeader { number, previous_tick: Tick(u64_at(24)), previous_length: u64_at(32) })
            }
            version if valid && version > VERSION => Err(HeaderError::Newer(version)),
            _ => Err(HeaderError::Unreadable),
        }
    }
}

fn checksum(header: &[u8; HEADER_BYTES]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&header[..12]), &header[16..])
}

/// The file of a segment.
pub fn file_name(number: u64) -> String {
    format!("{number:020}.seg")
}

/// The number of the segment in a file of this name, if it is one.
pub fn number_of(file_name: &str) -> Option<u64> {
    let digits = file_name.strip_suffix(".seg").filter(|digits| digits.len() == 20)?;
    digits.parse().ok()
}

/// The records of a segment's bytes, from the first to the last readable one.
pub fn records(bytes: &[u8], number: u64) -> Records<'_> {
    Records { bytes, number, end: HEADER_BYTES }
}

/// An iterator over the readable records in front of a segment.
pub struct Records<'a> {
    bytes: &'a [u8],
    number: u64,
    /// Where the records read so far end.
    pub end: usize,
}

impl<'a> Iterator for Records<'a> {
    type Item = Found<'a>;

    fn next(&mut self) -> Option<Found<'a>> {
        let found = record::decode(self.bytes, self.number, self.end)?;
        // The padding of a last record may be cut off: the record itself is whole.
        self.end = found.next.min(self.bytes.len());
        Some(found)
    }
}

/// Whether bytes that cannot be read at `end` were durable once: a later record says so. See [`record`].
pub fn was_durable(bytes: &[u8], number: u64, end: usize) -> bool {
    let later = (end + 1).next_multiple_of(ALIGNMENT);
    (later..bytes.len())
        .step_by(ALIGNMENT)
        .filter_map(|offset| record::decode(bytes, number, offset))
        .any(|found| found.durable as usize > end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_back_and_every_bit_counts() {
        let header = SegmentHeader { number: 7, previous_tick: Tick(99), previous_length: 1234 };
        let bytes = header.encode();
        assert_eq!(SegmentHeader::decode(&bytes, 7), Ok(header));
        assert_eq!(SegmentHeader::decode(&bytes, 8), Err(HeaderError::Unreadable));
        for bit in 0..HEADER_BYTES * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SegmentHeader::decode(&flipped, 7), Err(HeaderError::Unreadable), "bit {bit}");
        }
    }

    #[test]
    fn a_newer_version_is_told_from_damage() {
        let mut bytes = SegmentHeader { number: 1, previous_tick: Tick(0), previous_length: 0 }.encode();
        bytes[8] = 2;
        let crc = checksum(&bytes);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(SegmentHeader::decode(&bytes, 1), Err(HeaderError::Newer(2)));
    }

    #[test]
    fn names_are_numbers() {
        assert_eq!(number_of(&file_name(42)), Some(42));
        assert_eq!(number_of("42.seg"), None);
        assert_eq!(number_of("00000000000000000042.seg.partial"), None);
    }
}
