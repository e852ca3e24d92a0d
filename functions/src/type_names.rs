//! From the type names of SQL text to types: `varchar(10)`, `numeric(12, 2)`, `timestamptz`, `int[]` ...

use crate::error::carried;
use arrow::datatypes::FieldRef;
use datafusion::logical_expr::planner::TypePlanner;
use datafusion::sql::sqlparser::ast::{
    ArrayElemTypeDef, CharacterLength, DataType, ExactNumberInfo, Ident, TimezoneInfo,
};
use millrace_types::{Result, SqlError, SqlState, SqlType, field_of};
use std::sync::Arc;

/// The name of the fields that casts have as targets. Where it had none, DataFusion would take the metadata of what is
/// cast for that of the result, and so its Postgres type.
pub const CAST_TARGET: &str = "cast";

/// Gives every cast the Postgres type that it names, modifier included.
#[derive(Debug)]
pub struct TypeNames;

impl TypePlanner for TypeNames {
    fn plan_type_field(&self, name: &DataType) -> datafusion::common::Result<Option<FieldRef>> {
        sql_type(name).map(|sql_type| Some(Arc::new(field_of(CAST_TARGET, &sql_type, true)))).map_err(carried)
    }
}

/// The largest number of digits that a numeric holds.
const NUMERIC_PRECISION_MAX: u64 = 38;
/// Postgres's bound on the length of varchar and char.
const LENGTH_MAX: u64 = 10_485_760;

/// The type that a name in SQL means.
///
/// # Errors
/// `42704` for names of no type, `22023` for modifiers out of range, `0A000` for types of Postgres that Millrace lacks.
pub fn sql_type(data_type: &DataType) -> Result<SqlType> {
    Ok(match data_type {
        DataType::Boolean | DataType::Bool => SqlType::Bool,
        DataType::SmallInt(_) | DataType::Int2(_) => SqlType::Int2,
        DataType::Int(_) | DataType::Integer(_) | DataType::Int4(_) => SqlType::Int4,
        DataType::BigInt(_) | DataType::Int8(_) => SqlType::Int8,
        DataType::Real | DataType::Float4 => SqlType::Float4,
        DataType::Double(_) | DataType::DoublePrecision | DataType::Float8 => SqlType::Float8,
        DataType::Float(info) => float(*info)?,
        DataType::Numeric(info) | DataType::Decimal(info) | DataType::Dec(info) => SqlType::Numeric(numeric(*info)?),
        DataType::Text | DataType::String(None) => SqlType::Text,
        DataType::Varchar(length) | DataType::CharacterVarying(length) | DataType::CharVarying(length) => {
            SqlType::Varchar(limit(length, "varchar")?)
        }
        // `char` alone is `char(1)`.
        DataType::Char(length) | DataType::Character(length) => {
            SqlType::Bpchar(Some(limit(length, "char")?.unwrap_or(1)))
        }
        DataType::Bytea | DataType::Bytes(None) => SqlType::Bytea,
        DataType::Date => SqlType::Date,
        DataType::Time(_, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => SqlType::Time,
        DataType::Time(..) => return Err(SqlError::unsupported("type time with time zone")),
        DataType::Timestamp(_, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => SqlType::Timestamp,
        DataType::Timestamp(..) => SqlType::Timestamptz,
        DataType::Interval { .. } => SqlType::Interval,
        DataType::Uuid => SqlType::Uuid,
        DataType::JSON => SqlType::Json,
        DataType::JSONB => SqlType::Jsonb,
        DataType::Regclass => SqlType::Regclass,
        DataType::Array(element) => SqlType::Array(Box::new(element_type(element)?)),
        DataType::Custom(name, modifiers) => {
            let parts: Vec<_> = name.0.iter().filter_map(|part| part.as_ident()).map(folded).collect();
            match parts.as_slice() {
                [name] => named(name, modifiers)?,
                [schema, name] if schema == "pg_catalog" => named(name, modifiers)?,
                _ => return Err(undefined(&parts.join("."))),
            }
        }
        DataType::Bit(_) | DataType::BitVarying(_) | DataType::TsVector | DataType::TsQuery => {
            return Err(SqlError::unsupported(format!("type {}", data_type.to_string().to_lowercase())));
        }
        other => return Err(undefined(&other.to_string().to_lowercase())),
    })
}

/// The type with this name, which the grammar has no word for.
fn named(name: &str, modifiers: &[String]) -> Result<SqlType> {
    if let (Some(element), true) = (name.strip_prefix('_'), modifiers.is_empty()) {
        return Ok(SqlType::Array(Box::new(named(element, &[])?)));
    }
    let length = || modifiers.first().and_then(|modifier| modifier.parse::<u64>().ok());
    Ok(match name {
        "string" => SqlType::Text,
        "bytes" => SqlType::Bytea,
        "timestamp_ltz" | "timestamptz" => SqlType::Timestamptz,
        "bpchar" => SqlType::Bpchar(length().map(|n| bounded(n, "char")).transpose()?),
        "timetz" | "money" | "inet" | "cidr" | "macaddr" | "xml" | "bit" | "varbit" | "tsvector" | "hstore" => {
            return Err(SqlError::unsupported(format!("type {name}")));
        }
        _ => SqlType::ALL.iter().find(|known| known.name() == name).cloned().ok_or_else(|| undefined(name))?,
    })
}

/// An identifier in lowercase unless it is quoted.
fn folded(ident: &Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() }
}

fn undefined(name: &str) -> SqlError {
    SqlError::new(SqlState::UNDEFINED_OBJECT, format!("type \"{name}\" does not exist"))
}

fn element_type(element: &ArrayElemTypeDef) -> Result<SqlType> {
    use ArrayElemTypeDef::*;
    match element {
        AngleBracket(inner) | SquareBracket(inner, _) | Parenthesis(inner) => sql_type(inner),
        None => Err(undefined("array")),
    }
}

/// `float(p)`: up to 24 binary digits are real, up to 53 double precision.
fn float(info: ExactNumberInfo) -> Result<SqlType> {
    match info {
        ExactNumberInfo::Precision(0) => Err(invalid("precision for type float must be at least 1 bit")),
        ExactNumberInfo::Precision(1..=24) => Ok(SqlType::Float4),
        ExactNumberInfo::Precision(54..) => Err(invalid("precision for type float must be less than 54 bits")),
        _ => Ok(SqlType::Float8),
    }
}

fn numeric(info: ExactNumberInfo) -> Result<Option<(u8, i8)>> {
    let (precision, scale) = match info {
        ExactNumberInfo::None => return Ok(None),
        ExactNumberInfo::Precision(precision) => (precision, 0),
        ExactNumberInfo::PrecisionAndScale(precision, scale) => (precision, scale),
    };
    if precision == 0 || precision > 1_000 {
        return Err(invalid(&format!("NUMERIC precision {precision} must be between 1 and 1000")));
    }
    if precision > NUMERIC_PRECISION_MAX {
        return Err(SqlError::unsupported(format!("numeric with more than {NUMERIC_PRECISION_MAX} digits")));
    }
    if scale < 0 || scale as u64 > precision {
        return Err(SqlError::unsupported(format!("numeric scale {scale} outside of 0 to the precision {precision}")));
    }
    Ok(Some((precision as u8, scale as i8)))
}

fn limit(length: &Option<CharacterLength>, name: &str) -> Result<Option<u32>> {
    match length {
        Some(CharacterLength::IntegerLength { length, .. }) => bounded(*length, name).map(Some),
        Some(CharacterLength::Max) | None => Ok(None),
    }
}

fn bounded(length: u64, name: &str) -> Result<u32> {
    match length {
        0 => Err(invalid(&format!("length for type {name} must be at least 1"))),
        1..=LENGTH_MAX => Ok(length as u32),
        _ => Err(invalid(&format!("length for type {name} cannot exceed {LENGTH_MAX}"))),
    }
}

fn invalid(message: &str) -> SqlError {
    SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message)
}
