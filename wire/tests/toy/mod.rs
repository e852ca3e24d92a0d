//! A backend of a few words, enough to reach every corner of the protocol.
//!
//! | statement | does |
//! |---|---|
//! | `rows N` | N rows of `n int8` |
//! | `endless` | rows until it is cancelled |
//! | `trickle` | a row, then nothing until it is cancelled |
//! | `echo TYPE` | one row with its parameter `$1` of that type |
//! | `add` | `$1 + $2` of two int4 parameters |
//! | `hang` | runs until it is cancelled, without rows |
//! | `hold NAME` | is a `hang` that counts itself as running while it does |
//! | `begin`, `commit`, `rollback`, `fail` | a transaction block, and an error at its second character |
//! | `copy in`, `copy out N` | counts the lines of its data; sends N lines |
//! | `notice`, `set NAME VALUE`, `deallocate all`, `panic` | what they say |

use arrow::array::{ArrayRef, AsArray, Int32Array, Int64Array, RecordBatch};
use arrow::datatypes::{Int32Type, Schema, SchemaRef};
use async_trait::async_trait;
use futures::{StreamExt, stream};
use millrace_types::{Result, SqlError, SqlState, SqlType, field_of};
use millrace_wire::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

#[derive(Default)]
pub struct Toy {
    /// Statements that are being executed.
    pub running: Arc<AtomicUsize>,
    /// Transactions that ended well and that did not.
    pub committed: Arc<AtomicUsize>,
    pub rolled_back: Arc<AtomicUsize>,
}

pub struct ToySession {
    cancel: CancelToken,
    status: TransactionStatus,
    running: Arc<AtomicUsize>,
    committed: Arc<AtomicUsize>,
    rolled_back: Arc<AtomicUsize>,
    notices: Vec<Notice>,
    changes: Vec<(String, String)>,
    deallocations: Vec<Deallocation>,
}

#[derive(Clone)]
pub struct ToyStatement {
    text: String,
    parameters: Vec<SqlType>,
    columns: Option<SchemaRef>,
}

/// Counts a statement as running while it lives.
struct Running(Arc<AtomicUsize>);

impl Running {
    fn new(counter: &Arc<AtomicUsize>) -> Running {
        counter.fetch_add(1, Ordering::SeqCst);
        Running(counter.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl Backend for Toy {
    type Session = ToySession;

    async fn connect(&self, startup: Startup) -> Result<ToySession> {
        if startup.database == "missing" {
            return Err(SqlError::new(SqlState::INVALID_CATALOG_NAME, "database \"missing\" does not exist"));
        }
        Ok(ToySession {
            cancel: startup.cancel,
            status: TransactionStatus::Idle,
            running: self.running.clone(),
            committed: self.committed.clone(),
            rolled_back: self.rolled_back.clone(),
            notices: Vec::new(),
            changes: vec![("TimeZone".to_owned(), "Europe/Berlin".to_owned())],
            deallocations: Vec::new(),
        })
    }
}

fn schema(columns: &[(&str, SqlType)]) -> SchemaRef {
    Arc::new(Schema::new(columns.iter().map(|(name, t)| field_of(*name, t, true)).collect::<Vec<_>>()))
}

fn type_named(name: &str) -> Result<SqlType> {
    let element = name.strip_suffix("[]").unwrap_or(name);
    let element = SqlType::ALL
        .iter()
        .find(|t| t.name() == element)
        .cloned()
        .ok_or_else(|| SqlError::new(SqlState::UNDEFINED_OBJECT, format!("type \"{name}\" does not exist")))?;
    Ok(if name.ends_with("[]") { SqlType::Array(Box::new(element)) } else { element })
}

fn numbers(from: i64, count: i64) -> RecordBatch {
    let array: ArrayRef = Arc::new(Int64Array::from_iter_values(from..from + count));
    RecordBatch::try_new(schema(&[("n", SqlType::Int8)]), vec![array]).expect("one column")
}

/// Batches of 1,000 rows or fewer.
fn row_stream(count: i64, running: Running) -> stream::BoxStream<'static, Result<RecordBatch>> {
    let state = (0, running);
    stream::unfold(state, move |(from, running)| async move {
        let size = (count - from).min(1_000);
        // A large result comes in steps, as from an engine.
        tokio::task::yield_now().await;
        (size > 0).then(|| (Ok(numbers(from, size)), (from + size, running)))
    })
    .boxed()
}

impl ToySession {
    async fn until_cancelled(&self) -> SqlError {
        let _running = Running::new(&self.running);
        self.cancel.cancelled().await
    }

    fn select(&self, schema: SchemaRef, column: ArrayRef) -> Result<Response> {
        let batch = RecordBatch::try_new(schema.clone(), vec![column])?;
        Ok(Response::Rows { schema, rows: stream::iter([Ok(batch)]).boxed(), tag: Tag::counted("SELECT") })
    }
}

#[async_trait]
impl Session for ToySession {
    type Statement = ToyStatement;

    fn split(&mut self, text: &str) -> Result<Vec<(usize, String)>> {
        let mut offset = 0;
        let mut statements = Vec::new();
        for part in text.split(';') {
            let blank = part.chars().take_while(|c| c.is_whitespace()).count();
            if !part.trim().is_empty() {
                statements.push((offset + blank, part.trim().to_owned()));
            }
            offset += part.chars().count() + 1;
        }
        Ok(statements)
    }

    async fn prepare(&mut self, text: &str, oids: &[u32]) -> Result<ToyStatement> {
        if self.status == TransactionStatus::Failed && !matches!(text.to_lowercase().as_str(), "rollback" | "commit") {
            return Err(SqlError::new(SqlState::IN_FAILED_SQL_TRANSACTION, "current transaction is aborted"));
        }
        let text = text.to_lowercase();
        let words: Vec<&str> = text.split_whitespace().collect();
        let (mut parameters, columns) = match words[..] {
            ["rows", _] | ["endless"] | ["trickle"] => (vec![], Some(schema(&[("n", SqlType::Int8)]))),
            ["echo", name] => (vec![type_named(name)?], Some(schema(&[("value", type_named(name)?)]))),
            ["add"] => (vec![SqlType::Int4; 2], Some(schema(&[("sum", SqlType::Int4)]))),
            ["syntax"] => return Err(SqlError::new(SqlState::SYNTAX_ERROR, "syntax error").at(1)),
            _ => (vec![], None),
        };
        for (parameter, oid) in parameters.iter_mut().zip(oids).filter(|(_, oid)| **oid != 0) {
            *parameter = SqlType::from_oid(*oid).expect("tests know their types");
        }
        Ok(ToyStatement { text, parameters, columns })
    }

    fn parameters(&self, statement: &ToyStatement) -> Vec<SqlType> {
        statement.parameters.clone()
    }

    fn columns(&self, statement: &ToyStatement) -> Option<SchemaRef> {
        statement.columns.clone()
    }

    async fn execute(&mut self, statement: &ToyStatement, parameters: Vec<ArrayRef>) -> Result<Response> {
        let columns = || statement.columns.clone().expect("a statement with columns");
        let words: Vec<&str> = statement.text.split_whitespace().collect();
        let complete = |tag: &str| Ok(Response::Complete(tag.to_owned()));
        match words[..] {
            [] => Ok(Response::Empty),
            ["rows", count] => {
                let rows = row_stream(count.parse().expect("a number"), Running::new(&self.running));
                Ok(Response::Rows { schema: columns(), rows, tag: Tag::counted("SELECT") })
            }
            ["endless"] => {
                let rows = row_stream(i64::MAX / 2, Running::new(&self.running));
                Ok(Response::Rows { schema: columns(), rows, tag: Tag::counted("SELECT") })
            }
            ["trickle"] => {
                let rows = stream::iter([Ok(numbers(1, 1))]).chain(stream::pending()).boxed();
                Ok(Response::Rows { schema: columns(), rows, tag: Tag::counted("SELECT") })
            }
            ["echo", _] => self.select(columns(), parameters[0].clone()),
            ["add"] => {
                let [a, b] = [0, 1].map(|i| parameters[i].as_primitive::<Int32Type>().value(0));
                let sum = a
                    .checked_add(b)
                    .ok_or_else(|| SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "integer out of range"))?;
                self.select(columns(), Arc::new(Int32Array::from(vec![sum])))
            }
            ["hang"] => Err(self.until_cancelled().await),
            ["begin"] | ["start", "transaction"] => {
                self.status = TransactionStatus::Active;
                complete("BEGIN")
            }
            ["commit"] | ["rollback"] => {
                self.status = TransactionStatus::Idle;
                complete(&words[0].to_uppercase())
            }
            ["fail"] => Err(SqlError::new(SqlState::DIVISION_BY_ZERO, "division by zero")
                .with_detail("A detail.")
                .with_hint("A hint.")
                .at(2)),
            ["copy", "in"] => Ok(Response::CopyIn { columns: 1, binary: false }),
            ["copy", "out", count] => {
                let chunk =
                    |n: i32| Ok(CopyChunk { bytes: format!("{n}\n").into(), rows: vec![n.to_string().len() + 1] });
                let count: i32 = count.parse().expect("a number");
                Ok(Response::CopyOut { columns: 1, binary: false, rows: stream::iter((0..count).map(chunk)).boxed() })
            }
            ["notice"] => {
                self.notices.push(Notice::plain("hear"));
                complete("NOTICE")
            }
            ["set", name, value] => {
                self.changes.push((name.to_owned(), value.to_owned()));
                complete("SET")
            }
            ["deallocate", "all"] => {
                self.deallocations.push(Deallocation::AllStatements);
                complete("DEALLOCATE ALL")
            }
            ["panic"] => panic!("as the test asked"),
            _ => complete("DONE"),
        }
    }

    async fn copy_in(&mut self, _: &ToyStatement, mut data: CopyData) -> Result<String> {
        let _running = Running::new(&self.running);
        let mut lines = 0;
        while let Some(chunk) = data.next().await {
            let chunk = chunk?;
            if chunk.starts_with(b"bad") {
                return Err(SqlError::new(SqlState::INVALID_TEXT_REPRESENTATION, "bad line"));
            }
            lines += chunk.iter().filter(|&&b| b == b'\n').count();
        }
        Ok(format!("COPY {lines}"))
    }

    fn transaction_status(&self) -> TransactionStatus {
        self.status
    }

    async fn begin_batch(&mut self, _several: bool) {}

    async fn end_batch(&mut self, failed: bool) -> Result<()> {
        match failed {
            true => self.rolled_back.fetch_add(1, Ordering::SeqCst),
            false => self.committed.fetch_add(1, Ordering::SeqCst),
        };
        if failed && self.status == TransactionStatus::Active {
            self.status = TransactionStatus::Failed;
        }
        Ok(())
    }

    fn text_format(&self) -> TextFormat {
        TextFormat::default()
    }

    fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    fn take_parameter_changes(&mut self) -> Vec<(String, String)> {
        std::mem::take(&mut self.changes)
    }

    fn take_deallocations(&mut self) -> Vec<Deallocation> {
        std::mem::take(&mut self.deallocations)
    }
}

/// A toy server, which stops when it is dropped.
pub struct Server {
    pub port: u16,
    pub toy: Arc<Toy>,
    #[allow(dead_code, reason = "dropping it stops the server")]
    stop: Option<oneshot::Sender<()>>,
}

impl Server {
    pub async fn start() -> Server {
        Server::with(Settings { grace: Duration::from_millis(500), ..Settings::default() }).await
    }

    pub async fn with(settings: Settings) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let toy = Arc::new(Toy::default());
        let (stop, stopped) = oneshot::channel::<()>();
        tokio::spawn(serve(listener, toy.clone(), settings, async {
            let _ = stopped.await;
        }));
        Server { port, toy, stop: Some(stop) }
    }

    /// Begins a shutdown.
    #[allow(dead_code, reason = "not every test that has a server stops it")]
    pub fn stop(&mut self) {
        self.stop.take().map(|stop| stop.send(()));
    }

    /// Waits until so many statements run.
    pub async fn running(&self, count: usize) {
        let reached = async {
            while self.toy.running.load(Ordering::SeqCst) != count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), reached).await.expect("statements start and end in time");
    }
}
