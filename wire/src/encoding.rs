//! Character encodings: the server speaks UTF-8 and says so when asked for another.

use millrace_types::{Result, SqlError, SqlState};

/// The name under which `client_encoding` is accepted and reported. Names are compared as Postgres does, by their
/// letters and digits alone: `'utf-8'`, with its quotes, is UTF8. SQL_ASCII means "no conversion". Any other encoding
/// is refused with `22023`, because text would reach the client garbled.
pub fn client_encoding(name: &str) -> Result<&'static str> {
    let plain: String = name.chars().filter(|c| c.is_ascii_alphanumeric()).map(|c| c.to_ascii_lowercase()).collect();
    match plain.as_str() {
        "utf8" | "unicode" => Ok("UTF8"),
        "sqlascii" => Ok("SQL_ASCII"),
        _ => Err(SqlError::new(
            SqlState::INVALID_PARAMETER_VALUE,
            format!("invalid value for parameter \"client_encoding\": \"{name}\""),
        )
        .with_detail("Only UTF8 is supported.")),
    }
}

/// The bytes as text: valid UTF-8 without a NUL, or `22021` with the offending bytes.
pub(crate) fn text(bytes: &[u8]) -> Result<&str> {
    let invalid = |bytes: &[u8]| {
        let bytes: Vec<String> = bytes.iter().map(|b| format!("0x{b:02x}")).collect();
        let message = format!("invalid byte sequence for encoding \"UTF8\": {}", bytes.join(" "));
        SqlError::new(SqlState::CHARACTER_NOT_IN_REPERTOIRE, message)
    };
    let text = std::str::from_utf8(bytes).map_err(|e| {
        let from = &bytes[e.valid_up_to()..];
        invalid(&from[..sequence_length(from)])
    })?;
    match text.as_bytes().contains(&0) {
        true => Err(invalid(&[0])),
        false => Ok(text),
    }
}

/// How many bytes the first one announces, as far as they are there: what Postgres shows of an invalid sequence.
fn sequence_length(bytes: &[u8]) -> usize {
    let announced = match bytes.first() {
        Some(0xc0..=0xdf) => 2,
        Some(0xe0..=0xef) => 3,
        Some(0xf0..=0xf7) => 4,
        _ => 1,
    };
    announced.min(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_are_named_as_clients_do() {
        assert_eq!(client_encoding("'utf-8'").unwrap(), "UTF8");
        assert_eq!(client_encoding("UNICODE").unwrap(), "UTF8");
        assert_eq!(client_encoding("LATIN1").unwrap_err().state(), SqlState::INVALID_PARAMETER_VALUE);
    }

    #[test]
    fn invalid_text_shows_its_bytes() {
        let message = |bytes: &[u8]| text(bytes).unwrap_err().message().to_owned();
        assert_eq!(text("grün".as_bytes()).unwrap(), "grün");
        assert_eq!(message(b"a\xff"), "invalid byte sequence for encoding \"UTF8\": 0xff");
        assert_eq!(message(b"\xc3("), "invalid byte sequence for encoding \"UTF8\": 0xc3 0x28");
        assert_eq!(message(b"a\0b"), "invalid byte sequence for encoding \"UTF8\": 0x00");
    }
}
