//! ALTER and COMMENT ON.

use super::answer::done;
use super::context::Context;
use crate::coordinator::Definition;
use crate::session::Session;
use millrace_catalog::Change;
use millrace_planner::parse::{Alter, AlterAction, Comment, fold, name_parts};
use millrace_types::{Result, SqlError, SqlState};
use millrace_wire::{Notice, Response};

pub async fn execute(session: &mut Session, alter: &Alter) -> Result<Response> {
    let context = Context::new(session, session.published(), "");
    let relation = match context.resolve(&name_parts(&alter.name)) {
        Err(error) if alter.if_exists && error.state() == SqlState::UNDEFINED_TABLE => {
            session.notice(Notice::plain(format!("{}, skipping", error.message())));
            return done("ALTER TABLE");
        }
        found => found?.clone(),
    };
    match &alter.action {
        AlterAction::OwnerTo(_) => {}
        AlterAction::RenameTo(name) => {
            let others = context.published.catalog.relations().any(|other| other.depends_on.contains(&relation.id));
            if others {
                return Err(SqlError::unsupported("renaming a relation that others depend on"));
            }
            let change = Change::Rename { id: relation.id, name: fold(name), sql: relation.sql.clone() };
            session.database.coordinator.define(Definition::Alter(change)).await?;
        }
        AlterAction::RenameColumn { .. } => return Err(SqlError::unsupported("ALTER TABLE ... RENAME COLUMN")),
        AlterAction::AddPrimaryKey(_) => {
            return Err(
                SqlError::unsupported("ALTER TABLE ... ADD PRIMARY KEY").with_hint("Give the key in CREATE TABLE.")
            );
        }
    }
    done("ALTER TABLE")
}

pub async fn comment(session: &mut Session, comment: &Comment) -> Result<Response> {
    let context = Context::new(session, session.published(), "");
    let mut parts = name_parts(&comment.name);
    let column = match comment.kind.as_str() {
        "column" => parts.pop(),
        "schema" | "database" => {
            return Err(SqlError::unsupported(format!("COMMENT ON {}", comment.kind.to_uppercase())));
        }
        _ => None,
    };
    let relation = context.resolve(&parts)?;
    let column = match column {
        None => None,
        Some(name) => Some(relation.column_index(&name).ok_or_else(|| {
            let message = format!("column \"{name}\" of relation \"{}\" does not exist", relation.name);
            SqlError::new(SqlState::UNDEFINED_COLUMN, message)
        })?),
    };
    let change = Change::SetComment { id: relation.id, column, comment: comment.text.clone() };
    session.database.coordinator.define(Definition::Alter(change)).await?;
    done("COMMENT")
}
