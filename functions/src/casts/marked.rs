//! Values whose type an expression of DataFusion's does not tell: the same values, said to be of their type.

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::Result;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use std::sync::Arc;

/// The function that gives its argument as a value of a type.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Marked {
    field: FieldRef,
    signature: Signature,
}

/// An expression as one of a field's type, whose values are held alike.
pub fn marked(expr: Expr, field: &FieldRef) -> Expr {
    let field = Arc::new(field.as_ref().clone().with_name("").with_nullable(true));
    let function = ScalarUDF::from(Marked { field, signature: Signature::any(1, Volatility::Immutable) });
    crate::operators::call(Arc::new(function), vec![expr])
}

/// Whether an expression is one already.
pub fn is_marked(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarFunction(function) if function.func.inner().is::<Marked>())
}

impl ScalarUDFImpl for Marked {
    fn name(&self) -> &str {
        "marked"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.field.data_type().clone())
    }

    fn return_field_from_args(&self, _: ReturnFieldArgs) -> Result<FieldRef> {
        Ok(self.field.clone())
    }

    fn invoke_with_args(&self, mut args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match args.args.pop() {
            Some(value) => Ok(value),
            None => datafusion::common::exec_err!("marked() has one argument"),
        }
    }
}
