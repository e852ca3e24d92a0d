//! A session as the protocol layer sees it.

use super::batch::Batch;
use super::{Session, Settings, Transaction};
use crate::database::SessionFacts;
use crate::door::Door;
use crate::statements::{self, Prepared};
use arrow::array::ArrayRef;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use millrace_types::{Result, SqlError, SqlState, SqlType};
use millrace_wire::{
    Backend, CopyData, Deallocation, Notice, Response, Session as WireSession, Startup, TextFormat, TransactionStatus,
};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

#[async_trait]
impl Backend for Door {
    type Session = Session;

    async fn connect(&self, startup: Startup) -> Result<Session> {
        let settings = Settings::new(&startup.user, &startup.parameters)?;
        let facts = SessionFacts {
            user: startup.user.clone(),
            database: startup.database.clone(),
            application_name: settings.get("application_name")?.to_owned(),
            peer: startup.peer.to_string(),
            started: SystemTime::now(),
            cancel: startup.cancel.clone(),
        };
        let database = self.enter(|database| {
            database.sessions.lock().insert(startup.process_id, facts);
            database.clone()
        })?;
        Ok(Session {
            database,
            door: self.clone(),
            user: startup.user,
            database_name: startup.database,
            process_id: startup.process_id,
            cancel: startup.cancel,
            settings,
            transaction: Transaction::default(),
            held: None,
            prepared: HashMap::new(),
            cursors: HashMap::new(),
            on_commit: vec![],
            several: false,
            batch: Batch::default(),
            notices: vec![],
            deallocations: vec![],
            timer: None,
            acting: Arc::default(),
            own_functions: std::sync::OnceLock::new(),
        })
    }
}

#[async_trait]
impl WireSession for Session {
    type Statement = Arc<Prepared>;

    fn split(&mut self, text: &str) -> Result<Vec<(usize, String)>> {
        millrace_planner::parse::split(text)
    }

    async fn prepare(&mut self, text: &str, parameter_oids: &[u32]) -> Result<Arc<Prepared>> {
        let types = parameter_oids.iter().map(|oid| parameter_type(*oid)).collect::<Result<Vec<_>>>()?;
        statements::prepare(self, text, &types).await.map(Arc::new)
    }

    fn parameters(&self, statement: &Arc<Prepared>) -> Vec<SqlType> {
        statement.parameters.clone()
    }

    fn columns(&self, statement: &Arc<Prepared>) -> Option<SchemaRef> {
        statement.columns.clone()
    }

    async fn execute(&mut self, statement: &Arc<Prepared>, parameters: Vec<ArrayRef>) -> Result<Response> {
        self.start_timer();
        statements::execute(self, statement, parameters).await
    }

    async fn copy_in(&mut self, statement: &Arc<Prepared>, data: CopyData) -> Result<String> {
        statements::copy_in(self, statement, data).await
    }

    fn transaction_status(&self) -> TransactionStatus {
        self.transaction.status()
    }

    async fn begin_batch(&mut self, several: bool) {
        self.several = several;
        self.batch = Batch::default();
        if !self.transaction.explicit {
            self.settings.begin();
        }
    }

    async fn end_batch(&mut self, failed: bool) -> Result<()> {
        self.stop_timer();
        match (self.transaction.explicit, failed) {
            (true, true) => self.transaction.failed = true,
            (true, false) => {}
            (false, true) => self.roll_back().await?,
            (false, false) => self.commit().await?,
        }
        Ok(())
    }

    fn text_format(&self) -> TextFormat {
        *self.settings.format()
    }

    fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    fn take_parameter_changes(&mut self) -> Vec<(String, String)> {
        self.settings.take_changes()
    }

    fn take_deallocations(&mut self) -> Vec<Deallocation> {
        std::mem::take(&mut self.deallocations)
    }

    fn named_statement(&mut self, name: &str) -> Option<Arc<Prepared>> {
        self.prepared.get(name).cloned()
    }

    fn named_statement_changed(&mut self, name: &str, statement: Option<&Arc<Prepared>>) {
        match statement {
            Some(statement) => self.prepared.insert(name.to_owned(), statement.clone()),
            None => self.prepared.remove(name),
        };
    }

    fn cursor_columns(&self, name: &str) -> Option<SchemaRef> {
        self.cursors.get(name).map(|cursor| cursor.schema.clone())
    }

    fn idle_limit(&self) -> Option<(Duration, SqlError)> {
        let (name, message) = match self.transaction.explicit {
            true => {
                ("idle_in_transaction_session_timeout", "terminating connection due to idle-in-transaction timeout")
            }
            false => ("idle_session_timeout", "terminating connection due to idle-session timeout"),
        };
        let state = if self.transaction.explicit { SqlState("25P03") } else { SqlState("57P05") };
        self.settings.timeout(name).map(|limit| (limit, SqlError::new(state, message)))
    }
}

fn parameter_type(oid: u32) -> Result<Option<SqlType>> {
    match oid {
        // Unspecified, or `unknown`: to be inferred.
        0 | 705 => Ok(None),
        oid => SqlType::from_oid(oid)
            .map(Some)
            .ok_or_else(|| SqlError::new(SqlState::UNDEFINED_OBJECT, format!("type with OID {oid} does not exist"))),
    }
}
