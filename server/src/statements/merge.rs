//! MERGE: the changes of all its clauses, each computed against the same state.

use super::prepared::{Body, Prepared};
use super::returning::{Changed, answer};
use super::{delete, insert, update};
use crate::coordinator::{Writes, row_identities};
use crate::session::Session;
use arrow::array::ArrayRef;
use futures::FutureExt;
use millrace_planner::parse::Statement;
use millrace_types::{Result, SqlError, SqlState};
use millrace_wire::Response;
use std::collections::HashMap;
use std::sync::Arc;

pub async fn execute(session: &mut Session, prepared: &Arc<Prepared>, parameters: Vec<ArrayRef>) -> Result<Response> {
    let changed =
        session.write(false, |session| compute(session, prepared.clone(), parameters.clone()).boxed()).await?;
    Ok(answer("MERGE", changed))
}

async fn compute(
    session: &mut Session,
    prepared: Arc<Prepared>,
    parameters: Vec<ArrayRef>,
) -> Result<(Writes, Changed)> {
    let planned = prepared.planned(session)?;
    let Body::Merge(parts) = &planned.body else { return Err(SqlError::internal("a MERGE has parts")) };
    session.held = Some(session.published());
    let merged = merged(session, parts, &parameters).await;
    session.held = None;
    merged
}

async fn merged(session: &mut Session, parts: &[Arc<Prepared>], parameters: &[ArrayRef]) -> Result<(Writes, Changed)> {
    let (mut writes, mut rows) = (Writes::default(), 0);
    for part in parts {
        let own = parameters[..part.parameters.len()].to_vec();
        let (more, changed) = part_of(session, part, own).await?;
        if changed.repeated {
            return Err(second_time("MERGE command"));
        }
        writes.append(more);
        rows += changed.rows;
    }
    check_once(session, &writes, "MERGE command")?;
    Ok((writes, Changed { rows, returned: None, repeated: false }))
}

/// What an INSERT, UPDATE or DELETE that is a part of a statement changes.
pub async fn part_of(
    session: &mut Session,
    part: &Arc<Prepared>,
    parameters: Vec<ArrayRef>,
) -> Result<(Writes, Changed)> {
    match &part.statement {
        Some(Statement::Update(_)) => update::compute(session, part.clone(), parameters).await,
        Some(Statement::Delete(_)) => delete::compute(session, part.clone(), parameters).await,
        _ => insert::compute(session, part.clone(), parameters).await,
    }
}

/// Refuses changes by a statement of which several concern one row.
pub fn check_once(session: &mut Session, writes: &Writes, statement: &str) -> Result<()> {
    let snapshot = session.snapshot();
    for (table, deltas) in writes.iter() {
        let mut taken: HashMap<_, i64> = HashMap::new();
        for delta in deltas {
            for (row, identity) in row_identities(delta.rows())?.into_iter().enumerate() {
                *taken.entry(identity).or_default() += (-delta.weight(row)).max(0);
            }
        }
        let model = snapshot.model(table)?;
        for delta in deltas {
            let there = model.net_weights(delta.rows())?;
            let identities = row_identities(delta.rows())?;
            let mut gone = (0..delta.len()).filter(|row| delta.weight(*row) < 0);
            if gone.any(|row| taken[&identities[row]] > there[row]) {
                return Err(second_time(statement));
            }
        }
    }
    Ok(())
}

fn second_time(statement: &str) -> SqlError {
    SqlError::new(SqlState::CARDINALITY_VIOLATION, format!("{statement} cannot affect row a second time"))
        .with_hint("Ensure that not more than one source row matches any one target row.")
}
