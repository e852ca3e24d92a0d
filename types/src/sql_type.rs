//! Postgres's types over Arrow's: which Arrow type holds each, and how a field says so.
//!
//! Most Postgres types are told by the Arrow type alone. Where several share one (text, varchar, json ...), the field's
//! metadata entry [`TYPE_KEY`] holds the Postgres spelling, as in `varchar(10)`.

use arrow::datatypes::{DataType, Field, IntervalUnit, TimeUnit};
use std::collections::HashMap;
use std::sync::Arc;

/// The metadata key under which a field names its Postgres type, where the Arrow type does not tell it.
pub const TYPE_KEY: &str = "millrace.type";

/// A Postgres type with its modifier.
///
/// | Postgres | Arrow |
/// |---|---|
/// | bool, int2, int4, int8, float4, float8 | Boolean, Int16, Int32, Int64, Float32, Float64 |
/// | numeric(p, s) | Decimal128(p, s) |
/// | numeric | Decimal128(38, 18), marked: it prints without trailing zeros, save those of [`crate::numeric`] |
/// | text, varchar, bpchar, name, json, jsonb, "char", record that is stored | Utf8View |
/// | bytea | Binary |
/// | date, time | Date32, Time64(µs) |
/// | timestamp, timestamptz | Timestamp(µs), Timestamp(µs, "UTC") |
/// | interval | Interval(MonthDayNano) |
/// | uuid | FixedSizeBinary(16) |
/// | oid, regclass, regtype, regproc, regnamespace | UInt32 |
/// | T[] | List(T) |
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SqlType {
    Bool,
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    /// Precision and scale; `None` is the unconstrained `numeric`.
    Numeric(Option<(u8, i8)>),
    Text,
    /// `varchar(n)`; `None` is without a limit.
    Varchar(Option<u32>),
    /// `char(n)`, blank-padded.
    Bpchar(Option<u32>),
    Name,
    /// The one-byte `"char"` of the system catalogs.
    Char,
    Bytea,
    Date,
    Time,
    Timestamp,
    Timestamptz,
    Interval,
    Uuid,
    Json,
    Jsonb,
    Oid,
    Regclass,
    Regtype,
    Regproc,
    Regnamespace,
    /// A row value that a relation keeps, as its text.
    Record,
    /// An array; one of several dimensions is an array of arrays.
    Array(Box<SqlType>),
    /// The type of a bare NULL.
    Unknown,
}

impl SqlType {
    /// Scale of the unconstrained `numeric`.
    pub const NUMERIC_SCALE: i8 = 18;

    /// The Arrow type that holds it.
    pub fn arrow(&self) -> DataType {
        use SqlType::*;
        match self {
            Bool => DataType::Boolean,
            Int2 => DataType::Int16,
            Int4 => DataType::Int32,
            Int8 => DataType::Int64,
            Float4 => DataType::Float32,
            Float8 => DataType::Float64,
            Numeric(Some((precision, scale))) => DataType::Decimal128(*precision, *scale),
            Numeric(None) => DataType::Decimal128(38, Self::NUMERIC_SCALE),
            Text | Varchar(_) | Bpchar(_) | Name | Char | Json | Jsonb | Record => DataType::Utf8View,
            Bytea => DataType::Binary,
            Date => DataType::Date32,
            Time => DataType::Time64(TimeUnit::Microsecond),
            Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            Timestamptz => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Interval => DataType::Interval(IntervalUnit::MonthDayNano),
            Uuid => DataType::FixedSizeBinary(16),
            Oid | Regclass | Regtype | Regproc | Regnamespace => DataType::UInt32,
            Array(element) => DataType::List(Arc::new(field_of("item", element, true))),
            Unknown => DataType::Null,
        }
    }

    /// Postgres's OID of the type.
    pub fn oid(&self) -> u32 {
        self.oids().0
    }

    /// Postgres's OID of the array over the type; 0 when it has none.
    pub fn array_oid(&self) -> u32 {
        self.oids().1
    }

    fn oids(&self) -> (u32, u32) {
        use SqlType::*;
        match self {
            Bool => (16, 1000),
            Int2 => (21, 1005),
            Int4 => (23, 1007),
            Int8 => (20, 1016),
            Float4 => (700, 1021),
            Float8 => (701, 1022),
            Numeric(_) => (1700, 1231),
            Text => (25, 1009),
            Varchar(_) => (1043, 1015),
            Bpchar(_) => (1042, 1014),
            Name => (19, 1003),
            Char => (18, 1002),
            Bytea => (17, 1001),
            Date => (1082, 1182),
            Time => (1083, 1183),
            Timestamp => (1114, 1115),
            Timestamptz => (1184, 1185),
            Interval => (1186, 1187),
            Uuid => (2950, 2951),
            Json => (114, 199),
            Jsonb => (3802, 3807),
            Oid => (26, 1028),
            Regclass => (2205, 2210),
            Regtype => (2206, 2211),
            Regproc => (24, 1008),
            Regnamespace => (4089, 4090),
            Record => (2249, 2287),
            // The number of dimensions is no part of Postgres's types.
            Array(element) if matches!(**element, Array(_)) => element.oids(),
            Array(element) => (element.array_oid(), 0),
            Unknown => (705, 0),
        }
    }

    /// The type with this OID, without a modifier.
    pub fn from_oid(oid: u32) -> Option<SqlType> {
        SqlType::ALL.iter().find_map(|t| match oid {
            _ if t.oid() == oid => Some(t.clone()),
            _ if t.array_oid() == oid => Some(SqlType::Array(Box::new(t.clone()))),
            _ => None,
        })
    }

    /// How a regtype shows the type with an OID; one that is not known is its number.
    pub fn regtype_name(oid: u32) -> String {
        match (oid, SqlType::from_oid(oid)) {
            (_, Some(known)) => known.to_string(),
            (0, None) => "-".to_owned(),
            (705, None) => SqlType::Unknown.to_string(),
            (2249, None) => SqlType::Record.to_string(),
            (2287, None) => SqlType::Array(Box::new(SqlType::Record)).to_string(),
            (oid, None) => oid.to_string(),
        }
    }

    /// Every scalar type, without modifiers.
    pub const ALL: &'static [SqlType] = &[
        SqlType::Bool,
        SqlType::Int2,
        SqlType::Int4,
        SqlType::Int8,
        SqlType::Float4,
        SqlType::Float8,
        SqlType::Numeric(None),
        SqlType::Text,
        SqlType::Varchar(None),
        SqlType::Bpchar(None),
        SqlType::Name,
        SqlType::Char,
        SqlType::Bytea,
        SqlType::Date,
        SqlType::Time,
        SqlType::Timestamp,
        SqlType::Timestamptz,
        SqlType::Interval,
        SqlType::Uuid,
        SqlType::Json,
        SqlType::Jsonb,
        SqlType::Oid,
        SqlType::Regclass,
        SqlType::Regtype,
        SqlType::Regproc,
        SqlType::Regnamespace,
    ];

    /// Postgres's internal name (`int4`, `_text`): what `pg_type.typname` holds.
    pub fn name(&self) -> String {
        use SqlType::*;
        let name = match self {
            Bool => "bool",
            Int2 => "int2",
            Int4 => "int4",
            Int8 => "int8",
            Float4 => "float4",
            Float8 => "float8",
            Numeric(_) => "numeric",
            Text => "text",
            Varchar(_) => "varchar",
            Bpchar(_) => "bpchar",
            Name => "name",
            Char => "char",
            Bytea => "bytea",
            Date => "date",
            Time => "time",
            Timestamp => "timestamp",
            Timestamptz => "timestamptz",
            Interval => "interval",
            Uuid => "uuid",
            Json => "json",
            Jsonb => "jsonb",
            Oid => "oid",
            Regclass => "regclass",
            Regtype => "regtype",
            Regproc => "regproc",
            Regnamespace => "regnamespace",
            Record => "record",
            Array(element) if matches!(**element, Array(_)) => return element.name(),
            Array(element) => return format!("_{}", element.name()),
            Unknown => "unknown",
        };
        name.to_owned()
    }

    /// The width of a value in bytes as `pg_type.typlen` gives it: -1 for values of varying length.
    pub fn length(&self) -> i16 {
        use SqlType::*;
        match self {
            Bool | Char => 1,
            Int2 => 2,
            Int4 | Float4 | Date | Oid | Regclass | Regtype | Regproc | Regnamespace => 4,
            Int8 | Float8 | Time | Timestamp | Timestamptz => 8,
            Interval | Uuid => 16,
            Name => 64,
            Unknown => -2,
            _ => -1,
        }
    }

    /// The modifier as `pg_attribute.atttypmod` gives it: -1 for none.
    pub fn typmod(&self) -> i32 {
        match self {
            SqlType::Numeric(Some((precision, scale))) => {
                ((i32::from(*precision) << 16) | (i32::from(*scale) & 0x7ff)) + 4
            }
            SqlType::Varchar(Some(n)) | SqlType::Bpchar(Some(n)) => *n as i32 + 4,
            SqlType::Array(element) => element.typmod(),
            _ => -1,
        }
    }

    /// The spelling that a field's metadata needs: only for types that their Arrow type does not tell.
    fn mark(&self) -> Option<String> {
        use SqlType::*;
        let limited = |name: &str, n: &Option<u32>| match n {
            Some(n) => format!("{name}({n})"),
            None => name.to_owned(),
        };
        match self {
            Numeric(None) => Some("numeric".to_owned()),
            Varchar(n) => Some(limited("varchar", n)),
            Bpchar(n) => Some(limited("bpchar", n)),
            Name | Char | Json | Jsonb | Regclass | Regtype | Regproc | Regnamespace | Record => Some(self.name()),
            _ => None,
        }
    }

    fn from_mark(mark: &str) -> Option<SqlType> {
        use SqlType::*;
        let (name, limit) = match mark.split_once('(') {
            Some((name, rest)) => (name, Some(rest.strip_suffix(')')?.parse().ok()?)),
            None => (mark, None),
        };
        Some(match name {
            "numeric" => Numeric(None),
            "varchar" => Varchar(limit),
            "bpchar" => Bpchar(limit),
            "name" => Name,
            "char" => Char,
            "json" => Json,
            "jsonb" => Jsonb,
            "regclass" => Regclass,
            "regtype" => Regtype,
            "regproc" => Regproc,
            "regnamespace" => Regnamespace,
            "record" => Record,
            _ => return None,
        })
    }

    /// The Postgres type of an unmarked Arrow type; Arrow types that no column of ours has fall to their nearest.
    pub fn from_arrow(data_type: &DataType) -> SqlType {
        use SqlType::*;
        match data_type {
            DataType::Boolean => Bool,
            DataType::Int8 | DataType::UInt8 | DataType::Int16 => Int2,
            DataType::UInt16 | DataType::Int32 => Int4,
            DataType::Int64 => Int8,
            DataType::UInt32 => Oid,
            DataType::UInt64 => Numeric(Some((20, 0))),
            DataType::Float16 | DataType::Float32 => Float4,
            DataType::Float64 => Float8,
            DataType::Decimal32(p, s) | DataType::Decimal64(p, s) | DataType::Decimal128(p, s) => {
                Numeric(Some((*p, *s)))
            }
            DataType::Decimal256(_, _) => Numeric(None),
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView => Bytea,
            DataType::FixedSizeBinary(16) => Uuid,
            DataType::FixedSizeBinary(_) => Bytea,
            DataType::Date32 | DataType::Date64 => Date,
            DataType::Time32(_) | DataType::Time64(_) => Time,
            DataType::Timestamp(_, None) => Timestamp,
            DataType::Timestamp(_, Some(_)) => Timestamptz,
            DataType::Interval(_) | DataType::Duration(_) => Interval,
            DataType::List(field) | DataType::LargeList(field) | DataType::FixedSizeList(field, _) => {
                Array(Box::new(sql_type_of(field)))
            }
            DataType::Dictionary(_, value) => SqlType::from_arrow(value),
            DataType::Null => Unknown,
            _ => Text,
        }
    }
}

impl std::fmt::Display for SqlType {
    /// As `format_type` and psql's `\d` write it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        use SqlType::*;
        match self {
            Bool => f.write_str("boolean"),
            Int2 => f.write_str("smallint"),
            Int4 => f.write_str("integer"),
            Int8 => f.write_str("bigint"),
            Float4 => f.write_str("real"),
            Float8 => f.write_str("double precision"),
            Numeric(Some((precision, scale))) => write!(f, "numeric({precision},{scale})"),
            Varchar(None) => f.write_str("character varying"),
            Varchar(Some(n)) => write!(f, "character varying({n})"),
            Bpchar(None) => f.write_str("character"),
            Bpchar(Some(n)) => write!(f, "character({n})"),
            Char => f.write_str("\"char\""),
            Time => f.write_str("time without time zone"),
            Timestamp => f.write_str("timestamp without time zone"),
            Timestamptz => f.write_str("timestamp with time zone"),
            Array(element) if matches!(**element, Array(_)) => element.fmt(f),
            Array(element) => write!(f, "{element}[]"),
            other => f.write_str(&other.name()),
        }
    }
}

/// A field that holds values of a Postgres type.
pub fn field_of(name: impl Into<String>, sql_type: &SqlType, nullable: bool) -> Field {
    let field = Field::new(name, sql_type.arrow(), nullable);
    match sql_type.mark() {
        Some(mark) => field.with_metadata(HashMap::from([(TYPE_KEY.to_owned(), mark)])),
        None => field,
    }
}

/// The Postgres type of a field's values.
pub fn sql_type_of(field: &Field) -> SqlType {
    field
        .metadata()
        .get(TYPE_KEY)
        .and_then(|mark| SqlType::from_mark(mark))
        .unwrap_or_else(|| SqlType::from_arrow(field.data_type()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_survives_the_way_through_a_field_and_its_oid() {
        let limited = [SqlType::Varchar(Some(7)), SqlType::Bpchar(Some(1)), SqlType::Numeric(Some((12, 2)))];
        for sql_type in SqlType::ALL.iter().chain(&limited) {
            let array = SqlType::Array(Box::new(sql_type.clone()));
            assert_eq!(sql_type_of(&field_of("c", sql_type, true)), *sql_type);
            assert_eq!(sql_type_of(&field_of("c", &array, true)), array);
        }
        for sql_type in SqlType::ALL {
            assert_eq!(SqlType::from_oid(sql_type.oid()).as_ref(), Some(sql_type));
            assert_eq!(SqlType::from_oid(sql_type.array_oid()), Some(SqlType::Array(Box::new(sql_type.clone()))));
        }
    }

    #[test]
    fn modifiers_are_postgres_s() {
        assert_eq!(SqlType::Numeric(Some((10, 2))).typmod(), 655366);
        assert_eq!(SqlType::Varchar(Some(10)).typmod(), 14);
        assert_eq!(SqlType::Numeric(Some((10, 2))).to_string(), "numeric(10,2)");
    }
}
