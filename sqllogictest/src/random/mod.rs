//! Random testing: random tables, random queries kept as views, random changes; after each change every view must equal
//! its query ad hoc, and both must equal what PostgreSQL answers over the same rows.
//!
//! A round is a function of its seed: tables, queries, changes and their order. A failure is replayed with fewer
//! changes and with smaller queries as long as it stays one, and the smallest is reported.
//!
//! ```text
//! seed --> tables --+--> changes ----------------+--> views ----+
//!                   |                            |              +--> compared after each change
//!                   +--> queries (query.rs) -----+--> ad hoc ---+
//!                                                +--> PostgreSQL
//! ```

mod case;
mod data;
mod generate;
mod query;

use crate::{Client, Failure};
use anyhow::{Result, bail};
use case::{Case, Peers};
use data::Table;
use generate::Generator;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The seed of the first round; each next round has the next seed.
    pub seed: u64,
    /// How many rounds.
    pub rounds: u64,
    /// How many views a round keeps.
    pub views: usize,
    /// How many changes a round makes.
    pub changes: usize,
}

/// What rounds amounted to.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Views that were kept and compared.
    pub views: usize,
    /// Statements that the server was sent, those that make a failure smaller among them.
    pub statements: usize,
    /// Comparisons that were made.
    pub comparisons: usize,
    /// Queries that PostgreSQL refuses, which say nothing.
    pub invalid: usize,
    /// Queries that the server refuses to maintain, by its words.
    pub refused: BTreeMap<String, usize>,
    /// What failed, smallest case first, each with its seed.
    pub failures: Vec<String>,
}

/// Runs rounds against the server behind `millrace`, and PostgreSQL behind `postgres` if there is one. After each
/// `progress` gets its seed and what all rounds so far amount to.
///
/// # Errors
/// When a server cannot be reached or a table cannot be made. What the server answers wrongly is in the tally.
pub async fn run(
    millrace: Client,
    postgres: Option<Client>,
    options: &Options,
    mut progress: impl FnMut(u64, &Tally),
) -> Result<Tally> {
    let mut peers = Peers { millrace, postgres, statements: 0 };
    let mut tally = Tally::default();
    for seed in options.seed..options.seed + options.rounds {
        round(&mut peers, seed, options, &mut tally).await?;
        tally.statements = peers.statements;
        progress(seed, &tally);
    }
    Ok(tally)
}

async fn round(peers: &mut Peers, seed: u64, options: &Options, tally: &mut Tally) -> Result<()> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut tables: Vec<Table> =
        (0..random.random_range(2..4)).map(|number| Table::random(format!("random_{number}"), &mut random)).collect();
    let create: Vec<String> = tables.iter().map(Table::create).collect();
    peers.set_up(&create).await?;
    let queries: Vec<_> = (0..options.views).map(|_| Generator::new(&tables, &mut random).query()).collect();
    let mut changes = vec![];
    // Queries by their numbers, each with the number of changes before the view that keeps it.
    let mut running: Vec<(usize, Option<usize>)> = vec![];
    let late = options.changes / 3;
    for step in 0..options.changes {
        for (number, query) in queries.iter().enumerate() {
            // One half of the views is made before the first rows come, the other when there are some.
            if step == if number % 2 == 0 { 0 } else { late } {
                match peers.make_view(number, query).await {
                    Ok(true) => running.push((number, Some(step))),
                    Ok(false) => tally.invalid += 1,
                    Err(failure) if is_refusal(&failure) => {
                        *tally.refused.entry(failure.to_string()).or_default() += 1;
                        // What is refused ad hoc too says no more.
                        let fresh = peers.ours(&query.to_string()).await;
                        if !fresh.is_err_and(|failure| is_refusal(&failure)) {
                            running.push((number, None));
                        }
                    }
                    Err(failure) => tally.failures.push(report(seed, &format!("{failure}"), &query.to_string(), &[])),
                }
            }
        }
        let table = random.random_range(0..tables.len());
        let change = tables[table].change(&mut random);
        peers.change(&change).await?;
        changes.push(change);
        for &(number, kept) in &running {
            tally.comparisons += 1;
            let query = &queries[number];
            if let Err(first) = peers.compare(kept.map(|_| number), query).await {
                let case = Case { create: create.clone(), changes: changes.clone(), query: query.clone(), kept };
                let (smallest, difference) = case.smallest(peers, &format!("{first:#}")).await?;
                tally.failures.push(report(seed, &difference, &smallest.query.to_string(), &smallest.statements()));
                // The smaller cases have changed the tables: the rest of this round would tell nothing.
                return Ok(());
            }
        }
    }
    tally.views += running.iter().filter(|(_, view)| view.is_some()).count();
    if peers.lost().await {
        bail!("the server is gone after the round of seed {seed}");
    }
    Ok(())
}

fn is_refusal(failure: &Failure) -> bool {
    failure.state.as_deref() == Some("0A000")
}

fn report(seed: u64, difference: &str, query: &str, statements: &[String]) -> String {
    let mut report = format!("seed {seed}: {difference}\n");
    for statement in statements {
        report.push_str(&format!("  {statement};\n"));
    }
    report.push_str(&format!("  {query};"));
    report
}
