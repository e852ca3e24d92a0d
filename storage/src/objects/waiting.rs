//! The threads that talk to object stores, for callers that block, and what their errors become.

use std::error::Error;
use std::io::{self, ErrorKind};
use std::sync::OnceLock;
use tokio::runtime::{Builder, Runtime};

/// What a request comes to.
pub type Answer<T> = Result<T, Failed>;

/// Why a request failed.
pub enum Failed {
    Store(object_store::Error),
    Io(io::Error),
}

impl From<object_store::Error> for Failed {
    fn from(error: object_store::Error) -> Failed {
        Failed::Store(error)
    }
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Failed {
        Failed::Io(error)
    }
}

impl From<Failed> for io::Error {
    fn from(failed: Failed) -> io::Error {
        match failed {
            Failed::Store(error) => told(error),
            Failed::Io(error) => error,
        }
    }
}

static THREADS: OnceLock<Runtime> = OnceLock::new();

fn threads() -> io::Result<&'static Runtime> {
    match THREADS.get() {
        Some(threads) => Ok(threads),
        None => {
            let threads = Builder::new_multi_thread().worker_threads(2).thread_name("objects").enable_all().build()?;
            Ok(THREADS.get_or_init(|| threads))
        }
    }
}

/// Waits for a request. For threads that may block.
pub fn wait<T>(request: impl Future<Output = Answer<T>>) -> io::Result<T> {
    threads()?.block_on(request).map_err(Into::into)
}

/// A store's error as the local disk would tell it.
pub fn told(error: object_store::Error) -> io::Error {
    use object_store::Error::*;
    let kind = match &error {
        NotFound { .. } => ErrorKind::NotFound,
        AlreadyExists { .. } => ErrorKind::AlreadyExists,
        PermissionDenied { .. } | Unauthenticated { .. } => ErrorKind::PermissionDenied,
        NotImplemented { .. } | NotSupported { .. } => ErrorKind::Unsupported,
        _ => ErrorKind::Other,
    };
    io::Error::new(kind, message(&error))
}

/// What is in the environment and in no message: answers of stores repeat parts of what they were asked.
const SECRETS: [&str; 4] =
    ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_CONTAINER_AUTHORIZATION_TOKEN"];
/// Characters of a message: answers of stores are pages.
const LONGEST: usize = 400;

/// An error with what caused it, in a line, without secrets.
pub fn message(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    in_a_line(&text, SECRETS.iter().filter_map(|name| std::env::var(name).ok()))
}

fn in_a_line(text: &str, secrets: impl Iterator<Item = String>) -> String {
    let secrets = secrets.filter(|secret| !secret.is_empty());
    let text = secrets.fold(text.to_owned(), |text, secret| text.replace(&secret, "***"));
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_a_line_without_secrets() {
        let page = format!("denied\n  <Key>AKIA1</Key> {}", "x".repeat(1000));
        let told = in_a_line(&page, ["AKIA1".to_owned(), String::new()].into_iter());
        assert!(told.starts_with("denied <Key>***</Key> xxx"), "{told}");
        assert!(told.len() < 500 && told.ends_with("..."));
    }
}
