//! Variances and standard deviations, from the number of values, their sum and the sum of their squares.
//!
//! Integers and numerics are computed exactly and rounded once, to as many digits as Postgres gives; floats with twice
//! the digits of a float, so that the difference of nearly equal sums still has all of its own.

use super::single::Retract;
use super::summed::{Groups, Summed, Sums};
use super::twofold::Twofold;
use crate::operators::decimal::{self, power_of_ten, scale_of, within};
use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int16Array, Int32Array, Int64Array, PrimitiveArray};
use arrow::datatypes::{DataType, Decimal128Type, Float64Type, Int16Type, Int32Type, Int64Type, i256};
use datafusion::common::ScalarValue;
use millrace_types::numeric::{QUOTIENT_SCALE, places_of_quotient, quotient};
use millrace_types::{Result, SqlError, SqlState};

/// `stddev`, `variance` and their kin.
pub fn functions() -> Vec<Summed> {
    vec![
        Summed::new("var_samp", &["variance", "var_sample"], resolve, |_, types, result| {
            make(types, result, float::<true, false>, exact::<true, false>)
        }),
        Summed::new("var_pop", &["var_population"], resolve, |_, types, result| {
            make(types, result, float::<false, false>, exact::<false, false>)
        }),
        Summed::new("stddev_samp", &["stddev"], resolve, |_, types, result| {
            make(types, result, float::<true, true>, exact::<true, true>)
        }),
        Summed::new("stddev_pop", &[], resolve, |_, types, result| {
            make(types, result, float::<false, true>, exact::<false, true>)
        }),
    ]
}

fn resolve(types: &[DataType]) -> Option<(Vec<DataType>, DataType)> {
    use DataType::*;
    let argument = match types {
        [Int8 | Int16 | UInt8] => Int16,
        [Int32 | UInt16] => Int32,
        [Int64 | UInt32] => Int64,
        [Decimal128(p, s)] => Decimal128(*p, *s),
        [Float16 | Float32 | Float64 | Null | Utf8] => Float64,
        _ => return None,
    };
    let result = match argument {
        Float64 => Float64,
        _ => Decimal128(38, scale_of(&argument).max(QUOTIENT_SCALE)),
    };
    Some((vec![argument], result))
}

fn make(
    types: &[DataType],
    result: &DataType,
    float: super::summed::Finish<FloatMoments>,
    exact: super::summed::Finish<ExactMoments>,
) -> Box<dyn Retract> {
    match types {
        [DataType::Float64] => Groups::boxed(FloatMoments::default(), float, result, 0),
        types => {
            let scale = types.first().map_or(0, scale_of);
            Groups::boxed(ExactMoments { count: 0, sum: i256::ZERO, squares: i256::ZERO }, exact, result, scale)
        }
    }
}

/// A column of integers or numerics, as integers.
pub enum Integers<'a> {
    Int16(&'a Int16Array),
    Int32(&'a Int32Array),
    Int64(&'a Int64Array),
    Decimal(&'a PrimitiveArray<Decimal128Type>),
}

impl Integers<'_> {
    /// Of a column of one of these types.
    pub fn of(column: &ArrayRef) -> Integers<'_> {
        match column.data_type() {
            DataType::Int16 => Integers::Int16(column.as_primitive::<Int16Type>()),
            DataType::Int32 => Integers::Int32(column.as_primitive::<Int32Type>()),
            DataType::Int64 => Integers::Int64(column.as_primitive::<Int64Type>()),
            _ => Integers::Decimal(column.as_primitive::<Decimal128Type>()),
        }
    }

    /// One of them.
    pub fn value(&self, row: usize) -> i128 {
        match self {
            Integers::Int16(column) => column.value(row).into(),
            Integers::Int32(column) => column.value(row).into(),
            Integers::Int64(column) => column.value(row).into(),
            Integers::Decimal(column) => column.value(row),
        }
    }
}

/// Of integers, or of numerics in units of their scale.
#[derive(Clone, Debug)]
struct ExactMoments {
    count: i64,
    sum: i256,
    squares: i256,
}

fn words_of(value: i256) -> [u64; 4] {
    let (low, high) = value.to_parts();
    [low as u64, (low >> 64) as u64, high as u64, (high >> 64) as u64]
}

fn wide_of(words: &[u64]) -> i256 {
    let part = |at: usize| u128::from(words[at + 1]) << 64 | u128::from(words[at]);
    i256::from_parts(part(0), part(2) as i128)
}

impl Sums for ExactMoments {
    type Columns<'a> = Integers<'a>;

    fn columns(values: &[ArrayRef]) -> Integers<'_> {
        Integers::of(&values[0])
    }

    fn count(&mut self, columns: &Integers<'_>, row: usize, sign: i64) {
        let value = i256::from_i128(columns.value(row));
        let square = value.wrapping_mul(value);
        self.count += sign;
        match sign {
            1 => (self.sum, self.squares) = (self.sum.wrapping_add(value), self.squares.wrapping_add(square)),
            _ => (self.sum, self.squares) = (self.sum.wrapping_sub(value), self.squares.wrapping_sub(square)),
        }
    }

    fn merge(&mut self, other: &ExactMoments) {
        self.count += other.count;
        self.sum = self.sum.wrapping_add(other.sum);
        self.squares = self.squares.wrapping_add(other.squares);
    }

    fn words(&self) -> Vec<u64> {
        [&[self.count as u64][..], &words_of(self.sum), &words_of(self.squares)].concat()
    }

    fn from_words(words: &[u64]) -> ExactMoments {
        ExactMoments { count: words[0] as i64, sum: wide_of(&words[1..5]), squares: wide_of(&words[5..9]) }
    }
}

/// The variance or, if `ROOT`, the standard deviation, of the values or, if `SAMPLE`, of what they are a sample of.
fn exact<const SAMPLE: bool, const ROOT: bool>(
    moments: &ExactMoments,
    result: &DataType,
    scale: i8,
) -> Result<ScalarValue> {
    let full = scale_of(result);
    let numeric = |value| ScalarValue::Decimal128(value, 38, full);
    let count = i256::from_i128(moments.count.into());
    if moments.count < if SAMPLE { 2 } else { 1 } {
        return Ok(numeric(None));
    }
    let spread = || {
        let squares = moments.squares.checked_mul(count)?;
        squares.checked_sub(moments.sum.checked_mul(moments.sum)?)
    };
    let spread = spread().ok_or_else(decimal::overflow)?;
    if spread <= i256::ZERO {
        return Ok(numeric(Some(0)));
    }
    let divisor = i128::from(moments.count) * i128::from(if SAMPLE { moments.count - 1 } else { moments.count });
    let spread = (spread, scale.saturating_mul(2));
    let variance = quotient(spread, (divisor, 0), full).ok_or_else(decimal::overflow)?;
    if !ROOT {
        return Ok(numeric(Some(variance)));
    }
    // As Postgres does: the root of the rounded variance, with as many digits.
    let digits = places_of_quotient(spread, (divisor, 0), full);
    let padding = power_of_ten((i32::from(full) - digits).max(0) as u32);
    let scaled = i256::from_i128(variance / padding).wrapping_mul(i256::from_i128(power_of_ten(digits.max(0) as u32)));
    let value = root(scaled).to_i128().and_then(|root| root.checked_mul(padding)).and_then(within);
    Ok(numeric(Some(value.ok_or_else(decimal::overflow)?)))
}

/// The square root, rounded half up.
fn root(value: i256) -> i256 {
    if value <= i256::ZERO {
        return i256::ZERO;
    }
    // The nearest float is a few of Newton's steps away.
    let guess = value.to_string().parse::<f64>().unwrap_or(1.0).sqrt();
    let mut root = i256::from_i128(guess as i128).wrapping_add(i256::ONE);
    for _ in 0..100 {
        let next = root.wrapping_add(value.wrapping_div(root)).wrapping_div(i256::from_i128(2));
        if next.wrapping_sub(root).wrapping_abs() <= i256::ONE {
            root = if next < root { next } else { root };
            break;
        }
        root = next;
    }
    while root.wrapping_mul(root) > value {
        root = root.wrapping_sub(i256::ONE);
    }
    while root.wrapping_add(i256::ONE).wrapping_mul(root.wrapping_add(i256::ONE)) <= value {
        root = root.wrapping_add(i256::ONE);
    }
    // Above the middle of two roots, which is no integer.
    let up = value.wrapping_sub(root.wrapping_mul(root)) > root;
    if up { root.wrapping_add(i256::ONE) } else { root }
}

/// Floats beyond this, whose squares are near the end of their range, are counted apart: so they leave no trace.
pub const FAR: f64 = 1e150;

/// Of floats.
#[derive(Clone, Debug, Default)]
struct FloatMoments {
    count: i64,
    /// How many of them are NaN or infinite.
    special: i64,
    /// How many are [far](FAR) from zero: with them the sums cannot be given.
    far: i64,
    sum: Twofold,
    squares: Twofold,
}

impl Sums for FloatMoments {
    type Columns<'a> = &'a Float64Array;

    fn columns(values: &[ArrayRef]) -> &Float64Array {
        values[0].as_primitive::<Float64Type>()
    }

    fn count(&mut self, column: &&Float64Array, row: usize, sign: i64) {
        let value = column.value(row);
        self.count += sign;
        if !value.is_finite() {
            self.special += sign;
        } else if value.abs() > FAR {
            self.far += sign;
        } else {
            self.sum = self.sum.plus((value * sign as f64).into());
            self.squares = self.squares.plus(Twofold::product(value * sign as f64, value));
        }
        if self.count == self.special + self.far {
            (self.sum, self.squares) = Default::default();
        }
    }

    fn merge(&mut self, other: &FloatMoments) {
        self.count += other.count;
        self.special += other.special;
        self.far += other.far;
        self.sum = self.sum.plus(other.sum);
        self.squares = self.squares.plus(other.squares);
    }

    fn words(&self) -> Vec<u64> {
        let floats = [self.sum.0, self.sum.1, self.squares.0, self.squares.1].map(f64::to_bits);
        [&[self.count as u64, self.special as u64, self.far as u64][..], &floats].concat()
    }

    fn from_words(words: &[u64]) -> FloatMoments {
        let float = |at: usize| f64::from_bits(words[at]);
        FloatMoments {
            count: words[0] as i64,
            special: words[1] as i64,
            far: words[2] as i64,
            sum: Twofold(float(3), float(4)),
            squares: Twofold(float(5), float(6)),
        }
    }
}

/// The sum of the products of deviations, from the sums of products and of both factors. What is left of nearly equal
/// numbers, as when all values are the same, is nothing.
pub fn centered(products: Twofold, left: Twofold, right: Twofold, count: i64) -> f64 {
    let mean = left.times(right).over(count as f64);
    let rest = products.plus(mean.negated()).value();
    if rest.abs() <= 1e-29 * products.value().abs() { 0.0 } else { rest }
}

/// The value, unless finite values have led out of the range of floats.
pub fn in_range(value: f64) -> Result<f64> {
    if value.is_finite() { Ok(value) } else { Err(overflow()) }
}

/// `22003` for floats.
pub fn overflow() -> SqlError {
    SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "value out of range: overflow")
}

fn float<const SAMPLE: bool, const ROOT: bool>(moments: &FloatMoments, _: &DataType, _: i8) -> Result<ScalarValue> {
    if moments.count < if SAMPLE { 2 } else { 1 } {
        return Ok(ScalarValue::Float64(None));
    }
    if moments.special > 0 {
        return Ok(ScalarValue::Float64(Some(f64::NAN)));
    }
    if moments.count == 1 {
        return Ok(ScalarValue::Float64(Some(0.0)));
    }
    if moments.far > 0 {
        return Err(overflow());
    }
    let spread = in_range(centered(moments.squares, moments.sum, moments.sum, moments.count))?.max(0.0);
    let variance = spread / (moments.count - i64::from(SAMPLE)) as f64;
    Ok(ScalarValue::Float64(Some(if ROOT { variance.sqrt() } else { variance })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_are_rounded() {
        for (value, expected) in
            [(0, 0), (1, 1), (2, 1), (3, 2), (6, 2), (7, 3), (9, 3), (10i128.pow(36) + 1, 10i128.pow(18))]
        {
            assert_eq!(root(i256::from_i128(value)).to_i128(), Some(expected), "{value}");
        }
    }
}
