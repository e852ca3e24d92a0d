//! `random [--seed N] [--rounds N] [--postgres PARAMETERS]`: random testing by hand.

use anyhow::Result;
use clap::Parser;
use millrace_sqllogictest::random::{Options, Tally, run};
use millrace_sqllogictest::{Client, Postgres, Server, postgres_programs};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

/// Compare random views with their queries, and with PostgreSQL, while random changes are made.
#[derive(Parser)]
struct Arguments {
    /// The server's binary
    #[arg(long, default_value = "target/debug/millrace")]
    binary: PathBuf,

    /// The seed of the first round
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// How many rounds, each with the seed after that of the one before
    #[arg(long, default_value_t = 100)]
    rounds: u64,

    /// Views in a round
    #[arg(long, default_value_t = 8)]
    views: usize,

    /// Changes in a round
    #[arg(long, default_value_t = 24)]
    changes: usize,

    /// A PostgreSQL to compare with, such as "host=127.0.0.1 port=5432 user=postgres" [default: one of its own, if
    /// PostgreSQL is installed]
    #[arg(long)]
    postgres: Option<String>,
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let Arguments { binary, seed, rounds, views, changes, postgres } = Arguments::parse();
    let server = Server::start(&binary)?;
    let own = match (&postgres, postgres_programs()) {
        (None, Some(programs)) => Some(Postgres::start(&programs, &std::env::temp_dir())?),
        _ => None,
    };
    let postgres = match &own {
        Some(own) => Some(Client::of_postgres(own)),
        None => postgres.map(Client::with_parameters),
    };
    let options = Options { seed, rounds, views, changes };
    let (begun, mut told) = (Instant::now(), 0);
    let progress = |seed: u64, tally: &Tally| {
        for failure in &tally.failures[told..] {
            println!("FAILED {failure}\n");
        }
        told = tally.failures.len();
        let Tally { views, statements, comparisons, .. } = tally;
        let seconds = begun.elapsed().as_secs();
        eprintln!(
            "seed {seed}: {views} views, {statements} statements, {comparisons} comparisons, {told} failures, {seconds} s"
        );
    };
    let tally = run(Client::new(server.address()), postgres, &options, progress).await;
    let tally = tally.map_err(|error| error.context(server.log()))?;
    for (reason, times) in &tally.refused {
        println!("refused {times} times: {reason}");
    }
    println!(
        "{rounds} rounds, {} views kept, {} statements, {} comparisons, {} queries not valid, {} refused, {} failures",
        tally.views,
        tally.statements,
        tally.comparisons,
        tally.invalid,
        tally.refused.values().sum::<usize>(),
        tally.failures.len()
    );
    Ok(if tally.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
