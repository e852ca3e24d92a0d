//! TRUNCATE: every row of some tables goes, in one transaction.

use super::answer::done;
use super::context::Context;
use super::references;
use crate::coordinator::{Position, Reference, Writes};
use crate::session::Session;
use futures::FutureExt;
use millrace_catalog::{Catalog, Relation, RelationKind};
use millrace_planner::parse::{Truncate, name_parts};
use millrace_types::{RelationId, Result, SqlError, SqlState};
use millrace_wire::Response;

pub async fn execute(session: &mut Session, truncate: &Truncate) -> Result<Response> {
    let tables = session.write(false, |session| std::future::ready(compute(session, truncate)).boxed()).await?;
    if truncate.restart {
        restart(session, &tables)?;
    }
    done("TRUNCATE TABLE")
}

/// The changes, and the tables that they empty.
fn compute(session: &mut Session, truncate: &Truncate) -> Result<(Writes, Vec<RelationId>)> {
    let snapshot = session.snapshot();
    let context = Context::new(session, snapshot.published.clone(), "");
    let catalog = &snapshot.published.catalog;
    let mut tables = vec![];
    for name in &truncate.tables {
        let relation = context.resolve(&name_parts(name))?;
        check_stored(relation)?;
        tables.push(relation.id);
    }
    if truncate.cascade {
        with_references(&mut tables, catalog);
    }
    references::check_truncated(&tables, catalog)?;
    let mut writes = Writes::default();
    for table in &tables {
        for delta in snapshot.model(*table)?.deltas() {
            writes.add(*table, delta?.negated());
        }
    }
    Ok((writes, tables))
}

/// Adds the tables that refer to some, and those that refer to them.
fn with_references(tables: &mut Vec<RelationId>, catalog: &Catalog) {
    let mut at = 0;
    while let Some(table) = tables.get(at).and_then(|table| catalog.get(*table)) {
        for reference in Reference::to(table, catalog) {
            if !tables.contains(&reference.child.id) {
                tables.push(reference.child.id);
            }
        }
        at += 1;
    }
}

/// The sequences of tables begin again. As numbers are given outside of transactions, that stays when this one ends
/// otherwise.
fn restart(session: &Session, tables: &[RelationId]) -> Result<()> {
    let catalog = session.published().catalog.clone();
    for relation in catalog.relations() {
        if let RelationKind::Sequence(sequence) = &relation.kind
            && relation.owner_table().is_some_and(|table| tables.contains(&table))
        {
            let position = Position { last: sequence.start, called: false };
            session.database.coordinator.set_position(relation.id, position)?;
        }
    }
    Ok(())
}

/// Refuses DML on what is not a stored table.
pub fn check_stored(relation: &Relation) -> Result<()> {
    let name = &relation.name;
    let wrong = |message: String| Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, message));
    match &relation.kind {
        RelationKind::Table(table) if table.is_stored() => Ok(()),
        RelationKind::Table(_) | RelationKind::Sink { .. } => wrong(format!("cannot change sink \"{name}\"")),
        RelationKind::View { .. } => wrong(format!("cannot change view \"{name}\"")),
        RelationKind::MaterializedView { .. } => wrong(format!("cannot change materialized view \"{name}\"")),
        RelationKind::Source { .. } => wrong(format!("cannot change source \"{name}\"")),
        RelationKind::Sequence(_) => wrong(format!("cannot change sequence \"{name}\"")),
        RelationKind::Job { .. } => wrong(format!("\"{name}\" is not a table")),
    }
}
