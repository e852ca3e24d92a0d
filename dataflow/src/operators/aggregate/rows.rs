//! The rows of a batch that count towards an aggregate, with their groups and weights.

use super::fixed;
use arrow::array::{ArrayRef, ArrowPrimitiveType, AsArray};
use arrow::buffer::BooleanBuffer;
use millrace_types::Weights;

/// Rows `start..` of a batch, as many as `found` has groups.
pub struct Rows<'a> {
    pub found: &'a [u32],
    pub start: usize,
    pub weights: &'a Weights,
    /// Which rows of the whole batch count; `None` when all do.
    pub counted: Option<&'a BooleanBuffer>,
}

impl Rows<'_> {
    /// Calls `f` with the row, its group and its weight.
    #[inline(always)]
    pub fn each(&self, mut f: impl FnMut(usize, usize, i64)) {
        let rows = self.found.iter().enumerate().map(|(at, &group)| (self.start + at, group as usize));
        match (self.weights, self.counted) {
            (Weights::Ones, None) => rows.for_each(|(row, group)| f(row, group, 1)),
            (Weights::Each(each), None) => rows.for_each(|(row, group)| f(row, group, each[row])),
            (weights, Some(counted)) => rows.filter(|&(row, _)| counted.value(row)).for_each(|(row, group)| {
                let weight = if let Weights::Each(each) = weights { each[row] } else { 1 };
                f(row, group, weight)
            }),
        }
    }

    /// As [`each`](Rows::each), with the value of the row.
    #[inline(always)]
    pub fn values<T: ArrowPrimitiveType>(&self, column: &ArrayRef, mut f: impl FnMut(T::Native, usize, i64)) {
        let values = column.as_primitive::<T>().values();
        self.each(|row, group, weight| f(values[row], group, weight));
    }

    /// As [`each`](Rows::each), with the value as a word.
    pub fn words(&self, column: &ArrayRef, mut f: impl FnMut(u128, usize, i64)) {
        let mut words = Vec::with_capacity(self.found.len());
        fixed::encode(column, self.start..self.start + self.found.len(), |_, word| words.push(word));
        self.each(|row, group, weight| f(words[row - self.start], group, weight));
    }
}
