//! `sqllogictest [--mode MODE ...] SUITE ...`: runs suites by hand.

use anyhow::{Result, bail};
use clap::Parser;
use millrace_sqllogictest::{Mode, run};
use std::path::PathBuf;

/// Run sqllogictest suites against a server of their own, in several modes.
#[derive(Parser)]
struct Arguments {
    /// The server's binary
    #[arg(long, default_value = "target/debug/millrace")]
    binary: PathBuf,

    /// Modes to run in [default: all]
    #[arg(long, value_enum)]
    mode: Vec<Mode>,

    /// Suite files
    #[arg(required = true)]
    suites: Vec<PathBuf>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let modes = if arguments.mode.is_empty() { Mode::ALL.to_vec() } else { arguments.mode };
    let mut failed = 0;
    for suite in &arguments.suites {
        for mode in &modes {
            match run(&arguments.binary, suite, *mode).await {
                Ok(outcome) => println!(
                    "ok     {} {}: {} records, {} maintained, {} refused",
                    suite.display(),
                    mode.label(),
                    outcome.records,
                    outcome.maintained,
                    outcome.refused
                ),
                Err(error) => {
                    failed += 1;
                    println!("FAILED {error:#}");
                }
            }
        }
    }
    if failed > 0 { bail!("{failed} runs failed") } else { Ok(()) }
}
