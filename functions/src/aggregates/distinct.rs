//! `DISTINCT` for any aggregate: every value is kept once, and the aggregate runs over them at the end.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::Accumulator;
use datafusion::logical_expr::utils::format_state_name;
use std::collections::HashSet;

/// The values seen, and the aggregate that they are for.
#[derive(Debug)]
pub struct Distinct {
    seen: HashSet<ScalarValue>,
    inner: Box<dyn Accumulator>,
    argument: DataType,
}

/// The state's field: the list of values.
pub fn state_field(name: &str, argument: &DataType) -> FieldRef {
    Field::new_list(format_state_name(name, "distinct"), Field::new_list_field(argument.clone(), true), false).into()
}

impl Distinct {
    /// Over arguments of a type; `inner` has seen nothing yet.
    pub fn new(inner: Box<dyn Accumulator>, argument: DataType) -> Distinct {
        Distinct { seen: HashSet::new(), inner, argument }
    }
}

impl Accumulator for Distinct {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for row in (0..values[0].len()).filter(|row| values[0].is_valid(*row)) {
            self.seen.insert(ScalarValue::try_from_array(&values[0], row)?);
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let seen = std::mem::take(&mut self.seen);
        if !seen.is_empty() {
            self.inner.update_batch(&[ScalarValue::iter_to_array(seen)?])?;
        }
        self.inner.evaluate()
    }

    fn size(&self) -> usize {
        size_of_val(self) + ScalarValue::size_of_hashset(&self.seen) + self.inner.size()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let values: Vec<_> = self.seen.iter().cloned().collect();
        Ok(vec![ScalarValue::List(ScalarValue::new_list_nullable(&values, &self.argument))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for values in states[0].as_list::<i32>().iter().flatten() {
            self.update_batch(&[values])?;
        }
        Ok(())
    }
}
