//! CREATE SCHEMA and DROP SCHEMA.

use super::answer::done;
use super::drop::cascade_notice;
use crate::coordinator::Definition;
use crate::session::Session;
use millrace_catalog::{Change, DropBehavior, is_temporary_schema};
use millrace_planner::parse::name_parts;
use millrace_types::{Result, SqlError, SqlState};
use millrace_wire::{Notice, Response};
use sqlparser::ast::ObjectName;

pub async fn create(session: &mut Session, name: &ObjectName, if_not_exists: bool) -> Result<Response> {
    let name = last(name)?;
    if if_not_exists && session.published().catalog.has_schema(&name) {
        session.notice(Notice::plain(format!("schema \"{name}\" already exists, skipping")));
        return done("CREATE SCHEMA");
    }
    if is_temporary_schema(&name) {
        return Err(SqlError::new(SqlState::RESERVED_NAME, format!("unacceptable schema name \"{name}\""))
            .with_detail("The prefix \"pg_\" is reserved for system schemas."));
    }
    let change = Change::CreateSchema { name, owner: session.user.clone() };
    session.database.coordinator.define(Definition::Alter(change)).await?;
    done("CREATE SCHEMA")
}

pub async fn drop(session: &mut Session, names: &[ObjectName], if_exists: bool, cascade: bool) -> Result<Response> {
    for name in names {
        let name = last(name)?;
        let catalog = session.published().catalog.clone();
        if if_exists && !catalog.has_schema(&name) {
            session.notice(Notice::plain(format!("schema \"{name}\" does not exist, skipping")));
            continue;
        }
        let behavior = if cascade { DropBehavior::Cascade } else { DropBehavior::Restrict };
        let relations = catalog.plan_drop_schema(&name, behavior)?;
        let described: Vec<_> = relations.iter().rev().filter_map(|id| catalog.describe(*id)).collect();
        cascade_notice(session, described.iter().map(String::as_str).collect());
        session.database.coordinator.define(Definition::Drop { relations, schema: Some(name) }).await?;
    }
    done("DROP SCHEMA")
}

fn last(name: &ObjectName) -> Result<String> {
    let empty = || SqlError::new(SqlState::INVALID_SCHEMA_NAME, "a schema has a name");
    name_parts(name).pop().ok_or_else(empty)
}
