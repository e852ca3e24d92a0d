//! What all scenarios share: the server's binary, the size of the inputs, and the input files.

use anyhow::{Context, Result, ensure};
use millrace_connectors::nexmark::{Table, write_json};
use std::fs::File;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// How and over what to measure.
pub struct Bench {
    /// The server.
    pub binary: PathBuf,
    /// Smaller inputs, for a first impression.
    pub quick: bool,
    /// Only the queries whose names start so.
    pub query: Option<String>,
    /// Where the folders of the servers are made.
    pub folder: PathBuf,
    inputs: TempDir,
}

impl Bench {
    /// # Errors
    /// If there is no such binary, or no place for files.
    pub fn new(binary: &Path, folder: Option<&Path>, quick: bool, query: Option<String>) -> Result<Bench> {
        ensure!(binary.is_file(), "there is no server at {}: build it with make build", binary.display());
        let folder = folder.map_or_else(std::env::temp_dir, Path::to_path_buf);
        let inputs = TempDir::with_prefix_in("millrace-bench-", &folder)
            .with_context(|| format!("cannot make a folder in {}", folder.display()))?;
        Ok(Bench { binary: binary.to_owned(), quick, query, folder, inputs })
    }

    /// `full`, or `quick` when little is to be measured.
    pub fn size(&self, full: u64, quick: u64) -> u64 {
        if self.quick { quick } else { full }
    }

    /// Whether a query is to be measured.
    pub fn wants(&self, name: &str) -> bool {
        self.query.as_ref().is_none_or(|start| name.starts_with(start.as_str()))
    }

    /// The JSON lines of one Nexmark table among the first `events` events; written when first asked for.
    pub fn nexmark_file(&self, table: Table, events: u64) -> Result<PathBuf> {
        let path = self.inputs.path().join(format!("{table:?}-{events}.jsonl").to_lowercase());
        if !path.exists() {
            write_json(table, events, &path)?;
            // What is still to be written would compete with what is measured.
            File::open(&path)?.sync_all()?;
        }
        Ok(path)
    }
}
