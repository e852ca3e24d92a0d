//! The rows of one partition in their order, in sorted chunks.
//!
//! A row is found by its chunk's first row and then in the chunk; it moves the rows of one chunk. Each chunk knows how
//! many copies it holds, so that the number of a row is the sum over the chunks before it: for a million rows that is two
//! thousand additions and no walk. Most partitions are small, and one chunk.

use std::cmp::Ordering;
use std::iter::Peekable;
use std::slice;

/// A row as ordered bytes: see [`ordered`](super::ordered).
#[derive(Clone, Debug)]
pub struct OrderedRow {
    bytes: Box<[u8]>,
    /// Where the part ends that peers agree in.
    peers: u32,
    /// Where the part ends that makes a row what it is.
    identity: u32,
}

/// A row that is not kept.
#[derive(Clone, Copy, Debug)]
pub struct RowView<'a> {
    /// All of it.
    pub bytes: &'a [u8],
    /// Partition and order.
    pub peers: &'a [u8],
    /// What makes it the row that it is.
    pub identity: &'a [u8],
}

impl OrderedRow {
    /// A copy.
    pub fn of(view: RowView<'_>) -> OrderedRow {
        OrderedRow { bytes: view.bytes.into(), peers: view.peers.len() as u32, identity: view.identity.len() as u32 }
    }

    /// The value of the one column that rows are ordered by, a timestamp: the last bytes of what peers agree in.
    /// A number is a byte that says that it is there, then its bytes from the highest on with the sign turned round.
    pub fn time(&self) -> i64 {
        let peers = self.view().peers;
        match peers.last_chunk::<9>() {
            Some([1, bytes @ ..]) => i64::from_be_bytes(*bytes) ^ i64::MIN,
            _ => i64::MAX,
        }
    }

    /// Its parts.
    #[inline]
    pub fn view(&self) -> RowView<'_> {
        let (peers, identity) = (&self.bytes[..self.peers as usize], &self.bytes[..self.identity as usize]);
        RowView { bytes: &self.bytes, peers, identity }
    }
}

impl PartialEq for OrderedRow {
    fn eq(&self, other: &OrderedRow) -> bool {
        self.view().identity == other.view().identity
    }
}

impl Eq for OrderedRow {}

impl PartialOrd for OrderedRow {
    fn partial_cmp(&self, other: &OrderedRow) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for OrderedRow {
    fn cmp(&self, other: &OrderedRow) -> Ordering {
        self.view().identity.cmp(other.view().identity)
    }
}

/// Different rows in order, with a weight each that is not zero.
#[derive(Debug, Default)]
pub struct Rows {
    /// The first chunk stands by itself: it is all that a small partition has. It is empty only when all are.
    first: Chunk,
    others: Vec<Chunk>,
    len: usize,
    /// Bytes of the rows themselves.
    bytes: usize,
}

#[derive(Debug, Default)]
struct Chunk {
    rows: Vec<(OrderedRow, i64)>,
    /// The sum of the weights.
    copies: i64,
}

/// Between two rows: a chunk, and a place in it.
type Cursor = (usize, usize);

/// How many rows a chunk has at most.
const CHUNK: usize = 512;

impl Rows {
    /// How many different rows.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of memory, nearly.
    pub fn bytes(&self) -> usize {
        let chunks = std::iter::once(&self.first).chain(&self.others);
        let places: usize = chunks.map(|chunk| chunk.rows.capacity()).sum();
        self.bytes + places * size_of::<(OrderedRow, i64)>() + self.others.capacity() * size_of::<Chunk>()
    }

    /// The first row.
    pub fn first(&self) -> Option<&OrderedRow> {
        self.first.rows.first().map(|(row, _)| row)
    }

    /// The last row.
    pub fn last(&self) -> Option<&OrderedRow> {
        self.chunk(self.others.len()).rows.last().map(|(row, _)| row)
    }

    fn chunk(&self, at: usize) -> &Chunk {
        match at.checked_sub(1) {
            None => &self.first,
            Some(at) => &self.others[at],
        }
    }

    fn chunk_mut(&mut self, at: usize) -> &mut Chunk {
        match at.checked_sub(1) {
            None => &mut self.first,
            Some(at) => &mut self.others[at],
        }
    }

    /// The place of the first row that is not below these bytes.
    fn seek(&self, bytes: &[u8]) -> Cursor {
        let is_below = |(row, _): &(OrderedRow, i64)| row.view().identity < bytes;
        let chunk = self.others.partition_point(|chunk| chunk.rows.first().is_some_and(is_below));
        (chunk, self.chunk(chunk).rows.partition_point(is_below))
    }

    fn get(&self, (chunk, at): Cursor) -> Option<&(OrderedRow, i64)> {
        self.chunk(chunk).rows.get(at)
    }

    /// The cursor itself, or the same place at the start of the next chunk.
    fn normal(&self, (chunk, at): Cursor) -> Cursor {
        match at >= self.chunk(chunk).rows.len() && chunk < self.others.len() {
            true => (chunk + 1, 0),
            false => (chunk, at),
        }
    }

    /// How many copies stand before a place.
    fn copies_before(&self, (chunk, at): Cursor) -> i64 {
        let chunks: i64 = (0..chunk).map(|chunk| self.chunk(chunk).copies).sum();
        chunks + self.chunk(chunk).rows[..at].iter().map(|(_, weight)| weight).sum::<i64>()
    }

    /// All rows with their weights, in order.
    pub fn iter(&self) -> Iter<'_> {
        self.from((0, 0), None)
    }

    fn from(&self, start: Cursor, end: Option<Cursor>) -> Iter<'_> {
        Iter { rows: self, next: start, end: end.unwrap_or((usize::MAX, 0)) }
    }

    /// Adds to the weight of a row.
    pub fn change(&mut self, row: OrderedRow, weight: i64) {
        let (at, place) = self.seek(row.view().identity);
        let (at, place) = match self.get((at, place)) {
            // The next chunk may start with the very row.
            None if at < self.others.len() && self.others[at].rows[0].0 == row => (at + 1, 0),
            _ => (at, place),
        };
        let size = row.bytes.len();
        let chunk = self.chunk_mut(at);
        chunk.copies += weight;
        match chunk.rows.get_mut(place).filter(|(known, _)| *known == row) {
            Some((_, known)) if *known + weight != 0 => *known += weight,
            Some(_) => {
                let gone = chunk.rows.remove(place).0.bytes.len();
                (self.bytes, self.len) = (self.bytes - gone, self.len - 1);
                self.shrink(at);
            }
            None => {
                if chunk.rows.is_empty() {
                    // Most partitions of one row stay so.
                    chunk.rows.reserve_exact(1);
                }
                chunk.rows.insert(place, (row, weight));
                (self.bytes, self.len) = (self.bytes + size, self.len + 1);
                self.split(at);
            }
        }
    }

    /// Halves a chunk that became too long.
    fn split(&mut self, at: usize) {
        let chunk = self.chunk_mut(at);
        if chunk.rows.len() > CHUNK {
            let behind = chunk.rows.split_off(CHUNK / 2);
            let copies = behind.iter().map(|(_, weight)| weight).sum();
            chunk.copies -= copies;
            self.others.insert(at, Chunk { rows: behind, copies });
        }
    }

    /// Puts a chunk that became short together with the next one, or with the one before.
    fn shrink(&mut self, at: usize) {
        let at = if at == self.others.len() { at.saturating_sub(1) } else { at };
        let Some(next) = self.others.get(at) else { return };
        let short = self.chunk(at).rows.len().min(next.rows.len());
        if short < CHUNK / 8 && self.chunk(at).rows.len() + next.rows.len() <= CHUNK / 2 || short == 0 {
            let next = self.others.remove(at);
            let chunk = self.chunk_mut(at);
            chunk.rows.extend(next.rows);
            chunk.copies += next.copies;
        }
    }

    /// Keeps the first `count` rows.
    pub fn truncate(&mut self, count: usize) {
        let mut left = count;
        for at in 0..=self.others.len() {
            let chunk = self.chunk_mut(at);
            let gone = chunk.rows.split_off(left.min(chunk.rows.len()));
            left -= chunk.rows.len();
            chunk.copies -= gone.iter().map(|(_, weight)| weight).sum::<i64>();
            self.len -= gone.len();
            self.bytes -= gone.iter().map(|(row, _)| row.bytes.len()).sum::<usize>();
        }
        self.others.retain(|chunk| !chunk.rows.is_empty());
    }

    /// Drops the first `count` rows.
    pub fn drop_first(&mut self, count: usize) {
        let mut left = count;
        for at in 0..=self.others.len() {
            let chunk = self.chunk_mut(at);
            let gone: Vec<_> = chunk.rows.drain(..left.min(chunk.rows.len())).collect();
            left -= gone.len();
            chunk.copies -= gone.iter().map(|(_, weight)| weight).sum::<i64>();
            if chunk.rows.capacity() > 4 * chunk.rows.len() {
                chunk.rows.shrink_to_fit();
            }
            self.len -= gone.len();
            self.bytes -= gone.iter().map(|(row, _)| row.bytes.len()).sum::<usize>();
            if left == 0 {
                break;
            }
        }
        self.others.retain(|chunk| !chunk.rows.is_empty());
        if self.first.rows.is_empty() && !self.others.is_empty() {
            self.first = self.others.remove(0);
        }
    }

    /// The rows beside net changes to them, in order: each with its weight before and after.
    pub fn beside<'a>(&'a self, changes: &'a [(OrderedRow, i64)]) -> Beside<'a> {
        Beside { rows: self.iter().peekable(), changes: changes.iter().peekable() }
    }

    /// As [`beside`](Rows::beside), from the first row that is not below these bytes on; and how many copies stand
    /// before it.
    pub fn beside_from<'a>(&'a self, start: &[u8], changes: &'a [(OrderedRow, i64)]) -> (i64, Beside<'a>) {
        let start = self.seek(start);
        let rows = self.from(start, None).peekable();
        (self.copies_before(start), Beside { rows, changes: changes.iter().peekable() })
    }

    /// The parts of [`beside`](Rows::beside) that hold every change with `distance` rows before and behind it.
    pub fn near<'a>(&'a self, changes: &'a [(OrderedRow, i64)], distance: usize) -> Vec<Beside<'a>> {
        let (mut parts, mut rest) = (Vec::new(), changes);
        while let Some((row, _)) = rest.first() {
            let (start, mut end) = self.around(row, distance);
            let mut count = 1;
            while let Some((row, _)) = rest.get(count) {
                let (next, behind) = self.around(row, distance);
                if next >= end {
                    break;
                }
                (end, count) = (behind, count + 1);
            }
            let (now, later) = rest.split_at(count);
            let rows = self.from(start, Some(end)).peekable();
            parts.push(Beside { rows, changes: now.iter().peekable() });
            rest = later;
        }
        parts
    }

    /// The parts of [`beside`](Rows::beside) that hold every change with its session: rows, as they are and as they are
    /// to be, with no gap of more than `gap` microseconds between one and the next. They are ordered by time.
    pub fn in_sessions<'a>(&'a self, changes: &'a [(OrderedRow, i64)], gap: i64) -> Vec<Beside<'a>> {
        let joins = |earlier: i64, later: i64| later.saturating_sub(earlier) <= gap;
        let (mut parts, mut rest) = (Vec::new(), changes);
        while let Some((row, _)) = rest.first() {
            let (mut start, mut time) = (self.normal(self.seek(row.view().identity)), row.time());
            let mut end = start;
            while let Some(before) = self.before(start)
                && let Some((row, _)) = self.get(before)
                && joins(row.time(), time)
            {
                (start, time) = (before, row.time());
            }
            time = row.time();
            let mut count = 1;
            loop {
                let known = self.get(end).map(|(row, _)| row.time()).filter(|next| joins(time, *next));
                let changed = rest.get(count).map(|(row, _)| row.time()).filter(|next| joins(time, *next));
                match (known, changed) {
                    (Some(next), changed) if changed.is_none_or(|changed| next <= changed) => {
                        (time, end) = (next.max(time), self.normal((end.0, end.1 + 1)));
                    }
                    (_, Some(next)) => (time, count) = (next, count + 1),
                    _ => break,
                }
            }
            let (now, later) = rest.split_at(count);
            let rows = self.from(start, Some(end)).peekable();
            parts.push(Beside { rows, changes: now.iter().peekable() });
            rest = later;
        }
        parts
    }

    /// The place before one.
    fn before(&self, place: Cursor) -> Option<Cursor> {
        let before = self.back(place, 1);
        (before < place).then_some(before)
    }

    /// The places `distance` rows before a row and behind it, or the ends.
    fn around(&self, row: &OrderedRow, distance: usize) -> (Cursor, Cursor) {
        let place = self.normal(self.seek(row.view().identity));
        let is_there = self.get(place).is_some_and(|(known, _)| known == row);
        (self.back(place, distance), self.forth(place, distance + usize::from(is_there)))
    }

    fn back(&self, (mut chunk, mut at): Cursor, mut distance: usize) -> Cursor {
        while distance > at {
            let Some(before) = chunk.checked_sub(1) else { return (0, 0) };
            distance -= at;
            (chunk, at) = (before, self.chunk(before).rows.len());
        }
        (chunk, at - distance)
    }

    fn forth(&self, (mut chunk, mut at): Cursor, mut distance: usize) -> Cursor {
        while distance >= self.chunk(chunk).rows.len() - at {
            distance -= self.chunk(chunk).rows.len() - at;
            if chunk == self.others.len() {
                return (chunk + 1, 0);
            }
            (chunk, at) = (chunk + 1, 0);
        }
        (chunk, at + distance)
    }
}

/// Rows in order with their weights.
pub struct Iter<'a> {
    rows: &'a Rows,
    next: Cursor,
    end: Cursor,
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a OrderedRow, i64);

    fn next(&mut self) -> Option<(&'a OrderedRow, i64)> {
        let place = self.rows.normal(self.next);
        if place >= self.end {
            return None;
        }
        let (row, weight) = self.rows.get(place)?;
        self.next = (place.0, place.1 + 1);
        Some((row, *weight))
    }
}

/// See [`Rows::beside`].
pub struct Beside<'a> {
    rows: Peekable<Iter<'a>>,
    changes: Peekable<slice::Iter<'a, (OrderedRow, i64)>>,
}

impl Beside<'_> {
    /// Whether all further rows are as they were.
    pub fn is_unchanged(&mut self) -> bool {
        self.changes.peek().is_none()
    }
}

impl<'a> Iterator for Beside<'a> {
    type Item = (&'a OrderedRow, i64, i64);

    fn next(&mut self) -> Option<(&'a OrderedRow, i64, i64)> {
        let order = match (self.rows.peek(), self.changes.peek()) {
            (Some((row, _)), Some((changed, _))) => (*row).cmp(changed),
            (Some(_), None) => Ordering::Less,
            (None, _) => Ordering::Greater,
        };
        match order {
            Ordering::Less => self.rows.next().map(|(row, weight)| (row, weight, weight)),
            Ordering::Greater => self.changes.next().map(|(row, change)| (row, 0, *change)),
            Ordering::Equal => {
                let (row, weight) = self.rows.next()?;
                let (_, change) = self.changes.next()?;
                Some((row, weight, weight + change))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_types::hash::mix;
    use std::collections::BTreeMap;

    fn row(number: u32) -> OrderedRow {
        let bytes = number.to_be_bytes();
        OrderedRow::of(RowView { bytes: &bytes, peers: &bytes[..3], identity: &bytes })
    }

    fn number(row: &OrderedRow) -> u32 {
        u32::from_be_bytes(row.view().identity.try_into().unwrap())
    }

    #[test]
    fn chunks_answer_as_a_map_does() {
        let (mut rows, mut model) = (Rows::default(), BTreeMap::<u32, i64>::new());
        for step in 0..30_000u64 {
            // Grows at first, then shrinks to nothing.
            let grows = step < 15_000;
            let key = (mix(step) % 4_000) as u32;
            let known = model.get(&key).copied().unwrap_or(0);
            let weight = if grows || known == 0 { 1 } else { -known };
            rows.change(row(key), weight);
            *model.entry(key).or_default() += weight;
            model.retain(|_, weight| *weight != 0);
            if step % 1_000 == 0 {
                assert!(rows.iter().map(|(row, weight)| (number(row), weight)).eq(model.iter().map(|(k, w)| (*k, *w))));
                let (before, mut from) = rows.beside_from(row(2_000).view().peers, &[]);
                let start = 2_000 / 256 * 256;
                assert_eq!(before, model.range(..start).map(|(_, weight)| weight).sum::<i64>());
                assert_eq!(from.next().map(|(row, ..)| number(row)), model.range(start..).next().map(|(key, _)| *key));
            }
        }
        assert!(rows.len() == model.len() && rows.bytes >= 4 * rows.len());
        let count = rows.len() / 2;
        rows.truncate(count);
        assert!(rows.iter().map(|(row, _)| number(row)).eq(model.keys().copied().take(count)));
        assert_eq!(rows.last().map(number), model.keys().copied().take(count).next_back());
        let gone = count / 3;
        rows.drop_first(gone);
        assert!(rows.iter().map(|(row, _)| number(row)).eq(model.keys().copied().take(count).skip(gone)));
        assert_eq!(rows.first().map(number), model.keys().copied().nth(gone));
        rows.drop_first(count);
        assert!(rows.is_empty() && rows.bytes == 0 && rows.first().is_none());
        rows.change(row(7), 1);
        assert_eq!(rows.iter().count(), 1);
    }

    #[test]
    fn what_is_near_a_change_is_found_across_chunks() {
        let mut rows = Rows::default();
        (0..3_000).for_each(|number| rows.change(row(2 * number), 1));
        for start in (0..5_990).step_by(7) {
            let changes = [(row(start), -1), (row(start + 5), 1), (row(start + 6), 1)];
            let numbers = rows.near(&changes, 2).into_iter().flatten().map(|(row, ..)| number(row)).collect::<Vec<_>>();
            let first = if start % 2 == 0 { start.saturating_sub(4) } else { start.saturating_sub(3) };
            assert_eq!(numbers.first().copied(), Some(first), "near {start}");
            assert!(numbers.is_sorted() && numbers.contains(&(start + 5)) && numbers.len() <= 12, "near {start}");
        }
        let far = [(row(10), 1), (row(4_001), 1)];
        assert_eq!(rows.near(&far, 3).len(), 2);
    }
}
