//! From the type names of SQL text to fields: `varchar(10)`, `numeric(12, 2)`, `timestamptz`, `int[]` ...

use crate::error::carried;
use arrow::datatypes::FieldRef;
use datafusion::common::Result;
use datafusion::logical_expr::planner::TypePlanner;
use datafusion::sql::sqlparser::ast::{
    ArrayElemTypeDef, CharacterLength, DataType as Name, ExactNumberInfo, ObjectName, TimezoneInfo,
};
use millrace_types::{SqlError, SqlState, SqlType, field_of};
use std::sync::Arc;

/// Gives every cast the Postgres type that it names, modifier included.
#[derive(Debug)]
pub struct TypeNames;

impl TypePlanner for TypeNames {
    fn plan_type_field(&self, name: &Name) -> Result<Option<FieldRef>> {
        sql_type_named(name).map(|sql_type| Some(Arc::new(field_of("", &sql_type, true)))).map_err(carried)
    }
}

/// The Postgres type that a type name in SQL text means.
pub fn sql_type_named(name: &Name) -> Result<SqlType, SqlError> {
    Ok(match name {
        Name::Boolean | Name::Bool => SqlType::Bool,
        Name::SmallInt(_) | Name::Int2(_) | Name::TinyInt(_) => SqlType::Int2,
        Name::Int(_) | Name::Integer(_) | Name::Int4(_) => SqlType::Int4,
        Name::BigInt(_) | Name::Int8(_) => SqlType::Int8,
        Name::Real | Name::Float4 => SqlType::Float4,
        Name::Float(ExactNumberInfo::Precision(1..=24)) => SqlType::Float4,
        Name::Float(_) | Name::Double(_) | Name::DoublePrecision | Name::Float8 | Name::Float64 => SqlType::Float8,
        Name::Numeric(info) | Name::Decimal(info) | Name::Dec(info) => SqlType::Numeric(precision(info)?),
        Name::Text | Name::String(_) => SqlType::Text,
        Name::Varchar(n) | Name::CharacterVarying(n) | Name::CharVarying(n) | Name::Nvarchar(n) => {
            SqlType::Varchar(length(n)?)
        }
        Name::Char(n) | Name::Character(n) => SqlType::Bpchar(Some(length(n)?.unwrap_or(1))),
        Name::Bytea | Name::Bytes(_) | Name::Blob(_) | Name::Binary(_) | Name::Varbinary(_) => SqlType::Bytea,
        Name::Date => SqlType::Date,
        Name::Time(_, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => SqlType::Time,
        Name::Timestamp(_, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => SqlType::Timestamp,
        Name::Timestamp(_, _) => SqlType::Timestamptz,
        Name::TimestampNtz(_) | Name::Datetime(_) => SqlType::Timestamp,
        Name::Interval { .. } => SqlType::Interval,
        Name::Uuid => SqlType::Uuid,
        Name::JSON => SqlType::Json,
        Name::JSONB => SqlType::Jsonb,
        Name::Regclass => SqlType::Regclass,
        Name::Array(ArrayElemTypeDef::AngleBracket(element) | ArrayElemTypeDef::SquareBracket(element, _)) => {
            SqlType::Array(Box::new(sql_type_named(element)?))
        }
        Name::Custom(name, modifiers) => custom(name, modifiers)?,
        other => return Err(unknown(&other.to_string().to_lowercase())),
    })
}

/// Names that the grammar does not know as types.
fn custom(name: &ObjectName, modifiers: &[String]) -> Result<SqlType, SqlError> {
    let spelled = name.to_string();
    let quoted = spelled.contains('"');
    let plain = spelled.rsplit('.').next().unwrap_or(&spelled).trim_matches('"').to_lowercase();
    let found = match plain.as_str() {
        "char" if quoted => Some(SqlType::Char),
        "string" => Some(SqlType::Text),
        "double" => Some(SqlType::Float8),
        "timestamp_ltz" => Some(SqlType::Timestamptz),
        "serial" => Some(SqlType::Int4),
        "bigserial" => Some(SqlType::Int8),
        "varchar" => Some(SqlType::Varchar(modifiers.first().and_then(|n| n.parse().ok()))),
        "bpchar" => Some(SqlType::Bpchar(modifiers.first().and_then(|n| n.parse().ok()))),
        _ => match plain.strip_prefix('_') {
            Some(element) => {
                let element = SqlType::ALL.iter().find(|t| t.name() == element);
                element.map(|t| SqlType::Array(Box::new(t.clone())))
            }
            None => SqlType::ALL.iter().find(|t| t.name() == plain).cloned(),
        },
    };
    found.ok_or_else(|| unknown(&spelled))
}

fn unknown(name: &str) -> SqlError {
    SqlError::new(SqlState::UNDEFINED_OBJECT, format!("type \"{name}\" does not exist"))
}

fn length(length: &Option<CharacterLength>) -> Result<Option<u32>, SqlError> {
    match length {
        None | Some(CharacterLength::Max) => Ok(None),
        Some(CharacterLength::IntegerLength { length: 0, .. }) => {
            Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, "length for type varchar must be at least 1"))
        }
        Some(CharacterLength::IntegerLength { length, .. }) => Ok(Some((*length).min(10_485_760) as u32)),
    }
}

/// Precision and scale; a numeric here holds at most 38 digits.
fn precision(info: &ExactNumberInfo) -> Result<Option<(u8, i8)>, SqlError> {
    let (precision, scale) = match info {
        ExactNumberInfo::None => return Ok(None),
        ExactNumberInfo::Precision(precision) => (*precision, 0),
        ExactNumberInfo::PrecisionAndScale(precision, scale) => (*precision, *scale),
    };
    if precision == 0 || precision > 1000 {
        let message = format!("NUMERIC precision {precision} must be between 1 and 1000");
        return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message));
    }
    if precision > 38 || scale < 0 || scale as u64 > precision {
        return Err(SqlError::unsupported(format!("numeric({precision},{scale})"))
            .with_detail("A numeric holds at most 38 digits, with a scale between 0 and its precision."));
    }
    Ok(Some((precision as u8, scale as i8)))
}
