//! Numbers: integers, floats and decimals from their text.

use super::{Fault, Kind, Texts, Token};

/// A whole number of any integer type.
#[inline]
pub(crate) fn integer<T: TryFrom<i64>>(token: Token, texts: &Texts<'_>) -> Result<T, Fault> {
    let value = match token.kind() {
        Kind::Integer => token.integer,
        _ => integer_text(texts.scalar(token)?)?,
    };
    T::try_from(value).map_err(|_| Fault::Range)
}

/// An optionally signed row of digits, with blanks around it.
fn integer_text(text: &[u8]) -> Result<i64, Fault> {
    let text = text.trim_ascii();
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Fault::Syntax);
    }
    // Summed up as a negative number, whose range is the larger one.
    let value = digits.iter().try_fold(0i64, |sum, digit| sum.checked_mul(10)?.checked_sub(i64::from(digit - b'0')));
    value.and_then(|value| if negative { Some(value) } else { value.checked_neg() }).ok_or(Fault::Range)
}

/// A double, including `NaN` and `Infinity`. One that is too large is refused, not made infinite.
pub(crate) fn float8(token: Token, texts: &Texts<'_>) -> Result<f64, Fault> {
    if token.kind() == Kind::Integer {
        return Ok(token.integer as f64);
    }
    let text = float_text(token, texts)?;
    let value: f64 = text.parse().map_err(|_| Fault::Syntax)?;
    check_finite(text, value.is_infinite()).map(|()| value)
}

/// A single-precision float, as [`float8`].
pub(crate) fn float4(token: Token, texts: &Texts<'_>) -> Result<f32, Fault> {
    let text = float_text(token, texts)?;
    let value: f32 = text.parse().map_err(|_| Fault::Syntax)?;
    check_finite(text, value.is_infinite()).map(|()| value)
}

fn float_text<'a>(token: Token, texts: &Texts<'a>) -> Result<&'a str, Fault> {
    std::str::from_utf8(texts.scalar(token)?.trim_ascii()).map_err(|_| Fault::Syntax)
}

fn check_finite(text: &str, infinite: bool) -> Result<(), Fault> {
    match infinite && text.bytes().any(|byte| byte.is_ascii_digit()) {
        true => Err(Fault::Range),
        false => Ok(()),
    }
}

/// A decimal of `precision` digits of which `scale` follow the point, as its unscaled value. Further digits round half
/// away from zero.
pub(crate) fn decimal(token: Token, texts: &Texts<'_>, precision: u8, scale: i8) -> Result<i128, Fault> {
    let value = match token.kind() {
        Kind::Integer if scale >= 0 => {
            power_of_ten(scale.into()).and_then(|unit| unit.checked_mul(token.integer.into()))
        }
        _ => {
            let parts = DecimalText::parse(texts.scalar(token)?.trim_ascii()).ok_or(Fault::Syntax)?;
            parts.unscaled(scale.into())
        }
    };
    let limit = power_of_ten(precision.into()).unwrap_or(i128::MAX);
    value.filter(|value| -limit < *value && *value < limit).ok_or(Fault::Range)
}

fn power_of_ten(exponent: i64) -> Option<i128> {
    10i128.checked_pow(u32::try_from(exponent).ok()?)
}

/// The parts of a decimal's text.
struct DecimalText<'a> {
    negative: bool,
    whole: &'a [u8],
    fraction: &'a [u8],
    exponent: i64,
}

impl<'a> DecimalText<'a> {
    fn parse(text: &'a [u8]) -> Option<DecimalText<'a>> {
        let (negative, rest) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            rest => (false, rest),
        };
        let (digits, exponent) = match rest.iter().position(|byte| byte | 0x20 == b'e') {
            Some(at) => (&rest[..at], std::str::from_utf8(&rest[at + 1..]).ok()?.parse().ok()?),
            None => (rest, 0i64),
        };
        let (whole, fraction) = match memchr::memchr(b'.', digits) {
            Some(at) => (&digits[..at], &digits[at + 1..]),
            None => (digits, &digits[..0]),
        };
        let valid = whole.iter().chain(fraction).all(u8::is_ascii_digit) && !(whole.is_empty() && fraction.is_empty());
        valid.then_some(DecimalText { negative, whole, fraction, exponent: exponent.clamp(-100_000, 100_000) })
    }

    /// The value times ten to the `scale`, rounded; `None` when it does not fit.
    fn unscaled(&self, scale: i64) -> Option<i128> {
        let digits = self.whole.iter().chain(self.fraction).map(|digit| i128::from(digit - b'0'));
        // How many of the digits count, and how many zeros follow them.
        let kept = self.whole.len() as i64 + self.exponent + scale;
        let mut value = 0i128;
        let mut seen = 0i64;
        for digit in digits {
            if seen == kept {
                value = value.checked_add(i128::from(digit >= 5))?;
            }
            if seen < kept {
                value = value.checked_mul(10)?.checked_add(digit)?;
            }
            seen += 1;
        }
        if value != 0 && kept > seen {
            value = value.checked_mul(power_of_ten(kept - seen)?)?;
        }
        Some(if self.negative { -value } else { value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal_of(text: &str, precision: u8, scale: i8) -> Result<i128, Fault> {
        let texts = Texts { block: text.as_bytes(), extra: b"" };
        decimal(Token::new(Kind::Number, 0, text.len()), &texts, precision, scale)
    }

    #[test]
    fn decimals_are_scaled_and_rounded_away_from_zero() {
        assert_eq!(decimal_of("1.005", 10, 2), Ok(101));
        assert_eq!(decimal_of("-1.005", 10, 2), Ok(-101));
        assert_eq!(decimal_of("1.00499", 10, 2), Ok(100));
        assert_eq!(decimal_of("12e2", 10, 2), Ok(120_000));
        assert_eq!(decimal_of("12.5e-1", 10, 2), Ok(125));
        assert_eq!(decimal_of(".5", 10, 0), Ok(1));
        assert_eq!(decimal_of("0.004", 10, 2), Ok(0));
        assert_eq!(decimal_of("5e-9", 10, 2), Ok(0));
        assert_eq!(decimal_of("0e999999999", 10, 2), Ok(0));
    }

    #[test]
    fn decimals_that_do_not_fit_or_are_none_are_refused() {
        assert_eq!(decimal_of("99999.995", 7, 2), Err(Fault::Range));
        assert_eq!(decimal_of("99999.994", 7, 2), Ok(9_999_999));
        assert_eq!(decimal_of("1e400", 38, 10), Err(Fault::Range));
        for text in ["", ".", "-", "1.2.3", "1e", "abc", "NaN"] {
            assert_eq!(decimal_of(text, 10, 2), Err(Fault::Syntax), "{text}");
        }
    }

    #[test]
    fn integers_take_signs_and_blanks_and_know_their_range() {
        assert_eq!(integer_text(b" -9223372036854775808 "), Ok(i64::MIN));
        assert_eq!(integer_text(b"+9223372036854775807"), Ok(i64::MAX));
        assert_eq!(integer_text(b"9223372036854775808"), Err(Fault::Range));
        assert_eq!(integer_text(b"1.0"), Err(Fault::Syntax));
        assert_eq!(integer_text(b""), Err(Fault::Syntax));
    }
}
