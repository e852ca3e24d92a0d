//! Fields of the text format: backslash escapes.

use super::CopyFormat;
use std::borrow::Cow;

/// Escapes what follows `start`.
pub(super) fn escape(format: &CopyFormat, start: usize, to: &mut Vec<u8>) {
    let special = |byte: u8| matches!(byte, b'\\' | 0x08..=0x0d) || byte == format.delimiter;
    if !to[start..].iter().any(|&byte| special(byte)) {
        return;
    }
    let field = to.split_off(start);
    for byte in field {
        if special(byte) {
            to.push(b'\\');
        }
        to.push(match byte {
            0x08 => b'b',
            b'\t' => b't',
            b'\n' => b'n',
            0x0b => b'v',
            0x0c => b'f',
            b'\r' => b'r',
            byte => byte,
        });
    }
}

/// The fields of a line as they stand in it.
pub(super) fn fields<'a>(format: &'a CopyFormat, line: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        let line = rest?;
        let mut at = 0;
        while at < line.len() && line[at] != format.delimiter {
            at += if line[at] == b'\\' { 2 } else { 1 };
        }
        let at = at.min(line.len());
        rest = line.get(at + 1..);
        Some(&line[..at])
    })
}

/// The bytes that a field means.
pub(super) fn unescape(field: &[u8]) -> Cow<'_, [u8]> {
    if !field.contains(&b'\\') {
        return Cow::Borrowed(field);
    }
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        let Some((&escaped, after)) = rest.split_first() else {
            bytes.push(byte);
            break;
        };
        rest = after;
        bytes.push(match escaped {
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'v' => 0x0b,
            b'0'..=b'7' => number(escaped, 8, 2, &mut rest),
            b'x' => match rest.split_first() {
                Some((&digit, after)) if digit.is_ascii_hexdigit() => {
                    rest = after;
                    number(digit, 16, 1, &mut rest)
                }
                _ => b'x',
            },
            other => other,
        });
    }
    Cow::Owned(bytes)
}

/// A number of a first digit and up to `more` that follow, cut to a byte.
fn number(first: u8, base: u32, more: usize, rest: &mut &[u8]) -> u8 {
    let digit = |byte: u8| char::from(byte).to_digit(base);
    let mut value = digit(first).unwrap_or(0);
    for _ in 0..more {
        let Some((&byte, after)) = rest.split_first() else { break };
        let Some(digit) = digit(byte) else { break };
        value = value * base + digit;
        *rest = after;
    }
    value as u8
}
