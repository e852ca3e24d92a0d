//! A real PostgreSQL to compare with, on a port of its own over a temporary folder, as its packages configure it.

use crate::server::{free_address, wait_for};
use anyhow::{Context, Result, ensure};
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// A running PostgreSQL with the user and database `postgres`, which ends with this value.
pub struct Postgres {
    process: Child,
    address: SocketAddr,
    _folder: TempDir,
}

impl Postgres {
    /// Starts one with the programs in a folder, over a folder inside `under`.
    ///
    /// # Errors
    /// When it does not start; with its log.
    pub fn start(programs: &Path, under: &Path) -> Result<Postgres> {
        let folder = TempDir::with_prefix_in("postgres-", under)?;
        let (data, log) = (folder.path().join("data"), folder.path().join("log"));
        let user = unprivileged()?;
        if let Some((user, group)) = user {
            chown(folder.path(), Some(user), Some(group))?;
        }
        let command = |program: &str| {
            let mut command = Command::new(programs.join(program));
            command.arg("-D").arg(&data).current_dir(folder.path()).stdin(Stdio::null()).stdout(Stdio::null());
            if let Some((user, group)) = user {
                command.uid(user).gid(group);
            }
            command
        };
        let options = ["-A", "trust", "-U", "postgres", "--no-sync", "--locale=C", "-E", "UTF8"];
        let made = command("initdb").args(options).output()?;
        ensure!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let address = free_address()?;
        let process = command("postgres")
            .args(["-h", "127.0.0.1", "-p", &address.port().to_string(), "-k"])
            .arg(folder.path())
            .stderr(std::fs::File::create(&log)?)
            .spawn()?;
        let mut postgres = Postgres { process, address, _folder: folder };
        wait_for(&mut postgres.process, address, || std::fs::read_to_string(&log).unwrap_or_default())?;
        // It listens before it takes connections.
        let port = address.port().to_string();
        let ready = || Command::new(programs.join("pg_isready")).args(["-q", "-h", "127.0.0.1", "-p", &port]).status();
        while !ready()?.success() {
            ensure!(postgres.process.try_wait()?.is_none(), "PostgreSQL ended: {}", std::fs::read_to_string(&log)?);
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(postgres)
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Told so, it gives back its shared memory, which outlives a process that is killed.
        let told = Command::new("kill").args(["-QUIT", &self.process.id().to_string()]).status();
        if !told.is_ok_and(|told| told.success()) {
            // It may have ended by itself.
            let _ = self.process.kill();
        }
        let _ = self.process.wait();
    }
}

/// The folder with PostgreSQL's programs of the newest version that is installed.
pub fn postgres_programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
    let version = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    let newest =
        versions.map(|entry| entry.path()).filter(|path| version(path).is_some()).max_by_key(|path| version(path))?;
    let programs = newest.join("bin");
    ["initdb", "postgres"].iter().all(|program| programs.join(program).exists()).then_some(programs)
}

/// The user and group that it must run as, since it refuses to run as root; `None` when this is not root.
fn unprivileged() -> Result<Option<(u32, u32)>> {
    if std::fs::metadata("/proc/self")?.uid() != 0 {
        return Ok(None);
    }
    let users = std::fs::read_to_string("/etc/passwd")?;
    let nobody = users.lines().find_map(|line| line.strip_prefix("nobody:")).context("there is no user nobody")?;
    let mut ids = nobody.split(':').skip(1).map_while(|id| id.parse().ok());
    Ok(Some(ids.next().zip(ids.next()).context("the user nobody has no number")?))
}
