//! `crash [--seed N] [--rounds N]`: crash testing by hand.

use anyhow::Result;
use clap::Parser;
use millrace_sqllogictest::crash::{Options, Tally, run};
use std::path::PathBuf;

/// Kill a server at random moments under load, and compare what it shows after each start with what it acknowledged.
#[derive(Parser)]
struct Arguments {
    /// The server's binary
    #[arg(long, default_value = "target/debug/millrace")]
    binary: PathBuf,

    /// Chooses what is done and when the server is killed
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// How many crashes
    #[arg(long, default_value_t = 200)]
    rounds: u64,
}

#[tokio::main]
async fn main() -> Result<()> {
    let Arguments { binary, seed, rounds } = Arguments::parse();
    let options = Options { seed, rounds };
    let progress = |round, tally: &Tally| {
        if round % 20 == 0 {
            println!("round {round}: {tally}");
        }
    };
    let tally = run(&binary, &options, progress).await?;
    println!("{rounds} crashes with seed {seed}: {tally}; nothing lost, doubled or half done");
    Ok(())
}
