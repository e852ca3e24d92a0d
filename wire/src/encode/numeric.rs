//! Decimal numbers, as text and as Postgres's digits of base 10,000.

use arrow::datatypes::i256;
use std::io::Write;

/// An unscaled decimal value of some width.
pub(super) trait Unscaled: Copy {
    /// Prints the decimal digits into the buffer, with a `-` before a negative one, and gives how many bytes.
    fn print(self, buffer: &mut Buffer) -> usize;
}

/// Room for the digits of 256 bits.
pub(super) type Buffer = [u8; 96];

impl Unscaled for i128 {
    fn print(self, buffer: &mut Buffer) -> usize {
        match i64::try_from(self) {
            Ok(small) => lexical_core::write(small, buffer).len(),
            Err(_) => lexical_core::write(self, buffer).len(),
        }
    }
}

impl Unscaled for i256 {
    fn print(self, buffer: &mut Buffer) -> usize {
        let mut rest = &mut buffer[..];
        // 78 digits and a sign fit.
        let _ = write!(rest, "{self}");
        let left = rest.len();
        buffer.len() - left
    }
}

/// The digits of a decimal number before and after its point.
struct Parts<'a> {
    negative: bool,
    /// Digits before the point, without zeros at the start; `zeros` zeros follow them.
    whole: &'a [u8],
    zeros: usize,
    /// Zeros between the point and `fraction`.
    gap: usize,
    fraction: &'a [u8],
}

impl<'a> Parts<'a> {
    /// `printed` digits with the point `scale` places before their end; zeros at the end of the fraction are dropped
    /// down to `least` places.
    fn new(printed: &'a [u8], scale: i8, least: i8) -> Parts<'a> {
        let negative = printed.first() == Some(&b'-');
        let digits = if negative { &printed[1..] } else { printed };
        let digits = if digits == b"0" { &[][..] } else { digits };
        let places = usize::try_from(scale).unwrap_or(0);
        let zeros = if digits.is_empty() { 0 } else { usize::from(scale.min(0).unsigned_abs()) };
        let (whole, mut fraction) = digits.split_at(digits.len().saturating_sub(places));
        let mut gap = places.saturating_sub(digits.len());
        if least < scale {
            let least = usize::try_from(least).unwrap_or(0);
            let kept = fraction.iter().rposition(|&digit| digit != b'0').map_or(0, |last| last + 1);
            gap = if kept == 0 { gap.min(least) } else { gap };
            fraction = &fraction[..kept.max(least.saturating_sub(gap)).min(fraction.len())];
        }
        Parts { negative, whole, zeros, gap, fraction }
    }

    /// Digits after the point.
    fn places(&self) -> usize {
        self.gap + self.fraction.len()
    }
}

/// Appends a decimal number as text.
pub(super) fn write_text(value: impl Unscaled, scale: i8, least: i8, to: &mut Vec<u8>) {
    let mut buffer = [0; 96];
    let length = value.print(&mut buffer);
    let parts = Parts::new(&buffer[..length], scale, least);
    if parts.negative {
        to.push(b'-');
    }
    match parts.whole {
        [] => to.push(b'0'),
        digits => to.extend_from_slice(digits),
    }
    to.extend(std::iter::repeat_n(b'0', parts.zeros));
    if parts.places() > 0 {
        to.push(b'.');
        to.extend(std::iter::repeat_n(b'0', parts.gap));
        to.extend_from_slice(parts.fraction);
    }
}

/// Appends a decimal number in the binary format: number of digits, weight of the first, sign, digits after the
/// point when printed, and the digits of base 10,000 without zeros at either end.
pub(super) fn write_binary(value: impl Unscaled, scale: i8, least: i8, to: &mut Vec<u8>) {
    let mut buffer = [0; 96];
    let length = value.print(&mut buffer);
    let parts = Parts::new(&buffer[..length], scale, least);
    let whole_digits = parts.whole.len() + parts.zeros;
    // Decimal digits are aligned so that the point falls between two groups of four.
    let lead = (4 - whole_digits % 4) % 4;
    let decimal = std::iter::repeat_n(b'0', lead)
        .chain(parts.whole.iter().copied())
        .chain(std::iter::repeat_n(b'0', parts.zeros + parts.gap))
        .chain(parts.fraction.iter().copied());
    let start = to.len();
    to.extend_from_slice(&[0; 8]);
    let (mut weight, mut group, mut filled, mut kept) = ((whole_digits + lead) as i16 / 4 - 1, 0u16, 0, to.len());
    let mut push = |group: u16, to: &mut Vec<u8>| match group {
        0 if to.len() == start + 8 => weight -= 1,
        group => {
            to.extend_from_slice(&group.to_be_bytes());
            if group != 0 {
                kept = to.len();
            }
        }
    };
    for digit in decimal {
        group = group * 10 + u16::from(digit - b'0');
        filled += 1;
        if filled == 4 {
            push(std::mem::take(&mut group), to);
            filled = 0;
        }
    }
    if filled > 0 {
        push(group * 10u16.pow(4 - filled), to);
    }
    to.truncate(kept);
    let digits = ((to.len() - start - 8) / 2) as u16;
    let weight = if digits == 0 { 0 } else { weight };
    let sign: u16 = if parts.negative { 0x4000 } else { 0 };
    let header = [digits, weight as u16, sign, parts.places() as u16];
    for (place, word) in to[start..start + 8].chunks_exact_mut(2).zip(header) {
        place.copy_from_slice(&word.to_be_bytes());
    }
}
