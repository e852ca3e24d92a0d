//! The rows of one partition in their order: a sorted vector while they are few, a tree when they are many.

use std::cmp::Ordering;
use std::collections::{BTreeMap, btree_map};
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
            Kept::Many(rows) => Iter::Many(rows.iter()),
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
}

/// Rows in order with their weights.
pub enum Iter<'a> {
    Few(slice::Iter<'a, (OrderedRow, i64)>),
    Many(btree_map::Iter<'a, OrderedRow, i64>),
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
