//! Arithmetic of integers and floats, checked over a whole vector at once: the loops compute wrapped results and
//! gather one overflow flag, so that they stay free of branches; only a raised flag costs a second look, row by row.

use super::arithmetic::Operation;
use arrow::array::{ArrayRef, ArrowPrimitiveType, AsArray, PrimitiveArray};
use arrow::buffer::{NullBuffer, ScalarBuffer};
use arrow::datatypes::ArrowNativeType;
use millrace_types::{Result, SqlError, SqlState};
use std::sync::Arc;

/// The values of one side: a column or one value for every row.
pub enum Side<'a, T> {
    Column(&'a [T]),
    One(T),
}

impl<T: Copy> Side<'_, T> {
    /// The value of a row.
    pub fn at(&self, row: usize) -> T {
        match self {
            Side::Column(values) => values[row],
            Side::One(value) => *value,
        }
    }
}

/// A fixed-width number with Postgres's checks.
pub trait Number: ArrowNativeType {
    /// The wrapped result and a word that is negative when the result is not to be trusted.
    fn add(self, other: Self) -> (Self, i64);
    fn subtract(self, other: Self) -> (Self, i64);
    fn multiply(self, other: Self) -> (Self, i64);
    /// The exact result of any operation, or the error.
    fn exactly(self, operation: Operation, other: Self) -> Result<Self>;
}

/// `22012`.
pub fn division_by_zero() -> SqlError {
    SqlError::new(SqlState::DIVISION_BY_ZERO, "division by zero")
}

/// `22003` for a type by its Postgres name.
pub fn out_of_range(type_name: &str) -> SqlError {
    SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, format!("{type_name} out of range"))
}

macro_rules! whole {
    ($type:ty, $name:literal, |$a:ident, $b:ident| $product:expr) => {
        impl Number for $type {
            #[inline(always)]
            fn add(self, other: Self) -> (Self, i64) {
                let sum = self.wrapping_add(other);
                (sum, i64::from((self ^ sum) & (other ^ sum)))
            }

            #[inline(always)]
            fn subtract(self, other: Self) -> (Self, i64) {
                let difference = self.wrapping_sub(other);
                (difference, i64::from((self ^ other) & (self ^ difference)))
            }

            #[inline(always)]
            fn multiply(self, other: Self) -> (Self, i64) {
                let ($a, $b) = (self, other);
                $product
            }

            fn exactly(self, operation: Operation, other: Self) -> Result<Self> {
                let result = match operation {
                    Operation::Add => self.checked_add(other),
                    Operation::Subtract => self.checked_sub(other),
                    Operation::Multiply => self.checked_mul(other),
                    Operation::Divide | Operation::Modulo if other == 0 => return Err(division_by_zero()),
                    Operation::Divide => self.checked_div(other),
                    // The remainder by -1 is 0, also where the quotient overflows.
                    Operation::Modulo => Some(self.wrapping_rem(other)),
                };
                result.ok_or_else(|| out_of_range($name))
            }
        }
    };
}

whole!(i16, "smallint", |a, b| {
    let wide = i32::from(a) * i32::from(b);
    (wide as i16, if wide == i32::from(wide as i16) { 0 } else { -1 })
});
whole!(i32, "integer", |a, b| {
    let wide = i64::from(a) * i64::from(b);
    (wide as i32, if wide == i64::from(wide as i32) { 0 } else { -1 })
});
whole!(i64, "bigint", |a, b| {
    let (product, over) = a.overflowing_mul(b);
    (product, -i64::from(over))
});

macro_rules! float {
    ($type:ty) => {
        impl Number for $type {
            #[inline(always)]
            fn add(self, other: Self) -> (Self, i64) {
                let sum = self + other;
                (sum, -i64::from(!sum.is_finite()))
            }

            #[inline(always)]
            fn subtract(self, other: Self) -> (Self, i64) {
                let difference = self - other;
                (difference, -i64::from(!difference.is_finite()))
            }

            #[inline(always)]
            fn multiply(self, other: Self) -> (Self, i64) {
                let product = self * other;
                (product, -i64::from(!product.is_finite() | (product == 0.0)))
            }

            fn exactly(self, operation: Operation, other: Self) -> Result<Self> {
                let result = match operation {
                    Operation::Add => self + other,
                    Operation::Subtract => self - other,
                    Operation::Multiply => self * other,
                    Operation::Divide | Operation::Modulo if other == 0.0 && !self.is_nan() => {
                        return Err(division_by_zero());
                    }
                    Operation::Divide => self / other,
                    Operation::Modulo => self % other,
                };
                let scaling = matches!(operation, Operation::Multiply | Operation::Divide);
                if result.is_infinite() && !self.is_infinite() && !other.is_infinite() {
                    return Err(float_error("overflow"));
                }
                if result == 0.0 && scaling && self != 0.0 && other != 0.0 && !other.is_infinite() {
                    return Err(float_error("underflow"));
                }
                Ok(result)
            }
        }
    };
}

float!(f32);
float!(f64);

/// `22003`, as every float function words it.
pub fn float_error(what: &str) -> SqlError {
    SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, format!("value out of range: {what}"))
}

/// Both sides of an operation over `rows` rows; a side of length 1 is one value for all.
pub struct Pair<'a, T> {
    pub left: Side<'a, T>,
    pub right: Side<'a, T>,
    pub nulls: Option<NullBuffer>,
    pub rows: usize,
}

impl<'a, T: ArrowNativeType> Pair<'a, T> {
    /// `None` when one side is NULL for every row.
    pub fn of<P: ArrowPrimitiveType<Native = T>>(left: &'a ArrayRef, right: &'a ArrayRef, rows: usize) -> Option<Self> {
        let (left, right) = (left.as_primitive::<P>(), right.as_primitive::<P>());
        let (left_side, left_nulls) = side(left, rows)?;
        let (right_side, right_nulls) = side(right, rows)?;
        Some(Pair { left: left_side, right: right_side, nulls: NullBuffer::union(left_nulls, right_nulls), rows })
    }

    /// Maps every row without NULL by a function that may fail; the result stands at 0 where there is NULL.
    pub fn try_map<O: ArrowNativeType>(&self, f: impl Fn(T, T) -> Result<O>) -> Result<Vec<O>> {
        let valid = |row| self.nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
        let one = |row| if valid(row) { f(self.left.at(row), self.right.at(row)) } else { Ok(O::default()) };
        (0..self.rows).map(one).collect()
    }
}

type OneSide<'a, T> = (Side<'a, T>, Option<&'a NullBuffer>);

fn side<P: ArrowPrimitiveType>(array: &PrimitiveArray<P>, rows: usize) -> Option<OneSide<'_, P::Native>> {
    use arrow::array::Array;
    if array.len() == 1 && rows != 1 {
        return array.is_valid(0).then(|| (Side::One(array.value(0)), None));
    }
    Some((Side::Column(array.values()), array.nulls()))
}

/// The result of an operation of two columns of one number type; a column of length 1 is one value for all rows.
pub fn evaluate<P>(operation: Operation, left: &ArrayRef, right: &ArrayRef, rows: usize) -> Result<ArrayRef>
where
    P: ArrowPrimitiveType,
    P::Native: Number,
{
    let Some(pair) = Pair::of::<P>(left, right, rows) else {
        return Ok(Arc::new(PrimitiveArray::<P>::new_null(rows)));
    };
    let fast = match operation {
        Operation::Add => wrapped(&pair, |a, b| a.add(b)),
        Operation::Subtract => wrapped(&pair, |a, b| a.subtract(b)),
        Operation::Multiply => wrapped(&pair, |a, b| a.multiply(b)),
        Operation::Divide | Operation::Modulo => None,
    };
    let values = match fast {
        Some(values) => values,
        None => pair.try_map(|a, b| a.exactly(operation, b))?,
    };
    Ok(Arc::new(PrimitiveArray::<P>::new(ScalarBuffer::from(values), pair.nulls)))
}

/// The results, unless one may have overflowed. What stands under a NULL may raise the flag, too: the caller looks again.
#[inline(always)]
fn wrapped<T: Number>(pair: &Pair<T>, f: impl Fn(T, T) -> (T, i64)) -> Option<Vec<T>> {
    let mut flags = 0;
    let mut results = vec![T::default(); pair.rows];
    let mut put = |result: &mut T, a: T, b: T| {
        let (value, flag) = f(a, b);
        *result = value;
        flags |= flag;
    };
    match (&pair.left, &pair.right) {
        (Side::Column(left), Side::Column(right)) => {
            results.iter_mut().zip(*left).zip(*right).for_each(|((r, a), b)| put(r, *a, *b))
        }
        (Side::Column(left), Side::One(b)) => results.iter_mut().zip(*left).for_each(|(r, a)| put(r, *a, *b)),
        (Side::One(a), Side::Column(right)) => results.iter_mut().zip(*right).for_each(|(r, b)| put(r, *a, *b)),
        (Side::One(a), Side::One(b)) => results.iter_mut().for_each(|r| put(r, *a, *b)),
    }
    (flags >= 0).then_some(results)
}
