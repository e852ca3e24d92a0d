//! Text and binary values of Postgres to Arrow arrays.
//!
//! [`parse_text`] reads columns of text: parameters have one row, COPY has many. The binary format comes only from
//! parameters.

mod array;
mod binary;
mod calendar;
mod datetime;
mod interval;
mod json;
mod numeric;
mod text;

use crate::encoding;
use crate::format::TextFormat;
use crate::portal::Format;
use arrow::array::ArrayRef;
use bytes::Bytes;
use millrace_types::{Result, SqlError, SqlState, SqlType};

pub use text::parse_text;

/// A value that could not be read, and the row that it is in, from 0.
#[derive(Clone, Debug, PartialEq)]
pub struct RowError {
    /// The row, counted from 0.
    pub row: usize,
    /// What is wrong with its value.
    pub error: SqlError,
}

/// The values of a Bind message: one array of one row for each.
pub(crate) fn decode_parameters(
    types: &[SqlType],
    formats: &[Format],
    values: &[Option<Bytes>],
    text_format: &TextFormat,
) -> Result<Vec<ArrayRef>> {
    let parameters = types.iter().zip(formats).zip(values).enumerate();
    parameters
        .map(|(number, ((sql_type, format), value))| {
            let value = value.as_deref();
            match format {
                Format::Text => {
                    let text = value.map(encoding::text).transpose()?;
                    parse_text(sql_type, &[text], text_format).map_err(|failed| failed.error)
                }
                Format::Binary => binary::decode(sql_type, &[value]).map_err(|failed| failed.in_parameter(number + 1)),
            }
        })
        .collect()
}

/// `22009`
const INVALID_TIME_ZONE_DISPLACEMENT: SqlState = SqlState("22009");

/// `22015`
const INTERVAL_FIELD_OVERFLOW: SqlState = SqlState("22015");

/// `invalid input syntax for type ...`
fn invalid_syntax(sql_type: &SqlType, text: &str) -> SqlError {
    let state = match sql_type {
        SqlType::Date | SqlType::Time | SqlType::Timestamp | SqlType::Timestamptz | SqlType::Interval => {
            SqlState::INVALID_DATETIME_FORMAT
        }
        _ => SqlState::INVALID_TEXT_REPRESENTATION,
    };
    let name = match sql_type {
        SqlType::Numeric(_) => "numeric".to_owned(),
        // What the parsers of dates call themselves in Postgres.
        SqlType::Time => "time".to_owned(),
        SqlType::Timestamp => "timestamp".to_owned(),
        other => other.to_string(),
    };
    SqlError::new(state, format!("invalid input syntax for type {name}: \"{text}\""))
}

#[cfg(test)]
mod tests;
