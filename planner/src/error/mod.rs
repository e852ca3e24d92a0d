//! DataFusion's errors in Postgres's words.

mod plan;
mod values;

pub(crate) use plan::undefined_function;

use datafusion::common::{Column, DataFusionError, Diagnostic, SchemaError};
use millrace_types::{SqlError, SqlState};

/// The error that a client sees for one of DataFusion's, from planning or from execution.
pub fn sql_error(error: DataFusionError) -> SqlError {
    match error {
        DataFusionError::Diagnostic(diagnostic, inner) => located(*diagnostic, sql_error(*inner)),
        DataFusionError::Context(_, inner) => sql_error(*inner),
        DataFusionError::Collection(errors) => match errors.into_iter().next() {
            Some(first) => sql_error(first),
            None => SqlError::internal("an empty list of errors"),
        },
        DataFusionError::Shared(shared) => from_reference(&shared),
        DataFusionError::External(inner) => match inner.downcast::<SqlError>() {
            Ok(ours) => *ours,
            Err(other) => match other.downcast::<DataFusionError>() {
                Ok(nested) => sql_error(*nested),
                Err(other) => values::from_text(&other.to_string()),
            },
        },
        DataFusionError::ArrowError(error, _) => values::from_arrow(*error),
        DataFusionError::SchemaError(error, _) => schema(&error),
        DataFusionError::Plan(message) => plan::from_text(&message),
        DataFusionError::NotImplemented(message) => SqlError::unsupported(plan::construct(&message)),
        DataFusionError::SQL(error, _) => SqlError::new(SqlState::SYNTAX_ERROR, error.to_string()),
        DataFusionError::Execution(message) => values::from_text(&message),
        DataFusionError::ResourcesExhausted(message) => {
            SqlError::new(SqlState::OUT_OF_MEMORY, "out of memory").with_detail(plan::sentence(&message))
        }
        DataFusionError::IoError(error) => SqlError::from(error),
        DataFusionError::Internal(message) => plan::from_text(&message),
        other => values::from_text(&other.strip_backtrace()),
    }
}

/// An error behind a shared pointer cannot be taken apart; what can be is told from a copy of its parts.
fn from_reference(error: &DataFusionError) -> SqlError {
    match error {
        DataFusionError::External(inner) => match inner.downcast_ref::<SqlError>() {
            Some(ours) => ours.clone(),
            None => values::from_text(&inner.to_string()),
        },
        DataFusionError::Shared(inner) => from_reference(inner),
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => from_reference(inner),
        DataFusionError::SchemaError(inner, _) => schema(inner),
        DataFusionError::ArrowError(inner, _) => match inner.as_ref() {
            arrow::error::ArrowError::ExternalError(inner) => match inner.downcast_ref::<SqlError>() {
                Some(ours) => ours.clone(),
                None => values::from_text(&inner.to_string()),
            },
            other => values::from_text(&other.to_string()),
        },
        DataFusionError::Plan(message) => plan::from_text(message),
        other => values::from_text(&other.strip_backtrace()),
    }
}

/// Spans hold character positions as columns: see `parse/tokens.rs`.
fn located(diagnostic: Diagnostic, error: SqlError) -> SqlError {
    match diagnostic.span {
        Some(span) if error.position().is_none() && span.start.column > 0 => error.at(span.start.column as usize),
        _ => error,
    }
}

fn schema(error: &SchemaError) -> SqlError {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => column_not_found(field, valid_fields),
        SchemaError::AmbiguousReference { field } => {
            let message = format!("column reference \"{}\" is ambiguous", plain(&field.name));
            at_column(SqlError::new(SqlState::AMBIGUOUS_COLUMN, message), field)
        }
        SchemaError::DuplicateQualifiedField { name, qualifier } => {
            let message = format!("table name \"{}\" specified more than once", qualifier.table());
            SqlError::new(SqlState::DUPLICATE_ALIAS, message)
                .with_detail(format!("Column \"{}\" would be there twice.", plain(name)))
        }
        SchemaError::DuplicateUnqualifiedField { name } => {
            let message = format!("column reference \"{}\" is ambiguous", plain(name));
            SqlError::new(SqlState::AMBIGUOUS_COLUMN, message)
        }
    }
}

fn at_column(error: SqlError, column: &Column) -> SqlError {
    match column.spans.first() {
        Some(span) if span.start.column > 0 => error.at(span.start.column as usize),
        _ => error,
    }
}

fn column_not_found(field: &Column, valid: &[Column]) -> SqlError {
    let error = match &field.relation {
        Some(relation) if !valid.iter().any(|column| column.relation.as_ref() == Some(relation)) => {
            let message = format!("missing FROM-clause entry for table \"{}\"", relation.table());
            SqlError::new(SqlState::UNDEFINED_TABLE, message)
        }
        Some(relation) => {
            let message = format!("column {}.{} does not exist", relation.table(), field.name);
            SqlError::new(SqlState::UNDEFINED_COLUMN, message)
        }
        None => SqlError::new(SqlState::UNDEFINED_COLUMN, format!("column \"{}\" does not exist", field.name)),
    };
    let error = at_column(error, field);
    let similar = valid
        .iter()
        .map(|column| (distance(&column.name, &field.name), column))
        .filter(|(distance, column)| *distance <= column.name.len().div_ceil(3))
        .min_by_key(|(distance, _)| *distance);
    match similar {
        Some((_, column)) => {
            let name = match &column.relation {
                Some(relation) => format!("{}.{}", relation.table(), plain(&column.name)),
                None => plain(&column.name).to_owned(),
            };
            error.with_hint(format!("Perhaps you meant to reference the column \"{name}\"."))
        }
        None => error,
    }
}

/// A column's name without what keeps it apart from others of the same name: see `bind/names.rs`.
fn plain(name: &str) -> &str {
    crate::bind::plain_name(name)
}

/// How many letters must be added, taken away or changed to make one name of the other.
pub(crate) fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.iter().enumerate() {
            let change = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
