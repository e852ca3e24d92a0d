//! A file that grows, and views over the source that follows it: every line counts once, and what one account owes
//! another has it, in all views together at every tick. Sinks write what comes of it to files again: each line once and in
//! order, and changes that fit to one another and come to what the view shows.

use super::gone;
use anyhow::{Context, Result, ensure};
use futures::StreamExt;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio_postgres::Client;

/// How long the last lines may take to be read after a start.
const CATCH_UP: Duration = Duration::from_secs(30);

/// Between how many accounts the lines move money.
const ACCOUNTS: i64 = 7;

/// The views. Each line is counted, and taken from one account and given to another on two ways that meet again.
const VIEWS: &str = "
    CREATE MATERIALIZED VIEW counted AS SELECT count(*) AS lines, coalesce(sum(n), 0)::bigint AS total FROM events;
    CREATE MATERIALIZED VIEW credits AS SELECT creditor, sum(amount) AS amount FROM events GROUP BY creditor;
    CREATE MATERIALIZED VIEW debits AS SELECT debtor, sum(amount) AS amount FROM events WHERE amount <> 0 GROUP BY debtor;
    CREATE MATERIALIZED VIEW balances AS
        SELECT coalesce(creditor, debtor) AS account, coalesce(c.amount, 0) - coalesce(d.amount, 0) AS balance
        FROM credits AS c FULL JOIN debits AS d ON creditor = debtor;
    CREATE MATERIALIZED VIEW balanced AS
        SELECT coalesce(sum(balance), 0)::bigint AS total, count(*) - count(balance) AS missing FROM balances";

const LOOK: &str = "SELECT lines, c.total, b.total, missing FROM counted AS c CROSS JOIN balanced AS b";

/// A file of the numbers from 0 on, one a line.
#[derive(Debug, Default)]
pub struct Events {
    file: Option<File>,
    /// How many lines it has.
    lines: i64,
    /// The most that a reader has seen of them.
    seen: i64,
    /// Where the sinks write: the numbers, and the changes of what accounts are given.
    numbers: PathBuf,
    changes: PathBuf,
}

impl Events {
    /// An empty file in a folder, with a source and a view.
    pub async fn new(client: &Client, folder: &Path) -> Result<Events> {
        let path = folder.join("events.jsonl");
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        let source = format!(
            "CREATE SOURCE events (n bigint, debtor bigint, creditor bigint, amount bigint)
             WITH (connector = 'file', path = '{}', format = 'json', follow = 'true')",
            path.display()
        );
        client.batch_execute(&source).await?;
        client.batch_execute(VIEWS).await?;
        let (numbers, changes) = (folder.join("numbers.csv"), folder.join("changes.csv"));
        let sinks = format!(
            "CREATE MATERIALIZED VIEW numbers AS SELECT n FROM events;
             CREATE SINK numbers_out FROM numbers WITH (connector = 'file', path = '{}');
             CREATE SINK changes_out AS SELECT creditor, sum(amount) FROM events GROUP BY creditor
             WITH (connector = 'file', path = '{}', changes = 'true')",
            numbers.display(),
            changes.display()
        );
        client.batch_execute(&sinks).await?;
        Ok(Events { file: Some(file), lines: 0, seen: 0, numbers, changes })
    }

    /// Appends lines and reads the view until the server goes.
    pub async fn work(mut self, client: Client, reads: Arc<AtomicU64>) -> Result<Events> {
        loop {
            self.append(20)?;
            if self.look(&client).await?.is_none() {
                return Ok(self);
            }
            reads.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Reads the views, which must show some first lines, each once, and no fewer than were seen before, and as much
    /// credit as debit. `None` when the server is gone.
    async fn look(&mut self, client: &Client) -> Result<Option<()>> {
        let Some(row) = gone(client.query_one(LOOK, &[]).await)? else { return Ok(None) };
        let (lines, total, balance, missing): (i64, i64, i64, i64) = (row.get(0), row.get(1), row.get(2), row.get(3));
        ensure!((balance, missing) == (0, 0), "{lines} lines balance to {balance}, {missing} accounts have none");
        ensure!(total == lines * (lines - 1) / 2, "{lines} lines with the total {total} are not the first ones");
        ensure!(lines <= self.lines, "{lines} lines were read of {}", self.lines);
        ensure!(lines >= self.seen, "{lines} lines are there after {} were seen", self.seen);
        self.seen = lines;
        Ok(Some(()))
    }

    /// Waits until the view shows the whole file.
    pub async fn check(&mut self, client: &Client) -> Result<()> {
        let begun = Instant::now();
        loop {
            self.look(client).await?.context("the server is gone")?;
            if self.seen == self.lines && self.is_delivered(client).await? {
                return Ok(());
            }
            ensure!(begun.elapsed() < CATCH_UP, "{} of {} lines are read, or not delivered", self.seen, self.lines);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Whether the sinks have written all; what they have written is right.
    async fn is_delivered(&self, client: &Client) -> Result<bool> {
        let numbers = std::fs::read_to_string(&self.numbers)?;
        for (at, line) in whole_lines(&numbers).enumerate() {
            ensure!(line == at.to_string(), "line {at} of the sink's file is {line:?}");
        }
        let (text, mut sums) = (std::fs::read_to_string(&self.changes)?, BTreeMap::new());
        for line in whole_lines(&text) {
            let mut parts = line.splitn(3, ',').map(str::to_owned);
            let (op, account, sum) = (parts.next(), parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
            let fits = match op.as_deref() {
                Some("+") => sums.insert(account, sum).is_none(),
                _ => sums.remove(&account) == Some(sum),
            };
            ensure!(fits, "the change {line:?} does not fit to those before it");
        }
        let shown = client.query("SELECT creditor::text, amount::text FROM credits", &[]).await?;
        let shown: BTreeMap<String, String> = shown.iter().map(|row| (row.get(0), row.get(1))).collect();
        Ok(whole_lines(&numbers).count() as i64 == self.lines && sums == shown)
    }

    fn append(&mut self, count: i64) -> Result<()> {
        let line = |n: i64| {
            let (debtor, creditor, amount) = (n * 5 % ACCOUNTS, n * 3 % ACCOUNTS, n % 11);
            format!("{{\"n\":{n},\"debtor\":{debtor},\"creditor\":{creditor},\"amount\":{amount}}}\n")
        };
        let lines: String = (self.lines..self.lines + count).map(line).collect();
        self.file.as_mut().context("the file is open")?.write_all(lines.as_bytes())?;
        self.lines += count;
        Ok(())
    }
}

/// The lines of a file that are written to their end.
fn whole_lines(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'))
}

/// Follows the balance tick by tick until the server goes: no tick ever shows another than zero.
pub async fn follow(client: Client, reads: Arc<AtomicU64>) -> Result<u64> {
    let Some(changes) = gone(client.copy_out("COPY (SUBSCRIBE balanced) TO STDOUT").await)? else { return Ok(0) };
    let mut changes = pin!(changes);
    while let Some(change) = changes.next().await {
        let Some(change) = gone(change)? else { return Ok(0) };
        let line = String::from_utf8_lossy(&change).into_owned();
        // Tick, weight, total, missing.
        ensure!(line.trim_end().ends_with("\t0\t0"), "a tick with the change {line:?}");
        reads.fetch_add(1, Ordering::Relaxed);
    }
    Ok(0)
}
