//! Values of Protobuf as values of columns. What Google's well-known messages stand for is taken as such.

use crate::format::cell::{Cell, Value as Scalar, quote_element, write_element, write_json};
use crate::format::json::NOT_UTF8;
use crate::format::json_writer::write_string;
use crate::value::{Kind as Look, Token};
use millrace_types::SqlType;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, ReflectMessage, Value};

type Read<T> = std::result::Result<T, String>;

/// Values may be nested this deep; the decoder has a limit, too.
const MAX_DEPTH: usize = 100;

/// The type of the column that a field is.
pub(super) fn sql_type(field: &FieldDescriptor) -> SqlType {
    if field.is_map() {
        return SqlType::Jsonb;
    }
    let one = type_of(&field.kind());
    match (field.is_list(), one) {
        (true, SqlType::Jsonb) => SqlType::Jsonb,
        (true, one) => SqlType::Array(Box::new(one)),
        (false, one) => one,
    }
}

fn type_of(kind: &Kind) -> SqlType {
    match kind {
        Kind::Bool => SqlType::Bool,
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => SqlType::Int4,
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 | Kind::Uint32 | Kind::Fixed32 => SqlType::Int8,
        Kind::Uint64 | Kind::Fixed64 => SqlType::Numeric(Some((20, 0))),
        Kind::Float => SqlType::Float4,
        Kind::Double => SqlType::Float8,
        Kind::String | Kind::Enum(_) => SqlType::Text,
        Kind::Bytes => SqlType::Bytea,
        Kind::Message(message) => match Known::of(message) {
            Some(Known::Timestamp) => SqlType::Timestamptz,
            Some(Known::Duration) => SqlType::Interval,
            Some(Known::Wrapper) => message.get_field(1).map_or(SqlType::Jsonb, |field| type_of(&field.kind())),
            _ => SqlType::Jsonb,
        },
    }
}

/// Messages that stand for something else than an object of their fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Timestamp,
    Duration,
    /// Of a value that may be absent.
    Wrapper,
    /// Of one field, which is meant.
    Struct,
    List,
    Any,
}

impl Known {
    fn of(message: &MessageDescriptor) -> Option<Known> {
        let name = message.full_name().strip_prefix("google.protobuf.")?;
        Some(match name {
            "Timestamp" => Known::Timestamp,
            "Duration" => Known::Duration,
            "Struct" => Known::Struct,
            "ListValue" => Known::List,
            "Value" => Known::Any,
            name if name.ends_with("Value") => Known::Wrapper,
            _ => return None,
        })
    }
}

/// The token of a field for a column.
pub(super) fn token(value: &Value, field: &FieldDescriptor, cell: &Cell, extra: &mut Vec<u8>) -> Read<Token> {
    let start = extra.len();
    match value {
        Value::List(elements) if cell.is_list() => {
            extra.push(b'{');
            for (index, element) in elements.iter().enumerate() {
                separate(extra, index);
                match scalar(element, &field.kind(), false)? {
                    Some(element) => write_element(extra, &element),
                    None => {
                        let start = extra.len();
                        json(element, &field.kind(), extra, 0)?;
                        quote_element(extra, start);
                    }
                }
            }
            extra.push(b'}');
        }
        Value::List(_) | Value::Map(_) => json(value, &field.kind(), extra, 0)?,
        value => match scalar(value, &field.kind(), cell.is_integer())? {
            Some(value) => return Ok(cell.token(&value, extra)),
            None => json(value, &field.kind(), extra, 0)?,
        },
    }
    Ok(Token::new(Look::Rewritten, start, extra.len()))
}

/// A value that is no list, map or object. `numbered` asks for the number of an enum instead of its name.
fn scalar<'a>(value: &'a Value, kind: &'a Kind, numbered: bool) -> Read<Option<Scalar<'a>>> {
    Ok(Some(match value {
        Value::Bool(value) => Scalar::Boolean(*value),
        Value::I32(value) => Scalar::Integer((*value).into()),
        Value::I64(value) => Scalar::Integer(*value),
        Value::U32(value) => Scalar::Integer((*value).into()),
        Value::U64(value) => match i64::try_from(*value) {
            Ok(value) => Scalar::Integer(value),
            Err(_) => Scalar::Unsigned(*value),
        },
        Value::F32(value) => Scalar::Single(*value),
        Value::F64(value) => Scalar::Float(*value),
        Value::String(text) if text.contains('\0') => return Err(NOT_UTF8.to_owned()),
        Value::String(text) => Scalar::text(text),
        Value::Bytes(bytes) => Scalar::Bytes(bytes.as_ref().into()),
        Value::EnumNumber(number) => match kind {
            Kind::Enum(all) if !numbered => match all.get_value(*number) {
                Some(known) => Scalar::text(known.name().to_owned()),
                None => Scalar::Integer((*number).into()),
            },
            _ => Scalar::Integer((*number).into()),
        },
        Value::Message(message) => match Known::of(&message.descriptor()) {
            Some(Known::Timestamp) => Scalar::Moment { micros: micros(message)?, zoned: true },
            Some(Known::Duration) => Scalar::Interval { months: 0, days: 0, micros: micros(message)? },
            Some(Known::Wrapper) => return wrapped(message),
            _ => return Ok(None),
        },
        Value::List(_) | Value::Map(_) => return Ok(None),
    }))
}

/// What a message of one value holds.
fn wrapped(message: &DynamicMessage) -> Read<Option<Scalar<'static>>> {
    let Some(field) = message.descriptor().get_field(1) else { return Ok(None) };
    Ok(match &*message.get_field(&field) {
        Value::String(text) => Some(Scalar::text(text.clone())),
        Value::Bytes(bytes) => Some(Scalar::Bytes(bytes.to_vec().into())),
        Value::Bool(value) => Some(Scalar::Boolean(*value)),
        Value::I32(value) => Some(Scalar::Integer((*value).into())),
        Value::I64(value) => Some(Scalar::Integer(*value)),
        Value::U32(value) => Some(Scalar::Integer((*value).into())),
        Value::U64(value) => Some(Scalar::Unsigned(*value)),
        Value::F32(value) => Some(Scalar::Single(*value)),
        Value::F64(value) => Some(Scalar::Float(*value)),
        _ => None,
    })
}

/// Seconds and nanoseconds as microseconds.
fn micros(message: &DynamicMessage) -> Read<i64> {
    let part =
        |number| message.get_field_by_number(number).and_then(|part| part.as_i64().or(part.as_i32().map(i64::from)));
    let (seconds, nanos) = (part(1).unwrap_or_default(), part(2).unwrap_or_default());
    let micros = seconds.checked_mul(1_000_000).and_then(|micros| micros.checked_add(nanos.div_euclid(1000)));
    micros.ok_or_else(|| "a time out of range".to_owned())
}

/// Appends a value as JSON.
fn json(value: &Value, kind: &Kind, out: &mut Vec<u8>, depth: usize) -> Read<()> {
    if depth > MAX_DEPTH {
        return Err("nested too deeply".to_owned());
    }
    if let Some(value) = scalar(value, kind, false)? {
        write_json(out, &value);
        return Ok(());
    }
    match value {
        Value::List(elements) => {
            out.push(b'[');
            for (index, element) in elements.iter().enumerate() {
                separate(out, index);
                json(element, kind, out, depth + 1)?;
            }
            out.push(b']');
        }
        Value::Map(entries) => {
            let Kind::Message(entry) = kind else { return Err("a map without entries".to_owned()) };
            let values = entry.map_entry_value_field().kind();
            let mut sorted: Vec<_> = entries.iter().map(|(key, value)| (key_text(key), value)).collect();
            sorted.sort_by(|a, b| a.0.cmp(&b.0));
            out.push(b'{');
            for (index, (key, value)) in sorted.into_iter().enumerate() {
                separate(out, index);
                write_string(out, key.as_bytes());
                out.push(b':');
                json(value, &values, out, depth + 1)?;
            }
            out.push(b'}');
        }
        Value::Message(message) => object(message, out, depth)?,
        _ => {}
    }
    Ok(())
}

fn object(message: &DynamicMessage, out: &mut Vec<u8>, depth: usize) -> Read<()> {
    let descriptor = message.descriptor();
    match Known::of(&descriptor) {
        Some(Known::Struct | Known::List) => {
            let Some(field) = descriptor.get_field(1) else { return Ok(()) };
            return json(&message.get_field(&field), &field.kind(), out, depth + 1);
        }
        Some(Known::Any) => {
            let set = message.fields().next();
            match set.filter(|(field, _)| field.name() != "null_value") {
                Some((field, value)) => return json(value, &field.kind(), out, depth + 1),
                None => out.extend_from_slice(b"null"),
            }
            return Ok(());
        }
        _ => {}
    }
    out.push(b'{');
    let mut index = 0;
    for field in descriptor.fields() {
        if field.supports_presence() && !message.has_field(&field) {
            continue;
        }
        separate(out, index);
        index += 1;
        write_string(out, field.name().as_bytes());
        out.push(b':');
        json(&message.get_field(&field), &field.kind(), out, depth + 1)?;
    }
    out.push(b'}');
    Ok(())
}

fn key_text(key: &MapKey) -> String {
    match key {
        MapKey::Bool(key) => key.to_string(),
        MapKey::I32(key) => key.to_string(),
        MapKey::I64(key) => key.to_string(),
        MapKey::U32(key) => key.to_string(),
        MapKey::U64(key) => key.to_string(),
        MapKey::String(key) => key.clone(),
    }
}

fn separate(out: &mut Vec<u8>, index: usize) {
    if index > 0 {
        out.push(b',');
    }
}
