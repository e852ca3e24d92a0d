//! Transaction control, and what is accepted without effect.

use super::answer::done;
use crate::session::Session;
use millrace_planner::parse::{Statement, TransactionModes};
use millrace_types::{Result, SqlError, SqlState};
use millrace_wire::{Notice, Response};
use sqlparser::ast::Ident;

/// Whether a failed block lets the statement pass.
pub fn ends_a_block(statement: &Statement) -> bool {
    matches!(statement, Statement::Commit { .. } | Statement::Rollback { .. } | Statement::RollbackTo(_))
}

/// The command's name when a read-only transaction must refuse it.
pub fn changes_something(statement: &Statement) -> Option<&'static str> {
    use Statement::*;
    if let With(with) = statement {
        return with.parts.first().and_then(|part| changes_something(&part.statement));
    }
    Some(match statement {
        Query(query) if !query.locks.is_empty() => "SELECT FOR UPDATE",
        Insert(_) => "INSERT",
        Update(_) => "UPDATE",
        Delete(_) => "DELETE",
        Merge(_) => "MERGE",
        Truncate(_) => "TRUNCATE TABLE",
        CreateTable(_) => "CREATE TABLE",
        CreateTableAs(_) => "CREATE TABLE AS",
        CreateSource(_) => "CREATE SOURCE",
        CreateView(_) => "CREATE VIEW",
        CreateMaterializedView(_) => "CREATE MATERIALIZED VIEW",
        CreateSink(_) => "CREATE SINK",
        CreateSchema { .. } => "CREATE SCHEMA",
        CreateIndex(_) => "CREATE INDEX",
        CreateSequence(_) => "CREATE SEQUENCE",
        DropSchema { .. } => "DROP SCHEMA",
        CreateSnapshot { .. } => "CREATE SNAPSHOT",
        DropSnapshot { .. } => "DROP SNAPSHOT",
        RestoreSnapshot(_) => "RESTORE FROM SNAPSHOT",
        Drop(_) => "DROP",
        Comment(_) => "COMMENT",
        Alter(_) => "ALTER",
        Refresh { .. } => "REFRESH MATERIALIZED VIEW",
        Copy(copy) if copy.direction == millrace_planner::parse::CopyDirection::FromStdin => "COPY FROM",
        _ => return None,
    })
}

/// Whether it changes definitions, which take effect at once: a block that reads one state goes on with a new one.
pub fn defines(statement: &Statement) -> bool {
    use Statement::*;
    changes_something(statement).is_some()
        && !matches!(
            statement,
            Query(_) | Insert(_) | Update(_) | Delete(_) | Merge(_) | With(_) | Truncate(_) | Copy(_)
        )
}

/// The tag of commands that are accepted without effect.
pub fn tag(statement: &Statement) -> &'static str {
    match statement {
        Statement::Flush => "FLUSH",
        Statement::Wait => "WAIT",
        Statement::Analyze => "ANALYZE",
        _ => "VACUUM",
    }
}

/// LISTEN and UNLISTEN are accepted, since clients reset connections with them; nothing would ever be heard.
pub fn notifications(statement: &Statement) -> Result<Response> {
    match statement {
        Statement::Unlisten(_) => done("UNLISTEN"),
        Statement::Listen(_) => {
            Err(SqlError::unsupported("LISTEN").with_hint("SUBSCRIBE follows a relation's changes."))
        }
        _ => Err(SqlError::unsupported("NOTIFY").with_hint("SUBSCRIBE follows a relation's changes.")),
    }
}

pub fn begin(session: &mut Session, modes: &TransactionModes, tag: &str) -> Result<Response> {
    if session.transaction.explicit {
        let message = "there is already a transaction in progress";
        session.notice(Notice::warning(SqlState::ACTIVE_SQL_TRANSACTION, message));
        return done(tag);
    }
    let read_only = modes.read_only.unwrap_or_else(|| session.settings.is_on("default_transaction_read_only"));
    // What the same batch of messages wrote before BEGIN belongs to the block, as in Postgres.
    session.transaction.explicit = true;
    session.transaction.began = Some(session.database.coordinator.now());
    session.transaction.read_only = read_only;
    session.settings.begin();
    session.settings.set_local("transaction_read_only", if read_only { "on" } else { "off" })?;
    let isolation = match &modes.isolation {
        Some(isolation) => isolation.clone(),
        None => session.settings.get("default_transaction_isolation")?.to_owned(),
    };
    session.settings.set_local("transaction_isolation", &isolation)?;
    done(tag)
}

/// What AND CHAIN hands on to the next block.
fn modes_of(session: &Session) -> TransactionModes {
    let isolation = session.settings.get("transaction_isolation").ok().map(str::to_owned);
    TransactionModes { read_only: Some(session.transaction.read_only), isolation, ..TransactionModes::default() }
}

fn chained(session: &mut Session, chain: bool, modes: &TransactionModes) -> Result<()> {
    if chain {
        begin(session, modes, "BEGIN")?;
    }
    Ok(())
}

pub async fn commit(session: &mut Session, chain: bool) -> Result<Response> {
    let (explicit, modes) = (session.transaction.explicit, modes_of(session));
    if !explicit {
        session.notice(Notice::warning(SqlState::NO_ACTIVE_SQL_TRANSACTION, "there is no transaction in progress"));
    }
    if session.transaction.failed {
        session.roll_back().await?;
        chained(session, chain && explicit, &modes)?;
        return done("ROLLBACK");
    }
    session.commit().await?;
    chained(session, chain && explicit, &modes)?;
    done("COMMIT")
}

pub async fn roll_back(session: &mut Session, chain: bool) -> Result<Response> {
    let (explicit, modes) = (session.transaction.explicit, modes_of(session));
    if !explicit {
        session.notice(Notice::warning(SqlState::NO_ACTIVE_SQL_TRANSACTION, "there is no transaction in progress"));
    }
    session.roll_back().await?;
    chained(session, chain && explicit, &modes)?;
    done("ROLLBACK")
}

fn check_block(session: &Session, command: &str) -> Result<()> {
    match session.transaction.explicit {
        true => Ok(()),
        false => {
            let message = format!("{command} can only be used in transaction blocks");
            Err(SqlError::new(SqlState::NO_ACTIVE_SQL_TRANSACTION, message))
        }
    }
}

pub fn savepoint(session: &mut Session, name: &Ident) -> Result<Response> {
    check_block(session, "SAVEPOINT")?;
    session.transaction.save(&millrace_planner::parse::fold(name));
    done("SAVEPOINT")
}

pub fn release(session: &mut Session, name: &Ident) -> Result<Response> {
    check_block(session, "RELEASE SAVEPOINT")?;
    session.transaction.release(&millrace_planner::parse::fold(name))?;
    done("RELEASE")
}

pub async fn roll_back_to(session: &mut Session, name: &Ident) -> Result<Response> {
    check_block(session, "ROLLBACK TO SAVEPOINT")?;
    let made_since = session.transaction.roll_back_to(&millrace_planner::parse::fold(name))?;
    session.drop_now(made_since).await?;
    done("ROLLBACK")
}
