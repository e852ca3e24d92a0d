//! SET, RESET, DISCARD.

use super::answer::done;
use crate::session::Session;
use millrace_planner::parse::{Discard, Set, TransactionModes};
use millrace_types::{Result, SqlError, SqlState};
use millrace_wire::{Deallocation, Notice, Response};

pub fn execute(session: &mut Session, set: &Set) -> Result<Response> {
    match (&set.values, set.local) {
        (None, _) => session.settings.reset(&set.name)?,
        (Some(values), false) => session.settings.set(&set.name, &values.join(", "))?,
        (Some(values), true) => {
            if !session.transaction.explicit {
                let message = "SET LOCAL can only be used in transaction blocks";
                session.notice(Notice::warning(SqlState::NO_ACTIVE_SQL_TRANSACTION, message));
            }
            session.settings.set_local(&set.name, &values.join(", "))?;
        }
    }
    done("SET")
}

pub fn transaction(session: &mut Session, modes: &TransactionModes) -> Result<Response> {
    if let Some(read_only) = modes.read_only {
        session.transaction.read_only = read_only;
        session.settings.set_local("transaction_read_only", if read_only { "on" } else { "off" })?;
    }
    if let Some(isolation) = &modes.isolation {
        if session.transaction.has_read() {
            let message = "SET TRANSACTION ISOLATION LEVEL must be called before any query";
            return Err(SqlError::new(SqlState::ACTIVE_SQL_TRANSACTION, message));
        }
        session.settings.set_local("transaction_isolation", isolation)?;
    }
    done("SET")
}

pub fn characteristics(session: &mut Session, modes: &TransactionModes) -> Result<Response> {
    if let Some(read_only) = modes.read_only {
        session.settings.set("default_transaction_read_only", if read_only { "on" } else { "off" })?;
    }
    if let Some(isolation) = &modes.isolation {
        session.settings.set("default_transaction_isolation", isolation)?;
    }
    done("SET")
}

pub fn reset(session: &mut Session, name: &str) -> Result<Response> {
    session.settings.reset(name)?;
    done("RESET")
}

pub fn reset_all(session: &mut Session) -> Result<Response> {
    session.settings.reset_all()?;
    done("RESET")
}

pub fn discard(session: &mut Session, what: Discard) -> Result<Response> {
    let tag = match what {
        Discard::All => {
            session.settings.reset_all()?;
            session.prepared.clear();
            session.cursors.clear();
            session.deallocate(Deallocation::AllStatements);
            session.deallocate(Deallocation::AllPortals);
            "DISCARD ALL"
        }
        Discard::Plans => "DISCARD PLANS",
        Discard::Sequences => "DISCARD SEQUENCES",
        Discard::Temporary => "DISCARD TEMP",
    };
    done(tag)
}
