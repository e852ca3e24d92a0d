//! Arithmetic of numerics: scaled 128-bit integers, with 256-bit ones where a product or dividend needs them.

use super::arithmetic::Operation;
use super::number::{Pair, division_by_zero};
use arrow::array::{ArrayRef, PrimitiveArray};
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::{DataType, Decimal128Type, i256};
use millrace_types::numeric::{QUOTIENT_SCALE, quotient};
use millrace_types::{Result, SqlError, SqlState, SqlType};
use std::sync::Arc;

/// Digits of the widest numeric.
pub const DIGITS: u8 = 38;
/// Digits after the point that a product keeps, with all that there is room for beside the digits before the point.
const PRODUCT_SCALE: i8 = SqlType::NUMERIC_SCALE;
/// 10^38: what no numeric reaches.
const LIMIT: u128 = 10u128.pow(38);

/// `22003`.
pub fn overflow() -> SqlError {
    SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "value overflows numeric format")
}

/// Ten to the power; exponents are differences of scales, at most 38.
pub fn power_of_ten(exponent: u32) -> i128 {
    10i128.pow(exponent.min(38))
}

/// The value when it has at most 38 digits.
pub fn within(value: i128) -> Option<i128> {
    (value.unsigned_abs() < LIMIT).then_some(value)
}

/// A quotient rounded half away from zero. The divisor is not zero.
pub fn divide_rounded(dividend: i128, divisor: i128) -> i128 {
    let quotient = dividend / divisor;
    let remainder = (dividend % divisor).unsigned_abs();
    match remainder >= divisor.unsigned_abs() - remainder {
        true if (dividend < 0) == (divisor < 0) => quotient + 1,
        true => quotient - 1,
        false => quotient,
    }
}

/// As [`divide_rounded`] for wide dividends; `None` when the quotient has more than 38 digits.
pub fn divide_wide(dividend: i256, divisor: i256) -> Option<i128> {
    let quotient = dividend.checked_div(divisor)?;
    let remainder = dividend.checked_rem(divisor)?.wrapping_abs();
    let up = remainder >= divisor.wrapping_abs().wrapping_sub(remainder);
    let step = match dividend.is_negative() == divisor.is_negative() {
        true => i256::ONE,
        false => i256::MINUS_ONE,
    };
    let rounded = if up { quotient.wrapping_add(step) } else { quotient };
    rounded.to_i128().and_then(within)
}

/// A value moved from one scale to another, rounded half away from zero; `None` beyond 38 digits.
pub fn rescale(value: i128, from: i8, to: i8) -> Option<i128> {
    match i16::from(to) - i16::from(from) {
        0 => Some(value),
        39.. => (value == 0).then_some(0),
        up @ 1.. => value.checked_mul(power_of_ten(up.unsigned_abs().into())).and_then(within),
        // 10^39 and more is above twice any value: nothing is left of it.
        ..-38 => Some(0),
        down => Some(divide_rounded(value, power_of_ten(down.unsigned_abs().into()))),
    }
}

/// The type of a result over operands of these precisions and scales.
pub fn result_type(operation: Operation, left: (u8, i8), right: (u8, i8)) -> DataType {
    let scale = left.1.max(right.1);
    let whole = |side: (u8, i8)| i16::from(side.0) - i16::from(side.1);
    let (digits, scale) = match operation {
        Operation::Add | Operation::Subtract => (whole(left).max(whole(right)) + 1, scale),
        Operation::Multiply => {
            let digits = whole(left) + whole(right);
            let room = (i16::from(DIGITS) - digits).clamp(0, i16::from(DIGITS)) as i8;
            (digits, left.1.saturating_add(right.1).min(scale.max(room).max(PRODUCT_SCALE)))
        }
        Operation::Divide => (i16::from(DIGITS), scale.max(QUOTIENT_SCALE)),
        Operation::Modulo => (whole(left).max(whole(right)), scale),
    };
    DataType::Decimal128((digits.max(1) + i16::from(scale)).clamp(1, DIGITS.into()) as u8, scale)
}

/// The result of an operation of two numeric columns at the scale of `result`.
pub fn evaluate(op: Operation, left: &ArrayRef, right: &ArrayRef, rows: usize, result: &DataType) -> Result<ArrayRef> {
    let (left_scale, right_scale, scale) = (scale_of(left.data_type()), scale_of(right.data_type()), scale_of(result));
    let Some(pair) = Pair::of::<Decimal128Type>(left, right, rows) else {
        return Ok(arrow::array::new_null_array(result, rows));
    };
    let left_factor = power_of_ten((scale - left_scale).max(0) as u32);
    let right_factor = power_of_ten((scale - right_scale).max(0) as u32);
    let aligned = |a: i128, b: i128| Some((a.checked_mul(left_factor)?, b.checked_mul(right_factor)?));
    let values = match op {
        Operation::Add => {
            pair.try_map(|a, b| aligned(a, b).and_then(|(a, b)| a.checked_add(b)).and_then(within).ok_or_else(overflow))
        }
        Operation::Subtract => {
            pair.try_map(|a, b| aligned(a, b).and_then(|(a, b)| a.checked_sub(b)).and_then(within).ok_or_else(overflow))
        }
        Operation::Multiply => {
            let drop = (left_scale + right_scale - scale).max(0) as u32;
            pair.try_map(|a, b| product(a, b, drop).ok_or_else(overflow))
        }
        Operation::Divide => {
            let quotient = |a, b| quotient((i256::from_i128(a), left_scale), (b, right_scale), scale);
            pair.try_map(|a, b| if b == 0 { Err(division_by_zero()) } else { quotient(a, b).ok_or_else(overflow) })
        }
        Operation::Modulo => pair.try_map(|a, b| match aligned(a, b) {
            _ if b == 0 => Err(division_by_zero()),
            Some((a, b)) => Ok(a.wrapping_rem(b)),
            None => Err(overflow()),
        }),
    }?;
    let array = PrimitiveArray::<Decimal128Type>::new(ScalarBuffer::from(values), pair.nulls);
    Ok(Arc::new(array.with_data_type(result.clone())))
}

/// The scale of a numeric type; integers have none.
pub fn scale_of(data_type: &DataType) -> i8 {
    match data_type {
        DataType::Decimal128(_, scale) => *scale,
        _ => 0,
    }
}

fn product(a: i128, b: i128, drop: u32) -> Option<i128> {
    match a.checked_mul(b) {
        Some(exact) if drop == 0 => within(exact),
        Some(exact) => Some(divide_rounded(exact, power_of_ten(drop))),
        None => {
            let exact = i256::from_i128(a).checked_mul(i256::from_i128(b))?;
            divide_wide(exact, i256::from_i128(power_of_ten(drop)))
        }
    }
}
