//! A stand-in for S3 that speaks as much of its protocol over HTTP as checkpoints and snapshots need: objects with
//! conditions and ranges, lists in pages, uploads in parts, removal of many. It keeps everything in memory.

use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::thread;

/// What clients have to know.
pub const KEY: &str = "AKIATESTTESTTEST";
pub const SECRET: &str = "a-secret-that-nobody-sees";
/// Objects in a page of a list: few, so that there are several pages.
const PAGE: usize = 3;

/// A running stand-in. Clones are the same one.
#[derive(Clone)]
pub struct S3 {
    port: u16,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Vec<u8>>,
    uploads: BTreeMap<String, BTreeMap<u32, Vec<u8>>>,
    /// Whether it refuses everything, and whether it says that it does not know the client.
    down: bool,
    denied: bool,
    /// Requests by their kinds.
    requests: BTreeMap<&'static str, u64>,
}

struct Request {
    method: String,
    key: String,
    query: BTreeMap<String, String>,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

struct Response {
    status: &'static str,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl S3 {
    /// Starts one on a free port.
    pub fn start() -> S3 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let s3 = S3 { port: listener.local_addr().unwrap().port(), state: Arc::default() };
        let served = s3.clone();
        thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let served = served.clone();
                // A client that goes away ends its connection.
                thread::spawn(move || served.serve(&socket).ok());
            }
        });
        s3
    }

    /// Tells a command how to reach it.
    pub fn configure(&self, command: &mut Command) {
        command.env("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{}", self.port));
        command.env("AWS_ACCESS_KEY_ID", KEY).env("AWS_SECRET_ACCESS_KEY", SECRET).env("AWS_REGION", "eu-test-1");
    }

    /// Lets it refuse everything with 503, or not any more.
    pub fn set_down(&self, down: bool) {
        self.state.lock().down = down;
    }

    /// Lets it refuse the client, or not any more.
    pub fn set_denied(&self, denied: bool) {
        self.state.lock().denied = denied;
    }

    /// The keys that begin like this.
    pub fn keys(&self, prefix: &str) -> Vec<String> {
        self.state.lock().objects.keys().filter(|key| key.starts_with(prefix)).cloned().collect()
    }

    /// Changes an object.
    pub fn damage(&self, key: &str, change: impl FnOnce(&mut Vec<u8>)) {
        change(self.state.lock().objects.get_mut(key).unwrap());
    }

    /// How many requests of a kind there were.
    pub fn requests(&self, kind: &str) -> u64 {
        self.state.lock().requests.get(kind).copied().unwrap_or_default()
    }

    fn serve(&self, socket: &TcpStream) -> std::io::Result<()> {
        let (mut reader, mut writer) = (BufReader::new(socket), socket);
        while let Some(request) = read(&mut reader)? {
            let Response { status, headers, body } = self.state.lock().answer(&request);
            let mut head = format!("HTTP/1.1 {status}\r\n");
            headers.iter().for_each(|(name, value)| head += &format!("{name}: {value}\r\n"));
            let length =
                if request.method == "HEAD" { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
            head += &format!("{length}\r\n");
            writer.write_all(head.as_bytes())?;
            if request.method != "HEAD" {
                writer.write_all(&body)?;
            }
        }
        Ok(())
    }
}

fn read(reader: &mut BufReader<&TcpStream>) -> std::io::Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let (method, target) = (words.next().unwrap_or_default().to_owned(), words.next().unwrap_or_default().to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => headers.insert(name.to_lowercase(), value.trim().to_owned()),
            None => break,
        };
    }
    let mut body = vec![0; headers.get("content-length").map_or(0, |length| length.parse().unwrap())];
    reader.read_exact(&mut body)?;
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let parts = query.split('&').filter(|part| !part.is_empty());
    let query = parts.map(|part| part.split_once('=').unwrap_or((part, "")));
    let query = query.map(|(name, value)| (decoded(name), decoded(value))).collect();
    Ok(Some(Request { method, key: decoded(path.trim_start_matches('/')), query, headers, body }))
}

/// A text without percent signs.
fn decoded(text: &str) -> String {
    let (mut bytes, mut rest) = (vec![], text.as_bytes());
    while let Some((first, more)) = rest.split_first() {
        rest = more;
        match (first, more) {
            (b'%', [high, low, after @ ..]) => {
                let digits = [*high, *low];
                bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap());
                rest = after;
            }
            (b'+', _) => bytes.push(b' '),
            _ => bytes.push(*first),
        }
    }
    String::from_utf8(bytes).unwrap()
}

fn plain(status: &'static str, body: impl Into<Vec<u8>>) -> Response {
    Response { status, headers: vec![("ETag", "\"tag\"".to_owned())], body: body.into() }
}

fn error(status: &'static str, code: &str, more: &str) -> Response {
    plain(status, format!("<Error><Code>{code}</Code><Message>{more}</Message></Error>"))
}

impl State {
    fn answer(&mut self, request: &Request) -> Response {
        let credential = format!("AWS4-HMAC-SHA256 Credential={KEY}/");
        let is_known = request.headers.get("authorization").is_some_and(|header| header.starts_with(&credential));
        let has = |name: &str| request.query.contains_key(name);
        if self.down {
            return error("503 Service Unavailable", "SlowDown", "try again later");
        }
        if self.denied || !is_known {
            return error("403 Forbidden", "AccessDenied", &format!("{KEY} with {SECRET} may not do that"));
        }
        let kind = match request.method.as_str() {
            "PUT" if has("partNumber") => "part",
            "PUT" => "put",
            "POST" if has("uploads") => "begin",
            "POST" if has("uploadId") => "complete",
            "POST" if has("delete") => "delete",
            "DELETE" if has("uploadId") => "abort",
            "GET" if has("list-type") => "list",
            "GET" | "HEAD" => "get",
            _ => "unknown",
        };
        *self.requests.entry(kind).or_default() += 1;
        let upload = || request.query["uploadId"].clone();
        match kind {
            "part" => {
                let number = request.query["partNumber"].parse().unwrap();
                self.uploads.get_mut(&upload()).unwrap().insert(number, request.body.clone());
                plain("200 OK", "")
            }
            "put" => {
                let is_taken = self.objects.contains_key(&request.key);
                if is_taken && request.headers.get("if-none-match").is_some_and(|value| value == "*") {
                    return error("412 Precondition Failed", "PreconditionFailed", "it is there");
                }
                self.objects.insert(request.key.clone(), request.body.clone());
                plain("200 OK", "")
            }
            "begin" => {
                let id = format!("upload-{}", self.requests["begin"]);
                self.uploads.insert(id.clone(), BTreeMap::new());
                let result = "InitiateMultipartUploadResult";
                plain("200 OK", format!("<{result}><UploadId>{id}</UploadId></{result}>"))
            }
            "complete" => {
                let parts = self.uploads.remove(&upload()).unwrap();
                self.objects.insert(request.key.clone(), parts.into_values().flatten().collect());
                let result = "CompleteMultipartUploadResult";
                plain("200 OK", format!("<{result}><ETag>\"tag\"</ETag></{result}>"))
            }
            "abort" => {
                self.uploads.remove(&upload());
                plain("204 No Content", "")
            }
            "delete" => {
                let body = String::from_utf8(request.body.clone()).unwrap();
                let keys = body.split("<Key>").skip(1).filter_map(|rest| Some(rest.split_once("</Key>")?.0));
                let deleted = keys.map(|key| {
                    self.objects.remove(&format!("{}/{key}", request.key.trim_end_matches('/')));
                    format!("<Deleted><Key>{key}</Key></Deleted>")
                });
                let deleted: String = deleted.collect();
                plain("200 OK", format!("<DeleteResult>{deleted}</DeleteResult>"))
            }
            "list" => self.list(request),
            "get" => self.get(request),
            _ => error("501 Not Implemented", "NotImplemented", &request.method),
        }
    }

    fn get(&self, request: &Request) -> Response {
        let Some(bytes) = self.objects.get(&request.key) else {
            return error("404 Not Found", "NoSuchKey", &request.key);
        };
        let modified = ("Last-Modified", "Sun, 01 Nov 2026 00:00:00 GMT".to_owned());
        let Some(range) = request.headers.get("range") else {
            let mut whole = plain("200 OK", bytes.clone());
            whole.headers.extend([modified, ("Content-Length", bytes.len().to_string())]);
            whole.headers.truncate(if request.method == "HEAD" { 3 } else { 2 });
            return whole;
        };
        let (from, to) = range.strip_prefix("bytes=").and_then(|range| range.split_once('-')).unwrap();
        let (from, to): (usize, usize) = (from.parse().unwrap(), to.parse().unwrap());
        if from >= bytes.len() {
            return error("416 Range Not Satisfiable", "InvalidRange", range);
        }
        let end = (to + 1).min(bytes.len());
        let mut part = plain("206 Partial Content", bytes[from..end].to_vec());
        part.headers.extend([modified, ("Content-Range", format!("bytes {from}-{}/{}", end - 1, bytes.len()))]);
        part
    }

    fn list(&self, request: &Request) -> Response {
        let asked = |name: &str| request.query.get(name).cloned().unwrap_or_default();
        let bucket = format!("{}/", request.key.trim_end_matches('/'));
        let (prefix, delimiter, after) = (asked("prefix"), asked("delimiter"), asked("continuation-token"));
        let keys = self.objects.iter().filter_map(|(key, bytes)| Some((key.strip_prefix(&bucket)?, bytes.len())));
        // What has the delimiter after the prefix is one entry with all that begins like it.
        let mut entries = BTreeSet::new();
        for (key, bytes) in keys.filter(|(key, _)| key.starts_with(&prefix)) {
            let rest = &key[prefix.len()..];
            match rest.find(&delimiter).filter(|_| !delimiter.is_empty()) {
                Some(at) => entries.insert((key[..prefix.len() + at + 1].to_owned(), None)),
                None => entries.insert((key.to_owned(), Some(bytes))),
            };
        }
        let left: Vec<_> = entries.into_iter().filter(|(key, _)| *key > after).collect();
        let mut page = String::from("<ListBucketResult>");
        for (key, bytes) in left.iter().take(PAGE) {
            page += &match bytes {
                Some(bytes) => format!(
                    "<Contents><Key>{key}</Key><Size>{bytes}</Size><LastModified>2026-11-01T00:00:00.000Z</LastModified>\
                     <ETag>\"tag\"</ETag></Contents>"
                ),
                None => format!("<CommonPrefixes><Prefix>{key}</Prefix></CommonPrefixes>"),
            };
        }
        if let Some((last, _)) = left.get(PAGE - 1).filter(|_| left.len() > PAGE) {
            page += &format!("<NextContinuationToken>{last}</NextContinuationToken>");
        }
        plain("200 OK", page + "</ListBucketResult>")
    }
}
