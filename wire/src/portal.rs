//! Prepared statements and portals: what lives between messages of the extended protocol.

use crate::rows::RowSource;
use arrow::array::ArrayRef;
use arrow::datatypes::SchemaRef;
use millrace_types::{Result, SqlError, SqlState, SqlType};
use std::sync::Arc;

/// How a value is written on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Text,
    Binary,
}

impl Format {
    /// The number that stands for it in messages.
    pub fn code(self) -> i16 {
        match self {
            Format::Text => 0,
            Format::Binary => 1,
        }
    }

    fn from_code(code: i16) -> Result<Format> {
        match code {
            0 => Ok(Format::Text),
            1 => Ok(Format::Binary),
            other => {
                let message = format!("unsupported format code: {other}");
                Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message))
            }
        }
    }

    /// One format each for `count` values: no codes mean text for all, one code stands for all.
    pub fn for_each(codes: &[i16], count: usize, mismatch: impl FnOnce() -> String) -> Result<Vec<Format>> {
        match codes {
            [] => Ok(vec![Format::Text; count]),
            [code] => Ok(vec![Format::from_code(*code)?; count]),
            codes if codes.len() == count => codes.iter().map(|&code| Format::from_code(code)).collect(),
            _ => Err(SqlError::new(SqlState::PROTOCOL_VIOLATION, mismatch())),
        }
    }
}

/// A prepared statement with what clients ask of it.
#[derive(Clone)]
pub(crate) struct Prepared<T> {
    pub statement: T,
    pub parameters: Arc<[SqlType]>,
    pub columns: Option<SchemaRef>,
}

/// A statement with its parameters, before, in and after its execution.
pub(crate) struct Portal<T> {
    pub statement: T,
    pub columns: Option<SchemaRef>,
    pub formats: Vec<Format>,
    pub state: PortalState,
}

/// How far a portal is.
pub(crate) enum PortalState {
    /// Not executed yet: the values of its parameters.
    Bound(Vec<ArrayRef>),
    /// Executed: rows that are sent as the client asks for them. It may be asked again at their end.
    Open(RowSource),
    /// Executed, and it returned no rows, so it cannot run again.
    Done,
    /// An error ended the transaction that it belonged to.
    Failed,
}

impl<T> Portal<T> {
    /// The transaction failed: gives up the rows, and with them their memory.
    pub fn fail(&mut self) {
        self.state = PortalState::Failed;
    }
}
