//! The way of an error through DataFusion and Arrow and back: wrapped as External, found again at the root.

use arrow::error::ArrowError;
use datafusion::common::DataFusionError;
use millrace_types::{SqlError, SqlState};

/// Wraps an error for DataFusion to carry.
pub fn carried(error: SqlError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// The error that a client sees for an error of DataFusion: ours when there is one inside, else the nearest state.
pub fn sql_error_of(error: DataFusionError) -> SqlError {
    match error {
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => sql_error_of(*inner),
        DataFusionError::External(inner) => match inner.downcast::<SqlError>() {
            Ok(ours) => *ours,
            Err(inner) => match inner.downcast::<DataFusionError>() {
                Ok(nested) => sql_error_of(*nested),
                Err(inner) => match inner.downcast::<ArrowError>() {
                    Ok(nested) => SqlError::from(*nested),
                    Err(other) => SqlError::internal(other.to_string()),
                },
            },
        },
        DataFusionError::ArrowError(inner, _) => match *inner {
            ArrowError::ExternalError(source) => sql_error_of(DataFusionError::External(source)),
            other => SqlError::from(other),
        },
        DataFusionError::Shared(inner) => shared(&inner),
        DataFusionError::Collection(mut errors) if !errors.is_empty() => sql_error_of(errors.swap_remove(0)),
        DataFusionError::NotImplemented(what) => SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, first_line(&what)),
        DataFusionError::Plan(what) => SqlError::new(plan_state(&what), first_line(&what)),
        DataFusionError::SchemaError(what, _) => {
            let message = what.to_string();
            let state = match message.starts_with("Ambiguous") {
                true => SqlState::AMBIGUOUS_COLUMN,
                false => SqlState::UNDEFINED_COLUMN,
            };
            SqlError::new(state, first_line(&message))
        }
        DataFusionError::SQL(what, _) => SqlError::new(SqlState::SYNTAX_ERROR, first_line(&what.to_string())),
        DataFusionError::ResourcesExhausted(what) => SqlError::new(SqlState::OUT_OF_MEMORY, first_line(&what)),
        other => SqlError::internal(first_line(&other.to_string())),
    }
}

/// An error that several readers share cannot be taken apart: its root is cloned when it is ours.
fn shared(error: &DataFusionError) -> SqlError {
    match error.find_root() {
        DataFusionError::External(inner) => match inner.downcast_ref::<SqlError>() {
            Some(ours) => ours.clone(),
            None => SqlError::internal(inner.to_string()),
        },
        DataFusionError::ArrowError(inner, _) => match inner.as_ref() {
            ArrowError::ExternalError(source) => match source.downcast_ref::<SqlError>() {
                Some(ours) => ours.clone(),
                None => SqlError::internal(source.to_string()),
            },
            ArrowError::DivideByZero => SqlError::from(ArrowError::DivideByZero),
            other => SqlError::internal(other.to_string()),
        },
        other => SqlError::internal(first_line(&other.to_string())),
    }
}

/// DataFusion tells an unknown function and a mistyped call by their words alone.
fn plan_state(message: &str) -> SqlState {
    let mismatched =
        ["'coalesce' user-defined", "'greatest' user-defined", "'least' user-defined", "'make_array' user-defined"];
    if mismatched.iter().any(|words| message.contains(words)) {
        return SqlState::DATATYPE_MISMATCH;
    }
    let unknown = [
        "Invalid function",
        "does not exist",
        "No function matches",
        "Error during planning: Function",
        "Cannot infer common argument type for comparison",
        "Can not find compatible types to compare",
    ];
    match unknown.iter().any(|words| message.contains(words)) {
        true => SqlState::UNDEFINED_FUNCTION,
        false => SqlState::DATATYPE_MISMATCH,
    }
}

fn first_line(message: &str) -> String {
    message.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_error_survives_every_wrapping() {
        let ours = SqlError::new(SqlState::DIVISION_BY_ZERO, "division by zero");
        let arrow = ArrowError::ExternalError(Box::new(carried(ours.clone())));
        let wrapped = DataFusionError::from(arrow).context("while evaluating");
        assert_eq!(sql_error_of(wrapped), ours);
        let shared = DataFusionError::Shared(std::sync::Arc::new(carried(ours.clone())));
        assert_eq!(sql_error_of(shared), ours);
    }
}
