//! A Postgres client as the `sqllogictest` crate wants it.

use crate::Postgres;
use async_trait::async_trait;
use sqllogictest::{AsyncDB, DBOutput, DefaultColumnType};
use std::fmt;
use std::net::SocketAddr;
use tokio_postgres::{NoTls, SimpleQueryMessage};

/// A connection that is opened when it is first needed, and again after the server was restarted.
pub struct Client {
    /// How it is reached, as libpq writes it.
    parameters: String,
    open: Option<tokio_postgres::Client>,
}

/// A statement that failed, as the server worded it.
#[derive(Debug)]
pub struct Failure {
    /// The SQLSTATE; `None` when there was no answer at all.
    pub state: Option<String>,
    message: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.state {
            Some(state) => write!(f, "{state}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for Failure {}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Failure {
        match error.as_db_error() {
            Some(db) => {
                let detail = db.detail().map(|detail| format!(" ({detail})")).unwrap_or_default();
                Failure { state: Some(db.code().code().to_owned()), message: format!("{}{detail}", db.message()) }
            }
            None => Failure { state: None, message: error.to_string() },
        }
    }
}

impl Client {
    /// A client of the server at `address`.
    pub fn new(address: SocketAddr) -> Client {
        Client::with_parameters(format!("host={} port={} user=slt dbname=slt", address.ip(), address.port()))
    }

    /// A client of a PostgreSQL.
    pub fn of_postgres(postgres: &Postgres) -> Client {
        let address = postgres.address();
        Client::with_parameters(format!("host={} port={} user=postgres", address.ip(), address.port()))
    }

    /// A client of the server that `parameters` describe: `host=... port=... user=...`.
    pub fn with_parameters(parameters: impl Into<String>) -> Client {
        Client { parameters: parameters.into(), open: None }
    }

    async fn connection(&mut self) -> Result<&tokio_postgres::Client, Failure> {
        if self.open.as_ref().is_none_or(|client| client.is_closed()) {
            let (client, connection) = tokio_postgres::connect(&self.parameters, NoTls).await?;
            // The connection reports its end through the client.
            tokio::spawn(async move { drop(connection.await) });
            self.open = Some(client);
        }
        self.open.as_ref().ok_or_else(|| Failure { state: None, message: "no connection".to_owned() })
    }

    /// The rows that a query answers, each value as text and NULL as `NULL`.
    pub async fn rows(&mut self, sql: &str) -> Result<Vec<Vec<String>>, Failure> {
        let messages = self.connection().await?.simple_query(sql).await?;
        Ok(messages.iter().filter_map(row).collect())
    }

    /// Runs statements that answer no rows.
    pub async fn execute(&mut self, sql: &str) -> Result<(), Failure> {
        self.connection().await?.simple_query(sql).await?;
        Ok(())
    }
}

fn row(message: &SimpleQueryMessage) -> Option<Vec<String>> {
    let SimpleQueryMessage::Row(row) = message else { return None };
    let value = |column| match row.get(column) {
        None => "NULL".to_owned(),
        Some("") => "(empty)".to_owned(),
        Some(text) => text.to_owned(),
    };
    Some((0..row.len()).map(value).collect())
}

#[async_trait]
impl AsyncDB for Client {
    type Error = Failure;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, Failure> {
        let messages = self.connection().await?.simple_query(sql).await?;
        let columns = messages.iter().find_map(|message| match message {
            SimpleQueryMessage::RowDescription(columns) => Some(columns.len()),
            _ => None,
        });
        let count = messages.iter().rev().find_map(|message| match message {
            SimpleQueryMessage::CommandComplete(count) => Some(*count),
            _ => None,
        });
        match columns {
            Some(columns) => {
                let rows = messages.iter().filter_map(row).collect();
                Ok(DBOutput::Rows { types: vec![DefaultColumnType::Any; columns], rows })
            }
            None => Ok(DBOutput::StatementComplete(count.unwrap_or(0))),
        }
    }

    async fn shutdown(&mut self) {
        self.open = None;
    }

    fn engine_name(&self) -> &str {
        "millrace"
    }

    fn error_sql_state(error: &Failure) -> Option<String> {
        error.state.clone()
    }
}
