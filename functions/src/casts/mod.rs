//! Casts with Postgres's syntax of values, its rounding and its errors.
//!
//! [`cast`] converts a column. In plans it stands as the function [`CastTo`], which [`LowerCasts`] puts where a cast of
//! DataFusion's would differ; casts that agree (widening numbers) stay DataFusion's own, for its optimizer to use.

mod apart;
mod array;
mod choice;
mod compared;
mod guard;
mod interval;
mod jsonb;
mod lowering;
mod marked;
mod moment;
mod number;
mod open;
mod outer;
mod rule;
mod text;

pub use apart::{functions, tell_casts_apart, with_plain_casts};
pub use array::MAX_DIMENSIONS;
pub use guard::GuardFilters;
pub use interval::{interval as interval_of, interval_of_fields, limited as limited_interval};
pub use marked::marked;
pub use moment::MONTHS;
pub use number::{decimal as decimal_of, decimal_to_float, float_to_decimal};
pub use open::OpenLiterals;
pub use outer::OuterColumns;
pub use rule::{IntegerLiterals, LowerCasts, narrowed, settled};
pub use text::bytea;

use crate::error::carried;
use crate::format::text_of;
use crate::temporal::{self, DAY};
use crate::time_zone::session_zone;
use arrow::array::timezone::Tz;
use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, PrimitiveArray, new_null_array};
use arrow::datatypes::*;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};
use millrace_types::{Result, SqlError, SqlState, SqlType, field_of, sql_type_of};
use std::sync::Arc;

/// Why a value is cast: it decides what happens to a text that is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// `x::varchar(3)` cuts.
    Explicit,
    /// Storing into a column: an error, unless only blanks are cut.
    Assignment,
}

/// Converts a column from the type of `from` to the type of `to`. NULL stays NULL; the first value that does not
/// convert is the error.
pub fn cast(array: &ArrayRef, from: &Field, to: &Field, purpose: Purpose, zone: &Tz) -> Result<ArrayRef> {
    let (source, target) = (sql_type_of(from), sql_type_of(to));
    // Types that no column of ours has, like nanoseconds, are reached through ours.
    let ours = matches!(to.data_type(), DataType::Decimal128(..) | DataType::List(_));
    if !ours && *to.data_type() != target.arrow() {
        let through = field_of("", &target, true);
        return Ok(arrow::compute::cast(&cast(array, from, &through, purpose, zone)?, to.data_type())?);
    }
    if array.data_type() == &DataType::Null {
        return Ok(new_null_array(to.data_type(), array.len()));
    }
    let is_text = matches!(source.arrow(), DataType::Utf8View);
    let array = &canonical(array)?;
    match (&source, &target) {
        (SqlType::Array(_), SqlType::Array(_)) => array::elementwise(array, from, to, purpose, zone),
        (
            _,
            SqlType::Text | SqlType::Varchar(_) | SqlType::Bpchar(_) | SqlType::Name | SqlType::Char | SqlType::Record,
        ) => {
            let texts = text_of(array, from, zone)?;
            let loses_blanks = matches!(source, SqlType::Bpchar(_)) && !matches!(target, SqlType::Bpchar(_));
            let texts = if loses_blanks { text::unpadded(&texts) } else { texts };
            text::limited(texts, &target, purpose)
        }
        (SqlType::Jsonb, SqlType::Json | SqlType::Jsonb) => Ok(array.clone()),
        (SqlType::Jsonb, _) => jsonb::parsed(array.as_string_view(), to, purpose, zone),
        (SqlType::Json, SqlType::Json) => Ok(array.clone()),
        (SqlType::Json, target) if *target != SqlType::Jsonb => Err(cannot_cast(&source, target)),
        _ if is_text => text::parsed(array.as_string_view(), to, zone),
        _ => between_values(array, &source, to, zone),
    }
}

/// The column in the representation that every kernel here reads: views for texts, microseconds, signed integers.
fn canonical(array: &ArrayRef) -> Result<ArrayRef> {
    let wanted = match array.data_type() {
        DataType::UInt32 => return Ok(array.clone()),
        DataType::Utf8 | DataType::LargeUtf8 => DataType::Utf8View,
        DataType::Int8 | DataType::UInt8 => DataType::Int16,
        DataType::UInt16 => DataType::Int32,
        DataType::UInt64 => DataType::Decimal128(20, 0),
        DataType::LargeBinary | DataType::BinaryView => DataType::Binary,
        DataType::Dictionary(_, value) => value.as_ref().clone(),
        DataType::Timestamp(TimeUnit::Microsecond, _) => return Ok(array.clone()),
        DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Microsecond, zone.clone()),
        DataType::Decimal256(_, scale) => DataType::Decimal128(38, *scale),
        DataType::Date64 => DataType::Date32,
        DataType::Time32(_) | DataType::Time64(TimeUnit::Nanosecond) => DataType::Time64(TimeUnit::Microsecond),
        DataType::Duration(_) => DataType::Interval(IntervalUnit::MonthDayNano),
        _ => return Ok(array.clone()),
    };
    Ok(arrow::compute::cast(array, &wanted)?)
}

fn between_values(array: &ArrayRef, source: &SqlType, to: &Field, zone: &Tz) -> Result<ArrayRef> {
    use SqlType::*;
    let target = sql_type_of(to);
    match (source, &target) {
        (Int2 | Int4 | Int8 | Oid | Regclass | Regtype | Regproc | Regnamespace, _) => from_integer(array, &target, to),
        (Float4, _) => from_float(array, &target, to, 6),
        (Float8, _) => from_float(array, &target, to, 15),
        (Numeric(_), _) => from_decimal(array, &target, to),
        (Bool, Int4) => Ok(arrow::compute::cast(array, &DataType::Int32)?),
        (Bool, Bool) | (Bytea, Bytea) | (Uuid, Uuid) | (Date, Date) | (Time, Time) | (Interval, Interval) => {
            Ok(array.clone())
        }
        (Timestamp, Timestamp) | (Timestamptz, Timestamptz) => Ok(array.clone()),
        (Date, Timestamp) => map::<Date32Type, TimestampMicrosecondType>(array, to, |days| Ok(midnight(days))),
        (Date, Timestamptz) => {
            map::<Date32Type, TimestampMicrosecondType>(array, to, |days| temporal::moment_of(zone, midnight(days)))
        }
        (Timestamp, Timestamptz) => {
            map::<TimestampMicrosecondType, TimestampMicrosecondType>(array, to, |time| match time {
                i64::MIN | i64::MAX => Ok(time),
                _ => temporal::moment_of(zone, time),
            })
        }
        (Timestamptz, Timestamp | Date | Time) => {
            let local = map::<TimestampMicrosecondType, TimestampMicrosecondType>(
                array,
                &Field::new("", SqlType::Timestamp.arrow(), true),
                |time| match time {
                    i64::MIN | i64::MAX => Ok(time),
                    _ => temporal::local_of(zone, time),
                },
            )?;
            if target == Timestamp { Ok(local) } else { between_values(&local, &Timestamp, to, zone) }
        }
        (Timestamp, Date) => map::<TimestampMicrosecondType, Date32Type>(array, to, |time| {
            Ok(match time {
                i64::MIN => i32::MIN,
                i64::MAX => i32::MAX,
                _ => time.div_euclid(DAY) as i32,
            })
        }),
        (Timestamp, Time) => {
            map::<TimestampMicrosecondType, Time64MicrosecondType>(array, to, |t| Ok(t.rem_euclid(DAY)))
        }
        (Time, Interval) => map::<Time64MicrosecondType, IntervalMonthDayNanoType>(array, to, |time| {
            Ok(IntervalMonthDayNano::new(0, 0, time * 1000))
        }),
        (Interval, Time) => map::<IntervalMonthDayNanoType, Time64MicrosecondType>(array, to, |interval| {
            Ok((interval.nanoseconds / 1000).rem_euclid(DAY))
        }),
        _ => Err(cannot_cast(source, &target)),
    }
}

fn midnight(days: i32) -> i64 {
    match days {
        i32::MIN => i64::MIN,
        i32::MAX => i64::MAX,
        days => i64::from(days) * DAY,
    }
}

fn cannot_cast(source: &SqlType, target: &SqlType) -> SqlError {
    SqlError::new(SqlState::CANNOT_COERCE, format!("cannot cast type {source} to {target}"))
}

/// Name and range of an integer type.
pub fn integer_range(target: &SqlType) -> Option<(&'static str, i64, i64)> {
    Some(match target {
        SqlType::Int2 => ("smallint", i16::MIN.into(), i16::MAX.into()),
        SqlType::Int4 => ("integer", i32::MIN.into(), i32::MAX.into()),
        SqlType::Int8 => ("bigint", i64::MIN, i64::MAX),
        SqlType::Oid | SqlType::Regclass | SqlType::Regtype | SqlType::Regproc | SqlType::Regnamespace => {
            ("OID", 0, u32::MAX.into())
        }
        _ => return None,
    })
}

/// Integers of any width, given as 64-bit ones, in the representation of a type.
fn in_width(array: ArrayRef, to: &Field) -> Result<ArrayRef> {
    Ok(arrow::compute::cast(&array, to.data_type())?)
}

fn from_integer(array: &ArrayRef, target: &SqlType, to: &Field) -> Result<ArrayRef> {
    let wide = arrow::compute::cast(array, &DataType::Int64)?;
    let wide_field = Field::new("", DataType::Int64, true);
    match target {
        SqlType::Bool => Ok(Arc::new(boolean_of(&wide))),
        SqlType::Float4 | SqlType::Float8 => Ok(arrow::compute::cast(&wide, to.data_type())?),
        SqlType::Numeric(_) => {
            let (precision, scale) = precision_of(to);
            map::<Int64Type, Decimal128Type>(&wide, to, |v| number::integer_to_decimal(v, precision, scale))
        }
        _ => match integer_range(target) {
            Some((name, least, greatest)) => {
                let checked =
                    map::<Int64Type, Int64Type>(&wide, &wide_field, |v| match (least..=greatest).contains(&v) {
                        true => Ok(v),
                        false => Err(crate::operators::number::out_of_range(name)),
                    })?;
                in_width(checked, to)
            }
            None => Err(cannot_cast(&SqlType::from_arrow(array.data_type()), target)),
        },
    }
}

fn boolean_of(wide: &ArrayRef) -> BooleanArray {
    BooleanArray::from_unary(wide.as_primitive::<Int64Type>(), |value| value != 0)
}

fn from_float(array: &ArrayRef, target: &SqlType, to: &Field, significant: usize) -> Result<ArrayRef> {
    let wide = arrow::compute::cast(array, &DataType::Float64)?;
    match target {
        SqlType::Float8 => Ok(wide),
        SqlType::Float4 => map::<Float64Type, Float32Type>(&wide, to, |value| {
            let narrow = value as f32;
            match (narrow.is_infinite() && value.is_finite(), narrow == 0.0 && value != 0.0) {
                (true, _) => Err(crate::operators::number::float_error("overflow")),
                (_, true) => Err(crate::operators::number::float_error("underflow")),
                _ => Ok(narrow),
            }
        }),
        SqlType::Numeric(_) => {
            let (precision, scale) = precision_of(to);
            map::<Float64Type, Decimal128Type>(&wide, to, |v| {
                number::float_to_decimal(v, significant, precision, scale)
            })
        }
        _ => match integer_range(target) {
            Some((name, least, greatest)) => {
                let whole = Field::new("", DataType::Int64, true);
                let wide = map::<Float64Type, Int64Type>(&wide, &whole, |v| {
                    number::float_to_integer(v, name, least, greatest)
                })?;
                in_width(wide, to)
            }
            None => Err(cannot_cast(&SqlType::from_arrow(array.data_type()), target)),
        },
    }
}

fn from_decimal(array: &ArrayRef, target: &SqlType, to: &Field) -> Result<ArrayRef> {
    let from = crate::operators::decimal::scale_of(array.data_type());
    match target {
        SqlType::Numeric(_) => {
            let (precision, scale) = precision_of(to);
            map::<Decimal128Type, Decimal128Type>(array, to, |v| number::decimal_to_decimal(v, from, precision, scale))
        }
        SqlType::Float8 => map::<Decimal128Type, Float64Type>(array, to, |v| Ok(number::decimal_to_float(v, from))),
        SqlType::Float4 => {
            map::<Decimal128Type, Float32Type>(array, to, |v| Ok(number::decimal_to_float(v, from) as f32))
        }
        _ => match integer_range(target) {
            Some((name, least, greatest)) => {
                let whole = Field::new("", DataType::Int64, true);
                let wide = map::<Decimal128Type, Int64Type>(array, &whole, |v| {
                    number::decimal_to_integer(v, from, name, least, greatest)
                })?;
                in_width(wide, to)
            }
            None => Err(cannot_cast(&SqlType::Numeric(None), target)),
        },
    }
}

/// Precision and scale of a numeric field.
fn precision_of(field: &Field) -> (u8, i8) {
    match field.data_type() {
        DataType::Decimal128(precision, scale) => (*precision, *scale),
        _ => (38, SqlType::NUMERIC_SCALE),
    }
}

/// Maps the values of a column to those of another type; `to` gives the Arrow type with its scale or zone.
fn map<I, O>(array: &ArrayRef, to: &Field, f: impl Fn(I::Native) -> Result<O::Native>) -> Result<ArrayRef>
where
    I: ArrowPrimitiveType,
    O: ArrowPrimitiveType,
{
    let mapped: PrimitiveArray<O> = array.as_primitive::<I>().try_unary(f)?;
    Ok(Arc::new(mapped.with_data_type(to.data_type().clone())))
}

/// The function that a cast is in a plan.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct CastTo {
    target: FieldRef,
    purpose: Purpose,
    signature: Signature,
}

impl CastTo {
    /// A cast to the type of a field.
    pub fn new(target: FieldRef, purpose: Purpose) -> CastTo {
        let target = Arc::new(target.as_ref().clone().with_name(""));
        // Moments depend on the session's zone, which stays the same while a statement runs.
        CastTo { target, purpose, signature: Signature::any(1, Volatility::Immutable) }
    }

    /// The type that it casts to.
    pub fn target(&self) -> &FieldRef {
        &self.target
    }
}

impl ScalarUDFImpl for CastTo {
    fn name(&self) -> &str {
        "cast"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn display_name(&self, args: &[Expr]) -> datafusion::common::Result<String> {
        Ok(format!("CAST({} AS {})", args[0], sql_type_of(&self.target)))
    }

    fn return_type(&self, _: &[DataType]) -> datafusion::common::Result<DataType> {
        Ok(self.target.data_type().clone())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> datafusion::common::Result<FieldRef> {
        let _ = args;
        Ok(Arc::new(self.target.as_ref().clone().with_nullable(true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> datafusion::common::Result<ColumnarValue> {
        let zone = session_zone(&args.config_options).map_err(carried)?;
        let convert = |array| cast(array, &args.arg_fields[0], &self.target, self.purpose, &zone).map_err(carried);
        match &args.args[0] {
            ColumnarValue::Array(array) => convert(array).map(ColumnarValue::Array),
            ColumnarValue::Scalar(scalar) => {
                let one = convert(&scalar.to_array_of_size(1)?)?;
                crate::function::scalar_of(&one).map(ColumnarValue::Scalar)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::StringViewArray;

    /// Texts that reach the corners of the readers: bytes cut in the middle, sums that overflow, lone signs.
    const CORNERS: &[&str] = &[
        "",
        " ",
        "é",
        "-",
        "+",
        ".",
        "e",
        "-.",
        "1e",
        "1e999999999999",
        "p",
        "pt",
        "p1",
        "@",
        "ago",
        "{",
        "{\"",
        "{,}",
        "{{",
        "{{1},{2,3}}",
        "{1}}",
        "[1:2]={1,2}",
        "[0:1]={1,2}",
        "[",
        "{1\"",
        "\\x",
        "\\",
        "\\0",
        "2024-01-01 12:00+é€",
        "12:00+é€é",
        "99999999999999999999:00",
        "2024-01-01 12:00+999999999999",
        "999999999999999-01-01",
        "2024--1",
        "1-",
        "-1-",
        "2147483648 days",
        "9999999999 months",
        "nan",
        "inf days",
        "1 é",
        "é 1",
        "tt",
        "1t1",
        "t1",
        "\"\\ud800\\u0041\"",
        "\"\\ué",
        "[[[",
        "{\"a\"",
        "0x10",
        "1_000",
        "infinity bc",
        "bc",
        "1 bc",
        "am",
        "12 am",
        ":",
        "::",
        "1:2:3:4",
    ];

    #[test]
    fn no_text_makes_a_reader_panic() {
        let zone = temporal::zone("UTC").unwrap();
        let text = field_of("", &SqlType::Text, true);
        let list = SqlType::Array(Box::new(SqlType::Int4));
        let lists = SqlType::Array(Box::new(list.clone()));
        for target in SqlType::ALL.iter().chain([&list, &lists]) {
            let to = field_of("", target, true);
            for corner in CORNERS {
                let texts: ArrayRef = Arc::new(StringViewArray::from(vec![*corner]));
                if let Ok(array) = cast(&texts, &text, &to, Purpose::Explicit, &zone) {
                    // What is read can be written.
                    text_of(&array, &to, &zone).unwrap();
                }
            }
        }
    }

    #[test]
    fn assignment_refuses_what_an_explicit_cast_cuts() {
        let zone = temporal::zone("UTC").unwrap();
        let text = field_of("", &SqlType::Text, true);
        let to = field_of("", &SqlType::Varchar(Some(2)), true);
        let texts: ArrayRef = Arc::new(StringViewArray::from(vec!["ab  ", "abc"]));
        let cut = cast(&texts, &text, &to, Purpose::Explicit, &zone).unwrap();
        assert_eq!(cut.as_string_view().value(1), "ab");
        let error = cast(&texts, &text, &to, Purpose::Assignment, &zone).unwrap_err();
        assert_eq!(error.state(), SqlState::STRING_DATA_RIGHT_TRUNCATION);
        assert_eq!(error.message(), "value too long for type character varying(2)");
        let blanks = cast(&texts.slice(0, 1), &text, &to, Purpose::Assignment, &zone).unwrap();
        assert_eq!(blanks.as_string_view().value(0), "ab");
    }
}
