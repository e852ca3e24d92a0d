//! Byte strings and UUIDs.

use super::{Fault, Texts, Token};

/// A UUID, with or without hyphens and braces.
pub(crate) fn uuid(token: Token, texts: &Texts<'_>) -> Result<[u8; 16], Fault> {
    let text = texts.scalar(token)?.trim_ascii();
    uuid::Uuid::try_parse_ascii(text).map(uuid::Uuid::into_bytes).map_err(|_| Fault::Syntax)
}

/// A byte string in Postgres's hex format (`\x01ff`) or escape format (`a\\b\001`).
pub(crate) fn bytea(token: Token, texts: &Texts<'_>) -> Result<Vec<u8>, Fault> {
    let text = texts.scalar(token)?;
    match text.strip_prefix(b"\\x") {
        Some(digits) => from_hex(digits),
        None => from_escapes(text),
    }
    .ok_or(Fault::Syntax)
}

fn from_hex(digits: &[u8]) -> Option<Vec<u8>> {
    let digits: Vec<u8> = digits.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let nibble = |byte: u8| (byte as char).to_digit(16).map(|digit| digit as u8);
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    digits.chunks(2).map(|pair| Some(nibble(pair[0])? << 4 | nibble(pair[1])?)).collect()
}

fn from_escapes(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        match (first, after) {
            (b'\\', [b'\\', after @ ..]) => {
                bytes.push(b'\\');
                rest = after;
            }
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..]) => {
                bytes.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = after;
            }
            (b'\\', _) => return None,
            _ => bytes.push(first),
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_of_bytea_are_read() {
        assert_eq!(from_hex(b"01fF 7"), None);
        assert_eq!(from_hex(b"01fF 77"), Some(vec![1, 255, 0x77]));
        assert_eq!(from_escapes(br"a\\b\001\377"), Some(b"a\\b\x01\xff".to_vec()));
        assert_eq!(from_escapes(br"a\b"), None);
    }
}
