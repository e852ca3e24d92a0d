//! DROP of relations, and CANCEL JOB.

use super::answer::done;
use super::context::Context;
use super::create_index;
use crate::session::Session;
use millrace_catalog::{Relation, RelationKind};
use millrace_planner::parse::{Drop, ObjectKind, name_parts};
use millrace_types::{RelationId, Result, SqlError, SqlState};
use millrace_wire::{Notice, Response};

pub async fn execute(session: &mut Session, drop: &Drop) -> Result<Response> {
    let (noun, tag) = words(drop.kind)?;
    if drop.kind == ObjectKind::Index {
        for name in &drop.names {
            create_index::drop(session, &name_parts(name), drop.if_exists).await?;
        }
        return done(tag);
    }
    let context = Context::new(session, session.published(), "");
    let mut targets = vec![];
    for name in &drop.names {
        let parts = name_parts(name);
        match context.resolve(&parts) {
            Ok(relation) => {
                check_kind(drop.kind, relation, noun)?;
                targets.push(relation.id);
            }
            Err(error) if error.state() == SqlState::UNDEFINED_TABLE => {
                let message = format!("{noun} \"{}\" does not exist", parts.join("."));
                match drop.if_exists {
                    true => session.notice(Notice::plain(format!("{message}, skipping"))),
                    false => return Err(SqlError::new(SqlState::UNDEFINED_TABLE, message)),
                }
            }
            Err(error) => return Err(error),
        }
    }
    if targets.is_empty() {
        return done(tag);
    }
    let order = context.plan_drop(&targets, drop.cascade)?;
    let lines = context.published.catalog.dependent_lines(&targets);
    cascade_notice(session, lines.iter().map(|line| line.split(" depends on ").next().unwrap_or(line)).collect());
    forget(session, order).await?;
    done(tag)
}

/// Drops now, or at the end of the block that the session is in.
async fn forget(session: &mut Session, order: Vec<RelationId>) -> Result<()> {
    if !session.transaction.explicit {
        let definition = crate::coordinator::Definition::Drop { relations: order, schema: None };
        return session.database.coordinator.define(definition).await.map(|_| ());
    }
    let created = &mut session.transaction.created;
    if order.iter().all(|id| created.contains(id)) {
        created.retain(|id| !order.contains(id));
        return session.drop_now(order.into_iter().rev().collect()).await;
    }
    // Kept in the order in which they were made: `drop_now` goes the other way.
    session.transaction.dropping.extend(order.into_iter().rev());
    Ok(())
}

/// Tells what goes with what was named.
pub fn cascade_notice(session: &mut Session, objects: Vec<&str>) {
    let notice = match objects.as_slice() {
        [] => return,
        [one] => Notice::plain(format!("drop cascades to {one}")),
        many => {
            let mut notice = Notice::plain(format!("drop cascades to {} other objects", many.len()));
            let detail: Vec<_> = many.iter().map(|object| format!("drop cascades to {object}")).collect();
            notice.content = notice.content.with_detail(detail.join("\n"));
            notice
        }
    };
    session.notice(notice);
}

fn words(kind: ObjectKind) -> Result<(&'static str, &'static str)> {
    Ok(match kind {
        ObjectKind::Table => ("table", "DROP TABLE"),
        ObjectKind::Source => ("source", "DROP SOURCE"),
        ObjectKind::View => ("view", "DROP VIEW"),
        ObjectKind::MaterializedView => ("materialized view", "DROP MATERIALIZED VIEW"),
        ObjectKind::Sink => ("sink", "DROP SINK"),
        ObjectKind::Sequence => ("sequence", "DROP SEQUENCE"),
        ObjectKind::Index => ("index", "DROP INDEX"),
        other => return Err(SqlError::unsupported(format!("DROP {other:?}").to_uppercase())),
    })
}

fn check_kind(kind: ObjectKind, relation: &Relation, noun: &str) -> Result<()> {
    let fits = match (&relation.kind, kind) {
        (RelationKind::Table(table), ObjectKind::Sink) => !table.is_stored(),
        (RelationKind::Table(_), ObjectKind::Table) => true,
        (RelationKind::Source { .. }, ObjectKind::Source) => true,
        (RelationKind::View { .. }, ObjectKind::View) => true,
        (RelationKind::MaterializedView { .. }, ObjectKind::MaterializedView) => true,
        (RelationKind::Sink { .. }, ObjectKind::Sink) => true,
        (RelationKind::Sequence(_), ObjectKind::Sequence) => true,
        _ => false,
    };
    if fits {
        return Ok(());
    }
    let article = if noun.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    let found = relation.kind.noun();
    let hint = format!("Use DROP {} to remove a {found}.", found.to_uppercase());
    Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, format!("\"{}\" is not {article} {noun}", relation.name))
        .with_hint(hint))
}

/// CANCEL JOB: ends an INSERT job.
pub async fn cancel_job(session: &mut Session, id: u64) -> Result<Response> {
    let catalog = session.published().catalog.clone();
    let job = u32::try_from(id).ok().and_then(|id| catalog.get(RelationId(id)));
    let job = job.filter(|relation| matches!(relation.kind, RelationKind::Job { .. }));
    let Some(job) = job else {
        return Err(SqlError::new(SqlState::UNDEFINED_OBJECT, format!("job {id} does not exist"))
            .with_hint("SHOW JOBS lists the jobs; other jobs end with DROP of their view or sink."));
    };
    forget(session, vec![job.id]).await?;
    done("CANCEL JOB")
}
