//! The lives of one seed, one after the other.

use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

/// A life that ended because the power went.
pub(crate) const POWER_LOST: i32 = 9;

/// What is run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Decides everything.
    pub seed: u64,
    /// How often the server is started.
    pub lives: u64,
    /// Statements in one life, if the power does not go before.
    pub statements: u64,
    /// Whether there are sources and sinks.
    pub outside: bool,
}

/// What a seed has gone through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Every statement and what it gave, in order.
    pub history: Vec<String>,
    /// Lives that ended in the middle of something.
    pub crashes: u64,
}

/// Runs a seed with `binary`, which is `simulate`.
///
/// # Errors
/// What the database held and should not have, with the history until then.
pub fn run(binary: &Path, options: Options) -> Result<Tally> {
    let folder = tempfile::tempdir()?;
    let mut tally = Tally::default();
    for life in 0..options.lives {
        let mut command = Command::new(binary);
        command.arg("life").arg("--folder").arg(folder.path());
        for (name, value) in [("--seed", options.seed), ("--life", life), ("--statements", options.statements)] {
            command.arg(name).arg(value.to_string());
        }
        command.args(options.outside.then_some("--outside"));
        let mut child = command.stdout(Stdio::piped()).spawn().context("starting a life")?;
        tally.history.push(format!("-- life {life}"));
        for line in child.stdout.take().into_iter().flat_map(|output| BufReader::new(output).lines()) {
            tally.history.push(line?);
        }
        match child.wait()?.code() {
            Some(0) => {}
            Some(POWER_LOST) => tally.crashes += 1,
            ended => {
                let history = tally.history.join("\n");
                let how = ended.map_or("by a signal".to_owned(), |code| format!("with {code}"));
                bail!("seed {}: life {life} ended {how}; the history:\n{history}", options.seed);
            }
        }
    }
    Ok(tally)
}
