//! The catalog: every definition there is, as one immutable value.

use crate::definition::Relation;
use millrace_types::{RelationId, Result, SqlError, SqlState};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The schema that is always there, and in which things are made unless one says otherwise.
pub const DEFAULT_SCHEMA: &str = "public";

/// The schemas whose relations are computed, not stored; users make nothing in them.
pub const SYSTEM_SCHEMAS: &[&str] = &["pg_catalog", "information_schema", "millrace"];

/// How the schemas of temporary relations begin, of which each belongs to a session and ends with it.
pub const TEMPORARY_PREFIX: &str = "pg_temp_";

/// Whether a schema is that of a session's temporary relations.
pub fn is_temporary_schema(name: &str) -> bool {
    name.starts_with(TEMPORARY_PREFIX)
}

/// The OID of the schema `public`, which is Postgres's.
const DEFAULT_SCHEMA_ID: RelationId = RelationId(2200);

/// Every schema and relation, with a version that each change raises by one. Cheap to clone: definitions are shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Catalog {
    pub(crate) version: u64,
    pub(crate) next_id: RelationId,
    pub(crate) schemas: BTreeMap<String, Schema>,
    pub(crate) relations: BTreeMap<RelationId, Arc<Relation>>,
    pub(crate) names: BTreeMap<(String, String), RelationId>,
    pub(crate) owners: BTreeSet<String>,
}

/// A schema.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schema {
    /// Its OID, from the same numbers as relations.
    pub id: RelationId,
    /// Its name.
    pub name: String,
    /// The role that made it.
    pub owner: String,
}

/// What is written of a catalog; the index of names is made again from it.
#[derive(Serialize, Deserialize)]
struct Stored {
    format: u32,
    version: u64,
    next_id: RelationId,
    schemas: Vec<Schema>,
    relations: Vec<Arc<Relation>>,
    owners: BTreeSet<String>,
}

/// The format of [`Stored`]. A reader refuses formats that it does not know.
const FORMAT: u32 = 1;

impl Catalog {
    /// A catalog with nothing but the schema `public`, owned by `owner`.
    pub fn new(owner: &str) -> Catalog {
        let public = Schema { id: DEFAULT_SCHEMA_ID, name: DEFAULT_SCHEMA.to_owned(), owner: owner.to_owned() };
        Catalog {
            version: 0,
            next_id: RelationId::FIRST_USER,
            schemas: BTreeMap::from([(public.name.clone(), public)]),
            relations: BTreeMap::new(),
            names: BTreeMap::new(),
            owners: BTreeSet::from([owner.to_owned()]),
        }
    }

    /// How many changes have led here.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The id for the next relation; the ones after it are free too, as a table's keys need them.
    pub fn next_id(&self) -> RelationId {
        self.next_id
    }

    /// The schemas that users see as theirs, by name.
    pub fn schemas(&self) -> impl Iterator<Item = &Schema> {
        self.schemas.values()
    }

    /// Every relation, in the order in which they were made.
    pub fn relations(&self) -> impl Iterator<Item = &Arc<Relation>> {
        self.relations.values()
    }

    /// Whether there are sequences, so that defaults may take numbers.
    pub fn has_sequences(&self) -> bool {
        self.relations().any(|relation| matches!(relation.kind, crate::RelationKind::Sequence(_)))
    }

    /// The roles that own something or did, by name.
    pub fn owners(&self) -> &BTreeSet<String> {
        &self.owners
    }

    /// The relation with this id.
    pub fn get(&self, id: RelationId) -> Option<&Arc<Relation>> {
        self.relations.get(&id)
    }

    /// Whether a relation has a watermark, or is made from relations that have one.
    pub fn is_watermarked(&self, id: RelationId) -> bool {
        // Each relation once: there may be many ways to it.
        let (mut seen, mut to_see) = (BTreeSet::from([id]), vec![id]);
        while let Some(relation) = to_see.pop().and_then(|id| self.get(id)) {
            if relation.watermark.is_some() {
                return true;
            }
            if relation.kind.query().is_some() {
                to_see.extend(relation.depends_on.iter().filter(|input| seen.insert(**input)));
            }
        }
        false
    }

    /// The relation of this name in a schema.
    pub fn find(&self, schema: &str, name: &str) -> Option<&Arc<Relation>> {
        self.names.get(&(schema.to_owned(), name.to_owned())).and_then(|id| self.relations.get(id))
    }

    /// The relation that a name means: in its schema when it has one, else in the first schema of the search path that
    /// has it. Fails with 42P01 when there is none.
    pub fn resolve<S: AsRef<str>>(
        &self,
        schema: Option<&str>,
        name: &str,
        search_path: &[S],
    ) -> Result<&Arc<Relation>> {
        let found = match schema {
            Some(schema) => self.find(schema, name),
            None => search_path.iter().find_map(|schema| self.find(schema.as_ref(), name)),
        };
        found.ok_or_else(|| {
            let written = schema.map_or_else(|| name.to_owned(), |schema| format!("{schema}.{name}"));
            SqlError::new(SqlState::UNDEFINED_TABLE, format!("relation \"{written}\" does not exist"))
        })
    }

    /// Whether a schema exists, the computed ones included.
    pub fn has_schema(&self, name: &str) -> bool {
        self.schemas.contains_key(name) || SYSTEM_SCHEMAS.contains(&name)
    }

    /// Fails with 3F000 when the schema does not exist.
    pub fn check_schema(&self, name: &str) -> Result<()> {
        match self.has_schema(name) {
            true => Ok(()),
            false => Err(SqlError::new(SqlState::INVALID_SCHEMA_NAME, format!("schema \"{name}\" does not exist"))),
        }
    }

    /// The schema in which an unqualified new relation lands: the first of the search path that exists and can take it.
    pub fn creation_schema<'a, S: AsRef<str>>(&self, search_path: &'a [S]) -> Result<&'a str> {
        search_path
            .iter()
            .map(AsRef::as_ref)
            .find(|schema| self.schemas.contains_key(*schema) && !is_temporary_schema(schema))
            .ok_or_else(|| SqlError::new(SqlState::INVALID_SCHEMA_NAME, "no schema has been selected to create in"))
    }

    /// The whole catalog as bytes: JSON with a format number.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let stored = Stored {
            format: FORMAT,
            version: self.version,
            next_id: self.next_id,
            schemas: self.schemas.values().cloned().collect(),
            relations: self.relations.values().cloned().collect(),
            owners: self.owners.clone(),
        };
        serde_json::to_vec(&stored).map_err(|error| SqlError::internal(format!("cannot write the catalog: {error}")))
    }

    /// Reads what [`Catalog::to_bytes`] wrote. Fails with XX001 on anything else, 0A000 on a later format.
    pub fn from_bytes(bytes: &[u8]) -> Result<Catalog> {
        let corrupted = |error: serde_json::Error| {
            SqlError::new(SqlState::DATA_CORRUPTED, "catalog is not readable").with_detail(error.to_string())
        };
        let value: serde_json::Value = serde_json::from_slice(bytes).map_err(corrupted)?;
        if let Some(format) = value["format"].as_u64().filter(|format| *format != u64::from(FORMAT)) {
            return Err(SqlError::unsupported(format!("catalog format {format}"))
                .with_hint("The data was written by a later version of Millrace."));
        }
        let stored: Stored = serde_json::from_value(value).map_err(corrupted)?;
        let used = stored.relations.iter().map(|relation| relation.highest_id().0 + 1).max().unwrap_or(0);
        let name = |relation: &Arc<Relation>| (relation.schema.clone(), relation.name.clone());
        Ok(Catalog {
            version: stored.version,
            next_id: stored.next_id.max(RelationId(used)),
            schemas: stored.schemas.into_iter().map(|schema| (schema.name.clone(), schema)).collect(),
            names: stored.relations.iter().map(|relation| (name(relation), relation.id)).collect(),
            relations: stored.relations.into_iter().map(|relation| (relation.id, relation)).collect(),
            owners: stored.owners,
        })
    }
}

/// Refuses schema names that Postgres keeps for itself; those of temporary relations only sessions make.
pub(crate) fn refuse_reserved(name: &str) -> Result<()> {
    if name.starts_with("pg_") && !is_temporary_schema(name) {
        return Err(SqlError::new(SqlState::RESERVED_NAME, format!("unacceptable schema name \"{name}\""))
            .with_detail("The prefix \"pg_\" is reserved for system schemas."));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::sample;

    #[test]
    fn a_catalog_survives_its_bytes() {
        let catalog = sample::catalog();
        let read = Catalog::from_bytes(&catalog.to_bytes().unwrap()).unwrap();
        assert_eq!(read, catalog);
        assert_eq!(read.find("public", "orders").unwrap().columns.len(), 5);
        assert_eq!(Catalog::from_bytes(b"{").unwrap_err().state(), SqlState::DATA_CORRUPTED);
        let later = br#"{"format":2}"#;
        assert_eq!(Catalog::from_bytes(later).unwrap_err().state(), SqlState::FEATURE_NOT_SUPPORTED);
    }

    #[test]
    fn names_are_resolved_through_the_search_path() {
        let catalog = sample::catalog();
        assert_eq!(catalog.resolve(None, "orders", &["nosuch", "public"]).unwrap().name, "orders");
        let error = catalog.resolve(None, "orders", &["nosuch"]).unwrap_err();
        assert_eq!((error.state(), error.message()), (SqlState::UNDEFINED_TABLE, "relation \"orders\" does not exist"));
        let error = catalog.resolve(Some("app"), "orders", &["public"]).unwrap_err();
        assert_eq!(error.message(), "relation \"app.orders\" does not exist");
        assert_eq!(catalog.creation_schema(&["nosuch", "public"]).unwrap(), "public");
        assert!(catalog.creation_schema(&["nosuch"]).is_err());
    }
}
