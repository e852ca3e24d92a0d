//! A client that sends bytes and reads messages, without opinions about either.

use super::toy::Server;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

pub struct Client {
    reader: Reader,
    writer: Writer,
    pub process_id: i32,
    pub secret: i32,
}

pub struct Reader(BufReader<OwnedReadHalf>);
pub struct Writer(OwnedWriteHalf);

#[derive(Debug, Default)]
pub struct Error {
    pub severity: String,
    pub state: String,
    pub message: String,
    pub detail: String,
    pub hint: String,
    pub position: String,
}

/// A socket that has sent nothing.
pub async fn connect(server: &Server) -> Client {
    let stream = TcpStream::connect(("127.0.0.1", server.port)).await.expect("the server listens");
    let (reader, writer) = stream.into_split();
    Client { reader: Reader(BufReader::new(reader)), writer: Writer(writer), process_id: 0, secret: 0 }
}

/// A startup packet.
pub fn startup(version: u32, parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut body = version.to_be_bytes().to_vec();
    for (name, value) in parameters {
        body.extend_from_slice(format!("{name}\0{value}\0").as_bytes());
    }
    body.push(0);
    [&(body.len() as u32 + 4).to_be_bytes()[..], &body].concat()
}

/// A cancel request on a connection of its own, which the server closes without an answer.
pub async fn cancel(server: &Server, process_id: i32, secret: i32) {
    let mut client = connect(server).await;
    let words = [16, 80_877_102, process_id, secret];
    client.send_raw(&words.map(i32::to_be_bytes).concat()).await;
    client.is_closed_within(Duration::from_secs(2)).await;
}

impl Writer {
    pub async fn send(&mut self, kind: u8, body: &[u8]) {
        let length = (body.len() as u32 + 4).to_be_bytes();
        self.0.write_all(&[&[kind][..], &length, body].concat()).await.expect("the server reads");
    }

    pub async fn bind(&mut self, portal: &str, statement: &str, values: &[Option<&[u8]>]) {
        let mut body = format!("{portal}\0{statement}\0\0\0").into_bytes();
        body.extend_from_slice(&(values.len() as u16).to_be_bytes());
        for value in values {
            body.extend_from_slice(&value.map_or(-1, |value| value.len() as i32).to_be_bytes());
            body.extend_from_slice(value.unwrap_or_default());
        }
        body.extend_from_slice(&[0, 0]);
        self.send(b'B', &body).await;
    }

    pub async fn execute(&mut self, portal: &str, limit: i32) {
        self.send(b'E', &[portal.as_bytes(), b"\0", &limit.to_be_bytes()].concat()).await;
    }

    pub async fn sync(&mut self) {
        self.send(b'S', b"").await;
    }
}

impl Reader {
    /// The next message.
    pub async fn receive(&mut self) -> (u8, Vec<u8>) {
        timeout(Duration::from_secs(5), self.message()).await.expect("an answer in time").expect("an open connection")
    }

    async fn message(&mut self) -> std::io::Result<(u8, Vec<u8>)> {
        let kind = self.0.read_u8().await?;
        let length = self.0.read_u32().await?;
        let mut body = vec![0; length as usize - 4];
        self.0.read_exact(&mut body).await?;
        Ok((kind, body))
    }
}

impl Client {
    pub async fn login(server: &Server) -> Client {
        let mut client = connect(server).await;
        client.send_raw(&startup(3 << 16, &[("user", "me"), ("database", "test")])).await;
        client.ready().await;
        client
    }

    pub fn split(self) -> (Reader, Writer) {
        (self.reader, self.writer)
    }

    pub async fn send_raw(&mut self, bytes: &[u8]) {
        // The server may have closed the connection over what it got before.
        let _ = self.writer.0.write_all(bytes).await;
    }

    pub async fn send(&mut self, kind: u8, body: &[u8]) {
        self.writer.send(kind, body).await;
    }

    pub async fn parse(&mut self, name: &str, text: &str, oids: &[u32]) {
        let mut body = format!("{name}\0{text}\0").into_bytes();
        body.extend_from_slice(&(oids.len() as u16).to_be_bytes());
        oids.iter().for_each(|oid| body.extend_from_slice(&oid.to_be_bytes()));
        self.send(b'P', &body).await;
    }

    pub async fn bind(&mut self, portal: &str, statement: &str, values: &[Option<&[u8]>]) {
        self.writer.bind(portal, statement, values).await;
    }

    pub async fn execute(&mut self, portal: &str, limit: i32) {
        self.writer.execute(portal, limit).await;
    }

    pub async fn sync(&mut self) {
        self.writer.sync().await;
    }

    pub async fn describe(&mut self, kind: u8, name: &str) {
        self.send(b'D', &[&[kind][..], name.as_bytes(), b"\0"].concat()).await;
    }

    pub async fn close(&mut self, kind: u8, name: &str) {
        self.send(b'C', &[&[kind][..], name.as_bytes(), b"\0"].concat()).await;
    }

    pub async fn receive(&mut self) -> (u8, Vec<u8>) {
        self.reader.receive().await
    }

    pub async fn receive_byte(&mut self) -> u8 {
        timeout(Duration::from_secs(5), self.reader.0.read_u8()).await.expect("an answer in time").expect("a byte")
    }

    /// Reads up to the next ReadyForQuery, keeping the key for cancelling if it comes by.
    pub async fn ready(&mut self) {
        loop {
            match self.receive().await {
                (b'K', key) => {
                    let word = |at: usize| i32::from_be_bytes(key[at..at + 4].try_into().unwrap());
                    (self.process_id, self.secret) = (word(0), word(4));
                }
                (b'Z', _) => return,
                _ => {}
            }
        }
    }

    /// The next message, which must be an error.
    pub async fn error(&mut self) -> Error {
        let (kind, body) = self.receive().await;
        assert_eq!(kind as char, 'E', "{:?}", String::from_utf8_lossy(&body));
        error(&body)
    }

    /// The error after all rows before it.
    pub async fn error_after_rows(&mut self) -> Error {
        loop {
            let (kind, body) = self.receive().await;
            match kind {
                b'E' => return error(&body),
                kind => assert!(matches!(kind, b'T' | b'D' | b'G'), "{}", kind as char),
            }
        }
    }

    /// A simple query and its answer.
    pub async fn query(&mut self, text: &str) -> String {
        self.send(b'Q', &[text.as_bytes(), b"\0"].concat()).await;
        self.answer().await
    }

    /// The messages up to ReadyForQuery: their type bytes, with what matters of some in parentheses.
    pub async fn answer(&mut self) -> String {
        let mut words = Vec::new();
        loop {
            let (kind, body) = self.receive().await;
            let text = || String::from_utf8_lossy(&body).trim_end_matches('\0').replace('\0', " ");
            words.push(match kind {
                b'C' | b'S' => format!("{}({})", kind as char, text()),
                b'E' => format!("E({})", error(&body).state),
                b'Z' => format!("Z({})", text()),
                kind => (kind as char).to_string(),
            });
            if kind == b'Z' {
                return words.join(" ");
            }
        }
    }

    /// Waits for the end of the connection, past whatever is still sent.
    pub async fn is_closed_within(&mut self, time: Duration) {
        let mut rest = Vec::new();
        // A reset is an end, too.
        let _ = timeout(time, self.reader.0.read_to_end(&mut rest)).await.expect("the connection ends in time");
    }

    pub async fn half_close(&mut self) {
        self.writer.0.shutdown().await.expect("a connected socket");
    }

    /// Ends the connection by a reset.
    pub fn reset(self) {
        let stream = self.reader.0.into_inner().reunite(self.writer.0).expect("two halves");
        stream.set_zero_linger().expect("a connected socket");
    }
}

fn error(body: &[u8]) -> Error {
    let mut error = Error::default();
    for field in body.split(|&b| b == 0).filter(|field| !field.is_empty()) {
        let text = String::from_utf8_lossy(&field[1..]).into_owned();
        match field[0] {
            b'S' => error.severity = text,
            b'C' => error.state = text,
            b'M' => error.message = text,
            b'D' => error.detail = text,
            b'H' => error.hint = text,
            b'P' => error.position = text,
            _ => {}
        }
    }
    error
}
