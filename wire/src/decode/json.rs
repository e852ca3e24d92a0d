//! Whether text is JSON.

use millrace_types::{Result, SqlError, SqlState};

/// Checks that the text is one JSON value.
pub(super) fn check(text: &str) -> Result<()> {
    serde_json::from_str::<serde::de::IgnoredAny>(text).map(drop).map_err(|error| {
        let reason = error.to_string();
        if reason.starts_with("recursion limit") {
            return SqlError::new(SqlState::STATEMENT_TOO_COMPLEX, "stack depth limit exceeded")
                .with_detail("A JSON value is nested too deeply.");
        }
        let mut characters = reason.chars();
        let first = characters.next().map(|c| c.to_ascii_uppercase());
        let sentence: String = first.into_iter().chain(characters).collect();
        SqlError::new(SqlState::INVALID_TEXT_REPRESENTATION, "invalid input syntax for type json")
            .with_detail(format!("{sentence}."))
    })
}
