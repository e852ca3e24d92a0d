//! Rows that are final once the watermark has come far enough.

use crate::Node;
use crate::plan::columns;
use std::fmt;

/// Tells when a row is final, or when nothing of what it stands for can change any more: when its time in `column` and `delay` microseconds more are not after the watermark.
///
/// ```text
///   column         delay          since
///   window_end     0              the window holds what is before its end
///   window_start   the size       that is its end
///   ts             1              a row of the watermark's own time may still come
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closing {
    pub column: usize,
    pub delay: i64,
}

/// The rows of the input, each once, when it is final. The schema is that of the input.
#[derive(Clone, Debug, PartialEq)]
pub struct OnClose {
    pub input: Node,
    pub closing: Closing,
    /// After so many microseconds of the wall clock without input the clock counts as the watermark.
    pub idle: Option<i64>,
}

/// Rows of a key of which each is at most `gap` microseconds after the one before, by their times in a column of the
/// input, none of which is NULL. The input is append-only. A session starts at its first row and ends `gap` after its last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sessions {
    pub time: usize,
    pub gap: i64,
}

impl fmt::Display for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, " in sessions of #{} gap {} us", self.time, self.gap)
    }
}

impl fmt::Display for Closing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", columns(&[self.column]))?;
        if self.delay == 0 { Ok(()) } else { write!(f, " + {} us", self.delay) }
    }
}

impl fmt::Display for OnClose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OnClose {}", self.closing)?;
        self.idle.map_or(Ok(()), |idle| write!(f, " idle after {idle} us"))
    }
}
