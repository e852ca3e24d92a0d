//! The simple protocol: a string of statements, run in sequence up to the first error.

use crate::backend::{Response, Session};
use crate::connection::{Connection, attended};
use crate::frontend;
use crate::portal::Format;
use crate::report::Failure;
use crate::row_description::row_description;
use crate::rows::{CopyOut, RowSource};
use bytes::Bytes;
use millrace_types::Result;
use pgwire::messages::response::{CommandComplete, EmptyQueryResponse};

impl<S: Session> Connection<S> {
    /// Runs a query string and tells the client that the next can come; the caller does so after an error.
    pub(crate) async fn simple_query(&mut self, body: Bytes) -> Result<(), Failure> {
        // A query string replaces the unnamed statement and portal, as in Postgres.
        self.statements.remove("");
        self.portals.remove("");
        let text = frontend::query(body)?;
        let split = async { self.session.split(&text) };
        let statements = match attended(&mut self.incoming, &self.cancel, self.grace, split).await? {
            Ok(statements) => statements,
            Err(error) => {
                // An error in the text also fails the transaction block around it.
                self.begin_batch(false).await?;
                return Err(error.into());
            }
        };
        if statements.is_empty() {
            self.outgoing.put(&EmptyQueryResponse::new())?;
            return self.ready().await;
        }
        self.begin_batch(statements.len() > 1).await?;
        let count = statements.len();
        for (number, (offset, text)) in statements.into_iter().enumerate() {
            let tag = match self.run_statement(&text).await {
                Err(Failure::Statement(error)) => return Err(error.shifted(offset).into()),
                other => other?,
            };
            if number + 1 == count {
                // The last one is complete only when the transaction is.
                self.end_batch(false).await?;
            }
            self.put_notices()?;
            match tag {
                Some(tag) => self.outgoing.put(&CommandComplete::new(tag))?,
                None => self.outgoing.put(&EmptyQueryResponse::new())?,
            }
        }
        self.ready().await
    }

    /// Runs one statement and gives its command tag; `None` when it is empty.
    async fn run_statement(&mut self, text: &str) -> Result<Option<String>, Failure> {
        self.cancel.check()?;
        let grace = self.grace;
        let prepare = self.session.prepare(text, &[]);
        let statement = attended(&mut self.incoming, &self.cancel, grace, prepare).await??;
        let execute = self.session.execute(&statement, Vec::new());
        let response = attended(&mut self.incoming, &self.cancel, grace, execute).await??;
        let tag = match response {
            Response::Empty => return Ok(None),
            Response::Complete(tag) => tag,
            Response::Rows { schema, rows, tag } => {
                // Before the rows, which may not end.
                self.put_notices()?;
                let formats = vec![Format::Text; schema.fields().len()];
                self.outgoing.put(&row_description(&schema, &formats))?;
                let mut source = RowSource::new(schema, rows, tag, formats);
                let sent = self.send_rows(&mut source, None).await?;
                source.tag(sent.rows)
            }
            Response::CopyIn { columns, binary } => self.copy_in(&statement, columns, binary).await?,
            Response::CopyOut { columns, binary, rows } => self.send_copy(CopyOut { columns, binary, rows }).await?,
        };
        Ok(Some(tag))
    }
}
