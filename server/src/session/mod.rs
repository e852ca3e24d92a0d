//! Sessions: one client's settings, transaction, prepared statements and cursors.
//!
//! A statement's way: its text is split and parsed, `statements` describes and runs it, and here stands what that needs
//! to know of the client. `connection` is the side that the protocol layer sees.

mod batch;
mod connection;
mod cursor;
mod functions;
mod settings;
mod transaction;

pub use cursor::Cursor;
pub use settings::{Settings, canonical};
pub use transaction::{Isolation, Transaction};

use crate::coordinator::{Definition, Published, Reads, Writes};
use crate::database::Database;
use crate::door::Door;
use crate::reading::Snapshot;
use crate::statements::Prepared;
use arrow::array::ArrayRef;
use batch::Batch;
use futures::future::BoxFuture;
use millrace_planner::FunctionSource;
use millrace_planner::parse::OnCommit;
use millrace_types::{RelationId, Result, SqlState};
use millrace_wire::{CancelToken, Deallocation, Notice, Response};
use std::collections::HashMap;
use std::sync::Arc;

/// How often a statement is run again because others changed what it read.
const ATTEMPTS: usize = 100;

/// One client's conversation.
pub struct Session {
    pub database: Arc<Database>,
    pub door: Door,
    pub user: String,
    pub database_name: String,
    pub process_id: i32,
    pub cancel: CancelToken,
    pub settings: Settings,
    pub transaction: Transaction,
    /// The one state that all parts of a statement read, if it has several.
    pub held: Option<Arc<Published>>,
    /// Statements by the names that PREPARE or the protocol gave them.
    pub prepared: HashMap<String, Arc<Prepared>>,
    pub cursors: HashMap<String, Cursor>,
    /// Its temporary tables that a transaction's end empties or drops.
    pub on_commit: Vec<(RelationId, OnCommit)>,
    /// Whether the open batch may hold more than one statement, so that its changes are committed at its end.
    several: bool,
    /// What the open batch has done so far.
    batch: Batch,
    notices: Vec<Notice>,
    deallocations: Vec<Deallocation>,
    timer: Option<tokio::task::AbortHandle>,
    /// What its functions know of it.
    acting: Arc<functions::Acting>,
    /// The database's functions with those that act on its behalf, once a statement needed them.
    own_functions: std::sync::OnceLock<FunctionSource>,
}

impl Session {
    /// What the next statement sees.
    pub fn snapshot(&mut self) -> Arc<Snapshot> {
        self.snapshot_for(false)
    }

    /// What a SELECT FOR UPDATE sees: in a block, the commit has to know what it read.
    pub fn validated_snapshot(&mut self) -> Arc<Snapshot> {
        self.snapshot_for(self.transaction.explicit)
    }

    fn snapshot_for(&mut self, update: bool) -> Arc<Snapshot> {
        let Transaction { explicit, read_only, .. } = self.transaction;
        let isolation = self.settings.isolation(explicit);
        let keeps_one = explicit && (read_only || isolation >= Isolation::RepeatableRead);
        let published = match (keeps_one, &self.transaction.snapshot) {
            (true, Some(held)) => held.clone(),
            (true, None) => self.transaction.snapshot.insert(self.database.coordinator.published()).clone(),
            (false, _) => self.held.clone().unwrap_or_else(|| self.database.coordinator.published()),
        };
        let validated = update || (isolation == Isolation::Serializable && !read_only);
        let reads = validated.then(|| self.transaction.reads.get_or_insert_default().clone());
        Arc::new(Snapshot { published, writes: Arc::new(self.transaction.writes.clone()), reads })
    }

    /// The definitions and models that are published now.
    pub fn published(&self) -> Arc<Published> {
        self.database.coordinator.published()
    }

    /// Tells the client something that is no error.
    pub fn notice(&mut self, notice: Notice) {
        self.notices.push(notice);
    }

    /// Makes the protocol layer forget statements or portals.
    pub fn deallocate(&mut self, what: Deallocation) {
        self.deallocations.push(what);
    }

    /// Runs a statement that changes rows: `compute` reads and says what changes. In a transaction the changes wait
    /// for its end. Alone they are committed here, and computed again when others were faster: when a row that they
    /// change is no longer there, and with `resolves_duplicates` also when a key was taken meanwhile.
    pub async fn write<T>(
        &mut self,
        resolves_duplicates: bool,
        mut compute: impl for<'s> FnMut(&'s mut Session) -> BoxFuture<'s, Result<(Writes, T)>> + Send,
    ) -> Result<T> {
        let overtaken = |state: SqlState| {
            state == SqlState::SERIALIZATION_FAILURE || (resolves_duplicates && state == SqlState::UNIQUE_VIOLATION)
        };
        let mut attempt = 0;
        let in_transaction = self.transaction.explicit || self.several;
        loop {
            if !in_transaction {
                self.transaction.reads = None;
            }
            let (writes, answer) = compute(self).await?;
            let published = self.database.coordinator.published();
            let mut writes = crate::statements::follow_references(self, &published, writes)?;
            if in_transaction {
                self.transaction.add(writes, &published)?;
                return Ok(answer);
            }
            attempt += 1;
            if writes.is_empty() {
                return Ok(answer);
            }
            self.end_temporary_rows(&mut writes);
            let (reads, durable) = (self.transaction.reads.take(), self.settings.synchronous_commit());
            match self.database.coordinator.commit(writes, reads, durable).await {
                Ok(_) => return Ok(answer),
                Err(error) if overtaken(error.state()) && attempt < ATTEMPTS => {
                    self.cancel.check()?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Ends the transaction with what it wrote.
    pub async fn commit(&mut self) -> Result<()> {
        let mut transaction = std::mem::take(&mut self.transaction);
        self.end_cursors();
        self.end_temporary_rows(&mut transaction.writes);
        transaction.dropping.extend(self.temporary_of(OnCommit::Drop));
        self.on_commit.retain(|(_, on_commit)| *on_commit != OnCommit::Drop);
        let committed = self.commit_writes(transaction.writes, transaction.reads, transaction.explicit).await;
        let committed = match (committed, transaction.dropping.is_empty()) {
            (Ok(()), false) => self.drop_now(transaction.dropping).await,
            (Err(error), _) => {
                self.drop_now(transaction.created).await?;
                Err(error)
            }
            (Ok(()), true) => Ok(()),
        };
        self.settings.end(committed.is_ok())?;
        committed
    }

    fn temporary_of(&self, wanted: OnCommit) -> impl Iterator<Item = RelationId> {
        self.on_commit.iter().filter(move |(_, on_commit)| *on_commit == wanted).map(|(id, _)| *id)
    }

    /// Takes the rows of tables that each commit empties out of what is committed: so these are always empty.
    fn end_temporary_rows(&self, writes: &mut Writes) {
        self.temporary_of(OnCommit::DeleteRows).for_each(|table| writes.forget(table));
    }

    /// Commits changes. Those of a batch outside of a block are computed again when others were faster, as long as the
    /// client need not be told anything else than before.
    async fn commit_writes(&mut self, mut writes: Writes, mut reads: Option<Arc<Reads>>, explicit: bool) -> Result<()> {
        let repeatable = self.batch.repeatable().filter(|_| !explicit);
        for attempt in 1.. {
            if writes.is_empty() {
                break;
            }
            let durable = self.settings.synchronous_commit();
            let Err(error) = self.database.coordinator.commit(writes, reads, durable).await else { break };
            let overtaken = error.state() == SqlState::SERIALIZATION_FAILURE && attempt < ATTEMPTS;
            let Some(statements) = repeatable.as_ref().filter(|_| overtaken) else { return Err(error) };
            (writes, reads) = self.run_again(statements).await?.ok_or(error)?;
        }
        Ok(())
    }

    /// What statements change now; `None` when their command tags would differ from what the client was told.
    async fn run_again(&mut self, statements: &[batch::Executed]) -> Result<Option<(Writes, Option<Arc<Reads>>)>> {
        self.cancel.check()?;
        for executed in statements {
            let again = crate::statements::run(self, &executed.prepared, executed.parameters.clone());
            let response = Box::pin(again).await?;
            if !matches!(response, Response::Complete(tag) if tag == executed.tag) {
                self.transaction = Transaction::default();
                return Ok(None);
            }
        }
        let Transaction { writes, reads, .. } = std::mem::take(&mut self.transaction);
        Ok(Some((writes, reads)))
    }

    /// Notes what a statement of the open batch did.
    pub fn note(&mut self, prepared: &Arc<Prepared>, parameters: Vec<ArrayRef>, response: &Response) {
        if self.several && !self.transaction.explicit {
            self.batch.note(prepared, parameters, response);
        }
    }

    /// Goes on with a database that has taken the place of the one before: nothing that the session has of that means
    /// anything there.
    pub fn move_to(&mut self, database: Arc<Database>) {
        let facts = self.database.sessions.lock().remove(&self.process_id);
        database.sessions.lock().extend(facts.map(|facts| (self.process_id, facts)));
        self.database = database;
        self.transaction = Transaction::default();
        self.held = None;
        self.prepared.clear();
        self.cursors.clear();
        self.on_commit.clear();
        self.batch = Batch::default();
        self.own_functions = std::sync::OnceLock::new();
        self.forget_numbers();
        self.deallocate(Deallocation::AllStatements);
        self.deallocate(Deallocation::AllPortals);
    }

    /// Ends the transaction as if it had never been.
    pub async fn roll_back(&mut self) -> Result<()> {
        let transaction = std::mem::take(&mut self.transaction);
        self.end_cursors();
        self.settings.end(false)?;
        self.drop_now(transaction.created).await
    }

    /// Cursors without hold end with their transaction.
    fn end_cursors(&mut self) {
        self.cursors.retain(|_, cursor| cursor.hold);
    }

    /// Drops relations, the youngest first.
    pub async fn drop_now(&mut self, mut relations: Vec<RelationId>) -> Result<()> {
        if relations.is_empty() {
            return Ok(());
        }
        relations.reverse();
        let catalog = self.published().catalog.clone();
        relations.retain(|id| catalog.get(*id).is_some());
        let relations = catalog.plan_drop(&relations, millrace_catalog::DropBehavior::Cascade)?;
        self.database.coordinator.define(Definition::Drop { relations, schema: None }).await?;
        Ok(())
    }

    /// Trips the session's token when `statement_timeout` has passed.
    fn start_timer(&mut self) {
        self.stop_timer();
        let Some(limit) = self.settings.timeout("statement_timeout") else { return };
        let cancel = self.cancel.clone();
        let timer = tokio::spawn(async move {
            tokio::time::sleep(limit).await;
            let message = "canceling statement due to statement timeout";
            cancel.cancel(millrace_types::SqlError::new(SqlState::QUERY_CANCELED, message));
        });
        self.timer = Some(timer.abort_handle());
    }

    fn stop_timer(&mut self) {
        if let Some(timer) = self.timer.take() {
            timer.abort();
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.stop_timer();
        crate::statements::end_temporary(self);
        self.database.sessions.lock().remove(&self.process_id);
    }
}
