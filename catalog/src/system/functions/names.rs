//! The `reg*` types: names of catalog objects that stand for their OIDs.
//!
//! A cast to one of them becomes a call of its `in` function, which takes a name or a number, and a cast from it to text
//! one of its `out` function; `to_reg*` is the `in` function that gives NULL for what is not there.

use super::super::relations::{procedure_name, procedure_oid};
use super::Function;
use crate::system::cell::Cell;
use crate::system::pg_types::PG_TYPES;
use crate::system::snapshot::{Snapshot, quote_identifier};
use millrace_types::{Result, SqlError, SqlState, SqlType};

pub const FUNCTIONS: &[Function] = &[
    Function::new("to_regclass", &["text"], "regclass", |s, a| {
        Ok(a[0].text().and_then(|name| s.class_oid(name)).into())
    }),
    Function::new("to_regtype", &["text"], "regtype", |_, a| Ok(a[0].text().and_then(type_oid).into())),
    Function::new("to_regproc", &["text"], "regproc", |_, a| Ok(a[0].text().and_then(procedure_oid).into())),
    Function::new("to_regprocedure", &["text"], "regproc", |_, a| Ok(a[0].text().and_then(signature_oid).into())),
    Function::new("to_regnamespace", &["text"], "regnamespace", |s, a| Ok(schema(s, &a[0]).into())),
    Function::new("to_regrole", &["text"], "oid", |s, a| Ok(role(s, &a[0]).into())),
    Function::new("regclassin", &["any"], "regclass", class_in),
    Function::new("regtypein", &["any"], "regtype", type_in),
    Function::new("regprocin", &["any"], "regproc", procedure_in),
    Function::new("regprocedurein", &["any"], "regproc", signature_in),
    Function::new("regnamespacein", &["any"], "regnamespace", namespace_in),
    Function::new("regrolein", &["any"], "oid", role_in),
    Function::new("regclassout", &["oid"], "text", class_out),
    Function::new("regtypeout", &["oid"], "text", type_out),
    Function::new("regprocout", &["oid"], "text", procedure_out),
    Function::new("regprocedureout", &["oid"], "text", procedure_out),
    Function::new("regnamespaceout", &["oid"], "text", namespace_out),
    Function::new("regroleout", &["oid"], "text", role_out),
];

/// Reads an argument of an `in` function: numbers pass, names are looked up, and what is not there is an error.
fn read(argument: &Cell, look_up: impl Fn(&str) -> Option<u32>, error: impl Fn(&str) -> SqlError) -> Result<Cell> {
    match argument.text() {
        None => Ok(argument.clone()),
        Some("-") => Ok(0u32.into()),
        Some(text) => {
            let found = text.parse().ok().or_else(|| look_up(text));
            found.map(Cell::from).ok_or_else(|| error(text))
        }
    }
}

fn missing(state: SqlState, what: &'static str) -> impl Fn(&str) -> SqlError {
    move |name| SqlError::new(state, format!("{what} \"{name}\" does not exist"))
}

fn class_in(snapshot: &Snapshot, arguments: &[Cell]) -> Result<Cell> {
    let error = missing(SqlState::UNDEFINED_TABLE, "relation");
    read(&arguments[0], |name| snapshot.class_oid(name), error)
}

fn type_in(_: &Snapshot, arguments: &[Cell]) -> Result<Cell> {
    read(&arguments[0], type_oid, missing(SqlState::UNDEFINED_OBJECT, "type"))
}

fn procedure_in(_: &Snapshot, arguments: &[Cell]) -> Result<Cell> {
    read(&arguments[0], procedure_oid, missing(SqlState::UNDEFINED_FUNCTION, "function"))
}

fn signature_in(_: &Snapshot, arguments: &[Cell]) -> Result<Cell> {
    read(&arguments[0], signature_oid, missing(SqlState::UNDEFINED_FUNCTION, "function"))
}

fn namespace_in(snapshot: &Snapshot, arguments: &[Cell]) -> Result<Cell> {
    let error = missing(SqlState::INVALID_SCHEMA_NAME, "schema");
    read(&arguments[0], |_| schema(snapshot, &arguments[0]), error)
}

fn role_in(snapshot: &Snapshot, arguments: &[Cell]) -> Result<Cell> {
    read(&arguments[0], |_| role(snapshot, &arguments[0]), missing(SqlState::UNDEFINED_OBJECT, "role"))
}

fn schema(snapshot: &Snapshot, argument: &Cell) -> Option<u32> {
    snapshot.schema_oid(argument.text()?)
}

fn role(snapshot: &Snapshot, argument: &Cell) -> Option<u32> {
    snapshot.role_oid(argument.text()?)
}

fn signature_oid(written: &str) -> Option<u32> {
    procedure_oid(written.split('(').next()?)
}

/// The OID of a type by its internal name, its SQL name, or one of the words that SQL has for it.
fn type_oid(written: &str) -> Option<u32> {
    let lower = written.trim().to_lowercase();
    let name = lower.strip_prefix("pg_catalog.").unwrap_or(&lower);
    if let Some(element) = name.strip_suffix("[]") {
        let element = type_oid(element)?;
        return PG_TYPES.iter().find(|known| known.oid == element).map(|known| known.array).filter(|oid| *oid != 0);
    }
    // A modifier does not change which type it is.
    let name = name.split('(').next().unwrap_or(name).trim();
    let name = match name {
        "int" => "int4",
        "decimal" => "numeric",
        "float" => "float8",
        "char" => "bpchar",
        "string" => "text",
        "\"char\"" => "char",
        other => other,
    };
    let spelled = |sql_type: &&SqlType| sql_type.to_string() == name;
    let internal = PG_TYPES.iter().find(|known| known.name == name).map(|known| known.oid);
    internal.or_else(|| SqlType::ALL.iter().find(spelled).map(SqlType::oid))
}

/// Writes an argument of an `out` function: 0 is "-", and what is not there its number.
fn write(argument: &Cell, name: impl Fn(u32) -> Option<String>) -> Result<Cell> {
    Ok(match argument.oid() {
        Some(0) => "-".into(),
        Some(oid) => name(oid).unwrap_or_else(|| oid.to_string()).into(),
        None => Cell::Null,
    })
}

fn class_out(snapshot: &Snapshot, arguments: &[Cell]) -> Result<Cell> {
    write(&arguments[0], |oid| {
        let (schema, name) = snapshot.class_name(oid)?;
        let name = quote_identifier(name);
        Some(match snapshot.class_is_visible(oid) {
            Some(true) => name,
            _ => format!("{}.{name}", quote_identifier(schema)),
        })
    })
}

fn type_out(_: &Snapshot, arguments: &[Cell]) -> Result<Cell> {
    write(&arguments[0], |oid| type_name(oid, None))
}

fn procedure_out(_: &Snapshot, arguments: &[Cell]) -> Result<Cell> {
    write(&arguments[0], |oid| procedure_name(oid).map(str::to_owned))
}

fn namespace_out(snapshot: &Snapshot, arguments: &[Cell]) -> Result<Cell> {
    write(&arguments[0], |oid| {
        snapshot.schemas().find(|(known, _)| *known == oid).map(|(_, name)| quote_identifier(name))
    })
}

fn role_out(snapshot: &Snapshot, arguments: &[Cell]) -> Result<Cell> {
    write(&arguments[0], |oid| snapshot.role_name(oid).map(quote_identifier))
}

/// The SQL name of the type with an OID and a modifier, as `format_type` writes it.
pub fn type_name(oid: u32, modifier: Option<i32>) -> Option<String> {
    let modifier = modifier.filter(|modifier| *modifier >= 4);
    let known = |oid| SqlType::from_oid(oid).map(|sql_type| with_modifier(sql_type, modifier).to_string());
    known(oid).or_else(|| {
        let listed = PG_TYPES.iter().find(|known| known.oid == oid)?;
        match listed.element {
            0 => Some(quote_identifier(&listed.name)),
            element => type_name(element, None).map(|element| format!("{element}[]")),
        }
    })
}

fn with_modifier(sql_type: SqlType, modifier: Option<i32>) -> SqlType {
    let Some(modifier) = modifier else { return sql_type };
    let length = (modifier - 4) as u32;
    match sql_type {
        SqlType::Varchar(_) => SqlType::Varchar(Some(length)),
        SqlType::Bpchar(_) => SqlType::Bpchar(Some(length)),
        // The scale is a signed number of eleven bits.
        SqlType::Numeric(_) => {
            let scale = ((length & 0x7ff) as i32) << 21 >> 21;
            SqlType::Numeric(Some((((length >> 16) & 0xff) as u8, scale as i8)))
        }
        SqlType::Array(element) => SqlType::Array(Box::new(with_modifier(*element, Some(modifier)))),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_found_by_every_name_they_have() {
        for (written, oid) in [
            ("uuid", Some(2950)),
            ("integer", Some(23)),
            ("int", Some(23)),
            ("character varying(10)", Some(1043)),
            ("text[]", Some(1009)),
            ("_text", Some(1009)),
            ("pg_catalog.timestamptz", Some(1184)),
            ("\"char\"", Some(18)),
            ("hstore", None),
        ] {
            assert_eq!(type_oid(written), oid, "{written}");
        }
    }

    #[test]
    fn types_are_named_with_their_modifier() {
        for sql_type in [SqlType::Numeric(Some((12, 2))), SqlType::Numeric(Some((5, -2))), SqlType::Varchar(Some(10))] {
            assert_eq!(type_name(sql_type.oid(), Some(sql_type.typmod())), Some(sql_type.to_string()));
        }
        assert_eq!(type_name(1009, Some(-1)).as_deref(), Some("text[]"));
        assert_eq!(type_name(2249, None).as_deref(), Some("record"));
    }
}
