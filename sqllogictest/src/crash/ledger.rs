//! Writers: each has rows of its own in two tables, and knows what they must be.

use super::gone;
use anyhow::{Result, bail, ensure};
use rand::Rng;
use rand::rngs::StdRng;
use std::collections::BTreeMap;
use tokio_postgres::Client;

pub const SCHEMA: &str = "
    CREATE TABLE ledger (writer bigint, key bigint, value bigint, note text, PRIMARY KEY (writer, key));
    CREATE TABLE journal (writer bigint, number bigint, PRIMARY KEY (writer, number));
    CREATE MATERIALIZED VIEW per_writer AS
        SELECT writer, count(*) AS n, sum(value) AS total, max(note) AS last FROM ledger GROUP BY writer;
    CREATE MATERIALIZED VIEW written AS
        SELECT j.writer, l.key, l.value FROM (SELECT writer, max(number) AS number FROM journal GROUP BY writer) AS j
        LEFT JOIN ledger AS l ON l.writer = j.writer;
    CREATE MATERIALIZED VIEW best AS SELECT * FROM ledger ORDER BY value DESC, writer, key LIMIT 5";

pub const VIEWS: &[(&str, &str)] = &[
    ("per_writer", "SELECT writer, count(*) AS n, sum(value) AS total, max(note) AS last FROM ledger GROUP BY writer"),
    (
        "written",
        "SELECT j.writer, l.key, l.value FROM (SELECT writer, max(number) AS number FROM journal GROUP BY writer) AS j
         LEFT JOIN ledger AS l ON l.writer = j.writer",
    ),
    ("best", "SELECT * FROM (SELECT * FROM ledger ORDER BY value DESC, writer, key LIMIT 5) AS best"),
];

/// The keys of a writer; few, so that they come and go.
const KEYS: i64 = 40;

type Rows = BTreeMap<i64, i64>;

/// One session's rows.
#[derive(Debug)]
pub struct Writer {
    id: i64,
    /// The transactions that were acknowledged.
    done: i64,
    rows: Rows,
    /// The rows after the transaction that was under way when the server went, if one was.
    under_way: Option<Rows>,
}

impl Writer {
    /// One that has written nothing.
    pub fn new(id: i64) -> Writer {
        Writer { id, done: 0, rows: Rows::new(), under_way: None }
    }

    /// Writes until the server goes; answers how many transactions were acknowledged.
    pub async fn work(mut self, client: Client, mut random: StdRng) -> Result<(Writer, u64)> {
        let before = self.done;
        loop {
            let (statements, after) = self.transaction(&mut random);
            self.under_way = Some(after);
            let Some(()) = gone(client.batch_execute(&statements).await)? else {
                let done = (self.done - before) as u64;
                return Ok((self, done));
            };
            self.rows = self.under_way.take().unwrap_or_default();
            self.done += 1;
        }
    }

    /// Some changes of its rows and a line of the journal, in one transaction; and the rows after it.
    fn transaction(&self, random: &mut StdRng) -> (String, Rows) {
        let (id, mut rows, mut statements) = (self.id, self.rows.clone(), vec!["BEGIN".to_owned()]);
        for _ in 0..random.random_range(1..5) {
            let (key, value) = (random.random_range(0..KEYS), random.random_range(0..1_000_000));
            match rows.get(&key).copied() {
                None => {
                    statements.push(format!("INSERT INTO ledger VALUES ({id}, {key}, {value}, 'n{value}')"));
                    rows.insert(key, value);
                }
                Some(_) if random.random_ratio(1, 3) => {
                    statements.push(format!("DELETE FROM ledger WHERE writer = {id} AND key = {key}"));
                    rows.remove(&key);
                }
                Some(old) => {
                    let add = format!("UPDATE ledger SET value = value + 1 WHERE writer = {id} AND key = {key}");
                    statements.push(add);
                    rows.insert(key, old + 1);
                }
            }
        }
        statements.push(format!("INSERT INTO journal VALUES ({id}, {})", self.done + 1));
        statements.push("COMMIT".to_owned());
        (statements.join("; "), rows)
    }

    /// Compares the server's rows with those that it acknowledged, and goes on from there.
    pub async fn check(&mut self, client: &Client) -> Result<()> {
        let id = self.id;
        let read = client.query("SELECT key, value FROM ledger WHERE writer = $1", &[&id]).await?;
        let found: Rows = read.iter().map(|row| (row.get(0), row.get(1))).collect();
        let count = "SELECT count(*), coalesce(max(number), 0) FROM journal WHERE writer = $1";
        let journal = client.query_one(count, &[&id]).await?;
        let (lines, last): (i64, i64) = (journal.get(0), journal.get(1));
        ensure!(found.len() == read.len(), "writer {id} has a key twice");
        ensure!(lines == last, "writer {id} has {lines} lines up to number {last} in the journal");
        let wanted = match (lines - self.done, self.under_way.take()) {
            (0, _) => &self.rows,
            (1, Some(after)) => {
                (self.done, self.rows) = (lines, after);
                &self.rows
            }
            _ => bail!("writer {id} was told of {} transactions, and {lines} are there", self.done),
        };
        ensure!(found == *wanted, "writer {id}, transaction {lines}: {found:?} instead of {wanted:?}");
        Ok(())
    }
}
