//! From a fresh socket to a login: encryption requests, cancel requests, and the startup packet.

use crate::encoding;
use crate::incoming::Incoming;
use crate::outgoing::Outgoing;
use crate::report::Failure;
use bytes::{Buf, Bytes};
use millrace_types::{Result, SqlError, SqlState};
use pgwire::messages::response::SslResponse;
use pgwire::messages::startup::{GssEncRequest, NegotiateProtocolVersion, SslRequest};

/// The request code of a CancelRequest, which stands where a startup packet has its protocol version.
const CANCEL_REQUEST: i32 = 80_877_102;

/// Protocol 3.0, the newest that is spoken here, as version numbers are written.
const PROTOCOL_3_0: i32 = 3 << 16;

/// What a client wants of a new connection.
pub(crate) enum Opening {
    Login(Login),
    Cancel { process_id: i32, secret: i32 },
}

/// A startup packet that can be served.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Login {
    pub user: String,
    pub database: String,
    /// Run-time parameters in the order in which they apply.
    pub parameters: Vec<(String, String)>,
    /// Protocol options (`_pq_.name`) that nothing here knows.
    unknown_options: Vec<String>,
    /// The minor version of the protocol that the client asked for.
    minor_version: u16,
}

/// Reads packets until the client has said what it wants. `Failure::Gone` when it must not be answered.
pub(crate) async fn open(incoming: &mut Incoming, outgoing: &mut Outgoing) -> Result<Opening, Failure> {
    loop {
        let mut packet = incoming.startup_packet().await?.ok_or(Failure::Gone)?;
        match packet.get_i32() {
            SslRequest::BODY_MAGIC_NUMBER | GssEncRequest::BODY_MAGIC_NUMBER => {
                // Bytes sent along with the request could later be taken for encrypted ones.
                if packet.has_remaining() || incoming.has_unread() {
                    return Err(Failure::Gone);
                }
                outgoing.buffer().push(SslResponse::BYTE_REFUSE);
                outgoing.flush().await?;
            }
            CANCEL_REQUEST => {
                let (Ok(process_id), Ok(secret)) = (packet.try_get_i32(), packet.try_get_i32()) else {
                    return Err(Failure::Gone);
                };
                return Ok(Opening::Cancel { process_id, secret });
            }
            version if version >> 16 == 3 => {
                let login = Login::read(packet, version as u16).map_err(Failure::Fatal)?;
                login.negotiate(outgoing)?;
                return Ok(Opening::Login(login));
            }
            version => {
                let (major, minor) = (version as u32 >> 16, version & 0xffff);
                let message = format!("unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.0");
                return Err(Failure::Fatal(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message)));
            }
        }
    }
}

impl Login {
    /// Reads the names and values of a startup packet.
    fn read(packet: Bytes, minor_version: u16) -> Result<Login> {
        let mut login = Login { minor_version, ..Login::default() };
        let mut explicit = Vec::new();
        for (name, value) in pairs(&packet)? {
            match name {
                "user" => login.user = value.to_owned(),
                "database" => login.database = value.to_owned(),
                "options" => login.parameters = command_line_options(value)?,
                "replication" if !matches!(value, "false" | "off" | "no" | "0") => {
                    return Err(SqlError::unsupported("replication over this protocol"));
                }
                "replication" => {}
                _ if name.starts_with("_pq_.") => login.unknown_options.push(name.to_owned()),
                _ => explicit.push((name.to_owned(), value.to_owned())),
            }
        }
        if login.user.is_empty() {
            return Err(SqlError::new(
                SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
                "no PostgreSQL user name specified in startup packet",
            ));
        }
        if login.database.is_empty() {
            login.database = login.user.clone();
        }
        login.parameters.extend(explicit);
        for (_, value) in login.parameters.iter_mut().filter(|(name, _)| name.eq_ignore_ascii_case("client_encoding")) {
            *value = encoding::client_encoding(value)?.to_owned();
        }
        Ok(login)
    }

    /// Tells a client that asked for more than protocol 3.0 what it gets.
    fn negotiate(&self, outgoing: &mut Outgoing) -> Result<()> {
        if self.minor_version == 0 && self.unknown_options.is_empty() {
            return Ok(());
        }
        outgoing.put(&NegotiateProtocolVersion::new(PROTOCOL_3_0, self.unknown_options.clone()))
    }
}

/// The names and values of a startup packet: NUL-terminated each, with an empty name at the end.
fn pairs(packet: &[u8]) -> Result<Vec<(&str, &str)>> {
    let invalid =
        |what: &str| SqlError::new(SqlState::PROTOCOL_VIOLATION, format!("invalid startup packet layout: {what}"));
    let body = packet.strip_suffix(&[0]).ok_or_else(|| invalid("expected terminator as last byte"))?;
    if body.is_empty() {
        return Ok(Vec::new());
    }
    // Without its terminator the packet is "name\0value\0name\0value\0".
    let body = body.strip_suffix(&[0]).ok_or_else(|| invalid("expected terminator after the last value"))?;
    let texts: Vec<&str> = body.split(|&b| b == 0).map(encoding::text).collect::<Result<_>>()?;
    match texts.chunks_exact(2) {
        pairs if pairs.remainder().is_empty() && pairs.clone().all(|pair| !pair[0].is_empty()) => {
            Ok(pairs.map(|pair| (pair[0], pair[1])).collect())
        }
        _ => Err(invalid("every name must have a value")),
    }
}

/// The parameters of an `options` value: `-c name=value`, `-cname=value` or `--name=value`, separated by spaces that
/// are not escaped by a backslash; dashes in names stand for underscores.
fn command_line_options(options: &str) -> Result<Vec<(String, String)>> {
    let invalid = |word: &str| {
        let message = format!("invalid command-line argument for server process: {word}");
        SqlError::new(SqlState::SYNTAX_ERROR, message)
    };
    let mut parameters = Vec::new();
    let mut words = split_options(options).into_iter();
    while let Some(word) = words.next() {
        let setting = match word.strip_prefix("--").or_else(|| word.strip_prefix("-c")) {
            Some("") => words.next().ok_or_else(|| invalid(&word))?,
            Some(setting) => setting.to_owned(),
            None => return Err(invalid(&word)),
        };
        let (name, value) = setting.split_once('=').ok_or_else(|| invalid(&word))?;
        parameters.push((name.replace('-', "_"), value.to_owned()));
    }
    Ok(parameters)
}

fn split_options(options: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut characters = options.chars();
    while let Some(character) = characters.next() {
        let escaped = (character == '\\').then(|| characters.next()).flatten();
        match words.last_mut() {
            Some(word) if escaped.is_some() || !character.is_whitespace() => word.push(escaped.unwrap_or(character)),
            _ => words.push(String::new()),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(packet: &'static [u8]) -> Result<Login> {
        Login::read(Bytes::from_static(packet), 0)
    }

    #[test]
    fn parameters_apply_options_first() {
        let login = read(b"DateStyle\0ISO\0user\0me\0options\0-c a.b=1\\ 2 --time-zone=UTC\0\0").unwrap();
        assert_eq!((login.user.as_str(), login.database.as_str()), ("me", "me"));
        let parameters: Vec<_> = login.parameters.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert_eq!(parameters, [("a.b", "1 2"), ("time_zone", "UTC"), ("DateStyle", "ISO")]);
    }

    #[test]
    fn malformed_packets_are_refused() {
        for packet in [&b"user\0me\0"[..], b"user\0me", b"user\0me\0database\0\0", b"", b"\0me\0\0"] {
            let packet: &'static [u8] = packet;
            assert_eq!(read(packet).unwrap_err().state(), SqlState::PROTOCOL_VIOLATION, "{packet:?}");
        }
        for packet in [&b"\0"[..], b"database\0x\0\0", b"user\0\0\0"] {
            let packet: &'static [u8] = packet;
            assert_eq!(read(packet).unwrap_err().state(), SqlState::INVALID_AUTHORIZATION_SPECIFICATION, "{packet:?}");
        }
    }

    #[test]
    fn the_encoding_is_settled_at_once() {
        let login = read(b"user\0me\0client_encoding\0'utf-8'\0\0").unwrap();
        assert_eq!(login.parameters, [("client_encoding".to_owned(), "UTF8".to_owned())]);
        let error = read(b"user\0me\0client_encoding\0LATIN1\0\0").unwrap_err();
        assert_eq!(error.state(), SqlState::INVALID_PARAMETER_VALUE);
    }
}
