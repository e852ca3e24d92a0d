//! Statements: one file each. [`prepare`] parses and describes, [`execute`] runs.

mod alter;
mod alter_table;
mod answer;
mod conflict;
mod context;
mod control;
mod copy;
mod create_index;
mod create_schema;
mod create_sink;
mod create_source;
mod create_table;
mod create_table_as;
mod create_view;
mod cursors;
mod delete;
mod drop;
mod emission;
mod explain;
mod insert;
mod like;
mod lookup;
mod merge;
mod prepared;
mod references;
mod replace;
mod returning;
pub mod revive;
mod running;
mod select;
mod sequences;
mod set;
mod show;
mod snapshots;
mod subscribe;
mod temporary;
mod truncate;
mod update;
mod watermark;
mod with;

pub use context::Context;
pub use copy::copy_in;
pub use prepared::{Prepared, prepare};
pub use references::follow as follow_references;
pub use temporary::{drop_left_over, end as end_temporary};

use crate::session::Session;
use arrow::array::ArrayRef;
use millrace_planner::parse::Statement;
use millrace_types::{Result, SqlError, SqlState};
use millrace_wire::Response;
use std::sync::Arc;
use std::time::Duration;

/// How often a statement looks whether what it reads is recovered.
const RECOVERY_POLL: Duration = Duration::from_millis(5);

/// Runs a prepared statement with one value for each parameter.
pub async fn execute(session: &mut Session, prepared: &Arc<Prepared>, parameters: Vec<ArrayRef>) -> Result<Response> {
    let response = loop {
        match run(session, prepared, parameters.clone()).await {
            Err(error) if error.state() == SqlState::CANNOT_CONNECT_NOW => await_recovery(session, error).await?,
            response => break response?,
        }
    };
    session.note(prepared, parameters, &response);
    Ok(response)
}

/// Waits until more is recovered than now. A statement that found a relation not recovered has done nothing yet.
async fn await_recovery(session: &Session, error: SqlError) -> Result<()> {
    let recovering = session.published().recovering.len();
    if recovering == 0 || session.transaction.snapshot.is_some() {
        // A block that reads one tick would find the same again.
        return if recovering == 0 { Ok(()) } else { Err(error) };
    }
    while session.published().recovering.len() >= recovering {
        session.cancel.check()?;
        tokio::time::sleep(RECOVERY_POLL).await;
    }
    Ok(())
}

/// As [`execute`], without a note of it for the end of the batch.
pub async fn run(session: &mut Session, prepared: &Arc<Prepared>, parameters: Vec<ArrayRef>) -> Result<Response> {
    let Some(statement) = &prepared.statement else { return Ok(Response::Empty) };
    if !control::ends_a_block(statement) {
        session.transaction.check_usable()?;
    }
    if let Some(command) = control::changes_something(statement) {
        session.transaction.check_writable(command)?;
    }
    if control::defines(statement) {
        session.transaction.snapshot = None;
    }
    use Statement::*;
    match statement {
        Query(_) => select::execute(session, prepared, parameters).await,
        Insert(insert) => insert::execute(session, prepared, insert, parameters).await,
        Update(_) => update::execute(session, prepared, parameters).await,
        Delete(_) => delete::execute(session, prepared, parameters).await,
        Merge(_) => merge::execute(session, prepared, parameters).await,
        With(with) => with::execute(session, with, prepared, parameters).await,
        Truncate(truncate) => truncate::execute(session, truncate).await,
        Copy(copy) => copy::execute(session, copy, prepared).await,
        Explain(explain) => explain::execute(session, explain, prepared).await,
        CreateTable(create) => create_table::execute(session, create, &prepared.text).await,
        CreateTableAs(create) => create_table_as::execute(session, create, &prepared.text).await,
        CreateSource(create) => create_source::execute(session, create, &prepared.text).await,
        CreateView(create) => create_view::execute_plain(session, create, &prepared.text).await,
        CreateMaterializedView(create) => create_view::execute_materialized(session, create, &prepared.text).await,
        CreateSink(create) => create_sink::execute(session, create, &prepared.text).await,
        CreateSchema { name, if_not_exists } => create_schema::create(session, name, *if_not_exists).await,
        DropSchema { names, if_exists, cascade } => create_schema::drop(session, names, *if_exists, *cascade).await,
        Drop(drop) => drop::execute(session, drop).await,
        Comment(comment) => alter::comment(session, comment).await,
        Alter(alter) => alter::execute(session, alter).await,
        Begin { modes, start } => control::begin(session, modes, if *start { "START TRANSACTION" } else { "BEGIN" }),
        Commit { chain } => control::commit(session, *chain).await,
        Rollback { chain } => control::roll_back(session, *chain).await,
        Savepoint(name) => control::savepoint(session, name),
        Release(name) => control::release(session, name),
        RollbackTo(name) => control::roll_back_to(session, name).await,
        Set(set) => set::execute(session, set),
        SetConstraints { names, deferred } => set::constraints(session, names, *deferred),
        SetTransaction(modes) => set::transaction(session, modes),
        SetSessionCharacteristics(modes) => set::characteristics(session, modes),
        Reset(name) => set::reset(session, name),
        ResetAll => set::reset_all(session),
        Show(name) => show::setting(session, prepared, name),
        ShowObjects(objects) => show::objects(session, prepared, objects).await,
        ShowCreate { kind: _, name } => show::definition(session, prepared, name),
        ShowColumns(name) => show::columns(session, prepared, name),
        Prepare(prepare) => prepared::declare(session, prepare).await,
        Execute { name, parameters } => prepared::execute(session, name, parameters).await,
        Deallocate(name) => prepared::deallocate(session, name.as_ref()),
        Declare(declare) => cursors::declare(session, declare).await,
        Fetch(fetch) => cursors::fetch(session, fetch).await,
        Close(name) => cursors::close(session, name.as_ref()),
        Discard(what) => set::discard(session, *what).await,
        Subscribe(subscribe) => subscribe::execute(session, subscribe, &prepared.text).await,
        Listen(_) | Unlisten(_) | Notify { .. } => control::notifications(statement),
        Flush | Wait => {
            session.database.clone().coordinator.settle().await?;
            Ok(Response::Complete(control::tag(statement).to_owned()))
        }
        Analyze | Vacuum => Ok(Response::Complete(control::tag(statement).to_owned())),
        CancelJob(id) => drop::cancel_job(session, *id).await,
        Refresh { name, concurrently: _ } => replace::refresh(session, name).await,
        CreateIndex(create) => create_index::execute(session, create).await,
        CreateSequence(create) => sequences::create(session, create, &prepared.text).await,
        SetTime(time) => watermark::set_time(session, time).await,
        CreateSnapshot { snapshot, if_not_exists } => snapshots::create(session, snapshot, *if_not_exists).await,
        DropSnapshot { snapshot, if_exists } => snapshots::drop_snapshot(session, snapshot, *if_exists).await,
        RestoreSnapshot(snapshot) => snapshots::restore(session, snapshot).await,
        Checkpoint => {
            session.database.coordinator.checkpoint().await?;
            answer::done("CHECKPOINT")
        }
    }
}
