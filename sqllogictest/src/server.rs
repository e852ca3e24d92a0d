//! A server of our own for a suite: started on a free port over a temporary folder, killed and started again at will.

use anyhow::{Context, Result, bail};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a start may take, recovery included.
const START: Duration = Duration::from_secs(60);

/// A running server, which ends with this value.
pub struct Server {
    binary: PathBuf,
    arguments: Vec<&'static str>,
    folder: TempDir,
    address: SocketAddr,
    process: Child,
}

impl Server {
    /// Starts `binary` over a new folder, with a clock that statements move.
    pub fn start(binary: &Path) -> Result<Server> {
        Server::start_with(binary, vec!["--test-clock"])
    }

    /// As [`Server::start`], with these arguments.
    pub fn start_with(binary: &Path, arguments: Vec<&'static str>) -> Result<Server> {
        // The server runs in its folder, where a relative path would mean something else.
        let binary = binary.canonicalize().with_context(|| format!("there is no {}", binary.display()))?;
        let folder = tempfile::tempdir()?;
        let address = free_address()?;
        let process = spawn(&binary, &arguments, folder.path(), address)?;
        let mut server = Server { binary, arguments, folder, address, process };
        server.wait_until_ready()?;
        Ok(server)
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Kills the server as a crash would, and starts it again over the same folder.
    pub fn restart(&mut self) -> Result<()> {
        self.kill()?;
        self.begin_start()?;
        self.wait_until_ready()
    }

    /// Kills the server as a crash would.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }

    /// Starts the server over the same folder without waiting for it.
    pub fn begin_start(&mut self) -> Result<()> {
        self.process = spawn(&self.binary, &self.arguments, self.folder.path(), self.address)?;
        Ok(())
    }

    /// The folder that the server runs in; its data are in `data` there.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let folder = self.folder.path();
        wait_for(&mut self.process, self.address, || std::fs::read_to_string(log_file(folder)).unwrap_or_default())
    }

    /// What the server has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(log_file(self.folder.path())).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn spawn(binary: &Path, arguments: &[&str], folder: &Path, address: SocketAddr) -> Result<Child> {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(log_file(folder))?;
    Command::new(binary)
        .args(["--listen", &address.to_string(), "--workers", "2", "--data-dir"])
        .arg(folder.join("data"))
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .with_context(|| format!("cannot start {}", binary.display()))
}

fn log_file(folder: &Path) -> PathBuf {
    folder.join("server.log")
}

/// Waits until a process listens at an address.
pub(crate) fn wait_for(process: &mut Child, address: SocketAddr, log: impl Fn() -> String) -> Result<()> {
    let begun = Instant::now();
    while std::net::TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_err() {
        if let Some(status) = process.try_wait()? {
            bail!("the server ended with {status}; its log: {}", log());
        }
        if begun.elapsed() > START {
            bail!("the server did not listen within {START:?}; its log: {}", log());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// An address on loopback that nobody listens at.
pub(crate) fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
