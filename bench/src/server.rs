//! A server of one's own: started on a free port over a temporary folder, gone with its data when dropped.

use crate::bench::Bench;
use crate::process::Process;
use anyhow::{Context, Result, bail};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};

/// How long a server may take to accept a client.
const START_MAX: Duration = Duration::from_secs(60);

/// Threads that maintain views, as on the machine that the targets are for.
pub const WORKERS: usize = 2;

/// A running Millrace.
pub struct Server {
    child: Child,
    command: Command,
    folder: TempDir,
    port: u16,
}

impl Server {
    /// Starts a server and waits until it accepts clients.
    pub async fn start(bench: &Bench) -> Result<Server> {
        Server::start_with(bench, &[]).await
    }

    /// As [`Server::start`], with more arguments.
    pub async fn start_with(bench: &Bench, arguments: &[&str]) -> Result<Server> {
        let folder = TempDir::with_prefix_in("millrace-bench-", &bench.folder)?;
        let port = free_port()?;
        let mut command = Command::new(&bench.binary);
        command
            .args(["--listen", &format!("127.0.0.1:{port}"), "--workers", &WORKERS.to_string(), "--log", "warn"])
            .arg("--data-dir")
            .arg(folder.path().join("data"))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let child = spawn(&mut command, folder.path())?;
        let mut server = Server { child, command, folder, port };
        server.wait().await?;
        Ok(server)
    }

    /// Kills the server as a crash would, and starts it again over the same data; answers when that began, as soon as it
    /// accepts clients.
    pub async fn restart(&mut self) -> Result<Instant> {
        end(&mut self.child);
        let begun = Instant::now();
        self.child = spawn(&mut self.command, self.folder.path())?;
        self.wait().await?;
        Ok(begun)
    }

    async fn wait(&mut self) -> Result<()> {
        wait_for_port(&mut self.child, self.port, &self.folder.path().join("log")).await
    }

    /// A session.
    pub async fn connect(&self) -> Result<Client> {
        connect(self.port).await
    }

    pub fn process(&self) -> Process {
        Process(self.child.id())
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where its data is.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

fn spawn(command: &mut Command, folder: &Path) -> Result<Child> {
    let log = std::fs::File::create(folder.join("log"))?;
    let named = command.get_program().to_owned();
    command.stderr(log).spawn().with_context(|| format!("cannot start {}", named.display()))
}

impl Drop for Server {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// A port of the loopback address that nobody listens on.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// A session with whatever serves on the port.
pub async fn connect(port: u16) -> Result<Client> {
    let mut config = Config::new();
    config.host("127.0.0.1").port(port).user("postgres").dbname("postgres");
    let (client, connection) = config.connect(NoTls).await?;
    // Ends with the client.
    tokio::spawn(connection);
    Ok(client)
}

/// Waits until a server that was just started accepts sessions.
pub async fn wait_for_port(child: &mut Child, port: u16, log: &PathBuf) -> Result<()> {
    let begun = Instant::now();
    loop {
        if connect(port).await.is_ok() {
            return Ok(());
        }
        if child.try_wait()?.is_some() || begun.elapsed() > START_MAX {
            bail!("the server did not start:\n{}", std::fs::read_to_string(log).unwrap_or_default());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Ends a server at once: its data is thrown away.
pub fn end(child: &mut Child) {
    // Both fail only when it has ended already.
    let _ = child.kill();
    let _ = child.wait();
}

/// The number in the first column of the first row that a query answers; NULL counts as 0.
pub async fn number(client: &Client, query: &str) -> Result<u64> {
    let messages = client.simple_query(query).await.with_context(|| query.to_owned())?;
    let row = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let row = row.with_context(|| format!("no row: {query}"))?;
    row.get(0).map_or(Ok(0), |text| text.parse().with_context(|| format!("{text:?} of {query}")))
}
