//! The binary as a child process.

use std::io::Read;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};
use tokio_postgres::{Client, NoTls};

/// How long a start, an end or a refusal may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The binary, with none of the settings that the tests run with.
pub fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("MILLRACE_")) {
        command.env_remove(name);
    }
    command
}

/// A port that nobody listens on now.
pub fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// Runs a command that is to end by itself.
pub fn wait(command: &mut Command) -> Output {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.expect("the binary starts");
    let status = end_of(&mut child);
    let (mut stdout, mut stderr) = (vec![], vec![]);
    child.stdout.take().unwrap().read_to_end(&mut stdout).unwrap();
    child.stderr.take().unwrap().read_to_end(&mut stderr).unwrap();
    Output { status, stdout, stderr }
}

fn end_of(child: &mut Child) -> ExitStatus {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if begun.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("the server did not end");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A running server, killed when dropped.
pub struct Process {
    child: Child,
    log: tempfile::NamedTempFile,
    pub port: u16,
}

impl Process {
    /// A server with its data in a folder.
    pub fn on(folder: &Path, port: u16) -> Process {
        let mut command = binary();
        command.args(["--workers", "2", "--listen", &format!("127.0.0.1:{port}"), "--data-dir"]).arg(folder);
        Process::start(command, port)
    }

    /// A server that listens on this port by its own settings.
    pub fn start(mut command: Command, port: u16) -> Process {
        let log = tempfile::NamedTempFile::new().unwrap();
        let child = command.stdin(Stdio::null()).stderr(log.reopen().unwrap()).spawn();
        Process { child: child.expect("the binary starts"), log, port }
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log.path()).unwrap()
    }

    /// A new session, as soon as the server takes one.
    pub async fn client(&self) -> Client {
        let settings = format!("host=127.0.0.1 port={} user=test connect_timeout=5", self.port);
        let begun = Instant::now();
        loop {
            match tokio_postgres::connect(&settings, NoTls).await {
                Ok((client, connection)) => {
                    tokio::spawn(connection);
                    return client;
                }
                Err(error) if begun.elapsed() > PATIENCE => panic!("{error}; the log: {}", self.log()),
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// Ends it as an operator does.
    pub fn terminate(&mut self) -> ExitStatus {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        end_of(&mut self.child)
    }

    /// Ends it as a crash does.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended before.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
