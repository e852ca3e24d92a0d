//! Text to numbers and booleans, and numbers to each other.

use crate::operators::decimal::{power_of_ten, rescale, within};
use millrace_types::{Result, SqlError, SqlState};

/// `22P02`.
pub fn invalid(type_name: &str, text: &str) -> SqlError {
    SqlError::new(
        SqlState::INVALID_TEXT_REPRESENTATION,
        format!("invalid input syntax for type {type_name}: \"{text}\""),
    )
}

/// An integer of a type with this name and range.
pub fn integer(text: &str, type_name: &str, least: i64, greatest: i64) -> Result<i64> {
    let trimmed = text.trim_matches(|c: char| c.is_ascii_whitespace());
    let digits = trimmed.strip_prefix(['+', '-']).unwrap_or(trimmed);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(invalid(type_name, text));
    }
    let value = trimmed.parse::<i64>().ok().filter(|value| (least..=greatest).contains(value));
    value.ok_or_else(|| {
        SqlError::new(
            SqlState::NUMERIC_VALUE_OUT_OF_RANGE,
            format!("value \"{text}\" is out of range for type {type_name}"),
        )
    })
}

/// A float; `NaN` and the infinities in any case.
pub fn float(text: &str, type_name: &str) -> Result<f64> {
    let trimmed = text.trim_matches(|c: char| c.is_ascii_whitespace());
    let word = trimmed.trim_start_matches(['+', '-']).as_bytes().first().is_some_and(u8::is_ascii_alphabetic);
    if word && !["nan", "inf", "infinity"].contains(&trimmed.trim_start_matches(['+', '-']).to_lowercase().as_str()) {
        return Err(invalid(type_name, text));
    }
    let value: f64 = trimmed.parse().map_err(|_| invalid(type_name, text))?;
    let digits = trimmed.split(['e', 'E']).next().unwrap_or_default();
    let nonzero = digits.bytes().any(|b| (b'1'..=b'9').contains(&b));
    if !word && (value.is_infinite() || (value == 0.0 && nonzero)) {
        return Err(out_of_range(text, type_name));
    }
    Ok(value)
}

/// `22003` of a text that no value of the type is near.
pub fn out_of_range(text: &str, type_name: &str) -> SqlError {
    let message = format!("\"{text}\" is out of range for type {type_name}");
    SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, message)
}

/// A numeric at a scale: digits, a point, an exponent. Digits beyond the scale round half away from zero.
pub fn decimal(text: &str, precision: u8, scale: i8) -> Result<i128> {
    let trimmed = text.trim_matches(|c: char| c.is_ascii_whitespace());
    let (mantissa, exponent) = match trimmed.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => {
            let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
            if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
                return Err(invalid("numeric", text));
            }
            (mantissa, exponent.parse::<i32>().unwrap_or(i32::MAX).clamp(-100_000, 100_000))
        }
        None => (trimmed, 0),
    };
    let negative = mantissa.starts_with('-');
    let unsigned = mantissa.strip_prefix(['+', '-']).unwrap_or(mantissa);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let digits = || whole.bytes().chain(fraction.bytes());
    if whole.is_empty() && fraction.is_empty() {
        return Err(invalid("numeric", text));
    }
    if !digits().all(|b| b.is_ascii_digit()) {
        let word = unsigned.to_lowercase();
        return Err(match word.as_str() {
            "nan" | "inf" | "infinity" => SqlError::unsupported(format!("numeric value \"{text}\"")),
            _ => invalid("numeric", text),
        });
    }
    // The value is the digits times 10^(exponent - digits of the fraction); `kept` of them stand above the last place.
    let kept = whole.len() as i64 + i64::from(exponent) + i64::from(scale);
    let mut value: i128 = 0;
    for digit in digits().take(kept.max(0) as usize) {
        let next = value.checked_mul(10).and_then(|v| v.checked_add(i128::from(digit - b'0')));
        value = next.ok_or_else(|| field_overflow(precision, scale))?;
    }
    let missing = kept - (whole.len() + fraction.len()) as i64;
    if missing > 0 && value != 0 {
        let up = u32::try_from(missing).ok().filter(|n| *n <= 38).map(power_of_ten);
        value = up.and_then(|up| value.checked_mul(up)).ok_or_else(|| field_overflow(precision, scale))?;
    }
    if kept >= 0 && digits().nth(kept as usize).is_some_and(|digit| digit >= b'5') {
        value += 1;
    }
    fitting(if negative { -value } else { value }, precision, scale)
}

/// Precision and scale of the number that a text is, when it is one that fits.
pub fn own_scale(text: &str) -> Option<(u8, i8)> {
    let trimmed = text.trim_matches(|c: char| c.is_ascii_whitespace());
    let (mantissa, exponent) = trimmed.split_once(['e', 'E']).unwrap_or((trimmed, "0"));
    let fraction = mantissa.split_once('.').map_or(0, |(_, fraction)| fraction.len() as i64);
    let scale = (fraction - exponent.parse::<i64>().ok()?).clamp(0, 38) as i8;
    let digits = decimal(text, 38, scale).ok()?.unsigned_abs().checked_ilog10().map_or(1, |last| last as u8 + 1);
    Some((digits.max(scale as u8), scale))
}

/// The value if it fits the precision.
pub fn fitting(value: i128, precision: u8, scale: i8) -> Result<i128> {
    let fits = value.unsigned_abs() < 10u128.pow(u32::from(precision.min(38)));
    if fits { Ok(value) } else { Err(field_overflow(precision, scale)) }
}

/// `22003` of a numeric with a modifier.
pub fn field_overflow(precision: u8, scale: i8) -> SqlError {
    let digits = i16::from(precision) - i16::from(scale);
    let bound = if digits == 0 { "1".to_owned() } else { format!("10^{digits}") };
    SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "numeric field overflow").with_detail(format!(
        "A field with precision {precision}, scale {scale} must round to an absolute value less than {bound}."
    ))
}

/// A numeric moved to another precision and scale.
pub fn decimal_to_decimal(value: i128, from: i8, precision: u8, scale: i8) -> Result<i128> {
    let moved = rescale(value, from, scale).ok_or_else(|| field_overflow(precision, scale))?;
    fitting(moved, precision, scale)
}

/// A numeric rounded to an integer, half away from zero.
pub fn decimal_to_integer(value: i128, scale: i8, name: &str, least: i64, greatest: i64) -> Result<i64> {
    let whole = rescale(value, scale, 0).and_then(|v| i64::try_from(v).ok());
    whole.filter(|v| (least..=greatest).contains(v)).ok_or_else(|| crate::operators::number::out_of_range(name))
}

/// A float rounded to an integer, half to even.
pub fn float_to_integer(value: f64, name: &str, least: i64, greatest: i64) -> Result<i64> {
    let rounded = value.round_ties_even();
    // i64::MAX as a float is 2^63, one above the range: the bound is exclusive there.
    let fits = rounded >= least as f64 && rounded < greatest as f64 + 1.0;
    if fits { Ok(rounded as i64) } else { Err(crate::operators::number::out_of_range(name)) }
}

/// A float as a numeric: of its 15 significant digits (6 for float4), as Postgres takes them.
pub fn float_to_decimal(value: f64, significant: usize, precision: u8, scale: i8) -> Result<i128> {
    if !value.is_finite() {
        return Err(SqlError::unsupported(format!("numeric value \"{value}\"")));
    }
    decimal(&format!("{:.*e}", significant - 1, value), precision, scale)
}

/// A numeric as the float nearest to it.
pub fn decimal_to_float(value: i128, scale: i8) -> f64 {
    let exact = value.unsigned_abs() < 1 << 53 && (0..=22).contains(&scale);
    if exact {
        return value as f64 / 10f64.powi(scale.into());
    }
    // A decimal number always parses.
    format!("{value}e{}", -i16::from(scale)).parse().unwrap_or(f64::NAN)
}

/// `t`, `yes`, `on`, `1` and their beginnings in any case; likewise for false.
pub fn boolean(text: &str) -> Result<bool> {
    let word = text.trim_matches(|c: char| c.is_ascii_whitespace()).to_ascii_lowercase();
    let starts = |full: &str| !word.is_empty() && full.starts_with(&word);
    match word.as_str() {
        "1" | "on" => Ok(true),
        "0" | "of" | "off" => Ok(false),
        _ if starts("true") || starts("yes") => Ok(true),
        _ if starts("false") || starts("no") => Ok(false),
        _ => Err(invalid("boolean", text)),
    }
}

/// An integer as a numeric.
pub fn integer_to_decimal(value: i64, precision: u8, scale: i8) -> Result<i128> {
    let scaled = i128::from(value).checked_mul(power_of_ten(scale.max(0) as u32)).and_then(within);
    fitting(scaled.ok_or_else(|| field_overflow(precision, scale))?, precision, scale)
}
