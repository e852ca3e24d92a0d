//! The limits of `varchar(n)` and `char(n)`.

use arrow::array::{Array, ArrayRef, AsArray, StringViewArray, StringViewBuilder};
use arrow::datatypes::DataType;
use datafusion::common::{DataFusionError, Result};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};
use millrace_types::{SqlError, SqlState, SqlType};
use std::sync::Arc;

/// Assigns text to a column of limited length: blanks beyond the limit are cut, other characters are refused, and
/// `char(n)` is filled up with blanks.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Length {
    name: String,
    limit: u32,
    pads: bool,
    signature: Signature,
}

impl Length {
    /// What assignment to this type does; `None` for types without a limit.
    pub fn of(sql_type: &SqlType) -> Option<Length> {
        let (limit, pads) = match sql_type {
            SqlType::Varchar(Some(limit)) => (*limit, false),
            SqlType::Bpchar(Some(limit)) => (*limit, true),
            _ => return None,
        };
        let signature = Signature::exact(vec![DataType::Utf8View], Volatility::Immutable);
        Some(Length { name: sql_type.to_string(), limit, pads, signature })
    }

    /// How many characters fit.
    pub fn limit(&self) -> u32 {
        self.limit
    }

    /// Whether shorter text is filled up.
    pub fn pads(&self) -> bool {
        self.pads
    }

    fn apply(&self, values: &StringViewArray) -> Result<ArrayRef> {
        let limit = self.limit as usize;
        // Bytes are at least characters: most columns pass without counting.
        if !self.pads && values.iter().flatten().all(|value| value.len() <= limit) {
            return Ok(Arc::new(values.clone()));
        }
        let mut fitted = StringViewBuilder::with_capacity(values.len());
        for value in values.iter() {
            match value {
                Some(value) => fitted.append_value(self.fit(value)?),
                None => fitted.append_null(),
            }
        }
        Ok(Arc::new(fitted.finish()))
    }

    fn fit(&self, value: &str) -> Result<String> {
        let limit = self.limit as usize;
        let (kept, beyond) = match value.char_indices().nth(limit) {
            Some((byte, _)) => value.split_at(byte),
            None => (value, ""),
        };
        if beyond.chars().any(|character| character != ' ') {
            let message = format!("value too long for type {}", self.name);
            let error = SqlError::new(SqlState::STRING_DATA_RIGHT_TRUNCATION, message);
            return Err(DataFusionError::External(Box::new(error)));
        }
        let missing = if self.pads { limit - kept.chars().count() } else { 0 };
        Ok(format!("{kept}{:missing$}", ""))
    }
}

impl ScalarUDFImpl for Length {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8View)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        self.apply(arrays[0].as_string_view()).map(ColumnarValue::Array)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fit(sql_type: SqlType, value: &str) -> std::result::Result<String, String> {
        let length = Length::of(&sql_type).expect("a limited type");
        let fitted = length.apply(&StringViewArray::from(vec![Some(value)])).map_err(crate::sql_error);
        fitted.map(|array| array.as_string_view().value(0).to_owned()).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn characters_count_and_blanks_are_cut() {
        assert_eq!(fit(SqlType::Varchar(Some(3)), "äöü"), Ok("äöü".to_owned()));
        assert_eq!(fit(SqlType::Varchar(Some(3)), "abc  "), Ok("abc".to_owned()));
        assert_eq!(fit(SqlType::Bpchar(Some(4)), "ab"), Ok("ab  ".to_owned()));
        let refused = Err("value too long for type character varying(3)".to_owned());
        assert_eq!(fit(SqlType::Varchar(Some(3)), "abcd"), refused);
    }
}
