//! `simulate [--seed N] [--seeds COUNT]`: simulations by hand.

use anyhow::Result;
use clap::{Parser, Subcommand};
use millrace_simulation::{Life, Options, live, run};
use std::path::PathBuf;
use std::process::ExitCode;

/// Run the whole server on a simulated disk that loses power, and compare what it holds with what it acknowledged.
#[derive(Parser)]
struct Arguments {
    /// Decides every statement and where the power goes
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// How many seeds, from that one on
    #[arg(long, default_value_t = 1)]
    seeds: u64,

    /// How often the server is started with each
    #[arg(long, default_value_t = 5)]
    lives: u64,

    /// Statements in each life
    #[arg(long, default_value_t = 60)]
    statements: u64,

    /// With files that a source reads while they grow, and files that sinks write
    #[arg(long)]
    outside: bool,

    /// Print the history
    #[arg(long)]
    history: bool,

    #[command(subcommand)]
    part: Option<Part>,
}

#[derive(Subcommand)]
enum Part {
    /// One life of the server; what runs a seed starts it
    #[command(hide = true)]
    Life {
        #[arg(long)]
        folder: PathBuf,
        #[arg(long)]
        seed: u64,
        #[arg(long)]
        life: u64,
        #[arg(long)]
        statements: u64,
        #[arg(long)]
        outside: bool,
    },
}

fn main() -> Result<ExitCode> {
    let Arguments { seed, seeds, lives, statements, outside, history, part } = Arguments::parse();
    if let Some(Part::Life { folder, seed, life, statements, outside }) = part {
        return live(Life { folder, seed, number: life, statements, outside }).map(|()| ExitCode::SUCCESS);
    }
    let (binary, mut crashes) = (std::env::current_exe()?, 0);
    for seed in seed..seed + seeds {
        let tally = run(&binary, Options { seed, lives, statements, outside })?;
        crashes += tally.crashes;
        if history {
            tally.history.iter().for_each(|line| println!("{line}"));
        }
        if (seed + 1) % 20 == 0 {
            println!("seed {seed}: {crashes} losses of power");
        }
    }
    println!("{seeds} seeds of {lives} lives, {crashes} losses of power: nothing lost, doubled or half done");
    Ok(ExitCode::SUCCESS)
}
