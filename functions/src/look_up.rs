//! What marks a look-up join: `JOIN d FOR SYSTEM_TIME AS OF PROCTIME()`.
//!
//! Ad hoc it is a join. In a view it is another operator, which is told by a term of its condition: a call that is true of
//! all pairs and holds a column of either side, so that it stays where it is.

use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// The name of the function. No identifier of a user holds it.
pub const AS_OF_NOW: &str = "\u{1}as_of_now";

/// The function alone.
pub fn functions() -> Vec<ScalarUDF> {
    vec![ScalarUDF::from(AsOfNow { signature: Signature::any(2, Volatility::Immutable) })]
}

/// Whether an expression is such a call.
pub fn is_as_of_now(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarFunction(call) if call.func.inner().is::<AsOfNow>())
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct AsOfNow {
    signature: Signature,
}

impl ScalarUDFImpl for AsOfNow {
    fn name(&self) -> &str {
        AS_OF_NOW
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Ok(ColumnarValue::Scalar(ScalarValue::Boolean(Some(true))))
    }
}
