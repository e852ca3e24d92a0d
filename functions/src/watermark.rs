//! `current_watermark(ts)`: how far time had come in a row's split before the row.
//!
//! The row alone does not tell: planning puts a hidden column of the source in the place of the call.

use crate::error::carried;
use crate::generic::no_such_function;
use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use datafusion::common::Result;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use millrace_types::SqlError;
use std::sync::Arc;

/// The name of the function.
pub const CURRENT_WATERMARK: &str = "current_watermark";

/// The function alone.
pub fn functions() -> Vec<ScalarUDF> {
    vec![ScalarUDF::from(CurrentWatermark { signature: Signature::any(1, Volatility::Volatile) })]
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct CurrentWatermark {
    signature: Signature,
}

impl ScalarUDFImpl for CurrentWatermark {
    fn name(&self) -> &str {
        CURRENT_WATERMARK
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        Ok(arguments.first().cloned().unwrap_or(DataType::Null))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        match args.arg_fields {
            [time] if matches!(time.data_type(), DataType::Timestamp(TimeUnit::Microsecond, _)) => {
                Ok(Arc::new(Field::new(CURRENT_WATERMARK, time.data_type().clone(), true)))
            }
            fields => Err(carried(no_such_function(CURRENT_WATERMARK, fields))),
        }
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Err(carried(SqlError::unsupported("CURRENT_WATERMARK in this place")))
    }
}
