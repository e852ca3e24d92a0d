//! Operators on the bits of integers: complement and shifts. Those between two integers of one type are DataFusion's.

use crate::function::{Call, Overload, immutable};
use arrow::array::{ArrayRef, ArrowPrimitiveType};
use arrow::datatypes::{Int16Type, Int32Type, Int64Type};
use datafusion::logical_expr::ScalarUDF;
use millrace_types::{Result, SqlType};

const SHORT: SqlType = SqlType::Int2;
const INT: SqlType = SqlType::Int4;
const LONG: SqlType = SqlType::Int8;

/// The functions of this family.
pub fn functions() -> Vec<ScalarUDF> {
    vec![
        immutable(
            "bitnot",
            &[],
            vec![
                Overload::new(&[SHORT], SHORT, |call| of_one::<Int16Type>(call, |bits| !bits)),
                Overload::new(&[INT], INT, |call| of_one::<Int32Type>(call, |bits| !bits)),
                Overload::new(&[LONG], LONG, |call| of_one::<Int64Type>(call, |bits| !bits)),
            ],
        ),
        immutable(
            "<<",
            &[],
            vec![
                // A smallint is shifted as an integer, of which the lower half is kept.
                Overload::new(&[SHORT, INT], SHORT, |call| {
                    shifted::<Int16Type>(call, |bits, by| i32::from(bits).wrapping_shl(by) as i16)
                }),
                Overload::new(&[INT, INT], INT, |call| shifted::<Int32Type>(call, i32::wrapping_shl)),
                Overload::new(&[LONG, INT], LONG, |call| shifted::<Int64Type>(call, i64::wrapping_shl)),
            ],
        ),
        immutable(
            ">>",
            &[],
            vec![
                Overload::new(&[SHORT, INT], SHORT, |call| {
                    shifted::<Int16Type>(call, |bits, by| i32::from(bits).wrapping_shr(by) as i16)
                }),
                Overload::new(&[INT, INT], INT, |call| shifted::<Int32Type>(call, i32::wrapping_shr)),
                Overload::new(&[LONG, INT], LONG, |call| shifted::<Int64Type>(call, i64::wrapping_shr)),
            ],
        ),
    ]
}

fn of_one<T: ArrowPrimitiveType>(call: &Call, f: impl Fn(T::Native) -> T::Native) -> Result<ArrayRef> {
    call.values::<T>(|row| Ok(Some(f(call.value::<T>(0, row)))))
}

fn shifted<T: ArrowPrimitiveType>(call: &Call, f: impl Fn(T::Native, u32) -> T::Native) -> Result<ArrayRef> {
    // Of the number of places only the lowest bits count, as processors have it.
    call.values::<T>(|row| Ok(Some(f(call.value::<T>(0, row), call.value::<Int32Type>(1, row) as u32))))
}
