//! A short run of crash testing: `cargo run -p millrace-sqllogictest --bin crash` makes long ones.

use anyhow::{Result, ensure};
use millrace_sqllogictest::crash::{Options, run};
use std::path::Path;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_by_kill_9() -> Result<()> {
    let tally = run(Path::new(env!("CARGO_BIN_EXE_millrace")), &Options { seed: 1, rounds: 25 }, |_, _| {}).await?;
    ensure!(tally.transactions > 100 && tally.definitions > 10 && tally.reads > 100, "too little was done: {tally}");
    Ok(())
}
