//! Functions about values in general: their types, their NULLs.

use crate::function::{Call, Overload, immutable, is_null, of_volatility};
use arrow::array::{ArrayRef, FixedSizeBinaryArray, Int32Array, UInt32Array};
use arrow::datatypes::{DataType, Float64Type};
use datafusion::logical_expr::{ScalarUDF, Volatility};
use millrace_types::{Result, SqlType, sql_type_of};
use std::sync::Arc;

/// The functions of this family.
pub fn functions() -> Vec<ScalarUDF> {
    let any = &[SqlType::Unknown];
    vec![
        immutable(
            "pg_typeof",
            &[],
            vec![Overload::new(any, SqlType::Regtype, |call| {
                let oid = match call.fields[0].data_type() {
                    DataType::Struct(_) => SqlType::Record.oid(),
                    _ => sql_type_of(&call.fields[0]).oid(),
                };
                Ok(Arc::new(UInt32Array::from_value(oid, call.rows)))
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
        of_volatility(
            "gen_random_uuid",
            &[],
            vec![Overload::new(&[], SqlType::Uuid, |call| {
                let uuids = (0..call.rows).map(|_| uuid::Uuid::new_v4().into_bytes());
                Ok(Arc::new(FixedSizeBinaryArray::try_from_iter(uuids)?))
            })],
            Volatility::Volatile,
        ),
        of_volatility(
            "pg_sleep",
            &[],
            vec![Overload::new(&[SqlType::Float8], SqlType::Text, |call| {
                call.texts(|row| {
                    let seconds = call.value::<Float64Type>(0, row).clamp(0.0, 1e9);
                    std::thread::sleep(std::time::Duration::from_secs_f64(seconds));
                    Ok(Some(""))
                })
            })],
            Volatility::Volatile,
        ),
        immutable("num_nulls", &[], vec![Overload::variadic(any, SqlType::Int4, |call| counted(call, true))]),
        immutable("num_nonnulls", &[], vec![Overload::variadic(any, SqlType::Int4, |call| counted(call, false))]),
    ]
}

fn counted(call: &Call, nulls: bool) -> Result<ArrayRef> {
    let of_row = |row| call.arrays.iter().filter(|array| is_null(array, row) == nulls).count() as i32;
    Ok(Arc::new((0..call.rows).map(of_row).collect::<Int32Array>()))
}
