//! Configuration: flags, then `MILLRACE_*` variables, then a TOML file, then defaults. Each setting has one name
//! everywhere: `--data-dir`, `MILLRACE_DATA_DIR`, `data-dir`.

use crate::coordinator::CheckpointPolicy;
use clap::{Parser, Subcommand};
use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use millrace_types::{Result, SqlError, SqlState};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// A streaming SQL database: every view always right, served to any Postgres client.
#[derive(Clone, Debug, Default, Parser, Serialize, Deserialize)]
#[command(name = "millrace", version, about)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Flags {
    #[command(subcommand)]
    #[serde(skip)]
    task: Option<Task>,

    /// Read settings from this TOML file; its keys are the names of these flags.
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    config: Option<PathBuf>,

    /// Address and port for Postgres clients [default: 127.0.0.1:7432]
    #[arg(long, value_name = "ADDRESS:PORT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    listen: Option<String>,

    /// Folder that holds everything durable; it is made if missing [default: ./data]
    #[arg(long, value_name = "FOLDER", global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    data_dir: Option<PathBuf>,

    /// Threads that maintain views [default: the number of processors]
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    workers: Option<usize>,

    /// Threads that run queries [default: the number of processors]
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    query_threads: Option<usize>,

    /// Memory that queries may use, in MiB; a query that needs more fails [default: 1024]
    #[arg(long, value_name = "MIB")]
    #[serde(skip_serializing_if = "Option::is_none")]
    query_memory_mib: Option<usize>,

    /// Memory for the state of views, in MiB; beyond it, what is older goes to disk [default: half of the machine's]
    #[arg(long, value_name = "MIB")]
    #[serde(skip_serializing_if = "Option::is_none")]
    state_memory_mib: Option<usize>,

    /// Seconds between checkpoints while anything is written [default: 60]
    #[arg(long, value_name = "SECONDS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    checkpoint_interval: Option<u64>,

    /// Take a checkpoint when the command log has grown by this much, in MiB [default: 256]
    #[arg(long, value_name = "MIB")]
    #[serde(skip_serializing_if = "Option::is_none")]
    checkpoint_log_mib: Option<u64>,

    /// Copy checkpoints to this object store, as s3://BUCKET/PREFIX; AWS_* variables say how to reach it
    #[arg(long, value_name = "URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    checkpoint_store: Option<String>,

    /// Sessions at the same time [default: 100]
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    max_connections: Option<usize>,

    /// What is logged: a level, or levels by module as in `info,millrace_wire=debug` [default: info]
    #[arg(long, value_name = "FILTER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<String>,

    /// Log lines for people or as JSON [default: text] [possible values: text, json]
    #[arg(long, value_name = "FORMAT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    log_format: Option<LogFormat>,

    /// Accept clients from other machines although nobody is asked for a password
    #[arg(long)]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    trust_network: bool,

    /// Test mode: the clock stands still until ALTER SYSTEM SET CLOCK or ADVANCE CLOCK moves it
    #[arg(long)]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    test_clock: bool,
}

/// What the binary does instead of serving.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Task {
    /// Check the data folder of a server that is not running, and say what is wrong with it
    Verify,
    /// Make a new data folder from a snapshot, or from the checkpoints in an object store
    Restore {
        /// The folder of the snapshot, as data/snapshots/NAME, or a URL, as s3://BUCKET/PREFIX
        #[arg(long, value_name = "FOLDER|URL")]
        from: String,
    },
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    Json,
}

/// The settings in force.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Config {
    pub listen: SocketAddr,
    pub data_dir: PathBuf,
    pub workers: usize,
    pub query_threads: usize,
    pub query_memory_mib: usize,
    pub state_memory_mib: usize,
    pub checkpoint_interval: u64,
    pub checkpoint_log_mib: u64,
    pub checkpoint_store: Option<String>,
    pub max_connections: usize,
    pub log: String,
    pub log_format: LogFormat,
    pub trust_network: bool,
    pub test_clock: bool,
}

impl Default for Config {
    fn default() -> Config {
        let processors = std::thread::available_parallelism().map_or(1, |n| n.get());
        Config {
            listen: SocketAddr::from(([127, 0, 0, 1], 7432)),
            data_dir: PathBuf::from("./data"),
            workers: processors,
            query_threads: processors,
            query_memory_mib: 1024,
            state_memory_mib: (machine_memory() >> 21).max(64),
            checkpoint_interval: 60,
            checkpoint_log_mib: 256,
            checkpoint_store: None,
            max_connections: 100,
            log: "info".to_owned(),
            log_format: LogFormat::Text,
            trust_network: false,
            test_clock: false,
        }
    }
}

impl Config {
    /// The settings that the command line, the environment and the file named by `--config` or `MILLRACE_CONFIG` give, and
    /// what is to be done instead of serving.
    /// Ends the process after `--help` and `--version`.
    ///
    /// # Errors
    /// `F0000` naming the setting that has no sense.
    pub fn load() -> Result<(Config, Option<Task>)> {
        let mut flags = Flags::parse();
        let task = flags.task.take();
        let file = flags.config.clone().or_else(|| std::env::var_os("MILLRACE_CONFIG").map(PathBuf::from));
        let mut figment = Figment::from(Serialized::defaults(Config::default()));
        if let Some(file) = file {
            figment = figment.merge(Toml::file_exact(file));
        }
        let environment =
            Env::prefixed("MILLRACE_").ignore(&["config"]).map(|key| key.as_str().replace('_', "-").into());
        let config: Config =
            figment.merge(environment).merge(Serialized::defaults(flags)).extract().map_err(|error| {
                SqlError::new(SqlState::CONFIG_FILE_ERROR, format!("invalid configuration: {error}"))
            })?;
        config.check()?;
        Ok((config, task))
    }

    /// Bytes that the runs of views' state may take in memory.
    pub fn state_memory(&self) -> usize {
        self.state_memory_mib.saturating_mul(1 << 20)
    }

    /// Bytes of memory at which views are ended: half as much again, and what queries may use, but never all there is.
    pub fn memory_limit(&self) -> usize {
        let wanted = (self.state_memory() / 2 * 3).saturating_add(self.query_memory_mib.saturating_mul(1 << 20));
        wanted.min(machine_memory() / 10 * 9)
    }

    /// When checkpoints are taken by themselves.
    pub fn checkpoint_policy(&self) -> CheckpointPolicy {
        CheckpointPolicy {
            interval: Duration::from_secs(self.checkpoint_interval),
            log_bytes: self.checkpoint_log_mib.saturating_mul(1 << 20),
        }
    }

    fn check(&self) -> Result<()> {
        let invalid = |message: String| Err(SqlError::new(SqlState::CONFIG_FILE_ERROR, message));
        if !(1..=1024).contains(&self.workers) {
            return invalid(format!("workers must be between 1 and 1024, not {}", self.workers));
        }
        if [self.query_threads, self.max_connections, self.query_memory_mib, self.state_memory_mib].contains(&0) {
            let names = "query-threads, query-memory-mib, state-memory-mib and max-connections";
            return invalid(format!("{names} must be at least 1"));
        }
        if self.checkpoint_interval == 0 || self.checkpoint_log_mib == 0 {
            return invalid("checkpoint-interval and checkpoint-log-mib must be at least 1".to_owned());
        }
        if !self.listen.ip().is_loopback() && !self.trust_network {
            let message = format!(
                "refusing to listen on {}: clients of other machines would not be asked for a password",
                self.listen
            );
            return Err(SqlError::new(SqlState::CONFIG_FILE_ERROR, message).with_hint(
                "Listen on 127.0.0.1, or add --trust-network if only trusted machines reach this address.",
            ));
        }
        Ok(())
    }
}

/// Bytes of memory of the machine, or of the group that the process is confined to.
fn machine_memory() -> usize {
    let number = |text: &str| text.trim().parse::<usize>().ok();
    let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|facts| {
        let line = facts.lines().find_map(|line| line.strip_prefix("MemTotal:")?.strip_suffix("kB"))?;
        number(line)?.checked_mul(1024)
    });
    let group = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|limit| number(&limit));
    machine.into_iter().chain(group).min().unwrap_or(4 << 30)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_open_without_being_asked_for() {
        let open = Config { listen: SocketAddr::from(([0, 0, 0, 0], 7432)), ..Config::default() };
        assert!(open.check().is_err());
        assert!(Config { trust_network: true, ..open }.check().is_ok());
        assert!(Config::default().check().is_ok());
    }

    #[test]
    fn every_flag_is_a_setting_of_the_same_name() {
        let flags = Flags::parse_from(["millrace", "--listen", "127.0.0.1:1", "--data-dir", "d", "--workers", "3"]);
        let config: Config = Figment::from(Serialized::defaults(Config::default()))
            .merge(Serialized::defaults(flags))
            .extract()
            .unwrap();
        assert_eq!((config.listen.port(), config.workers, config.data_dir), (1, 3, PathBuf::from("d")));
        assert_eq!(config.max_connections, 100);
    }
}
