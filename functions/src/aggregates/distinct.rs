//! `DISTINCT` for any aggregate over single values: every combination of arguments is kept once, and the aggregate runs
//! over them at the end.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::Accumulator;
use datafusion::logical_expr::utils::format_state_name;
use std::collections::HashSet;

/// The arguments seen, and the aggregate that they are for.
#[derive(Debug)]
pub struct Distinct {
    seen: HashSet<Vec<ScalarValue>>,
    inner: Box<dyn Accumulator>,
    arguments: Vec<DataType>,
}

/// The state's fields: for each argument the list of its values.
pub fn state_fields(name: &str, arguments: &[DataType]) -> Vec<FieldRef> {
    let field = |(at, argument): (usize, &DataType)| {
        let name = format_state_name(name, &format!("distinct {at}"));
        Field::new_list(name, Field::new_list_field(argument.clone(), true), false).into()
    };
    arguments.iter().enumerate().map(field).collect()
}

impl Distinct {
    /// Over arguments of these types; `inner` has seen nothing yet.
    pub fn new(inner: Box<dyn Accumulator>, arguments: Vec<DataType>) -> Distinct {
        Distinct { seen: HashSet::new(), inner, arguments }
    }

    /// The values seen of an argument, in the same order for each.
    fn column(&self, at: usize) -> impl Iterator<Item = ScalarValue> + '_ {
        self.seen.iter().map(move |values| values[at].clone())
    }
}

impl Accumulator for Distinct {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let values = &values[..self.arguments.len()];
        for row in (0..values[0].len()).filter(|row| values.iter().all(|column| column.is_valid(*row))) {
            let row = values.iter().map(|column| ScalarValue::try_from_array(column, row)).collect::<Result<_>>()?;
            self.seen.insert(row);
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        if !self.seen.is_empty() {
            let columns = (0..self.arguments.len()).map(|at| ScalarValue::iter_to_array(self.column(at)));
            let columns = columns.collect::<Result<Vec<_>>>()?;
            self.seen.clear();
            self.inner.update_batch(&columns)?;
        }
        self.inner.evaluate()
    }

    fn size(&self) -> usize {
        let seen: usize = self.seen.iter().flatten().map(ScalarValue::size).sum();
        size_of_val(self) + seen + self.inner.size()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let lists = self.arguments.iter().enumerate().map(|(at, argument)| {
            let values: Vec<_> = self.column(at).collect();
            ScalarValue::List(ScalarValue::new_list_nullable(&values, argument))
        });
        Ok(lists.collect())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for row in 0..states[0].len() {
            let values: Vec<_> = states.iter().map(|state| state.as_list::<i32>().value(row)).collect();
            self.update_batch(&values)?;
        }
        Ok(())
    }
}
