//! The many Arrow types that functions return, brought to the one that holds each Postgres type.

use arrow::array::{Array, ArrayRef};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, TimeUnit};
use millrace_types::{Result, SqlType};

/// The same values in the Arrow type that the writers take: [`SqlType::arrow`]'s, or Decimal256, Duration(µs), another
/// Interval, Struct and the like where converting would lose something. A value that does not fit is an error.
pub(super) fn canonical(sql_type: &SqlType, array: &ArrayRef) -> Result<ArrayRef> {
    let target = target(sql_type, array.data_type());
    if target == *array.data_type() {
        return Ok(array.clone());
    }
    let options = CastOptions { safe: false, ..CastOptions::default() };
    Ok(cast_with_options(array, &target, &options)?)
}

fn target(sql_type: &SqlType, data_type: &DataType) -> DataType {
    match data_type {
        DataType::Dictionary(_, value) => target(sql_type, value),
        DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Microsecond, zone.clone()),
        DataType::Duration(_) => DataType::Duration(TimeUnit::Microsecond),
        DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale) => {
            DataType::Decimal128(*precision, *scale)
        }
        DataType::LargeList(item) | DataType::FixedSizeList(item, _) => DataType::List(item.clone()),
        DataType::List(_)
        | DataType::Decimal128(_, _)
        | DataType::Decimal256(_, _)
        | DataType::Interval(_)
        | DataType::Struct(_)
        | DataType::Map(_, _)
        | DataType::Union(_, _)
        | DataType::RunEndEncoded(_, _)
        | DataType::ListView(_)
        | DataType::LargeListView(_)
        | DataType::Null => data_type.clone(),
        DataType::FixedSizeBinary(_) if *sql_type == SqlType::Uuid => data_type.clone(),
        _ => match sql_type {
            SqlType::Unknown | SqlType::Array(_) => DataType::Utf8View,
            other => other.arrow(),
        },
    }
}
