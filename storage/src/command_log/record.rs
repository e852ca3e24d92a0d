//! One record of the log, as bytes.
//!
//! ```text
//! 0       4       8               16      20   21    24
//! +-------+-------+---------------+-------+----+-----+-----------------+---------+
//! |length | crc32c| tick          |durable|kind| 0   | payload         | 0 to 8n |
//! +-------+-------+---------------+-------+----+-----+-----------------+---------+
//! ```
//!
//! `durable` says how much of the segment was known to be durable when the record was written. It tells damage from a
//! torn tail: if a readable record lies behind an unreadable place, and was written when that place was durable already,
//! then something acknowledged is gone; otherwise nobody was told that either had been written.

use millrace_types::Tick;

/// Bytes before the payload.
pub const HEADER_BYTES: usize = 24;
/// Records start at multiples of this.
pub const ALIGNMENT: usize = 8;

/// What a payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RecordKind {
    /// The deltas of a committed transaction: see [`crate::batch`].
    Transaction = 1,
    /// One change of the catalog: its version (eight bytes, little-endian) and the change, opaque here.
    CatalogChange = 2,
    /// How far sources were read into the tick: see [`crate::offsets`].
    Offsets = 3,
    /// What the wall clock decided about rows of the tick: see [`crate::arrivals`].
    Arrivals = 4,
}

impl RecordKind {
    pub(super) fn from_byte(byte: u8) -> Option<RecordKind> {
        let kinds = [RecordKind::Transaction, RecordKind::CatalogChange, RecordKind::Offsets, RecordKind::Arrivals];
        kinds.into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// One record of the command log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// The tick in which it happened. Ticks of a log never decrease.
    pub tick: Tick,
    /// What the payload is.
    pub kind: RecordKind,
    /// Bytes that the log does not look into.
    pub payload: &'a [u8],
}

impl Record<'_> {
    /// Bytes in the log, with header and padding.
    pub(super) fn bytes(&self) -> usize {
        (HEADER_BYTES + self.payload.len()).next_multiple_of(ALIGNMENT)
    }

    /// Appends the bytes to `buffer`, for `offset` of segment `segment`.
    pub(super) fn encode(&self, buffer: &mut Vec<u8>, segment: u64, offset: u32, durable: u32) {
        let start = buffer.len();
        let length = (HEADER_BYTES + self.payload.len()) as u32;
        buffer.extend_from_slice(&length.to_le_bytes());
        buffer.extend_from_slice(&[0; 4]);
        buffer.extend_from_slice(&self.tick.0.to_le_bytes());
        buffer.extend_from_slice(&durable.to_le_bytes());
        buffer.extend_from_slice(&[self.kind as u8, 0, 0, 0]);
        buffer.extend_from_slice(self.payload);
        let crc = checksum(&buffer[start..], segment, offset);
        buffer[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
        buffer.resize(start + self.bytes(), 0);
    }
}

/// A record as it was found.
pub struct Found<'a> {
    pub tick: Tick,
    pub kind: u8,
    pub durable: u32,
    pub payload: &'a [u8],
    /// Where the next record starts.
    pub next: usize,
}

/// The record at `offset` of a segment's bytes; `None` when there is none that is whole and right.
pub fn decode(bytes: &[u8], segment: u64, offset: usize) -> Option<Found<'_>> {
    let rest = bytes.get(offset..)?;
    let header = rest.first_chunk::<HEADER_BYTES>()?;
    let u32_at = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let length = u32_at(0) as usize;
    if length < HEADER_BYTES || length > rest.len() || u32_at(16) as usize > offset {
        return None;
    }
    let record = &rest[..length];
    if checksum(record, segment, offset as u32) != u32_at(4) {
        return None;
    }
    Some(Found {
        tick: Tick(u64::from(u32_at(8)) | u64::from(u32_at(12)) << 32),
        kind: header[20],
        durable: u32_at(16),
        payload: &record[HEADER_BYTES..],
        next: offset + length.next_multiple_of(ALIGNMENT),
    })
}

/// The checksum of a record without its checksum field. It covers the place, so that a record is valid nowhere else: not
/// inside the payload of another one, and not in a file that was renamed.
fn checksum(record: &[u8], segment: u64, offset: u32) -> u32 {
    let place = crc32c::crc32c_append(crc32c::crc32c(&segment.to_le_bytes()), &offset.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c_append(place, &record[..4]), &record[8..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![7; 40];
        Record { tick: Tick(1 << 40), kind: RecordKind::Transaction, payload }.encode(&mut bytes, 3, 40, 40);
        bytes
    }

    #[test]
    fn a_record_is_read_back_from_its_place_and_from_no_other() {
        let bytes = encoded(b"payload");
        let found = decode(&bytes, 3, 40).unwrap();
        assert_eq!((found.tick, found.kind, found.durable, found.payload), (Tick(1 << 40), 1, 40, &b"payload"[..]));
        assert_eq!((found.next, bytes.len()), (72, 72));
        assert!(decode(&bytes, 4, 40).is_none());
        assert!(decode(&bytes[8..], 3, 32).is_none());
    }

    #[test]
    fn every_bit_counts() {
        let bytes = encoded(b"x");
        for bit in 40 * 8..(40 + HEADER_BYTES + 1) * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&flipped, 3, 40).is_none(), "bit {bit}");
        }
        for cut in 40..40 + HEADER_BYTES + 1 {
            assert!(decode(&bytes[..cut], 3, 40).is_none(), "cut at {cut}");
        }
    }
}
