//! `pg_proc`: the functions that types name, and the system functions.

use super::super::functions::{FUNCTIONS, Function};
use super::super::pg_types::routines;
use super::super::rows::Rows;
use super::super::shape::named_type;
use super::super::snapshot::{PG_CATALOG, Snapshot};
use millrace_types::SqlType;

/// OID of the first system function; the others count on in the order of the list.
const FIRST_FUNCTION: u32 = 9_000;
/// OID of the language `internal`.
const INTERNAL: u32 = 12;

pub fn fill(_: &Snapshot, rows: &mut Rows) {
    for (name, oid) in routines() {
        rows.push([
            ("oid", oid.into()),
            ("proname", name.into()),
            ("pronamespace", PG_CATALOG.into()),
            ("proowner", 10u32.into()),
            ("prolang", INTERNAL.into()),
            ("procost", 1.0.into()),
            ("prokind", 'f'.into()),
            ("proisstrict", true.into()),
            ("provolatile", 'i'.into()),
            ("proparallel", 's'.into()),
            ("prosrc", name.into()),
        ]);
    }
    for (oid, function) in functions() {
        let arguments: Vec<u32> = function.arguments.iter().map(|name| argument_oid(name)).collect();
        rows.push([
            ("oid", oid.into()),
            ("proname", function.name.into()),
            ("pronamespace", PG_CATALOG.into()),
            ("proowner", 10u32.into()),
            ("prolang", INTERNAL.into()),
            ("procost", 1.0.into()),
            ("prokind", 'f'.into()),
            ("proisstrict", function.strict.into()),
            ("provolatile", 's'.into()),
            ("proparallel", 's'.into()),
            ("pronargs", arguments.len().into()),
            ("pronargdefaults", (arguments.len() - function.required).into()),
            ("prorettype", argument_oid(function.result).into()),
            ("proargtypes", arguments.into()),
            ("prosrc", function.name.into()),
        ]);
    }
}

fn functions() -> impl Iterator<Item = (u32, &'static Function)> {
    (FIRST_FUNCTION..).zip(FUNCTIONS.iter().copied().flatten())
}

/// The system function with an OID.
pub fn function(oid: u32) -> Option<&'static Function> {
    functions().find(|(known, _)| *known == oid).map(|(_, function)| function)
}

/// The OID of a type as a function's signature names it.
fn argument_oid(name: &str) -> u32 {
    const ANY: u32 = 2276;
    named_type(name).map_or(ANY, |sql_type: SqlType| sql_type.oid())
}

/// The name of what `pg_proc` lists under an OID.
pub fn procedure_name(oid: u32) -> Option<&'static str> {
    let of_type = routines().into_iter().find(|(_, known)| *known == oid).map(|(name, _)| name);
    of_type.or_else(|| function(oid).map(|function| function.name))
}

/// The OID of a function of `pg_catalog` by its name, with or without the schema.
pub fn procedure_oid(written: &str) -> Option<u32> {
    let name = written.strip_prefix("pg_catalog.").unwrap_or(written);
    let of_type = routines().into_iter().find(|(known, _)| *known == name).map(|(_, oid)| oid);
    of_type.or_else(|| functions().find(|(_, function)| function.name == name).map(|(oid, _)| oid))
}
