//! Which rows of a batch can be among the first of their partition.

use super::format::Heads;
use super::index::HashIndex;

/// The rows of a batch that stand among the first of their partition in it, and the peers of the last of these.
pub(super) struct Best<'a> {
    heads: &'a Heads,
    first: usize,
    index: HashIndex,
    /// Of each partition the rows in order.
    partitions: Vec<Vec<u32>>,
    all: Vec<u32>,
}

/// Up to so many first rows it pays to look for them.
const FEW: usize = 64;

impl<'a> Best<'a> {
    /// No rows yet; `first`: how many of a partition are wanted.
    pub fn new(heads: &'a Heads, first: usize) -> Best<'a> {
        Best { heads, first, index: HashIndex::default(), partitions: Vec::new(), all: Vec::new() }
    }

    /// Looks at a row, whose partition has this hash.
    pub fn push(&mut self, row: u32, hash: u64) {
        let Best { heads, first, index, partitions, all } = self;
        if !(1..=FEW).contains(first) {
            return all.push(row);
        }
        let (partition, order) = heads.of(row as usize);
        let head = |rows: &[u32]| heads.of(rows[0] as usize).0;
        let Some(at) = index.find(hash, |at| head(&partitions[at as usize]) == partition) else {
            index.insert(hash, partitions.len() as u32);
            return partitions.push(vec![row]);
        };
        let rows = &mut partitions[at as usize];
        let order_of = |row: u32| heads.of(row as usize).1;
        if rows.len() >= *first && order > order_of(rows[*first - 1]) {
            return;
        }
        let place = rows.partition_point(|&row| order_of(row) <= order);
        rows.insert(place, row);
        while rows.len() > *first && order_of(rows[rows.len() - 1]) > order_of(rows[*first - 1]) {
            rows.pop();
        }
    }

    /// The rows, ascending.
    pub fn rows(self) -> Vec<u32> {
        let mut rows = self.partitions.concat();
        rows.extend(self.all);
        rows.sort_unstable();
        rows
    }
}
