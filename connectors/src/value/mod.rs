//! From text to columns: the one place where the text of a value becomes an Arrow value of its SQL type.
//!
//! A format finds where values lie and what they look like ([`Token`]); a [`Column`] turns the tokens of many rows
//! into an array. Both JSON and CSV go this way, so a value is read the same whatever file it stands in.

pub(crate) mod boolean;
pub(crate) mod bytes;
pub(crate) mod calendar;
pub(crate) mod column;
pub(crate) mod datetime;
pub(crate) mod json;
pub(crate) mod list;
pub(crate) mod number;
pub(crate) mod string;
pub(crate) mod token;
pub(crate) mod write;

pub(crate) use column::{Column, Failures, Tokens, column_of, is_json};
pub(crate) use token::{Kind, Texts, Token};

/// What is wrong with a value. The column words it, because only it knows its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The text is not one of the type.
    Syntax,
    /// The value is one of the type's kind, but the type cannot hold it.
    Range,
    /// A string is longer than its type allows.
    Length,
}

/// How numbers that stand for a point in time count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Epoch {
    Seconds,
    #[default]
    Milliseconds,
    Microseconds,
    Nanoseconds,
}

impl Epoch {
    /// A count as microseconds.
    pub fn micros(self, count: i64) -> Option<i64> {
        match self {
            Epoch::Seconds => count.checked_mul(datetime::SECOND),
            Epoch::Milliseconds => count.checked_mul(1000),
            Epoch::Microseconds => Some(count),
            Epoch::Nanoseconds => Some(count.div_euclid(1000)),
        }
    }
}
