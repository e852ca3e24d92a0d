//! Runs every suite of `sqllogictest/suites` against the server, once in each mode.

use anyhow::{Result, bail, ensure};
use millrace_sqllogictest::{Mode, run};
use std::path::{Path, PathBuf};

fn suites() -> Result<Vec<PathBuf>> {
    let pattern = concat!(env!("CARGO_MANIFEST_DIR"), "/../sqllogictest/suites/*.slt");
    let suites = glob::glob(pattern)?.collect::<Result<Vec<_>, _>>()?;
    ensure!(!suites.is_empty(), "there are no suites at {pattern}");
    Ok(suites)
}

async fn run_all(mode: Mode) -> Result<()> {
    let binary = Path::new(env!("CARGO_BIN_EXE_millrace"));
    let mut failures = vec![];
    let mut maintained = 0;
    for suite in suites()? {
        match run(binary, &suite, mode).await {
            Ok(outcome) => maintained += outcome.maintained,
            Err(error) => failures.push(format!("{error:#}")),
        }
    }
    if !failures.is_empty() {
        bail!("{}", failures.join("\n\n"));
    }
    ensure!(mode == Mode::AdHoc || maintained > 0, "no query was maintained");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn ad_hoc() -> Result<()> {
    run_all(Mode::AdHoc).await
}

#[tokio::test(flavor = "multi_thread")]
async fn maintained_before_the_rows_come() -> Result<()> {
    run_all(Mode::MaintainedBefore).await
}

#[tokio::test(flavor = "multi_thread")]
async fn maintained_after_the_rows_came() -> Result<()> {
    run_all(Mode::MaintainedAfter).await
}

#[tokio::test(flavor = "multi_thread")]
async fn churned() -> Result<()> {
    run_all(Mode::Churned).await
}

#[tokio::test(flavor = "multi_thread")]
async fn restarted() -> Result<()> {
    run_all(Mode::Restarted).await
}
