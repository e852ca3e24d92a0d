//! Transactions of a session: what is written but not committed, and what to do at its end.

use crate::coordinator::{Accepted, Deferring, Published, Reads, Writes};
use millrace_types::{EventTime, RelationId, Result, SqlError, SqlState};
use millrace_wire::TransactionStatus;
use std::sync::Arc;

/// What a transaction sees of others that commit while it is open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isolation {
    /// Each statement reads the newest tick.
    #[default]
    ReadCommitted,
    /// All statements of a block read the tick of the first.
    RepeatableRead,
    /// As `RepeatableRead`; and it commits only if what it read is still so.
    Serializable,
}

impl Isolation {
    /// The level that a setting names.
    pub fn named(setting: &str) -> Isolation {
        match setting {
            "serializable" => Isolation::Serializable,
            "repeatable read" => Isolation::RepeatableRead,
            _ => Isolation::ReadCommitted,
        }
    }
}

/// The transaction that a session is in.
#[derive(Default)]
pub struct Transaction {
    /// Whether BEGIN opened it; otherwise it spans one batch of messages.
    pub explicit: bool,
    /// When BEGIN opened it: what `now()` reads in it.
    pub began: Option<EventTime>,
    /// A statement failed: everything but its end is refused.
    pub failed: bool,
    pub read_only: bool,
    /// The one state that a block reads that keeps one, from its first statement on.
    pub snapshot: Option<Arc<Published>>,
    pub writes: Writes,
    /// What it has read, when the commit has to know.
    pub reads: Option<Arc<Reads>>,
    /// What the writes do to keys, so that a statement that takes one twice fails by itself.
    accepted: Accepted,
    /// Which foreign keys it checks only at its end.
    deferring: Deferring,
    /// Relations made in it, in order: ROLLBACK drops them.
    pub created: Vec<RelationId>,
    /// Relations to be dropped when it commits.
    pub dropping: Vec<RelationId>,
    savepoints: Vec<Savepoint>,
}

struct Savepoint {
    name: String,
    writes: Writes,
    accepted: Accepted,
    created: usize,
    dropping: usize,
}

impl Transaction {
    /// Whether nothing was changed in it.
    pub fn is_untouched(&self) -> bool {
        self.writes.is_empty() && self.created.is_empty() && self.dropping.is_empty()
    }

    /// As ReadyForQuery tells it.
    pub fn status(&self) -> TransactionStatus {
        match (self.explicit, self.failed) {
            (false, _) => TransactionStatus::Idle,
            (true, false) => TransactionStatus::Active,
            (true, true) => TransactionStatus::Failed,
        }
    }

    /// Refuses statements in a failed block.
    pub fn check_usable(&self) -> Result<()> {
        match self.explicit && self.failed {
            true => Err(SqlError::new(
                SqlState::IN_FAILED_SQL_TRANSACTION,
                "current transaction is aborted, commands ignored until end of transaction block",
            )),
            false => Ok(()),
        }
    }

    /// Refuses changes in a read-only block.
    pub fn check_writable(&self, command: &str) -> Result<()> {
        match self.read_only {
            true => {
                let message = format!("cannot execute {command} in a read-only transaction");
                Err(SqlError::new(SqlState::READ_ONLY_SQL_TRANSACTION, message))
            }
            false => Ok(()),
        }
    }

    /// Whether a statement of a block that keeps one state has read or written already.
    pub fn has_read(&self) -> bool {
        self.explicit && (self.snapshot.is_some() || self.reads.is_some() || !self.writes.is_empty())
    }

    /// Adds the changes of a statement.
    ///
    /// # Errors
    /// `23505` and `40001` as far as they can be known now; the commit looks again.
    pub fn add(&mut self, writes: Writes, published: &Published) -> Result<()> {
        self.accepted.accept_deferring(&writes, published, self.deferring)?;
        self.writes.append(writes);
        Ok(())
    }

    /// SET CONSTRAINTS ALL. What was put off is checked when nothing is any more.
    ///
    /// # Errors
    /// `23503`
    pub fn defer(&mut self, deferred: bool, published: &Published) -> Result<()> {
        if !deferred {
            Accepted::default().accept(&self.writes, published)?;
        }
        self.deferring = if deferred { Deferring::All } else { Deferring::None };
        Ok(())
    }

    /// SAVEPOINT.
    pub fn save(&mut self, name: &str) {
        let (created, dropping) = (self.created.len(), self.dropping.len());
        let (writes, accepted) = (self.writes.clone(), self.accepted.clone());
        self.savepoints.push(Savepoint { name: name.to_owned(), writes, accepted, created, dropping });
    }

    /// RELEASE SAVEPOINT.
    pub fn release(&mut self, name: &str) -> Result<()> {
        let position = self.position(name)?;
        self.savepoints.truncate(position);
        Ok(())
    }

    /// ROLLBACK TO SAVEPOINT: answers the relations made since, which are to be dropped.
    pub fn roll_back_to(&mut self, name: &str) -> Result<Vec<RelationId>> {
        let position = self.position(name)?;
        self.savepoints.truncate(position + 1);
        let savepoint = &self.savepoints[position];
        self.writes = savepoint.writes.clone();
        self.accepted = savepoint.accepted.clone();
        self.dropping.truncate(savepoint.dropping);
        self.failed = false;
        Ok(self.created.split_off(savepoint.created))
    }

    fn position(&self, name: &str) -> Result<usize> {
        self.savepoints
            .iter()
            .rposition(|savepoint| savepoint.name == name)
            .ok_or_else(|| SqlError::new(SqlState("3B001"), format!("savepoint \"{name}\" does not exist")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_savepoint_takes_back_what_came_after_it() {
        let mut transaction = Transaction { explicit: true, ..Transaction::default() };
        transaction.created.push(RelationId(1));
        transaction.save("a");
        transaction.created.push(RelationId(2));
        transaction.failed = true;
        assert_eq!(transaction.roll_back_to("a").unwrap(), [RelationId(2)]);
        assert!(!transaction.failed);
        transaction.release("a").unwrap();
        assert!(transaction.roll_back_to("a").is_err());
    }
}
