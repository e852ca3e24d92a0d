//! Changes: the steps from one catalog to the next, each with all that is needed to write it down and take it again.

use crate::catalog::{Catalog, DEFAULT_SCHEMA, Schema, refuse_reserved};
use crate::definition::Relation;
use millrace_types::{RelationId, Result, SqlError, SqlState};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// One step from a catalog to the next. It is written durably before the catalog it leads to is shown to anyone, and
/// applied again after a restart, so it carries ids rather than names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// CREATE SCHEMA.
    CreateSchema {
        /// Its name.
        name: String,
        /// The role that makes it.
        owner: String,
    },
    /// DROP SCHEMA of an empty schema; what it held is dropped by changes before this one.
    DropSchema {
        /// Its name.
        name: String,
    },
    /// CREATE of a relation, with the id that [`Catalog::next_id`] gave.
    Create(Relation),
    /// CREATE OR REPLACE: the relation of the same id becomes this one.
    Replace(Relation),
    /// DROP of a relation on which nothing depends any more.
    Drop(RelationId),
    /// ALTER ... RENAME TO.
    Rename {
        /// Which relation.
        id: RelationId,
        /// Its new name.
        name: String,
        /// The canonical CREATE statement under the new name.
        sql: String,
    },
    /// COMMENT ON a relation or one of its columns.
    SetComment {
        /// Which relation.
        id: RelationId,
        /// The column's position, counted from 0; `None` for the relation itself.
        column: Option<usize>,
        /// The text; `None` removes it.
        comment: Option<String>,
    },
}

impl Change {
    /// The bytes in which it is kept: JSON.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|error| SqlError::internal(format!("cannot write a catalog change: {error}")))
    }

    /// Reads what [`Change::to_bytes`] wrote. Fails with XX001 on anything else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Change> {
        serde_json::from_slice(bytes).map_err(|error| {
            SqlError::new(SqlState::DATA_CORRUPTED, "catalog change is not readable").with_detail(error.to_string())
        })
    }
}

impl Catalog {
    /// The catalog after a change. Fails as the statement behind the change has to: 42P07 and 42P06 for names that are
    /// taken, 42P01 and 3F000 for what does not exist, 42939 for reserved names, 2BP01 for what others need.
    pub fn apply(&self, change: &Change) -> Result<Catalog> {
        let mut next = self.clone();
        next.version += 1;
        match change {
            Change::CreateSchema { name, owner } => next.create_schema(name, owner)?,
            Change::DropSchema { name } => next.drop_empty_schema(name)?,
            Change::Create(relation) => {
                next.check_new_relation(&relation.schema, &relation.name)?;
                if next.get(relation.id).is_some() {
                    return Err(SqlError::internal(format!("relation id {} is used twice", relation.id)));
                }
                next.put(relation.clone());
            }
            Change::Replace(relation) => {
                let old = next.remove(relation.id)?;
                if (&old.schema, &old.name) != (&relation.schema, &relation.name) {
                    next.check_new_relation(&relation.schema, &relation.name)?;
                }
                next.put(relation.clone());
            }
            Change::Drop(id) => {
                next.plan_drop(&[*id], crate::DropBehavior::Restrict)?;
                next.remove(*id)?;
            }
            Change::Rename { id, name, sql } => next.rename(*id, name, sql)?,
            Change::SetComment { id, column, comment } => next.set_comment(*id, *column, comment)?,
        }
        Ok(next)
    }

    fn create_schema(&mut self, name: &str, owner: &str) -> Result<()> {
        refuse_reserved(name)?;
        if self.has_schema(name) {
            return Err(SqlError::new(SqlState::DUPLICATE_SCHEMA, format!("schema \"{name}\" already exists")));
        }
        let id = self.take_id();
        self.owners.insert(owner.to_owned());
        self.schemas.insert(name.to_owned(), Schema { id, name: name.to_owned(), owner: owner.to_owned() });
        Ok(())
    }

    fn drop_empty_schema(&mut self, name: &str) -> Result<()> {
        self.plan_drop_schema(name, crate::DropBehavior::Restrict)?;
        self.schemas.remove(name);
        Ok(())
    }

    fn rename(&mut self, id: RelationId, name: &str, sql: &str) -> Result<()> {
        let old = self.remove(id)?;
        self.check_new_relation(&old.schema, name)?;
        self.put(Relation { name: name.to_owned(), sql: sql.to_owned(), ..Relation::clone(&old) });
        Ok(())
    }

    fn set_comment(&mut self, id: RelationId, column: Option<usize>, comment: &Option<String>) -> Result<()> {
        let mut relation = Relation::clone(&*self.remove(id)?);
        match column {
            None => relation.comment.clone_from(comment),
            Some(index) => {
                let Some(column) = relation.columns.get_mut(index) else {
                    return Err(SqlError::internal(format!("relation {id} has no column {index}")));
                };
                column.comment.clone_from(comment);
            }
        }
        self.put(relation);
        Ok(())
    }

    fn put(&mut self, relation: Relation) {
        self.next_id = self.next_id.max(RelationId(relation.highest_id().0 + 1));
        self.owners.insert(relation.owner.clone());
        self.names.insert((relation.schema.clone(), relation.name.clone()), relation.id);
        self.relations.insert(relation.id, Arc::new(relation));
    }

    fn remove(&mut self, id: RelationId) -> Result<Arc<Relation>> {
        let relation = self.relations.remove(&id).ok_or_else(|| {
            SqlError::new(SqlState::UNDEFINED_TABLE, format!("relation with OID {id} does not exist"))
        })?;
        self.names.remove(&(relation.schema.clone(), relation.name.clone()));
        Ok(relation)
    }

    fn take_id(&mut self) -> RelationId {
        let id = self.next_id;
        self.next_id = RelationId(id.0 + 1);
        id
    }

    /// Whether a relation may get this name: the schema must exist, and the name must not be taken.
    pub fn check_new_relation(&self, schema: &str, name: &str) -> Result<()> {
        if crate::SYSTEM_SCHEMAS.contains(&schema) {
            return Err(SqlError::new(
                SqlState::INSUFFICIENT_PRIVILEGE,
                format!("permission denied to create \"{schema}.{name}\""),
            )
            .with_detail("System catalog modifications are currently disallowed."));
        }
        self.check_schema(schema)?;
        if self.find(schema, name).is_some() || self.key_named(schema, name) {
            return Err(SqlError::new(SqlState::DUPLICATE_TABLE, format!("relation \"{name}\" already exists")));
        }
        Ok(())
    }

    fn key_named(&self, schema: &str, name: &str) -> bool {
        self.relations().any(|relation| relation.schema == schema && relation.index_keys().any(|key| key.name == name))
    }
}

/// Whether DROP SCHEMA may name this schema at all.
pub(crate) fn refuse_system_schema(name: &str) -> Result<()> {
    if crate::SYSTEM_SCHEMAS.contains(&name) || name == DEFAULT_SCHEMA {
        return Err(SqlError::new(
            SqlState::DEPENDENT_OBJECTS_STILL_EXIST,
            format!("cannot drop schema {name} because it is required by the database system"),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition::RelationKind;
    use crate::system::sample;

    fn id(catalog: &Catalog, name: &str) -> RelationId {
        catalog.find("public", name).unwrap().id
    }

    #[test]
    fn each_change_raises_the_version_and_leaves_the_old_catalog_alone() {
        let before = sample::catalog();
        let rename =
            Change::Rename { id: id(&before, "orders"), name: "purchases".to_owned(), sql: "CREATE ...".to_owned() };
        let after = before.apply(&rename).unwrap();
        assert_eq!(after.version(), before.version() + 1);
        assert!(before.find("public", "purchases").is_none());
        assert_eq!(after.find("public", "purchases").unwrap().id, id(&before, "orders"));
        assert!(after.find("public", "orders").is_none());
    }

    #[test]
    fn a_change_survives_its_bytes() {
        let change = Change::Create(sample::orders(&Catalog::new("postgres")));
        assert_eq!(Change::from_bytes(&change.to_bytes().unwrap()).unwrap(), change);
        assert_eq!(Change::from_bytes(b"x").unwrap_err().state(), SqlState::DATA_CORRUPTED);
    }

    #[test]
    fn names_that_are_taken_are_refused() {
        let catalog = sample::catalog();
        for name in ["orders", "totals", "orders_pkey"] {
            let kind = RelationKind::View { query: "SELECT 1".to_owned() };
            let error = catalog.apply(&Change::Create(sample::relation(&catalog, name, kind, Vec::new()))).unwrap_err();
            assert_eq!(error.state(), SqlState::DUPLICATE_TABLE);
            assert_eq!(error.message(), format!("relation \"{name}\" already exists"));
        }
    }

    #[test]
    fn ids_are_never_used_twice() {
        let catalog = sample::catalog();
        let used = catalog.relations().flat_map(|r| r.keys().map(|key| key.index).chain([r.id]).collect::<Vec<_>>());
        assert!(used.max().unwrap() < catalog.next_id());
        let sink = id(&catalog, "out");
        let dropped = catalog.apply(&Change::Drop(sink)).unwrap();
        assert_eq!(dropped.next_id(), catalog.next_id());
    }

    #[test]
    fn an_id_under_which_rows_are_stored_is_taken() {
        let catalog = sample::catalog();
        let mut table = catalog.relations().find(|r| r.kind.is_table()).unwrap().as_ref().clone();
        let storage = RelationId(catalog.next_id().0 + 5);
        if let RelationKind::Table(definition) = &mut table.kind {
            definition.storage = Some(storage);
        }
        let altered = catalog.apply(&Change::Replace(table)).unwrap();
        assert_eq!(altered.next_id(), RelationId(storage.0 + 1));
    }

    #[test]
    fn schemas_are_made_and_dropped() {
        let create = |name: &str| Change::CreateSchema { name: name.to_owned(), owner: "postgres".to_owned() };
        let catalog = Catalog::new("postgres").apply(&create("app")).unwrap();
        assert_eq!(catalog.apply(&create("app")).unwrap_err().state(), SqlState::DUPLICATE_SCHEMA);
        assert_eq!(catalog.apply(&create("pg_app")).unwrap_err().state(), SqlState::RESERVED_NAME);
        let mut table = sample::orders(&catalog);
        table.schema = "app".to_owned();
        let filled = catalog.apply(&Change::Create(table)).unwrap();
        let drop = Change::DropSchema { name: "app".to_owned() };
        let error = filled.apply(&drop).unwrap_err();
        assert_eq!(error.message(), "cannot drop schema app because other objects depend on it");
        assert_eq!(error.detail(), Some("table app.orders depends on schema app"));
        assert!(!catalog.apply(&drop).unwrap().has_schema("app"));
        let missing = Change::DropSchema { name: "nosuch".to_owned() };
        assert_eq!(catalog.apply(&missing).unwrap_err().state(), SqlState::INVALID_SCHEMA_NAME);
    }
}
