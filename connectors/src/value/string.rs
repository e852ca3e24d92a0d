//! Strings: views into the bytes that were read, without a copy.

use super::column::{About, Column, Failures, Tokens};
use super::{Fault, Kind, Texts, Token, json};
use arrow::array::{ArrayRef, NullBufferBuilder, StringViewArray, make_view};
use arrow::buffer::Buffer;
use millrace_types::SqlType;
use std::sync::Arc;

/// Which of the array's buffers a view points into.
const BLOCK: u32 = 0;
const EXTRA: u32 = 1;
const PADDED: u32 = 2;

/// The longest string that a view holds itself.
const INLINE: usize = 12;

/// A column of strings or of JSON texts.
pub(super) struct Strings {
    about: About,
    views: Vec<u128>,
    validity: NullBufferBuilder,
    /// Whether a view points outside itself: if none does, the array need not keep the block alive.
    outside: bool,
    /// Values of `char(n)` with their blanks.
    padded: Vec<u8>,
}

impl Strings {
    pub fn new(about: About) -> Strings {
        Strings { about, views: Vec::new(), validity: NullBufferBuilder::new(0), outside: false, padded: Vec::new() }
    }

    #[inline(always)]
    fn push(&mut self, text: &[u8], buffer: u32, start: usize) {
        self.outside |= text.len() > INLINE;
        self.views.push(make_view(text, buffer, start as u32));
        self.validity.append_non_null();
    }

    fn push_null(&mut self) {
        self.views.push(0);
        self.validity.append_null();
    }

    /// Types that take any text as it is.
    fn append_plain(&mut self, tokens: Tokens<'_>, texts: &Texts<'_>, failures: &mut Failures) {
        for (row, token) in tokens.iter().enumerate() {
            match token.kind() {
                Kind::Missing | Kind::Null => {
                    self.about.check_null(row, failures);
                    self.push_null();
                }
                Kind::Rewritten => self.push(texts.of(token), EXTRA, token.start()),
                _ => self.push(texts.of(token), BLOCK, token.start()),
            }
        }
    }

    /// Types with a rule of their own.
    fn append_checked(&mut self, tokens: Tokens<'_>, texts: &Texts<'_>, failures: &mut Failures) {
        for (row, token) in tokens.iter().enumerate() {
            if token.is_null() {
                self.about.check_null(row, failures);
                self.push_null();
                continue;
            }
            let text = texts.of(token);
            if let Err(fault) = self.push_checked(token, text) {
                self.about.refuse(row, fault, text, failures);
                self.push_null();
            }
        }
    }

    fn push_checked(&mut self, token: Token, text: &[u8]) -> Result<(), Fault> {
        let buffer = if token.kind() == Kind::Rewritten { EXTRA } else { BLOCK };
        match self.about.sql_type {
            SqlType::Json | SqlType::Jsonb => {
                if token.kind() != Kind::Json && !json::is_valid(text) {
                    return Err(Fault::Syntax);
                }
                self.push(text, buffer, token.start());
            }
            SqlType::Varchar(Some(limit)) => {
                let text = within_limit(text, limit as usize)?;
                self.push(text, buffer, token.start());
            }
            SqlType::Bpchar(limit) => {
                let limit = limit.unwrap_or(1) as usize;
                let text = within_limit(text, limit)?;
                let start = self.padded.len();
                self.padded.extend_from_slice(text);
                self.padded.resize(self.padded.len() + limit - characters(text), b' ');
                let view = make_view(&self.padded[start..], PADDED, start as u32);
                self.outside |= self.padded.len() - start > INLINE;
                self.views.push(view);
                self.validity.append_non_null();
            }
            _ => self.push(text, buffer, token.start()),
        }
        Ok(())
    }
}

/// The text without the blanks that exceed `limit` characters; refused when it exceeds it by more than blanks.
fn within_limit(text: &[u8], limit: usize) -> Result<&[u8], Fault> {
    if text.len() <= limit || characters(text) <= limit {
        return Ok(text);
    }
    let starts = text.iter().enumerate().filter(|(_, byte)| is_character_start(**byte));
    let end = starts.map(|(at, _)| at).nth(limit).unwrap_or(text.len());
    match text[end..].iter().all(|byte| *byte == b' ') {
        true => Ok(&text[..end]),
        false => Err(Fault::Length),
    }
}

fn characters(text: &[u8]) -> usize {
    text.iter().filter(|byte| is_character_start(**byte)).count()
}

/// Whether a byte of UTF-8 is not the continuation of a character.
fn is_character_start(byte: u8) -> bool {
    byte & 0xC0 != 0x80
}

impl Column for Strings {
    fn append(&mut self, tokens: Tokens<'_>, texts: &Texts<'_>, failures: &mut Failures) {
        match self.about.sql_type {
            SqlType::Text | SqlType::Varchar(None) | SqlType::Name | SqlType::Char => {
                self.append_plain(tokens, texts, failures);
            }
            _ => self.append_checked(tokens, texts, failures),
        }
    }

    fn finish(&mut self, block: &Buffer, extra: &Buffer) -> ArrayRef {
        let views = std::mem::take(&mut self.views);
        let nulls = self.validity.finish();
        let padded = std::mem::take(&mut self.padded);
        let buffers = match std::mem::take(&mut self.outside) {
            true => vec![block.clone(), extra.clone(), Buffer::from_vec(padded)],
            false => Vec::new(),
        };
        // SAFETY: a view comes from `make_view` over the very bytes that it then points to: of the block or the extra
        // text (which `Column::finish` promises are the texts of the tokens) or of `padded`. A token points at valid
        // UTF-8 (see `Texts`), `within_limit` cuts before the first byte of a character, and blanks are ASCII. Without
        // buffers, every view is inline.
        Arc::new(unsafe { StringViewArray::new_unchecked(views.into(), buffers, nulls) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_count_characters_and_forgive_blanks() {
        assert_eq!(within_limit("äöü".as_bytes(), 3), Ok("äöü".as_bytes()));
        assert_eq!(within_limit("äöü  ".as_bytes(), 3), Ok("äöü".as_bytes()));
        assert_eq!(within_limit("äöüß".as_bytes(), 3), Err(Fault::Length));
    }
}
