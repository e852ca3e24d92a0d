//! Statements of one batch of messages outside of a transaction block: they are committed together at its end, and may
//! be run again when others were faster.

use crate::statements::Prepared;
use arrow::array::ArrayRef;
use millrace_planner::parse::Statement;
use millrace_wire::Response;
use std::sync::Arc;

/// The changing statements of a batch with what the client was going to be told of them.
#[derive(Default)]
pub struct Batch {
    statements: Vec<Executed>,
    /// Something was told that another run could not take back: rows, or a definition that took effect.
    told: bool,
}

/// A statement that ran.
#[derive(Clone)]
pub struct Executed {
    pub prepared: Arc<Prepared>,
    pub parameters: Vec<ArrayRef>,
    /// Its command tag, with the number of rows.
    pub tag: String,
}

impl Batch {
    /// Notes a statement that ran. Queries change nothing and may have seen any state.
    pub fn note(&mut self, prepared: &Arc<Prepared>, parameters: Vec<ArrayRef>, response: &Response) {
        let changes = matches!(
            prepared.statement,
            Some(
                Statement::Insert(_)
                    | Statement::Update(_)
                    | Statement::Delete(_)
                    | Statement::Merge(_)
                    | Statement::With(_)
                    | Statement::Truncate(_)
            )
        );
        match response {
            Response::Complete(tag) if changes => {
                self.statements.push(Executed { prepared: prepared.clone(), parameters, tag: tag.clone() });
            }
            Response::Rows { .. } if matches!(prepared.statement, Some(Statement::Query(_))) => {}
            Response::Empty => {}
            _ => self.told = true,
        }
    }

    /// The statements to run again, if that is possible without the client noticing.
    pub fn repeatable(&self) -> Option<Vec<Executed>> {
        (!self.told && !self.statements.is_empty()).then(|| self.statements.clone())
    }
}
