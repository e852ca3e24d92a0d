//! The extended protocol: Parse, Bind, Describe, Execute and Close.

use crate::backend::{Response, Session, TransactionStatus};
use crate::connection::{Connection, attended};
use crate::decode::decode_parameters;
use crate::frontend;
use crate::portal::{Format, Portal, PortalState, Prepared};
use crate::report::Failure;
use crate::row_description::{row_description, wire_oid};
use crate::rows::{CopyOut, RowSource};
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use millrace_types::{Result, SqlError, SqlState};
use pgwire::messages::data::{NoData, ParameterDescription};
use pgwire::messages::extendedquery::{Bind, BindComplete, CloseComplete, ParseComplete, PortalSuspended};
use pgwire::messages::response::{CommandComplete, EmptyQueryResponse};

impl<S: Session> Connection<S> {
    pub(crate) async fn parse(&mut self, body: Bytes) -> Result<(), Failure> {
        self.begin_batch(true).await?;
        let message = frontend::parse(body)?;
        let name = message.name.unwrap_or_default();
        // A named statement stays until it is closed; the unnamed one is replaced, even by one that fails.
        match name.is_empty() {
            true => _ = self.statements.remove(""),
            false if self.statements.contains_key(&name) || self.session.named_statement(&name).is_some() => {
                let message = format!("prepared statement \"{name}\" already exists");
                return Err(SqlError::new(SqlState::DUPLICATE_PREPARED_STATEMENT, message).into());
            }
            false => {}
        }
        let prepare = self.session.prepare(&message.query, &message.type_oids);
        let statement = attended(&mut self.incoming, &self.cancel, self.grace, prepare).await??;
        self.put_notices()?;
        if !name.is_empty() {
            self.session.named_statement_changed(&name, Some(&statement));
        }
        let prepared = self.prepared(statement);
        self.statements.insert(name, prepared);
        Ok(self.outgoing.put(&ParseComplete::new())?)
    }

    fn prepared(&self, statement: S::Statement) -> Prepared<S::Statement> {
        let (parameters, columns) = (self.session.parameters(&statement), self.session.columns(&statement));
        Prepared { statement, parameters: parameters.into(), columns }
    }

    /// The statement of this name, of the protocol's or the SQL level.
    fn statement(&mut self, name: &str) -> Result<Prepared<S::Statement>> {
        if let Some(prepared) = self.statements.get(name) {
            return Ok(prepared.clone());
        }
        let of_sql = if name.is_empty() { None } else { self.session.named_statement(name) };
        match of_sql {
            Some(statement) => Ok(self.prepared(statement)),
            None => Err(SqlError::new(
                SqlState::INVALID_SQL_STATEMENT_NAME,
                match name {
                    "" => "unnamed prepared statement does not exist".to_owned(),
                    name => format!("prepared statement \"{name}\" does not exist"),
                },
            )),
        }
    }

    pub(crate) async fn bind(&mut self, body: Bytes) -> Result<(), Failure> {
        self.begin_batch(true).await?;
        let message = frontend::bind(body)?;
        let statement_name = message.statement_name.as_deref().unwrap_or_default();
        let prepared = self.statement(statement_name)?;
        let portal = self.portal(prepared, statement_name, &message)?;
        let name = message.portal_name.unwrap_or_default();
        if !name.is_empty() && self.portals.contains_key(&name) {
            let message = format!("cursor \"{name}\" already exists");
            return Err(SqlError::new(SqlState::DUPLICATE_CURSOR, message).into());
        }
        self.portals.insert(name, portal);
        Ok(self.outgoing.put(&BindComplete::new())?)
    }

    fn portal(
        &self,
        prepared: Prepared<S::Statement>,
        statement_name: &str,
        message: &Bind,
    ) -> Result<Portal<S::Statement>> {
        let (given, wanted) = (message.parameters.len(), prepared.parameters.len());
        let codes = &message.parameter_format_codes;
        let formats = Format::for_each(codes, given, || {
            format!("bind message has {} parameter formats but {given} parameters", codes.len())
        })?;
        if given != wanted {
            return Err(SqlError::new(
                SqlState::PROTOCOL_VIOLATION,
                format!(
                    "bind message supplies {given} parameters, but prepared statement \"{statement_name}\" requires \
                     {wanted}"
                ),
            ));
        }
        let values =
            decode_parameters(&prepared.parameters, &formats, &message.parameters, &self.session.text_format())?;
        let columns = prepared.columns.as_ref().map_or(0, |columns| columns.fields().len());
        let codes = &message.result_column_format_codes;
        let formats = match prepared.columns {
            None => Vec::new(),
            Some(_) => Format::for_each(codes, columns, || {
                format!("bind message has {} result formats but query has {columns} columns", codes.len())
            })?,
        };
        let state = PortalState::Bound(values);
        Ok(Portal { statement: prepared.statement, columns: prepared.columns, formats, state })
    }

    pub(crate) async fn describe(&mut self, body: Bytes) -> Result<(), Failure> {
        self.begin_batch(true).await?;
        let message = frontend::describe(body)?;
        let name = message.name.unwrap_or_default();
        if message.target_type == b'S' {
            let prepared = self.statement(&name)?;
            let oids = prepared.parameters.iter().map(wire_oid).collect();
            self.outgoing.put(&ParameterDescription::new(oids))?;
            let formats = vec![Format::Text; prepared.columns.as_ref().map_or(0, |columns| columns.fields().len())];
            return Ok(self.put_columns(prepared.columns.as_ref(), &formats)?);
        }
        let (columns, formats) = match self.portals.get(&name) {
            Some(portal) => (portal.columns.clone(), portal.formats.clone()),
            None => {
                let columns = self.session.cursor_columns(&name).ok_or_else(|| no_portal(&name))?;
                let formats = vec![Format::Text; columns.fields().len()];
                (Some(columns), formats)
            }
        };
        Ok(self.put_columns(columns.as_ref(), &formats)?)
    }

    fn put_columns(&mut self, columns: Option<&SchemaRef>, formats: &[Format]) -> Result<()> {
        match columns {
            Some(columns) => self.outgoing.put(&row_description(columns, formats)),
            None => self.outgoing.put(&NoData::new()),
        }
    }

    pub(crate) fn close(&mut self, body: Bytes) -> Result<(), Failure> {
        let message = frontend::close(body)?;
        let name = message.name.unwrap_or_default();
        match message.target_type {
            b'S' => {
                if self.statements.remove(&name).is_some() && !name.is_empty() {
                    self.session.named_statement_changed(&name, None);
                }
            }
            _ => _ = self.portals.remove(&name),
        }
        Ok(self.outgoing.put(&CloseComplete::new())?)
    }

    pub(crate) async fn execute(&mut self, body: Bytes) -> Result<(), Failure> {
        self.begin_batch(true).await?;
        let message = frontend::execute(body)?;
        let name = message.name.unwrap_or_default();
        let limit = u64::try_from(message.max_rows).ok().filter(|&rows| rows > 0);
        let mut portal = self.portals.remove(&name).ok_or_else(|| no_portal(&name))?;
        let before = self.session.transaction_status();
        let outcome = self.run_portal(&mut portal, &name, limit).await;
        self.put_notices()?;
        let ended = before != TransactionStatus::Idle && self.session.transaction_status() == TransactionStatus::Idle;
        match ended {
            // Portals do not outlive their transaction.
            true => self.portals.clear(),
            false => _ = self.portals.insert(name, portal),
        }
        match outcome? {
            Some(Ending::Complete(tag)) => Ok(self.outgoing.put(&CommandComplete::new(tag))?),
            Some(Ending::Suspended) => Ok(self.outgoing.put(&PortalSuspended::new())?),
            None => Ok(self.outgoing.put(&EmptyQueryResponse::new())?),
        }
    }

    /// Executes a portal or goes on with it, for `limit` rows at most. `None` when its statement is empty.
    async fn run_portal(
        &mut self,
        portal: &mut Portal<S::Statement>,
        name: &str,
        limit: Option<u64>,
    ) -> Result<Option<Ending>, Failure> {
        let parameters = match std::mem::replace(&mut portal.state, PortalState::Done) {
            PortalState::Bound(parameters) => parameters,
            PortalState::Open(source) => return self.resume(portal, source, limit).await.map(Some),
            PortalState::Failed if self.session.transaction_status() == TransactionStatus::Failed => {
                return Err(SqlError::new(
                    SqlState::IN_FAILED_SQL_TRANSACTION,
                    "current transaction is aborted, commands ignored until end of transaction block",
                )
                .into());
            }
            PortalState::Done | PortalState::Failed => {
                let message = format!("portal \"{name}\" cannot be run");
                return Err(SqlError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message).into());
            }
        };
        let execute = self.session.execute(&portal.statement, parameters);
        let tag = match attended(&mut self.incoming, &self.cancel, self.grace, execute).await?? {
            Response::Empty => return Ok(None),
            Response::Complete(tag) => tag,
            Response::Rows { schema, rows, tag } => {
                let mut formats = portal.formats.clone();
                formats.resize(schema.fields().len(), Format::Text);
                let source = RowSource::new(schema, rows, tag, formats);
                return self.resume(portal, source, limit).await.map(Some);
            }
            Response::CopyIn { columns, binary } => self.copy_in(&portal.statement, columns, binary).await?,
            Response::CopyOut { columns, binary, rows } => self.send_copy(CopyOut { columns, binary, rows }).await?,
        };
        Ok(Some(Ending::Complete(tag)))
    }

    async fn resume(
        &mut self,
        portal: &mut Portal<S::Statement>,
        mut source: RowSource,
        limit: Option<u64>,
    ) -> Result<Ending, Failure> {
        let sent = self.send_rows(&mut source, limit).await?;
        let ending = match sent.at_end {
            true => Ending::Complete(source.tag(sent.rows)),
            false => Ending::Suspended,
        };
        portal.state = PortalState::Open(source);
        Ok(ending)
    }
}

/// How an execution ended.
enum Ending {
    Complete(String),
    /// The client's limit was reached.
    Suspended,
}

fn no_portal(name: &str) -> SqlError {
    SqlError::new(SqlState::INVALID_CURSOR_NAME, format!("portal \"{name}\" does not exist"))
}
