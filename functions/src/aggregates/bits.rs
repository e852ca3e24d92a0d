//! `bit_and`, `bit_or` and `bit_xor`: for each bit how many values have it.

use super::moments::Integers;
use super::summed::{Finish, Groups, Summed, Sums};
use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use millrace_types::Result;

/// The three.
pub fn functions() -> Vec<Summed> {
    macro_rules! function {
        ($name:literal, $is_set:expr) => {
            Summed::new($name, &[], resolve, |_, types, result| {
                let width = types.first().and_then(DataType::primitive_width).unwrap_or(8) * 8;
                let finish: Finish<Bits> = |bits, result, _| bits.finish(result, $is_set);
                Groups::boxed(Bits { count: 0, set: vec![0; width] }, finish, result, 0)
            })
        };
    }
    vec![
        function!("bit_and", |set, count| set == count),
        function!("bit_or", |set, _| set > 0),
        function!("bit_xor", |set, _| set % 2 != 0),
    ]
}

fn resolve(types: &[DataType]) -> Option<(Vec<DataType>, DataType)> {
    use DataType::*;
    let argument = match types {
        [Int8 | Int16 | UInt8] => Int16,
        [Int32 | UInt16] => Int32,
        [Int64 | UInt32] => Int64,
        _ => return None,
    };
    Some((vec![argument.clone()], argument))
}

/// How many values there are, and for each bit, from the lowest, how many have it.
#[derive(Clone, Debug)]
struct Bits {
    count: i64,
    set: Vec<i64>,
}

impl Bits {
    fn finish(&self, result: &DataType, is_set: fn(i64, i64) -> bool) -> Result<ScalarValue> {
        let bits = self.set.iter().enumerate().filter(|(_, set)| is_set(**set, self.count));
        let value = bits.fold(0u64, |value, (bit, _)| value | 1 << bit);
        let value = (self.count > 0).then_some(value);
        Ok(match result {
            DataType::Int16 => ScalarValue::Int16(value.map(|value| value as i16)),
            DataType::Int32 => ScalarValue::Int32(value.map(|value| value as i32)),
            _ => ScalarValue::Int64(value.map(|value| value as i64)),
        })
    }
}

impl Sums for Bits {
    type Columns<'a> = Integers<'a>;

    fn columns(values: &[ArrayRef]) -> Integers<'_> {
        Integers::of(&values[0])
    }

    fn count(&mut self, columns: &Integers<'_>, row: usize, sign: i64) {
        let mut value = columns.value(row) as u64;
        self.count += sign;
        for set in &mut self.set {
            *set += sign * (value & 1) as i64;
            value >>= 1;
        }
    }

    fn merge(&mut self, other: &Bits) {
        self.count += other.count;
        self.set.iter_mut().zip(&other.set).for_each(|(set, other)| *set += other);
    }

    fn words(&self) -> Vec<u64> {
        std::iter::once(self.count).chain(self.set.iter().copied()).map(|count| count as u64).collect()
    }

    fn from_words(words: &[u64]) -> Bits {
        Bits { count: words[0] as i64, set: words[1..].iter().map(|&set| set as i64).collect() }
    }
}
