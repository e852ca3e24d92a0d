//! jsonb as numbers and booleans.

use super::{Purpose, cannot_cast, cast};
use crate::json::{self, Json};
use arrow::array::timezone::Tz;
use arrow::array::{Array, ArrayRef, StringViewArray, StringViewBuilder};
use arrow::datatypes::Field;
use millrace_types::{Result, SqlError, SqlState, SqlType, field_of, sql_type_of};
use std::sync::Arc;

/// Values that are a number or a boolean as such; numbers are rounded as numeric is.
pub fn parsed(texts: &StringViewArray, to: &Field, purpose: Purpose, zone: &Tz) -> Result<ArrayRef> {
    let target = sql_type_of(to);
    let through = match target {
        SqlType::Bool => SqlType::Bool,
        SqlType::Float4 | SqlType::Float8 => SqlType::Float8,
        SqlType::Int2 | SqlType::Int4 | SqlType::Int8 | SqlType::Numeric(_) => SqlType::Numeric(None),
        _ => return Err(cannot_cast(&SqlType::Jsonb, &target)),
    };
    let mut values = StringViewBuilder::with_capacity(texts.len());
    for text in texts {
        values.append_option(match text.map(json::parse).transpose()? {
            None => None,
            Some(Json::Bool(value)) if through == SqlType::Bool => Some(value.to_string()),
            Some(Json::Number(number)) if through != SqlType::Bool => Some(number),
            Some(other) => {
                let name = match (&target, other.type_name()) {
                    (SqlType::Numeric(_), kind) => format!("cannot cast jsonb {kind} to type numeric"),
                    (target, "array" | "object") => format!("cannot cast jsonb array or object to type {target}")
                        .replace("array or object", other.type_name()),
                    (target, "number") => format!("cannot cast jsonb numeric to type {target}"),
                    (target, kind) => format!("cannot cast jsonb {kind} to type {target}"),
                };
                return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, name));
            }
        });
    }
    let values: ArrayRef = Arc::new(values.finish());
    let text = field_of("", &SqlType::Text, true);
    let exact = matches!(target, SqlType::Numeric(_) | SqlType::Bool | SqlType::Float8);
    if exact {
        return cast(&values, &text, to, purpose, zone);
    }
    let middle = field_of("", &through, true);
    cast(&cast(&values, &text, &middle, purpose, zone)?, &middle, to, purpose, zone)
}
