//! What the wall clock decided about rows of sources and tables, as bytes: the payload of a
//! [`RecordKind::Arrivals`](crate::RecordKind) record, JSON as in a manifest.

use millrace_types::{RelationId, Result, SqlError, SqlState};
use serde::{Deserialize, Serialize};

/// Something that the wall clock decided about a split, whose rows are counted from 0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArrivalNote {
    /// The source or table.
    pub relation: RelationId,
    /// The connector's name of the split; of what concerns the whole relation, nothing.
    pub split: String,
    /// What was decided.
    pub what: Arrival,
    /// Of a moment and a raise, the first row that it counts for; of `Rows`, how many there are.
    pub row: u64,
    /// The moment or watermark, in microseconds.
    pub at: i64,
}

/// What a note says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arrival {
    /// How many rows have come.
    Rows,
    /// From a row on, what the wall clock said when they came.
    Moment,
    /// Before a row, the split's watermark was raised to that of its source.
    Raise,
    /// The relation's watermark came this far without rows.
    Watermark,
}

impl Arrival {
    /// All of them.
    pub const ALL: [Arrival; 4] = [Arrival::Rows, Arrival::Moment, Arrival::Raise, Arrival::Watermark];
}

/// The payload.
///
/// # Errors
/// None in fact: all of it can be written as JSON.
pub fn encode(notes: &[ArrivalNote]) -> Result<Vec<u8>> {
    serde_json::to_vec(notes).map_err(|error| SqlError::internal(format!("arrivals as JSON: {error}")))
}

/// What such a payload says.
///
/// # Errors
/// `XX001` when it says nothing.
pub fn decode(payload: &[u8]) -> Result<Vec<ArrivalNote>> {
    serde_json::from_slice(payload).map_err(|error| {
        SqlError::new(SqlState::DATA_CORRUPTED, format!("logged arrivals of rows cannot be read: {error}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_come_back() {
        let note =
            |what| ArrivalNote { relation: RelationId(7), split: "a \"b\"".to_owned(), what, row: 1 << 60, at: -1 };
        let notes = Arrival::ALL.map(note);
        assert_eq!(decode(&encode(&notes).unwrap()).unwrap(), notes);
        assert_eq!(decode(b"[{").unwrap_err().state(), SqlState::DATA_CORRUPTED);
    }
}
