//! `pg_attribute` and `pg_attrdef`: the columns of everything that `pg_class` lists, and their defaults.

use super::super::pg_types::pg_type;
use super::super::rows::Rows;
use super::super::shape::SHAPES;
use super::super::snapshot::{Snapshot, derived_oid};
use millrace_types::SqlType;

/// A column on its way into a row.
struct Attribute<'a> {
    relation: u32,
    name: &'a str,
    sql_type: &'a SqlType,
    number: usize,
    not_null: bool,
    has_default: bool,
}

pub fn fill(snapshot: &Snapshot, rows: &mut Rows) {
    for relation in snapshot.relations() {
        for (index, column) in relation.columns.iter().enumerate() {
            let attribute = Attribute {
                relation: relation.id.0,
                name: &column.name,
                sql_type: &column.sql_type,
                number: index + 1,
                not_null: column.not_null,
                has_default: column.default.is_some(),
            };
            push(attribute, rows);
        }
        for key in relation.index_keys() {
            let columns = key.columns.iter().filter_map(|column| relation.columns.get(*column));
            for (index, column) in columns.enumerate() {
                push(plain(key.index.0, &column.name, &column.sql_type, index + 1), rows);
            }
        }
    }
    for shape in SHAPES.iter() {
        for (index, (name, sql_type)) in shape.columns.iter().enumerate() {
            push(plain(shape.oid, name, sql_type, index + 1), rows);
        }
    }
}

fn plain<'a>(relation: u32, name: &'a str, sql_type: &'a SqlType, number: usize) -> Attribute<'a> {
    Attribute { relation, name, sql_type, number, not_null: false, has_default: false }
}

fn push(attribute: Attribute<'_>, rows: &mut Rows) {
    let oid = attribute.sql_type.oid();
    let listed = pg_type(oid);
    rows.push([
        ("attrelid", attribute.relation.into()),
        ("attname", attribute.name.into()),
        ("atttypid", oid.into()),
        ("attstattarget", (-1).into()),
        ("attlen", listed.map_or(-1, |t| t.length).into()),
        ("attnum", attribute.number.into()),
        ("attndims", i32::from(matches!(attribute.sql_type, SqlType::Array(_))).into()),
        ("attcacheoff", (-1).into()),
        ("atttypmod", attribute.sql_type.typmod().into()),
        ("attbyval", listed.is_some_and(|t| t.by_value).into()),
        ("attalign", listed.map_or("i", |t| t.align).into()),
        ("attstorage", listed.map_or("x", |t| t.storage).into()),
        ("attnotnull", attribute.not_null.into()),
        ("atthasdef", attribute.has_default.into()),
        ("attislocal", true.into()),
        ("attcollation", listed.map_or(0, |t| t.collation).into()),
    ]);
}

/// The defaults. `adbin` holds the SQL text itself, which `pg_get_expr` gives back.
pub fn defaults(snapshot: &Snapshot, rows: &mut Rows) {
    for relation in snapshot.relations() {
        for (index, column) in relation.columns.iter().enumerate() {
            let Some(default) = &column.default else { continue };
            rows.push([
                ("oid", derived_oid(relation.id, index).into()),
                ("adrelid", relation.id.into()),
                ("adnum", (index + 1).into()),
                ("adbin", default.into()),
            ]);
        }
    }
}
