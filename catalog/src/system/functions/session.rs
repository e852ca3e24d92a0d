//! What a session can ask about itself and the server.

use super::Function;
use crate::catalog::is_temporary_schema;
use crate::system::cell::Cell;
use crate::system::snapshot::Snapshot;
use millrace_types::{Result, SqlError, SqlState};

pub const FUNCTIONS: &[Function] = &[
    Function::new("current_database", &[], "name", database),
    Function::new("current_catalog", &[], "name", database),
    Function::new("current_user", &[], "name", user),
    Function::new("current_role", &[], "name", user),
    Function::new("session_user", &[], "name", user),
    Function::new("user", &[], "name", user),
    Function::new("current_schema", &[], "name", |snapshot, _| Ok(named_path(snapshot).next().into())),
    Function::new("current_schemas", &["bool"], "_name", schemas),
    Function::new("version", &[], "text", version),
    Function::new("current_setting", &["text", "bool"], "text", current_setting).optional(1),
    Function::new("set_config", &["text", "text", "bool"], "text", |_, arguments| Ok(arguments[1].clone())).lenient(),
    Function::new("pg_backend_pid", &[], "int4", |snapshot, _| Ok(snapshot.backend_pid.into())),
    Function::new("pg_is_in_recovery", &[], "bool", |_, _| Ok(false.into())),
    Function::new("pg_postmaster_start_time", &[], "timestamptz", |snapshot, _| Ok(snapshot.started_at.into())),
    Function::new("pg_conf_load_time", &[], "timestamptz", |snapshot, _| Ok(snapshot.started_at.into())),
    Function::new("pg_my_temp_schema", &[], "oid", temporary_schema),
    Function::new("pg_is_other_temp_schema", &["oid"], "bool", |_, _| Ok(false.into())),
    Function::new("pg_client_encoding", &[], "name", |_, _| Ok("UTF8".into())),
    Function::new("getdatabaseencoding", &[], "name", |_, _| Ok("UTF8".into())),
    Function::new("pg_encoding_to_char", &["int4"], "name", encoding_name),
    Function::new("pg_char_to_encoding", &["name"], "int4", encoding_number),
    Function::new("pg_tablespace_location", &["oid"], "text", |_, _| Ok("".into())),
    Function::new("inet_server_addr", &[], "text", |_, _| Ok(Cell::Null)),
    Function::new("inet_server_port", &[], "int4", |_, _| Ok(Cell::Null)),
    Function::new("inet_client_addr", &[], "text", |snapshot, _| Ok(client_address(snapshot).into())),
    Function::new("inet_client_port", &[], "int4", |snapshot, _| Ok(client_port(snapshot).into())),
    Function::new("txid_current", &[], "int8", transaction),
    Function::new("pg_current_xact_id", &[], "int8", transaction),
    Function::new("pg_blocking_pids", &["int4"], "_int4", |_, _| Ok(Cell::List(Vec::new()))),
    Function::new("pg_advisory_lock", &["int8", "int4"], "text", |_, _| Ok("".into())).optional(1),
    Function::new("pg_advisory_lock_shared", &["int8", "int4"], "text", |_, _| Ok("".into())).optional(1),
    Function::new("pg_advisory_xact_lock", &["int8", "int4"], "text", |_, _| Ok("".into())).optional(1),
    Function::new("pg_try_advisory_lock", &["int8", "int4"], "bool", |_, _| Ok(true.into())).optional(1),
    Function::new("pg_try_advisory_lock_shared", &["int8", "int4"], "bool", |_, _| Ok(true.into())).optional(1),
    Function::new("pg_try_advisory_xact_lock", &["int8", "int4"], "bool", |_, _| Ok(true.into())).optional(1),
    Function::new("pg_advisory_unlock", &["int8", "int4"], "bool", |_, _| Ok(true.into())).optional(1),
    Function::new("pg_advisory_unlock_shared", &["int8", "int4"], "bool", |_, _| Ok(true.into())).optional(1),
    Function::new("pg_advisory_unlock_all", &[], "text", |_, _| Ok("".into())),
];

/// The version of Postgres whose behaviour and catalogs are followed, for a session that was not told another.
const SERVER_VERSION: &str = "15.0";

fn database(snapshot: &Snapshot, _: &[Cell]) -> Result<Cell> {
    Ok(snapshot.database.as_str().into())
}

fn user(snapshot: &Snapshot, _: &[Cell]) -> Result<Cell> {
    Ok(snapshot.user.as_str().into())
}

/// The search path without the schema of temporary relations, which nobody named.
fn named_path(snapshot: &Snapshot) -> impl Iterator<Item = &str> {
    snapshot.search_path.iter().map(String::as_str).filter(|schema| !is_temporary_schema(schema))
}

/// The schema of the session's temporary relations, 0 while it has none.
fn temporary_schema(snapshot: &Snapshot, _: &[Cell]) -> Result<Cell> {
    let schema = snapshot.search_path.iter().find(|schema| is_temporary_schema(schema));
    Ok(schema.and_then(|schema| snapshot.schema_oid(schema)).unwrap_or(0).into())
}

fn schemas(snapshot: &Snapshot, arguments: &[Cell]) -> Result<Cell> {
    let implicit = arguments[0] == Cell::Bool(true);
    let path: Vec<&str> = match implicit {
        true => snapshot.path().collect(),
        false => named_path(snapshot).collect(),
    };
    Ok(path.into())
}

/// Clients read the number after "PostgreSQL " to know what they may ask.
fn version(snapshot: &Snapshot, _: &[Cell]) -> Result<Cell> {
    let followed = snapshot.setting("server_version").unwrap_or(SERVER_VERSION);
    let number = followed.split(' ').next().unwrap_or(SERVER_VERSION);
    Ok(format!(
        "PostgreSQL {number} (Millrace {}) on {}-{}, 64-bit",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::ARCH,
        std::env::consts::OS
    )
    .into())
}

fn current_setting(snapshot: &Snapshot, arguments: &[Cell]) -> Result<Cell> {
    let name = arguments[0].text().unwrap_or_default();
    match snapshot.setting(name) {
        Some(value) => Ok(value.into()),
        None if arguments.get(1) == Some(&Cell::Bool(true)) => Ok(Cell::Null),
        None => {
            Err(SqlError::new(SqlState::UNDEFINED_OBJECT, format!("unrecognized configuration parameter \"{name}\"")))
        }
    }
}

/// Postgres's numbers for the encodings; text is always UTF8 here.
fn encoding_name(_: &Snapshot, arguments: &[Cell]) -> Result<Cell> {
    Ok(match arguments[0].int() {
        Some(0) => "SQL_ASCII",
        Some(6) => "UTF8",
        Some(8) => "LATIN1",
        _ => "",
    }
    .into())
}

fn encoding_number(_: &Snapshot, arguments: &[Cell]) -> Result<Cell> {
    let name = arguments[0].text().unwrap_or_default().to_uppercase().replace('-', "");
    Ok(match name.as_str() {
        "SQL_ASCII" => 0,
        "UTF8" | "UNICODE" => 6,
        "LATIN1" => 8,
        _ => -1,
    }
    .into())
}

fn own(snapshot: &Snapshot) -> Option<&crate::system::Session> {
    snapshot.sessions.iter().find(|session| session.pid == snapshot.backend_pid)
}

fn client_address(snapshot: &Snapshot) -> Option<&str> {
    own(snapshot)?.client_address.as_deref()
}

fn client_port(snapshot: &Snapshot) -> Option<i32> {
    own(snapshot)?.client_port
}

/// Transactions have no numbers of their own; the catalog's version only grows, as they would.
fn transaction(snapshot: &Snapshot, _: &[Cell]) -> Result<Cell> {
    Ok((snapshot.catalog.version() as i64 + 1).into())
}
