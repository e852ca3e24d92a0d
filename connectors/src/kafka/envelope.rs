//! Envelopes: what the values of a topic say of rows. A PLAIN value is a row; in UPSERT a value is the row of its key, and
//! no value says that it is gone; a DEBEZIUM value says what was done to a row.

use crate::format::Block;
use crate::value::json::Malformed;
use std::ops::Range;

/// How the values of a topic are meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Envelope {
    #[default]
    Plain,
    Upsert,
    Debezium,
}

impl Envelope {
    /// By the word that follows FORMAT.
    pub fn of_word(word: Option<&str>) -> Envelope {
        match word {
            Some("upsert") => Envelope::Upsert,
            Some("debezium") => Envelope::Debezium,
            _ => Envelope::Plain,
        }
    }
}

/// What a Debezium value says: the row that is there now, or the one that is gone.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    Put(Range<usize>),
    Delete(Range<usize>),
}

/// Finds the rows in a Debezium envelope, with or without its `{"schema": .., "payload": ..}` around it.
pub(super) fn change(block: &Block, span: Range<usize>) -> Result<Change, String> {
    let members = members(block, span.clone(), ["payload", "op", "before", "after"])?;
    let [payload, op, before, after] = members;
    if let (None, Some(payload)) = (&op, payload) {
        return change(block, payload);
    }
    let text = |range: &Range<usize>| &block.bytes()[range.clone()];
    let object = |range: Option<Range<usize>>| range.filter(|range| text(range).starts_with(b"{"));
    let op = op.map(|op| text(&op).to_vec()).ok_or("a Debezium record has a member \"op\"")?;
    match &op[..] {
        b"\"c\"" | b"\"r\"" | b"\"u\"" => {
            object(after).map(Change::Put).ok_or_else(|| "the Debezium record has no object \"after\"".to_owned())
        }
        b"\"d\"" => {
            object(before).map(Change::Delete).ok_or_else(|| "the Debezium record has no object \"before\"".to_owned())
        }
        other => Err(format!("unknown Debezium operation {}", String::from_utf8_lossy(other))),
    }
}

/// The values of some members of an object.
fn members<const N: usize>(
    block: &Block,
    span: Range<usize>,
    names: [&str; N],
) -> Result<[Option<Range<usize>>; N], String> {
    let mut found = [const { None }; N];
    let words = |error: Malformed| {
        format!("invalid JSON at byte {} of the value: {}", error.at.saturating_sub(span.start) + 1, error.what)
    };
    if std::str::from_utf8(&block.bytes()[span.clone()]).is_err() {
        return Err(crate::format::json::NOT_UTF8.to_owned());
    }
    let scanner = block.scanner(span.end);
    let mut at = scanner.skip_blanks(span.start);
    if scanner.byte(at) != b'{' {
        return Err("a Debezium record is a JSON object".to_owned());
    }
    at = scanner.skip_blanks(at + 1);
    while scanner.byte(at) != b'}' {
        let ((key, _), value) = scanner.key(at).map_err(words)?;
        let end = scanner.skip(value).map_err(words)?;
        if let Some(index) = names.iter().position(|name| name.as_bytes() == &block.bytes()[key.clone()]) {
            found[index] = Some(value..end);
        }
        at = scanner.skip_blanks(end);
        match scanner.byte(at) {
            b',' => at = scanner.skip_blanks(at + 1),
            b'}' => {}
            _ => return Err(words(Malformed { at, what: "expected a comma or the end of the object" })),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Result<(bool, String), String> {
        let block = Block::new(text.into(), 0);
        let change = change(&block, 0..text.len())?;
        let (put, range) = match change {
            Change::Put(range) => (true, range),
            Change::Delete(range) => (false, range),
        };
        Ok((put, text[range].to_owned()))
    }

    #[test]
    fn debezium_envelopes_are_opened() {
        assert_eq!(found(r#"{"op":"c","before":null,"after":{"a":1}}"#), Ok((true, r#"{"a":1}"#.to_owned())));
        assert_eq!(found(r#"{"before": {"a":1}, "after": null, "op": "d"}"#), Ok((false, r#"{"a":1}"#.to_owned())));
        let wrapped = r#"{"schema":{"op":1},"payload":{"op":"u","after":{"a":2},"before":{"a":1}}}"#;
        assert_eq!(found(wrapped), Ok((true, r#"{"a":2}"#.to_owned())));
        assert!(found(r#"{"op":"t"}"#).unwrap_err().contains("unknown Debezium operation"));
        assert!(found(r#"{"op":"c","after":null}"#).unwrap_err().contains("after"));
        assert!(found("[1]").unwrap_err().contains("JSON object"));
        assert!(found(r#"{"op":"c" 1}"#).unwrap_err().contains("at byte 11"));
    }
}
