//! DECLARE, FETCH, CLOSE.

use super::answer::done;
use super::context::Context;
use super::running::{Rows, Runnable};
use super::{select, subscribe};
use crate::session::{Cursor, Session};
use arrow::datatypes::SchemaRef;
use futures::StreamExt;
use millrace_planner::parse::{CursorSource, Declare, Fetch, FetchDirection, fold};
use millrace_types::{Result, SqlError, SqlState};
use millrace_wire::{Deallocation, Response, Tag};
use sqlparser::ast::Ident;
use std::time::Duration;

pub async fn declare(session: &mut Session, declare: &Declare) -> Result<Response> {
    let name = fold(&declare.name);
    if session.cursors.contains_key(&name) {
        return Err(SqlError::new(SqlState::DUPLICATE_CURSOR, format!("cursor \"{name}\" already exists")));
    }
    if declare.scroll {
        return Err(SqlError::unsupported("SCROLL for cursors").with_hint("Cursors are read forwards."));
    }
    let endless = matches!(declare.source, CursorSource::Subscribe(_));
    if !session.transaction.explicit && !declare.hold && !endless {
        let message = "DECLARE CURSOR can only be used in transaction blocks";
        return Err(SqlError::new(SqlState::NO_ACTIVE_SQL_TRANSACTION, message));
    }
    let (schema, rows) = open(session, declare).await?;
    session.cursors.insert(name, Cursor::new(schema, rows, declare.hold || endless, endless));
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
    let count = match fetch.direction {
        FetchDirection::Forward(count) | FetchDirection::Relative(count) if count >= 0 => count as usize,
        FetchDirection::All => usize::MAX,
        _ => {
            let message = "cursor can only scan forward";
            return Err(SqlError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
                .with_hint("FETCH FORWARD n and FETCH ALL are supported."));
        }
    };
    let wait =
        fetch.options.iter().find(|(option, _)| option == "timeout").map(|(_, value)| duration(value)).transpose()?;
    let cancel = session.cancel.clone();
    let cursor = session.cursors.get_mut(&name).ok_or_else(|| unknown(&name))?;
    let batches = tokio::select! {
        batches = cursor.fetch(count, wait) => batches?,
        reason = cancel.cancelled() => return Err(reason),
    };
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
