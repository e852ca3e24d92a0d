//! SET, RESET, DISCARD.

use super::answer::done;
use super::temporary;
use crate::session::Session;
use millrace_planner::parse::{Discard, Set, TransactionModes, name_parts};
use millrace_types::{Result, SqlError, SqlState};
use millrace_wire::{Deallocation, Notice, Response};
use sqlparser::ast::ObjectName;

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

/// SET CONSTRAINTS: it concerns the transaction alone. What is said of some constraints holds for all.
pub fn constraints(session: &mut Session, names: &[ObjectName], deferred: bool) -> Result<Response> {
    let catalog = session.published().catalog.clone();
    for name in names.iter().filter_map(|name| name_parts(name).pop()) {
        let mut keys = catalog.relations().flat_map(|relation| relation.foreign_keys());
        if !keys.any(|key| key.name == name) {
            let message = format!("constraint \"{name}\" does not exist");
            return Err(SqlError::new(SqlState::UNDEFINED_OBJECT, message));
        }
    }
    match session.transaction.explicit {
        true => {
            let published = session.published();
            session.transaction.defer(deferred, &published)?;
        }
        false => {
            let message = "SET CONSTRAINTS can only be used in transaction blocks";
            session.notice(Notice::warning(SqlState::NO_ACTIVE_SQL_TRANSACTION, message));
        }
    }
    done("SET CONSTRAINTS")
}

pub fn reset(session: &mut Session, name: &str) -> Result<Response> {
    session.settings.reset(name)?;
    done("RESET")
}

pub fn reset_all(session: &mut Session) -> Result<Response> {
    session.settings.reset_all()?;
    done("RESET")
}

pub async fn discard(session: &mut Session, what: Discard) -> Result<Response> {
    let tag = match what {
        Discard::All => {
            session.settings.reset_all()?;
            session.prepared.clear();
            session.cursors.clear();
            session.deallocate(Deallocation::AllStatements);
            session.deallocate(Deallocation::AllPortals);
            temporary::discard(session).await?;
            "DISCARD ALL"
        }
        Discard::Plans => "DISCARD PLANS",
        Discard::Sequences => "DISCARD SEQUENCES",
        Discard::Temporary => {
            temporary::discard(session).await?;
            "DISCARD TEMP"
        }
    };
    done(tag)
}
