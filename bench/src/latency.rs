//! Tick latency: from sending an INSERT of one row to its acknowledgement, which comes when every view shows the row,
//! with the commit on disk and without waiting for that.

use crate::bench::Bench;
use crate::report::{Figure, Target, quantile};
use crate::server::Server;
use anyhow::{Result, ensure};
use std::fs::File;
use std::io::Write;
use std::time::{Duration, Instant};
use tokio_postgres::{Client, Statement};

const DEFINITIONS: &str = "
    CREATE TABLE orders (id bigint PRIMARY KEY, customer bigint NOT NULL, amount bigint NOT NULL);
    CREATE MATERIALIZED VIEW large AS
    SELECT customer, count(*) AS orders, sum(amount) AS amount FROM orders WHERE amount >= 10 GROUP BY customer";

/// Groups of the view.
const CUSTOMERS: i64 = 100;
/// Rounds before the measured ones.
const WARM_UP: i64 = 200;
/// What a tick may take, in microseconds.
const TICK_MAX: f64 = 500.0;

/// A session that inserts rows one by one, and looks whether the view shows them.
pub struct Inserter {
    client: Client,
    insert: Statement,
    read: Statement,
    inserted: i64,
}

impl Inserter {
    /// Defines the table and the view, and prepares.
    pub async fn start(server: &Server, synchronous_commit: &str) -> Result<Inserter> {
        let client = server.connect().await?;
        client.batch_execute(DEFINITIONS).await?;
        client.batch_execute(&format!("SET synchronous_commit = {synchronous_commit}")).await?;
        let insert = client.prepare("INSERT INTO orders VALUES ($1, $2, $3)").await?;
        let read = client.prepare("SELECT orders FROM large WHERE customer = $1").await?;
        let mut inserter = Inserter { client, insert, read, inserted: 0 };
        for _ in 0..WARM_UP {
            inserter.round().await?;
        }
        Ok(inserter)
    }

    /// Inserts a row: how long that takes, and how long reading it from the view takes afterwards.
    pub async fn round(&mut self) -> Result<(Duration, Duration)> {
        let (id, customer) = (self.inserted, self.inserted % CUSTOMERS);
        let begun = Instant::now();
        self.client.execute(&self.insert, &[&id, &customer, &(10 + id % 990)]).await?;
        let inserted = Instant::now();
        let orders: i64 = self.client.query_one(&self.read, &[&customer]).await?.get(0);
        let read = inserted.elapsed();
        self.inserted += 1;
        let expected = id / CUSTOMERS + 1;
        ensure!(orders == expected, "after an INSERT the view shows {orders} orders and not {expected}");
        Ok((inserted - begun, read))
    }
}

pub async fn measure(bench: &Bench) -> Result<Vec<Figure>> {
    let rounds = bench.size(2_000, 500);
    let mut figures = vec![];
    for (synchronous_commit, name) in
        [("off", "one-row INSERT, synchronous_commit = off"), ("on", "one-row INSERT, on disk")]
    {
        let server = Server::start(bench).await?;
        let mut disk = File::create(server.folder().join("fsync"))?;
        let mut inserter = Inserter::start(&server, synchronous_commit).await?;
        let (mut inserts, mut reads, mut syncs) = (vec![], vec![], vec![]);
        for round in 0..rounds {
            let (insert, read) = inserter.round().await?;
            inserts.push(insert);
            reads.push(read);
            // In between, so that what else goes on with the disk falls on both alike.
            if synchronous_commit == "on" && round % 4 == 0 {
                syncs.push(fsync(&mut disk)?);
            }
        }
        let on_disk = quantile(&syncs, 0.5);
        let median = Figure::new(name, "p50 in us until visible", quantile(&inserts, 0.5));
        figures.push(median.target(Target::AtMost(TICK_MAX + on_disk)));
        figures.push(Figure::new(name, "p99 in us until visible", quantile(&inserts, 0.99)));
        figures.push(Figure::new(name, "p50 in us to read the view then", quantile(&reads, 0.5)));
        figures.push(Figure::new(name, "p99 in us to read the view then", quantile(&reads, 0.99)));
        if synchronous_commit == "on" {
            figures.push(Figure::new(name, "p50 in us of the disk's fsync alone", on_disk));
        }
    }
    Ok(figures)
}

/// What it takes to append some bytes to a file and have them on disk.
fn fsync(file: &mut File) -> Result<Duration> {
    let begun = Instant::now();
    file.write_all(&[7; 256])?;
    file.sync_data()?;
    Ok(begun.elapsed())
}
