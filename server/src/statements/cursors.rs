//! DECLARE, FETCH, CLOSE.

use super::answer::done;
use super::context::Context;
use super::running::{Rows, Runnable};
use super::{select, subscribe};
use crate::session::{Cursor, Session};
use arrow::datatypes::SchemaRef;
use futures::StreamExt;
use millrace_planner::parse::{CursorSource, Declare, Fetch, fold};
use millrace_types::{Result, SqlError, SqlState};
use millrace_wire::{Deallocation, Response, Tag};
use sqlparser::ast::Ident;
use std::time::Duration;

pub async fn declare(session: &mut Session, declare: &Declare) -> Result<Response> {
    let name = fold(&declare.name);
    if session.cursors.contains_key(&name) {
        return Err(SqlError::new(SqlState::DUPLICATE_CURSOR, format!("cursor \"{name}\" already exists")));
    }
    let endless = matches!(declare.source, CursorSource::Subscribe(_));
    if !session.transaction.explicit && !declare.hold && !endless {
        let message = "DECLARE CURSOR can only be used in transaction blocks";
        return Err(SqlError::new(SqlState::NO_ACTIVE_SQL_TRANSACTION, message));
    }
    let (schema, rows) = open(session, declare).await?;
    let cursor = match declare.scroll && !endless {
        true => Cursor::scrolling(schema, rows, declare.hold).await?,
        false => Cursor::new(schema, rows, declare.hold || endless, endless),
    };
    session.cursors.insert(name, cursor);
    done("DECLARE CURSOR")
}

async fn open(session: &mut Session, declare: &Declare) -> Result<(SchemaRef, Rows)> {
    match &declare.source {
        CursorSource::Query(query) => {
            let snapshot = session.snapshot();
            let context = Context::new(session, snapshot.published.clone(), &declare.text);
            let bound = select::bind(&context, query, &[])?;
            let rows = Runnable::new(session, &context, bound.plan, snapshot).await?.stream(session);
            Ok((bound.schema.clone(), select::conforming(rows, bound.schema)))
        }
        CursorSource::Subscribe(subscription) => subscribe::open(session, subscription, &declare.text).await,
    }
}

pub async fn fetch(session: &mut Session, fetch: &Fetch) -> Result<Response> {
    let name = fold(&fetch.cursor);
    let wait =
        fetch.options.iter().find(|(option, _)| option == "timeout").map(|(_, value)| duration(value)).transpose()?;
    let cancel = session.cancel.clone();
    let cursor = session.cursors.get_mut(&name).ok_or_else(|| unknown(&name))?;
    let batches = tokio::select! {
        batches = cursor.fetch(fetch.direction, wait) => batches?,
        reason = cancel.cancelled() => return Err(reason),
    };
    if fetch.skip {
        let rows: usize = batches.iter().map(|rows| rows.num_rows()).sum();
        return done(format!("MOVE {rows}"));
    }
    let schema = cursor.schema.clone();
    let rows = futures::stream::iter(batches.into_iter().map(Ok)).boxed();
    Ok(Response::Rows { rows: select::conforming(rows, schema.clone()), schema, tag: Tag::counted("FETCH") })
}

fn duration(text: &str) -> Result<Duration> {
    let invalid = || SqlError::new(SqlState::INVALID_PARAMETER_VALUE, format!("invalid timeout \"{text}\""));
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().map_err(|_| invalid())?;
    match text[digits..].trim() {
        "ms" | "" => Ok(Duration::from_millis(number)),
        "s" | "second" | "seconds" => Ok(Duration::from_secs(number)),
        "min" | "minute" | "minutes" => Ok(Duration::from_secs(number * 60)),
        _ => Err(invalid().with_hint("Write a number with ms, s or min, as in '1s'.")),
    }
}

pub fn close(session: &mut Session, name: Option<&Ident>) -> Result<Response> {
    match name {
        None => {
            session.cursors.clear();
            session.deallocate(Deallocation::AllPortals);
            done("CLOSE CURSOR ALL")
        }
        Some(name) => {
            let name = fold(name);
            session.cursors.remove(&name).ok_or_else(|| unknown(&name))?;
            session.deallocate(Deallocation::Portal(name));
            done("CLOSE CURSOR")
        }
    }
}

fn unknown(name: &str) -> SqlError {
    SqlError::new(SqlState::INVALID_CURSOR_NAME, format!("cursor \"{name}\" does not exist"))
}
