//! What the system relations show: a catalog, beside what a session knows of itself and of the server.

use crate::catalog::{Catalog, DEFAULT_SCHEMA, Schema};
use crate::definition::Relation;
use crate::system::shape::{SHAPES, shape};
use millrace_types::{RelationId, Result, SqlError, SqlState};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// OID of the schema `pg_catalog`.
pub const PG_CATALOG: u32 = 11;
/// OID of the schema `information_schema`.
pub const INFORMATION_SCHEMA: u32 = 13_222;
/// OID of the schema `millrace`.
pub const MILLRACE: u32 = 13_999;
/// OID of the one database.
pub const DATABASE: u32 = 5;
/// OID of the first role; the others count on from it in the order of their names.
const FIRST_ROLE: u32 = 10;

/// All that system relations and functions read. A session makes one for a statement that needs it.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The definitions.
    pub catalog: Arc<Catalog>,
    /// The database that the session named when it connected.
    pub database: String,
    /// The session's role.
    pub user: String,
    /// The schemas of the session's `search_path` that exist, without the system's.
    pub search_path: Vec<String>,
    /// The process id that the session's client was told for cancel requests.
    pub backend_pid: i32,
    /// When the server started, in microseconds since 1970-01-01 UTC.
    pub started_at: i64,
    /// Every run-time setting with the session's value.
    pub settings: Vec<Setting>,
    /// The sessions there are.
    pub sessions: Vec<Session>,
    /// Rows and bytes of the relations that are stored.
    pub sizes: HashMap<RelationId, RelationSize>,
}

/// A row of `pg_settings`.
#[derive(Clone, Debug, Default)]
pub struct Setting {
    /// Its name.
    pub name: String,
    /// Its value in the session.
    pub value: String,
    /// Its value in a new session.
    pub reset_value: String,
    /// `bool`, `integer`, `real`, `string` or `enum`.
    pub kind: &'static str,
    /// Where it can be changed: `user`, `internal` ...
    pub context: &'static str,
    /// One sentence on what it does.
    pub description: &'static str,
}

/// A row of `pg_stat_activity`. Times are microseconds since 1970-01-01 UTC.
#[derive(Clone, Debug, Default)]
pub struct Session {
    /// The process id that its client was told.
    pub pid: i32,
    /// Its database.
    pub database: String,
    /// Its role.
    pub user: String,
    /// `application_name`.
    pub application_name: String,
    /// The client's address, `None` on a local socket.
    pub client_address: Option<String>,
    /// The client's port.
    pub client_port: Option<i32>,
    /// When it connected.
    pub started_at: i64,
    /// When its transaction began.
    pub transaction_started_at: Option<i64>,
    /// When its current or last statement began.
    pub query_started_at: Option<i64>,
    /// `active`, `idle`, `idle in transaction` ...
    pub state: &'static str,
    /// Its current or last statement.
    pub query: String,
}

/// How much a stored relation holds.
#[derive(Clone, Copy, Debug, Default)]
pub struct RelationSize {
    /// Its rows.
    pub rows: u64,
    /// Its bytes in memory.
    pub bytes: u64,
}

impl Snapshot {
    /// A snapshot of a catalog for a session of which no more is known than its database and role.
    pub fn new(catalog: Arc<Catalog>, database: &str, user: &str) -> Snapshot {
        Snapshot {
            catalog,
            database: database.to_owned(),
            user: user.to_owned(),
            search_path: vec![DEFAULT_SCHEMA.to_owned()],
            backend_pid: 0,
            started_at: 0,
            settings: Vec::new(),
            sessions: Vec::new(),
            sizes: HashMap::new(),
        }
    }

    /// The session's value of a setting, whose name is compared without regard to case.
    pub fn setting(&self, name: &str) -> Option<&str> {
        self.settings.iter().find(|setting| setting.name.eq_ignore_ascii_case(name)).map(|s| s.value.as_str())
    }

    /// The roles that there are to know of: the session's and every owner.
    pub fn roles(&self) -> BTreeSet<&str> {
        self.catalog.owners().iter().map(String::as_str).chain([self.user.as_str()]).collect()
    }

    /// The OID of a role.
    pub fn role_oid(&self, name: &str) -> Option<u32> {
        self.roles().iter().position(|role| *role == name).map(|index| FIRST_ROLE + index as u32)
    }

    /// The role with an OID.
    pub fn role_name(&self, oid: u32) -> Option<&str> {
        self.roles().into_iter().nth(oid.checked_sub(FIRST_ROLE)? as usize)
    }

    /// The OID and the name of every schema, the system's included.
    pub fn schemas(&self) -> impl Iterator<Item = (u32, &str)> {
        let system = [(PG_CATALOG, "pg_catalog"), (INFORMATION_SCHEMA, "information_schema"), (MILLRACE, "millrace")];
        system.into_iter().chain(self.catalog.schemas().map(|Schema { id, name, .. }| (id.0, name.as_str())))
    }

    /// The OID of a schema.
    pub fn schema_oid(&self, name: &str) -> Option<u32> {
        self.schemas().find(|(_, schema)| *schema == name).map(|(oid, _)| oid)
    }

    /// The relations that clients see: all but jobs, which have no rows of their own.
    pub fn relations(&self) -> impl Iterator<Item = &Arc<Relation>> {
        self.catalog.relations().filter(|relation| !matches!(relation.kind, crate::RelationKind::Job { .. }))
    }

    /// The schema and the name of what `pg_class` lists under an OID: a relation, an index or a system relation.
    pub fn class_name(&self, oid: u32) -> Option<(&str, &str)> {
        if let Some(relation) = self.catalog.get(RelationId(oid)) {
            return Some((&relation.schema, &relation.name));
        }
        if oid < RelationId::FIRST_USER.0 {
            return SHAPES.iter().find(|shape| shape.oid == oid).map(|shape| (shape.schema, shape.name));
        }
        let mut indexes = self.relations().flat_map(|relation| relation.index_keys().map(move |key| (relation, key)));
        indexes.find(|(_, key)| key.index.0 == oid).map(|(relation, key)| (relation.schema.as_str(), key.name.as_str()))
    }

    /// The OID of the relation or index that a written name means, as `'name'::regclass` finds it: unquoted parts fold to lower
    /// case, and a bare name is looked up in `pg_catalog` and then through the search path.
    pub fn class_oid(&self, written: &str) -> Option<u32> {
        let parts = split_name(written)?;
        let (schema, name) = match parts.as_slice() {
            [name] => (None, name),
            [schema, name] | [_, schema, name] => (Some(schema.as_str()), name),
            _ => return None,
        };
        match schema {
            Some(schema) => self.class_in_schema(schema, name),
            None => self.path().find_map(|schema| self.class_in_schema(schema, name)),
        }
    }

    /// As [`Snapshot::class_oid`], failing with 42P01 when nothing has the name. A number is taken as the OID itself.
    pub fn require_class(&self, written: &str) -> Result<u32> {
        written
            .parse()
            .ok()
            .or_else(|| self.class_oid(written))
            .ok_or_else(|| SqlError::new(SqlState::UNDEFINED_TABLE, format!("relation \"{written}\" does not exist")))
    }

    fn class_in_schema(&self, schema: &str, name: &str) -> Option<u32> {
        if let Some(relation) = self.catalog.find(schema, name) {
            return Some(relation.id.0);
        }
        if let Some(shape) = shape(Some(schema), name) {
            return Some(shape.oid);
        }
        let mut keys = self.relations().filter(|r| r.schema == schema).flat_map(|relation| relation.index_keys());
        keys.find(|key| key.name == name).map(|key| key.index.0)
    }

    /// The schemas in which a bare name is looked up, in order.
    pub fn path(&self) -> impl Iterator<Item = &str> {
        let named = self.search_path.iter().map(String::as_str);
        let implicit = (!self.search_path.iter().any(|schema| schema == "pg_catalog")).then_some("pg_catalog");
        implicit.into_iter().chain(named)
    }

    /// Whether the bare name of what `pg_class` lists under an OID finds it.
    pub fn class_is_visible(&self, oid: u32) -> Option<bool> {
        let (_, name) = self.class_name(oid)?;
        Some(self.path().find_map(|schema| self.class_in_schema(schema, name)) == Some(oid))
    }
}

/// An OID for what belongs to a relation and has no id of its own: the column default or CHECK constraint at a
/// position. OIDs need be unique only within one system relation; these start above every relation's own.
pub fn derived_oid(relation: RelationId, position: usize) -> u32 {
    /// Postgres's limit on columns, with room.
    const POSITIONS: u32 = 1_664;
    let index = relation.0.wrapping_sub(RelationId::FIRST_USER.0).wrapping_mul(POSITIONS);
    0x8000_0000 | index.wrapping_add(position as u32)
}

/// The parts of a dotted name, quotes taken off, unquoted parts in lower case. `None` when it is no name.
pub fn split_name(written: &str) -> Option<Vec<String>> {
    let mut parts = vec![String::new()];
    let mut characters = written.trim().chars().peekable();
    let mut quoted = false;
    while let Some(character) = characters.next() {
        let last = parts.last_mut()?;
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                last.push('"');
            }
            '"' => quoted = !quoted,
            '.' if !quoted => parts.push(String::new()),
            other if quoted => last.push(other),
            other => last.extend(other.to_lowercase()),
        }
    }
    (!quoted && parts.iter().all(|part| !part.is_empty())).then_some(parts)
}

/// A name as it has to be written in SQL: quoted unless it is lower case and no keyword.
pub fn quote_identifier(name: &str) -> String {
    let mut characters = name.chars();
    let plain = characters.next().is_some_and(|first| first.is_ascii_lowercase() || first == '_')
        && characters.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && !super::keywords::needs_quotes(name);
    if plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_sql_reads_them() {
        assert_eq!(split_name("Public.\"My.T\"\"x\""), Some(vec!["public".to_owned(), "My.T\"x".to_owned()]));
        assert_eq!(split_name("a..b"), None);
        assert_eq!(split_name("\"open"), None);
    }

    #[test]
    fn names_are_quoted_only_where_they_must_be() {
        for (name, written) in
            [("orders", "orders"), ("Orders", "\"Orders\""), ("select", "\"select\""), ("a b", "\"a b\"")]
        {
            assert_eq!(quote_identifier(name), written);
        }
    }

    #[test]
    fn derived_oids_do_not_meet() {
        let a: BTreeSet<_> = (0..1600).map(|p| derived_oid(RelationId(16_384), p)).collect();
        let b: BTreeSet<_> = (0..1600).map(|p| derived_oid(RelationId(16_385), p)).collect();
        assert!(a.is_disjoint(&b));
    }
}
