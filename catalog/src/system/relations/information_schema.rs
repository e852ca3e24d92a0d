//! `information_schema`: what the SQL standard says of the same definitions.

use super::super::cell::Cell;
use super::super::rows::Rows;
use super::super::shape::SHAPES;
use super::super::snapshot::Snapshot;
use super::foreign;
use super::indexes::is_primary;
use crate::definition::{Column, Key, Relation, RelationKind};
use millrace_types::SqlType;

fn yes_or_no(yes: bool) -> Cell {
    if yes { "YES" } else { "NO" }.into()
}

fn table_kind(kind: &RelationKind) -> &'static str {
    match kind {
        RelationKind::Table(_) => "BASE TABLE",
        RelationKind::View { .. } => "VIEW",
        RelationKind::MaterializedView { .. } => "MATERIALIZED VIEW",
        RelationKind::Sequence(_) => "SEQUENCE",
        RelationKind::Source { .. } | RelationKind::Sink { .. } | RelationKind::Job { .. } => "FOREIGN",
    }
}

/// The relations; unlike Postgres it lists materialized views, which the standard does not know and tools ask for.
pub fn tables(snapshot: &Snapshot, rows: &mut Rows) {
    let is_sequence = |kind: &RelationKind| matches!(kind, RelationKind::Sequence(_));
    for relation in snapshot.relations().filter(|relation| !is_sequence(&relation.kind)) {
        let kind = match table_kind(&relation.kind) {
            "BASE TABLE" if crate::is_temporary_schema(&relation.schema) => "LOCAL TEMPORARY",
            kind => kind,
        };
        rows.push([
            ("table_catalog", snapshot.database.as_str().into()),
            ("table_schema", relation.schema.as_str().into()),
            ("table_name", relation.name.as_str().into()),
            ("table_type", kind.into()),
            ("is_insertable_into", yes_or_no(relation.kind.is_table())),
            ("is_typed", "NO".into()),
        ]);
    }
    for shape in SHAPES.iter() {
        rows.push([
            ("table_catalog", snapshot.database.as_str().into()),
            ("table_schema", shape.schema.into()),
            ("table_name", shape.name.into()),
            ("table_type", if shape.kind == 'v' { "VIEW" } else { "BASE TABLE" }.into()),
            ("is_insertable_into", "NO".into()),
            ("is_typed", "NO".into()),
        ]);
    }
}

pub fn views(snapshot: &Snapshot, rows: &mut Rows) {
    for relation in snapshot.relations() {
        if let RelationKind::View { query } = &relation.kind {
            rows.push([
                ("table_catalog", snapshot.database.as_str().into()),
                ("table_schema", relation.schema.as_str().into()),
                ("table_name", relation.name.as_str().into()),
                ("view_definition", format!("{query};").into()),
                ("check_option", "NONE".into()),
                ("is_updatable", "NO".into()),
                ("is_insertable_into", "NO".into()),
            ]);
        }
    }
}

pub fn foreign_tables(snapshot: &Snapshot, rows: &mut Rows) {
    for relation in foreign::relations(snapshot) {
        rows.push([
            ("foreign_table_catalog", snapshot.database.as_str().into()),
            ("foreign_table_schema", relation.schema.as_str().into()),
            ("foreign_table_name", relation.name.as_str().into()),
            ("foreign_server_catalog", snapshot.database.as_str().into()),
            ("foreign_server_name", foreign::connector(relation).into()),
        ]);
    }
}

pub fn columns(snapshot: &Snapshot, rows: &mut Rows) {
    for relation in snapshot.relations() {
        for (index, column) in relation.columns.iter().enumerate() {
            let updatable = matches!(relation.kind, RelationKind::Table(_));
            push_column(snapshot, (&relation.schema, &relation.name), index, column, updatable, rows);
        }
    }
    for shape in SHAPES.iter() {
        for (index, (name, sql_type)) in shape.columns.iter().enumerate() {
            let column = Column::new(*name, sql_type.clone());
            push_column(snapshot, (shape.schema, shape.name), index, &column, false, rows);
        }
    }
}

fn push_column(
    snapshot: &Snapshot,
    (schema, table): (&str, &str),
    index: usize,
    column: &Column,
    updatable: bool,
    rows: &mut Rows,
) {
    let measure = Measure::of(&column.sql_type);
    rows.push([
        ("table_catalog", snapshot.database.as_str().into()),
        ("table_schema", schema.into()),
        ("table_name", table.into()),
        ("column_name", column.name.as_str().into()),
        ("ordinal_position", (index + 1).into()),
        ("column_default", column.default.as_deref().into()),
        ("is_nullable", yes_or_no(!column.not_null)),
        ("data_type", data_type(&column.sql_type).into()),
        ("character_maximum_length", measure.length.into()),
        ("character_octet_length", measure.octets.into()),
        ("numeric_precision", measure.precision.into()),
        ("numeric_precision_radix", measure.radix.into()),
        ("numeric_scale", measure.scale.into()),
        ("datetime_precision", measure.datetime.into()),
        ("udt_catalog", snapshot.database.as_str().into()),
        ("udt_schema", "pg_catalog".into()),
        ("udt_name", column.sql_type.name().into()),
        ("dtd_identifier", (index + 1).to_string().into()),
        ("is_self_referencing", "NO".into()),
        ("is_identity", "NO".into()),
        ("identity_cycle", "NO".into()),
        ("is_generated", "NEVER".into()),
        ("is_updatable", yes_or_no(updatable)),
    ]);
}

/// The standard's name of a type, which leaves the modifier out.
fn data_type(sql_type: &SqlType) -> String {
    match sql_type {
        SqlType::Array(_) => "ARRAY".to_owned(),
        SqlType::Numeric(_) => "numeric".to_owned(),
        SqlType::Varchar(_) => SqlType::Varchar(None).to_string(),
        SqlType::Bpchar(_) => SqlType::Bpchar(None).to_string(),
        other => other.to_string(),
    }
}

/// What `information_schema.columns` says about the size of a type's values.
#[derive(Default)]
struct Measure {
    length: Option<i64>,
    octets: Option<i64>,
    precision: Option<i32>,
    radix: Option<i32>,
    scale: Option<i32>,
    datetime: Option<i32>,
}

impl Measure {
    /// Bytes of the longest text that Postgres holds.
    const OCTETS: i64 = 1_073_741_824;

    fn of(sql_type: &SqlType) -> Measure {
        let integer = |bits| Measure { precision: Some(bits), radix: Some(2), scale: Some(0), ..Measure::default() };
        let float = |bits| Measure { precision: Some(bits), radix: Some(2), ..Measure::default() };
        match sql_type {
            SqlType::Int2 => integer(16),
            SqlType::Int4 => integer(32),
            SqlType::Int8 => integer(64),
            SqlType::Float4 => float(24),
            SqlType::Float8 => float(53),
            SqlType::Numeric(limits) => Measure {
                precision: limits.map(|(precision, _)| i32::from(precision)),
                radix: Some(10),
                scale: limits.map(|(_, scale)| i32::from(scale)),
                ..Measure::default()
            },
            SqlType::Varchar(Some(n)) | SqlType::Bpchar(Some(n)) => {
                Measure { length: Some(i64::from(*n)), octets: Some(i64::from(*n) * 4), ..Measure::default() }
            }
            SqlType::Text | SqlType::Varchar(None) => Measure { octets: Some(Self::OCTETS), ..Measure::default() },
            SqlType::Date => Measure { datetime: Some(0), ..Measure::default() },
            SqlType::Time | SqlType::Timestamp | SqlType::Timestamptz | SqlType::Interval => {
                Measure { datetime: Some(6), ..Measure::default() }
            }
            _ => Measure::default(),
        }
    }
}

pub fn schemata(snapshot: &Snapshot, rows: &mut Rows) {
    for (_, name) in snapshot.schemas() {
        let owner = snapshot.catalog.schemas().find(|schema| schema.name == name).map(|schema| schema.owner.as_str());
        rows.push([
            ("catalog_name", snapshot.database.as_str().into()),
            ("schema_name", name.into()),
            ("schema_owner", owner.or(snapshot.role_name(10)).into()),
        ]);
    }
}

fn keys(snapshot: &Snapshot) -> impl Iterator<Item = (&Relation, &Key)> {
    snapshot.relations().flat_map(|relation| relation.keys().map(move |key| (relation.as_ref(), key)))
}

pub fn table_constraints(snapshot: &Snapshot, rows: &mut Rows) {
    let of_keys = keys(snapshot)
        .map(|(relation, key)| (relation, &key.name, if is_primary(relation, key) { "PRIMARY KEY" } else { "UNIQUE" }));
    let relations = snapshot.relations();
    let of_checks =
        relations.flat_map(|relation| relation.checks().iter().map(move |c| (&**relation, &c.name, "CHECK")));
    for (relation, name, kind) in of_keys.chain(of_checks) {
        rows.push([
            ("constraint_catalog", snapshot.database.as_str().into()),
            ("constraint_schema", relation.schema.as_str().into()),
            ("constraint_name", name.into()),
            ("table_catalog", snapshot.database.as_str().into()),
            ("table_schema", relation.schema.as_str().into()),
            ("table_name", relation.name.as_str().into()),
            ("constraint_type", kind.into()),
            ("is_deferrable", "NO".into()),
            ("initially_deferred", "NO".into()),
            ("enforced", "YES".into()),
            ("nulls_distinct", if kind == "UNIQUE" { "YES".into() } else { Cell::Null }),
        ]);
    }
}

pub fn key_column_usage(snapshot: &Snapshot, rows: &mut Rows) {
    for (relation, key) in keys(snapshot) {
        let columns = key.columns.iter().filter_map(|column| relation.columns.get(*column));
        for (index, column) in columns.enumerate() {
            rows.push([
                ("constraint_catalog", snapshot.database.as_str().into()),
                ("constraint_schema", relation.schema.as_str().into()),
                ("constraint_name", key.name.as_str().into()),
                ("table_catalog", snapshot.database.as_str().into()),
                ("table_schema", relation.schema.as_str().into()),
                ("table_name", relation.name.as_str().into()),
                ("column_name", column.name.as_str().into()),
                ("ordinal_position", (index + 1).into()),
                ("position_in_unique_constraint", Cell::Null),
            ]);
        }
    }
}

pub fn constraint_column_usage(snapshot: &Snapshot, rows: &mut Rows) {
    for (relation, key) in keys(snapshot) {
        for column in key.columns.iter().filter_map(|column| relation.columns.get(*column)) {
            rows.push([
                ("table_catalog", snapshot.database.as_str().into()),
                ("table_schema", relation.schema.as_str().into()),
                ("table_name", relation.name.as_str().into()),
                ("column_name", column.name.as_str().into()),
                ("constraint_catalog", snapshot.database.as_str().into()),
                ("constraint_schema", relation.schema.as_str().into()),
                ("constraint_name", key.name.as_str().into()),
            ]);
        }
    }
}

pub fn check_constraints(snapshot: &Snapshot, rows: &mut Rows) {
    for relation in snapshot.relations() {
        for check in relation.checks() {
            rows.push([
                ("constraint_catalog", snapshot.database.as_str().into()),
                ("constraint_schema", relation.schema.as_str().into()),
                ("constraint_name", check.name.as_str().into()),
                ("check_clause", check.sql.as_str().into()),
            ]);
        }
    }
}

pub fn enabled_roles(snapshot: &Snapshot, rows: &mut Rows) {
    for role in snapshot.roles() {
        rows.push([("role_name", role.into())]);
    }
}

pub fn applicable_roles(snapshot: &Snapshot, rows: &mut Rows) {
    for role in snapshot.roles() {
        rows.push([
            ("grantee", snapshot.user.as_str().into()),
            ("role_name", role.into()),
            ("is_grantable", "YES".into()),
        ]);
    }
}

pub fn catalog_name(snapshot: &Snapshot, rows: &mut Rows) {
    rows.push([("catalog_name", snapshot.database.as_str().into())]);
}
