//! Temporary relations: those of a schema that one session searches first, and that ends with it.

use crate::coordinator::Definition;
use crate::database::Database;
use crate::session::Session;
use millrace_catalog::{Catalog, Change, DropBehavior, Relation, TEMPORARY_PREFIX, is_temporary_schema};
use millrace_types::{Result, SqlError, SqlState};

/// The schema of the session's temporary relations; it is made for the first of them.
pub async fn schema(session: &mut Session) -> Result<String> {
    if let Some(schema) = session.settings.temporary_schema() {
        return Ok(schema.to_owned());
    }
    let name = format!("{TEMPORARY_PREFIX}{}", session.process_id);
    let change = Change::CreateSchema { name: name.clone(), owner: session.user.clone() };
    session.database.coordinator.define(Definition::Alter(change)).await?;
    session.settings.set_temporary_schema(Some(name.clone()))?;
    Ok(name)
}

/// The schema and the name of a new relation that is to be temporary.
pub async fn new_name(session: &mut Session, name: &[String]) -> Result<(String, String)> {
    let schema = schema(session).await?;
    match name {
        [name] => Ok((schema, name.clone())),
        [named, name] if named == "pg_temp" || *named == schema => Ok((schema, name.clone())),
        _ => {
            let message = "cannot create temporary relation in non-temporary schema";
            Err(SqlError::new(SqlState::INVALID_TABLE_DEFINITION, message))
        }
    }
}

/// Refuses what would stay, made of what will not.
///
/// # Errors
/// `42P16` for a constraint, `0A000` for anything else.
pub fn check(catalog: &Catalog, relation: &Relation) -> Result<()> {
    let is_temporary = |id| catalog.get(id).is_some_and(|relation| is_temporary_schema(&relation.schema));
    if is_temporary_schema(&relation.schema) {
        return Ok(());
    }
    if relation.foreign_keys().iter().any(|foreign| is_temporary(foreign.table)) {
        let message = "constraints on permanent tables may reference only permanent tables";
        return Err(SqlError::new(SqlState::INVALID_TABLE_DEFINITION, message));
    }
    if relation.depends_on.iter().any(|id| is_temporary(*id)) {
        let noun = relation.kind.noun();
        let message = format!("{noun}s must not use temporary tables or views");
        return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message));
    }
    Ok(())
}

/// DISCARD TEMP: drops what is there.
pub async fn discard(session: &mut Session) -> Result<()> {
    session.on_commit.clear();
    match session.settings.temporary_schema().map(str::to_owned) {
        None => Ok(()),
        Some(schema) => {
            session.settings.set_temporary_schema(None)?;
            drop_schema(&session.database, schema).await
        }
    }
}

/// The session ends: its temporary relations are dropped.
pub fn end(session: &Session) {
    if let Some(schema) = session.settings.temporary_schema() {
        let (database, schema) = (session.database.clone(), schema.to_owned());
        tokio::spawn(async move {
            if let Err(error) = drop_schema(&database, schema).await {
                tracing::warn!(%error, "temporary relations could not be dropped");
            }
        });
    }
}

/// Drops the temporary relations of sessions that ended with the server.
pub async fn drop_left_over(database: &Database) -> Result<()> {
    let catalog = database.coordinator.published().catalog.clone();
    for schema in catalog.schemas().filter(|schema| is_temporary_schema(&schema.name)) {
        drop_schema(database, schema.name.clone()).await?;
    }
    Ok(())
}

async fn drop_schema(database: &Database, schema: String) -> Result<()> {
    let relations = database.coordinator.published().catalog.plan_drop_schema(&schema, DropBehavior::Cascade)?;
    database.coordinator.define(Definition::Drop { relations, schema: Some(schema) }).await?;
    Ok(())
}
