//! Tokens: where the text of a value lies and what it looks like.

use super::Fault;

/// What a value looks like in its format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// There is no value.
    Missing,
    /// The value is null.
    Null,
    /// The words `true` and `false`.
    Word,
    /// A whole number of up to 18 digits, already computed.
    Integer,
    /// Any other number.
    Number,
    /// Text that stands in the block as it is meant.
    Text,
    /// Text that had to be rewritten (escapes), in the extra buffer.
    Rewritten,
    /// A JSON array, object, or a value wanted as its JSON text.
    Json,
}

const KINDS: [Kind; 8] =
    [Kind::Missing, Kind::Null, Kind::Word, Kind::Integer, Kind::Number, Kind::Text, Kind::Rewritten, Kind::Json];

/// A value's place, look, and number if it is a plain one. 16 bytes, since there is one for each value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    start: u32,
    /// The length in the low 28 bits, the kind in the high ones.
    length_and_kind: u32,
    /// The value of a [`Kind::Integer`].
    pub integer: i64,
}

impl Token {
    /// The longest text that a token can stand for.
    pub const MAX_LENGTH: usize = (1 << 28) - 1;

    /// The token of a value that is not there.
    pub const MISSING: Token = Token { start: 0, length_and_kind: 0, integer: 0 };

    /// A value of the given look, at `start..end` of its text.
    #[inline(always)]
    pub fn new(kind: Kind, start: usize, end: usize) -> Token {
        debug_assert!(end - start <= Token::MAX_LENGTH && start <= u32::MAX as usize);
        Token { start: start as u32, length_and_kind: (end - start) as u32 | (kind as u32) << 28, integer: 0 }
    }

    /// A plain whole number.
    #[inline(always)]
    pub fn integer(value: i64, start: usize, end: usize) -> Token {
        Token { integer: value, ..Token::new(Kind::Integer, start, end) }
    }

    #[inline(always)]
    pub fn kind(self) -> Kind {
        KINDS[(self.length_and_kind >> 28) as usize & 7]
    }

    #[inline(always)]
    pub fn start(self) -> usize {
        self.start as usize
    }

    #[inline(always)]
    pub fn len(self) -> usize {
        self.length_and_kind as usize & Token::MAX_LENGTH
    }

    #[inline(always)]
    pub fn is_null(self) -> bool {
        self.length_and_kind >> 28 <= Kind::Null as u32
    }
}

/// The texts that tokens point into. Every token points at valid UTF-8 in them.
#[derive(Clone, Copy)]
pub(crate) struct Texts<'a> {
    /// The bytes as they were read.
    pub block: &'a [u8],
    /// Texts that had to be rewritten.
    pub extra: &'a [u8],
}

impl<'a> Texts<'a> {
    /// The text of a token, whatever it looks like.
    #[inline(always)]
    pub fn of(&self, token: Token) -> &'a [u8] {
        let text = if token.kind() == Kind::Rewritten { self.extra } else { self.block };
        &text[token.start()..token.start() + token.len()]
    }

    /// The text of a scalar, for a type that is written as text.
    #[inline(always)]
    pub fn scalar(&self, token: Token) -> Result<&'a [u8], Fault> {
        match token.kind() {
            Kind::Json => Err(Fault::Syntax),
            _ => Ok(self.of(token)),
        }
    }
}
