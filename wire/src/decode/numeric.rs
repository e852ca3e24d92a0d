//! Decimal numbers from text and from Postgres's digits of base 10,000.

use super::invalid_syntax;
use super::text::trim;
use millrace_types::{Result, SqlError, SqlState, SqlType};

/// The most digits that a Decimal128 holds.
const MAX_DIGITS: i64 = 38;

/// A number as its significant digits and where its point is.
struct Decimal {
    negative: bool,
    /// Decimal digits (0 to 9), the first of which is not zero.
    digits: Vec<u8>,
    /// How many of the digits are before the point; may lie outside of them.
    point: i64,
}

impl Decimal {
    fn new(negative: bool, digits: impl Iterator<Item = u8>, point: i64) -> Decimal {
        let mut zeros = 0;
        let mut digits = digits.peekable();
        while digits.next_if_eq(&0).is_some() {
            zeros += 1;
        }
        Decimal { negative, digits: digits.collect(), point: point - zeros }
    }

    /// The unscaled value at a scale, rounded half away from zero, within `limits` (precision and scale) or the widest
    /// that there are.
    fn unscaled(&self, limits: Option<(u8, i8)>) -> Result<i128> {
        let (precision, scale) = limits.map_or((MAX_DIGITS, SqlType::NUMERIC_SCALE), |(p, s)| (p.into(), s));
        let kept = self.point.saturating_add(scale.into());
        if self.digits.is_empty() || kept < 0 {
            return Ok(0);
        }
        if kept > MAX_DIGITS {
            return Err(overflow(limits));
        }
        let mut value: i128 = 0;
        for place in 0..kept as usize {
            let digit = self.digits.get(place).copied().unwrap_or(0);
            value = value.checked_mul(10).and_then(|v| v.checked_add(digit.into())).ok_or_else(|| overflow(limits))?;
        }
        if self.digits.get(kept as usize).is_some_and(|&digit| digit >= 5) {
            value += 1;
        }
        if value >= 10i128.pow(precision as u32) {
            return Err(overflow(limits));
        }
        Ok(if self.negative { -value } else { value })
    }
}

fn overflow(limits: Option<(u8, i8)>) -> SqlError {
    match limits {
        Some((precision, scale)) => {
            let whole = i16::from(precision) - i16::from(scale);
            SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "numeric field overflow").with_detail(format!(
                "A field with precision {precision}, scale {scale} must round to an absolute value less than \
                 10^{whole}."
            ))
        }
        None => SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "value overflows numeric format")
            .with_detail("An unconstrained numeric holds 28 digits before the point and 10 after it."),
    }
}

fn not_finite(what: &str) -> SqlError {
    SqlError::unsupported(format!("{what} as a numeric"))
}

/// Reads `[+-]digits[.digits][e[+-]digits]`.
pub(super) fn parse(text: &str, limits: Option<(u8, i8)>) -> Result<i128> {
    let word = trim(text);
    let invalid = || invalid_syntax(&SqlType::Numeric(None), text);
    let unsigned = word.strip_prefix(['+', '-']).unwrap_or(word);
    match unsigned.to_ascii_lowercase().as_str() {
        "nan" if unsigned == word => return Err(not_finite("NaN")),
        "inf" | "infinity" => return Err(not_finite("infinity")),
        _ => {}
    }
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, parse_exponent(exponent).ok_or_else(invalid)?),
        None => (unsigned, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = whole.bytes().chain(fraction.bytes());
    if whole.len() + fraction.len() == 0 || !digits.clone().all(|b| b.is_ascii_digit()) {
        return Err(invalid());
    }
    let point = (whole.len() as i64).saturating_add(exponent);
    Decimal::new(word.starts_with('-'), digits.map(|b| b - b'0'), point).unscaled(limits)
}

/// An exponent; one with very many digits counts as very large.
fn parse_exponent(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let magnitude = digits.parse::<i64>().unwrap_or(i64::MAX / 4).min(i64::MAX / 4);
    Some(if text.starts_with('-') { -magnitude } else { magnitude })
}

/// Reads the binary form, see [`crate::encode`].
pub(super) fn decode(bytes: &[u8], limits: Option<(u8, i8)>) -> Result<i128> {
    let invalid = |what: &str| {
        let message = format!("invalid {what} in external \"numeric\" value");
        SqlError::new(SqlState::INVALID_BINARY_REPRESENTATION, message)
    };
    let words: Vec<u16> = bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
    let [count, weight, sign, scale, groups @ ..] = &words[..] else {
        return Err(SqlError::new(SqlState::PROTOCOL_VIOLATION, "insufficient data left in message"));
    };
    let count = usize::from(*count);
    if groups.len() < count {
        return Err(SqlError::new(SqlState::PROTOCOL_VIOLATION, "insufficient data left in message"));
    }
    if bytes.len() != 8 + 2 * count {
        return Err(SqlError::new(SqlState::INVALID_BINARY_REPRESENTATION, "incorrect binary data format"));
    }
    let negative = match *sign {
        0 => false,
        0x4000 => true,
        0xc000 => return Err(not_finite("NaN")),
        0xd000 | 0xf000 => return Err(not_finite("infinity")),
        _ => return Err(invalid("sign")),
    };
    if *scale > 0x3fff {
        return Err(invalid("scale"));
    }
    if groups.iter().any(|&group| group > 9_999) {
        return Err(invalid("digit"));
    }
    let digits = groups.iter().flat_map(|&group| [group / 1_000, group / 100 % 10, group / 10 % 10, group % 10]);
    let point = (i64::from(*weight as i16) + 1) * 4;
    Decimal::new(negative, digits.map(|digit| digit as u8), point).unscaled(limits)
}
