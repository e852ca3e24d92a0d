//! How far sources were read, as bytes: the payload of a [`RecordKind::Offsets`](crate::RecordKind) record, JSON as in a
//! manifest.

use crate::manifest::SourceOffset;
use millrace_types::{Result, SqlError, SqlState};

/// The payload.
///
/// # Errors
/// None in fact: all of it can be written as JSON.
pub fn encode(offsets: &[SourceOffset]) -> Result<Vec<u8>> {
    serde_json::to_vec(offsets).map_err(|error| SqlError::internal(format!("offsets as JSON: {error}")))
}

/// What such a payload says.
///
/// # Errors
/// `XX001` when it says nothing.
pub fn decode(payload: &[u8]) -> Result<Vec<SourceOffset>> {
    serde_json::from_slice(payload).map_err(|error| {
        SqlError::new(SqlState::DATA_CORRUPTED, format!("logged source offsets cannot be read: {error}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_types::{Offset, RelationId};

    #[test]
    fn offsets_come_back() {
        let offsets =
            vec![SourceOffset { relation: RelationId(7), split: "a \"b\"".to_owned(), offset: Offset(1 << 60) }];
        assert_eq!(decode(&encode(&offsets).unwrap()).unwrap(), offsets);
        assert_eq!(decode(b"[{").unwrap_err().state(), SqlState::DATA_CORRUPTED);
    }
}
