//! The rows of the system relations, one file for each or for a few that belong together.

mod activity;
mod attributes;
mod classes;
mod constraints;
mod databases;
mod dependencies;
mod descriptions;
mod fixed;
mod foreign;
mod indexes;
mod information_schema;
mod listings;
mod namespaces;
mod procedures;
mod roles;
mod settings;
mod types;

pub(super) use constraints::{check_definition, key_definition, reference_definition, references};
pub(super) use descriptions::description;
pub(super) use indexes::index_definition;
pub(super) use procedures::{function, procedure_name, procedure_oid};

use super::rows::Rows;
use super::snapshot::Snapshot;

/// Puts a snapshot's rows of one relation together.
pub(super) type Fill = fn(&Snapshot, &mut Rows);

/// The relations that have rows. One that is not listed here is always empty.
pub(super) const FILLERS: &[(&str, &str, Fill)] = &[
    ("pg_catalog", "pg_am", fixed::access_methods),
    ("pg_catalog", "pg_attrdef", attributes::defaults),
    ("pg_catalog", "pg_attribute", attributes::fill),
    ("pg_catalog", "pg_authid", roles::authid),
    ("pg_catalog", "pg_class", classes::fill),
    ("pg_catalog", "pg_collation", fixed::collations),
    ("pg_catalog", "pg_constraint", constraints::fill),
    ("pg_catalog", "pg_database", databases::fill),
    ("pg_catalog", "pg_depend", dependencies::depend),
    ("pg_catalog", "pg_description", descriptions::fill),
    ("pg_catalog", "pg_foreign_data_wrapper", foreign::wrappers),
    ("pg_catalog", "pg_foreign_server", foreign::servers),
    ("pg_catalog", "pg_foreign_table", foreign::tables),
    ("pg_catalog", "pg_index", indexes::fill),
    ("pg_catalog", "pg_indexes", listings::indexes),
    ("pg_catalog", "pg_keywords", |_, rows| super::keywords::fill(rows)),
    ("pg_catalog", "pg_language", fixed::languages),
    ("pg_catalog", "pg_matviews", listings::materialized_views),
    ("pg_catalog", "pg_namespace", namespaces::fill),
    ("pg_catalog", "pg_opclass", fixed::operator_classes),
    ("pg_catalog", "pg_proc", procedures::fill),
    ("pg_catalog", "pg_rewrite", dependencies::rules),
    ("pg_catalog", "pg_roles", roles::roles),
    ("pg_catalog", "pg_settings", settings::fill),
    ("pg_catalog", "pg_shadow", roles::users),
    ("pg_catalog", "pg_stat_activity", activity::sessions),
    ("pg_catalog", "pg_stat_all_tables", activity::tables),
    ("pg_catalog", "pg_stat_database", databases::statistics),
    ("pg_catalog", "pg_stat_user_tables", activity::tables),
    ("pg_catalog", "pg_tables", listings::tables),
    ("pg_catalog", "pg_tablespace", fixed::tablespaces),
    ("pg_catalog", "pg_type", types::fill),
    ("pg_catalog", "pg_user", roles::users),
    ("pg_catalog", "pg_views", listings::views),
    ("information_schema", "applicable_roles", information_schema::applicable_roles),
    ("information_schema", "check_constraints", information_schema::check_constraints),
    ("information_schema", "columns", information_schema::columns),
    ("information_schema", "constraint_column_usage", information_schema::constraint_column_usage),
    ("information_schema", "enabled_roles", information_schema::enabled_roles),
    ("information_schema", "foreign_tables", information_schema::foreign_tables),
    ("information_schema", "information_schema_catalog_name", information_schema::catalog_name),
    ("information_schema", "key_column_usage", information_schema::key_column_usage),
    ("information_schema", "schemata", information_schema::schemata),
    ("information_schema", "table_constraints", information_schema::table_constraints),
    ("information_schema", "tables", information_schema::tables),
    ("information_schema", "views", information_schema::views),
];

#[cfg(test)]
mod tests {
    use super::super::shape::{SHAPES, shape};
    use super::super::table::batch;
    use super::*;
    use crate::system::sample::snapshot;

    #[test]
    fn every_relation_can_be_read_and_every_filler_belongs_to_one() {
        let snapshot = snapshot();
        for shape in SHAPES.iter() {
            batch(shape, &snapshot).unwrap_or_else(|error| panic!("{}: {error}", shape.name));
        }
        for (schema, name, _) in FILLERS {
            let rows = batch(shape(Some(schema), name).unwrap(), &snapshot).unwrap().num_rows();
            assert!(rows > 0, "{schema}.{name} is empty");
        }
    }
}
