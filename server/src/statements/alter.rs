//! ALTER of tables, views, sequences and indexes.
//!
//! Each action changes a copy of the definition, and notes what it asks of the rows; at the end the coordinator puts
//! the copy in the place of the original. What reads the relation goes on: it knows it by its id and by the names that
//! it had when it was read first.

use super::answer::done;
use super::context::Context;
use super::{alter_table, create_index, sequences};
use crate::coordinator::Definition;
use crate::session::Session;
use alter_table::Altering;
use millrace_catalog::{Change, Relation, RelationKind};
use millrace_planner::parse::{Alter, AlterAction, Comment, ObjectKind, fold, name_parts, parse_expression};
use millrace_types::{Result, SqlError, SqlState};
use millrace_wire::{Notice, Response};
use sqlparser::ast::{Expr, Ident};
use std::sync::Arc;

pub async fn execute(session: &mut Session, alter: &Alter) -> Result<Response> {
    let tag = tag(alter.kind)?;
    let context = Context::new(session, session.published(), "");
    let name = name_parts(&alter.name);
    if alter.kind == ObjectKind::Index {
        rename_index(session, &context, alter, &name).await?;
        return done(tag);
    }
    let before = match context.resolve(&name) {
        Err(error) if alter.if_exists && error.state() == SqlState::UNDEFINED_TABLE => {
            session.notice(Notice::plain(format!("{}, skipping", error.message())));
            return done(tag);
        }
        found => found?.clone(),
    };
    check_kind(alter.kind, &before)?;
    if let [AlterAction::Sequence(options)] = &alter.actions[..] {
        sequences::alter(session, &before, options).await?;
        return done(tag);
    }
    let mut altering = Altering::new(&context, before.clone());
    for action in &alter.actions {
        apply(session, &mut altering, action)?;
    }
    altering.finish(session).await?;
    done(tag)
}

fn apply(session: &mut Session, altering: &mut Altering, action: &AlterAction) -> Result<()> {
    match action {
        AlterAction::OwnerTo(_) => Ok(()),
        AlterAction::RenameTo(_) | AlterAction::SetSchema(_) if is_default(altering) => {
            Err(SqlError::unsupported("renaming a sequence that numbers a column"))
        }
        AlterAction::RenameTo(name) => {
            altering.after.name = fold(name);
            Ok(())
        }
        AlterAction::SetSchema(schema) => {
            let schema = fold(schema);
            altering.context.published.catalog.check_schema(&schema)?;
            altering.after.schema = schema;
            Ok(())
        }
        AlterAction::RenameColumn { from, to } => rename_column(&mut altering.after, from, to),
        AlterAction::RenameConstraint { from, to } => rename_constraint(&mut altering.after, from, to),
        table_only => altering.table_action(session, table_only),
    }
}

/// Whether defaults name the relation, as they do sequences.
fn is_default(altering: &Altering) -> bool {
    matches!(altering.after.kind, RelationKind::Sequence(_)) && !readers(altering.context, &altering.after).is_empty()
}

fn tag(kind: ObjectKind) -> Result<&'static str> {
    Ok(match kind {
        ObjectKind::Table => "ALTER TABLE",
        ObjectKind::View => "ALTER VIEW",
        ObjectKind::MaterializedView => "ALTER MATERIALIZED VIEW",
        ObjectKind::Source => "ALTER SOURCE",
        ObjectKind::Sink => "ALTER SINK",
        ObjectKind::Index => "ALTER INDEX",
        ObjectKind::Sequence => "ALTER SEQUENCE",
        other => return Err(SqlError::unsupported(format!("ALTER {other:?}").to_uppercase())),
    })
}

/// ALTER TABLE takes everything that has rows, as in Postgres.
fn check_kind(kind: ObjectKind, relation: &Relation) -> Result<()> {
    let noun = match kind {
        ObjectKind::Table => return Ok(()),
        ObjectKind::View => "view",
        ObjectKind::MaterializedView => "materialized view",
        ObjectKind::Source => "source",
        ObjectKind::Sink => "sink",
        _ => "sequence",
    };
    match relation.kind.noun() == noun {
        true => Ok(()),
        false => {
            let message = format!("\"{}\" is not a {noun}", relation.name);
            Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, message))
        }
    }
}

async fn rename_index(session: &mut Session, context: &Context, alter: &Alter, name: &[String]) -> Result<()> {
    let Some((before, key)) = create_index::find(context, name) else {
        let message = format!("relation \"{}\" does not exist", name.join("."));
        if alter.if_exists {
            session.notice(Notice::plain(format!("{message}, skipping")));
            return Ok(());
        }
        return Err(SqlError::new(SqlState::UNDEFINED_TABLE, message));
    };
    let [AlterAction::RenameTo(to)] = &alter.actions[..] else {
        return Err(SqlError::unsupported("ALTER INDEX with anything but RENAME TO"));
    };
    context.published.catalog.check_new_relation(&before.schema, &fold(to))?;
    let mut after = Relation::clone(&before);
    rename_key(&mut after, &key.name, &fold(to));
    session.database.coordinator.define(Definition::Alter(Change::Replace(after))).await.map(|_| ())
}

fn rename_key(relation: &mut Relation, from: &str, to: &str) -> bool {
    let own = match &mut relation.kind {
        RelationKind::Table(table) => table.primary_key.iter_mut().chain(&mut table.unique).collect(),
        _ => vec![],
    };
    let mut keys = own.into_iter().chain(relation.indexes.iter_mut().map(|index| &mut index.key));
    let found = keys.find(|key| key.name == from);
    let renamed = found.is_some();
    found.into_iter().for_each(|key| to.clone_into(&mut key.name));
    renamed
}

fn rename_constraint(relation: &mut Relation, from: &Ident, to: &Ident) -> Result<()> {
    let (from, to) = (fold(from), fold(to));
    if rename_key(relation, &from, &to) {
        return Ok(());
    }
    if let RelationKind::Table(table) = &mut relation.kind
        && let Some(check) = table.checks.iter_mut().find(|check| check.name == from)
    {
        check.name = to;
        return Ok(());
    }
    let message = format!("constraint \"{from}\" for table \"{}\" does not exist", relation.name);
    Err(SqlError::new(SqlState::UNDEFINED_OBJECT, message))
}

/// RENAME COLUMN: the relation's own expressions follow; those of its readers keep the old name, and mean the column.
fn rename_column(relation: &mut Relation, from: &Ident, to: &Ident) -> Result<()> {
    let (from, to) = (fold(from), fold(to));
    if matches!(relation.kind, RelationKind::Source { .. } | RelationKind::Sink { .. }) {
        return Err(SqlError::unsupported(format!("renaming a column of a {}", relation.kind.noun()))
            .with_hint("Its columns are those of the data outside. A view can give them other names."));
    }
    let column = relation
        .column_index(&from)
        .ok_or_else(|| SqlError::new(SqlState::UNDEFINED_COLUMN, format!("column \"{from}\" does not exist")))?;
    if relation.column_index(&to).is_some() {
        let message = format!("column \"{to}\" of relation \"{}\" already exists", relation.name);
        return Err(SqlError::new(SqlState::DUPLICATE_COLUMN, message));
    }
    if let RelationKind::Table(table) = &mut relation.kind {
        for check in &mut table.checks {
            check.sql = renamed_in(&check.sql, &from, &to)?;
        }
    }
    if let Some(watermark) = &mut relation.watermark {
        watermark.sql = renamed_in(&watermark.sql, &from, &to)?;
    }
    for column in &mut relation.columns {
        if let Some(millrace_catalog::Generated::Stored(expression)) = &mut column.generated {
            *expression = renamed_in(expression, &from, &to)?;
        }
    }
    to.clone_into(&mut relation.columns[column].name);
    Ok(())
}

/// An expression over the columns of one table, with another name for one of them.
fn renamed_in(expression: &str, from: &str, to: &str) -> Result<String> {
    let mut parsed = parse_expression(expression)?;
    let mut changed = false;
    millrace_functions::each_expression(&mut parsed, |expr: &mut Expr| {
        let ident = match expr {
            Expr::Identifier(ident) => ident,
            Expr::CompoundIdentifier(parts) => match parts.last_mut() {
                Some(last) => last,
                None => return,
            },
            _ => return,
        };
        if fold(ident) == from {
            *ident = Ident::with_quote('"', to);
            changed = true;
        }
    });
    Ok(if changed { parsed.to_string() } else { expression.to_owned() })
}

/// Whether an expression over the columns of one table mentions one of them.
pub fn mentions(expression: &str, column: &str) -> Result<bool> {
    let mut parsed = parse_expression(expression)?;
    let mut found = false;
    millrace_functions::each_expression(&mut parsed, |expr: &mut Expr| {
        found |= match expr {
            Expr::Identifier(ident) => fold(ident) == column,
            Expr::CompoundIdentifier(parts) => parts.last().is_some_and(|last| fold(last) == column),
            _ => false,
        };
    });
    Ok(found)
}

/// The relations that read one.
pub fn readers(context: &Context, relation: &Relation) -> Vec<Arc<Relation>> {
    let all = context.published.catalog.relations();
    all.filter(|other| other.depends_on.contains(&relation.id)).cloned().collect()
}

/// COMMENT ON
pub async fn comment(session: &mut Session, comment: &Comment) -> Result<Response> {
    let context = Context::new(session, session.published(), "");
    let mut parts = name_parts(&comment.name);
    let column = match comment.kind.as_str() {
        "column" => parts.pop(),
        "schema" | "database" | "function" | "constraint" => {
            return Err(SqlError::unsupported(format!("COMMENT ON {}", comment.kind.to_uppercase())));
        }
        "index" => return comment_on_index(session, &context, comment, &parts).await,
        _ => None,
    };
    let relation = context.resolve(&parts)?;
    let nouns = ["table", "view", "materialized view", "source", "sink", "sequence"];
    if nouns.contains(&comment.kind.as_str()) && relation.kind.noun() != comment.kind {
        let message = format!("\"{}\" is not a {}", relation.name, comment.kind);
        return Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, message));
    }
    let column = match column {
        None => None,
        Some(name) => Some(relation.column_index(&name).ok_or_else(|| {
            let message = format!("column \"{name}\" of relation \"{}\" does not exist", relation.name);
            SqlError::new(SqlState::UNDEFINED_COLUMN, message)
        })?),
    };
    let text = comment.text.clone().filter(|text| !text.is_empty());
    let change = Change::SetComment { id: relation.id, column, comment: text };
    session.database.coordinator.define(Definition::Alter(change)).await?;
    done("COMMENT")
}

async fn comment_on_index(
    session: &mut Session,
    context: &Context,
    comment: &Comment,
    name: &[String],
) -> Result<Response> {
    let Some((before, key)) = create_index::find(context, name) else {
        let message = format!("relation \"{}\" does not exist", name.join("."));
        return Err(SqlError::new(SqlState::UNDEFINED_TABLE, message));
    };
    let mut after = Relation::clone(&before);
    let index = after.indexes.iter_mut().find(|index| index.key == key);
    let index = index.ok_or_else(|| SqlError::unsupported("COMMENT ON INDEX of a constraint"))?;
    index.comment = comment.text.clone().filter(|text| !text.is_empty());
    session.database.coordinator.define(Definition::Alter(Change::Replace(after))).await?;
    done("COMMENT")
}
