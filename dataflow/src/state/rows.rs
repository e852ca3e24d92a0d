//! The rows of one partition in their order: a sorted vector while they are few, a tree when they are many.

use std::cmp::Ordering;
use std::collections::{BTreeMap, btree_map};
use std::iter::Peekable;
use std::ops::Bound;
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
#[derive(Debug)]
pub struct Rows {
    kept: Kept,
    /// Bytes of the rows themselves.
    bytes: usize,
}

#[derive(Debug)]
enum Kept {
    Few(Vec<(OrderedRow, i64)>),
    Many(BTreeMap<OrderedRow, i64>),
}

/// From so many rows on they are a tree: moving half of a vector costs more than a step in it.
const MANY: usize = 64;

impl Default for Rows {
    fn default() -> Rows {
        Rows { kept: Kept::Few(Vec::new()), bytes: 0 }
    }
}

impl Rows {
    /// How many different rows.
    pub fn len(&self) -> usize {
        match &self.kept {
            Kept::Few(rows) => rows.len(),
            Kept::Many(rows) => rows.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of memory, nearly.
    pub fn bytes(&self) -> usize {
        let entry = size_of::<(OrderedRow, i64)>();
        match &self.kept {
            Kept::Few(rows) => self.bytes + rows.capacity() * entry,
            // A node of a tree is about two thirds full.
            Kept::Many(rows) => self.bytes + rows.len() * entry * 3 / 2,
        }
    }

    /// The first row.
    pub fn first(&self) -> Option<&OrderedRow> {
        match &self.kept {
            Kept::Few(rows) => rows.first().map(|(row, _)| row),
            Kept::Many(rows) => rows.first_key_value().map(|(row, _)| row),
        }
    }

    /// The last row.
    pub fn last(&self) -> Option<&OrderedRow> {
        match &self.kept {
            Kept::Few(rows) => rows.last().map(|(row, _)| row),
            Kept::Many(rows) => rows.last_key_value().map(|(row, _)| row),
        }
    }

    /// All rows with their weights, in order.
    pub fn iter(&self) -> Iter<'_> {
        match &self.kept {
            Kept::Few(rows) => Iter::Few(rows.iter()),
            Kept::Many(rows) => Iter::Many(rows.range::<OrderedRow, _>(..)),
        }
    }

    /// The rows from one to another, or from the start and to the end.
    fn between(&self, first: Option<&OrderedRow>, last: Option<&OrderedRow>) -> Iter<'_> {
        match &self.kept {
            Kept::Few(rows) => {
                let start = first.map_or(0, |first| rows.partition_point(|(row, _)| row < first));
                let end = last.map_or(rows.len(), |last| rows.partition_point(|(row, _)| row <= last));
                Iter::Few(rows[start..end].iter())
            }
            Kept::Many(rows) => {
                let bounds =
                    (first.map_or(Bound::Unbounded, Bound::Included), last.map_or(Bound::Unbounded, Bound::Included));
                Iter::Many(rows.range::<OrderedRow, _>(bounds))
            }
        }
    }

    /// The rows that stand `distance` rows before and behind a place; `None` where there are not so many.
    fn around(&self, row: &OrderedRow, distance: usize) -> (Option<&OrderedRow>, Option<&OrderedRow>) {
        match &self.kept {
            Kept::Few(rows) => {
                let before = rows.partition_point(|(known, _)| known < row).checked_sub(distance);
                let behind = rows.partition_point(|(known, _)| known <= row) + distance - 1;
                (before.map(|at| &rows[at].0), rows.get(behind).map(|(row, _)| row))
            }
            Kept::Many(rows) => {
                let before = rows.range(..row).rev().nth(distance - 1);
                let behind = rows.range((Bound::Excluded(row), Bound::Unbounded)).nth(distance - 1);
                (before.map(|(row, _)| row), behind.map(|(row, _)| row))
            }
        }
    }

    /// Adds to the weight of a row.
    pub fn change(&mut self, row: OrderedRow, weight: i64) {
        let size = row.bytes.len();
        match &mut self.kept {
            Kept::Few(rows) => match rows.binary_search_by(|(known, _)| known.cmp(&row)) {
                Ok(at) => {
                    rows[at].1 += weight;
                    if rows[at].1 == 0 {
                        self.bytes -= rows.remove(at).0.bytes.len();
                    }
                }
                Err(at) => {
                    if rows.is_empty() {
                        // Most partitions of one row stay so.
                        rows.reserve_exact(1);
                    }
                    rows.insert(at, (row, weight));
                    self.bytes += size;
                }
            },
            Kept::Many(rows) => match rows.entry(row) {
                btree_map::Entry::Vacant(entry) => {
                    entry.insert(weight);
                    self.bytes += size;
                }
                btree_map::Entry::Occupied(mut entry) => {
                    *entry.get_mut() += weight;
                    if *entry.get() == 0 {
                        self.bytes -= entry.remove_entry().0.bytes.len();
                    }
                }
            },
        }
        self.reshape();
    }

    /// Keeps the first `count` rows.
    pub fn truncate(&mut self, count: usize) {
        match &mut self.kept {
            Kept::Few(rows) => {
                let gone: usize = rows.iter().skip(count).map(|(row, _)| row.bytes.len()).sum();
                self.bytes -= gone;
                rows.truncate(count);
            }
            Kept::Many(rows) => {
                while rows.len() > count
                    && let Some((row, _)) = rows.pop_last()
                {
                    self.bytes -= row.bytes.len();
                }
            }
        }
        self.reshape();
    }

    fn reshape(&mut self) {
        match &mut self.kept {
            Kept::Few(rows) if rows.len() > MANY => {
                self.kept = Kept::Many(std::mem::take(rows).into_iter().collect());
            }
            Kept::Many(rows) if rows.len() < MANY / 4 => {
                self.kept = Kept::Few(std::mem::take(rows).into_iter().collect());
            }
            _ => {}
        }
    }

    /// The rows beside net changes to them, in order: each with its weight before and after.
    pub fn beside<'a>(&'a self, changes: &'a [(OrderedRow, i64)]) -> Beside<'a> {
        Beside { rows: self.iter().peekable(), changes: changes.iter().peekable() }
    }

    /// The parts of [`beside`](Rows::beside) that hold every change with `distance` rows before and behind it.
    pub fn near<'a>(&'a self, changes: &'a [(OrderedRow, i64)], distance: usize) -> Vec<Beside<'a>> {
        let (mut parts, mut rest, distance) = (Vec::new(), changes, distance.max(1));
        while let Some((row, _)) = rest.first() {
            let (first, mut last) = self.around(row, distance);
            let mut count = 1;
            while let (Some(end), Some((row, _))) = (last, rest.get(count)) {
                let (start, behind) = self.around(row, distance);
                if start.is_some_and(|start| start > end) {
                    break;
                }
                (last, count) = (behind, count + 1);
            }
            // Without an end it goes to the last row, and holds every other change.
            let count = if last.is_none() { rest.len() } else { count };
            let (now, later) = rest.split_at(count);
            parts.push(Beside { rows: self.between(first, last).peekable(), changes: now.iter().peekable() });
            rest = later;
        }
        parts
    }
}

/// Rows in order with their weights.
pub enum Iter<'a> {
    Few(slice::Iter<'a, (OrderedRow, i64)>),
    Many(btree_map::Range<'a, OrderedRow, i64>),
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a OrderedRow, i64);

    fn next(&mut self) -> Option<(&'a OrderedRow, i64)> {
        match self {
            Iter::Few(rows) => rows.next().map(|(row, weight)| (row, *weight)),
            Iter::Many(rows) => rows.next().map(|(row, weight)| (row, *weight)),
        }
    }
}

/// See [`Rows::beside`].
pub struct Beside<'a> {
    rows: Peekable<Iter<'a>>,
    changes: Peekable<slice::Iter<'a, (OrderedRow, i64)>>,
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
