//! Eight bytes at once, in one register.

/// The eight bytes at a place, if there are eight, the first one lowest.
#[inline(always)]
pub(super) fn eight_bytes(text: &[u8], at: usize) -> Option<u64> {
    text.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes)
}

/// How many of eight bytes, from the lowest, are digits.
#[inline(always)]
pub(super) fn leading_digits(word: u64) -> u32 {
    // The high half of a digit is 3, also after 6 was added to its low half: a byte that differs is no digit. A carry
    // out of a byte only reaches bytes above a byte that is none.
    let high = word & 0xF0F0_F0F0_F0F0_F0F0;
    let bumped = word.wrapping_add(0x0606_0606_0606_0606) & 0xF0F0_F0F0_F0F0_F0F0;
    let other = (high ^ 0x3030_3030_3030_3030) | (bumped ^ 0x3030_3030_3030_3030);
    other.trailing_zeros() / 8
}

/// The value of eight digits, the first one in the lowest byte. Zero bytes before them count as the digit 0.
#[inline(always)]
pub(super) fn eight_digits(word: u64) -> u64 {
    let ones = word & 0x0F0F_0F0F_0F0F_0F0F;
    let tens = ones.wrapping_mul(10).wrapping_add(ones >> 8) & 0x00FF_00FF_00FF_00FF;
    let hundreds = tens.wrapping_mul(100).wrapping_add(tens >> 16) & 0x0000_FFFF_0000_FFFF;
    hundreds.wrapping_mul(10_000).wrapping_add(hundreds >> 32) & 0xFFFF_FFFF
}

/// The first double quote from `at` on; the length of the text if there is none.
#[inline(always)]
pub(super) fn find_quote(text: &[u8], at: usize) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let mut at = at;
    // Most strings are short: two steps of eight bytes before the call that is faster on long ones.
    for _ in 0..2 {
        let Some(word) = eight_bytes(text, at) else { break };
        let same = word ^ (ONES * b'"' as u64);
        let zero = same.wrapping_sub(ONES) & !same & HIGH;
        if zero != 0 {
            return at + (zero.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    memchr::memchr(b'"', &text[at..]).map_or(text.len(), |found| at + found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_bytes_at_once_count_as_one_by_one() {
        for (text, count, value) in
            [("12345678", 8, 12_345_678), ("1,000000", 1, 1), ("907}abcd", 3, 907), ("x2345678", 0, 0)]
        {
            let word = eight_bytes(text.as_bytes(), 0).unwrap();
            assert_eq!(leading_digits(word), count, "{text}");
            if count > 0 {
                assert_eq!(eight_digits(word << (64 - 8 * count)), value, "{text}");
            }
        }
        for byte in 0..=255u8 {
            let word = u64::from_le_bytes([b'9', byte, b'5', b'5', b'5', b'5', b'5', b'5']);
            assert_eq!(leading_digits(word), if byte.is_ascii_digit() { 8 } else { 1 }, "{byte}");
        }
    }
}
