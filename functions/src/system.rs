//! Functions about values in general: their types, their NULLs.

use crate::function::{Call, Overload, immutable, is_null};
use arrow::array::{ArrayRef, Int32Array};
use arrow::datatypes::DataType;
use datafusion::logical_expr::ScalarUDF;
use millrace_types::{Result, SqlType, sql_type_of};
use std::sync::Arc;

/// The functions of this family.
pub fn functions() -> Vec<ScalarUDF> {
    let any = &[SqlType::Unknown];
    vec![
        immutable(
            "pg_typeof",
            &[],
            vec![Overload::new(any, SqlType::Text, |call| {
                let name = match sql_type_of(&call.fields[0]) {
                    SqlType::Numeric(_) => "numeric".to_owned(),
                    SqlType::Varchar(_) => "character varying".to_owned(),
                    SqlType::Bpchar(_) => "character".to_owned(),
                    other => other.to_string(),
                };
                Ok(Arc::new(arrow::array::StringViewArray::from_iter_values(std::iter::repeat_n(name, call.rows))))
            })],
        ),
        immutable(
            "to_flag",
            &[],
            vec![Overload::new(&[SqlType::Bool], SqlType::Int2, |call| {
                Ok(arrow::compute::cast(&call.arrays[0], &DataType::Int16)?)
            })],
        ),
        immutable(
            "from_flag",
            &[],
            vec![Overload::new(&[SqlType::Int2], SqlType::Bool, |call| {
                Ok(arrow::compute::cast(&call.arrays[0], &DataType::Boolean)?)
            })],
        ),
        immutable("num_nulls", &[], vec![Overload::variadic(any, SqlType::Int4, |call| counted(call, true))]),
        immutable("num_nonnulls", &[], vec![Overload::variadic(any, SqlType::Int4, |call| counted(call, false))]),
    ]
}

fn counted(call: &Call, nulls: bool) -> Result<ArrayRef> {
    let of_row = |row| call.arrays.iter().filter(|array| is_null(array, row) == nulls).count() as i32;
    Ok(Arc::new((0..call.rows).map(of_row).collect::<Int32Array>()))
}
