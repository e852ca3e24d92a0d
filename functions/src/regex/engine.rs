//! Matching: in linear time where a pattern is a regular expression in the strict sense; one that refers back to a group,
//! or looks ahead or behind, by backtracking, which ends with an error where it takes too many steps.

use super::backtrack::{Backtracking, Ranges};
use millrace_types::Result;

/// A compiled pattern.
pub enum Pattern {
    Linear(regex::Regex),
    Backtracking(Backtracking),
}

/// What the groups of a pattern matched, the whole match first.
pub enum Groups<'t> {
    Linear(regex::Captures<'t>),
    Backtracking(&'t str, Ranges),
}

/// What a group matched.
#[derive(Clone, Copy)]
pub struct Group<'t> {
    pub start: usize,
    pub end: usize,
    text: &'t str,
}

impl Pattern {
    /// Whether it matches anywhere in a text.
    pub fn is_match(&self, text: &str) -> Result<bool> {
        match self {
            Pattern::Linear(pattern) => Ok(pattern.is_match(text)),
            Pattern::Backtracking(pattern) => Ok(pattern.find(text, 0)?.is_some()),
        }
    }

    /// Its first match that begins at the byte `from` or behind it.
    pub fn groups_at<'t>(&self, text: &'t str, from: usize) -> Result<Option<Groups<'t>>> {
        Ok(match self {
            Pattern::Linear(pattern) => pattern.captures_at(text, from).map(Groups::Linear),
            Pattern::Backtracking(pattern) => {
                pattern.find(text, from)?.map(|ranges| Groups::Backtracking(text, ranges))
            }
        })
    }

    /// The number of its groups, the whole match among them.
    pub fn count(&self) -> usize {
        match self {
            Pattern::Linear(pattern) => pattern.captures_len(),
            Pattern::Backtracking(pattern) => pattern.groups,
        }
    }
}

impl<'t> Groups<'t> {
    /// What a group matched; `None` where it had no part in the match.
    pub fn get(&self, at: usize) -> Option<Group<'t>> {
        match self {
            Groups::Linear(groups) => {
                groups.get(at).map(|group| Group { start: group.start(), end: group.end(), text: group.as_str() })
            }
            Groups::Backtracking(text, ranges) => {
                let (start, end) = (*ranges.get(at)?)?;
                Some(Group { start, end, text: &text[start..end] })
            }
        }
    }

    /// The text that a group matched.
    pub fn text(&self, at: usize) -> Option<&'t str> {
        self.get(at).map(|group| group.text)
    }
}
