//! `bool_and` and `bool_or`: how many values there are, and how many are true.

use super::summed::{Finish, Groups, Summed, Sums};
use arrow::array::{ArrayRef, AsArray, BooleanArray};
use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;

/// The two.
pub fn functions() -> Vec<Summed> {
    macro_rules! function {
        ($name:literal, $aliases:expr, $holds:expr) => {
            Summed::new($name, $aliases, resolve, |_, _, result| {
                let finish: Finish<Truths> = |truths, _, _| {
                    Ok(ScalarValue::Boolean((truths.count > 0).then(|| $holds(truths.count, truths.holding))))
                };
                Groups::boxed(Truths { count: 0, holding: 0 }, finish, result, 0)
            })
        };
    }
    vec![
        function!("bool_and", &["every"], |count, holding| count == holding),
        function!("bool_or", &[], |_, holding| holding > 0),
    ]
}

fn resolve(types: &[DataType]) -> Option<(Vec<DataType>, DataType)> {
    match types {
        [DataType::Boolean | DataType::Null] => Some((vec![DataType::Boolean], DataType::Boolean)),
        _ => None,
    }
}

#[derive(Clone, Debug)]
struct Truths {
    count: i64,
    holding: i64,
}

impl Sums for Truths {
    type Columns<'a> = &'a BooleanArray;

    fn columns(values: &[ArrayRef]) -> &BooleanArray {
        values[0].as_boolean()
    }

    fn count(&mut self, columns: &&BooleanArray, row: usize, sign: i64) {
        self.count += sign;
        self.holding += sign * i64::from(columns.value(row));
    }

    fn merge(&mut self, other: &Truths) {
        self.count += other.count;
        self.holding += other.holding;
    }

    fn words(&self) -> Vec<u64> {
        vec![self.count as u64, self.holding as u64]
    }

    fn from_words(words: &[u64]) -> Truths {
        Truths { count: words[0] as i64, holding: words[1] as i64 }
    }
}
