//! Errors about values, which kernels word as text.

use super::plan::{sentence, type_name};
use arrow::error::ArrowError;
use datafusion::common::DataFusionError;
use millrace_types::{SqlError, SqlState};

/// The error behind one of Arrow's.
pub fn from_arrow(error: ArrowError) -> SqlError {
    match error {
        ArrowError::ExternalError(inner) => match inner.downcast::<SqlError>() {
            Ok(ours) => *ours,
            Err(other) => match other.downcast::<DataFusionError>() {
                Ok(nested) => super::sql_error(*nested),
                Err(other) => from_text(&other.to_string()),
            },
        },
        ArrowError::DivideByZero => SqlError::new(SqlState::DIVISION_BY_ZERO, "division by zero"),
        other => from_text(&other.to_string()),
    }
}

/// The error behind a message about a value.
pub fn from_text(message: &str) -> SqlError {
    let message = message.split("\n\nbacktrace:").next().unwrap_or(message);
    let message = strip(message);
    rules(message).unwrap_or_else(|| SqlError::internal(message.to_owned()))
}

/// Without the words that only say which kind of error follows.
fn strip(mut message: &str) -> &str {
    let prefixes = [
        "Arrow error: ",
        "Execution error: ",
        "External error: ",
        "Cast error: ",
        "Parser error: ",
        "Compute error: ",
        "Invalid argument error: ",
        "Arithmetic overflow: ",
        "Optimizer rule 'simplify_expressions' failed\ncaused by\n",
    ];
    while let Some(rest) = prefixes.iter().find_map(|prefix| message.strip_prefix(prefix)) {
        message = rest;
    }
    message
}

fn rules(message: &str) -> Option<SqlError> {
    let lower = message.to_lowercase();
    if lower.contains("divide by zero") || lower.contains("division by zero") {
        return Some(SqlError::new(SqlState::DIVISION_BY_ZERO, "division by zero"));
    }
    if lower.contains("memory") && lower.contains("exhausted") {
        return Some(SqlError::new(SqlState::OUT_OF_MEMORY, "out of memory").with_detail(sentence(message)));
    }
    if let Some(error) = invalid_text(message) {
        return Some(error);
    }
    if lower.contains("overflow") || lower.contains("out of range") || lower.contains("too large to store") {
        return Some(out_of_range(message));
    }
    if let Some((value, data_type)) = between(message, "Can't cast value ", " to type ") {
        let words = format!("{} out of range", type_name(data_type));
        return Some(
            SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, words).with_detail(format!("The value is {value}.")),
        );
    }
    if lower.contains("regex") || lower.contains("regular expression") {
        let words = "invalid regular expression";
        return Some(SqlError::new(SqlState::INVALID_REGULAR_EXPRESSION, words).with_detail(sentence(message)));
    }
    if lower.contains("more than one row") || lower.contains("at most one row") {
        let words = "more than one row returned by a subquery used as an expression";
        return Some(SqlError::new(SqlState::CARDINALITY_VIOLATION, words));
    }
    None
}

/// `Cannot cast string 'abc' to value of Int32 type` and its kin.
fn invalid_text(message: &str) -> Option<SqlError> {
    if let Some((value, data_type)) = between(message, "Cannot cast string '", "' to value of ") {
        return Some(invalid(value, data_type.trim_end_matches(" type")));
    }
    if let Some((value, data_type)) = between(message, "Cannot cast value '", "' to value of ") {
        return Some(invalid(value, data_type.trim_end_matches(" type")));
    }
    if let Some((value, _)) = between(message, "Error parsing timestamp from '", "'") {
        return Some(invalid(value, "Timestamp(Microsecond, None)"));
    }
    if message.contains("Invalid timezone") || message.contains("invalid timezone") {
        let zone = message.split('"').nth(1).unwrap_or_default();
        return Some(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, format!("time zone \"{zone}\" not recognized")));
    }
    if message.contains("interval") && (message.contains("Invalid input") || message.contains("Unsupported Interval")) {
        let value = message.rsplit(": ").next().unwrap_or_default().trim_matches(['"', '\'']);
        let words = format!("invalid input syntax for type interval: \"{value}\"");
        return Some(SqlError::new(SqlState::INVALID_DATETIME_FORMAT, words));
    }
    None
}

/// `22P02`, or `22007` for dates and times.
fn invalid(value: &str, data_type: &str) -> SqlError {
    let name = type_name(data_type);
    let temporal = ["date", "time", "timestamp", "interval"].iter().any(|word| name.starts_with(word));
    let state = if temporal { SqlState::INVALID_DATETIME_FORMAT } else { SqlState::INVALID_TEXT_REPRESENTATION };
    // A number that is only too large says so.
    let digits = value.trim().trim_start_matches(['-', '+']);
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if is_number && ["smallint", "integer", "bigint"].contains(&name.as_str()) {
        let words = format!("value \"{value}\" is out of range for type {name}");
        return SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, words);
    }
    // Postgres's message has the short name: `timestamp`, not `timestamp without time zone`.
    let short = name.strip_suffix(" without time zone").unwrap_or(&name);
    SqlError::new(state, format!("invalid input syntax for type {short}: \"{value}\""))
}

/// `22003`; which type overflowed is told where the message tells.
fn out_of_range(message: &str) -> SqlError {
    let words = match message {
        _ if message.contains("Decimal") || message.contains("decimal") => "numeric field overflow",
        _ if message.contains("Int16") || message.contains("i16") => "smallint out of range",
        _ if message.contains("Int64") || message.contains("i64") => "bigint out of range",
        _ if message.contains("Overflow happened on") => overflowed_integer(message),
        _ if message.contains("timestamp") || message.contains("Timestamp") => "timestamp out of range",
        _ => "value out of range",
    };
    SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, words).with_detail(sentence(message))
}

/// `Overflow happened on: 2147483647 + 1`: the operands tell the narrowest type that both fit.
fn overflowed_integer(message: &str) -> &'static str {
    let operands = message.rsplit(": ").next().unwrap_or_default();
    let widest = operands.split_whitespace().filter_map(|word| word.parse::<i128>().ok()).map(i128::abs).max();
    match widest {
        Some(value) if value <= i128::from(i32::MAX) + 1 => "integer out of range",
        _ => "bigint out of range",
    }
}

fn between<'a>(message: &'a str, start: &str, middle: &str) -> Option<(&'a str, &'a str)> {
    let (_, rest) = message.split_once(start)?;
    rest.split_once(middle)
}
