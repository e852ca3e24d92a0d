//! Windows of time: what an open one takes, what closing one costs however many stay open, and how long it takes until a
//! closed one is seen.

use crate::bench::Bench;
use crate::report::{Figure, Target, quantile};
use crate::server::{Server, number};
use anyhow::{Result, ensure};
use std::cell::Cell;
use std::time::{Duration, Instant};
use tokio_postgres::Client;

/// The window of time and the view of a kind.
const KINDS: [(&str, &str); 2] = [
    ("windows", "tumble(events, ts, INTERVAL '1 minute')"),
    ("sessions", "session(events PARTITION BY k, ts, INTERVAL '1 minute')"),
];

/// How much more a window may cost to close while many others stay open.
const MORE: f64 = 3.0;
/// What a closed window may take until it is seen, in microseconds.
const CLOSED_MAX: f64 = 10_000.0;

pub async fn measure(bench: &Bench) -> Result<Vec<Figure>> {
    let mut figures = vec![];
    for (name, windows) in KINDS {
        figures.extend(open_and_closed(bench, name, windows).await?);
    }
    figures.extend(until_seen(bench).await?);
    Ok(figures)
}

async fn define(client: &Client, windows: &str, disorder: &str) -> Result<()> {
    let watermark = format!("WATERMARK FOR ts AS ts - INTERVAL '{disorder}'");
    let table = format!("CREATE TABLE events (k bigint, ts timestamp, {watermark})");
    let view = format!(
        "CREATE MATERIALIZED VIEW closed AS SELECT k, window_start, window_end, count(*) AS n FROM {windows} \
         GROUP BY k, window_start, window_end EMIT ON WINDOW CLOSE"
    );
    client.batch_execute(&format!("SET synchronous_commit = off; {table}; {view}")).await?;
    Ok(())
}

/// Rows of so many keys, each at the start of a minute of the day.
async fn insert(client: &Client, keys: u64, minute: u64) -> Result<()> {
    let rows = "INSERT INTO events SELECT k, TIMESTAMP '2024-05-01' + INTERVAL '1 minute'";
    client.batch_execute(&format!("{rows} * {minute} FROM generate_series(1, {keys}) k")).await?;
    Ok(())
}

/// A row that moves the watermark to a minute of the day: how long it takes until what closes is there.
async fn close(client: &Client, minute: u64, expected: u64) -> Result<Duration> {
    let begun = Instant::now();
    insert(client, 1, minute).await?;
    let elapsed = begun.elapsed();
    let closed = number(client, "SELECT count(*) FROM closed").await?;
    ensure!(closed == expected, "{closed} windows have closed and not {expected}");
    Ok(elapsed)
}

/// A few windows close while many stay open, and then these.
async fn open_and_closed(bench: &Bench, name: &str, windows: &str) -> Result<Vec<Figure>> {
    let (few, many) = (10_000, bench.size(1_000_000, 100_000));
    let server = Server::start(bench).await?;
    let client = server.connect().await?;
    define(&client, windows, "10 minutes").await?;
    insert(&client, few, 60).await?;
    let bytes = "SELECT sum(bytes) FROM millrace.operators WHERE job_name = 'closed'";
    let before = number(&client, bytes).await?;
    insert(&client, many, 65).await?;
    let kept = number(&client, bytes).await?.saturating_sub(before);
    // The watermark comes to minute 62, behind the first ones, and then behind all.
    let first = close(&client, 72, few).await?;
    let second = close(&client, 90, few + many + 1).await?;
    let of = |elapsed: Duration, windows: u64| elapsed.as_secs_f64() * 1e6 / windows as f64;
    let name = format!("{many} open {name}");
    Ok(vec![
        Figure::new(&name, "bytes per open one", kept as f64 / many as f64),
        Figure::new(&name, "us to close one of few", of(first, few)).target(Target::AtMost(MORE * of(second, many))),
        Figure::new(&name, "us to close one of all", of(second, many)),
    ])
}

/// From sending the row that moves the watermark until the window that it closes is seen, while others insert.
async fn until_seen(bench: &Bench) -> Result<Vec<Figure>> {
    let rounds = bench.size(200, 40);
    let server = Server::start(bench).await?;
    let (client, other) = (server.connect().await?, server.connect().await?);
    define(&client, "tumble(events, ts, INTERVAL '1 minute')", "0 seconds").await?;
    other.batch_execute("SET synchronous_commit = off").await?;
    let minute = Cell::new(1);
    let flood = async {
        let (begun, mut batches) = (Instant::now(), 0u32);
        loop {
            if let Err(error) = insert(&other, 1000, minute.get()).await {
                break error;
            }
            batches += 1;
            // A thousand rows each hundredth of a second.
            tokio::time::sleep((Duration::from_millis(10) * batches).saturating_sub(begun.elapsed())).await;
        }
    };
    let closing = async {
        let mut times = vec![];
        for round in 1..=rounds {
            minute.set(2 * round);
            insert(&client, 10, 2 * round).await?;
            tokio::time::sleep(Duration::from_millis(30)).await;
            let begun = Instant::now();
            insert(&client, 1, 2 * round + 1).await?;
            times.push(begun.elapsed());
            let closed = "SELECT count(*) FROM closed WHERE k <= 10";
            ensure!(number(&client, closed).await? >= 10 * round, "a window has not closed");
        }
        Ok::<Vec<Duration>, anyhow::Error>(times)
    };
    let times = tokio::select! {
        times = closing => times?,
        error = flood => return Err(error),
    };
    let name = "a window closes at 100,000 rows per second";
    Ok(vec![
        Figure::new(name, "p50 in us until it is seen", quantile(&times, 0.5)),
        Figure::new(name, "p99 in us until it is seen", quantile(&times, 0.99)).target(Target::AtMost(CLOSED_MAX)),
    ])
}
