//! Memory: of a view with a million groups, and of a server whose source never lets up.

use crate::bench::Bench;
use crate::pipeline::{Pipeline, run};
use crate::report::{Figure, Target};
use crate::server::{Server, number};
use anyhow::{Result, ensure};
use std::time::Duration;

const MIB: f64 = 1048576.0;
/// How much higher the peak may be after three times the time: what an allocator may take for itself.
const GROWTH_MAX: f64 = 15.0;

pub async fn measure(bench: &Bench) -> Result<Vec<Figure>> {
    let mut figures = many_groups(bench).await?;
    figures.extend(endless_source(bench).await?);
    Ok(figures)
}

/// A view of as many groups as rows, each a key and two aggregates.
async fn many_groups(bench: &Bench) -> Result<Vec<Figure>> {
    let groups = 1_000_000;
    let empty = Server::start(bench).await?.process().memory()?;
    let pipeline = Pipeline {
        sources: vec![format!(
            "CREATE SOURCE numbers (k bigint, v bigint) WITH (connector = 'datagen', rows = '{groups}', \
             fields.k.kind = 'sequence', fields.k.start = '0', fields.v.min = '0', fields.v.max = '999')"
        )],
        job: "CREATE MATERIALIZED VIEW q AS SELECT k, count(*) AS n, sum(v) AS total FROM numbers GROUP BY k"
            .to_owned(),
        check: ("SELECT count(*) FROM q".to_owned(), format!("SELECT {groups}")),
    };
    let cost = run(bench, &pipeline).await?;
    let name = format!("view with {groups} groups");
    let added = cost.memory.resident.saturating_sub(empty.resident) as f64;
    Ok(vec![
        Figure::new(&name, "MiB resident", cost.memory.resident as f64 / MIB),
        Figure::new(&name, "MiB at most", cost.memory.peak as f64 / MIB),
        Figure::new(&name, "bytes per group", added / groups as f64),
        Figure::new(&name, "MiB of an empty server", empty.resident as f64 / MIB),
    ])
}

/// A source as fast as it can be made, and a view of constant size on it: the peak must not grow with time.
async fn endless_source(bench: &Bench) -> Result<Vec<Figure>> {
    let server = Server::start(bench).await?;
    let client = server.connect().await?;
    client.batch_execute("CREATE SOURCE bid WITH (connector = 'nexmark', table = 'bid')").await?;
    let query =
        "SELECT channel, count(*) AS bids, max(price) AS highest, min(extra) AS least FROM bid GROUP BY channel";
    client.batch_execute(&format!("CREATE MATERIALIZED VIEW q AS {query}")).await?;
    let step = Duration::from_secs(bench.size(6, 3));
    tokio::time::sleep(step).await;
    let early = server.process().memory()?.peak as f64;
    tokio::time::sleep(step * 2).await;
    let late = server.process().memory()?.peak as f64;
    let bids = number(&client, "SELECT sum(bids) FROM q").await? as f64;
    ensure!(bids > 0.0, "nothing was read from an endless source");
    let name = "source faster than its view";
    Ok(vec![
        Figure::new(name, "M rows read", bids / 1e6),
        Figure::new(name, "MiB at most", late / MIB),
        Figure::new(name, "% more than after a third of the time", 100.0 * (late - early) / early)
            .target(Target::AtMost(GROWTH_MAX)),
    ])
}
