//! JSON values: where they end and what they look like. Strict: what passes here is JSON after RFC 8259, without
//! `\u0000` (which no text of Postgres can hold) and without lone surrogates.
//!
//! The scanner works on bytes that are known to be UTF-8, and it may read past the end of the value's record (but not
//! of the block), which lets it look at eight bytes at once.

mod eight;
mod escape;

pub(crate) use escape::unescape;

use super::{Kind, Token};
use eight::{eight_bytes, eight_digits, find_quote, leading_digits};
use std::ops::Range;

/// Objects and arrays may be nested this deep.
const MAX_DEPTH: usize = 128;

/// What is wrong, and at which byte of the block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed {
    pub at: usize,
    pub what: &'static str,
}

type Result<T> = std::result::Result<T, Malformed>;

#[cold]
fn malformed<T>(at: usize, what: &'static str) -> Result<T> {
    Err(Malformed { at, what })
}

/// Scans the values of one record.
#[derive(Clone, Copy)]
pub(crate) struct Scanner<'a> {
    /// The whole block.
    pub text: &'a [u8],
    /// Where the record ends.
    pub end: usize,
    /// Whether there may be a backslash in the record.
    pub escapes: bool,
    /// Whether there may be a control character in the record.
    pub controls: bool,
}

impl<'a> Scanner<'a> {
    /// A scanner that takes nothing for granted.
    pub fn careful(text: &'a [u8], end: usize) -> Scanner<'a> {
        Scanner { text, end, escapes: true, controls: true }
    }

    /// The byte at a place, 0 at the end of the record (no JSON has a zero byte).
    #[inline(always)]
    pub fn byte(&self, at: usize) -> u8 {
        if at < self.end { self.text[at] } else { 0 }
    }

    /// The first place from `at` on that is not white space.
    #[inline(always)]
    pub fn skip_blanks(&self, mut at: usize) -> usize {
        while matches!(self.byte(at), b' ' | b'\t' | b'\n' | b'\r') {
            at += 1;
        }
        at
    }

    /// The value that starts at `at`, and where it ends. A string with escapes is written to `extra` without them.
    #[inline(always)]
    pub fn value(&self, at: usize, extra: &mut Vec<u8>) -> Result<(Token, usize)> {
        match self.byte(at) {
            b'"' => {
                let (close, escaped) = self.string(at)?;
                if escaped {
                    return self.rewritten(at + 1..close, extra);
                }
                Ok((Token::new(Kind::Text, at + 1, close), close + 1))
            }
            b'-' | b'0'..=b'9' => self.number(at),
            _ => self.other_value(at),
        }
    }

    /// The value that starts at `at` as its JSON text, and where it ends. A null is a null all the same.
    #[inline(always)]
    pub fn json(&self, at: usize) -> Result<(Token, usize)> {
        let end = self.skip(at)?;
        let kind = if self.text[at] == b'n' { Kind::Null } else { Kind::Json };
        Ok((Token::new(kind, at, end), end))
    }

    #[cold]
    fn rewritten(&self, range: Range<usize>, extra: &mut Vec<u8>) -> Result<(Token, usize)> {
        let start = extra.len();
        unescape(&self.text[range.clone()], extra);
        Ok((Token::new(Kind::Rewritten, start, extra.len()), range.end + 1))
    }

    fn other_value(&self, at: usize) -> Result<(Token, usize)> {
        match self.byte(at) {
            b'{' | b'[' => {
                let end = self.nested(at, MAX_DEPTH)?;
                Ok((Token::new(Kind::Json, at, end), end))
            }
            b'n' => self.word(at, b"null").map(|end| (Token::new(Kind::Null, at, end), end)),
            b't' => self.word(at, b"true").map(|end| (Token::new(Kind::Word, at, end), end)),
            b'f' => self.word(at, b"false").map(|end| (Token::new(Kind::Word, at, end), end)),
            _ => malformed(at, "expected a value"),
        }
    }

    /// Where the value that starts at `at` ends, for a value that nobody reads.
    #[inline(always)]
    pub fn skip(&self, at: usize) -> Result<usize> {
        self.skip_within(at, MAX_DEPTH)
    }

    #[inline(always)]
    fn skip_within(&self, at: usize, depth: usize) -> Result<usize> {
        match self.byte(at) {
            b'"' => self.string(at).map(|(close, _)| close + 1),
            b'-' | b'0'..=b'9' => self.number(at).map(|(_, end)| end),
            b'{' | b'[' => self.nested(at, depth),
            _ => self.other_value(at).map(|(_, end)| end),
        }
    }

    fn word(&self, at: usize, word: &[u8]) -> Result<usize> {
        let end = at + word.len();
        match end <= self.end && &self.text[at..end] == word {
            true => Ok(end),
            false => malformed(at, "expected a value"),
        }
    }

    /// The end of the array or object that starts at `at`.
    fn nested(&self, at: usize, depth: usize) -> Result<usize> {
        if depth == 0 {
            return malformed(at, "nested too deeply");
        }
        let object = self.text[at] == b'{';
        let close = if object { b'}' } else { b']' };
        let mut at = self.skip_blanks(at + 1);
        if self.byte(at) == close {
            return Ok(at + 1);
        }
        loop {
            if object {
                at = self.key(at)?.1;
            }
            at = self.skip_blanks(self.skip_within(at, depth - 1)?);
            match self.byte(at) {
                b',' => at = self.skip_blanks(at + 1),
                byte if byte == close => return Ok(at + 1),
                _ => return malformed(at, "expected a comma or the end of the array or object"),
            }
        }
    }

    /// The key that starts at `at`, whether it has escapes, and where its value starts.
    pub fn key(&self, at: usize) -> Result<((Range<usize>, bool), usize)> {
        if self.byte(at) != b'"' {
            return malformed(at, "expected a key in double quotes");
        }
        let (close, escaped) = self.string(at)?;
        let colon = self.skip_blanks(close + 1);
        match self.byte(colon) {
            b':' => Ok(((at + 1..close, escaped), self.skip_blanks(colon + 1))),
            _ => malformed(colon, "expected a colon"),
        }
    }

    /// The place of the quote that closes the string opened at `at`, and whether there are escapes between.
    #[inline(always)]
    fn string(&self, at: usize) -> Result<(usize, bool)> {
        if self.controls {
            return self.careful_string(at);
        }
        let close = match self.escapes {
            false => find_quote(self.text, at + 1),
            true => match memchr::memchr2(b'"', b'\\', &self.text[at + 1..self.end]) {
                Some(found) if self.text[at + 1 + found] == b'\\' => return self.careful_string(at),
                Some(found) => at + 1 + found,
                None => self.end,
            },
        };
        if close >= self.end { malformed(at, "a string is not closed") } else { Ok((close, false)) }
    }

    #[inline(never)]
    fn careful_string(&self, open: usize) -> Result<(usize, bool)> {
        let mut at = open + 1;
        let mut escaped = false;
        while at < self.end {
            match self.text[at] {
                b'"' => return Ok((at, escaped)),
                b'\\' => {
                    at = self.escape(at)?;
                    escaped = true;
                }
                0..0x20 => return malformed(at, "a control character stands in a string"),
                _ => at += 1,
            }
        }
        malformed(open, "a string is not closed")
    }

    /// The end of the escape sequence at `at`.
    fn escape(&self, at: usize) -> Result<usize> {
        match self.byte(at + 1) {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Ok(at + 2),
            b'u' => match self.code_unit(at)? {
                0 => malformed(at, "\\u0000 cannot be a character of a text"),
                0xDC00..0xE000 => malformed(at, "a low surrogate stands without a high one"),
                0xD800..0xDC00 => {
                    let paired = self.byte(at + 6) == b'\\' && self.byte(at + 7) == b'u';
                    match paired && (0xDC00..0xE000).contains(&self.code_unit(at + 6)?) {
                        true => Ok(at + 12),
                        false => malformed(at, "a high surrogate stands without a low one"),
                    }
                }
                _ => Ok(at + 6),
            },
            _ => malformed(at, "an escape sequence is invalid"),
        }
    }

    /// The number of the `\uXXXX` at `at`.
    fn code_unit(&self, at: usize) -> Result<u32> {
        let digits = (2..6).map(|i| (self.byte(at + i) as char).to_digit(16));
        digits
            .into_iter()
            .try_fold(0, |sum, digit| Some(sum * 16 + digit?))
            .ok_or(Malformed { at, what: "an escape sequence is invalid" })
    }

    /// The number that starts at `at`.
    #[inline(always)]
    fn number(&self, at: usize) -> Result<(Token, usize)> {
        if let Some(word) = eight_bytes(self.text, at) {
            let count = leading_digits(word);
            let end = at + count as usize;
            // One to seven digits that no eighth, point or exponent follows.
            let plain = (1..8).contains(&count) && end <= self.end && (self.text[at] != b'0' || count == 1);
            if plain && !matches!(self.byte(end), b'.' | b'e' | b'E') {
                let value = eight_digits(word << (64 - 8 * count));
                return Ok((Token::integer(value as i64, at, end), end));
            }
        }
        self.long_number(at)
    }

    #[inline(never)]
    fn long_number(&self, start: usize) -> Result<(Token, usize)> {
        let digits_from = |from: usize| {
            let mut at = from;
            while self.byte(at).is_ascii_digit() {
                at += 1;
            }
            at
        };
        let negative = self.byte(start) == b'-';
        let whole = start + usize::from(negative);
        let mut end = digits_from(whole);
        if end == whole || (self.byte(whole) == b'0' && end > whole + 1) {
            return malformed(start, "a number is invalid");
        }
        if !matches!(self.byte(end), b'.' | b'e' | b'E') {
            if end - whole > 18 {
                return Ok((Token::new(Kind::Number, start, end), end));
            }
            let value = self.text[whole..end].iter().fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'));
            return Ok((Token::integer(if negative { -value } else { value }, start, end), end));
        }
        if self.byte(end) == b'.' {
            let fraction = end + 1;
            end = digits_from(fraction);
            if end == fraction {
                return malformed(start, "a number is invalid");
            }
        }
        if matches!(self.byte(end), b'e' | b'E') {
            let exponent = end + 1 + usize::from(matches!(self.byte(end + 1), b'+' | b'-'));
            end = digits_from(exponent);
            if end == exponent {
                return malformed(start, "a number is invalid");
            }
        }
        Ok((Token::new(Kind::Number, start, end), end))
    }
}

/// Whether a text is one JSON value.
pub(crate) fn is_valid(text: &[u8]) -> bool {
    let scanner = Scanner::careful(text, text.len());
    let end = scanner.skip(scanner.skip_blanks(0)).map(|end| scanner.skip_blanks(end));
    end == Ok(text.len())
}

/// The elements of the JSON array at `range`, appended to `tokens`; strings with escapes go to `extra`. With `as_json`,
/// each element is taken as its JSON text.
pub(crate) fn elements(
    text: &[u8],
    range: Range<usize>,
    as_json: bool,
    extra: &mut Vec<u8>,
    tokens: &mut Vec<Token>,
) -> Result<()> {
    let scanner = Scanner::careful(text, range.end);
    if scanner.byte(range.start) != b'[' {
        return malformed(range.start, "expected an array");
    }
    let mut at = scanner.skip_blanks(range.start + 1);
    while scanner.byte(at) != b']' {
        let (token, end) = match as_json {
            true => scanner.json(at)?,
            false => scanner.value(at, extra)?,
        };
        tokens.push(token);
        at = scanner.skip_blanks(end);
        if scanner.byte(at) == b',' {
            at = scanner.skip_blanks(at + 1);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_json_is_json() {
        for text in
            ["0", "-0.5e+7", " [1, {\"a\" : [] }] ", r#""\ud83d\ude00""#, "true", "null", "12345678901234567890"]
        {
            assert!(is_valid(text.as_bytes()), "{text}");
        }
        let deep = "[".repeat(200) + &"]".repeat(200);
        for text in [
            "",
            "01",
            "-",
            "1.",
            ".5",
            "1e",
            "+1",
            "tru",
            "nulL",
            "[1,]",
            "{\"a\"}",
            "{a:1}",
            "{\"a\":1,}",
            "\"\n\"",
            "\"",
            r#""\x""#,
            r#""\u12""#,
            r#""\u0000""#,
            r#""\ud83d""#,
            r#""\ude00""#,
            r#""\ud83dxxxxxx""#,
            "1 2",
            "[1",
            &deep,
        ] {
            assert!(!is_valid(text.as_bytes()), "{text}");
        }
    }
}
