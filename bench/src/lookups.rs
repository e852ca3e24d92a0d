//! Point look-ups by primary key through the protocol, prepared, by one client and by eight; by pgbench and beside a
//! real PostgreSQL when that is installed, else by a client of our own.

use crate::bench::Bench;
use crate::report::{Figure, Target, quantile};
use crate::server::{Server, connect};
use anyhow::{Context, Result, ensure};
use millrace_sqllogictest::{Postgres, postgres_programs};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const CLIENTS: &[usize] = &[1, 8];
/// pgbench's tables, but with the keys from the start: it adds them afterwards, which Millrace does not have.
const TABLES: &str = "
    CREATE TABLE pgbench_history (tid int, bid int, aid int, delta int, mtime timestamp, filler char(22));
    CREATE TABLE pgbench_tellers (tid int PRIMARY KEY, bid int, tbalance int, filler char(84));
    CREATE TABLE pgbench_accounts (aid int PRIMARY KEY, bid int, abalance int, filler char(84));
    CREATE TABLE pgbench_branches (bid int PRIMARY KEY, bbalance int, filler char(88))";
/// Accounts per unit of pgbench's scale.
const ACCOUNTS: i64 = 100_000;

pub async fn measure(bench: &Bench) -> Result<Vec<Figure>> {
    let server = Server::start(bench).await?;
    let scale = bench.size(10, 1) as i64;
    let time = Duration::from_secs(bench.size(10, 4));
    match postgres_programs().filter(|programs| programs.join("pgbench").exists()) {
        Some(programs) => compare(bench, &server, &programs, scale, time).await,
        None => alone(&server, scale * ACCOUNTS, time).await,
    }
}

/// Millrace and PostgreSQL take turns.
async fn compare(bench: &Bench, server: &Server, programs: &Path, scale: i64, time: Duration) -> Result<Vec<Figure>> {
    let postgres = Postgres::start(programs, &bench.folder)?;
    let postgres_port = postgres.address().port();
    let pgbench = programs.join("pgbench");
    for port in [postgres_port, server.port()] {
        connect(port).await?.batch_execute(TABLES).await?;
        run(&pgbench, port, &["-i", "-I", "gv", "-q", "-s", &scale.to_string()])?;
    }
    let mut figures = vec![];
    for clients in CLIENTS {
        let throughput = |port| select_only(&pgbench, port, *clients, time);
        // Once for warmth.
        throughput(server.port())?;
        let (own, other) = (throughput(server.port())?, throughput(postgres_port)?);
        let name = format!("pgbench -S -M prepared, {clients} clients");
        figures.extend([
            Figure::new(&name, "look-ups per second", own),
            Figure::new(&name, "look-ups per second of PostgreSQL", other),
            Figure::new(&name, "times PostgreSQL's", own / other).target(Target::AtLeast(1.0)),
        ]);
    }
    Ok(figures)
}

/// Transactions per second of `pgbench -S`.
fn select_only(pgbench: &Path, port: u16, clients: usize, time: Duration) -> Result<f64> {
    let (clients, threads) = (clients.to_string(), clients.min(2).to_string());
    let seconds = time.as_secs().to_string();
    let told = run(pgbench, port, &["-n", "-S", "-M", "prepared", "-c", &clients, "-j", &threads, "-T", &seconds])?;
    let rate = told.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
    rate.with_context(|| format!("pgbench told no rate:\n{told}"))
}

fn run(pgbench: &Path, port: u16, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(pgbench);
    command.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-U", "postgres"]).args(arguments).arg("postgres");
    let output = command.output().with_context(|| format!("cannot start {}", pgbench.display()))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "pgbench {} at port {port}: {errors}", arguments.join(" "));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The same without pgbench: no comparison, but latencies.
async fn alone(server: &Server, accounts: i64, time: Duration) -> Result<Vec<Figure>> {
    let client = server.connect().await?;
    client.batch_execute("CREATE TABLE accounts (aid bigint PRIMARY KEY, abalance bigint)").await?;
    for from in (0..accounts).step_by(ACCOUNTS as usize) {
        let rows = format!("SELECT n, n % 1000 FROM generate_series({from}, {}) AS s(n)", from + ACCOUNTS - 1);
        client.batch_execute(&format!("INSERT INTO accounts {rows}")).await?;
    }
    let mut figures = vec![];
    for clients in CLIENTS {
        let mut running = JoinSet::new();
        for client in 0..*clients {
            running.spawn(look_up(server.port(), client as i64, accounts, time));
        }
        let mut times = vec![];
        while let Some(of_client) = running.join_next().await {
            times.append(&mut of_client??);
        }
        let name = format!("look-ups by primary key, {clients} clients");
        figures.extend([
            Figure::new(&name, "look-ups per second", times.len() as f64 / time.as_secs_f64()),
            Figure::new(&name, "p50 in us", quantile(&times, 0.5)),
            Figure::new(&name, "p99 in us", quantile(&times, 0.99)),
        ]);
    }
    Ok(figures)
}

async fn look_up(port: u16, seed: i64, accounts: i64, time: Duration) -> Result<Vec<Duration>> {
    let client = connect(port).await?;
    let statement = client.prepare("SELECT abalance FROM accounts WHERE aid = $1").await?;
    let (mut times, begun, mut at) = (vec![], Instant::now(), seed);
    while begun.elapsed() < time {
        // Strides of a prime visit the accounts in no order.
        at = (at + 7_368_787) % accounts;
        let asked = Instant::now();
        let balance: i64 = client.query_one(&statement, &[&at]).await?.get(0);
        times.push(asked.elapsed());
        ensure!(balance == at % 1000, "account {at} has {balance}");
    }
    Ok(times)
}
