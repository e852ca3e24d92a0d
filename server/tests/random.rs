//! A short run of random testing: `cargo run -p millrace-sqllogictest --bin random` makes long ones.

use anyhow::{Context, Result, ensure};
use millrace_sqllogictest::random::{Options, run};
use millrace_sqllogictest::{Client, Postgres, Server, postgres_programs};
use std::path::Path;

#[tokio::test(flavor = "multi_thread")]
async fn random_views_equal_their_queries_and_postgresql() -> Result<()> {
    let programs = postgres_programs().context("PostgreSQL is not installed: apt-get install postgresql")?;
    let postgres = Postgres::start(&programs, &std::env::temp_dir())?;
    let server = Server::start(Path::new(env!("CARGO_BIN_EXE_millrace")))?;
    let options = Options { seed: 1, rounds: 12, views: 6, changes: 12 };
    let tally = run(Client::new(server.address()), Some(Client::of_postgres(&postgres)), &options, |_, _| {}).await?;
    ensure!(tally.failures.is_empty(), "{}", tally.failures.join("\n\n"));
    ensure!(tally.views > 30, "only {} views were kept; refused: {:?}", tally.views, tally.refused);
    Ok(())
}
