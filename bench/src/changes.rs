//! What a change of one row costs against the size of the state that it meets: an INSERT that finds its partners in a
//! join, and one that changes a group of an aggregate. It must not depend on how much is there. And how much memory each
//! row of the join's input and each group takes.

use crate::bench::Bench;
use crate::pipeline::is_through;
use crate::report::{Figure, Target, quantile};
use crate::server::{Server, number};
use anyhow::{Context, Result, ensure};
use std::time::{Duration, Instant};
use tokio_postgres::Client;

/// Rounds before the measured ones.
const WARM_UP: u64 = 200;
/// How much more a change may cost at the largest size than at the smallest: caches hold less of it.
const MORE: f64 = 2.0;

/// A view, and a change to it.
struct Case {
    name: &'static str,
    view: &'static str,
    /// A query by a key for how often it was inserted.
    check: &'static str,
    /// The operator that keeps the rows.
    operator: &'static str,
}

const CASES: [Case; 2] = [
    Case {
        name: "join",
        view: "SELECT s.k, s.w, b.v FROM small s JOIN big b ON s.k = b.k",
        check: "SELECT count(*) FROM q WHERE k = $1",
        operator: "Join",
    },
    Case {
        name: "aggregate",
        view: "SELECT k, count(*) - 1 AS n, sum(v) AS total \
               FROM (SELECT k, v FROM big UNION ALL SELECT k, w FROM small) b GROUP BY k",
        check: "SELECT n FROM q WHERE k = $1",
        operator: "Aggregate",
    },
];

pub async fn measure(bench: &Bench) -> Result<Vec<Figure>> {
    let sizes: &[u64] = match bench.quick {
        true => &[10_000, 1_000_000],
        false => &[10_000, 100_000, 1_000_000, 10_000_000],
    };
    let mut figures = vec![];
    for case in &CASES {
        let mut smallest = None;
        for &size in sizes {
            let cost = one_size(bench, case, size).await?;
            let name = format!("one row into a view of {size} rows ({})", case.name);
            let workers = cost.workers.as_secs_f64() * 1e6;
            let least = *smallest.get_or_insert(workers);
            figures.extend([
                Figure::new(&name, "us of the workers per change", workers),
                Figure::new(&name, "times that at the smallest size", workers / least).target(Target::AtMost(MORE)),
                Figure::new(&name, "p50 in us until visible", cost.median),
                Figure::new(&name, "bytes kept per row by the operator", cost.bytes_per_row),
            ]);
        }
    }
    Ok(figures)
}

struct Cost {
    /// CPU time of the workers for each change.
    workers: Duration,
    /// Of an INSERT, in microseconds.
    median: f64,
    bytes_per_row: f64,
}

async fn one_size(bench: &Bench, case: &Case, size: u64) -> Result<Cost> {
    let server = Server::start(bench).await?;
    let client = server.connect().await?;
    let definitions = format!(
        "SET synchronous_commit = off; CREATE TABLE small (k bigint, w bigint);
         CREATE SOURCE big (k bigint, v bigint) WITH (connector = 'datagen', rows = '{size}',
         fields.k.kind = 'sequence', fields.k.start = '0', fields.v.min = '0', fields.v.max = '999');
         CREATE MATERIALIZED VIEW q AS {}",
        case.view
    );
    client.batch_execute(&definitions).await.context(case.view)?;
    while !is_through(&client).await? {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let rounds = bench.size(2_000, 500);
    insert(&client, size, 0..WARM_UP).await?;
    // Merges of what was read last go on for a while.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let before = worker_time(&server);
    let inserts = insert(&client, size, WARM_UP..WARM_UP + rounds).await?;
    let workers = (worker_time(&server) - before) / rounds as u32;
    let last = key(WARM_UP + rounds - 1, size);
    let found: i64 = client.query_one(case.check, &[&last]).await?.get(0);
    ensure!(found > 0, "a change is not seen in the {}", case.name);
    let sum = |column| format!("SELECT sum({column}) FROM millrace.operators WHERE name LIKE '%{}%'", case.operator);
    let (bytes, rows) = (number(&client, &sum("bytes")).await?, number(&client, &sum("rows")).await?);
    Ok(Cost { workers, median: quantile(&inserts, 0.5), bytes_per_row: bytes as f64 / rows.max(1) as f64 })
}

/// Keys all over the rows that are there.
fn key(number: u64, size: u64) -> i64 {
    (number.wrapping_mul(0x9E37_79B9_7F4A_7C15) % size) as i64
}

/// Inserts rows one by one, and tells how long each took.
async fn insert(client: &Client, size: u64, numbers: std::ops::Range<u64>) -> Result<Vec<Duration>> {
    let statement = client.prepare("INSERT INTO small VALUES ($1, $2)").await?;
    let mut times = vec![];
    for number in numbers {
        let begun = Instant::now();
        client.execute(&statement, &[&key(number, size), &(number as i64)]).await?;
        times.push(begun.elapsed());
    }
    Ok(times)
}

fn worker_time(server: &Server) -> Duration {
    let threads = server.process().threads();
    threads.values().filter(|(name, _)| name.starts_with("timely:")).map(|(_, time)| *time).sum()
}
