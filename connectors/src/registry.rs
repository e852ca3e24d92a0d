//! A schema registry, by the REST interface that Confluent's has, and the frame that records of its schemas have.
//!
//! ```text
//!   0 | id of the schema, four bytes | (Protobuf: which message) | value
//! ```

use crate::format::avro::AvroSchema;
use crate::format::protobuf::ProtobufFile;
use crate::options::{OptionInfo, OptionKind, Options};
use millrace_types::{Result, SqlError, SqlState};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// How long the registry may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Schemas may refer to others this deep.
const MAX_DEPTH: usize = 16;

pub(crate) const URL: OptionInfo =
    OptionInfo::new("schema.registry", OptionKind::Text, "The schema registry, as http://host:8081.")
        .aliases(&["schema.registry.url"]);
pub(crate) const USER: OptionInfo =
    OptionInfo::new("schema.registry.username", OptionKind::Text, "Who asks the schema registry.");
pub(crate) const PASSWORD: OptionInfo =
    OptionInfo::new("schema.registry.password", OptionKind::Text, "The password for the schema registry.");

/// The registry of a source or sink, with what it has said.
#[derive(Debug)]
pub(crate) struct Registry {
    agent: ureq::Agent,
    url: String,
    /// The value of the header that says who asks.
    authorization: Option<String>,
    known: Mutex<HashMap<u32, Option<Arc<Registered>>>>,
}

/// A schema of the registry, with those that it refers to.
#[derive(Debug, Default)]
pub(crate) struct Registered {
    pub text: String,
    /// What each is called where it is referred to, and its text; those that others need come first.
    references: Vec<(String, String)>,
    avro: OnceLock<Result<Arc<AvroSchema>>>,
    protobuf: OnceLock<Result<Arc<ProtobufFile>>>,
}

impl Registered {
    /// What the schema refers to: names and texts.
    pub fn references(&self) -> &[(String, String)] {
        &self.references
    }

    /// The schema as one of Avro.
    pub fn avro(&self) -> Result<Arc<AvroSchema>> {
        let parse = || {
            let others: Vec<_> = self.references.iter().map(|(_, text)| text.clone()).collect();
            AvroSchema::parse(&self.text, &others).map(Arc::new)
        };
        self.avro.get_or_init(parse).clone()
    }

    /// The schema as one of Protobuf.
    pub fn protobuf(&self) -> Result<Arc<ProtobufFile>> {
        self.protobuf.get_or_init(|| ProtobufFile::parse(&self.text, &self.references).map(Arc::new)).clone()
    }
}

/// The id of the schema of a record, and what follows it; `None` when the record does not have that frame.
pub(crate) fn unframed(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (frame, rest) = bytes.split_first_chunk::<5>()?;
    match frame {
        [0, id @ ..] => Some((u32::from_be_bytes(*id), rest)),
        _ => None,
    }
}

/// The frame of records of a schema.
pub(crate) fn frame(id: u32) -> Vec<u8> {
    [&[0], &id.to_be_bytes()[..]].concat()
}

impl Registry {
    /// The registry that the options name, if they do.
    pub fn new(options: &Options) -> Result<Option<Arc<Registry>>> {
        let Some(url) = options.text(URL.name) else { return Ok(None) };
        if !url.starts_with("http://") && !url.starts_with("https://") {
            return Err(options.invalid(URL.name, "It begins with http:// or https://."));
        }
        let config = ureq::Agent::config_builder().timeout_global(Some(PATIENCE)).http_status_as_error(false);
        let authorization = options.text(USER.name).map(|user| {
            let pair = format!("{user}:{}", options.text(PASSWORD.name).unwrap_or_default());
            format!("Basic {}", base64(pair.as_bytes()))
        });
        Ok(Some(Arc::new(Registry {
            agent: config.build().new_agent(),
            url: url.trim_end_matches('/').to_owned(),
            authorization,
            known: Mutex::default(),
        })))
    }

    /// The schema of an id; `None` if the registry has none.
    ///
    /// # Errors
    /// `08006` when the registry is away: then it is worth to ask again.
    pub fn by_id(&self, id: u32) -> Result<Option<Arc<Registered>>> {
        if let Some(known) = self.known.lock().get(&id) {
            return Ok(known.clone());
        }
        let found = match self.get(&format!("/schemas/ids/{id}"))? {
            Some(answer) => Some(Arc::new(self.registered(&answer)?)),
            None => None,
        };
        self.known.lock().insert(id, found.clone());
        Ok(found)
    }

    /// The latest schema of a subject; `None` if there is no such subject.
    pub fn latest(&self, subject: &str) -> Result<Option<Registered>> {
        match self.get(&format!("/subjects/{}/versions/latest", escaped(subject)))? {
            Some(answer) => self.registered(&answer).map(Some),
            None => Ok(None),
        }
    }

    /// Adds a schema to a subject, unless it has it; answers its id.
    pub fn register(&self, subject: &str, kind: &str, text: &str) -> Result<u32> {
        let mut body = json!({ "schema": text });
        if kind != "AVRO" {
            body["schemaType"] = kind.into();
        }
        let path = format!("/subjects/{}/versions", escaped(subject));
        let mut request = self.agent.post(format!("{}{path}", self.url));
        request = request.header("Content-Type", "application/vnd.schemaregistry.v1+json");
        if let Some(authorization) = &self.authorization {
            request = request.header("Authorization", authorization);
        }
        let answer = self.answer(request.send(body.to_string()))?;
        let id = answer.as_ref().and_then(|answer| answer.get("id")).and_then(Value::as_u64);
        id.map(|id| id as u32).ok_or_else(|| self.unexpected("it gave no id"))
    }

    fn registered(&self, answer: &Value) -> Result<Registered> {
        let mut references = vec![];
        self.references(answer, &mut references, 0)?;
        Ok(Registered { text: self.text(answer)?, references, ..Registered::default() })
    }

    fn text(&self, answer: &Value) -> Result<String> {
        let text = answer.get("schema").and_then(Value::as_str);
        text.map(str::to_owned).ok_or_else(|| self.unexpected("it gave no schema"))
    }

    fn references(&self, answer: &Value, found: &mut Vec<(String, String)>, depth: usize) -> Result<()> {
        let referred = answer.get("references").and_then(Value::as_array);
        for reference in referred.into_iter().flatten() {
            let of = |name| reference.get(name).and_then(Value::as_str).unwrap_or_default();
            let version = reference.get("version").and_then(Value::as_u64).unwrap_or_default();
            if depth > MAX_DEPTH {
                return Err(self.unexpected("its schemas refer to each other without end"));
            }
            if found.iter().any(|(name, _)| name == of("name")) {
                continue;
            }
            let path = format!("/subjects/{}/versions/{version}", escaped(of("subject")));
            let Some(other) = self.get(&path)? else {
                return Err(self.unexpected(&format!("it has no version {version} of subject \"{}\"", of("subject"))));
            };
            self.references(&other, found, depth + 1)?;
            found.push((of("name").to_owned(), self.text(&other)?));
        }
        Ok(())
    }

    fn get(&self, path: &str) -> Result<Option<Value>> {
        let mut request = self.agent.get(format!("{}{path}", self.url));
        if let Some(authorization) = &self.authorization {
            request = request.header("Authorization", authorization);
        }
        self.answer(request.call())
    }

    /// What the registry has answered; `None` when it has no such thing.
    fn answer(
        &self,
        response: std::result::Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<Option<Value>> {
        let failed = |error: ureq::Error| self.error(SqlState::CONNECTION_FAILURE, &error.to_string());
        let mut response = response.map_err(failed)?;
        let text = response.body_mut().read_to_string().map_err(failed)?;
        let body = serde_json::from_str::<Value>(&text);
        let said = body.as_ref().ok().and_then(|body| body.get("message")).and_then(Value::as_str);
        let said = said.map_or_else(|| format!("status {}", response.status().as_u16()), str::to_owned);
        match response.status().as_u16() {
            200..300 => body.map(Some).map_err(|_| self.unexpected("the answer is no JSON")),
            404 => Ok(None),
            401 | 403 => Err(self.error(SqlState::INVALID_AUTHORIZATION_SPECIFICATION, &said)),
            409 | 422 => Err(self.error(SqlState::INVALID_PARAMETER_VALUE, &said)),
            _ => Err(self.error(SqlState::CONNECTION_FAILURE, &said)),
        }
    }

    fn unexpected(&self, what: &str) -> SqlError {
        self.error(SqlState::INVALID_PARAMETER_VALUE, what)
    }

    fn error(&self, state: SqlState, reason: &str) -> SqlError {
        SqlError::new(state, format!("could not use the schema registry at {}: {reason}", self.url))
    }
}

/// A name as a part of a path.
fn escaped(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    name.bytes().map(|byte| if plain(byte) { (byte as char).to_string() } else { format!("%{byte:02X}") }).collect()
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * place)) as usize & 63];
            text.push(if place > chunk.len() { '=' } else { digit as char });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_passwords_are_written_for_http() {
        assert_eq!(escaped("bids-value/ä"), "bids-value%2F%C3%A4");
        assert_eq!(
            ["", "f", "fo", "foo", "foob"].map(|text| base64(text.as_bytes())),
            ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg=="]
        );
    }

    #[test]
    fn frames_are_told_from_other_bytes() {
        assert_eq!(unframed(&[&frame(7)[..], b"x"].concat()), Some((7, &b"x"[..])));
        assert_eq!((unframed(b"{\"a\":1}"), unframed(b"\0\0\0")), (None, None));
    }
}
