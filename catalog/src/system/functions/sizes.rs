//! `pg_*_size`: how much relations hold in memory.

use super::Function;
use crate::system::cell::Cell;
use crate::system::snapshot::Snapshot;
use millrace_types::{RelationId, Result};

pub const FUNCTIONS: &[Function] = &[
    Function::new("pg_relation_size", &["regclass", "text"], "int8", relation).optional(1),
    Function::new("pg_table_size", &["regclass"], "int8", relation),
    Function::new("pg_total_relation_size", &["regclass"], "int8", relation),
    Function::new("pg_indexes_size", &["regclass"], "int8", |_, _| Ok(0i64.into())),
    Function::new("pg_database_size", &["any"], "int8", database),
    Function::new("pg_tablespace_size", &["any"], "int8", database),
    Function::new("pg_size_pretty", &["int8"], "text", pretty),
    Function::new("pg_stat_get_numscans", &["oid"], "int8", |_, _| Ok(0i64.into())),
    Function::new("pg_relation_filenode", &["regclass"], "oid", |_, arguments| Ok(arguments[0].clone())),
];

fn relation(snapshot: &Snapshot, arguments: &[Cell]) -> Result<Cell> {
    let Some(oid) = arguments[0].oid() else { return Ok(Cell::Null) };
    let known = snapshot.class_name(oid).is_some();
    let bytes = snapshot.sizes.get(&RelationId(oid)).map_or(0, |size| size.bytes as i64);
    Ok(known.then_some(bytes).into())
}

fn database(snapshot: &Snapshot, _: &[Cell]) -> Result<Cell> {
    Ok((snapshot.sizes.values().map(|size| size.bytes).sum::<u64>() as i64).into())
}

/// Halves are rounded away from zero, and a unit is used up to 10,240 of the one before it, as in Postgres.
fn pretty(_: &Snapshot, arguments: &[Cell]) -> Result<Cell> {
    let Some(bytes) = arguments[0].int() else { return Ok(Cell::Null) };
    let mut size = i128::from(bytes);
    let mut unit = "bytes";
    // The first step keeps one more bit, so that the last division can round.
    let mut halves = false;
    for next in ["kB", "MB", "GB", "TB", "PB"] {
        let limit = if halves { 20_480 } else { 10_240 };
        if size.abs() < limit {
            break;
        }
        size >>= if halves { 10 } else { 9 };
        halves = true;
        unit = next;
    }
    if halves {
        size = (size + size.signum()) / 2;
    }
    Ok(format!("{size} {unit}").into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::sample::snapshot;

    #[test]
    fn sizes_are_written_as_postgres_writes_them() {
        for (bytes, text) in [
            (0i64, "0 bytes"),
            (10_239, "10239 bytes"),
            (10_240, "10 kB"),
            (10_752, "11 kB"),
            (1_048_576, "1024 kB"),
            (123_456_789, "118 MB"),
        ] {
            assert_eq!(pretty(&snapshot(), &[bytes.into()]).unwrap(), Cell::from(text));
        }
    }
}
