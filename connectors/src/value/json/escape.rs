//! Escape sequences of strings.

/// Appends the text that a string with valid escapes stands for.
pub(crate) fn unescape(string: &[u8], out: &mut Vec<u8>) {
    let mut rest = string;
    while let Some(found) = memchr::memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..found]);
        let length = match rest.get(found + 1) {
            Some(b'u') => unescape_unicode(&rest[found..], out),
            Some(b'b') => push(out, 8),
            Some(b'f') => push(out, 12),
            Some(b'n') => push(out, b'\n'),
            Some(b'r') => push(out, b'\r'),
            Some(b't') => push(out, b'\t'),
            Some(byte) => push(out, *byte),
            None => 1,
        };
        rest = &rest[found + length..];
    }
    out.extend_from_slice(rest);
}

fn push(out: &mut Vec<u8>, byte: u8) -> usize {
    out.push(byte);
    2
}

/// Appends the character of `\uXXXX` or a pair of them; how many bytes they took.
fn unescape_unicode(text: &[u8], out: &mut Vec<u8>) -> usize {
    let unit = |at: usize| {
        let digits = text.get(at + 2..at + 6).unwrap_or(b"");
        digits.iter().fold(0, |sum, digit| sum * 16 + (*digit as char).to_digit(16).unwrap_or(0))
    };
    let first = unit(0);
    let (code, length) = match first {
        0xD800..0xDC00 => (0x10000 + ((first - 0xD800) << 10) + (unit(6).wrapping_sub(0xDC00) & 0x3FF), 12),
        _ => (first, 6),
    };
    let character = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    length.min(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_lose_their_escapes() {
        let unescaped = |text: &str| {
            let mut out = Vec::new();
            unescape(text.as_bytes(), &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(unescaped(r#"a\"b\\c\/d\n\t\r\b\f"#), "a\"b\\c/d\n\t\r\u{8}\u{c}");
        assert_eq!(unescaped(r"\u00e4x\ud83d\ude00y"), "äx😀y");
    }
}
