//! What the planner makes of subqueries in expressions.

use crate::error::carried;
use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type};
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use millrace_types::{SqlError, SqlState};
use std::sync::Arc;

/// The name of the function that stands for `ARRAY(SELECT ...)` until the subquery is a join.
pub const ARRAY_SUBQUERY: &str = "array_subquery";

/// The functions of this family.
pub fn functions() -> Vec<ScalarUDF> {
    vec![ScalarUDF::from(ArraySubquery { signature: Signature::any(1, Volatility::Immutable) })]
}

/// The function that gives its first argument, the value of a subquery, and fails where its second, the number of the
/// subquery's rows, is more than one. Its result is `field`.
pub fn single_value(field: FieldRef) -> ScalarUDF {
    let field = Arc::new(field.as_ref().clone().with_nullable(true));
    ScalarUDF::from(SingleValue { field, signature: Signature::any(2, Volatility::Immutable) })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct SingleValue {
    field: FieldRef,
    signature: Signature,
}

impl ScalarUDFImpl for SingleValue {
    fn name(&self) -> &str {
        "single_value"
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

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [value, rows] = args.args.as_slice() else {
            return Err(DataFusionError::Internal("single_value takes two arguments".to_owned()));
        };
        let several = match rows {
            ColumnarValue::Scalar(ScalarValue::Int64(rows)) => rows.is_some_and(|rows| rows > 1),
            rows => {
                let rows = rows.to_array(args.number_rows)?;
                let rows = rows.as_primitive::<Int64Type>();
                (0..rows.len()).any(|row| rows.is_valid(row) && rows.value(row) > 1)
            }
        };
        match several {
            false => Ok(value.clone()),
            true => {
                let message = "more than one row returned by a subquery used as an expression";
                Err(carried(SqlError::new(SqlState::CARDINALITY_VIOLATION, message)))
            }
        }
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ArraySubquery {
    signature: Signature,
}

impl ScalarUDFImpl for ArraySubquery {
    fn name(&self) -> &str {
        ARRAY_SUBQUERY
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        let element = types.first().cloned().unwrap_or(DataType::Null);
        Ok(DataType::List(Arc::new(Field::new_list_field(element, true))))
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Err(carried(SqlError::unsupported("ARRAY(SELECT ...) in this place")))
    }
}
