//! How a [`SqlType`] is written in a stored definition: its internal name with the modifier, as in `numeric(12,2)` or
//! `_varchar(10)` for an array. Unlike the enum's own shape, the spelling can be read after the enum has changed.

use millrace_types::SqlType;
use serde::{Deserialize, Deserializer, Serializer};

/// Writes a type; for `#[serde(with)]`.
pub fn serialize<S: Serializer>(sql_type: &SqlType, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&spell(sql_type))
}

/// Reads a type; for `#[serde(with)]`.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SqlType, D::Error> {
    let text = String::deserialize(deserializer)?;
    read(&text).ok_or_else(|| serde::de::Error::custom(format!("type \"{text}\" does not exist")))
}

fn spell(sql_type: &SqlType) -> String {
    match sql_type {
        SqlType::Numeric(Some((precision, scale))) => format!("numeric({precision},{scale})"),
        SqlType::Varchar(Some(length)) => format!("varchar({length})"),
        SqlType::Bpchar(Some(length)) => format!("bpchar({length})"),
        SqlType::Array(element) => format!("_{}", spell(element)),
        plain => plain.name(),
    }
}

fn read(text: &str) -> Option<SqlType> {
    if let Some(element) = text.strip_prefix('_') {
        return Some(SqlType::Array(Box::new(read(element)?)));
    }
    let (name, modifier) = match text.split_once('(') {
        Some((name, rest)) => (name, Some(rest.strip_suffix(')')?)),
        None => (text, None),
    };
    match (name, modifier) {
        ("unknown", None) => Some(SqlType::Unknown),
        ("record", None) => Some(SqlType::Record),
        (_, None) => SqlType::ALL.iter().find(|known| known.name() == name).cloned(),
        ("numeric", Some(modifier)) => {
            let (precision, scale) = modifier.split_once(',')?;
            Some(SqlType::Numeric(Some((precision.parse().ok()?, scale.parse().ok()?))))
        }
        ("varchar", Some(length)) => Some(SqlType::Varchar(Some(length.parse().ok()?))),
        ("bpchar", Some(length)) => Some(SqlType::Bpchar(Some(length.parse().ok()?))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_survives_its_spelling() {
        let limited = [SqlType::Varchar(Some(7)), SqlType::Bpchar(Some(1)), SqlType::Numeric(Some((12, -2)))];
        for sql_type in SqlType::ALL.iter().chain(&limited).chain(&[SqlType::Unknown]) {
            assert_eq!(read(&spell(sql_type)).as_ref(), Some(sql_type));
            let array = SqlType::Array(Box::new(sql_type.clone()));
            assert_eq!(read(&spell(&array)), Some(array));
        }
    }

    #[test]
    fn what_is_no_type_is_refused() {
        for text in ["", "_", "nosuch", "varchar(", "varchar(x)", "numeric(1)", "int4(3)"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
