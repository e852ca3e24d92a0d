//! Fields of CSV: quotes.

use super::CopyFormat;

/// Puts what follows `start` in quotes if it needs them.
pub(super) fn escape(format: &CopyFormat, start: usize, single: bool, force_quote: bool, to: &mut Vec<u8>) {
    let field = &to[start..];
    let special = |byte: u8| matches!(byte, b'\n' | b'\r') || byte == format.delimiter || byte == format.quote;
    let needs_quotes = force_quote
        || field == format.null.as_bytes()
        // Alone on its line this would be the end of the data.
        || (single && field == b"\\.")
        || field.iter().any(|&byte| special(byte));
    if !needs_quotes {
        return;
    }
    let field = to.split_off(start);
    to.push(format.quote);
    for byte in field {
        if byte == format.quote || byte == format.escape {
            to.push(format.escape);
        }
        to.push(byte);
    }
    to.push(format.quote);
}

/// A field that was read.
pub(super) struct Field {
    pub bytes: Vec<u8>,
    /// Whether any of it was quoted: then it is not null, whatever it says.
    pub quoted: bool,
}

/// Reads the field at the start of a line, and gives it with what follows its delimiter; `None` follows the last.
pub(super) fn field<'a>(format: &CopyFormat, line: &'a [u8]) -> (Field, Option<&'a [u8]>) {
    let mut field = Field { bytes: Vec::new(), quoted: false };
    let mut rest = line;
    let mut in_quotes = false;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            _ if in_quotes
                && byte == format.escape
                && matches!(after.first(), Some(&next) if next == format.escape || next == format.quote) =>
            {
                field.bytes.push(after[0]);
                rest = &after[1..];
            }
            _ if byte == format.quote => {
                in_quotes = !in_quotes;
                field.quoted = true;
            }
            _ if byte == format.delimiter && !in_quotes => return (field, Some(rest)),
            _ => field.bytes.push(byte),
        }
    }
    (field, None)
}
