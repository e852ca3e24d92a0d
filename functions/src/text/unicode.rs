//! Characters by their numbers in texts.

use millrace_types::{Result, SqlError, SqlState};

/// A text with its escapes read: `\XXXX`, `\+XXXXXX`, `\uXXXX`, `\UXXXXXXXX` and `\\`.
pub fn unescaped(text: &str) -> Result<String> {
    let invalid = || SqlError::new(SqlState::SYNTAX_ERROR, "invalid Unicode escape");
    let mut out = String::with_capacity(text.len());
    // The first half of a character of two.
    let mut high: Option<u32> = None;
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        rest = &rest[character.len_utf8()..];
        if character != '\\' || rest.starts_with('\\') {
            if high.is_some() {
                return Err(pair());
            }
            rest = if character == '\\' { &rest[1..] } else { rest };
            out.push(character);
            continue;
        }
        let (skipped, digits) = match rest.chars().next() {
            Some('+') => (1, 6),
            Some('u') => (1, 4),
            Some('U') => (1, 8),
            _ => (0, 4),
        };
        let code = rest.get(skipped..skipped + digits).filter(|code| code.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let code = code.and_then(|code| u32::from_str_radix(code, 16).ok()).ok_or_else(invalid)?;
        rest = &rest[skipped + digits..];
        let code = match (high.take(), code) {
            (None, 0xD800..0xDC00) => {
                high = Some(code);
                continue;
            }
            (Some(high), 0xDC00..0xE000) => 0x10000 + ((high - 0xD800) << 10) + (code - 0xDC00),
            (Some(_), _) | (None, 0xDC00..0xE000) => return Err(pair()),
            (None, code) => code,
        };
        out.push(char::from_u32(code).filter(|character| *character != '\0').ok_or_else(invalid)?);
    }
    if high.is_some() { Err(pair()) } else { Ok(out) }
}

fn pair() -> SqlError {
    SqlError::new(SqlState::SYNTAX_ERROR, "invalid Unicode surrogate pair")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_characters() {
        assert_eq!(unescaped(r"d\0061t\+000061 \u0061\U00000061\\").unwrap(), r"data aa\");
        assert_eq!(unescaped(r"\D83D\DE00").unwrap(), "\u{1F600}");
        for wrong in [r"\00", r"\D83Dx", r"\xyz", r"\"] {
            assert!(unescaped(wrong).is_err(), "{wrong}");
        }
    }
}
