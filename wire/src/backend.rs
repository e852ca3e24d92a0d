//! What the protocol needs from a database: the traits that the server implements.

use crate::{CancelToken, TextFormat};
use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use bytes::Bytes;
use futures::Stream;
use futures::stream::BoxStream;
use millrace_types::{Result, SqlError, SqlState, SqlType};
use std::fmt;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::mpsc;

/// A database that clients log in to.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// One client's conversation.
    type Session: Session;

    /// Opens a session for a client whose startup packet has been read. An error is sent as FATAL and ends the
    /// connection.
    async fn connect(&self, startup: Startup) -> Result<Self::Session>;
}

/// What a client says of itself when it connects, and what the protocol layer gives its session.
#[derive(Clone, Debug)]
pub struct Startup {
    /// The user name; never empty.
    pub user: String,
    /// The database; the user's name when the client gives none.
    pub database: String,
    /// Run-time parameters in the order in which they apply: those of `options` (`-c name=value`), then those sent by
    /// name (`application_name`, `DateStyle`, ...).
    pub parameters: Vec<(String, String)>,
    /// Where the client is.
    pub peer: IpAddr,
    /// The number that identifies the session in `BackendKeyData` and cancel requests (`pg_backend_pid()`).
    pub process_id: i32,
    /// Tripped when the running statement is to end: a cancel request, a vanished client, a shutdown. The server may
    /// trip it too (`statement_timeout`, `pg_cancel_backend`).
    pub cancel: CancelToken,
}

/// One client's conversation. Its futures run one at a time.
///
/// A cancelled statement is told so by the session's [`CancelToken`]; the protocol layer drops row streams by itself
/// and waits for every other future to return. When the client is gone it drops them after [`crate::Settings::grace`],
/// so they must be safe to drop at any await.
#[async_trait]
pub trait Session: Send + 'static {
    /// One parsed and described statement.
    type Statement: Clone + Send + Sync + 'static;

    /// Splits a simple-query string into the texts of its statements, each with its offset in characters in the
    /// whole. A string without any statement gives none.
    fn split(&mut self, text: &str) -> Result<Vec<(usize, String)>>;

    /// Parses one statement. An empty one gives a statement whose execution is [`Response::Empty`]. Parameter types
    /// are OIDs; 0, or fewer than there are parameters, means to infer them.
    async fn prepare(&mut self, text: &str, parameter_oids: &[u32]) -> Result<Self::Statement>;

    /// The types of the statement's parameters, all resolved.
    fn parameters(&self, statement: &Self::Statement) -> Vec<SqlType>;

    /// The columns of the rows that the statement returns; `None` when it returns none.
    fn columns(&self, statement: &Self::Statement) -> Option<SchemaRef>;

    /// Starts a statement, with one array of length 1 for each parameter, of [`SqlType::arrow`]'s type.
    async fn execute(&mut self, statement: &Self::Statement, parameters: Vec<ArrayRef>) -> Result<Response>;

    /// Runs the `COPY ... FROM STDIN` that answered [`Response::CopyIn`], and gives its command tag. An error in
    /// `data` (the client gave up, is gone, or cancelled) must undo the whole statement, and be returned.
    async fn copy_in(&mut self, statement: &Self::Statement, data: CopyData) -> Result<String>;

    /// Where the session stands.
    fn transaction_status(&self) -> TransactionStatus;

    /// An implicit transaction starts: one simple-query string, or the extended messages up to the next Sync.
    /// `several` is true when more than one statement is in it or may follow.
    async fn begin_batch(&mut self, several: bool);

    /// The implicit transaction ends. `failed`: something in it did not succeed, so it is to be rolled back, and an
    /// explicit block around it is failed. The client is told of success only after this returns.
    async fn end_batch(&mut self, failed: bool) -> Result<()>;

    /// How values are written as text, and text is read.
    fn text_format(&self) -> TextFormat;

    /// Notices since the last call.
    fn take_notices(&mut self) -> Vec<Notice> {
        Vec::new()
    }

    /// Run-time parameters that clients are told of (`TimeZone`, `DateStyle`, `application_name`, ...) with their
    /// values, changed since the last call. The first call, right after connecting, reports initial values.
    fn take_parameter_changes(&mut self) -> Vec<(String, String)> {
        Vec::new()
    }

    /// Prepared statements and portals that a SQL statement dropped since the last call.
    fn take_deallocations(&mut self) -> Vec<Deallocation> {
        Vec::new()
    }

    /// A statement of the SQL level (`PREPARE name AS ...`), which clients may bind to as to one of the protocol's.
    fn named_statement(&mut self, _name: &str) -> Option<Self::Statement> {
        None
    }

    /// A named statement of the protocol level came into being, or (`None`) went: `DEALLOCATE name`, `EXECUTE name`
    /// and `pg_prepared_statements` know of it.
    fn named_statement_changed(&mut self, _name: &str, _statement: Option<&Self::Statement>) {}

    /// The columns of a cursor of the SQL level (`DECLARE name CURSOR`), which clients may describe as a portal.
    fn cursor_columns(&self, _name: &str) -> Option<SchemaRef> {
        None
    }

    /// How long the session may now stay idle, and the error that ends it then (`idle_session_timeout`,
    /// `idle_in_transaction_session_timeout`).
    fn idle_limit(&self) -> Option<(Duration, SqlError)> {
        None
    }
}

/// What a statement answers.
pub enum Response {
    /// The statement was empty.
    Empty,
    /// It is done; the command tag.
    Complete(String),
    /// It returns rows. Every batch has the columns of `schema`.
    Rows { schema: SchemaRef, rows: BoxStream<'static, Result<RecordBatch>>, tag: Tag },
    /// It waits for data: [`Session::copy_in`] runs it.
    CopyIn { columns: usize, binary: bool },
    /// It sends data in COPY's formats.
    CopyOut { columns: usize, binary: bool, rows: BoxStream<'static, Result<CopyChunk>> },
}

/// A command tag of a statement that returns rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    words: String,
    counted: bool,
}

impl Tag {
    /// A tag that the number of rows is appended to: `SELECT`, `FETCH`, `INSERT 0`, `UPDATE`.
    pub fn counted(words: impl Into<String>) -> Tag {
        Tag { words: words.into(), counted: true }
    }

    /// A tag without a number: `SHOW`, `EXPLAIN`.
    pub fn plain(words: impl Into<String>) -> Tag {
        Tag { words: words.into(), counted: false }
    }

    /// The tag after `rows` rows.
    pub fn after(&self, rows: u64) -> String {
        match self.counted {
            true => format!("{} {rows}", self.words),
            false => self.words.clone(),
        }
    }
}

/// Rows in one of COPY's formats.
#[derive(Clone, Debug)]
pub struct CopyChunk {
    /// Whole lines.
    pub bytes: Bytes,
    /// How many bytes each row takes. What is behind the last row (a header) is sent with them, and is no row.
    pub rows: Vec<usize>,
}

/// The data of a `COPY ... FROM STDIN`: a stream of chunks that end anywhere, not only between rows. An error means
/// that no more comes and the statement failed; the end of the stream means that the data is complete.
#[derive(Debug)]
pub struct CopyData(pub(crate) mpsc::Receiver<Result<Bytes>>);

impl Stream for CopyData {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context)
    }
}

/// Where a session stands between statements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionStatus {
    /// In no transaction block.
    Idle,
    /// In a transaction block.
    Active,
    /// In a transaction block that failed and waits for its end.
    Failed,
}

/// Something that a SQL statement dropped and that the protocol layer holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deallocation {
    /// `DEALLOCATE name`
    Statement(String),
    /// `DEALLOCATE ALL`, `DISCARD ALL`
    AllStatements,
    /// `CLOSE name`
    Portal(String),
    /// `CLOSE ALL`, `DISCARD ALL`
    AllPortals,
}

/// How serious a notice is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    Debug,
    Info,
    Notice,
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Debug => "DEBUG",
            Severity::Info => "INFO",
            Severity::Notice => "NOTICE",
            Severity::Warning => "WARNING",
        })
    }
}

/// A message to the client that is no error.
#[derive(Clone, Debug)]
pub struct Notice {
    /// How serious it is.
    pub severity: Severity,
    /// State, message, detail and hint, as of an error.
    pub content: SqlError,
}

impl Notice {
    /// A NOTICE.
    pub fn plain(message: impl Into<String>) -> Notice {
        let content = SqlError::new(SqlState::SUCCESSFUL_COMPLETION, message);
        Notice { severity: Severity::Notice, content }
    }

    /// A WARNING with this state.
    pub fn warning(state: SqlState, message: impl Into<String>) -> Notice {
        Notice { severity: Severity::Warning, content: SqlError::new(state, message) }
    }
}
