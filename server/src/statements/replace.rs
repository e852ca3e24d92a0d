//! CREATE OR REPLACE of views, and REFRESH MATERIALIZED VIEW.

use super::answer::done;
use super::context::Context;
use super::create_view::plan_job;
use super::emission;
use crate::coordinator::{Definition, Published, Replacement, Step, schema_of};
use crate::session::Session;
use millrace_catalog::{Change, Column, Relation, RelationKind};
use millrace_dataflow::read_model::ReadModel;
use millrace_ir::{Job, Output};
use millrace_planner::parse::{name_parts, parse_query};
use millrace_types::{RelationId, Result, SqlError, SqlState, SqlType};
use millrace_wire::Response;
use sqlparser::ast::{self, ObjectName};
use std::collections::HashMap;
use std::sync::Arc;

/// How often a replacement is planned again because definitions changed meanwhile.
const ATTEMPTS: usize = 10;

/// REFRESH MATERIALIZED VIEW: wiped and computed anew, which changes nothing; readers see the old rows until the end.
pub async fn refresh(session: &mut Session, name: &ObjectName) -> Result<Response> {
    for attempt in 1.. {
        let context = Context::new(session, session.published(), "");
        let before = context.resolve(&name_parts(name))?.clone();
        let RelationKind::MaterializedView { query, .. } = &before.kind else {
            let message = format!("\"{}\" is not a materialized view", before.name);
            return Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, message));
        };
        let query = parse_query(query)?;
        match put(session, &before, Relation::clone(&before), &query).await {
            Err(error) if error.state() == SqlState::SERIALIZATION_FAILURE && attempt < ATTEMPTS => {}
            outcome => return outcome.and_then(|()| done("REFRESH MATERIALIZED VIEW")),
        }
    }
    done("REFRESH MATERIALIZED VIEW")
}

/// Gives the relation `before` the definition `after`, whose query is given parsed too. What is computed from it is
/// computed anew where the difference alone cannot be passed on.
pub async fn put(session: &mut Session, before: &Arc<Relation>, after: Relation, query: &ast::Query) -> Result<()> {
    let replacement = Planning::new(session).all(before, after, query)?;
    let (database, cancel) = (session.database.clone(), session.cancel.clone());
    tokio::select! {
        done = database.coordinator.define(Definition::Replace(replacement)) => done.map(|_| ()),
        reason = cancel.cancelled() => Err(reason),
    }
}

/// The existing relation that CREATE OR REPLACE replaces.
///
/// # Errors
/// `42809` when it is something else; `25001` in a block, which could not take it back.
pub fn target(
    session: &Session,
    context: &Context,
    name: &(String, String),
    noun: &str,
) -> Result<Option<Arc<Relation>>> {
    let Some(found) = context.published.catalog.find(&name.0, &name.1) else { return Ok(None) };
    if found.kind.noun() != noun {
        let article = if noun.starts_with('m') || noun.starts_with('v') { "a" } else { "an" };
        let message = format!("\"{}\" is not {article} {noun}", found.name);
        return Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, message));
    }
    if session.transaction.explicit {
        let command = format!("CREATE OR REPLACE {}", noun.to_uppercase());
        let message = format!("{command} of an existing view cannot run inside a transaction block");
        return Err(SqlError::new(SqlState::ACTIVE_SQL_TRANSACTION, message));
    }
    Ok(Some(found.clone()))
}

/// What keeps the identity of a replaced relation: its id, and what was said about it.
pub fn succeed(before: &Relation, after: Relation) -> Relation {
    let (comment, indexes) = (before.comment.clone(), before.indexes.clone());
    let mut after = Relation { id: before.id, comment, indexes, ..after };
    for (column, old) in after.columns.iter_mut().zip(&before.columns) {
        column.comment = old.comment.clone();
    }
    after
}

/// Checks the columns of a view against those that it had: new ones may only follow.
///
/// # Errors
/// `42P16`, as Postgres words it.
pub fn check_columns(before: &[Column], after: &[Column]) -> Result<()> {
    let refused = |message: String| SqlError::new(SqlState::INVALID_TABLE_DEFINITION, message);
    if after.len() < before.len() {
        return Err(refused("cannot drop columns from view".to_owned()));
    }
    for (old, new) in before.iter().zip(after) {
        if old.name != new.name {
            let message = format!("cannot change name of view column \"{}\" to \"{}\"", old.name, new.name);
            return Err(refused(message)
                .with_hint("Use ALTER VIEW ... RENAME COLUMN ... to change name of view column instead."));
        }
        if old.sql_type != new.sql_type {
            let (old_type, new_type) = (&old.sql_type, &new.sql_type);
            return Err(refused(format!(
                "cannot change data type of view column \"{}\" from {old_type} to {new_type}",
                old.name
            )));
        }
    }
    Ok(())
}

/// What others see of columns.
fn shape(columns: &[Column]) -> Vec<(&str, &SqlType)> {
    columns.iter().map(|column| (column.name.as_str(), &column.sql_type)).collect()
}

/// The steps of a replacement as they are found.
struct Planning<'a> {
    session: &'a Session,
    /// What is published, with the new definitions in it.
    published: Published,
    stand_ins: HashMap<RelationId, RelationId>,
    /// Relations whose readers have to be planned anew.
    unsteady: Vec<RelationId>,
    steps: Vec<Step>,
}

impl<'a> Planning<'a> {
    fn new(session: &'a Session) -> Planning<'a> {
        let published = Published::clone(&session.published());
        Planning { session, published, stand_ins: HashMap::new(), unsteady: vec![], steps: vec![] }
    }

    fn all(mut self, before: &Arc<Relation>, after: Relation, query: &ast::Query) -> Result<Replacement> {
        let dependents = self.published.catalog.dependents_in_order(before.id);
        let circle = |id: &RelationId| *id == after.id || dependents.iter().any(|dependent| dependent.id == *id);
        if after.depends_on.iter().any(circle) {
            let message = format!("infinite recursion detected in rules for relation \"{}\"", after.name);
            return Err(SqlError::new(SqlState::INVALID_OBJECT_DEFINITION, message));
        }
        if !dependents.is_empty() && shape(&before.columns) != shape(&after.columns) {
            let names: Vec<_> = dependents.iter().map(|dependent| dependent.name.as_str()).collect();
            check_columns(&before.columns, &after.columns)?;
            let message = format!("cannot add columns to \"{}\" because other objects depend on it", before.name);
            return Err(SqlError::new(SqlState::INVALID_TABLE_DEFINITION, message)
                .with_detail(format!("These read it: {}.", names.join(", ")))
                .with_hint("Drop them first, and create them again afterwards."));
        }
        self.step(before, after, query)?;
        for dependent in dependents {
            if !dependent.depends_on.iter().any(|needed| self.unsteady.contains(needed)) {
                continue;
            }
            match &dependent.kind {
                RelationKind::View { .. } => self.unsteady.push(dependent.id),
                RelationKind::MaterializedView { query, .. } => {
                    self.step(&dependent, Relation::clone(&dependent), &*parse_query(query)?)?;
                }
                _ => return Err(read_by_sink(before, &dependent)),
            }
        }
        Ok(Replacement { steps: self.steps })
    }

    /// Plans one relation anew, and notes whether those that read it have to be.
    fn step(&mut self, before: &Arc<Relation>, mut after: Relation, query: &ast::Query) -> Result<()> {
        let job = match after.kind {
            RelationKind::MaterializedView { .. } => {
                let context = Context::of_definition(self.session, Arc::new(self.published.clone()), &after)
                    .with_stand_ins(self.stand_ins.clone());
                let id = self.session.database.coordinator.allocate(1);
                let emission = emission::of(after.kind.options())?;
                let job = plan_job(&context, query, emission, id, &after.name)?.job;
                (after.append_only, after.event_time) = (job.plan.append_only, job.plan.event_time);
                Some(job)
            }
            _ => None,
        };
        let passes_on = job.as_ref().is_some_and(|job| self.keeps_its_shape(before, &after, job));
        if !passes_on {
            self.unsteady.push(after.id);
        }
        self.published.catalog = Arc::new(self.published.catalog.apply(&Change::Replace(after.clone()))?);
        if let Some(job) = &job {
            let Output::ReadModel { key } = &job.output else { return Err(SqlError::internal("a view has rows")) };
            let rows = ReadModel::empty(schema_of(&after), key.clone(), 1);
            self.published.models.put(after.id, rows, self.published.tick);
            self.stand_ins.insert(after.id, job.id);
        }
        self.steps.push(Step { before: before.clone(), after, job, passes_on });
        Ok(())
    }

    /// Whether plans that read the relation hold for its new rows, so that they need only be told the difference: they
    /// may rest on its key, and on nothing ever being taken back. A relation that failed has told them nothing.
    fn keeps_its_shape(&self, before: &Relation, after: &Relation, job: &Job) -> bool {
        let key = self.published.models.get(&before.id).map(|model| model.key().to_vec());
        let same = before.depends_on == after.depends_on && before.kind.query() == after.kind.query();
        let same_key = matches!(&job.output, Output::ReadModel { key: new } if Some(new) == key.as_ref());
        let same_columns = check_columns(&before.columns, &after.columns).is_ok();
        same_columns && same_key && (same || !before.append_only) && !self.published.failed.contains_key(&before.id)
    }
}

fn read_by_sink(before: &Relation, sink: &Relation) -> SqlError {
    let (noun, name) = (before.kind.noun(), &before.name);
    let message = format!("cannot replace {noun} {name} because other objects depend on it");
    let detail =
        format!("{} {} depends on it, and what it has sent out cannot be computed anew.", sink.kind.noun(), sink.name);
    SqlError::new(SqlState::DEPENDENT_OBJECTS_STILL_EXIST, message)
        .with_detail(detail)
        .with_hint("Drop it first, and create it again afterwards.")
}
