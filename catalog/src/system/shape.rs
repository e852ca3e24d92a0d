//! The shapes of the system relations: names, OIDs and column lists, read from `relations.txt`.
//!
//! Every relation of PostgreSQL 15's two system schemas has its shape here, so that a client can read all its columns;
//! those without rows of their own are empty.

use millrace_types::{SqlType, field_of};
use std::sync::{Arc, LazyLock};

use arrow::datatypes::{Schema, SchemaRef};

/// One system relation.
pub struct Shape {
    /// Its OID.
    pub oid: u32,
    /// The schema that holds it.
    pub schema: &'static str,
    /// Its name.
    pub name: &'static str,
    /// `pg_class.relkind`: `r` or `v`.
    pub kind: char,
    /// Its columns in order.
    pub columns: Vec<(&'static str, SqlType)>,
    /// The same columns as Arrow fields.
    pub fields: SchemaRef,
}

/// Every system relation, in the order of schema and name.
pub static SHAPES: LazyLock<Vec<Shape>> = LazyLock::new(|| {
    let lines = include_str!("relations.txt").lines().filter(|line| !line.starts_with('#'));
    let mut shapes: Vec<_> = lines.filter_map(parse).collect();
    shapes.sort_by_key(|shape| (shape.schema, shape.name));
    shapes
});

/// The system relation of this name; with no schema given it is one of `pg_catalog`, which every search path begins
/// with.
pub fn shape(schema: Option<&str>, name: &str) -> Option<&'static Shape> {
    let wanted = (schema.unwrap_or("pg_catalog"), name);
    let found = SHAPES.binary_search_by(|shape| (shape.schema, shape.name).cmp(&wanted)).ok()?;
    Some(&SHAPES[found])
}

fn parse(line: &'static str) -> Option<Shape> {
    let mut parts = line.split('|');
    let (schema, name) = parts.next()?.split_once('.')?;
    let oid = parts.next()?.parse().ok()?;
    let kind = parts.next()?.chars().next()?;
    let columns: Vec<_> = parts
        .next()?
        .split(", ")
        .map(|column| column.split_once(' ').and_then(|(name, spelling)| Some((name, named_type(spelling)?))))
        .collect::<Option<_>>()?;
    let fields: Vec<_> = columns.iter().map(|(name, sql_type)| field_of(*name, sql_type, true)).collect();
    Some(Shape { oid, schema, name, kind, columns, fields: Arc::new(Schema::new(fields)) })
}

/// The type of this internal name, `_name` being the array of `name`.
pub fn named_type(name: &str) -> Option<SqlType> {
    match name.strip_prefix('_') {
        Some(element) => Some(SqlType::Array(Box::new(named_type(element)?))),
        None => SqlType::ALL.iter().find(|sql_type| sql_type.name() == name).cloned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_list_is_a_relation() {
        let lines = include_str!("relations.txt").lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(SHAPES.len(), lines);
        let class = shape(None, "pg_class").unwrap();
        assert_eq!((class.oid, class.kind, class.columns.len()), (1259, 'r', 33));
        assert_eq!(class.columns[1], ("relname", SqlType::Name));
        assert!(shape(Some("information_schema"), "columns").is_some());
    }
}
