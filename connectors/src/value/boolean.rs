//! Booleans, spelled as Postgres takes them.

use super::{Fault, Texts, Token};

/// `true`, `yes`, `on`, `1` and their beginnings, in any case, and the same for false.
pub(crate) fn boolean(token: Token, texts: &Texts<'_>) -> Result<bool, Fault> {
    let text = texts.scalar(token)?.trim_ascii();
    let begins = |word: &[u8], least: usize| {
        text.len() >= least && text.len() <= word.len() && word[..text.len()].eq_ignore_ascii_case(text)
    };
    if begins(b"true", 1) || begins(b"yes", 1) || begins(b"on", 2) || text == b"1" {
        return Ok(true);
    }
    if begins(b"false", 1) || begins(b"no", 1) || begins(b"off", 2) || text == b"0" {
        return Ok(false);
    }
    Err(Fault::Syntax)
}
