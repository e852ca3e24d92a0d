//! Totals for `sum` and `avg`: what they keep, how a row goes in or out, and what they come to.
//!
//! * Integers: a count and a 128-bit total: exact.
//! * Decimals: a count and a 256-bit total: exact, also while values near the limit come and go.
//! * Floats: NaN and the infinities are counted apart, so that a retraction leaves no trace of them. Finite values go
//!   into a total of two floats (about 106 bits), which starts from zero again whenever none is left: sums of values of
//!   like size come back exactly after retractions, others to within that precision. Values near the end of the range
//!   have a total of their own, scaled down, so that a total that leaves the range is an error only until they go.

use arrow::datatypes::i256;
use millrace_types::numeric::quotient;
use millrace_types::{Result, SqlError, SqlState};

/// The largest number of 38 digits.
const MAX_DECIMAL: i128 = 10i128.pow(38) - 1;

/// Words of an integer total: count, low, high.
pub const INTEGER_WORDS: usize = 3;
/// Words of a decimal total: count, then four from the lowest.
pub const DECIMAL_WORDS: usize = 5;
/// Words of a float total: count of all, NaNs, infinities, negative infinities, high part, low part; and the count, high
/// and low part of those far from zero.
pub const FLOAT_WORDS: usize = 9;
/// Floats beyond this are far from zero.
const FAR: f64 = 1e280;
/// The scale of their total, a power of two.
const SCALE: f64 = 1.0 / (1u128 << 120) as f64;

/// Counts `weight` times an integer in.
#[inline(always)]
pub fn add_integer(words: &mut [u64], value: i64, weight: i64) {
    let total = integer(words).wrapping_add(i128::from(value) * i128::from(weight)) as u128;
    words[0] = words[0].wrapping_add_signed(weight);
    (words[1], words[2]) = (total as u64, (total >> 64) as u64);
}

fn integer(words: &[u64]) -> i128 {
    (u128::from(words[2]) << 64 | u128::from(words[1])) as i128
}

/// Counts `weight` times a decimal in.
#[inline(always)]
pub fn add_decimal(words: &mut [u64], value: i128, weight: i64) {
    let change = match weight {
        1 => i256::from_i128(value),
        weight => i256::from_i128(value).wrapping_mul(i256::from_i128(weight.into())),
    };
    let (low, high) = decimal(words).wrapping_add(change).to_parts();
    words[0] = words[0].wrapping_add_signed(weight);
    (words[1], words[2]) = (low as u64, (low >> 64) as u64);
    (words[3], words[4]) = (high as u64, (high >> 64) as u64);
}

fn decimal(words: &[u64]) -> i256 {
    let low = u128::from(words[2]) << 64 | u128::from(words[1]);
    let high = u128::from(words[4]) << 64 | u128::from(words[3]);
    i256::from_parts(low, high as i128)
}

/// Adds the total of other integers.
pub fn merge_integers(from: &[u64], into: &mut [u64]) {
    let total = integer(into).wrapping_add(integer(from)) as u128;
    into[0] = into[0].wrapping_add(from[0]);
    (into[1], into[2]) = (total as u64, (total >> 64) as u64);
}

/// Adds the total of other decimals.
pub fn merge_decimals(from: &[u64], into: &mut [u64]) {
    let (low, high) = decimal(into).wrapping_add(decimal(from)).to_parts();
    into[0] = into[0].wrapping_add(from[0]);
    (into[1], into[2]) = (low as u64, (low >> 64) as u64);
    (into[3], into[4]) = (high as u64, (high >> 64) as u64);
}

/// Adds the total of other floats.
pub fn merge_floats(from: &[u64], into: &mut [u64]) {
    for count in [0, 1, 2, 3, 6] {
        into[count] = into[count].wrapping_add(from[count]);
    }
    for total in [4, 7] {
        let (high, low) = (f64::from_bits(from[total]), f64::from_bits(from[total + 1]));
        add_twofold(&mut into[total..total + 2], high, low);
    }
}

/// Counts `weight` times a float in.
#[inline(always)]
pub fn add_float(words: &mut [u64], value: f64, weight: i64) {
    words[0] = words[0].wrapping_add_signed(weight);
    let special = match value {
        v if v.is_nan() => 1,
        f64::INFINITY => 2,
        f64::NEG_INFINITY => 3,
        far if far.abs() > FAR => {
            let (product, rest) = product(value * SCALE, weight);
            add_twofold(&mut words[7..9], product, rest);
            6
        }
        _ => {
            let (product, rest) = product(value, weight);
            add_twofold(&mut words[4..6], product, rest);
            return;
        }
    };
    words[special] = words[special].wrapping_add_signed(weight);
}

/// `value * weight` and its rounding error.
fn product(value: f64, weight: i64) -> (f64, f64) {
    let product = value * weight as f64;
    if weight.abs() == 1 { (product, 0.0) } else { (product, value.mul_add(weight as f64, -product)) }
}

/// Adds to the twofold total, keeping the rounding error of the sum (Knuth's two-sum).
fn add_twofold(words: &mut [u64], value: f64, rest: f64) {
    let (high, low) = (f64::from_bits(words[0]), f64::from_bits(words[1]));
    let sum = high + value;
    let part = sum - high;
    let error = (high - (sum - part)) + (value - part) + low + rest;
    let total = sum + error;
    (words[0], words[1]) = (total.to_bits(), (error - (total - sum)).to_bits());
}

/// Without finite values the total is exactly zero. Only at the end of a tick: inside it, a value may be taken back
/// before it has come.
pub fn settle_float(words: &mut [u64]) {
    let specials = words[1].wrapping_add(words[2]).wrapping_add(words[3]).wrapping_add(words[6]);
    if words[0] == specials {
        (words[4], words[5]) = (0, 0);
    }
    if words[6] == 0 {
        (words[7], words[8]) = (0, 0);
    }
}

/// What `sum` comes to over integers whose sums are Int64 (`bigint`).
pub fn sum_bigint(words: &[u64]) -> Result<Option<i64>> {
    let sum = || i64::try_from(integer(words)).map_err(|_| out_of_range("bigint out of range"));
    if words[0] == 0 { Ok(None) } else { sum().map(Some) }
}

/// What `sum` comes to over integers whose sums are decimals of scale 0.
pub fn sum_of_bigints(words: &[u64]) -> Result<Option<i128>> {
    if words[0] == 0 { Ok(None) } else { in_decimal_range(integer(words)).map(Some) }
}

/// What `sum` comes to over decimals, in their scale.
pub fn sum_decimal(words: &[u64]) -> Result<Option<i128>> {
    if words[0] == 0 { Ok(None) } else { to_decimal(decimal(words)).map(Some) }
}

/// What `avg` comes to over integers, at the scale `scale`.
pub fn average_integer(words: &[u64], scale: i8) -> Result<Option<i128>> {
    average(i256::from_i128(integer(words)), words[0] as i64, 0, scale)
}

/// What `avg` comes to over decimals of the scale `from`, at the scale `scale`.
pub fn average_decimal(words: &[u64], from: i8, scale: i8) -> Result<Option<i128>> {
    average(decimal(words), words[0] as i64, from, scale)
}

fn average(total: i256, count: i64, from: i8, scale: i8) -> Result<Option<i128>> {
    if count == 0 {
        return Ok(None);
    }
    let quotient = quotient((total, from), (count.into(), 0), scale);
    quotient.map(Some).ok_or_else(|| out_of_range("value overflows numeric format"))
}

fn to_decimal(total: i256) -> Result<i128> {
    total.to_i128().ok_or_else(|| out_of_range("numeric field overflow")).and_then(in_decimal_range)
}

fn in_decimal_range(total: i128) -> Result<i128> {
    if total.abs() <= MAX_DECIMAL { Ok(total) } else { Err(out_of_range("numeric field overflow")) }
}

/// What `sum` comes to over floats.
pub fn sum_float(words: &[u64]) -> Result<Option<f64>> {
    let [count, nan, positive, negative] = [0, 1, 2, 3].map(|at| words[at] as i64);
    let total = match words[6] {
        0 => f64::from_bits(words[4]) + f64::from_bits(words[5]),
        _ => {
            let mut total = [words[7], words[8]];
            add_twofold(&mut total, f64::from_bits(words[4]) * SCALE, f64::from_bits(words[5]) * SCALE);
            (f64::from_bits(total[0]) + f64::from_bits(total[1])) / SCALE
        }
    };
    Ok(Some(match () {
        _ if count == 0 => return Ok(None),
        _ if nan > 0 || (positive > 0 && negative > 0) => f64::NAN,
        _ if positive > 0 => f64::INFINITY,
        _ if negative > 0 => f64::NEG_INFINITY,
        _ if total.is_finite() => total,
        _ => return Err(out_of_range("value out of range: overflow")),
    }))
}

/// What `sum` comes to over floats of 32 bits.
pub fn sum_real(words: &[u64]) -> Result<Option<f32>> {
    let Some(sum) = sum_float(words)? else { return Ok(None) };
    let real = sum as f32;
    if real.is_infinite() && sum.is_finite() {
        return Err(out_of_range("value out of range: overflow"));
    }
    Ok(Some(real))
}

/// What `avg` comes to over floats.
pub fn average_float(words: &[u64]) -> Result<Option<f64>> {
    Ok(sum_float(words)?.map(|sum| sum / (words[0] as i64) as f64))
}

fn out_of_range(message: &str) -> SqlError {
    SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_leave_no_trace_when_they_are_taken_back() {
        let mut words = [0; FLOAT_WORDS];
        add_float(&mut words, 0.1, 1);
        for value in [1e300, f64::MAX, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 3.7] {
            add_float(&mut words, value, 2);
            add_float(&mut words, value, -2);
        }
        assert_eq!(sum_float(&words), Ok(Some(0.1)));
        add_float(&mut words, f64::NAN, 1);
        add_float(&mut words, 0.1, -1);
        assert!(sum_float(&words).unwrap().unwrap().is_nan());
        add_float(&mut words, f64::NAN, -1);
        settle_float(&mut words);
        assert_eq!(words, [0; FLOAT_WORDS]);
    }

    #[test]
    fn a_sum_beyond_its_type_is_an_error_until_it_fits_again() {
        let mut words = [0; INTEGER_WORDS];
        add_integer(&mut words, i64::MAX, 2);
        assert_eq!(sum_bigint(&words).unwrap_err().message(), "bigint out of range");
        assert_eq!(sum_of_bigints(&words), Ok(Some(2 * i128::from(i64::MAX))));
        add_integer(&mut words, i64::MAX, -1);
        assert_eq!(sum_bigint(&words), Ok(Some(i64::MAX)));
        let mut words = [0; DECIMAL_WORDS];
        add_decimal(&mut words, MAX_DECIMAL, 1_000_000);
        assert_eq!(sum_decimal(&words).unwrap_err().state(), SqlState::NUMERIC_VALUE_OUT_OF_RANGE);
        add_decimal(&mut words, MAX_DECIMAL, -999_999);
        assert_eq!(sum_decimal(&words), Ok(Some(MAX_DECIMAL)));
    }

    #[test]
    fn averages_have_postgres_s_digits() {
        let mut words = [0; INTEGER_WORDS];
        add_integer(&mut words, -1, 1);
        add_integer(&mut words, -2, 1);
        assert_eq!(average_integer(&words, 0), Ok(Some(-2)));
        add_integer(&mut words, 1, 1);
        assert_eq!(average_integer(&words, 20), Ok(Some(-66_666_666_666_666_666_667)));
        let mut words = [0; DECIMAL_WORDS];
        add_decimal(&mut words, 10, 1);
        add_decimal(&mut words, 5, 1);
        add_decimal(&mut words, 5, 1);
        assert_eq!(average_decimal(&words, 0, 0), Ok(Some(7)));
        assert_eq!(average_decimal(&words, 0, 20), Ok(Some(666_666_666_666_666_670_000)));
    }
}
