//! Type names.

use millrace_types::{Result, SqlType};
use sqlparser::ast::DataType;

pub use millrace_functions::sql_type;

/// A type as it is written in a cast.
///
/// # Errors
/// None in fact: every type's name parses.
pub fn syntax_of_type(sql_type: &SqlType) -> Result<DataType> {
    let text = sql_type.to_string();
    let mut cursor = super::cursor::Cursor::new(&text)?;
    cursor.parser.parse_data_type().map_err(|error| super::Failure::from(error).into_sql_error(&text))
}
