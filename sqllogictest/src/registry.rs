//! A stand-in for a schema registry, for tests: the part of Confluent's REST interface that is asked of one.

use anyhow::Result;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A registry on a free port, for as long as the process lives.
pub struct Registry {
    port: u16,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// Subject and schema; the id of each is its place, counted from 1.
    schemas: Mutex<Vec<(String, Value)>>,
    away: AtomicBool,
}

impl Registry {
    /// One without schemas.
    pub fn start() -> Result<Registry> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let (port, state) = (listener.local_addr()?.port(), Arc::<State>::default());
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that goes away is not waited for.
                let _ = shared.serve(stream);
            }
        });
        Ok(Registry { port, state })
    }

    /// Where clients find it.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Adds a schema to a subject; answers its id.
    pub fn add(&self, subject: &str, schema: Value) -> u32 {
        self.state.add(subject, schema)
    }

    /// The schemas of a subject, oldest first.
    pub fn of(&self, subject: &str) -> Vec<Value> {
        self.state.of(subject).into_iter().map(|(_, schema)| schema).collect()
    }

    /// Lets it refuse every question, or answer again.
    pub fn set_away(&self, away: bool) {
        self.state.away.store(away, Ordering::SeqCst);
    }
}

impl State {
    fn add(&self, subject: &str, schema: Value) -> u32 {
        let mut schemas = self.schemas.lock().unwrap_or_else(PoisonError::into_inner);
        let new = (subject.to_owned(), schema);
        let place = schemas.iter().position(|known| *known == new).unwrap_or_else(|| {
            schemas.push(new);
            schemas.len() - 1
        });
        place as u32 + 1
    }

    fn of(&self, subject: &str) -> Vec<(u32, Value)> {
        let schemas = self.schemas.lock().unwrap_or_else(PoisonError::into_inner);
        let all = (1..).zip(schemas.iter()).filter(|(_, (of, _))| of == subject);
        all.map(|(id, (_, schema))| (id, schema.clone())).collect()
    }

    fn serve(&self, stream: TcpStream) -> Result<()> {
        let mut reader = BufReader::new(stream);
        let (mut first, mut length) = (String::new(), 0);
        reader.read_line(&mut first)?;
        loop {
            let mut header = String::new();
            reader.read_line(&mut header)?;
            match header.trim_end().split_once(':') {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => length = value.trim().parse()?,
                Some(_) => {}
                None => break,
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let path = first.split(' ').nth(1).unwrap_or_default();
        let (status, answer) = match self.away.load(Ordering::SeqCst) {
            true => (503, json!({ "error_code": 50301, "message": "the registry is away" })),
            false => self.answer(path, serde_json::from_slice(&body).ok()),
        };
        let answer = answer.to_string();
        let head = format!("HTTP/1.1 {status} x\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", answer.len());
        Ok(reader.into_inner().write_all((head + &answer).as_bytes())?)
    }

    fn answer(&self, path: &str, body: Option<Value>) -> (u16, Value) {
        let missing = (404, json!({ "error_code": 40403, "message": "there is no such schema" }));
        let parts: Vec<_> = path.trim_start_matches('/').split('/').collect();
        match (&parts[..], body) {
            (["schemas", "ids", id], None) => {
                let schemas = self.schemas.lock().unwrap_or_else(PoisonError::into_inner);
                let place = id.parse::<usize>().unwrap_or_default().wrapping_sub(1);
                schemas.get(place).map_or(missing, |(_, schema)| (200, schema.clone()))
            }
            (["subjects", subject, "versions"], Some(schema)) => (200, json!({ "id": self.add(subject, schema) })),
            (["subjects", subject, "versions", version], None) => {
                let all = self.of(subject);
                let place = version.parse::<usize>().map_or(all.len(), |version| version).wrapping_sub(1);
                all.get(place).map_or(missing, |(id, schema)| {
                    let mut answer = schema.clone();
                    answer["id"] = (*id).into();
                    (200, answer)
                })
            }
            _ => missing,
        }
    }
}
