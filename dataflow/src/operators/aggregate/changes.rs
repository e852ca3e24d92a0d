//! The changes of a tick with the groups that they belong to: for aggregates that are computed at its end.

use arrow::array::UInt32Array;
use millrace_types::{Delta, Result, Weights};

/// Rows, each with its group.
pub struct Changes {
    pub delta: Delta,
    pub groups: Vec<u32>,
}

impl Changes {
    /// All batches of a tick as one; `None` when there were none.
    pub fn of(open: &mut Vec<(Delta, Vec<u32>)>) -> Result<Option<Changes>> {
        if open.len() <= 1 {
            return Ok(open.pop().map(|(delta, groups)| Changes { delta, groups }));
        }
        let (deltas, groups): (Vec<_>, Vec<_>) = std::mem::take(open).into_iter().unzip();
        let delta = Delta::concat(&deltas[0].schema(), &deltas)?;
        Ok(Some(Changes { delta, groups: groups.concat() }))
    }

    /// The rows at `places`, weighing `weights`.
    pub fn select(&self, places: Vec<u32>, weights: Vec<i64>) -> Result<Changes> {
        let groups = places.iter().map(|&place| self.groups[place as usize]).collect();
        let rows = self.delta.take(&UInt32Array::from(places))?.into_parts().0;
        Ok(Changes { delta: Delta::new(rows, Weights::Each(weights.into())), groups })
    }
}
