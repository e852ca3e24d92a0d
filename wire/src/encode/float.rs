//! Floating-point numbers as Postgres prints them.

use std::fmt::LowerExp;
use std::io::Write;

/// What differs between `float4` and `float8`.
pub(super) trait Float: LowerExp + Copy {
    /// From this power of ten on the shortest form has an exponent.
    const EXPONENT_FROM: i32;
    /// Significant digits that any value keeps when it is printed and read again the other way round.
    const DIGITS: i32;
    fn to_f64(self) -> f64;
}

impl Float for f32 {
    const EXPONENT_FROM: i32 = 6;
    const DIGITS: i32 = 6;
    fn to_f64(self) -> f64 {
        self.into()
    }
}

impl Float for f64 {
    const EXPONENT_FROM: i32 = 15;
    const DIGITS: i32 = 15;
    fn to_f64(self) -> f64 {
        self
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
    let mut buffer = [0u8; 64];
    let digits = (F::DIGITS + extra_digits).clamp(1, 17) as usize;
    let rest = match extra_digits > 0 {
        true => print(&mut buffer, format_args!("{value:e}")),
        false => print(&mut buffer, format_args!("{value:.*e}", digits - 1)),
    };
    let exponent_from = if extra_digits > 0 { F::EXPONENT_FROM } else { digits as i32 };
    let printed = &buffer[..buffer.len() - rest];
    let (digits, exponent) = split(printed.strip_prefix(b"-").unwrap_or(printed));
    match (-4..exponent_from).contains(&exponent) {
        true => write_fixed(digits, exponent, to),
        false => write_scientific(digits, exponent, to),
    }
}

/// Prints into the buffer and gives how many bytes of it are left.
fn print(buffer: &mut [u8; 64], what: std::fmt::Arguments<'_>) -> usize {
    let mut rest = &mut buffer[..];
    // Seventeen digits and an exponent of three fit.
    let _ = rest.write_fmt(what);
    rest.len()
}

/// The digits of `d.ddde±x`, the one before the point first, without zeros at their end; and the exponent.
fn split(printed: &[u8]) -> (Digits<'_>, i32) {
    let e = printed.iter().position(|&b| b == b'e').unwrap_or(printed.len());
    let exponent =
        std::str::from_utf8(printed.get(e + 1..).unwrap_or_default()).ok().and_then(|text| text.parse().ok());
    let fraction = printed.get(2..e).unwrap_or_default();
    let kept = fraction.iter().rposition(|&b| b != b'0').map_or(0, |last| last + 1);
    (Digits { first: printed[0], rest: &fraction[..kept] }, exponent.unwrap_or(0))
}

#[derive(Clone, Copy)]
struct Digits<'a> {
    first: u8,
    rest: &'a [u8],
}

fn write_fixed(digits: Digits<'_>, exponent: i32, to: &mut Vec<u8>) {
    if exponent < 0 {
        to.extend_from_slice(b"0.");
        to.extend(std::iter::repeat_n(b'0', (-exponent - 1) as usize));
        to.push(digits.first);
        return to.extend_from_slice(digits.rest);
    }
    let before_point = exponent as usize;
    to.push(digits.first);
    to.extend_from_slice(&digits.rest[..before_point.min(digits.rest.len())]);
    match digits.rest.get(before_point..) {
        Some([]) => {}
        Some(fraction) => {
            to.push(b'.');
            to.extend_from_slice(fraction);
        }
        None => to.extend(std::iter::repeat_n(b'0', before_point - digits.rest.len())),
    }
}

fn write_scientific(digits: Digits<'_>, exponent: i32, to: &mut Vec<u8>) {
    to.push(digits.first);
    if !digits.rest.is_empty() {
        to.push(b'.');
        to.extend_from_slice(digits.rest);
    }
    // Writing to a Vec cannot fail.
    let _ = write!(to, "e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs());
}
