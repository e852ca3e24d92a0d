//! CREATE INDEX and DROP INDEX.

use super::answer::done;
use super::context::Context;
use crate::coordinator::{Definition, Reshape};
use crate::session::Session;
use millrace_catalog::{Index, Key, Relation, RelationKind};
use millrace_dataflow::state::has_order;
use millrace_planner::parse::{CreateIndex, fold, name_parts};
use millrace_types::{Result, SqlError, SqlState};
use millrace_wire::{Notice, Response};
use sqlparser::ast::Expr;
use std::sync::Arc;

pub async fn execute(session: &mut Session, create: &CreateIndex) -> Result<Response> {
    let context = Context::new(session, session.published(), "");
    let before = context.resolve(&name_parts(&create.table))?.clone();
    check_target(&before)?;
    let keys = create.keys.iter().map(|key| key_column(&context, &before, key)).collect::<Result<Vec<_>>>()?;
    for column in &create.include {
        position(&before, &fold(column))?;
    }
    let catalog = &context.published.catalog;
    let name = match &create.name {
        Some(name) => name_parts(name).pop().unwrap_or_default(),
        None => free_name(&before, &keys, |name| catalog.check_new_relation(&before.schema, name).is_ok()),
    };
    if let Err(error) = catalog.check_new_relation(&before.schema, &name) {
        if error.state() != SqlState::DUPLICATE_TABLE || !create.if_not_exists {
            return Err(error);
        }
        session.notice(Notice::plain(format!("relation \"{name}\" already exists, skipping")));
        return done("CREATE INDEX");
    }
    let columns: Option<Vec<usize>> = keys.into_iter().collect();
    let columns = columns.filter(|_| !create.partial);
    if columns.is_none() && create.unique {
        return Err(SqlError::unsupported("a UNIQUE index on expressions or on some of the rows"));
    }
    if columns.is_none() {
        let message = format!("index \"{name}\" is kept by name only: look-ups go by indexes on columns of all rows");
        session.notice(Notice::plain(message));
    }
    if create.unique && !matches!(before.kind, RelationKind::Table(_)) {
        return Err(SqlError::unsupported("a UNIQUE index on a materialized view")
            .with_hint("An index that is not UNIQUE serves look-ups as well."));
    }
    let id = session.database.coordinator.allocate(1);
    let key = Key { name, index: id, columns: columns.unwrap_or_default() };
    let ordered = match &key.columns[..] {
        [column] => !create.unique && has_order(&before.columns[*column].sql_type.arrow()),
        _ => false,
    };
    let index = Index { key, unique: create.unique, ordered, sql: create.text.clone(), comment: None };
    let mut after = Relation::clone(&before);
    after.indexes.push(index);
    reshape(session, before, after).await?;
    done("CREATE INDEX")
}

async fn reshape(session: &mut Session, before: Arc<Relation>, after: Relation) -> Result<()> {
    let reshape = Reshape { before, after, rows: None };
    session.database.coordinator.define(Definition::Reshape(reshape)).await.map(|_| ())
}

fn check_target(relation: &Relation) -> Result<()> {
    match &relation.kind {
        RelationKind::Table(table) if table.is_stored() => Ok(()),
        RelationKind::MaterializedView { .. } => Ok(()),
        other => {
            let message = format!("cannot create index on {} \"{}\"", other.noun(), relation.name);
            Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, message)
                .with_hint("Tables and materialized views can have indexes."))
        }
    }
}

/// The column that a key is; `None` for an expression.
fn key_column(context: &Context, relation: &Relation, key: &Expr) -> Result<Option<usize>> {
    match key {
        Expr::Identifier(ident) => position(relation, &fold(ident)).map(Some),
        Expr::Nested(inner) => key_column(context, relation, inner),
        expression => {
            context.check_row_expression(relation, &expression.to_string())?;
            Ok(None)
        }
    }
}

fn position(relation: &Relation, name: &str) -> Result<usize> {
    let missing = || SqlError::new(SqlState::UNDEFINED_COLUMN, format!("column \"{name}\" does not exist"));
    relation.column_index(name).ok_or_else(missing)
}

/// The name that Postgres gives: the table and its columns, numbered when it is taken.
fn free_name(relation: &Relation, keys: &[Option<usize>], is_free: impl Fn(&str) -> bool) -> String {
    let columns = keys.iter().map(|key| key.map_or("expr", |column| relation.columns[column].name.as_str()));
    let base = format!("{}_{}_idx", relation.name, columns.collect::<Vec<_>>().join("_"));
    let numbered = (1..).map(|number| format!("{base}{number}"));
    std::iter::once(base.clone()).chain(numbered).find(|name| is_free(name)).unwrap_or(base)
}

/// DROP INDEX of one index.
///
/// # Errors
/// `42704` when there is none, `2BP01` for the index of a constraint.
pub async fn drop(session: &mut Session, name: &[String], if_exists: bool) -> Result<()> {
    let context = Context::new(session, session.published(), "");
    let Some((before, key)) = find(&context, name) else {
        let message = format!("index \"{}\" does not exist", name.join("."));
        if !if_exists {
            return Err(SqlError::new(SqlState::UNDEFINED_OBJECT, message));
        }
        session.notice(Notice::plain(format!("{message}, skipping")));
        return Ok(());
    };
    let refers = before.foreign_keys().iter().any(|foreign| foreign.index == key.index);
    if before.index_of(&key).is_none() || refers {
        let (name, table) = (&key.name, &before.name);
        let message = format!("cannot drop index {name} because constraint {name} on table {table} requires it");
        return Err(SqlError::new(SqlState::DEPENDENT_OBJECTS_STILL_EXIST, message)
            .with_hint(format!("You can drop constraint {name} on table {table} instead.")));
    }
    let mut after = Relation::clone(&before);
    after.indexes.retain(|index| index.key != key);
    reshape(session, before, after).await
}

/// The index with a name, and what it is on.
pub fn find(context: &Context, name: &[String]) -> Option<(Arc<Relation>, Key)> {
    let (schemas, name) = match name {
        [name] => (&*context.search_path, name),
        [.., schema, name] => (std::slice::from_ref(schema), name),
        [] => return None,
    };
    schemas.iter().find_map(|schema| {
        let relations = context.published.catalog.relations().filter(|relation| relation.schema == *schema);
        let mut keys = relations.flat_map(|relation| relation.index_keys().map(move |key| (relation, key)));
        keys.find(|(_, key)| key.name == *name).map(|(relation, key)| (relation.clone(), key.clone()))
    })
}
