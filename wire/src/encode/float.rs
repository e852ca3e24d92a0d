//! Floating-point numbers as Postgres prints them.

use std::fmt::LowerExp;
use std::io::Write;
use std::str::FromStr;

/// What differs between `float4` and `float8`.
pub(super) trait Float: LowerExp + Copy + PartialEq + FromStr {
    /// From this power of ten on the shortest form has an exponent.
    const EXPONENT_FROM: i32;
    /// Significant digits that any value keeps when it is printed and read again the other way round.
    const DIGITS: usize;
    /// Significant digits that tell any two values apart.
    const EXACT_DIGITS: usize;
    fn to_f64(self) -> f64;
    /// The positive value as `mantissa * 2^exponent`, and whether the value below is only half as far away as the one
    /// above.
    fn decompose(self) -> (u64, i32, bool);
}

impl Float for f32 {
    const EXPONENT_FROM: i32 = 6;
    const DIGITS: usize = 6;
    const EXACT_DIGITS: usize = 9;
    fn to_f64(self) -> f64 {
        self.into()
    }
    fn decompose(self) -> (u64, i32, bool) {
        let bits = self.to_bits();
        let (exponent, fraction) = ((bits >> 23 & 0xff) as i32, u64::from(bits & 0x7f_ffff));
        match exponent {
            0 => (fraction, -149, false),
            _ => (fraction | 1 << 23, exponent - 150, fraction == 0 && exponent > 1),
        }
    }
}

impl Float for f64 {
    const EXPONENT_FROM: i32 = 15;
    const DIGITS: usize = 15;
    const EXACT_DIGITS: usize = 17;
    fn to_f64(self) -> f64 {
        self
    }
    fn decompose(self) -> (u64, i32, bool) {
        let bits = self.to_bits();
        let (exponent, fraction) = ((bits >> 52 & 0x7ff) as i32, bits & 0xf_ffff_ffff_ffff);
        match exponent {
            0 => (fraction, -1074, false),
            _ => (fraction | 1 << 52, exponent - 1075, fraction == 0 && exponent > 1),
        }
    }
}

/// Appends a number. With `extra_digits` above 0 it has the fewest digits that read back as the same number, else
/// `DIGITS + extra_digits` of them.
pub(super) fn write<F: Float>(value: F, extra_digits: i32, to: &mut Vec<u8>) {
    let wide = value.to_f64();
    if wide.is_nan() {
        return to.extend_from_slice(b"NaN");
    }
    if wide.is_infinite() {
        return to.extend_from_slice(if wide < 0.0 { b"-Infinity" } else { b"Infinity" });
    }
    if wide.is_sign_negative() {
        to.push(b'-');
    }
    let significant = (F::DIGITS as i32 + extra_digits).clamp(1, F::EXACT_DIGITS as i32);
    let (printed, exponent_from) = match extra_digits > 0 {
        true => (shortest(value), F::EXPONENT_FROM),
        false => (Printed::new(format_args!("{value:.*e}", significant as usize - 1)), significant),
    };
    let digits = printed.digits();
    match (-4..exponent_from).contains(&digits.exponent) {
        true => write_fixed(digits, to),
        false => write_scientific(digits, to),
    }
}

/// The fewest digits that lie strictly between the midpoints to the numbers around; of those the closest, and of two
/// equally close ones the even one. The standard library also takes a midpoint itself where reading it rounds to the
/// number, and the greater of two equally close ones.
fn shortest<F: Float>(value: F) -> Printed {
    let printed = Printed::new(format_args!("{value:e}"));
    let digits = printed.digits();
    // Only that many digits can be close enough together for two of them to mean the same number.
    let may_tie = digits.rest.len() >= F::DIGITS;
    if !may_tie && !is_midpoint(value, &digits) {
        return printed;
    }
    let shortest_is_exact = !is_midpoint(value, &digits);
    for count in digits.rest.len()..F::EXACT_DIGITS {
        let closest = Printed::new(format_args!("{value:.count$e}"));
        let reads_back = closest.text().parse::<F>().is_ok_and(|read| read == value);
        if reads_back && !is_midpoint(value, &closest.digits()) {
            return closest;
        }
        // Above a power of two the numbers lie further apart than below: the closest digits may mean the one below.
        if shortest_is_exact {
            break;
        }
    }
    printed
}

/// Whether the digits are exactly half way between the number and one beside it.
fn is_midpoint<F: Float>(value: F, digits: &Digits<'_>) -> bool {
    let (mantissa, exponent, narrow_below) = value.decompose();
    if mantissa == 0 {
        return false;
    }
    let decimal =
        digits.rest.iter().fold(u64::from(digits.first - b'0'), |sum, &digit| sum * 10 + u64::from(digit - b'0'));
    let power = digits.exponent - digits.rest.len() as i32;
    let below = if narrow_below { (4 * mantissa - 1, exponent - 2) } else { (2 * mantissa - 1, exponent - 1) };
    [below, (2 * mantissa + 1, exponent - 1)].into_iter().any(|(odd, exponent)| equal(decimal, power, odd, exponent))
}

/// Whether `decimal * 10^power == odd * 2^exponent`, by comparing the odd parts and the powers of two. One side has
/// the factor `5^|power|`, which for a larger power than 24 no number of 57 bits has.
fn equal(decimal: u64, power: i32, odd: u64, exponent: i32) -> bool {
    if power.abs() > 24 {
        return false;
    }
    let fives = 5u128.pow(power.unsigned_abs());
    let (left, right) = match power >= 0 {
        true => (u128::from(decimal) * fives, u128::from(odd)),
        false => (u128::from(decimal), u128::from(odd) * fives),
    };
    let twos = left.trailing_zeros();
    left >> twos == right && twos as i32 + power == exponent
}

/// A number as the standard library prints it: `d.ddde±x`, with a `-` before a negative one.
struct Printed {
    buffer: [u8; 48],
    length: usize,
}

impl Printed {
    fn new(what: std::fmt::Arguments<'_>) -> Printed {
        let mut buffer = [0; 48];
        let mut rest = &mut buffer[..];
        // Seventeen digits and an exponent of three fit.
        let _ = rest.write_fmt(what);
        let left = rest.len();
        Printed { buffer, length: buffer.len() - left }
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.buffer[..self.length]).unwrap_or_default()
    }

    fn digits(&self) -> Digits<'_> {
        let printed = &self.buffer[..self.length];
        let printed = printed.strip_prefix(b"-").unwrap_or(printed);
        let e = printed.iter().position(|&b| b == b'e').unwrap_or(printed.len());
        let exponent = std::str::from_utf8(printed.get(e + 1..).unwrap_or_default()).ok().and_then(|x| x.parse().ok());
        let fraction = printed.get(2..e).unwrap_or_default();
        let kept = fraction.iter().rposition(|&b| b != b'0').map_or(0, |last| last + 1);
        Digits { first: printed[0], rest: &fraction[..kept], exponent: exponent.unwrap_or(0) }
    }
}

/// The digits before and after the point, without zeros at their end, and the power of ten.
#[derive(Clone, Copy)]
struct Digits<'a> {
    first: u8,
    rest: &'a [u8],
    exponent: i32,
}

fn write_fixed(digits: Digits<'_>, to: &mut Vec<u8>) {
    let Digits { first, rest, exponent } = digits;
    if exponent < 0 {
        to.extend_from_slice(b"0.");
        to.extend(std::iter::repeat_n(b'0', (-exponent - 1) as usize));
        to.push(first);
        return to.extend_from_slice(rest);
    }
    let before_point = exponent as usize;
    to.push(first);
    to.extend_from_slice(&rest[..before_point.min(rest.len())]);
    match rest.get(before_point..) {
        Some([]) => {}
        Some(fraction) => {
            to.push(b'.');
            to.extend_from_slice(fraction);
        }
        None => to.extend(std::iter::repeat_n(b'0', before_point - rest.len())),
    }
}

fn write_scientific(digits: Digits<'_>, to: &mut Vec<u8>) {
    to.push(digits.first);
    if !digits.rest.is_empty() {
        to.push(b'.');
        to.extend_from_slice(digits.rest);
    }
    let sign = if digits.exponent < 0 { '-' } else { '+' };
    // Writing to a Vec cannot fail.
    let _ = write!(to, "e{sign}{:02}", digits.exponent.abs());
}
