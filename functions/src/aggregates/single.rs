//! The accumulator of one group: that of many with group 0 alone.

use arrow::array::{ArrayRef, new_empty_array};
use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{Accumulator, EmitTo, GroupsAccumulator};

/// A groups accumulator that group 0 can take rows back from.
pub trait Retract: GroupsAccumulator + Sync {
    /// Takes rows back from group 0.
    fn leave(&mut self, values: &[ArrayRef]) -> Result<()>;

    /// What group 0 comes to so far.
    fn value(&self) -> Result<ScalarValue>;

    /// Whether what is left then is what it would be had the rows never come, whichever rows they are.
    fn forgets(&self) -> bool {
        true
    }

    /// Only the rows that came first will leave: those before the frame of a window.
    fn slide(&mut self) {}
}

/// The accumulator of group 0.
pub struct Single {
    groups: Box<dyn Retract>,
}

impl std::fmt::Debug for Single {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Single")
    }
}

impl Single {
    /// Group 0 exists from the start, so that there is a result for no row at all. `values`: the types of what it will
    /// be given.
    pub fn new(mut groups: Box<dyn Retract>, values: &[DataType]) -> Result<Single> {
        let values: Vec<_> = values.iter().map(new_empty_array).collect();
        groups.update_batch(&values, &[], None, 1)?;
        Ok(Single { groups })
    }
}

impl Accumulator for Single {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.groups.update_batch(values, &vec![0; values[0].len()], None, 1)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.groups.value()
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.groups.size()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let state = self.groups.state(EmitTo::All)?;
        self.groups.merge_batch(&state, &[0], 1)?;
        state.iter().map(|array| ScalarValue::try_from_array(array, 0)).collect()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.groups.merge_batch(states, &vec![0; states[0].len()], 1)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.groups.leave(values)
    }

    fn supports_retract_batch(&self) -> bool {
        self.groups.forgets()
    }
}
