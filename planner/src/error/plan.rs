//! Planning errors, which DataFusion words as text.

use millrace_types::{SqlError, SqlState, SqlType};

/// The error behind a planning message.
pub fn from_text(message: &str) -> SqlError {
    let message = message.split("\n\nbacktrace:").next().unwrap_or(message);
    let message = message.trim_start_matches("Error during planning: ");
    rules(message).unwrap_or_else(|| SqlError::new(SqlState::SYNTAX_ERROR, lowercase(message)))
}

fn rules(message: &str) -> Option<SqlError> {
    if let Some(rest) = after(message, "must be in GROUP BY or an aggregate function") {
        let column = quoted(rest, '"')?.replace('"', "");
        let message =
            format!("column \"{column}\" must appear in the GROUP BY clause or be used in an aggregate function");
        return Some(SqlError::new(SqlState::GROUPING_ERROR, message));
    }
    if message.contains("HAVING clause references") {
        let column = message.split("references: ").nth(1)?.split(" must appear").next()?;
        let message =
            format!("column \"{column}\" must appear in the GROUP BY clause or be used in an aggregate function");
        return Some(SqlError::new(SqlState::GROUPING_ERROR, message));
    }
    if message.starts_with("for SELECT DISTINCT, ORDER BY expressions")
        || message.contains("For SELECT DISTINCT, ORDER BY")
    {
        let words = "for SELECT DISTINCT, ORDER BY expressions must appear in select list";
        return Some(SqlError::new(SqlState::INVALID_COLUMN_REFERENCE, words));
    }
    if message.contains("DISTINCT ON expressions must match initial ORDER BY expressions") {
        let words = "SELECT DISTINCT ON expressions must match initial ORDER BY expressions";
        return Some(SqlError::new(SqlState::INVALID_COLUMN_REFERENCE, words));
    }
    if message.contains("indow function calls cannot be nested") {
        return Some(SqlError::new(SqlState::WINDOWING_ERROR, "window function calls cannot be nested"));
    }
    if message.contains("to grouping function is not in grouping columns") {
        let words = "arguments to GROUPING must be grouping expressions of the associated query level";
        return Some(SqlError::new(SqlState::GROUPING_ERROR, words));
    }
    if message.contains("cannot be nested") {
        return Some(SqlError::new(SqlState::GROUPING_ERROR, "aggregate function calls cannot be nested"));
    }
    if message.contains("subquery should only return one column") || message.contains("only return one column") {
        return Some(SqlError::new(SqlState::SYNTAX_ERROR, "subquery must return only one column"));
    }
    if let Some(rest) = after(message, "Cannot find column with position ") {
        let position = rest.split(' ').next()?;
        let words = format!("GROUP BY position {position} is not in select list");
        return Some(SqlError::new(SqlState::INVALID_COLUMN_REFERENCE, words));
    }
    if let Some(rest) = after(message, "Order by column out of bounds, specified: ") {
        let position = rest.split(',').next()?;
        let words = format!("ORDER BY position {position} is not in select list");
        return Some(SqlError::new(SqlState::INVALID_COLUMN_REFERENCE, words));
    }
    if message.contains("LIMIT must be >= 0") {
        return Some(SqlError::new(SqlState::INVALID_ROW_COUNT_IN_LIMIT_CLAUSE, "LIMIT must not be negative"));
    }
    if message.contains("OFFSET must be >=0") {
        return Some(SqlError::new(SqlState::INVALID_ROW_COUNT_IN_OFFSET_CLAUSE, "OFFSET must not be negative"));
    }
    if message.contains("Aggregate functions are not allowed")
        || message.contains("aggregate functions are not allowed")
    {
        return Some(SqlError::new(SqlState::GROUPING_ERROR, "aggregate functions are not allowed here"));
    }
    if let Some(rest) = after(message, "Invalid function '") {
        let name = rest.split('\'').next()?;
        return Some(undefined_function(name, "..."));
    }
    if let Some(rest) = after(message, "table function '") {
        return Some(undefined_function(rest.split('\'').next()?, "..."));
    }
    if let Some(rest) = after(message, "common argument type for logical boolean operation ") {
        return Some(not_boolean_operand(rest));
    }
    if let Some(rest) = after(message, "requires a boolean expression, got ") {
        let words = format!("argument of NOT must be type boolean, not type {}", type_name(rest));
        return Some(SqlError::new(SqlState::DATATYPE_MISMATCH, words));
    }
    if message.contains("nary operator '-' only supports") {
        return Some(no_operator("-", &["unknown".to_owned()]));
    }
    if let Some(rest) = after(message, "nvalid qualifier ") {
        let words = format!("missing FROM-clause entry for table \"{}\"", rest.trim_end_matches('.'));
        return Some(SqlError::new(SqlState::UNDEFINED_TABLE, words));
    }
    if message.starts_with("WITH query name") && message.ends_with("specified more than once") {
        return Some(SqlError::new(SqlState::DUPLICATE_ALIAS, lowercase(message)));
    }
    if message.contains("Cannot infer common argument type") || message.contains("Cannot coerce arithmetic expression")
    {
        return operator(message);
    }
    if let Some(rest) = after(message, "No function matches the given name and argument types '") {
        return Some(no_function(rest.split('\'').next()?));
    }
    if let Some(rest) = after(message, "Failed to coerce arguments to satisfy a call to '") {
        return Some(undefined_function(rest.split('\'').next()?, "..."));
    }
    if message.contains("ncompatible inputs for Union")
        || message.contains("is not compatible with")
        || message.contains("queries have different number of columns")
        || message.contains("UNION") && message.contains("number of columns")
    {
        return set_operation(message);
    }
    if message.contains("IN list") || message.contains("CASE") && message.contains("coerce") {
        return Some(SqlError::new(SqlState::DATATYPE_MISMATCH, lowercase(message)));
    }
    if message.contains("Cannot create filter with non-boolean predicate") {
        return Some(not_boolean(message));
    }
    if message.contains("Unsupported CAST") || message.contains("Cannot cast") {
        return Some(cast(message));
    }
    if message.contains("Projections require unique expression names") {
        return Some(SqlError::new(SqlState::DUPLICATE_COLUMN, "a column is selected more than once"));
    }
    if message.contains("column alias") && message.contains("columns but only") {
        return Some(SqlError::new(SqlState::INVALID_COLUMN_REFERENCE, lowercase(message)));
    }
    None
}

fn not_boolean(message: &str) -> SqlError {
    let data_type = message.rsplit("returning ").next().unwrap_or("").trim();
    let words = format!("argument of WHERE must be type boolean, not type {}", type_name(data_type));
    SqlError::new(SqlState::DATATYPE_MISMATCH, words)
}

/// `Int32 AND Boolean`
fn not_boolean_operand(operation: &str) -> SqlError {
    let words: Vec<&str> = operation.split_whitespace().collect();
    let place = words.iter().position(|word| ["AND", "OR"].contains(word)).unwrap_or_default();
    let symbol = words.get(place).copied().unwrap_or("AND");
    let operands = [words[..place].join(" "), words.get(place + 1..).unwrap_or_default().join(" ")];
    let other = operands.iter().find(|operand| *operand != "Boolean").map_or("unknown".to_owned(), |t| type_name(t));
    let message = format!("argument of {symbol} must be type boolean, not type {other}");
    SqlError::new(SqlState::DATATYPE_MISMATCH, message)
}

fn set_operation(message: &str) -> Option<SqlError> {
    if let Some((_, rest)) = message.split_once("Previous inputs were of type ") {
        let (left, rest) = rest.split_once(", but got incompatible type ")?;
        let right = rest.split(" on column").next()?;
        let words = format!("UNION types {} and {} cannot be matched", type_name(left), type_name(right));
        return Some(SqlError::new(SqlState::DATATYPE_MISMATCH, words));
    }
    let same = message.contains("number of columns");
    let (state, words) = match same {
        true => {
            let operation = ["INTERSECT", "EXCEPT"].into_iter().find(|operation| message.starts_with(operation));
            let operation = operation.unwrap_or("UNION");
            (SqlState::SYNTAX_ERROR, format!("each {operation} query must have the same number of columns"))
        }
        false => (SqlState::DATATYPE_MISMATCH, lowercase(message)),
    };
    Some(SqlError::new(state, words))
}

fn cast(message: &str) -> SqlError {
    // `Unsupported CAST from X to Y`
    let types = message.split("from ").nth(1).and_then(|rest| rest.split_once(" to "));
    match types {
        Some((from, to)) => {
            let words = format!("cannot cast type {} to {}", type_name(from), type_name(to));
            SqlError::new(SqlState::CANNOT_COERCE, words)
        }
        None => SqlError::new(SqlState::CANNOT_COERCE, lowercase(message)),
    }
}

/// `Cannot infer common argument type for comparison operation Int64 = Boolean`
fn operator(message: &str) -> Option<SqlError> {
    let rest = message.split("operation ").nth(1).or_else(|| message.split("expression ").nth(1))?;
    let words: Vec<_> = rest.split_whitespace().collect();
    let symbol = words.iter().position(|word| word.chars().all(|c| !c.is_alphanumeric() && c != '"'))?;
    let left = type_name(&words[..symbol].join(" "));
    let right = type_name(words[symbol + 1..].join(" ").trim_end_matches(" to valid types"));
    Some(no_operator(words[symbol], &[left, right]))
}

/// `f(Int64, Utf8)` as DataFusion writes a call that fits no signature.
fn no_function(call: &str) -> SqlError {
    match call.split_once('(') {
        Some((symbol, arguments)) if !symbol.chars().any(|c| c.is_alphanumeric() || c == '_') => {
            let types: Vec<_> = arguments.trim_end_matches(')').split(", ").map(type_name).collect();
            no_operator(symbol, &types)
        }
        Some((name, arguments)) => {
            let types: Vec<_> = arguments.trim_end_matches(')').split(", ").map(type_name).collect();
            undefined_function(name, &types.join(", "))
        }
        None => undefined_function(call, ""),
    }
}

/// `42883`: no such operator.
fn no_operator(symbol: &str, operands: &[String]) -> SqlError {
    let written = match operands {
        [left, right] => format!("{left} {symbol} {right}"),
        others => format!("{symbol} {}", others.join(", ")),
    };
    SqlError::new(SqlState::UNDEFINED_FUNCTION, format!("operator does not exist: {written}"))
        .with_hint("No operator matches the given name and argument types. You might need to add explicit type casts.")
}

/// `42883`: no such function.
pub fn undefined_function(name: &str, arguments: &str) -> SqlError {
    let message = format!("function {name}({arguments}) does not exist");
    SqlError::new(SqlState::UNDEFINED_FUNCTION, message)
        .with_hint("No function matches the given name and argument types. You might need to add explicit type casts.")
}

/// Postgres's name of a type that stands in Arrow's words in a message.
pub fn type_name(arrow: &str) -> String {
    let arrow = arrow.trim().trim_end_matches('.').trim_matches('"');
    match arrow.parse::<arrow::datatypes::DataType>() {
        Ok(data_type) => SqlType::from_arrow(&data_type).to_string(),
        Err(_) => match arrow {
            "Utf8View" | "String" => "text".to_owned(),
            other => other.to_lowercase(),
        },
    }
}

/// What a "not implemented" message is about.
pub fn construct(message: &str) -> String {
    let message = message.split("\n\nbacktrace:").next().unwrap_or(message);
    let message = message.trim_start_matches("This feature is not implemented: ");
    let message = message.split(" in sqltorel").next().unwrap_or(message);
    let message: String = message.chars().take(200).collect();
    for ending in
        [" is not supported yet", " is not implemented yet", " not supported", " is not supported", " not implemented"]
    {
        if let Some(what) = message.strip_suffix(ending) {
            return what.to_owned();
        }
    }
    message
}

/// A text as a DETAIL sentence.
pub fn sentence(message: &str) -> String {
    let message = message.trim().trim_end_matches('.');
    let mut characters = message.chars();
    characters.next().map_or(String::new(), |first| format!("{}{}.", first.to_uppercase(), characters.as_str()))
}

fn lowercase(message: &str) -> String {
    let message = message.trim().trim_end_matches('.');
    let mut characters = message.chars();
    match (characters.next(), characters.clone().next()) {
        (Some(first), Some(second)) if second.is_lowercase() => {
            format!("{}{}", first.to_lowercase(), characters.as_str())
        }
        _ => message.to_owned(),
    }
}

fn after<'a>(message: &'a str, words: &str) -> Option<&'a str> {
    message.split_once(words).map(|(_, rest)| rest)
}

fn quoted(text: &str, quote: char) -> Option<&str> {
    let start = text.find(quote)? + 1;
    let end = text[start..].find("\" must").or_else(|| text[start..].find(quote))? + start;
    Some(&text[start..end])
}
