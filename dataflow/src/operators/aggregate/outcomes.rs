//! What aggregates that are computed by calls come to, for the groups that changed in a tick.

use super::emission::Side;
use arrow::array::{Array, ArrayRef, BooleanArray, make_comparator, new_empty_array};
use arrow::compute::interleave;
use arrow::datatypes::DataType;
use millrace_types::{Result, SqlError};
use std::collections::HashMap;

/// One value for each of the groups asked for; NULL for those that fail.
#[derive(Debug)]
pub struct Values {
    pub column: ArrayRef,
    /// Why there is none, by place.
    pub failures: HashMap<u32, SqlError>,
}

impl Values {
    /// Of no groups.
    pub fn none(data_type: &DataType) -> Values {
        Values { column: new_empty_array(data_type), failures: HashMap::new() }
    }
}

/// The values of the groups that changed, by their place among these.
#[derive(Debug)]
pub struct Outcomes {
    /// As they were before the tick.
    before: Values,
    /// As they are.
    now: Values,
    same: BooleanArray,
}

impl Outcomes {
    /// Of equally many groups.
    pub fn new(before: Values, now: Values) -> Result<Outcomes> {
        let compare = make_comparator(&before.column, &now.column, Default::default())?;
        let groups = before.column.len().min(now.column.len());
        let same = (0..groups).map(|at| {
            let failed = |values: &Values| values.failures.get(&(at as u32)).cloned();
            Some(compare(at, at).is_eq() && failed(&before) == failed(&now))
        });
        let same = same.collect();
        Ok(Outcomes { before, now, same })
    }

    /// Whether a group comes to the same as before.
    pub fn is_same(&self, slot: u32) -> bool {
        self.same.value(slot as usize)
    }

    /// Why a value cannot be given, if so.
    pub fn failure(&self, side: Side) -> Option<SqlError> {
        let values = if side.is_now { &self.now } else { &self.before };
        values.failures.get(&side.slot).cloned()
    }

    /// The column of these groups.
    pub fn finish(&self, sides: &[Side]) -> Result<ArrayRef> {
        let at: Vec<_> = sides.iter().map(|side| (usize::from(side.is_now), side.slot as usize)).collect();
        Ok(interleave(&[self.before.column.as_ref(), self.now.column.as_ref()], &at)?)
    }
}
