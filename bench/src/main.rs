//! `make bench`: measures a release server from outside, as a client of the Postgres protocol and a reader of `/proc`,
//! prints a table and stores it.
//!
//! ```text
//!   scenario (nexmark, kafka, groups, latency, lookups, memory) -> figures -> median of the runs -> report
//!      |
//!      +-- server: started on a free port over a temporary folder, for each measurement anew
//!      +-- pipeline: sources, one job, and what it cost until it had read everything
//!      +-- postgres: a real one to compare with, when it is installed
//! ```
//!
//! To add a measurement: a function from [`Bench`] to figures, and an entry in [`SCENARIOS`].

mod bench;
mod changes;
mod durability;
mod groups;
mod idle_views;
mod kafka;
mod latency;
mod lookups;
mod memory;
mod nexmark;
mod pipeline;
mod process;
mod report;
mod server;
mod windows;

use anyhow::Result;
use bench::Bench;
use clap::Parser;
use report::{Figure, Report};
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::ExitCode;

/// Measures a Millrace server.
#[derive(Parser)]
#[command(name = "bench", version, about)]
struct Flags {
    /// The server to measure
    #[arg(long, value_name = "PATH", default_value = "target/release/millrace")]
    binary: PathBuf,
    /// One run over smaller inputs
    #[arg(long)]
    quick: bool,
    /// How often everything is measured; the medians are reported [default: 3, or 1 with --quick]
    #[arg(long, value_name = "N")]
    runs: Option<usize>,
    /// Only these scenarios, by name; may be repeated
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Only the Nexmark queries whose names start so, as in `--query q15`
    #[arg(long, value_name = "NAME")]
    query: Option<String>,
    /// Folder for input files and the servers' data, which are removed afterwards [default: that for temporary files]
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
    /// File that the figures are stored in
    #[arg(long, value_name = "PATH", default_value = "bench/results/latest.json")]
    output: PathBuf,
}

type Measured<'a> = Pin<Box<dyn Future<Output = Result<Vec<Figure>>> + 'a>>;
type Scenario = for<'a> fn(&'a Bench) -> Measured<'a>;

/// All scenarios, in the order of the report.
const SCENARIOS: &[(&str, Scenario)] = &[
    ("nexmark-files", |bench| Box::pin(nexmark::from_files(bench))),
    ("nexmark-state", |bench| Box::pin(nexmark::stateful_from_files(bench))),
    ("nexmark-windows", |bench| Box::pin(nexmark::windows_from_files(bench))),
    ("nexmark-generator", |bench| Box::pin(nexmark::from_generator(bench))),
    ("groups", |bench| Box::pin(groups::measure(bench))),
    ("kafka-sources", |bench| Box::pin(kafka::sources(bench))),
    ("kafka-freshness", |bench| Box::pin(kafka::freshness(bench))),
    ("kafka-sinks", |bench| Box::pin(kafka::sinks(bench))),
    ("latency", |bench| Box::pin(latency::measure(bench))),
    ("idle-views", |bench| Box::pin(idle_views::measure(bench))),
    ("lookups", |bench| Box::pin(lookups::measure(bench))),
    ("changes", |bench| Box::pin(changes::measure(bench))),
    ("windows", |bench| Box::pin(windows::measure(bench))),
    ("memory", |bench| Box::pin(memory::measure(bench))),
    ("durability", |bench| Box::pin(durability::measure(bench))),
];

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode> {
    let flags = Flags::parse();
    if let Some(unknown) = flags.only.iter().find(|only| SCENARIOS.iter().all(|(name, _)| name != only)) {
        let names: Vec<_> = SCENARIOS.iter().map(|(name, _)| *name).collect();
        anyhow::bail!("there is no scenario {unknown:?}; there are {}", names.join(", "));
    }
    let bench = Bench::new(&flags.binary, flags.folder.as_deref(), flags.quick, flags.query.clone())?;
    let runs = flags.runs.unwrap_or(if flags.quick { 1 } else { 3 }).max(1);
    let report = measure(&bench, &flags.only, runs).await;
    println!("{}", report.markdown());
    report.store(&flags.output)?;
    println!("stored in {}", flags.output.display());
    Ok(if report.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs the scenarios, each as often as asked; one that fails leaves the others their turn.
async fn measure(bench: &Bench, only: &[String], runs: usize) -> Report {
    let mut report = Report::new(bench, runs);
    for (name, scenario) in SCENARIOS {
        if !only.is_empty() && !only.iter().any(|wanted| wanted == name) {
            continue;
        }
        for run in 1..=runs {
            eprintln!("{name}: run {run} of {runs}");
            match scenario(bench).await {
                Ok(figures) => report.add(figures),
                Err(error) => {
                    eprintln!("{name} failed: {error:#}");
                    report.failures.push(format!("{name}: {error:#}"));
                    break;
                }
            }
        }
    }
    report
}
