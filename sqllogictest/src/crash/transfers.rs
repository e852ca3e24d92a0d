//! Transfers between accounts that all sessions share: their total is the same in every read.

use super::gone;
use anyhow::{Result, ensure};
use rand::Rng;
use rand::rngs::StdRng;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

const ACCOUNTS: i64 = 8;
const TOTAL: i64 = 800;

pub const SCHEMA: &str = "
    CREATE TABLE accounts (id bigint PRIMARY KEY, balance bigint NOT NULL);
    INSERT INTO accounts SELECT i, 100 FROM generate_series(0, 7) AS s(i);
    CREATE MATERIALIZED VIEW total AS SELECT sum(balance)::bigint AS balance FROM accounts;
    CREATE MATERIALIZED VIEW rich AS SELECT id, balance FROM accounts WHERE balance > 100;
    CREATE MATERIALIZED VIEW poor AS SELECT id, balance FROM accounts WHERE balance <= 100";

pub const VIEWS: &[(&str, &str)] = &[
    ("total", "SELECT sum(balance)::bigint AS balance FROM accounts"),
    ("rich", "SELECT id, balance FROM accounts WHERE balance > 100"),
];

/// Where the total can be read.
const READS: [&str; 3] = [
    "SELECT sum(balance)::bigint FROM accounts",
    "SELECT balance FROM total",
    "SELECT sum(balance)::bigint FROM (SELECT balance FROM rich UNION ALL SELECT balance FROM poor) AS both_of_them",
];

/// Moves money until the server goes; answers how many transfers were acknowledged.
pub async fn transfer(client: Client, mut random: StdRng) -> Result<u64> {
    let mut done = 0;
    loop {
        let (from, to) = (random.random_range(0..ACCOUNTS), random.random_range(0..ACCOUNTS));
        let level = ["READ COMMITTED", "SERIALIZABLE"][random.random_range(0..2)];
        let statements = format!(
            "BEGIN ISOLATION LEVEL {level}; UPDATE accounts SET balance = balance - 1 WHERE id = {from};
             UPDATE accounts SET balance = balance + 1 WHERE id = {to}; COMMIT"
        );
        let outcome = client.batch_execute(&statements).await;
        let conflict = outcome.as_ref().is_err_and(|error| error.code() == Some(&SqlState::T_R_SERIALIZATION_FAILURE));
        let outcome = if conflict { client.batch_execute("ROLLBACK").await } else { outcome };
        match gone(outcome)? {
            None => return Ok(done),
            Some(()) => done += u64::from(!conflict),
        }
    }
}

/// Reads the total until the server goes.
pub async fn watch(client: Client, reads: Arc<AtomicU64>) -> Result<u64> {
    loop {
        for query in READS {
            let Some(row) = gone(client.query_one(query, &[]).await)? else { return Ok(0) };
            let total: Option<i64> = row.get(0);
            ensure!(total == Some(TOTAL), "the total is {total:?} in {query}");
            reads.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Reads the total once in each way.
pub async fn check(client: &Client) -> Result<()> {
    for query in READS {
        let total: Option<i64> = client.query_one(query, &[]).await?.get(0);
        ensure!(total == Some(TOTAL), "after the start the total is {total:?} in {query}");
    }
    Ok(())
}
