//! TRUNCATE: every row of some tables goes, in one transaction.

use super::answer::done;
use super::context::Context;
use super::references;
use crate::coordinator::Writes;
use crate::session::Session;
use futures::FutureExt;
use millrace_catalog::{Relation, RelationKind};
use millrace_planner::parse::{Truncate, name_parts};
use millrace_types::{Result, SqlError, SqlState};
use millrace_wire::Response;

pub async fn execute(session: &mut Session, truncate: &Truncate) -> Result<Response> {
    session.write(false, |session| std::future::ready(compute(session, truncate)).boxed()).await?;
    done("TRUNCATE TABLE")
}

fn compute(session: &mut Session, truncate: &Truncate) -> Result<(Writes, ())> {
    let snapshot = session.snapshot();
    let context = Context::new(session, snapshot.published.clone(), "");
    let (mut writes, mut tables) = (Writes::default(), vec![]);
    for name in &truncate.tables {
        let relation = context.resolve(&name_parts(name))?;
        check_stored(relation)?;
        tables.push(relation.id);
        for delta in snapshot.model(relation.id)?.deltas() {
            writes.add(relation.id, delta?.negated());
        }
    }
    references::check_truncated(&tables, &snapshot.published.catalog)?;
    Ok((writes, ()))
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
