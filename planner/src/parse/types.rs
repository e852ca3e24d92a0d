//! Type names.

use millrace_types::{Result, SqlType};
use sqlparser::ast::DataType;

pub use millrace_functions::sql_type;

/// A type as it is written in a cast.
///
/// # Errors
/// None in fact: every type's name parses.
pub fn syntax_of_type(sql_type: &SqlType) -> Result<DataType> {
    // The names of types do not say how many dimensions there are.
    let mut text = sql_type.to_string();
    let mut inner = sql_type;
    while let SqlType::Array(element) = inner {
        inner = element;
        text.push_str(if matches!(inner, SqlType::Array(_)) { "[]" } else { "" });
    }
    let mut cursor = super::cursor::Cursor::new(&text)?;
    cursor.parser.parse_data_type().map_err(|error| super::Failure::from(error).into_sql_error(&text))
}
