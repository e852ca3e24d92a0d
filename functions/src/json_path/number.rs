//! Arithmetic in paths: numbers of up to 38 digits, as numerics compute.

use crate::json::{Json, plain_number};
use crate::operators::decimal::{overflow, power_of_ten, within};
use crate::operators::number::division_by_zero;
use arrow::datatypes::{Decimal128Type, DecimalType, i256};
use millrace_types::Result;
use millrace_types::numeric::{QUOTIENT_SCALE, places_of_quotient, quotient};

/// An operator between two numbers.
#[derive(Clone, Copy)]
pub enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
}

impl Operator {
    pub fn sign(self) -> &'static str {
        match self {
            Operator::Add => "+",
            Operator::Subtract => "-",
            Operator::Multiply => "*",
            Operator::Divide => "/",
            Operator::Modulo => "%",
        }
    }

    /// What two numbers come to, by their texts.
    ///
    /// # Errors
    /// `22012`, and `22003` beyond 38 digits.
    pub fn of(self, left: &str, right: &str) -> Result<Json> {
        let (a, b) = (number(left)?, number(right)?);
        let scale = a.1.max(b.1);
        let aligned = |(value, own): (i128, i8)| value.checked_mul(power_of_ten((scale - own) as u32));
        let both = || aligned(a).zip(aligned(b));
        let result = match self {
            Operator::Add => both().and_then(|(a, b)| a.checked_add(b)).map(|sum| (sum, scale)),
            Operator::Subtract => both().and_then(|(a, b)| a.checked_sub(b)).map(|difference| (difference, scale)),
            Operator::Multiply => a.0.checked_mul(b.0).map(|product| (product, a.1 + b.1)),
            Operator::Divide | Operator::Modulo if b.0 == 0 => return Err(division_by_zero()),
            Operator::Modulo => both().map(|(a, b)| (a.wrapping_rem(b), scale)),
            Operator::Divide => {
                let dividend = (i256::from_i128(a.0), a.1);
                let places = places_of_quotient(dividend, b, QUOTIENT_SCALE) as i8;
                let shorter = power_of_ten((QUOTIENT_SCALE - places) as u32);
                quotient(dividend, b, QUOTIENT_SCALE).map(|quotient| (quotient / shorter, places))
            }
        };
        let (value, scale) =
            result.filter(|(value, scale)| within(*value).is_some() && *scale <= 38).ok_or_else(overflow)?;
        Ok(Json::Number(Decimal128Type::format_decimal(value, 38, scale)))
    }
}

/// A number with the sign turned.
pub fn negated(number: &str) -> Json {
    let is_zero = number.bytes().all(|byte| matches!(byte, b'0' | b'.' | b'-'));
    Json::Number(match number.strip_prefix('-') {
        Some(positive) => positive.to_owned(),
        None if is_zero => number.to_owned(),
        None => format!("-{number}"),
    })
}

/// A whole number over `10^scale`.
fn number(text: &str) -> Result<(i128, i8)> {
    let plain = plain_number(text);
    let (whole, fraction) = plain.split_once('.').unwrap_or((&plain, ""));
    let value: i128 = format!("{whole}{fraction}").parse().map_err(|_| overflow())?;
    match within(value) {
        Some(value) if fraction.len() <= 38 => Ok((value, fraction.len() as i8)),
        _ => Err(overflow()),
    }
}
