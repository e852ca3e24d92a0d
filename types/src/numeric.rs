//! How many digits a numeric has after its point.
//!
//! In Postgres each value says so itself: a quotient has about 16 significant digits, and prints all of them. A column
//! here has one scale for all its values, so quotients are rounded to the digits that Postgres gives each, in a column
//! of [`QUOTIENT_SCALE`] or more, and those digits are counted again from the value when it is printed.

use crate::SqlType;
use arrow::datatypes::i256;

/// The scale of a column of quotients: what Postgres gives those below 1 (down to 1/10,000).
pub const QUOTIENT_SCALE: i8 = 20;
/// The scale of averages of bigints: one less, so that the greatest of them fit.
pub const BIGINT_AVERAGE_SCALE: i8 = 19;
/// Significant digits that a quotient has at least.
const SIGNIFICANT: i32 = 16;
/// 10^38: what no numeric of 128 bits reaches.
const LIMIT: u128 = 10u128.pow(38);

/// A number over `10^scale`, as Postgres's digits of base 10,000 begin: the power of 10,000 of the first of them, and
/// that digit.
fn leading(value: u128, scale: i32) -> (i32, u128) {
    if value == 0 {
        return (0, 0);
    }
    let weight = (value.ilog10() as i32 - scale).div_euclid(4);
    let below = scale + weight * 4;
    let digit = match below {
        ..0 => value * 10u128.pow(below.unsigned_abs().min(4)),
        0..39 => value / 10u128.pow(below as u32),
        _ => 0,
    };
    (weight, digit)
}

/// The power of 10,000 of the first digit of base 10,000.
pub fn weight(value: i128, scale: i8) -> i32 {
    leading(value.unsigned_abs(), scale.into()).0
}

/// Digits after the point that Postgres gives a quotient, whose operands show `shown` digits.
fn quotient_places(dividend: (u128, i32), divisor: (u128, i32), shown: i32) -> i32 {
    let (above, first) = leading(dividend.0, dividend.1);
    let (below, second) = leading(divisor.0, divisor.1);
    // An estimate from the leading digits, as Postgres makes it.
    let weight = above - below - i32::from(first <= second);
    (SIGNIFICANT - weight * 4).max(shown).max(0)
}

/// Digits after the point without the zeros at the end.
pub fn places(value: i128, scale: i8) -> i8 {
    let (mut rest, mut places) = (value.unsigned_abs(), scale.max(0));
    while places > 0 && rest.is_multiple_of(10) {
        rest /= 10;
        places -= 1;
    }
    places
}

/// Digits after the point that a value of a column of this type and scale prints at least: all of `numeric(p, s)`, in an
/// unconstrained `numeric` those that a quotient has, where quotients are in it. A column of 38 digits with the scale of
/// quotients or more is one of quotients.
pub fn least_places(sql_type: &SqlType, value: i128, scale: i8) -> i8 {
    match sql_type {
        SqlType::Numeric(None) if scale < BIGINT_AVERAGE_SCALE => return 0,
        SqlType::Numeric(None | Some((38, BIGINT_AVERAGE_SCALE..))) => {}
        _ => return scale,
    }
    let (weight, digit) = leading(value.unsigned_abs(), scale.into());
    let unit = 10u128.checked_pow((i32::from(scale) + weight * 4).clamp(0, 38) as u32);
    // The estimate for equal leading digits is one lower, as is that for zero.
    let equal = value == 0 || (digit == 1 && unit == Some(value.unsigned_abs()));
    let weight = weight - i32::from(equal);
    (SIGNIFICANT - weight * 4).clamp(0, scale.into()) as i8
}

/// Digits after the point that an operand is taken to show. Of a column with a wide scale nobody knows them: those
/// without the zeros at the end.
fn shown(value: i128, scale: i8) -> i32 {
    if scale < SHOWN_BY_SCALE { scale.into() } else { places(value, scale).into() }
}

/// From this scale on a column is taken to hold values of various scales.
const SHOWN_BY_SCALE: i8 = SqlType::NUMERIC_SCALE;

/// Digits after the point that Postgres gives a quotient of numbers over `10^scale`, at most `most`.
pub fn places_of_quotient(dividend: (i256, i8), divisor: (i128, i8), most: i8) -> i32 {
    let (mut head, mut head_scale) = (dividend.0, i32::from(dividend.1));
    let narrow = loop {
        match head.to_i128() {
            Some(narrow) => break narrow,
            None => (head, head_scale) = (head.wrapping_div(i256::from_i128(10i128.pow(20))), head_scale - 20),
        }
    };
    let shown = shown(narrow, dividend.1).max(shown(divisor.0, divisor.1));
    let above = (narrow.unsigned_abs(), head_scale);
    quotient_places(above, (divisor.0.unsigned_abs(), divisor.1.into()), shown).min(most.into())
}

/// A quotient of numbers over `10^scale`, rounded half away from zero to the digits that Postgres gives it, over
/// `10^scale`; `None` beyond 38 digits. The divisor is not zero.
pub fn quotient(dividend: (i256, i8), divisor: (i128, i8), scale: i8) -> Option<i128> {
    let places = places_of_quotient(dividend, divisor, scale);
    let shift = places + i32::from(divisor.1) - i32::from(dividend.1);
    let fast = || {
        let dividend = dividend.0.to_i128()?;
        match shift {
            0..=38 => divided(dividend.checked_mul(10i128.pow(shift as u32))?, divisor.0),
            -38..0 => divided(dividend, divisor.0.checked_mul(10i128.pow(shift.unsigned_abs()))?),
            _ => None,
        }
    };
    let rounded = fast().or_else(|| {
        let power = i256::from_i128(10).checked_pow(shift.unsigned_abs())?;
        let (dividend, divisor) = (dividend.0, i256::from_i128(divisor.0));
        match shift < 0 {
            true => divided_wide(dividend, divisor.checked_mul(power)?),
            false => divided_wide(dividend.checked_mul(power)?, divisor),
        }
    })?;
    let padding = 10i128.pow((i32::from(scale) - places).clamp(0, 38) as u32);
    rounded.checked_mul(padding).filter(|value| value.unsigned_abs() < LIMIT)
}

/// A quotient rounded half away from zero.
fn divided(dividend: i128, divisor: i128) -> Option<i128> {
    let (quotient, rest) = (dividend.checked_div(divisor)?, dividend.checked_rem(divisor)?.unsigned_abs());
    let away = i128::from(rest >= divisor.unsigned_abs() - rest);
    Some(if (dividend < 0) == (divisor < 0) { quotient + away } else { quotient - away })
}

fn divided_wide(dividend: i256, divisor: i256) -> Option<i128> {
    let (quotient, rest) = (dividend.checked_div(divisor)?, dividend.checked_rem(divisor)?.wrapping_abs());
    let up = rest >= divisor.wrapping_abs().wrapping_sub(rest);
    let step = if dividend.is_negative() == divisor.is_negative() { i256::ONE } else { i256::MINUS_ONE };
    (if up { quotient.wrapping_add(step) } else { quotient }).to_i128()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Postgres's answers to `dividend / divisor`.
    #[test]
    fn quotients_have_postgres_s_digits() {
        for (dividend, divisor, expected) in [
            ((1, 0), (30, 1), "0.33333333333333333333"),
            ((10, 0), (30, 1), "3.3333333333333333"),
            ((10_000, 0), (30, 1), "3333.3333333333333333"),
            ((1_000_000, 0), (30, 1), "333333.333333333333"),
            ((5, 0), (50, 1), "1.00000000000000000000"),
            ((30_000, 0), (30, 1), "10000.0000000000000000"),
            ((0, 0), (30, 1), "0.00000000000000000000"),
            ((-15, 1), (2, 0), "-0.75000000000000000000"),
        ] {
            let value = quotient((i256::from_i128(dividend.0), dividend.1), divisor, QUOTIENT_SCALE).unwrap();
            let kept = least_places(&SqlType::Numeric(None), value, QUOTIENT_SCALE).max(places(value, QUOTIENT_SCALE));
            let shown = value / 10i128.pow((QUOTIENT_SCALE - kept) as u32);
            let unit = 10i128.pow(kept as u32);
            let sign = if value < 0 { "-" } else { "" };
            let (whole, rest) = (shown.abs() / unit, shown.abs() % unit);
            assert_eq!(format!("{sign}{whole}.{rest:0width$}", width = kept as usize), expected);
        }
    }
}
