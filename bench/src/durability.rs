//! What durability costs, and how soon a server is back: commits of many sessions at once, checkpoints under full load and
//! beside commits, and a start after `kill -9` over a gigabyte of state.

use crate::bench::Bench;
use crate::latency::Inserter;
use crate::nexmark::generator_source;
use crate::pipeline::is_through;
use crate::report::{Figure, Target, quantile};
use crate::server::{Server, number};
use anyhow::{Result, ensure};
use millrace_connectors::nexmark::Table;
use std::time::{Duration, Instant};

/// Sessions that commit at the same time.
const SESSIONS: u64 = 32;
/// How long they commit.
const COMMITTING: Duration = Duration::from_secs(3);
/// How long commits are measured before each checkpoint.
const QUIET: Duration = Duration::from_secs(1);
/// How long a pipeline may take.
const LONGEST: Duration = Duration::from_secs(300);

pub async fn measure(bench: &Bench) -> Result<Vec<Figure>> {
    let mut figures = commits(bench).await?;
    figures.extend(checkpoints(bench).await?);
    figures.extend(ticks(bench).await?);
    figures.extend(start(bench).await?);
    Ok(figures)
}

/// Committed INSERTs of one row, on disk: of one session, and of many.
async fn commits(bench: &Bench) -> Result<Vec<Figure>> {
    let server = Server::start(bench).await?;
    server.connect().await?.batch_execute("CREATE TABLE orders (session bigint, n bigint)").await?;
    let (one, many) = (committed(&server, 1).await?, committed(&server, SESSIONS).await?);
    let name = "committed INSERTs of one row, on disk";
    Ok(vec![
        Figure::new(name, "per second, one session", one),
        Figure::new(name, format!("per second, {SESSIONS} sessions"), many),
        Figure::new(name, "times as many", many / one).target(Target::AtLeast(10.0)),
    ])
}

/// Commits per second of so many sessions.
async fn committed(server: &Server, sessions: u64) -> Result<f64> {
    let mut working = vec![];
    for session in 0..sessions as i64 {
        let client = server.connect().await?;
        let insert = client.prepare("INSERT INTO orders VALUES ($1, $2)").await?;
        working.push(async move {
            let (begun, mut done) = (Instant::now(), 0i64);
            while begun.elapsed() < COMMITTING {
                client.execute(&insert, &[&session, &done]).await?;
                done += 1;
            }
            Ok::<_, tokio_postgres::Error>(done)
        });
    }
    let done = futures::future::try_join_all(working).await?;
    Ok(done.iter().sum::<i64>() as f64 / COMMITTING.as_secs_f64())
}

/// Rows per second into a million groups that are kept for readers, with checkpoints and without.
async fn checkpoints(bench: &Bench) -> Result<Vec<Figure>> {
    let rows = bench.size(100_000_000, 15_000_000);
    let without = grouped(bench, rows, "36000").await?.0;
    let (with, taken) = grouped(bench, rows, "10").await?;
    let name = "a million groups under full load";
    let cost = 100.0 * (without - with) / without;
    Ok(vec![
        Figure::new(name, "M rows per second without checkpoints", without),
        Figure::new(name, "M rows per second with one every 10 s", with),
        Figure::new(name, "checkpoints meanwhile", taken as f64),
        Figure::new(name, "% of the rate that checkpoints cost", cost).target(Target::AtMost(5.0)),
    ])
}

/// Millions of rows per second, and how many checkpoints were taken meanwhile.
async fn grouped(bench: &Bench, rows: u64, interval: &str) -> Result<(f64, u64)> {
    let server = Server::start_with(bench, &["--checkpoint-interval", interval]).await?;
    let client = server.connect().await?;
    client.batch_execute(&numbers("numbers", &format!("rows = '{rows}'"))).await?;
    let begun = Instant::now();
    client.batch_execute("SET background_ddl = on").await?;
    client.batch_execute(&groups_of("numbers")).await?;
    while !is_through(&client).await? {
        ensure!(begun.elapsed() < LONGEST, "the view is not through");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let rate = rows as f64 / begun.elapsed().as_secs_f64() / 1e6;
    Ok((rate, number(&client, "SELECT count(*) FROM millrace.checkpoints").await?))
}

/// A source of keys among a million and numbers.
fn numbers(name: &str, rows: &str) -> String {
    format!(
        "CREATE SOURCE {name} (k bigint, v bigint) WITH (connector = 'datagen', {rows}, \
         fields.k.min = '0', fields.k.max = '999999', fields.v.min = '0', fields.v.max = '999')"
    )
}

fn groups_of(relation: &str) -> String {
    format!("CREATE MATERIALIZED VIEW q AS SELECT k, count(*) AS n, sum(v) AS total FROM {relation} GROUP BY k")
}

/// How long a commit takes until every view shows it, while a checkpoint of a million groups is taken and while none is;
/// meanwhile some of the groups change.
async fn ticks(bench: &Bench) -> Result<Vec<Figure>> {
    let server = Server::start_with(bench, &["--checkpoint-interval", "36000"]).await?;
    let client = server.connect().await?;
    client.batch_execute(&numbers("history", &format!("rows = '{}'", bench.size(5_000_000, 1_000_000)))).await?;
    client.batch_execute(&numbers("present", "rate = '20000'")).await?;
    client.batch_execute("CREATE VIEW numbers AS SELECT * FROM history UNION ALL SELECT * FROM present").await?;
    client.batch_execute(&groups_of("numbers")).await?;
    client.batch_execute("CHECKPOINT").await?;
    let name = "one-row INSERT beside a million groups";
    let mut figures = vec![];
    let mut inserter = Inserter::start(&server, "on").await?;
    let (mut without, mut with, mut client) = (vec![], vec![], client);
    for _ in 0..bench.size(10, 3) {
        let begun = Instant::now();
        while begun.elapsed() < QUIET {
            without.push(inserter.round().await?.0);
        }
        let checkpoint = tokio::spawn(async move { client.batch_execute("CHECKPOINT").await.map(|()| client) });
        while !checkpoint.is_finished() {
            with.push(inserter.round().await?.0);
        }
        client = checkpoint.await??;
    }
    for (times, when) in [(&without, "without a checkpoint"), (&with, "while a checkpoint is taken")] {
        figures.push(Figure::new(name, format!("p50 in us until visible, {when}"), quantile(times, 0.5)));
        figures.push(Figure::new(name, format!("p99 in us until visible, {when}"), quantile(times, 0.99)));
        figures.push(Figure::new(name, format!("longest in us, {when}"), quantile(times, 1.0)));
    }
    let (p99, before) = (quantile(&with, 0.99), quantile(&without, 0.99));
    figures.push(Figure::new(name, "times the p99 without one", p99 / before).target(Target::AtMost(2.0)));
    Ok(figures)
}

/// From the start over a gigabyte of a view's rows and their groups until the first answer, which is the right one.
async fn start(bench: &Bench) -> Result<Vec<Figure>> {
    let events = bench.size(5_000_000, 500_000);
    let mut server = Server::start(bench).await?;
    let client = server.connect().await?;
    client.batch_execute(&generator_source(Table::Bid, events)).await?;
    client
        .batch_execute(
            "CREATE MATERIALIZED VIEW bids AS SELECT auction, bidder, price, channel, url, date_time, extra FROM bid;
             CREATE MATERIALIZED VIEW bidders AS SELECT bidder, count(*) AS n, max(price) AS most FROM bid GROUP BY bidder;
             CHECKPOINT",
        )
        .await?;
    let query = "SELECT count(*) + (SELECT sum(n) FROM bidders) FROM bids";
    let before = number(&client, query).await?;
    let kept = number(&client, "SELECT sum(bytes) FROM millrace.operators").await?;
    let begun = server.restart().await?;
    let client = server.connect().await?;
    let after = number(&client, query).await?;
    let elapsed = begun.elapsed().as_secs_f64();
    ensure!(before == after, "{query} is {after} after a crash, and was {before}");
    let name = "start after kill -9";
    Ok(vec![
        Figure::new(name, "MiB of state", kept as f64 / 1048576.0),
        Figure::new(name, "s until the first answer", elapsed).target(Target::AtMost(3.0)),
    ])
}
